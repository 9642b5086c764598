//! Tests of the Delta log itself: schema, statistics, conflicts and checkpoints.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use object_store::path::Path;
use serde_json::{Value, json};

use super::super::manifest::Manifest;
use super::super::testing::{TABLE, attempts, day, in_a_bucket, noon, on_disk, published, written};
use super::log::{Log, LogChange};
use super::testing::{actions, assert_consistent, commit, commit_all, of_kind};
use crate::contract::{Contract, Table};
use crate::lake::delta::commit as commit_by;
use crate::store::Layout;

#[tokio::test]
async fn the_statistics_bound_what_is_in_the_file() {
    let store = in_a_bucket();
    let manifest = published(&store, 0, "first", 1, 3).await;
    commit(&store, &[manifest]).await.unwrap();
    let add = &of_kind(&store, 0, "add").await[0];
    let stats = add["stats"].as_str().unwrap();
    assert!(stats.contains(r#""cost_usd":0.020000"#), "{stats}");
    let stats: Value = serde_json::from_str(stats).unwrap();
    assert_eq!(stats["numRecords"], 3);
    for (column, least, greatest, nulls) in [
        ("batch", json!(0), json!(2), json!(0)),
        ("duration_ms", json!(5), json!(5), json!(1)),
        ("body_bytes", Value::Null, Value::Null, json!(3)),
        ("tag", json!("tag 0"), json!("tag 2"), json!(0)),
        // The times are one and three microseconds after the second.
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
    let contract_of = |table: Table| {
        if table == TABLE {
            later
        } else {
            table.contract()
        }
    };
    let commits = commit_by(&store, &[second], contract_of).await;
    assert_eq!(commits.unwrap(), 1);

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
    assert_eq!(new["name"], "retries");
    assert_eq!(new["nullable"], true);
    assert_eq!(last["name"], "snapshot_date");
    assert_eq!(last["type"], "date");
    let add = &of_kind(&store, 1, "add").await[0];
    let stats = add["stats"].as_str().unwrap();
    assert!(stats.contains(r#""retries":3"#), "{stats}");

    let third = published(&store, 2, "third", 1, 3).await;
    assert_eq!(commit(&store, &[third]).await.unwrap(), 1);
    assert!(of_kind(&store, 2, "metaData").await.is_empty());
}

#[tokio::test]
async fn a_table_of_another_program_is_left_alone() {
    let store = in_a_bucket();
    let manifest = published(&store, 0, "first", 1, 3).await;
    commit_all(&store, &[&manifest]).await;
    let path = Layout::delta_commit(TABLE, 0);
    let log = String::from_utf8(store.get(&path).await.unwrap().unwrap().to_vec()).unwrap();
    for (from, to, words) in [
        (
            r#"\"name\":\"tag\",\"type\":\"string\""#,
            r#"\"name\":\"tag\",\"type\":\"long\""#,
            "its column tag has the type long",
        ),
        (
            r#""partitionColumns":["snapshot_date"]"#,
            r#""partitionColumns":[]"#,
            "it is partitioned by ()",
        ),
        (
            r#""minWriterVersion":2"#,
            r#""minWriterVersion":7,"writerFeatures":["rowTracking"]"#,
            "requires a writer feature",
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
async fn a_writer_that_comes_second_reloads_and_commits_the_next_version() {
    let (_folder, store) = on_disk();
    let (one, two) = (
        published(&store, 0, "one", 1, 2).await,
        published(&store, 1, "two", 1, 2).await,
    );
    let mut late = Log::open(&store, TABLE).await.unwrap();
    commit_all(&store, &[&one]).await;
    let change = || LogChange {
        operation: deltalake::protocol::DeltaOperation::Delete { predicate: None },
        at: noon(0),
        note: "late".to_owned(),
        metadata: None,
        transaction: None,
        removes: Vec::new(),
        adds: Vec::new(),
    };
    assert!(
        !late.commit(change()).await.unwrap(),
        "a version was committed twice"
    );
    late.reload().await.unwrap();
    assert!(late.commit(change()).await.unwrap());
    assert_eq!(commit(&store, &[one, two]).await.unwrap(), 1);
    assert!(actions(&store, 2).await.is_some());
}

#[tokio::test]
async fn every_fiftieth_commit_is_followed_by_a_checkpoint() {
    let (_folder, disk) = on_disk();
    for store in [disk, in_a_bucket()] {
        let first = published(&store, 0, "run", 1, 2).await;
        let path = Path::from(first.tables["requests"].files[0].path.as_str());
        let file = store.get(&path).await.unwrap().unwrap();
        let mut manifests = vec![first.clone()];
        for number in 1..=51 {
            let layout = Layout {
                snapshot: day(number),
            };
            let mut manifest = Manifest {
                snapshot: layout.snapshot,
                ..first.clone()
            };
            let path = layout.partition(TABLE).join("run-00000.parquet");
            store.put(&path, file.clone()).await.unwrap();
            if let Some(table) = manifest.tables.get_mut("requests") {
                table.files[0].path = path.to_string();
            }
            manifests.push(manifest);
        }
        assert_eq!(commit(&store, &manifests).await.unwrap(), 52);
        let checkpoint = Layout::delta_checkpoint(TABLE, 50);
        assert!(store.get(&checkpoint).await.unwrap().is_some());
        let last = Layout::delta_log(TABLE).join("_last_checkpoint");
        let last = store.get(&last).await.unwrap().unwrap();
        let last: Value = serde_json::from_slice(&last).unwrap();
        assert_eq!(last["version"], 50);
        // Files, rows and transactions before the checkpoint are read from it.
        for version in 0..50 {
            let commit = Layout::delta_commit(TABLE, version);
            object_store::ObjectStoreExt::delete(store.objects(), &commit)
                .await
                .unwrap();
        }
        assert_consistent(&store, &manifests.iter().collect::<Vec<_>>()).await;
        assert_eq!(commit(&store, &manifests).await.unwrap(), 0);
    }
}
