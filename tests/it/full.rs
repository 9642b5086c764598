//! A disk that is full, and too few file handles, cost time and no paid response.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backlake::clock::Clock;
use backlake::error::{Error, ErrorKind};
use backlake::pipeline::{Progress, RunMode, Surroundings, run};
use futures::future::BoxFuture;
use object_store::Result;
use object_store::path::Path;
use rustix::io::Errno;

use crate::interfering::{Interference, Operation};
use crate::world::{Command, World, simulated};

/// From the first response on, no write succeeds for a while.
#[derive(Debug)]
struct Refusing {
    errno: Errno,
    lasts: Duration,
    clock: Clock,
    since: parking_lot::Mutex<Option<Duration>>,
}

#[async_trait]
impl Interference for Refusing {
    async fn around(
        &self,
        operation: Operation,
        path: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        let now = self.clock.running();
        let is_response = path.as_ref().starts_with("_archive/");
        let begun = *self.since.lock();
        let since = match (begun, operation) {
            (None, Operation::Put) if is_response => now,
            (Some(since), _) if operation.is_write() => since,
            _ => return work.await,
        };
        self.since.lock().get_or_insert(since);
        if now >= since + self.lasts {
            return work.await;
        }
        Err(object_store::Error::Generic {
            store: "refusing",
            source: std::io::Error::from_raw_os_error(self.errno.raw_os_error()).into(),
        })
    }
}

/// Runs a pipeline whose lake refuses writes for a while. Returns what was charged, and the error.
async fn refused(errno: Errno, lasts: Duration) -> (World, Option<Error>) {
    let world = World::new(900, "");
    let refusing = Arc::new(Refusing {
        errno,
        lasts,
        clock: world.clock.clone(),
        since: parking_lot::Mutex::default(),
    });
    let store = world.interfered(&refusing);
    let end = world.play(Command::Run, &store).await;
    (world, end.err())
}

#[test]
fn a_full_disk_and_too_few_file_handles_are_waited_for_and_named() {
    let undisturbed = simulated(async {
        let world = World::new(900, "");
        world.play(Command::Run, &world.store()).await.unwrap();
        world.simulator.ledger().len()
    });
    for (errno, advice) in [
        (Errno::NOSPC, "the disk is full: free some space"),
        (Errno::DQUOT, "the disk is full: free some space"),
        (Errno::MFILE, "`ulimit -n 4096`"),
        (Errno::NFILE, "`ulimit -n 4096`"),
    ] {
        simulated(async {
            let (world, error) = refused(errno, Duration::from_secs(300)).await;
            assert!(error.is_none(), "{errno}: {}", error.unwrap());
            world.check(undisturbed, "five minutes").await;
        });
        simulated(async {
            let (world, error) = refused(errno, Duration::from_secs(900)).await;
            let error = error.unwrap();
            assert_eq!(error.kind(), ErrorKind::Unexpected);
            assert!(error.hint().contains(advice), "{}", error.hint());
            assert!(error.to_string().contains(" bytes) to the lake"), "{error}");
            // Only what was in flight has been paid.
            assert!(world.simulator.ledger().len() <= 4);
            world.clock.sleep(Duration::from_secs(600)).await;
            world.play(Command::Run, &world.store()).await.unwrap();
            world.check(undisturbed, "a quarter of an hour").await;
        });
    }
}

#[test]
fn nothing_is_sent_while_the_disk_has_no_room_for_the_responses_in_flight() {
    const MIB: u64 = 1 << 20;
    simulated(async {
        let world = World::new(900, "");
        let (free, pipeline) = (
            Arc::new(AtomicU64::new(20 * MIB)),
            world.site.pipeline(&world.simulator.url()),
        );
        let store = world.store().with_free_bytes(Arc::clone(&free));
        // Before anything is paid, room for the whole plan.
        let error = world.play(Command::Run, &store).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let said = error.to_string();
        assert!(
            said.contains("20 MiB are free") && said.contains("36 MiB"),
            "{said}"
        );
        assert_eq!(world.simulator.ledger().len(), 0);

        // Someone else fills the disk once the first request is sent, and makes room after five minutes.
        free.store(1000 * MIB, Ordering::Relaxed);
        let filled = parking_lot::Mutex::new(None);
        let on_progress = |progress: Progress| {
            if let Progress::Fetch(backlake::fetch::Event::Step(backlake::fetch::Step::Archived(
                _,
            ))) = progress
            {
                filled.lock().get_or_insert_with(|| {
                    free.store(31 * MIB, Ordering::Relaxed);
                    world.simulator.ledger().len()
                });
            }
        };
        let env = Surroundings {
            on_progress: &on_progress,
            ..world.surroundings(&store)
        };
        let works = Box::pin(run(&pipeline, RunMode::default(), &env));
        let waits = async {
            world.clock.sleep(Duration::from_secs(300)).await;
            let paid = world.simulator.ledger().len();
            free.store(1000 * MIB, Ordering::Relaxed);
            paid
        };
        let (end, paid) = tokio::join!(works, waits);
        assert!(end.unwrap().error.is_none());
        let charged = world.simulator.ledger().len();
        let in_flight = filled.lock().unwrap();
        assert!(
            paid < charged && paid <= in_flight + 4,
            "{in_flight} {paid} {charged}"
        );
        world.check_lake("filled").await;

        // A disk that stays full ends the run with its own hint.
        let world = World::new(900, "retry_minutes = 0");
        let store = world.store().with_free_bytes(Arc::clone(&free));
        let on_progress = |progress: Progress| {
            if let Progress::Planned { .. } = progress {
                free.store(MIB, Ordering::Relaxed);
            }
        };
        let env = Surroundings {
            on_progress: &on_progress,
            ..world.surroundings(&store)
        };
        let pipeline = world.site.pipeline(&world.simulator.url());
        let error = run(&pipeline, RunMode::default(), &env)
            .await
            .unwrap()
            .error
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
        assert!(error.to_string().contains("1 MiB are free"), "{error}");
        assert!(
            error.hint().contains("the disk is full"),
            "{}",
            error.hint()
        );
        assert_eq!(world.simulator.ledger().len(), 0);
    });
}
