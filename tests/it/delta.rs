//! With `table_formats = ["delta"]`, a snapshot is one commit in the log of every table, even if publishing is interrupted.

use std::path::PathBuf;

use backlake::contract::Table;
use backlake::pipeline::{RunMode, RunState, StartMode};
use backlake::simulator::Behaviour;
use serde_json::Value;

use crate::harness::{Site, files, program, simulator, text};

fn site() -> Site {
    Site::new((0..300).map(|n| format!("d{n}.com"))).with_lake("table_formats = [\"delta\"]")
}

/// The commits of a table, by version.
fn commits(site: &Site, table: Table) -> Vec<PathBuf> {
    let log = site.lake().join(table.name()).join("_delta_log");
    let entries = std::fs::read_dir(log)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    let mut commits: Vec<PathBuf> = entries.collect();
    commits.sort();
    commits
}

/// The actions of a kind in a commit.
fn actions(commit: &PathBuf, kind: &str) -> Vec<Value> {
    let lines = std::fs::read_to_string(commit).unwrap();
    let actions = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    actions
        .filter_map(|mut action| Some(action.get_mut(kind)?.take()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_published_snapshot_is_one_commit_in_the_log_of_every_table() {
    let site = site();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    site.run(&simulator, &clock).await.unwrap();
    for table in Table::ALL {
        let commits = commits(&site, table);
        assert_eq!(commits.len(), 1, "{commits:?}");
        let mut named: Vec<PathBuf> = actions(&commits[0], "add")
            .iter()
            .map(|add| {
                site.lake()
                    .join(table.name())
                    .join(add["path"].as_str().unwrap())
            })
            .collect();
        named.sort();
        assert_eq!(named, files(&site.lake(), table));
        assert_eq!(
            actions(&commits[0], "txn")[0]["appId"],
            "backlake/test/2026-11-23"
        );
    }
    let output = program().arg("verify").arg(site.lake()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[tokio::test(start_paused = true)]
async fn a_publication_interrupted_between_two_logs_is_committed_once() {
    let site = site();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    site.run(&simulator, &clock).await.unwrap();
    // As if the machine had failed after the logs of two tables.
    std::fs::remove_file(site.lake().join("_snapshots/2026-11-23.json")).unwrap();
    for table in [Table::Targets, Table::Requests] {
        std::fs::remove_dir_all(site.lake().join(table.name()).join("_delta_log")).unwrap();
    }
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(end.report.state, RunState::Published);
    for table in Table::ALL {
        assert_eq!(commits(&site, table).len(), 1, "{}", table.name());
    }
}

#[test]
fn snapshots_published_before_there_were_logs_are_also_committed() {
    let run = |site: &Site, date: &str| {
        let output = site.program("run", &["--snapshot", date]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    let plain = site().with_lake("");
    run(&plain, "2026-11-21");
    run(&plain, "2026-11-22");
    assert!(commits(&plain, Table::Pages).is_empty());
    let site = plain.with_lake("table_formats = [\"delta\"]");
    run(&site, "2026-11-23");
    for table in Table::ALL {
        let commits = commits(&site, table);
        let applications: Vec<Value> = commits
            .iter()
            .map(|commit| actions(commit, "txn")[0]["appId"].clone())
            .collect();
        let expected =
            ["2026-11-21", "2026-11-22", "2026-11-23"].map(|date| format!("backlake/test/{date}"));
        assert_eq!(applications, expected, "{}", table.name());
    }
}

#[test]
fn an_unknown_table_format_is_rejected_with_what_is_allowed() {
    let site = Site::new(["d.com"]).with_lake("table_formats = [\"delta\", \"paimon\"]");
    let output = site.program("plan", &[]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for word in [
        "line 6",
        "key `table_formats`",
        "`paimon`",
        "`delta` or `iceberg`",
    ] {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replacement_interrupted_after_the_logs_is_fixed_by_the_next_start() {
    let site = site();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    site.run(&simulator, &clock).await.unwrap();
    let kept: Vec<PathBuf> = Table::ALL
        .into_iter()
        .flat_map(|table| files(&site.lake(), table))
        .collect();
    let manifest = site.lake().join("_snapshots/2026-11-23.json");
    let before: Vec<(PathBuf, Vec<u8>)> = kept
        .into_iter()
        .chain([manifest])
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    let replacing = RunMode {
        start: StartMode::Replace,
        ..RunMode::default()
    };
    let env = backlake::pipeline::Surroundings {
        seed: 8,
        ..crate::harness::surroundings(&simulator, &clock)
    };
    backlake::pipeline::run(&site.pipeline(&simulator.url()), replacing, &env)
        .await
        .unwrap();
    assert_eq!(commits(&site, Table::Pages).len(), 2);
    // As if the machine had failed between the logs and the manifest, with files of both generations.
    for (path, bytes) in &before {
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::create_dir_all(site.lake().join("_staging/2026-11-23")).unwrap();
    std::fs::write(site.lake().join("_staging/2026-11-23/placing"), "").unwrap();
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(end.report.state, RunState::AlreadyPublished);
    assert_eq!(commits(&site, Table::Pages).len(), 3);
    let output = program().arg("verify").arg(site.lake()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
