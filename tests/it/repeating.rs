//! A replacement that was published by a start that did not come to its end is not paid for again when its command is
//! repeated. After that, the same command replaces the snapshot once more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backlake::lake::{Manifest, is_untidy};
use backlake::money::Usd;
use backlake::pipeline::{
    BalanceMode, Begins, FindingsMode, Progress, RunMode, RunState, StartMode, Surroundings, run,
};
use futures::future::BoxFuture;
use object_store::Result;
use object_store::path::Path;

use crate::campaign::check_books;
use crate::harness::{Site, date, mixed_targets as lines};
use crate::interfering::{Interference, Operation};
use crate::world::{Command, World, simulated};

const REPLACE: RunMode = RunMode {
    start: StartMode::Replace,
    findings: FindingsMode::Hold,
    balance: BalanceMode::Require,
    begins: Begins::Today,
};

/// A lake without patience whose snapshot is published, and what it cost.
async fn published() -> (World, usize) {
    let world = World::new(250, "retry_minutes = 0");
    world.play(Command::Run, &world.store()).await.unwrap();
    let paid = world.simulator.ledger().len();
    world.clock.sleep(Duration::from_secs(60)).await;
    (world, paid)
}

/// No operation ends any more once the process is gone.
#[derive(Debug, Default)]
struct Gone(AtomicBool);

#[async_trait]
impl Interference for Gone {
    async fn around(&self, _: Operation, _: &Path, work: BoxFuture<'_, Result<()>>) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            std::future::pending().await
        }
        work.await
    }
}

/// Replaces the snapshot, and ends the process when the manifest is written.
async fn replace_and_die(world: &World) {
    let gone = Arc::new(Gone::default());
    let on_progress = |progress: Progress| {
        if matches!(progress, Progress::Manifested) {
            gone.0.store(true, Ordering::Relaxed);
        }
    };
    let env = Surroundings {
        on_progress: &on_progress,
        seed: 8,
        ..world.surroundings(&world.interfered(&gone))
    };
    let pipeline = world.site.pipeline(&world.simulator.url());
    let dies = Box::pin(run(&pipeline, REPLACE, &env));
    let ended = world.clock.within(Duration::from_secs(90), dies).await;
    assert!(ended.is_none());
}

/// Plays a command and returns how it ended, and how many requests are paid for now.
async fn replay(world: &World, command: Command) -> (RunState, usize) {
    let state = world.play(command, &world.store()).await.unwrap();
    world.clock.sleep(Duration::from_secs(60)).await;
    (state, world.simulator.ledger().len())
}

#[tokio::test(start_paused = true)]
async fn a_replacement_killed_after_its_manifest_is_recognised_once() {
    let (world, paid) = published().await;
    replace_and_die(&world).await;
    // A start that only looks, and one that rebuilds, take nothing away from the repetition.
    for command in [Command::Run, Command::Replay] {
        assert_eq!(replay(&world, command).await.1, 2 * paid);
    }
    let repeated = replay(&world, Command::Replace).await;
    assert_eq!(repeated, (RunState::AlreadyPublished, 2 * paid));
    world.check(2 * paid, "repeated").await;
    let once_more = replay(&world, Command::Replace).await;
    assert_eq!(once_more, (RunState::Published, 3 * paid));
    let once_more = replay(&world, Command::Replace).await;
    assert_eq!(once_more, (RunState::Published, 4 * paid));
}

#[tokio::test(start_paused = true)]
async fn another_list_or_another_question_is_no_repetition() {
    for change in ["list", "question"] {
        let (mut world, paid) = published().await;
        replace_and_die(&world).await;
        if change == "list" {
            let list: Vec<String> = lines(249).chain(["new.org".to_owned()]).collect();
            world.site.write("targets.txt", list.join("\n"));
        } else {
            let site = std::mem::replace(&mut world.site, Site::new([""]));
            world.site = site.with("[request]\ninclude_subdomains = false");
        }
        let replaced = replay(&world, Command::Replace).await;
        assert_eq!(replaced, (RunState::Published, 3 * paid), "{change}");
    }
}

/// Nothing can be deleted in the folders of the tables.
#[derive(Debug)]
struct Undeletable;

#[async_trait]
impl Interference for Undeletable {
    async fn around(
        &self,
        operation: Operation,
        path: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        if operation == Operation::Delete && path.as_ref().starts_with("pages/") {
            let source = "503 Slow Down".into();
            let store = "undeletable";
            return Err(object_store::Error::Generic { store, source });
        }
        work.await
    }
}

#[tokio::test(start_paused = true)]
async fn a_replacement_whose_leftovers_could_not_be_cleared_is_recognised_once() {
    let (world, paid) = published().await;
    let store = world.interfered(&Arc::new(Undeletable));
    let state = world.play(Command::Replace, &store).await.unwrap();
    assert_eq!(state, RunState::Published);
    assert!(is_untidy(&store, date()).await.unwrap());
    let repeated = replay(&world, Command::Replace).await;
    assert_eq!(repeated, (RunState::AlreadyPublished, 2 * paid));
    world.check(2 * paid, "tidied").await;
    let once_more = replay(&world, Command::Replace).await;
    assert_eq!(once_more, (RunState::Published, 3 * paid));
}

#[tokio::test(start_paused = true)]
async fn a_replacement_by_another_start_in_the_meantime_counts_as_this_one() {
    let (world, paid) = published().await;
    let pipeline = world.site.pipeline(&world.simulator.url());
    // Two starts read what is published. One takes the lock and replaces the snapshot before the other wants the lock.
    let held = Arc::new(HeldUp::default());
    let slow = world.surroundings(&world.interfered(&held));
    let slow = run(&pipeline, REPLACE, &slow);
    let quick = async {
        held.waits.notified().await;
        let env = Surroundings {
            seed: 8,
            ..world.surroundings(&world.store())
        };
        let end = run(&pipeline, REPLACE, &env).await;
        held.goes_on.notify_one();
        end
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(quick.unwrap().report.state, RunState::Published);
    assert_eq!(slow.unwrap().report.state, RunState::AlreadyPublished);
    world.check(2 * paid, "both").await;
}

/// Waits before it looks for locks.
#[derive(Debug, Default)]
struct HeldUp {
    waits: tokio::sync::Notify,
    goes_on: tokio::sync::Notify,
    waited: AtomicBool,
}

#[async_trait]
impl Interference for HeldUp {
    async fn around(
        &self,
        operation: Operation,
        path: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        if operation == Operation::List
            && path.as_ref().ends_with("/locks")
            && !self.waited.swap(true, Ordering::Relaxed)
        {
            self.waits.notify_one();
            self.goes_on.notified().await;
        }
        work.await
    }
}

/// Prunes a date, runs it again, kills that run after some time, and continues it. Returns how many of its responses were
/// kept and how many were lost; none if the run was at its end before.
async fn pruned_run_again_and_killed(millis: u64) -> Option<(usize, usize)> {
    let world = World::new(2000, "");
    let (today, pruned) = (date(), date().pred_opt().unwrap());
    for date in [pruned, today] {
        world
            .play_date(Command::Run, date, &world.store())
            .await
            .unwrap();
    }
    world.play(Command::Prune, &world.store()).await.unwrap();
    let before = world.simulator.ledger().len();
    let what = format!("killed after {millis} ms");

    let store = world.store();
    let run = Box::pin(world.play_date(Command::Run, pruned, &store));
    let ended = world.clock.within(Duration::from_millis(millis), run).await;
    if ended.is_some() {
        return None;
    }
    // What is in flight arrives at a process that is gone, and its lock becomes stale.
    world.clock.sleep(Duration::from_secs(100)).await;
    let folder = format!("_archive/{pruned}/");
    let kept = world.tree().await.into_keys();
    let kept = kept.filter(|path| path.starts_with(&folder)).count();
    let lost = world.simulator.ledger().len() - before - kept;
    let state = world.play_date(Command::Run, pruned, &world.store()).await;
    assert_eq!(state.unwrap(), RunState::Published, "{what}");

    let ledger = world.simulator.ledger();
    let tags: BTreeSet<_> = ledger.iter().map(|charge| charge.tag.clone()).collect();
    assert_eq!(tags.len(), ledger.len(), "{what}: a tag repeats");
    let manifest = &world.tree().await[&format!("_snapshots/{pruned}.json")];
    check_books(manifest, &world.simulator, &what);
    let manifest: Manifest = serde_json::from_slice(manifest).unwrap();
    let charged: Usd = ledger[before..].iter().map(|charge| charge.cost).sum();
    assert_eq!(manifest.tally.requests.cost_usd, charged, "{what}");
    world.check_lake(&what).await;
    Some((kept, lost))
}

#[test]
fn a_date_that_was_pruned_and_is_run_again_has_new_tags_by_which_killed_attempts_are_settled() {
    let kills: Vec<_> = (300..)
        .step_by(200)
        .map_while(|millis| simulated(pruned_run_again_and_killed(millis)))
        .collect();
    println!("kept and lost at each kill: {kills:?}");
    assert!(kills.iter().any(|(kept, lost)| *kept > 0 && *lost > 0));
}
