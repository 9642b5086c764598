//! With `[publish] grace_minutes` the files of a replaced snapshot stay until queries that have read the old manifest are
//! done. Nothing else changes: not the lock, not what a signal or a kill leaves, and not what the next start does.

use std::collections::BTreeSet;
use std::time::Duration;

use backlake::clock::Clock;
use backlake::contract::Table;
use backlake::error::ErrorKind;
use backlake::lake::strays;
use backlake::pipeline::{Progress, RunMode, RunState, StartMode, Surroundings, run};
use backlake::simulator::Behaviour;
use backlake::stop::{Stop, StopReason};
use backlake::store::{Lock, Owner, Store};
use tokio::sync::Notify;

use crate::harness::{Site, date, files, mixed_targets as lines, simulator, surroundings};

/// The published files of all tables that lie in the lake, by their paths.
fn lying(site: &Site) -> BTreeSet<String> {
    let lake = site.lake();
    let paths = Table::ALL.into_iter().flat_map(|table| files(&lake, table));
    paths.map(|path| path.display().to_string()).collect()
}

/// The files that the manifest names.
fn named(site: &Site) -> BTreeSet<String> {
    let (lake, manifest) = (site.lake(), site.manifest());
    let tables = manifest["tables"].as_object().unwrap().values();
    let files = tables.flat_map(|table| table["files"].as_array().unwrap());
    files
        .map(|file| {
            lake.join(file["path"].as_str().unwrap())
                .display()
                .to_string()
        })
        .collect()
}

fn site() -> Site {
    Site::new(lines(300))
        .with_lake("table_formats = [\"delta\", \"iceberg\"]")
        .with("[publish]\ngrace_minutes = 5")
}

fn replace() -> RunMode {
    RunMode {
        start: StartMode::Replace,
        ..RunMode::default()
    }
}

/// How the wait of a replacement ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Waited,
    Stopped,
    Killed,
}

/// What another process sees four minutes into the wait.
async fn look(site: &Site, old: &BTreeSet<String>, clock: &Clock) {
    let store = Store::open(site.lake().to_str().unwrap()).unwrap();
    let new = named(site);
    assert!(new.is_disjoint(old));
    assert_eq!(lying(site), new.union(old).cloned().collect());
    assert_eq!(strays(&store, clock.now()).await.unwrap(), [""; 0]);
    let taken = Lock::take(&store, date(), Owner::this_process(), clock).await;
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Locked);
}

#[tokio::test(start_paused = true)]
async fn replaced_files_stay_for_the_grace_and_go_with_the_next_start_if_it_is_cut_short() {
    for how in [End::Waited, End::Stopped, End::Killed] {
        let site = site();
        let (simulator, clock) = simulator(Behaviour::default()).await;
        let pipeline = site.pipeline(&simulator.url());
        let first = site.run(&simulator, &clock).await.unwrap();
        // A first publication replaces nothing, so it does not wait.
        assert!(first.error.is_none() && first.report.seconds < 60.0);
        assert!(clock.running() < Duration::from_secs(60));
        let (old, began) = (named(&site), clock.running());

        let (waits, stop) = (Notify::new(), Stop::default());
        let on_progress = |progress: Progress| {
            if let Progress::KeepsReplaced { until } = progress {
                assert_eq!(until - clock.now(), chrono::TimeDelta::minutes(5));
                waits.notify_one();
            }
        };
        let env = Surroundings {
            on_progress: &on_progress,
            stop: stop.clone(),
            seed: 8,
            ..surroundings(&simulator, &clock)
        };
        let meanwhile = async {
            waits.notified().await;
            clock.sleep(Duration::from_secs(240)).await;
            look(&site, &old, &clock).await;
            // Someone else starts the same run: it is published, and nothing is deleted.
            let again = site.run(&simulator, &clock).await.unwrap();
            assert_eq!(again.report.state, RunState::AlreadyPublished);
            look(&site, &old, &clock).await;
            match how {
                End::Waited => std::future::pending().await,
                End::Stopped => {
                    stop.request(StopReason::Terminated);
                    std::future::pending().await
                }
                End::Killed => {}
            }
        };
        let end = tokio::select! {
            biased;
            end = run(&pipeline, replace(), &env) => Some(end.unwrap()),
            () = meanwhile => None,
        };
        let (waited, charged) = (clock.running() - began, simulator.ledger().len());
        let new = named(&site);
        assert_eq!(end.is_none(), how == End::Killed);
        if let Some(end) = &end {
            assert!(end.error.is_none(), "{how:?}: {:?}", end.error);
            assert_eq!(end.report.state, RunState::Published);
            assert_eq!(end.report.warnings.len(), usize::from(how == End::Stopped));
        }
        let minutes = if how == End::Waited { 5 } else { 4 };
        assert_eq!(waited.as_secs() / 60, minutes, "{how:?}");
        if how != End::Waited {
            assert_eq!(lying(&site), new.union(&old).cloned().collect());
            // The lock of a killed process becomes stale, and the time of the files is over.
            clock.sleep(Duration::from_secs(120)).await;
            let store = Store::open(site.lake().to_str().unwrap()).unwrap();
            let left = strays(&store, clock.now()).await.unwrap();
            assert_eq!(left.len(), old.len(), "{left:?}");
            // The same command knows that its work is done; it pays for nothing and does not wait.
            let before = clock.running();
            let env = surroundings(&simulator, &clock);
            let again = run(&pipeline, replace(), &env).await.unwrap();
            assert_eq!(again.report.state, RunState::AlreadyPublished);
            assert!(clock.running() - before < Duration::from_secs(150));
        }
        assert_eq!(lying(&site), new, "{how:?}");
        assert_eq!(site.problems(), [""; 0], "{how:?}");
        assert_eq!(simulator.ledger().len(), charged);
        assert!(!site.lake().join("_staging/2026-11-23").exists());
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_puts_the_same_files_back_does_not_wait() {
    let site = site();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    site.run(&simulator, &clock).await.unwrap();
    let (before, began) = (site.published_files(), clock.running());
    site.replay(&simulator, &clock).await.unwrap();
    assert!(site.published_files() == before);
    assert!(clock.running() - began < Duration::from_secs(60));
}
