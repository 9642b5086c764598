//! What is archived can be published again for nothing: the same rows in the same files, by another contract, or with
//! what was held; and a date can be fetched anew without its readers seeing half of either.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::Array as _;
use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use backlake::clock::Clock;
use backlake::contract::{ItemType, Table};
use backlake::error::ErrorKind;
use backlake::flatten::Drifted;
use backlake::pipeline::{
    Overrides, Pipeline, Progress, RunEnd, RunState, Surroundings, replay, run,
};
use backlake::simulator::{Behaviour, Simulator};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use crate::harness::{Site, files, noon, simulator, surroundings};

fn targets(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| {
        if n % 3 == 0 {
            format!("d{n}.com")
        } else {
            format!("https://e{}.org/{n}", n % 40)
        }
    })
}

/// The site's pipeline with more said on the command line.
fn pipeline(site: &Site, more: Overrides) -> Pipeline {
    Pipeline::parse("test.toml", &site.text(), more, &Clock::simulated(noon())).unwrap()
}

async fn replayed(site: &Site, simulator: &std::sync::Arc<Simulator>, clock: &Clock) -> RunEnd {
    let url = Some(simulator.url());
    let pipeline = pipeline(
        site,
        Overrides {
            base_url: url,
            ..Overrides::default()
        },
    );
    replay(&pipeline, &surroundings(simulator, clock))
        .await
        .unwrap()
}

/// Every file of the four tables, by its path in the lake.
fn published(lake: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = Table::ALL.into_iter().flat_map(|table| files(lake, table));
    all.map(|path| {
        (
            path.strip_prefix(lake).unwrap().display().to_string(),
            std::fs::read(&path).unwrap(),
        )
    })
    .collect()
}

fn manifest(lake: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(lake.join("_snapshots/2026-11-23.json")).unwrap())
        .unwrap()
}

/// What `verify` finds.
fn problems(site: &Site) -> Vec<String> {
    let output = crate::harness::program()
        .arg("verify")
        .arg(site.lake())
        .args(["--output", "json"])
        .output();
    let report: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let audits = report["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|audit| audit["problems"].as_array().unwrap());
    audits
        .chain(report["strays"].as_array().unwrap())
        .map(|found| found.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn lost_and_damaged_files_are_rebuilt_to_the_byte_for_nothing() {
    let site = Site::new(targets(2500));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let (before, requests, told) = (
        published(&site.lake()),
        simulator.requests(),
        manifest(&site.lake()),
    );

    std::fs::remove_dir_all(site.lake().join("pages")).unwrap();
    std::fs::remove_file(&files(&site.lake(), Table::Requests)[0]).unwrap();
    let damaged = &files(&site.lake(), Table::Breakdowns)[0];
    std::fs::write(damaged, "rubbish").unwrap();
    std::fs::write(damaged.with_file_name("stray.parquet"), "rubbish").unwrap();
    assert!(problems(&site).len() >= 4);

    let end = replayed(&site, &simulator, &clock).await;
    assert_eq!(
        (end.report.state, end.report.items),
        (RunState::Published, told["items"].as_u64().unwrap())
    );
    assert_eq!(published(&site.lake()), before);
    assert_eq!(
        (manifest(&site.lake()), simulator.requests()),
        (told, requests)
    );
    assert_eq!(problems(&site), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_replay_knows_every_line_as_the_run_has_read_it() {
    let mut list = b"url,client\n".to_vec();
    for (n, target) in targets(900).enumerate() {
        list.extend(format!("{target},client {}\n", n % 7).bytes());
    }
    list.extend(
        b"d0.com,again\nnot a target,x\nhttps://caf\xe9.fr/,latin\nhttps://e1.org/1,\n,empty\n",
    );
    let site = Site::new([""]);
    let path = site.write("list.csv", &list);
    let site = site.with_targets(&format!(
        "paths = [\"{}\"]\nkeep = [\"client\"]\nbare_url = \"domain\"",
        path.display()
    ));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let before = published(&site.lake());
    std::fs::write(path, "url,client\nelsewhere.com,x\n").unwrap();
    let end = replayed(&site, &simulator, &clock).await;
    assert_eq!((end.report.vanished, end.report.lines), (0, 905));
    assert!(before == published(&site.lake()), "the tables differ");
}

/// Puts fields into every archived item, as if the provider had sent them.
fn send_more(lake: &Path, date: &str, field: &str, value: impl Fn(usize) -> serde_json::Value) {
    for entry in std::fs::read_dir(lake.join("_archive").join(date)).unwrap() {
        let path = entry.unwrap().path();
        let body = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
        let mut answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let items = answer["tasks"][0]["result"][0]["items"]
            .as_array_mut()
            .unwrap();
        for (n, item) in items.iter_mut().enumerate() {
            item[field] = value(n);
        }
        let body = serde_json::to_vec(&answer).unwrap();
        std::fs::write(path, zstd::bulk::compress(&body, 3).unwrap()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_contract_reads_an_old_archive_and_adopts_what_was_kept_in_extra() {
    let site = Site::new(targets(1200));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    send_more(&site.lake(), "2026-11-23", "page_authority", |n| {
        (n as i64).into()
    });

    // What no contract knows is kept, counted, and shown with the line that would adopt it.
    let end = replayed(&site, &simulator, &clock).await;
    let [drift] = end.report.findings.drift.as_slice() else {
        panic!("{:?}", end.report.findings)
    };
    assert_eq!(
        (drift.field.as_str(), drift.what, drift.items),
        ("page_authority", Drifted::Unknown, end.report.items)
    );
    assert_eq!(drift.example.as_deref(), Some("0"));
    let extra = site.table(Table::Pages);
    let extra = extra.column_by_name("extra").unwrap();
    assert_eq!(
        (
            extra.null_count(),
            manifest(&site.lake())["generation"].as_u64()
        ),
        (0, Some(2))
    );

    // The contract that it names is adopted by its file.
    let v1 = Table::Pages.contract();
    let v2 = v1.text().replace("\nversion = 1", "\nversion = 2")
        + "\n"
        + drift.adopt.as_deref().unwrap();
    let v2 = site.write(
        "pages.v2.toml",
        v2.replace("meaning = \"\"", "meaning = \"authority of the page\""),
    );
    let site = site.with("[publish]\non_drift = \"hold\"");
    let site = site.with_lake(&format!("contracts = [\"{}\"]", v2.display()));
    let text = site.text();
    let overrides = Overrides {
        base_url: Some(simulator.url()),
        ..Overrides::default()
    };
    let adopting = Pipeline::parse("test.toml", &text, overrides, &clock).unwrap();
    let end = replay(&adopting, &surroundings(&simulator, &clock))
        .await
        .unwrap();
    assert!(
        end.error.is_none() && end.report.findings.drift.is_empty(),
        "{:?}",
        end.error
    );
    let told = manifest(&site.lake());
    assert_eq!(
        (
            told["generation"].as_u64(),
            &told["tables"]["pages"]["contract"]
        ),
        (Some(3), &"pages.v2".into())
    );
    assert_eq!(problems(&site), [""; 0]);
    let mut seen = 0;
    for path in files(&site.lake(), Table::Pages) {
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let adopted = batch
                .column_by_name("page_authority")
                .unwrap()
                .as_primitive::<Int64Type>();
            assert_eq!(
                (
                    adopted.null_count(),
                    batch.column_by_name("extra").unwrap().null_count()
                ),
                (0, batch.num_rows())
            );
            seen += batch.num_rows() as u64;
        }
    }
    assert_eq!(seen, end.report.items);

    // The same version with another meaning is refused: the lake keeps the contract that its files keep.
    let other = std::fs::read_to_string(&v2)
        .unwrap()
        .replace("authority of the page", "something else");
    std::fs::write(&v2, other).unwrap();
    let overrides = Overrides {
        base_url: Some(simulator.url()),
        ..Overrides::default()
    };
    let adopting = Pipeline::parse("test.toml", &text, overrides, &clock).unwrap();
    let error = replay(&adopting, &surroundings(&simulator, &clock))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("_contracts/pages.v2.toml"),
        "{error}"
    );
    assert_eq!((error.kind(), problems(&site)), (ErrorKind::Usage, vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_archive_with_holes_never_takes_the_place_of_what_is_published() {
    for lost in [
        "_archive/2026-11-23",
        "_runs/2026-11-23/intents",
        "_runs/2026-11-23/attempts",
    ] {
        let site = Site::new(targets(2500));
        let (simulator, clock) = simulator(Behaviour::default()).await;
        assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
        let (before, told) = (published(&site.lake()), manifest(&site.lake()));
        let (items, fates) = (told["items"].as_u64().unwrap(), told["fates"].clone());
        let mut objects: Vec<PathBuf> = std::fs::read_dir(site.lake().join(lost))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        objects.sort();
        std::fs::remove_file(&objects[0]).unwrap();
        let overrides = Overrides {
            base_url: Some(simulator.url()),
            ..Overrides::default()
        };
        let books = walk(&site.lake().join("_runs/2026-11-23/attempts"));
        let end = replay(
            &pipeline(&site, overrides),
            &surroundings(&simulator, &clock),
        )
        .await;
        // Of a lost entry the archived answer tells enough to go on, but not how long it took.
        if lost.ends_with("attempts") {
            let report = end.unwrap().report;
            assert_eq!((report.state, report.items), (RunState::Published, items));
        } else {
            let error = end.unwrap_err();
            assert!(
                error.hint().contains("_archive"),
                "{lost}: {}",
                error.hint()
            );
            assert!(published(&site.lake()) == before, "{lost}");
            assert_eq!(
                walk(&site.lake().join("_runs/2026-11-23/attempts")),
                books,
                "{lost}"
            );
        }
        assert_eq!(problems(&site), [""; 0], "{lost}");
        let told = manifest(&site.lake());
        assert_eq!(
            (told["items"].as_u64(), &told["fates"]),
            (Some(items), &fates),
            "{lost}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_drifts_is_held_where_that_is_asked_for_and_published_when_it_is_accepted() {
    let site = Site::new(targets(1200)).with("[publish]\non_drift = \"hold\"");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    // The provider changes before the answers are read.
    let on_progress = |progress: Progress| {
        if matches!(progress, Progress::Publishing { .. }) {
            send_more(&site.lake(), "2026-11-23", "rank", |n| {
                if n == 0 { "high".into() } else { 7.into() }
            });
        }
    };
    let env = Surroundings {
        on_progress: &on_progress,
        ..surroundings(&simulator, &clock)
    };
    let base_url = || Some(simulator.url());
    let held = run(
        &pipeline(
            &site,
            Overrides {
                base_url: base_url(),
                ..Overrides::default()
            },
        ),
        &env,
    )
    .await
    .unwrap();
    let error = held.error.unwrap();
    assert_eq!(
        (error.kind(), held.report.state),
        (ErrorKind::Held, RunState::Open)
    );
    assert!(
        error.to_string().contains("`rank` does not fit its type")
            && error.hint().contains("--accept"),
        "{error}"
    );
    assert!(!site.lake().join("pages").exists() && !site.lake().join("_snapshots").exists());
    let asked = simulator.requests();

    let accepting = Overrides {
        base_url: base_url(),
        accept: true,
        ..Overrides::default()
    };
    let end = replay(
        &pipeline(&site, accepting),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    assert_eq!(
        (end.report.state, simulator.requests()),
        (RunState::Published, asked)
    );
    assert_eq!(problems(&site), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_not_as_the_one_before_is_named_and_held() {
    let site = Site::new(targets(1500));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    site.write(
        "targets.txt",
        targets(300).map(|target| target + "\n").collect::<String>(),
    );
    let site = site.with("[publish]\non_change = \"hold\"\nmax_total_change = 100.0");
    let next_day = |accept| Overrides {
        base_url: Some(simulator.url()),
        snapshot: Some("2026-11-24".parse().unwrap()),
        accept,
        ..Overrides::default()
    };
    let held = run(
        &pipeline(&site, next_day(false)),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    let error = held.error.unwrap().to_string();
    assert!(
        error.contains("rows went from") && held.report.state == RunState::Open,
        "{error}"
    );
    let [change] = held.report.findings.changes.as_slice() else {
        panic!("{:?}", held.report.findings)
    };
    assert!(
        change.figure == "rows" && change.change < -0.7,
        "{change:?}"
    );
    let end = run(
        &pipeline(&site, next_day(true)),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    assert_eq!(end.report.state, RunState::Published);
}

/// What readers see at a moment: rows by glob of each table, and by what the manifest names.
fn seen(lake: &Path) -> ([usize; 4], Option<(String, [usize; 4])>) {
    let rows = |paths: Vec<PathBuf>| -> usize {
        let files = paths.into_iter().map(|path| {
            let file = std::fs::File::open(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                .unwrap()
                .build()
                .unwrap();
            reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>()
        });
        files.sum()
    };
    let by_glob = Table::ALL.map(|table| rows(files(lake, table)));
    let by_manifest = lake.join("_snapshots/2026-11-23.json").exists().then(|| {
        let told = manifest(lake);
        let named = Table::ALL.map(|table| {
            let named = told["tables"][table.name()]["files"].as_array().unwrap();
            rows(
                named
                    .iter()
                    .map(|file| lake.join(file["path"].as_str().unwrap()))
                    .collect(),
            )
        });
        (told["run"].as_str().unwrap().to_owned(), named)
    });
    (by_glob, by_manifest)
}

#[tokio::test(start_paused = true)]
async fn readers_see_each_table_whole_at_every_step_of_a_publication() {
    let site = Site::new(targets(1200));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let steps = std::sync::Mutex::new(Vec::new());
    let on_progress = |progress: Progress| {
        if matches!(
            progress,
            Progress::Staged | Progress::Moved | Progress::Manifested
        ) {
            steps.lock().unwrap().push(seen(&site.lake()));
        }
    };
    let env = Surroundings {
        on_progress: &on_progress,
        ..surroundings(&simulator, &clock)
    };
    let overrides = || Overrides {
        base_url: Some(simulator.url()),
        ..Overrides::default()
    };
    assert!(
        run(&pipeline(&site, overrides()), &env)
            .await
            .unwrap()
            .error
            .is_none()
    );
    let (whole, named) = seen(&site.lake());
    let steps = steps.into_inner().unwrap();
    assert_eq!(steps.len(), 6);
    for (number, (by_glob, by_manifest)) in steps.iter().enumerate() {
        for (table, rows) in by_glob.iter().enumerate() {
            assert_eq!(
                *rows,
                if table < number { whole[table] } else { 0 },
                "step {number}, table {table}"
            );
        }
        assert_eq!(by_manifest.is_some(), number == 5);
    }
    assert_eq!(named.unwrap().1, whole);
}

#[tokio::test(start_paused = true)]
async fn a_date_is_fetched_anew_and_readers_of_the_manifest_switch_in_one_step() {
    let site = Site::new(targets(1200));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let (first, asked) = (seen(&site.lake()).1.unwrap(), simulator.ledger().len());
    site.write(
        "targets.txt",
        targets(1500)
            .map(|target| target + "\n")
            .collect::<String>(),
    );
    let replacing = || {
        let base_url = Some(simulator.url());
        pipeline(
            &site,
            Overrides {
                base_url,
                replace: true,
                ..Overrides::default()
            },
        )
    };

    // Broken off once some tables stand beside those they replace: readers of the manifest see what was.
    let steps = std::sync::Mutex::new(Vec::new());
    let on_progress = |progress: Progress| {
        if matches!(progress, Progress::Staged | Progress::Moved) {
            let mut steps = steps.lock().unwrap();
            steps.push(seen(&site.lake()).1.unwrap());
            if steps.len() == 3 {
                panic!("broken off");
            }
        }
    };
    let env = Surroundings {
        on_progress: &on_progress,
        seed: 8,
        ..surroundings(&simulator, &clock)
    };
    let first_try = replacing();
    let broken = std::panic::AssertUnwindSafe(run(&first_try, &env));
    assert!(futures::FutureExt::catch_unwind(broken).await.is_err());
    assert!(
        steps
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .iter()
            .all(|seen| *seen == first)
    );
    let paid = simulator.ledger().len();
    assert!(paid > asked);
    // Without --replace nothing is begun anew.
    assert_eq!(
        site.run(&simulator, &clock).await.unwrap().report.state,
        RunState::AlreadyPublished
    );
    assert_eq!(seen(&site.lake()).1.unwrap(), first);

    // The same command continues, and asks for nothing that is archived.
    let steps = std::sync::Mutex::new(Vec::new());
    let on_progress = |progress: Progress| {
        if matches!(
            progress,
            Progress::Staged | Progress::Moved | Progress::Manifested
        ) {
            steps.lock().unwrap().push(seen(&site.lake()).1.unwrap());
        }
    };
    // The lock of a process that lives on, but whose run is gone, is taken over once it is old.
    clock.sleep(std::time::Duration::from_secs(90)).await;
    let env = Surroundings {
        on_progress: &on_progress,
        seed: 9,
        ..surroundings(&simulator, &clock)
    };
    let end = run(&replacing(), &env).await.unwrap();
    assert_eq!(
        (end.report.state, end.report.lines, simulator.ledger().len()),
        (RunState::Published, 1500, paid)
    );
    let (by_glob, named) = seen(&site.lake());
    let named = named.unwrap();
    assert!(
        named.0 != first.0 && named.1 == by_glob,
        "{named:?} {by_glob:?}"
    );
    let steps = steps.into_inner().unwrap();
    assert!(
        steps[..5].iter().all(|seen| *seen == first) && steps[5] == named,
        "{steps:?}"
    );
    assert_eq!(
        (
            problems(&site),
            site.lake().join("_staging/2026-11-23").exists()
        ),
        (vec![], false)
    );
    assert_eq!(manifest(&site.lake())["generation"].as_u64(), Some(2));
    // What is published now is what a replay rebuilds.
    let before = published(&site.lake());
    replayed(&site, &simulator, &clock).await;
    assert!(published(&site.lake()) == before);
}

#[tokio::test(start_paused = true)]
async fn pruning_says_first_and_takes_whole_dates_and_never_the_newest() {
    let site = Site::new(targets(300));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    for day in 20..24 {
        let snapshot = Some(format!("2026-11-{day}").parse().unwrap());
        let overrides = Overrides {
            base_url: Some(simulator.url()),
            snapshot,
            ..Overrides::default()
        };
        let end = run(
            &pipeline(&site, overrides),
            &surroundings(&simulator, &clock),
        )
        .await
        .unwrap();
        assert!(end.error.is_none());
    }
    // A run that was begun and is not published: what it has paid for stays.
    std::fs::create_dir_all(site.lake().join("_runs/2026-01-01")).unwrap();
    std::fs::create_dir_all(site.lake().join("_archive/2026-01-01")).unwrap();
    std::fs::write(site.lake().join("_runs/2026-01-01/run.json"), "{}").unwrap();
    std::fs::write(site.lake().join("_archive/2026-01-01/0-1.json.zst"), "paid").unwrap();
    let prune = |more: &[&str]| {
        let output = crate::harness::program()
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
    let everything = || walk(&site.lake());
    let before = everything();
    assert_eq!((prune(&rules), everything()), (expected.clone(), before));
    assert_eq!(prune(&[&rules[..], &["--yes"]].concat()), expected);
    assert_eq!(problems(&site), [""; 0]);
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
    // A replacement that was begun has paid for what it needs: its date stays as it is.
    std::fs::write(
        site.lake().join("_runs/2026-11-22/run.2.json"),
        std::fs::read(site.lake().join("_runs/2026-11-22/run.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(prune(&["--keep-snapshots", "1"]), (vec![], vec![]));
    let nothing = crate::harness::program()
        .arg("prune")
        .arg(site.lake())
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn partitions_say_that_they_are_whole_where_that_is_asked_for() {
    let site = Site::new(targets(300)).with("[publish]\nsuccess_file = true");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    for table in Table::ALL {
        assert!(
            site.lake()
                .join(table.name())
                .join("snapshot_date=2026-11-23/_SUCCESS")
                .exists()
        );
    }
    assert_eq!(problems(&site), [""; 0]);
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path))
        } else {
            found.push(path.display().to_string())
        }
    }
    found.sort();
    found
}

proptest! {
    #[test]
    fn any_adopted_field_is_a_contract_that_follows(field in "[a-z_\"\\\\ é.]{1,12}", kind in 0_usize..4) {
        let kind = [ItemType::Int64, ItemType::Timestamp, ItemType::CountsByKey, ItemType::Utf8][kind];
        let v1 = Table::Pages.contract();
        prop_assume!(v1.columns.iter().all(|column| column.name != field));
        let v2 = v1.text().replace("\nversion = 1", "\nversion = 2") + "\n" + &v1.adopting(&field, kind);
        let v2 = backlake::contract::Contract::parse(&v2).unwrap();
        prop_assert_eq!(v2.follows(v1), Ok(()));
        prop_assert_eq!(v2.columns.last().unwrap().item_name(), Some(field.as_str()));
    }
}
