//! Pruning deletes whole dates, only when told to, and never what someone has paid for and still
//! needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use backlake::pipeline::{RunMode, run};
use backlake::simulator::Behaviour;
use backlake::upkeep::{Keep, to_prune};
use chrono::Days;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, Result};

use crate::harness::{Site, date, mixed_targets as lines, program, simulator, surroundings};
use crate::interfering::{Interference, Operation};
use crate::world::{Command, World, simulated};

#[tokio::test(start_paused = true)]
async fn pruning_is_a_dry_run_by_default_and_never_deletes_the_newest_date() {
    let site = Site::new(lines(300));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    for day in 20..24 {
        let pipeline =
            site.pipeline_of(format!("2026-11-{day}").parse().unwrap(), &simulator.url());
        let env = surroundings(&simulator, &clock);
        let end = run(&pipeline, RunMode::default(), &env).await.unwrap();
        assert!(end.error.is_none());
    }
    // A run that was started and is not published: its paid responses stay.
    std::fs::create_dir_all(site.lake().join("_runs/2026-01-01")).unwrap();
    std::fs::create_dir_all(site.lake().join("_archive/2026-01-01")).unwrap();
    std::fs::write(site.lake().join("_runs/2026-01-01/run.json"), "{}").unwrap();
    std::fs::write(site.lake().join("_archive/2026-01-01/0-1.json.zst"), "paid").unwrap();
    let prune = |more: &[&str]| {
        let output = program()
            .arg("prune")
            .arg(site.lake())
            .args(more)
            .args(["--output", "json"])
            .output();
        let output = output.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let dates = |what: &str| -> Vec<String> {
            let dropped = report[what].as_array().unwrap().iter();
            dropped
                .map(|dropped| dropped["snapshot"].as_str().unwrap().to_owned())
                .collect()
        };
        (dates("snapshots"), dates("archives"))
    };
    let rules = ["--keep-snapshots", "2", "--keep-archives", "1"];
    let expected = (
        vec!["2026-11-20".to_owned(), "2026-11-21".to_owned()],
        vec![
            "2026-11-20".to_owned(),
            "2026-11-21".to_owned(),
            "2026-11-22".to_owned(),
        ],
    );
    let everything = || -> Vec<String> { site.tree().into_keys().collect() };
    let before = everything();
    assert_eq!((prune(&rules), everything()), (expected.clone(), before));
    assert_eq!(prune(&[&rules[..], &["--yes"]].concat()), expected);
    assert_eq!(site.problems(), [""; 0]);
    let left = everything();
    assert!(
        !left
            .iter()
            .any(|path| path.contains("=2026-11-20") || path.contains("_archive/2026-11-22")),
        "{left:?}"
    );
    assert!(
        left.iter()
            .any(|path| path.contains("pages/snapshot_date=2026-11-22"))
    );
    assert!(
        left.iter().any(|path| path.contains("_archive/2026-01-01"))
            && left.iter().any(|path| path.contains("_archive/2026-11-23"))
    );
    assert_eq!(prune(&rules), (vec![], vec![]));
    // A replacement that was started has paid for its responses: its date stays as it is.
    std::fs::write(
        site.lake().join("_runs/2026-11-22/run.2.json"),
        std::fs::read(site.lake().join("_runs/2026-11-22/run.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(prune(&["--keep-snapshots", "1"]), (vec![], vec![]));
    let nothing = program().arg("prune").arg(site.lake()).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
}

/// Counts listings.
#[derive(Debug, Default)]
struct Listings(AtomicU64);

#[async_trait]
impl Interference for Listings {
    async fn around(
        &self,
        operation: Operation,
        _: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        if operation == Operation::List {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        work.await
    }
}

#[test]
fn what_was_pruned_long_ago_is_not_listed_date_by_date() {
    let listings = [0, 40].map(|pruned| {
        simulated(async {
            let world = World::new(100, "");
            world.play(Command::Run, &world.store()).await.unwrap();
            for days in 1..=pruned {
                let date = date() - Days::new(days);
                for left in ["pruned", "summary.json", "locks/000000.json"] {
                    let path = Path::from(format!("_runs/{date}/{left}"));
                    world.objects.put(&path, "".into()).await.unwrap();
                }
            }
            let listings = Arc::new(Listings::default());
            let store = world.interfered(&listings);
            let keep = Keep {
                newest: Some(1),
                days: None,
            };
            let plan = to_prune(&store, keep, keep, date()).await.unwrap();
            assert_eq!(plan, backlake::upkeep::Pruning::default());
            listings.0.load(Ordering::Relaxed)
        })
    });
    assert_eq!(listings[0], listings[1]);
}
