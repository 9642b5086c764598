//! A process that is stopped at any step, taken over and then continued deletes nothing of its successor.
//!
//! Each command is stopped after each of its operations on the store for three minutes. Another process takes the lock
//! over and does a command of its own. Then the first one goes on to its end. Time is simulated, and a stopped process is
//! a future that is not polled. A reduced campaign takes one point in some: `SEED=3 cargo test --test it taken_over`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backlake::error::ErrorKind;
use backlake::pipeline::RunState;
use chrono::NaiveDate;
use futures::future::BoxFuture;
use object_store::Result;
use object_store::path::Path;
use tokio::sync::Notify;

use crate::campaign::{only_seed, reduced_or_full};
use crate::harness::date;
use crate::interfering::{Interference, Operation};
use crate::world::{Command, World, simulated};

/// Tells when an operation has happened, before its process learns of it. They are counted from the first lock on.
#[derive(Debug)]
struct Stopping {
    /// The number of the operation.
    at: u64,
    operations: AtomicU64,
    deletions: AtomicU64,
    locks_taken: AtomicU64,
    reached: Notify,
}

impl Stopping {
    fn at(at: u64) -> Arc<Self> {
        Arc::new(Self {
            at,
            operations: AtomicU64::new(0),
            deletions: AtomicU64::new(0),
            locks_taken: AtomicU64::new(0),
            reached: Notify::new(),
        })
    }
}

#[async_trait]
impl Interference for Stopping {
    async fn around(
        &self,
        operation: Operation,
        path: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        // Without the lock a process may go on after another, and deletes nothing but its probe.
        let takes = operation == Operation::Create && path.as_ref().contains("/locks/");
        let has_none = !takes && self.operations.load(Ordering::Relaxed) == 0;
        // Simulated time stands still while a thread waits for responses to write.
        let writes_tables = operation == Operation::Get && path.as_ref().starts_with("_archive");
        if has_none || writes_tables {
            return work.await;
        }
        let number = self.operations.fetch_add(1, Ordering::Relaxed);
        if operation == Operation::Delete {
            self.deletions.fetch_add(1, Ordering::Relaxed);
        }
        let done = work.await;
        if takes && done.is_ok() {
            self.locks_taken.fetch_add(1, Ordering::Relaxed);
        }
        if number == self.at {
            self.reached.notify_one();
            // The test stops to poll this process here.
            tokio::task::yield_now().await;
        }
        done
    }
}

/// A command that is stopped, on the lake as it is before, and what its successor does.
struct Case {
    name: &'static str,
    before: World,
    stopped: (Command, NaiveDate),
    successor: (Command, NaiveDate),
    operations: u64,
}

async fn cases() -> Vec<Case> {
    let today = date();
    let yesterday = today.pred_opt().unwrap();
    let mut world = World::new(250, "");
    let store = world.store();
    let mut cases = Vec::new();
    let run = world.fork();
    for date in [yesterday, today] {
        world.play_date(Command::Run, date, &store).await.unwrap();
    }
    let published = world.fork();
    // So that only today has something to bundle.
    world = world.fork();
    for command in [Command::Compact, Command::Replace] {
        world.play(command, &world.store()).await.unwrap();
    }
    let bundled = world.fork();
    for (name, before, stopped, successor) in [
        ("run", &run, (Command::Run, today), (Command::Run, today)),
        (
            "replace",
            &published,
            (Command::Replace, today),
            (Command::Replace, today),
        ),
        (
            "replay",
            &published,
            (Command::Replay, today),
            (Command::Replace, today),
        ),
        (
            "compact",
            &bundled,
            (Command::Compact, today),
            (Command::Replace, today),
        ),
        (
            "prune",
            &published,
            (Command::Prune, yesterday),
            (Command::Run, yesterday),
        ),
        (
            "prune, replaced",
            &published,
            (Command::Prune, yesterday),
            (Command::Replace, yesterday),
        ),
    ] {
        let before = before.fork();
        let trial = before.fork();
        let stopping = Stopping::at(u64::MAX);
        let store = trial.interfered(&stopping);
        trial.play_date(stopped.0, stopped.1, &store).await.unwrap();
        assert!(stopping.deletions.load(Ordering::Relaxed) > 0, "{name}");
        cases.push(Case {
            name,
            before,
            stopped,
            successor,
            operations: stopping.operations.load(Ordering::Relaxed),
        });
    }
    cases
}

/// What became of a command that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It found out that it was taken over.
    Lost,
    /// It had nothing more to do.
    Done,
}

async fn taken_over(case: &Case, at: u64) -> End {
    let what = format!("{}, stopped after operation {at}", case.name);
    let world = case.before.fork();
    let stopping = Stopping::at(at);
    let store = world.interfered(&stopping);
    let mut stopped = Box::pin(world.play_date(case.stopped.0, case.stopped.1, &store));
    tokio::select! {
        biased;
        () = stopping.reached.notified() => {}
        end = &mut stopped => panic!("{what}: not stopped, {end:?}"),
    }
    world.clock.sleep(Duration::from_secs(180)).await;
    let (command, date) = case.successor;
    let state = world.play_date(command, date, &world.store()).await;
    let state = state.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_ne!(state, RunState::Open, "{what}");
    let (theirs, locks) = (
        world.tree().await,
        stopping.locks_taken.load(Ordering::Relaxed),
    );
    let end = stopped.await;
    // Whoever takes a lock again, after the other has released it, may delete what it has to delete.
    if stopping.locks_taken.load(Ordering::Relaxed) == locks {
        let now = world.tree().await;
        for path in theirs.keys() {
            assert!(now.contains_key(path), "{what}: {path} is deleted");
        }
    }
    world.check_lake(&what).await;
    match end {
        Ok(_) => End::Done,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Locked, "{what}: {error}");
            End::Lost
        }
    }
}

#[test]
fn a_process_that_was_stopped_and_taken_over_deletes_nothing_of_its_successor() {
    // One point in this many.
    let one_in = reduced_or_full(12, 1);
    let mut random = fastrand::Rng::with_seed(only_seed().unwrap_or(1));
    for case in simulated(cases()) {
        let (mut at, mut lost, mut points) = (random.u64(..one_in), 0, 0);
        while at < case.operations {
            lost += u32::from(simulated(taken_over(&case, at)) == End::Lost);
            points += 1;
            at += one_in;
        }
        println!("{}: lost the lock at {lost} of {points} points", case.name);
        assert!(lost > 0, "{}: never taken over", case.name);
    }
}
