//! Tests of what is committed to the Delta logs.

use object_store::path::Path;
use serde_json::json;

use super::super::manifest::Manifest;
use super::super::testing::{day, in_a_bucket, noon, on_disk, published};
use super::commit::{differences, missing, remove};
use super::testing::{actions, assert_consistent, commit, commit_all, kinds, of_kind};
use crate::store::Store;

#[tokio::test]
async fn a_snapshot_is_one_commit_and_repeating_it_commits_nothing() {
    let (_folder, disk) = on_disk();
    for store in [disk, in_a_bucket()] {
        let manifest = published(&store, 0, "first", 1, 3).await;
        assert_consistent(&store, &[&manifest]).await;
        assert_eq!(commit_all(&store, &[&manifest]).await, 1);
        assert_eq!(commit_all(&store, &[&manifest]).await, 0);
        assert!(actions(&store, 1).await.is_none());

        assert_eq!(
            kinds(&store, 0).await,
            ["commitInfo", "protocol", "metaData", "txn", "add"]
        );
        assert_eq!(
            of_kind(&store, 0, "protocol").await[0],
            json!({ "minReaderVersion": 1, "minWriterVersion": 2 })
        );
        let metadata = &of_kind(&store, 0, "metaData").await[0];
        assert_eq!(metadata["partitionColumns"], json!(["snapshot_date"]));
        assert_eq!(metadata["name"], "requests");
        assert_eq!(metadata["id"].as_str().unwrap().len(), 36);
        let transaction = &of_kind(&store, 0, "txn").await[0];
        assert_eq!(transaction["appId"], "backlake/nightly/2026-11-01");
        assert_eq!(transaction["version"], 1);
        let add = &of_kind(&store, 0, "add").await[0];
        let file = &manifest.tables["requests"].files[0];
        assert_eq!(add["path"], "snapshot_date=2026-11-01/first-00000.parquet");
        assert_eq!(
            add["partitionValues"],
            json!({ "snapshot_date": "2026-11-01" })
        );
        assert_eq!(add["size"], file.bytes);
        assert_eq!(add["dataChange"], true);
        let info = &of_kind(&store, 0, "commitInfo").await[0];
        assert_eq!(info["operation"], "WRITE");
        assert_eq!(info["operationParameters"]["mode"], "Append");
        assert_eq!(info["timestamp"], json!(noon(0).timestamp_millis()));
        let engine = info["engineInfo"].as_str().unwrap();
        assert!(engine.starts_with("backlake/"), "{info}");
        assert_consistent(&store, &[&manifest]).await;
    }
}

#[tokio::test]
async fn a_replacement_is_one_commit_that_removes_the_replaced_files() {
    let store = in_a_bucket();
    let (first, other) = (
        published(&store, 0, "first", 1, 3).await,
        published(&store, 1, "first", 1, 4).await,
    );
    let days = [day(0), day(1)];
    assert_eq!(missing(&store, &days).await.unwrap(), days);
    assert_eq!(commit(&store, &[first, other.clone()]).await.unwrap(), 2);
    let replaced = published(&store, 0, "second", 2, 5).await;
    assert_eq!(commit_all(&store, &[&replaced]).await, 1);
    assert_eq!(
        kinds(&store, 2).await,
        ["commitInfo", "txn", "remove", "add"]
    );
    let removed = &of_kind(&store, 2, "remove").await[0];
    let (path, at) = (&removed["path"], &removed["deletionTimestamp"]);
    assert_eq!(path, "snapshot_date=2026-11-01/first-00000.parquet");
    assert_eq!(*at, noon(0).timestamp_millis());
    assert_eq!(of_kind(&store, 2, "txn").await[0]["version"], 2);
    let info = &of_kind(&store, 2, "commitInfo").await[0];
    let predicate = &info["operationParameters"]["predicate"];
    assert_eq!(predicate, "snapshot_date = '2026-11-01'");
    assert_consistent(&store, &[&replaced, &other]).await;
    assert_eq!(commit_all(&store, &[&replaced]).await, 0);
    // Published again with the same files: only the transaction is new.
    let again = Manifest {
        generation: 3,
        ..replaced
    };
    assert_eq!(commit_all(&store, &[&again]).await, 1);
    assert_eq!(kinds(&store, 3).await, ["commitInfo", "txn"]);
    assert_eq!(commit(&store, &[again]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_rewritten_file_with_the_same_name_is_added_again_and_not_removed() {
    let store = in_a_bucket();
    let manifest = published(&store, 0, "first", 1, 3).await;
    commit(&store, &[manifest]).await.unwrap();
    let again = published(&store, 0, "first", 1, 900).await;
    assert_eq!(commit_all(&store, &[&again]).await, 1);
    assert_eq!(kinds(&store, 1).await, ["commitInfo", "txn", "add"]);
    assert_consistent(&store, &[&again]).await;
}

#[tokio::test]
async fn snapshots_are_removed_by_one_commit() {
    let store = in_a_bucket();
    let mut manifests = Vec::new();
    for number in 0..4 {
        manifests.push(published(&store, number, "run", 1, 2).await);
    }
    commit(&store, &manifests).await.unwrap();
    let removed = [day(1), day(2), day(30)];
    assert_eq!(remove(&store, &removed, noon(40)).await.unwrap(), 1);
    assert_eq!(remove(&store, &removed, noon(40)).await.unwrap(), 0);
    assert_eq!(of_kind(&store, 4, "remove").await.len(), 2);
    let info = &of_kind(&store, 4, "commitInfo").await[0];
    assert_eq!(info["operation"], "DELETE");
    let predicate = &info["operationParameters"]["predicate"];
    assert_eq!(predicate, "snapshot_date IN ('2026-11-02', '2026-11-03')");
    let found = differences(&store, &manifests).await.unwrap();
    assert_eq!(
        found,
        [
            "the Delta log does not list requests/snapshot_date=2026-11-02/run-00000.parquet",
            "the Delta log does not list requests/snapshot_date=2026-11-03/run-00000.parquet",
        ]
    );
    // Published again, a snapshot is committed although its transaction is still in the log.
    assert_eq!(commit(&store, &manifests).await.unwrap(), 2);
    assert_consistent(&store, &manifests.iter().collect::<Vec<_>>()).await;
    assert_eq!(remove(&in_a_bucket(), &removed, noon(40)).await.unwrap(), 0);
}

#[tokio::test]
async fn differences_between_logs_and_manifests_are_found() {
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
            "the Delta log disagrees with the manifest about requests/snapshot_date=2026-11-01/run-00000.parquet",
            "the Delta log lists requests/snapshot_date=2026-11-02/run-00000.parquet, but no manifest does",
            "pages has no Delta log, but other tables have one",
        ]
    );
    let error = commit(&in_a_copy(&store, &one).await, &[one])
        .await
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("has 2 rows, the manifest says 3"),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_concurrent_commits_none_is_lost_and_none_counts_twice() {
    let (folder, store) = on_disk();
    let mut manifests = Vec::new();
    for number in 0..6 {
        manifests.push(published(&store, number, "run", 1, 2).await);
    }
    // Two independent writers commit each snapshot.
    let committer = |manifest: &Manifest| {
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let manifest = manifest.clone();
        tokio::spawn(async move { commit(&store, &[manifest]).await })
    };
    let twice = manifests.iter().chain(&manifests);
    let committers: Vec<_> = twice.map(committer).collect();
    for committer in committers {
        committer.await.unwrap().unwrap();
    }
    assert_consistent(&store, &manifests.iter().collect::<Vec<_>>()).await;
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
