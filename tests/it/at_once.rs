//! Two starts of the same command at the same moment: one does the work, and nothing is paid twice.
//!
//! In memory, a seed decides how long each operation takes, and `SEED=17 cargo test --test it at_once` plays one seed
//! again. On a disk, the threads decide.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backlake::clock::Clock;
use backlake::error::ErrorKind;
use backlake::pipeline::{RunEnd, RunMode, RunState, StartMode, Surroundings, run};
use backlake::store::{Owner, Store};
use futures::future::BoxFuture;
use object_store::Result;
use object_store::path::Path;

use crate::campaign::{only_seed, reduced_or_full, seeds};
use crate::interfering::{Interference, Operation};
use crate::world::{Command, World, simulated};

/// Every operation takes its own time.
#[derive(Debug)]
struct Jitter {
    clock: Clock,
    random: parking_lot::Mutex<fastrand::Rng>,
    longest: u64,
}

#[async_trait]
impl Interference for Jitter {
    async fn around(
        &self,
        _: Operation,
        path: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        // Simulated time stands still while a thread waits for responses to write.
        if !path.as_ref().starts_with("_archive") {
            let takes = self.random.lock().u64(0..self.longest);
            self.clock.sleep(Duration::from_millis(takes)).await;
        }
        work.await
    }
}

/// A process of its own.
fn process(pid: u32) -> Owner {
    Owner {
        host: "pod".to_owned(),
        pid,
        started: None,
        place: None,
    }
}

/// Starts a run twice at the same moment, each with its store. `None` is the lake on the disk.
async fn twice(
    world: &World,
    start: StartMode,
    seed: u64,
    stores: [Option<Store>; 2],
) -> [backlake::error::Result<RunEnd>; 2] {
    let pipeline = world.site.pipeline(&world.simulator.url());
    let mode = RunMode {
        start,
        ..RunMode::default()
    };
    let [first, second] = stores;
    let env = |store: Option<Store>, pid: u32| Surroundings {
        store,
        owner: process(pid),
        seed: seed * 2 + u64::from(pid),
        ..world.surroundings(&world.store())
    };
    let (first, second) = (env(first, 1), env(second, 2));
    let both = async { tokio::join!(run(&pipeline, mode, &first), run(&pipeline, mode, &second)) };
    Box::pin(both).await.into()
}

/// How many requests a start that is alone sends.
fn alone() -> usize {
    simulated(async {
        let world = World::new(250, "");
        world.play(Command::Run, &world.store()).await.unwrap();
        world.simulator.ledger().len()
    })
}

/// One has published, and the other was told so or who holds the lock.
fn one_of_two(ends: [backlake::error::Result<RunEnd>; 2], what: &str) -> [u32; 2] {
    let (mut published, mut told) = (0, [0, 0]);
    for end in ends {
        match end {
            Ok(RunEnd { report, error }) => match report.state {
                RunState::Published => published += 1,
                RunState::AlreadyPublished => told[0] += 1,
                RunState::Open => panic!("{what}: {error:?}"),
            },
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Locked, "{what}: {error}");
                told[1] += 1;
            }
        }
    }
    assert_eq!(published, 1, "{what}");
    told
}

/// How often one of two starts was told that the snapshot is published, and that another holds the lock.
async fn in_memory(seed: u64, alone: usize) -> [u32; 2] {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(250, "");
    let mut charged = 0;
    let mut told = [0, 0];
    for start in [StartMode::Continue, StartMode::Replace] {
        world = world.fork();
        let stores = [(); 2].map(|()| {
            // Some are so slow that the other is done before they want the lock.
            let longest = [2, 100, 4000][random.usize(..3)];
            let jitter = Jitter {
                clock: world.clock.clone(),
                random: parking_lot::Mutex::new(random.fork()),
                longest,
            };
            Some(world.interfered(&Arc::new(jitter)))
        });
        let what = format!("seed {seed}, {start:?}");
        let ends = twice(&world, start, seed, stores).await;
        let now = one_of_two(ends, &what);
        told = [told[0] + now[0], told[1] + now[1]];
        let before = std::mem::replace(&mut charged, world.simulator.ledger().len());
        assert_eq!(charged - before, alone, "{what}");
        world.check(charged, &what).await;
    }
    told
}

#[test]
fn two_starts_at_the_same_moment_pay_once_in_an_object_store() {
    let (alone, mut told) = (alone(), [0, 0]);
    for seed in seeds(20, 100) {
        let now = simulated(in_memory(seed, alone));
        told = [told[0] + now[0], told[1] + now[1]];
    }
    println!("already published, locked: {told:?}");
    assert!(
        only_seed().is_some() || told.iter().all(|told| *told > 0),
        "{told:?}"
    );
}

#[test]
fn two_starts_at_the_same_moment_pay_once_on_a_disk() {
    let alone = alone();
    for round in 0..reduced_or_full(10, 100) {
        simulated(async {
            let world = World::new(250, "");
            let ends = twice(&world, StartMode::Continue, round, [None, None]).await;
            one_of_two(ends, &format!("round {round}"));
            assert_eq!(world.simulator.ledger().len(), alone, "round {round}");
            assert_eq!(world.site.problems(), [""; 0], "round {round}");
        });
    }
}
