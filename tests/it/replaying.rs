//! An archived snapshot can be published again for free: the same rows in the same files, or by
//! another contract.

use std::path::PathBuf;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use backlake::contract::{ItemType, Table};
use backlake::error::ErrorKind;
use backlake::flatten::Drifted;
use backlake::pipeline::RunState;
use backlake::simulator::Behaviour;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use crate::altered::add_field;
use crate::harness::{Site, files, mixed_targets as lines, simulator};

#[tokio::test(start_paused = true)]
async fn lost_and_damaged_files_are_rebuilt_to_the_byte_for_free() {
    let site = Site::new(lines(2500));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let (before, requests, manifest) = (
        site.published_files(),
        simulator.requests(),
        site.manifest(),
    );

    std::fs::remove_dir_all(site.lake().join("pages")).unwrap();
    std::fs::remove_file(&files(&site.lake(), Table::Requests)[0]).unwrap();
    let damaged = &files(&site.lake(), Table::Breakdowns)[0];
    std::fs::write(damaged, "rubbish").unwrap();
    std::fs::write(damaged.with_file_name("stray.parquet"), "rubbish").unwrap();
    assert!(site.problems().len() >= 4);

    let end = site.replay(&simulator, &clock).await.unwrap();
    assert_eq!(
        (end.report.state, end.report.items),
        (RunState::Published, manifest["items"].as_u64().unwrap())
    );
    assert_eq!(site.published_files(), before);
    assert_eq!(
        (site.manifest(), simulator.requests()),
        (manifest, requests)
    );
    assert_eq!(site.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn lost_files_are_replaced_by_different_ones_under_names_of_their_own() {
    for lost in [&[Table::Pages][..], &Table::ALL] {
        let site = Site::new(lines(1200));
        let (simulator, clock) = simulator(Behaviour::default()).await;
        assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
        for table in lost {
            std::fs::remove_dir_all(site.lake().join(table.name())).unwrap();
        }
        add_field(&site, "page_authority", |n| (n as i64).into());
        let end = site.replay(&simulator, &clock).await.unwrap();
        assert!(end.error.is_none(), "{:?}", end.error);
        assert_eq!(site.manifest()["generation"], 2);
        assert_eq!(site.problems(), [""; 0]);
        let pages = site.table(Table::Pages);
        assert_eq!(pages.num_rows() as u64, end.report.items);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_uses_the_target_list_that_the_run_has_read() {
    let mut list = b"url,client\n".to_vec();
    for (n, target) in lines(900).enumerate() {
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
    let before = site.published_files();
    std::fs::write(path, "url,client\nelsewhere.com,x\n").unwrap();
    let end = site.replay(&simulator, &clock).await.unwrap();
    assert_eq!((end.report.vanished, end.report.lines), (0, 905));
    assert!(before == site.published_files(), "the tables differ");
}

#[tokio::test(start_paused = true)]
async fn a_later_contract_adopts_fields_that_were_kept_in_extra() {
    let site = Site::new(lines(1200));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    add_field(&site, "page_authority", |n| (n as i64).into());

    // A field that is in no contract is kept, counted, and reported with the lines that would adopt
    // it.
    let end = site.replay(&simulator, &clock).await.unwrap();
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
        (extra.null_count(), site.manifest()["generation"].as_u64()),
        (0, Some(2))
    );

    // A contract with these lines adopts the field.
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
    let end = site.replay(&simulator, &clock).await.unwrap();
    assert!(
        end.error.is_none() && end.report.findings.drift.is_empty(),
        "{:?}",
        end.error
    );
    let manifest = site.manifest();
    assert_eq!(
        (
            manifest["generation"].as_u64(),
            &manifest["tables"]["pages"]["contract"]
        ),
        (Some(3), &"pages.v2".into())
    );
    assert_eq!(site.problems(), [""; 0]);
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

    // The same version with another meaning is refused: the lake keeps the contract of its files.
    let other = std::fs::read_to_string(&v2)
        .unwrap()
        .replace("authority of the page", "something else");
    std::fs::write(&v2, other).unwrap();
    let error = site.replay(&simulator, &clock).await.unwrap_err();
    assert!(
        error.to_string().contains("_contracts/pages.v2.toml"),
        "{error}"
    );
    assert_eq!((error.kind(), site.problems()), (ErrorKind::Usage, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_replay_with_other_files_waits_for_a_replacement_that_was_begun_and_paid_for() {
    let site = Site::new(lines(1200));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let runs = site.lake().join("_runs/2026-11-23");
    let record = std::fs::read_to_string(runs.join("run.json")).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
    record["run"] = "20261123T233000Z-0badf0".into();
    record["generation"] = 2.into();
    record["first_batch"] = 1000.into();
    std::fs::write(runs.join("run.2.json"), record.to_string()).unwrap();
    // The same files may be put back.
    site.replay(&simulator, &clock).await.unwrap();
    add_field(&site, "page_authority", |n| (n as i64).into());
    let before = site.published_files();
    let error = site.replay(&simulator, &clock).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("a replacement of it"), "{error}");
    assert!(site.published_files() == before);
    assert_eq!(site.manifest()["generation"], 1);
    std::fs::remove_file(runs.join("run.2.json")).unwrap();
    site.replay(&simulator, &clock).await.unwrap();
    assert_eq!(site.manifest()["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_archive_never_replaces_a_published_snapshot() {
    for lost in [
        "_archive/2026-11-23",
        "_runs/2026-11-23/intents",
        "_runs/2026-11-23/attempts",
    ] {
        let site = Site::new(lines(2500));
        let (simulator, clock) = simulator(Behaviour::default()).await;
        assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
        let (before, manifest) = (site.published_files(), site.manifest());
        let (items, fates) = (
            manifest["items"].as_u64().unwrap(),
            manifest["fates"].clone(),
        );
        let mut objects: Vec<PathBuf> = std::fs::read_dir(site.lake().join(lost))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        objects.sort();
        std::fs::remove_file(&objects[0]).unwrap();
        let recorded = || {
            let mut tree = site.tree();
            tree.retain(|path, _| path.starts_with("_runs/2026-11-23/attempts"));
            tree
        };
        let attempts = recorded();
        let end = site.replay(&simulator, &clock).await;
        // The archived response replaces a lost attempt, except for how long it took.
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
            assert!(site.published_files() == before, "{lost}");
            assert!(recorded() == attempts, "{lost}");
        }
        assert_eq!(site.problems(), [""; 0], "{lost}");
        let manifest = site.manifest();
        assert_eq!(
            (manifest["items"].as_u64(), &manifest["fates"]),
            (Some(items), &fates),
            "{lost}"
        );
    }
}

proptest! {
    #[test]
    fn any_adopted_field_is_a_contract_that_follows(
        field in prop_oneof![
            8 => "[a-z_\"\\\\ é.]{0,12}",
            1 => proptest::sample::select(vec!["extra", "target", "matched", "rank", "snapshot_date"]).prop_map(str::to_owned),
        ],
        kind in 0_usize..4,
    ) {
        let kind = [ItemType::Int64, ItemType::Timestamp, ItemType::CountsByKey, ItemType::Utf8][kind];
        let v1 = Table::Pages.contract();
        let is_free = !field.is_empty() && v1.columns.iter().all(|column| column.name != field);
        let lines = v1.adopting(&field, kind);
        // What cannot be adopted is not offered. The partition has a column, too.
        prop_assert_eq!(lines.is_some(), is_free && field != "snapshot_date");
        let Some(lines) = lines else { return Ok(()) };
        let v2 = v1.text().replace("\nversion = 1", "\nversion = 2") + "\n" + &lines;
        let v2 = backlake::contract::Contract::parse(&v2).unwrap();
        prop_assert_eq!(v2.follows(v1), Ok(()));
        prop_assert_eq!(v2.columns.last().unwrap().item_name(), Some(field.as_str()));
    }
}
