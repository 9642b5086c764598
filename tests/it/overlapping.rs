//! A run flattens, sorts and writes responses while it waits for others, and its files are those of a
//! replay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backlake::clock::Clock;
use backlake::error::ErrorKind;
use backlake::pipeline::{FindingsMode, Progress, RunEnd, RunMode, Surroundings, replay, run};
use backlake::simulator::{Behaviour, Fault, Poison, Simulator, What};
use backlake::stop::{Stop, StopReason};
use backlake::store::Store;
use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, Result};
use tokio::sync::watch;

use crate::campaign::contents;
use crate::harness::{AlterItem, Site, drifting, simulator, surroundings};
use crate::interfering::{Interfered, Interference, Operation};

/// Delays archiving the third response until this many others are flattened. The first responses are
/// canaries: nothing else is sent before they return.
#[derive(Debug)]
struct ThirdComesLast {
    others: u64,
    flattened: watch::Sender<u64>,
    arrived: AtomicU64,
    clock: Clock,
}

#[async_trait]
impl Interference for ThirdComesLast {
    async fn around(
        &self,
        operation: Operation,
        path: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        let archives = operation.is_write() && path.as_ref().starts_with("_archive");
        if archives && self.arrived.fetch_add(1, Ordering::Relaxed) == 2 {
            let mut flattened = self.flattened.subscribe();
            let others = |flattened: &u64| *flattened >= self.others;
            // With no limit, a run that flattens nothing would hang here instead of failing below.
            let waited = flattened.wait_for(others);
            self.clock.within(Duration::from_secs(60), waited).await;
        }
        work.await
    }
}

/// The published files by path.
async fn tables(objects: &InMemory) -> BTreeMap<String, Bytes> {
    let mut found = contents(objects).await;
    found.retain(|path, _| path.ends_with(".parquet"));
    found
}

// In real time, because simulated time runs on while no one but a thread works.
#[tokio::test]
async fn responses_are_flattened_while_others_are_awaited_and_the_files_are_those_of_a_replay() {
    let targets = (0..1000).map(|n| format!("site{n}.com"));
    let site = Site::new(targets).with("[api]\nmax_in_flight = 4");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    // The example of an unknown field does not depend on which response is read first.
    let drifting = || {
        drifting(&simulator, &clock, |_, item| {
            item["page_authority"] = item["url"].clone()
        })
    };
    let objects = Arc::new(InMemory::new());
    let last = Arc::new(ThirdComesLast {
        others: 7,
        flattened: watch::Sender::new(0),
        arrived: AtomicU64::new(0),
        clock: clock.clone(),
    });
    let store = |inner: Arc<dyn ObjectStore>| Store::over(inner, "memory");
    let interfered = Arc::new(Interfered::new(Arc::clone(&objects) as _, &last));
    let (responses, ahead) = (AtomicU64::new(0), AtomicU64::new(0));
    let on_progress = |progress: Progress| match progress {
        Progress::Flattened => last.flattened.send_modify(|flattened| *flattened += 1),
        Progress::Publishing {
            responses: all,
            flattened,
            ..
        } => {
            responses.store(all, Ordering::Relaxed);
            ahead.store(flattened, Ordering::Relaxed);
        }
        _ => {}
    };
    let env = Surroundings {
        store: Some(store(interfered)),
        on_progress: &on_progress,
        ..drifting()
    };
    let pipeline = site.pipeline(&simulator.url());
    let end = run(&pipeline, RunMode::default(), &env).await.unwrap();
    assert!(end.error.is_none(), "{:?}", end.error);
    let (responses, ahead) = (responses.into_inner(), ahead.into_inner());
    assert!(responses == 10 && ahead >= 7, "{ahead} of {responses}");
    // Every response is flattened once.
    assert_eq!(*last.flattened.borrow(), responses);

    let published = tables(&objects).await;
    let env = Surroundings {
        store: Some(store(Arc::clone(&objects) as _)),
        ..surroundings(&simulator, &clock)
    };
    for path in published.keys() {
        objects.delete(&Path::from(path.as_str())).await.unwrap();
    }
    let again = replay(&pipeline, FindingsMode::Hold, &env).await.unwrap();
    assert!(again.error.is_none(), "{:?}", again.error);
    assert!(published == tables(&objects).await, "the tables differ");
    assert_eq!(again.report.findings.drift, end.report.findings.drift);
}

/// Rows are written once as many are final as a sorted batch has.
const STEP: u64 = 16384;
const BATCHES: u64 = 20;

/// A list of pages in the order of names, and a provider whose last response of so many takes long.
/// Until it arrives, everything else can be written.
async fn with_late_responses(behaviour: Behaviour, requests: u64) -> (Site, Arc<Simulator>, Clock) {
    let page = |n| format!("https://site{:04}.com/{n:06}", n / 40);
    let site = Site::new((0..BATCHES * 1000).map(page)).with("[api]\nmax_in_flight = 4");
    let late = Fault {
        what: What::Late,
        charged: true,
        share: 1.0,
        from: requests - 1,
        until: requests,
        code: 0,
        seconds: 50.0,
        times: 1,
    };
    let behaviour = Behaviour {
        faults: vec![late],
        ..behaviour
    };
    let (simulator, clock) = simulator(behaviour).await;
    (site, simulator, clock)
}

/// Every published file is what a replay makes of the archive.
async fn assert_same_as_a_replay(
    site: &Site,
    simulator: &Arc<Simulator>,
    clock: &Clock,
    what: &str,
) {
    let published = site.published_files();
    for path in published.keys() {
        std::fs::remove_file(site.lake().join(path)).unwrap();
    }
    let again = site.replay(simulator, clock).await.unwrap();
    assert!(again.error.is_none(), "{what}: {:?}", again.error);
    assert!(published == site.published_files(), "{what}: tables differ");
}

/// What a run has written when publishing begins: rows of pages, and before that by events.
#[derive(Debug, Default)]
struct Seen {
    written: AtomicU64,
    before_publishing: AtomicU64,
}

impl Seen {
    fn see(&self, progress: Progress) {
        match progress {
            Progress::Written(rows) => self.written.store(rows, Ordering::Relaxed),
            Progress::Publishing { written, .. } => {
                self.before_publishing.store(written, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_no_response_can_precede_are_written_while_others_are_awaited() {
    let refused = ["https://site0030.com/001234".to_owned()];
    let poisoned = Behaviour {
        poison: Poison {
            targets: Arc::new(refused.into_iter().collect()),
            named: true,
            ..Poison::default()
        },
        ..Behaviour::default()
    };
    let unchanged: AlterItem = |_, _| {};
    // In each response, an item that matches no target and comes before all others in the table.
    let foreign: AlterItem = |n, item| {
        if n == 7 {
            let url = item["url"].as_str().unwrap().replace("https://", "");
            item["url"] = format!("https://0.com/{url}").into();
        }
    };
    // The refused target takes two requests more: alone, and the others again.
    for (what, behaviour, requests, alter, is_written) in [
        ("in order", Behaviour::default(), BATCHES, unchanged, true),
        (
            "with a refused target",
            poisoned,
            BATCHES + 2,
            unchanged,
            true,
        ),
        (
            "with foreign items",
            Behaviour::default(),
            BATCHES,
            foreign,
            false,
        ),
    ] {
        let (site, simulator, clock) = with_late_responses(behaviour, requests).await;
        let seen = Seen::default();
        let env = Surroundings {
            on_progress: &|progress| seen.see(progress),
            ..drifting(&simulator, &clock, alter)
        };
        let end = run(&site.pipeline(&simulator.url()), RunMode::default(), &env).await;
        let end = end.unwrap();
        assert!(end.error.is_none(), "{what}: {:?}", end.error);
        assert_eq!(end.report.requests, requests, "{what}");
        let before = seen.before_publishing.into_inner();
        assert_eq!(before >= STEP, is_written, "{what}: {before} rows");
        // What is written again counts again.
        assert!(seen.written.into_inner() >= STEP, "{what}");
        assert_eq!(end.report.unmatched > 0, !is_written, "{what}");
        assert_same_as_a_replay(&site, &simulator, &clock, what).await;
    }
}

/// Runs until rows are written: then the process is stopped, or dies.
async fn until_written(
    site: &Site,
    simulator: &Arc<Simulator>,
    clock: &Clock,
    dies: bool,
) -> Option<RunEnd> {
    let (stop, written) = (Stop::default(), tokio::sync::Notify::new());
    let env = Surroundings {
        on_progress: &|progress| {
            if matches!(progress, Progress::Written(_)) {
                match dies {
                    true => written.notify_one(),
                    false => _ = stop.request(StopReason::Interrupted),
                }
            }
        },
        stop: stop.clone(),
        ..surroundings(simulator, clock)
    };
    let pipeline = site.pipeline(&simulator.url());
    tokio::select! {
        biased;
        () = written.notified() => None,
        end = run(&pipeline, RunMode::default(), &env) => Some(end.unwrap()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_after_rows_are_written_publishes_nothing_and_is_continued() {
    for dies in [false, true] {
        let (site, simulator, clock) = with_late_responses(Behaviour::default(), BATCHES).await;
        // Shorter than the last response takes.
        let site = site.with("drain_seconds = 1");
        let end = until_written(&site, &simulator, &clock, dies).await;
        let ended = end.map(|end| end.error.unwrap().kind());
        assert_eq!(ended, (!dies).then_some(ErrorKind::Interrupted));
        assert!(site.published_files().is_empty());
        // A process that dies leaves what it has staged.
        let staged = site.lake().join("_staging/2026-11-23");
        assert_eq!(staged.exists(), dies);
        // By then, the lock of a dead process may be taken over.
        clock.sleep(Duration::from_secs(120)).await;
        let end = site.run(&simulator, &clock).await.unwrap();
        assert!(end.error.is_none(), "{:?}", end.error);
        assert_eq!(end.report.items, end.report.fates.returned);
        assert!(!staged.exists());
        assert_same_as_a_replay(&site, &simulator, &clock, "continued").await;
    }
}
