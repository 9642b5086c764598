//! What backlake deletes is its own: never what a link leads to, and never what someone has paid for
//! and still needs.

use std::path::Path;

use backlake::clock::Clock;
use backlake::pipeline::{RunMode, RunState, run};
use backlake::simulator::Behaviour;
use backlake::stop::Stop;
use backlake::store::{Owner, Store};
use backlake::upkeep::{Keep, prune, to_prune};

use crate::harness::{Site, mixed_targets as lines, program, simulator, surroundings, text};

/// Keeps only the newest.
const NEWEST: Keep = Keep {
    newest: Some(1),
    days: None,
};

async fn prune_all_but_the_newest(site: &Site, clock: &Clock) {
    let store = Store::open(site.lake().to_str().unwrap()).unwrap();
    let plan = to_prune(&store, NEWEST, NEWEST, clock.today())
        .await
        .unwrap();
    let owner = Owner::this_process();
    prune(&store, &plan, &owner, clock, &Stop::default())
        .await
        .unwrap();
}

/// The names of the files below a folder of the lake.
fn names(site: &Site, folder: &str) -> Vec<String> {
    let found = site.tree().into_keys();
    found.filter(|path| path.starts_with(folder)).collect()
}

#[tokio::test(start_paused = true)]
async fn pruning_keeps_the_paid_responses_of_a_new_run_of_a_date_that_was_pruned() {
    let site = Site::new(lines(300));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    for day in ["2026-11-22", "2026-11-23"] {
        let pipeline = site.pipeline_of(day.parse().unwrap(), &simulator.url());
        let env = surroundings(&simulator, &clock);
        assert!(
            run(&pipeline, RunMode::default(), &env)
                .await
                .unwrap()
                .error
                .is_none()
        );
    }
    prune_all_but_the_newest(&site, &clock).await;
    assert_eq!(names(&site, "_archive/2026-11-22"), [""; 0]);
    // The lists of the runs go with the archive, and the date gets a run with a new name.
    let left = names(&site, "_runs/2026-11-22");
    assert!(
        left.iter()
            .all(|path| !path.contains("zst") && !path.contains("run.json")),
        "{left:?}"
    );

    let mut pipeline = site.pipeline_of("2026-11-22".parse().unwrap(), &simulator.url());
    pipeline.budget.max_cost_usd = Some("0.05".parse().unwrap());
    let env = surroundings(&simulator, &clock);
    let end = run(&pipeline, RunMode::default(), &env).await.unwrap();
    assert_eq!(end.report.state, RunState::Open);
    let paid = names(&site, "_archive/2026-11-22");
    assert!(!paid.is_empty());
    prune_all_but_the_newest(&site, &clock).await;
    assert_eq!(names(&site, "_archive/2026-11-22"), paid);
}

#[tokio::test(start_paused = true)]
async fn pruning_keeps_a_replacement_that_began_after_its_plan_was_made() {
    let site = Site::new(lines(300));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    for day in ["2026-11-22", "2026-11-23"] {
        let pipeline = site.pipeline_of(day.parse().unwrap(), &simulator.url());
        let env = surroundings(&simulator, &clock);
        assert!(
            run(&pipeline, RunMode::default(), &env)
                .await
                .unwrap()
                .error
                .is_none()
        );
    }
    let store = Store::open(site.lake().to_str().unwrap()).unwrap();
    let plan = to_prune(&store, NEWEST, NEWEST, clock.today())
        .await
        .unwrap();
    assert_eq!((plan.snapshots.len(), plan.archives.len()), (1, 1));
    let runs = site.lake().join("_runs/2026-11-22");
    std::fs::copy(runs.join("run.json"), runs.join("run.2.json")).unwrap();
    let before = site.tree();
    let owner = Owner::this_process();
    prune(&store, &plan, &owner, &clock, &Stop::default())
        .await
        .unwrap();
    let mut after = site.tree();
    // Only the locks differ.
    after.retain(|path, _| !path.contains("/locks/"));
    assert!(
        after
            .iter()
            .all(|(path, bytes)| before.get(path) == Some(bytes))
    );
    assert_eq!(
        after.len(),
        before
            .keys()
            .filter(|path| !path.contains("/locks/"))
            .count()
    );
}

#[tokio::test(start_paused = true)]
async fn only_manifests_directly_in_their_folder_count_and_a_damaged_one_hides_no_other() {
    let site = Site::new(lines(300));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    for day in ["2026-11-21", "2026-11-22", "2026-11-23"] {
        let pipeline = site.pipeline_of(day.parse().unwrap(), &simulator.url());
        let env = surroundings(&simulator, &clock);
        assert!(
            run(&pipeline, RunMode::default(), &env)
                .await
                .unwrap()
                .error
                .is_none()
        );
    }
    // Someone has kept a copy under a later date.
    let manifests = site.lake().join("_snapshots");
    std::fs::create_dir(manifests.join("backup")).unwrap();
    let copy = manifests.join("backup/2027-01-01.json");
    std::fs::copy(manifests.join("2026-11-23.json"), copy).unwrap();
    prune_all_but_the_newest(&site, &clock).await;
    assert_eq!(names(&site, "_snapshots/2"), ["_snapshots/2026-11-23.json"]);
    assert!(!names(&site, "pages/").is_empty());

    std::fs::write(manifests.join("2026-11-20.json"), "{").unwrap();
    let listed = program()
        .arg("snapshots")
        .arg(site.lake())
        .output()
        .unwrap();
    for date in ["2026-11-20", "2026-11-23"] {
        let shown = text(&listed.stdout);
        assert!(shown.contains(date), "{shown}{}", text(&listed.stderr));
    }
}

/// Every command that deletes, with a link at every place that it deletes from.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn no_command_deletes_what_a_link_leads_to() {
    let places = [
        "_staging/2026-11-22",
        "_staging/2026-11-22/run",
        "pages/snapshot_date=2026-11-22/child",
        "_archive/2026-11-22/child",
        "_runs/2026-11-22/intents/child",
    ];
    for place in places {
        let site = Site::new(lines(300));
        for day in ["2026-11-22", "2026-11-23"] {
            assert!(site.program("run", &["--snapshot", day]).status.success());
        }
        let outside = tempfile::tempdir().unwrap();
        // As in a folder of the ledger, of staged files and of a partition.
        let names = ["00000-1.json.zst", "x.parquet", "00000-1.json"];
        for name in names {
            std::fs::write(outside.path().join(name), "outside").unwrap();
        }
        let link = site.lake().join(place);
        let put = |link: &Path| {
            let _ = std::fs::remove_file(link);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(outside.path(), link).unwrap();
        };
        put(&link);
        let untouched = |command: &str| {
            for name in names {
                let kept = std::fs::read_to_string(outside.path().join(name));
                assert_eq!(kept.ok().as_deref(), Some("outside"), "{command}, {place}");
            }
        };
        let file = site.write("pipeline.toml", site.text());
        let lake = site.lake();
        let yes = ["--yes"];
        let date = ["--snapshot", "2026-11-22"];
        let keep = ["--keep-snapshots", "1", "--keep-archives", "1", "--yes"];
        for (command, on, more) in [
            ("run", &file, &["--snapshot", "2026-11-22", "--replace"][..]),
            ("replay", &file, &date[..]),
            ("compact", &lake, &yes[..]),
            ("prune", &lake, &keep[..]),
        ] {
            let output = program().arg(command).arg(on).args(more).output().unwrap();
            let said = text(&output.stderr);
            untouched(command);
            // What is refused is named.
            let refused = output.status.code() == Some(1);
            assert!(
                output.status.success() || refused,
                "{command}, {place}: {said}"
            );
            assert!(
                !refused || said.contains("is a link"),
                "{command}, {place}: {said}"
            );
            if std::fs::symlink_metadata(&link).is_err() {
                put(&link);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_leaves_is_named_by_verify_and_deleted_by_the_next_start() {
    let site = Site::new(lines(300));
    assert!(site.program("run", &[]).status.success());
    let left = [
        ".backlake-2026-11-23-abc123",
        "_archive/2026-11-23/00007-1.json.zst#1",
        "_runs/2026-11-23/attempts/00007-1.json#4711000001",
        "_runs/2026-11-23/summary.json#4711000002",
        "_snapshots/2026-11-23.json#1",
        "_contracts/pages.v1.toml#1",
        "pages/snapshot_date=2026-11-23/x.parquet#1",
    ];
    // Files of a date whose lock another process may hold, and a name that only looks like one.
    let others = [".backlake-2026-11-24-abc123", "_archive/notes#one"];
    let before = site.tree().len();
    for name in left.into_iter().chain(others) {
        let path = site.lake().join(name);
        std::fs::write(&path, "").unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        file.set_modified(long_ago).unwrap();
    }
    let problems = site.problems();
    for name in left {
        let named = problems.iter().any(|problem| problem.starts_with(name));
        assert!(named, "{name}: {problems:?}");
    }
    assert!(site.program("replay", &[]).status.success());
    let after = site.tree();
    for name in left {
        assert!(!after.contains_key(name), "{name}");
    }
    for name in others {
        assert!(after.contains_key(name), "{name}");
    }
    assert_eq!(after.len(), before + others.len(), "{:?}", after.keys());
}
