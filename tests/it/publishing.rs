//! A snapshot is all there or not there, and reads the same to everyone; what is wrong with one is found and named.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backlake::contract::Table;
use backlake::error::ErrorKind;
use backlake::pipeline::{Progress, RunMode, RunState, Surroundings, run};
use backlake::simulator::Behaviour;
use futures::future::BoxFuture;
use object_store::path::Path;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use crate::harness::{Site, files, program, simulator, surroundings, text};
use crate::interfering::{Interference, Operation};
use crate::world::{Command, World, simulated};

async fn published() -> Site {
    let lines = (0..900).map(|n| {
        if n % 3 == 0 {
            format!("d{n}.com")
        } else {
            format!("https://e{}.org/{n}", n % 40)
        }
    });
    let site = Site::new(lines.chain(["not a target".to_owned()]));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert!(end.error.is_none(), "{:?}", end.error);
    site
}

fn file(site: &Site, table: Table) -> PathBuf {
    files(&site.lake(), table).remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_published_snapshot_passes_its_audit_and_is_listed() {
    let site = published().await;
    assert_eq!(site.problems(), [""; 0]);
    let output = program()
        .arg("snapshots")
        .arg(site.lake())
        .output()
        .unwrap();
    assert!(
        text(&output.stdout).contains("2026-11-23"),
        "{}",
        text(&output.stdout)
    );
    assert!(!site.lake().join("_staging/2026-11-23").exists());
}

#[tokio::test(start_paused = true)]
async fn running_again_says_that_it_is_published_and_sends_nothing() {
    let site = published().await;
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert!(end.error.is_none());
    assert_eq!(
        (end.report.state, simulator.ledger().len()),
        (RunState::AlreadyPublished, 0)
    );
    let output = site.program("run", &["--base-url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).contains("is already published"),
        "{}",
        text(&output.stdout)
    );
}

#[tokio::test(start_paused = true)]
async fn another_pipeline_is_not_told_that_its_snapshot_is_published() {
    let site = published().await;
    let file = site.write(
        "other.toml",
        site.text().replace("name = \"test\"", "name = \"other\""),
    );
    let output = program()
        .arg("run")
        .arg(file)
        .args(["--base-url", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("was started with different settings: pipeline"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test(start_paused = true)]
async fn what_no_manifest_vouches_for_is_found() {
    let site = published().await;
    let manifests = site.lake().join("_snapshots");
    std::fs::copy(
        manifests.join("2026-11-23.json"),
        manifests.join("2026-11-24.json"),
    )
    .unwrap();
    std::fs::create_dir_all(site.lake().join("pages/snapshot_date=2026-11-25")).unwrap();
    std::fs::write(
        site.lake().join("pages/snapshot_date=2026-11-25/x.parquet"),
        "",
    )
    .unwrap();
    let output = program().arg("verify").arg(site.lake()).output().unwrap();
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{shown}");
    assert!(shown.contains("2026-11-23  ok"), "{shown}");
    assert!(
        shown.contains("the manifest of 2026-11-24 has the date 2026-11-23"),
        "{shown}"
    );
    assert!(
        shown.contains("pages/snapshot_date=2026-11-25/x.parquet is not listed in any manifest"),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_found() {
    let site = published().await;
    let path = file(&site, Table::Pages);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let problems = site.problems();
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("pages/") && problem.contains("different SHA-256")),
        "{problems:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_was_edited_by_hand_is_found_whatever_the_edit() {
    let site = published().await;
    let path = site.lake().join("_snapshots/2026-11-23.json");
    let written = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    for at in (1..lines.len() - 1).step_by(7) {
        let mut edited: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        edited[at] = edited[at].replace(['1', '7', 'a'], "8");
        if edited[at] == lines[at] {
            edited[at].push(' ');
        }
        std::fs::write(&path, edited.join("\n") + "\n").unwrap();
        let problems = site.problems();
        assert!(
            problems
                .iter()
                .any(|problem| problem.contains("2026-11-23.json")),
            "{problems:?}"
        );
    }
    std::fs::write(&path, written).unwrap();
    assert_eq!(site.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_a_cut_and_a_stray_file_are_found() {
    let site = published().await;
    std::fs::remove_file(file(&site, Table::Requests)).unwrap();
    let targets = file(&site, Table::Targets);
    let bytes = std::fs::read(&targets).unwrap();
    std::fs::write(&targets, &bytes[..bytes.len() - 10]).unwrap();
    std::fs::write(
        file(&site, Table::Pages).with_file_name("stray.parquet"),
        bytes,
    )
    .unwrap();
    let problems = site.problems();
    for words in [
        ["requests/", "is missing"],
        ["targets/", "cannot be read"],
        ["stray.parquet", "not listed in any manifest"],
    ] {
        assert!(
            problems
                .iter()
                .any(|problem| words.iter().all(|word| problem.contains(word))),
            "{words:?}: {problems:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_edited_by_hand_is_found() {
    let site = published().await;
    let path = site.lake().join("_snapshots/2026-11-23.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest["fates"]["returned"] = (manifest["fates"]["returned"].as_u64().unwrap() - 1).into();
    manifest["requests"]["cost_usd"] = "0.01".into();
    std::fs::write(&path, manifest.to_string()).unwrap();
    let problems = site.problems();
    for word in [
        "the sum of their fates",
        "are returned, the manifest says",
        "the manifest says $0.01",
    ] {
        assert!(
            problems.iter().any(|problem| problem.contains(word)),
            "{word}: {problems:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_off_publication_left_is_replaced() {
    let site = published().await;
    // As if the machine had gone down between the tables and the manifest.
    std::fs::remove_file(site.lake().join("_snapshots/2026-11-23.json")).unwrap();
    std::fs::write(
        file(&site, Table::Breakdowns).with_file_name("half.parquet"),
        "",
    )
    .unwrap();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(
        (end.report.state, simulator.ledger().len()),
        (RunState::Published, 0)
    );
    assert_eq!(site.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn files_say_what_they_are_and_how_they_are_sorted() {
    let site = published().await;
    for table in Table::ALL {
        for path in files(&site.lake(), table) {
            let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
            let metadata = reader.metadata();
            let pairs = metadata.file_metadata().key_value_metadata().unwrap();
            assert!(
                pairs.iter().any(|pair| pair.key == "backlake.contract"
                    && pair.value == Some(table.contract().id()))
            );
            let row_group = metadata.row_group(0);
            let sorting: Vec<String> = row_group
                .sorting_columns()
                .unwrap()
                .iter()
                .map(|column| {
                    row_group
                        .column(column.column_idx as usize)
                        .column_path()
                        .string()
                })
                .collect();
            assert_eq!(sorting, table.contract().sort, "{}", path.display());
            for column in row_group.columns() {
                assert!(
                    column.compression().to_string().starts_with("ZSTD"),
                    "{}",
                    column.column_path()
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_staged_is_audited_before_anyone_sees_it() {
    let site = Site::new((0..500).map(|n| format!("https://example.com/{n}")));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let pipeline = site.pipeline(&simulator.url());
    let staging = site.lake().join("_staging/2026-11-23");
    let staged = || {
        let run = std::fs::read_dir(&staging)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        std::fs::read_dir(run.join("pages"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    };
    // A disk that flips a bit between writing and publishing.
    let on_progress = |progress: Progress| {
        if progress == Progress::Staged {
            let mut bytes = std::fs::read(staged()).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(staged(), bytes).unwrap();
        }
    };
    let env = Surroundings {
        on_progress: &on_progress,
        ..surroundings(&simulator, &clock)
    };
    let error = run(&pipeline, RunMode::default(), &env).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    let name = staged().file_name().unwrap().to_string_lossy().into_owned();
    assert!(
        error.to_string().contains(&name) && error.to_string().contains("SHA-256"),
        "{error}"
    );
    assert!(
        !site.lake().join("pages").exists() && error.hint().contains("_staging/2026-11-23"),
        "{}",
        error.hint()
    );
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(
        (end.report.state, simulator.ledger().len()),
        (RunState::Published, 1)
    );
    assert_eq!(site.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_look_up_needs_is_in_every_row_group() {
    let site = published().await;
    for (table, columns) in [
        (Table::Pages, &["target", "url"][..]),
        (Table::Targets, &["target"]),
        (Table::Breakdowns, &["target"]),
    ] {
        for path in files(&site.lake(), table) {
            let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
            for group in reader.metadata().row_groups() {
                for column in group.columns() {
                    let name = column.column_path().string();
                    if columns.contains(&&*name) {
                        let statistics = column.statistics().unwrap();
                        assert!(
                            statistics.min_is_exact() && statistics.max_is_exact(),
                            "{}",
                            path.display()
                        );
                        // Small for few values: some twenty bits each, rounded up to a power of two.
                        let bytes = column.bloom_filter_length().unwrap();
                        assert!(
                            bytes > 0 && i64::from(bytes) <= 64 + 8 * group.num_rows(),
                            "{}: {bytes}",
                            path.display()
                        );
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_column_has_statistics_but_maps() {
    let site = published().await;
    for path in Table::ALL.map(|table| files(&site.lake(), table)).concat() {
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let name = column.column_path().string();
                let is_in_a_map = name.contains('.');
                assert_eq!(column.statistics().is_some(), !is_in_a_map, "{name}");
            }
        }
    }
}

/// Notes when the writes of objects begin and when they have happened.
#[derive(Debug, Default)]
struct Noting(Mutex<Vec<(Operation, String, When)>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Begins,
    Ends,
}

#[async_trait]
impl Interference for Noting {
    async fn around(
        &self,
        operation: Operation,
        path: &Path,
        work: BoxFuture<'_, object_store::Result<()>>,
    ) -> object_store::Result<()> {
        let note = |when| {
            let mut noted = self.0.lock().unwrap();
            noted.push((operation, path.to_string(), when));
        };
        if operation.is_write() {
            note(When::Begins);
            // Whatever else is sent with it begins now.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        let done = work.await;
        if operation.is_write() {
            note(When::Ends);
        }
        done
    }
}

#[test]
fn the_tables_of_a_snapshot_are_made_visible_together_to_readers_of_every_format() {
    simulated(async {
        let world = World::new(250, "table_formats = [\"delta\", \"iceberg\"]");
        let noting = Arc::new(Noting::default());
        world
            .play(Command::Run, &world.interfered(&noting))
            .await
            .unwrap();
        let noted = noting.0.lock().unwrap();
        type Shows = fn(Operation, &str) -> bool;
        let kinds: [(&str, Shows); 4] = [
            ("files", |operation, path| {
                let shows = [Operation::Put, Operation::Complete].contains(&operation);
                shows && path.ends_with(".parquet")
            }),
            ("Delta", |_, path| path.contains("/_delta_log/")),
            ("Iceberg", |_, path| path.ends_with("/v1.metadata.json")),
            ("hints", |_, path| path.ends_with("/version-hint.text")),
        ];
        for (kind, shows) in kinds {
            let shown = noted
                .iter()
                .filter(|(operation, path, _)| shows(*operation, path));
            let shown: Vec<When> = shown.map(|(.., when)| *when).collect();
            let together = [[When::Begins; 4], [When::Ends; 4]].concat();
            assert_eq!(shown, together, "{kind}");
        }
    });
}
