//! Readers see each table completely or not at all, also while a date is published or replaced.

use std::path::PathBuf;
use std::sync::Arc;

use backlake::clock::Clock;
use backlake::contract::Table;
use backlake::pipeline::{Pipeline, Progress, RunMode, RunState, StartMode, Surroundings, run};
use backlake::simulator::{Behaviour, Simulator};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::harness::{Site, files, mixed_targets as lines, simulator, surroundings};

/// The rows of each table that readers see now: by glob, and by the files that the manifest names.
fn seen(site: &Site) -> ([usize; 4], Option<(String, [usize; 4])>) {
    let lake = &site.lake();
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
        let manifest = site.manifest();
        let named = Table::ALL.map(|table| {
            let named = manifest["tables"][table.name()]["files"]
                .as_array()
                .unwrap();
            rows(
                named
                    .iter()
                    .map(|file| lake.join(file["path"].as_str().unwrap()))
                    .collect(),
            )
        });
        (manifest["run"].as_str().unwrap().to_owned(), named)
    });
    (by_glob, by_manifest)
}

#[tokio::test(start_paused = true)]
async fn readers_see_each_table_completely_or_not_at_all_at_every_step() {
    let site = Site::new(lines(1200));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let steps = std::sync::Mutex::new(Vec::new());
    let on_progress = |progress: Progress| {
        if matches!(
            progress,
            Progress::Staged | Progress::Moved | Progress::Manifested
        ) {
            steps.lock().unwrap().push(seen(&site));
        }
    };
    let env = Surroundings {
        on_progress: &on_progress,
        ..surroundings(&simulator, &clock)
    };
    let pipeline = site.pipeline(&simulator.url());
    let end = run(&pipeline, RunMode::default(), &env).await.unwrap();
    assert!(end.error.is_none(), "{:?}", end.error);
    let (whole, named) = seen(&site);
    let steps = steps.into_inner().unwrap();
    assert_eq!(steps.len(), 6);
    for (number, (by_glob, by_manifest)) in steps.iter().enumerate() {
        // The tables appear together, in any order.
        let tables = by_glob.iter().zip(&whole);
        let appeared = tables.clone().filter(|(rows, whole)| rows == whole).count();
        let missing = tables.filter(|(rows, _)| **rows == 0).count();
        assert_eq!(appeared + missing, 4, "step {number}: {by_glob:?}");
        assert!(
            appeared >= number.min(4) && (number > 0 || appeared == 0),
            "step {number}: {by_glob:?}"
        );
        assert_eq!(by_manifest.is_some(), number == 5);
    }
    assert_eq!(named.unwrap().1, whole);
}

/// Starts a replacement and interrupts it once all tables are next to those they replace. Readers
/// of the manifest see the old files at every step.
async fn interrupt(
    site: &Site,
    pipeline: &Pipeline,
    replacing: RunMode,
    simulator: &Arc<Simulator>,
    clock: &Clock,
) {
    let first = seen(site).1.unwrap();
    let steps = std::sync::Mutex::new(Vec::new());
    let on_progress = |progress: Progress| {
        if matches!(progress, Progress::Staged | Progress::Moved) {
            let mut steps = steps.lock().unwrap();
            steps.push(seen(site).1.unwrap());
            if steps.len() == 5 {
                panic!("interrupted");
            }
        }
    };
    let env = Surroundings {
        on_progress: &on_progress,
        seed: 8,
        ..surroundings(simulator, clock)
    };
    let interrupted = std::panic::AssertUnwindSafe(run(pipeline, replacing, &env));
    assert!(futures::FutureExt::catch_unwind(interrupted).await.is_err());
    let steps = steps
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    assert!(steps.iter().all(|seen| *seen == first), "{steps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_date_is_fetched_again_and_readers_of_the_manifest_switch_in_one_step() {
    let site = Site::new(lines(1200));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let (first, asked) = (seen(&site).1.unwrap(), simulator.ledger().len());
    site.write(
        "targets.txt",
        lines(1500).map(|target| target + "\n").collect::<String>(),
    );
    let pipeline = site.pipeline(&simulator.url());
    let replacing = RunMode {
        start: StartMode::Replace,
        ..RunMode::default()
    };

    interrupt(&site, &pipeline, replacing, &simulator, &clock).await;
    let paid = simulator.ledger().len();
    assert!(paid > asked);
    // Readers of the manifest see the old files. Without --replace, nothing is started.
    assert_eq!(seen(&site).1.unwrap(), first);
    assert_eq!(
        site.run(&simulator, &clock).await.unwrap().report.state,
        RunState::AlreadyPublished
    );
    assert_eq!(seen(&site).1.unwrap(), first);

    // The same command continues, and asks only for what is not archived.
    let steps = std::sync::Mutex::new(Vec::new());
    let on_progress = |progress: Progress| {
        if matches!(
            progress,
            Progress::Staged | Progress::Moved | Progress::Manifested
        ) {
            steps.lock().unwrap().push(seen(&site).1.unwrap());
        }
    };
    // The lock of a process whose run has ended without releasing it expires.
    clock.sleep(std::time::Duration::from_secs(90)).await;
    let env = Surroundings {
        on_progress: &on_progress,
        seed: 9,
        ..surroundings(&simulator, &clock)
    };
    let end = run(&pipeline, replacing, &env).await.unwrap();
    assert_eq!(
        (end.report.state, end.report.lines, simulator.ledger().len()),
        (RunState::Published, 1500, paid)
    );
    let (by_glob, named) = seen(&site);
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
            site.problems(),
            site.lake().join("_staging/2026-11-23").exists()
        ),
        (vec![], false)
    );
    assert_eq!(site.manifest()["generation"].as_u64(), Some(2));
    // A replay rebuilds what is published now.
    let before = site.published_files();
    site.replay(&simulator, &clock).await.unwrap();
    assert!(site.published_files() == before);
}

#[tokio::test(start_paused = true)]
async fn partitions_get_a_success_file_if_the_pipeline_says_so() {
    let site = Site::new(lines(300)).with("[publish]\nsuccess_file = true");
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
    assert_eq!(site.problems(), [""; 0]);
}
