//! Logs on a local disk and in an object store, over small files that the lake's own writer has written.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use chrono::{DateTime, Duration, NaiveDate, Utc};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use serde_json::{Value, json};

use super::super::manifest::Manifest;
use super::super::rows::requests_batch;
use super::super::writer::TableWriter;
use super::commit::{differences, missing, remove};
use super::log::Log;
use crate::contract::{Contract, Table};
use crate::error::Result;
use crate::lake::delta::commit as commit_by;
use crate::ledger::{Attempt, Charged, Outcome};
use crate::store::{AttemptId, Layout, Store};

const TABLE: Table = Table::Requests;

fn day(number: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 1).unwrap() + Duration::days(number)
}

fn noon(number: i64) -> DateTime<Utc> {
    day(number).and_hms_opt(12, 0, 0).unwrap().and_utc()
}

fn attempts(rows: u32) -> RecordBatch {
    let attempt = |batch: u32| Attempt {
        id: AttemptId { batch, attempt: 1 },
        tag: format!("tag {batch}"),
        request_id: None,
        sent_at: DateTime::from_timestamp_micros(1_700_000_000_000_001 + i64::from(batch)).unwrap(),
        duration_ms: (batch > 0).then_some(5),
        targets: 1000,
        root_domains: 100,
        http_status: Some(200),
        status_code: Some(20000),
        status_message: Some("a message of more than thirty-two characters".to_owned()),
        outcome: Outcome::Ok,
        items: Some(7),
        cost_usd: Some("0.02".parse().unwrap()),
        charged: Charged::Yes,
        body_bytes: None,
    };
    requests_batch(&(0..rows).map(attempt).collect::<Vec<_>>()).unwrap()
}

async fn commit(store: &Store, manifests: &[Manifest]) -> Result<usize> {
    commit_by(store, manifests, Table::contract).await
}

/// Writes a snapshot's only table and returns its manifest.
async fn published(store: &Store, number: i64, run: &str, generation: u32, rows: u32) -> Manifest {
    written(
        store,
        TABLE.contract(),
        attempts(rows),
        number,
        run,
        generation,
    )
    .await
}

async fn written(
    store: &Store,
    contract: &'static Contract,
    rows: RecordBatch,
    number: i64,
    run: &str,
    generation: u32,
) -> Manifest {
    let place = Layout {
        snapshot: day(number),
    }
    .partition(TABLE);
    let staged = tempfile::tempdir().unwrap();
    let (folder, names) = (staged.path().to_owned(), (run, run));
    let mut writer = TableWriter::new(
        &Arc::new(contract.clone()),
        folder,
        place.to_string(),
        names,
        1 << 30,
    );
    writer.write(&rows).unwrap();
    let files = writer.close().unwrap();
    for file in &files {
        let staged = staged.path().join(file.name());
        store
            .deliver(&staged, &Path::from(file.path.as_str()))
            .await
            .unwrap()
            .complete()
            .await
            .unwrap();
    }
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let manifest = json!({
        "format": 1,
        "snapshot": day(number),
        "question": {
            "pipeline": "nightly",
            "endpoint": "backlinks/bulk_pages_summary",
            "asked_of": "simulator, seed 1",
            "include_subdomains": true,
            "rank_scale": "one_thousand",
        },
        "run": run,
        "written_by": "a test",
        "started_at": noon(number),
        "published_at": noon(number),
        "generation": generation,
        "tables": { "requests": { "contract": contract.id(), "rows": rows, "files": files } },
        "lines": 0,
        "fates": { "returned": 0, "absent": 0, "duplicate": 0, "invalid": 0, "refused": 0, "failed": 0, "unsent": 0 },
        "items": 0,
        "unmatched": 0,
        "requests": { "sent": rows, "retries": 0, "lower_bound": 0, "cost_usd": "0", "cost_unknown_usd": "0" },
        "irregularities": { "unknown_fields": {}, "misfits": {}, "not_objects": 0 },
    });
    serde_json::from_value(manifest).unwrap()
}

/// The actions of a commit, or none if there is no such commit.
async fn actions(store: &Store, version: u64) -> Option<Vec<Value>> {
    let commit = store
        .get(&Layout::delta_commit(TABLE, version))
        .await
        .unwrap()?;
    let lines = std::str::from_utf8(&commit).unwrap().lines();
    Some(
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

/// The actions of a kind in a commit.
async fn of_kind(store: &Store, version: u64, kind: &str) -> Vec<Value> {
    let actions = actions(store, version).await.unwrap();
    actions
        .into_iter()
        .filter_map(|mut action| Some(action.get_mut(kind)?.take()))
        .collect()
}

fn on_disk() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().to_str().unwrap()).unwrap();
    (folder, store)
}

fn in_a_bucket() -> Store {
    let bucket = PrefixStore::new(
        Arc::new(InMemory::new()) as Arc<dyn object_store::ObjectStore>,
        "team/lake",
    );
    Store::over(Arc::new(bucket), "s3://bucket/team/lake")
}

#[tokio::test]
async fn a_snapshot_is_one_commit_and_committed_again_none() {
    let (_folder, disk) = on_disk();
    for store in [disk, in_a_bucket()] {
        let manifest = published(&store, 0, "first", 1, 3).await;
        assert_eq!(
            differences(&store, std::slice::from_ref(&manifest))
                .await
                .unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(
            commit(&store, std::slice::from_ref(&manifest))
                .await
                .unwrap(),
            1
        );
        assert_eq!(
            commit(&store, std::slice::from_ref(&manifest))
                .await
                .unwrap(),
            0
        );
        assert!(actions(&store, 1).await.is_none());

        let kinds: Vec<String> = actions(&store, 0).await.unwrap().iter().map(kind).collect();
        assert_eq!(kinds, ["commitInfo", "protocol", "metaData", "txn", "add"]);
        assert_eq!(
            of_kind(&store, 0, "protocol").await[0],
            json!({ "minReaderVersion": 1, "minWriterVersion": 2 })
        );
        let metadata = &of_kind(&store, 0, "metaData").await[0];
        assert_eq!(metadata["partitionColumns"], json!(["snapshot_date"]));
        assert_eq!(
            (&metadata["name"], metadata["id"].as_str().unwrap().len()),
            (&json!("requests"), 36)
        );
        let transaction = &of_kind(&store, 0, "txn").await[0];
        assert_eq!(
            (&transaction["appId"], &transaction["version"]),
            (&json!("backlake/nightly/2026-11-01"), &json!(1))
        );
        let add = &of_kind(&store, 0, "add").await[0];
        let file = &manifest.tables["requests"].files[0];
        assert_eq!(add["path"], "snapshot_date=2026-11-01/first-00000.parquet");
        assert_eq!(
            add["partitionValues"],
            json!({ "snapshot_date": "2026-11-01" })
        );
        assert_eq!(
            (&add["size"], &add["dataChange"]),
            (&json!(file.bytes), &json!(true))
        );
        let info = &of_kind(&store, 0, "commitInfo").await[0];
        assert_eq!(
            (&info["operation"], &info["operationParameters"]["mode"]),
            (&json!("WRITE"), &json!("Append"))
        );
        assert_eq!(info["timestamp"], json!(noon(0).timestamp_millis()));
        assert!(
            info["engineInfo"]
                .as_str()
                .unwrap()
                .starts_with("backlake/"),
            "{info}"
        );
        assert_eq!(
            differences(&store, &[manifest]).await.unwrap(),
            Vec::<String>::new()
        );
    }
}

fn kind(action: &Value) -> String {
    action.as_object().unwrap().keys().next().unwrap().clone()
}

#[tokio::test]
async fn the_statistics_bound_what_is_in_the_file() {
    let store = in_a_bucket();
    let manifest = published(&store, 0, "first", 1, 3).await;
    commit(&store, &[manifest]).await.unwrap();
    let stats = of_kind(&store, 0, "add").await[0]["stats"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(stats.contains(r#""cost_usd":0.020000"#), "{stats}");
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["numRecords"], 3);
    for (column, least, greatest, nulls) in [
        ("batch", json!(0), json!(2), json!(0)),
        ("duration_ms", json!(5), json!(5), json!(1)),
        ("body_bytes", Value::Null, Value::Null, json!(3)),
        ("tag", json!("tag 0"), json!("tag 2"), json!(0)),
        // The times are a microsecond and three after the second.
        (
            "sent_at",
            json!("2023-11-14T22:13:20.000Z"),
            json!("2023-11-14T22:13:20.001Z"),
            json!(0),
        ),
        (
            "status_message",
            json!("a message of more than thirty-tw"),
            json!("a message of more than thirty-tw\u{7f}"),
            json!(0),
        ),
    ] {
        let found = (
            &stats["minValues"][column],
            &stats["maxValues"][column],
            &stats["nullCount"][column],
        );
        assert_eq!(found, (&least, &greatest, &nulls), "{column}");
    }
}

#[tokio::test]
async fn a_replacement_is_one_commit_that_takes_out_what_was_there() {
    let store = in_a_bucket();
    let (first, other) = (
        published(&store, 0, "first", 1, 3).await,
        published(&store, 1, "first", 1, 4).await,
    );
    let days = [day(0), day(1)];
    assert_eq!(missing(&store, &days).await.unwrap(), days);
    assert_eq!(commit(&store, &[first, other.clone()]).await.unwrap(), 2);
    let replaced = published(&store, 0, "second", 2, 5).await;
    assert_eq!(
        commit(&store, std::slice::from_ref(&replaced))
            .await
            .unwrap(),
        1
    );
    let kinds: Vec<String> = actions(&store, 2).await.unwrap().iter().map(kind).collect();
    assert_eq!(kinds, ["commitInfo", "txn", "remove", "add"]);
    let removed = &of_kind(&store, 2, "remove").await[0];
    assert_eq!(
        removed["path"],
        "snapshot_date=2026-11-01/first-00000.parquet"
    );
    assert_eq!(
        removed["deletionTimestamp"],
        json!(noon(0).timestamp_millis())
    );
    assert_eq!(of_kind(&store, 2, "txn").await[0]["version"], 2);
    let info = &of_kind(&store, 2, "commitInfo").await[0];
    assert_eq!(
        info["operationParameters"]["predicate"],
        "snapshot_date = '2026-11-01'"
    );
    assert_eq!(
        differences(&store, &[replaced.clone(), other])
            .await
            .unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(
        commit(&store, std::slice::from_ref(&replaced))
            .await
            .unwrap(),
        0
    );
    // Published once more with the very same files: only the transaction says so.
    let again = Manifest {
        generation: 3,
        ..replaced
    };
    assert_eq!(
        commit(&store, std::slice::from_ref(&again)).await.unwrap(),
        1
    );
    let kinds: Vec<String> = actions(&store, 3).await.unwrap().iter().map(kind).collect();
    assert_eq!(kinds, ["commitInfo", "txn"]);
    assert_eq!(commit(&store, &[again]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_file_written_anew_under_its_name_is_added_anew_and_not_taken_out() {
    let store = in_a_bucket();
    let manifest = published(&store, 0, "first", 1, 3).await;
    commit(&store, &[manifest]).await.unwrap();
    let again = published(&store, 0, "first", 1, 900).await;
    assert_eq!(
        commit(&store, std::slice::from_ref(&again)).await.unwrap(),
        1
    );
    let kinds: Vec<String> = actions(&store, 1).await.unwrap().iter().map(kind).collect();
    assert_eq!(kinds, ["commitInfo", "txn", "add"]);
    assert_eq!(
        differences(&store, &[again]).await.unwrap(),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn snapshots_are_taken_out_by_one_commit() {
    let store = in_a_bucket();
    let mut manifests = Vec::new();
    for number in 0..4 {
        manifests.push(published(&store, number, "run", 1, 2).await);
    }
    commit(&store, &manifests).await.unwrap();
    let gone = [day(1), day(2), day(30)];
    assert_eq!(remove(&store, &gone, noon(40)).await.unwrap(), 1);
    assert_eq!(remove(&store, &gone, noon(40)).await.unwrap(), 0);
    assert_eq!(of_kind(&store, 4, "remove").await.len(), 2);
    let info = &of_kind(&store, 4, "commitInfo").await[0];
    assert_eq!(info["operation"], "DELETE");
    assert_eq!(
        info["operationParameters"]["predicate"],
        "snapshot_date IN ('2026-11-02', '2026-11-03')"
    );
    let found = differences(&store, &manifests).await.unwrap();
    assert_eq!(
        found,
        [
            "the Delta log does not name requests/snapshot_date=2026-11-02/run-00000.parquet",
            "the Delta log does not name requests/snapshot_date=2026-11-03/run-00000.parquet",
        ]
    );
    // Published anew, it is committed though its transaction is still in the log.
    assert_eq!(commit(&store, &manifests).await.unwrap(), 2);
    assert_eq!(
        differences(&store, &manifests).await.unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(remove(&in_a_bucket(), &gone, noon(40)).await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_log_says_otherwise_than_the_manifests_is_found() {
    let store = in_a_bucket();
    let (mut one, two) = (
        published(&store, 0, "run", 1, 2).await,
        published(&store, 1, "run", 1, 2).await,
    );
    commit(&store, &[one.clone(), two]).await.unwrap();
    if let Some(table) = one.tables.get_mut("requests") {
        table.files[0].rows = 3;
    }
    let mut more = one.clone();
    more.tables
        .insert("pages".to_owned(), one.tables["requests"].clone());
    let found = differences(&store, &[more]).await.unwrap();
    assert_eq!(
        found,
        [
            "the Delta log has requests/snapshot_date=2026-11-01/run-00000.parquet otherwise than the manifest",
            "the Delta log names requests/snapshot_date=2026-11-02/run-00000.parquet, which no manifest does",
            "pages has no Delta log, other tables have",
        ]
    );
    let error = commit(&in_a_copy(&store, &one).await, &[one])
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has 2 rows, the manifest says 3"),
        "{error}"
    );
}

/// Another lake with the files of a manifest and without a log.
async fn in_a_copy(store: &Store, manifest: &Manifest) -> Store {
    let copy = in_a_bucket();
    for file in manifest.files() {
        let path = Path::from(file.path.as_str());
        copy.put(&path, store.get(&path).await.unwrap().unwrap())
            .await
            .unwrap();
    }
    copy
}

#[tokio::test]
async fn a_later_contract_widens_the_table_and_an_earlier_one_leaves_it_wide() {
    let store = in_a_bucket();
    let first = published(&store, 0, "first", 1, 3).await;
    commit(&store, &[first]).await.unwrap();
    let text = include_str!("../../../schemas/requests.v1.toml")
        .replace("\nversion = 1\n", "\nversion = 2\n");
    let column = "[[column]]\nname = \"retries\"\ntype = \"int64\"\nsource = \"backlake\"\nsince = 2\nmeaning = \"earlier attempts\"\n";
    let later: &'static Contract = Box::leak(Box::new(
        Contract::parse(&format!("{text}\n{column}")).unwrap(),
    ));
    let mut columns = attempts(3).columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![1, 2, 3])));
    let wide = RecordBatch::try_new(later.schema(), columns).unwrap();
    let second = written(&store, later, wide, 1, "second", 1).await;
    assert_eq!(
        commit_by(&store, &[second], |table| if table == TABLE {
            later
        } else {
            table.contract()
        })
        .await
        .unwrap(),
        1
    );

    let (before, after) = (
        &of_kind(&store, 0, "metaData").await[0],
        &of_kind(&store, 1, "metaData").await[0],
    );
    for same in [
        "id",
        "name",
        "partitionColumns",
        "configuration",
        "createdTime",
    ] {
        assert_eq!(before[same], after[same], "{same}");
    }
    let schema: Value = serde_json::from_str(after["schemaString"].as_str().unwrap()).unwrap();
    let fields = schema["fields"].as_array().unwrap();
    let (new, last) = (&fields[fields.len() - 2], &fields[fields.len() - 1]);
    assert_eq!(
        (&new["name"], &new["nullable"]),
        (&json!("retries"), &json!(true))
    );
    assert_eq!(
        (&last["name"], &last["type"]),
        (&json!("snapshot_date"), &json!("date"))
    );
    let stats = of_kind(&store, 1, "add").await[0]["stats"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(stats.contains(r#""retries":3"#), "{stats}");

    let third = published(&store, 2, "third", 1, 3).await;
    assert_eq!(commit(&store, &[third]).await.unwrap(), 1);
    assert!(of_kind(&store, 2, "metaData").await.is_empty());
}

#[tokio::test]
async fn a_table_that_is_another_s_is_left_alone() {
    let store = in_a_bucket();
    let manifest = published(&store, 0, "first", 1, 3).await;
    commit(&store, std::slice::from_ref(&manifest))
        .await
        .unwrap();
    let path = Layout::delta_commit(TABLE, 0);
    let log = String::from_utf8(store.get(&path).await.unwrap().unwrap().to_vec()).unwrap();
    for (from, to, words) in [
        (
            r#"\"name\":\"tag\",\"type\":\"string\""#,
            r#"\"name\":\"tag\",\"type\":\"long\""#,
            "its column tag is long",
        ),
        (
            r#""partitionColumns":["snapshot_date"]"#,
            r#""partitionColumns":[]"#,
            "it is partitioned by ()",
        ),
        (
            r#""minWriterVersion":2"#,
            r#""minWriterVersion":7,"writerFeatures":["rowTracking"]"#,
            "more than backlake can write",
        ),
    ] {
        assert!(log.contains(from), "{log}");
        let other = published(&store, 1, "second", 1, 3).await;
        store
            .put(&path, log.replace(from, to).into())
            .await
            .unwrap();
        let error = commit(&store, &[other]).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(actions(&store, 1).await.is_none());
    }
}

#[tokio::test]
async fn who_comes_second_reads_again_and_commits_after() {
    let (_folder, store) = on_disk();
    let (one, two) = (
        published(&store, 0, "one", 1, 2).await,
        published(&store, 1, "two", 1, 2).await,
    );
    let mut late = Log::open(&store, TABLE).await.unwrap();
    commit(&store, std::slice::from_ref(&one)).await.unwrap();
    let change = || super::log::Change {
        operation: deltalake::protocol::DeltaOperation::Delete { predicate: None },
        at: noon(0),
        note: "late".to_owned(),
        metadata: None,
        transaction: None,
        removes: Vec::new(),
        adds: Vec::new(),
    };
    assert!(
        !late.put(change()).await.unwrap(),
        "a version was taken twice"
    );
    late.reload().await.unwrap();
    assert!(late.put(change()).await.unwrap());
    assert_eq!(commit(&store, &[one, two]).await.unwrap(), 1);
    assert!(actions(&store, 2).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_commit_at_once_none_is_lost_and_none_counts_twice() {
    let (folder, store) = on_disk();
    let mut manifests = Vec::new();
    for number in 0..6 {
        manifests.push(published(&store, number, "run", 1, 2).await);
    }
    // Each snapshot by two who know nothing of each other.
    let committers: Vec<_> = manifests
        .iter()
        .chain(&manifests)
        .map(|manifest| {
            let (store, manifest) = (
                Store::open(folder.path().to_str().unwrap()).unwrap(),
                manifest.clone(),
            );
            tokio::spawn(async move { commit(&store, &[manifest]).await })
        })
        .collect();
    for committer in committers {
        committer.await.unwrap().unwrap();
    }
    assert_eq!(
        differences(&store, &manifests).await.unwrap(),
        Vec::<String>::new()
    );
    let mut adds = 0;
    for version in 0..6 {
        adds += of_kind(&store, version, "add").await.len();
    }
    assert_eq!(adds, 6);
    assert!(
        actions(&store, 6).await.is_none(),
        "a snapshot was committed twice"
    );
}

#[tokio::test]
async fn every_fiftieth_commit_is_followed_by_a_checkpoint() {
    let (_folder, disk) = on_disk();
    for store in [disk, in_a_bucket()] {
        let first = published(&store, 0, "run", 1, 2).await;
        let file = store
            .get(&Path::from(first.tables["requests"].files[0].path.as_str()))
            .await
            .unwrap()
            .unwrap();
        let mut manifests = vec![first.clone()];
        for number in 1..=51 {
            let mut manifest = Manifest {
                snapshot: day(number),
                ..first.clone()
            };
            let path = Layout {
                snapshot: day(number),
            }
            .partition(TABLE)
            .join("run-00000.parquet");
            store.put(&path, file.clone()).await.unwrap();
            if let Some(table) = manifest.tables.get_mut("requests") {
                table.files[0].path = path.to_string();
            }
            manifests.push(manifest);
        }
        assert_eq!(commit(&store, &manifests).await.unwrap(), 52);
        assert!(
            store
                .get(&Layout::delta_checkpoint(TABLE, 50))
                .await
                .unwrap()
                .is_some()
        );
        let last = store
            .get(
                &Layout::table(TABLE)
                    .join("_delta_log")
                    .join("_last_checkpoint"),
            )
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&last).unwrap()["version"],
            50
        );
        // What is before the checkpoint is read from it: files, rows, transactions.
        for version in 0..50 {
            store
                .delete(&Layout::delta_commit(TABLE, version))
                .await
                .unwrap();
        }
        assert_eq!(
            differences(&store, &manifests).await.unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(commit(&store, &manifests).await.unwrap(), 0);
    }
}
