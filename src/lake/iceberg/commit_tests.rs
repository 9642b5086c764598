//! Tests of what is committed to the Iceberg tables.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{NaiveDate, TimeDelta};
use object_store::ObjectStoreExt as _;
use serde_json::{Value, json};

use super::super::formats::TableFormat;
use super::super::manifest::Manifest;
use super::super::testing::{TABLE, attempts, day, in_a_bucket, noon, on_disk, published, written};
use super::table::{Change, IcebergTable, Prepared};
use super::{differences, missing};
use crate::clock::Clock;
use crate::contract::{Contract, Table};
use crate::error::Result;
use crate::store::{Layout, Lock, Owner, Store};

async fn lock(store: &Store) -> Lock {
    let owner = Owner::this_process();
    Lock::take(store, day(0), owner, &Clock::system())
        .await
        .unwrap()
}

async fn commit(store: &Store, manifests: &[&Manifest]) -> Result<usize> {
    let manifests: Vec<Manifest> = manifests.iter().copied().cloned().collect();
    let lock = lock(store).await;
    let committed = super::commit(store, &lock, &manifests, Table::contract).await;
    lock.release().await;
    committed
}

async fn remove(store: &Store, dates: &[NaiveDate]) -> Result<usize> {
    let lock = lock(store).await;
    let removed = super::remove(store, &lock, dates, noon(40)).await;
    lock.release().await;
    removed
}

async fn found(store: &Store, manifests: &[&Manifest]) -> Vec<String> {
    let manifests: Vec<Manifest> = manifests.iter().copied().cloned().collect();
    // Later than anything that the test has written.
    let now = Clock::system().now() + TimeDelta::hours(1);
    differences(store, &manifests, now).await.unwrap()
}

async fn assert_consistent(store: &Store, manifests: &[&Manifest]) {
    assert_eq!(found(store, manifests).await, [""; 0]);
}

/// A version of the metadata, as JSON.
async fn metadata(store: &Store, version: u64) -> Option<Value> {
    let path = Layout::iceberg_metadata(TABLE, version);
    let json = store.get(&path).await.unwrap()?;
    Some(serde_json::from_slice(&json).unwrap())
}

/// Changes a version of the metadata by hand.
async fn edit(store: &Store, version: u64, change: impl Fn(&mut Value)) {
    let mut json = metadata(store, version).await.unwrap();
    change(&mut json);
    let path = Layout::iceberg_metadata(TABLE, version);
    store.put(&path, json.to_string().into()).await.unwrap();
}

/// The names of the Avro files in the folder of the metadata.
async fn avro_files(store: &Store) -> BTreeSet<String> {
    let objects = store.list_here(&Layout::iceberg_folder(TABLE)).await;
    let names = objects.unwrap().into_iter();
    let names = names.filter_map(|object| object.location.filename().map(str::to_owned));
    names.filter(|name| name.ends_with(".avro")).collect()
}

#[tokio::test]
async fn a_snapshot_is_one_commit_and_repeating_it_commits_nothing() {
    let (_folder, disk) = on_disk();
    for store in [disk, in_a_bucket()] {
        let manifest = published(&store, 0, "first", 1, 3).await;
        assert!(!TableFormat::Iceberg.exists(&store).await.unwrap());
        assert_consistent(&store, &[&manifest]).await;
        assert_eq!(commit(&store, &[&manifest]).await.unwrap(), 1);
        assert_eq!(commit(&store, &[&manifest]).await.unwrap(), 0);
        assert!(
            metadata(&store, 2).await.is_none()
                && TableFormat::Iceberg.exists(&store).await.unwrap()
        );
        assert_consistent(&store, &[&manifest]).await;

        let found = metadata(&store, 1).await.unwrap();
        let place = store.display();
        let scheme = if place.contains("://") { "" } else { "file://" };
        assert_eq!(found["location"], format!("{scheme}{place}/requests"));
        assert_eq!(found["format-version"], 2);
        let snapshot = &found["snapshots"][0];
        assert_eq!(found["current-snapshot-id"], snapshot["snapshot-id"]);
        assert_eq!(snapshot["timestamp-ms"], noon(0).timestamp_millis());
        let bytes = manifest.tables["requests"].files[0].bytes.to_string();
        let summary = json!({
            "operation": "append",
            "added-data-files": "1", "added-records": "3", "added-files-size": bytes,
            "total-data-files": "1", "total-records": "3", "total-files-size": bytes,
            "total-delete-files": "0", "total-position-deletes": "0", "total-equality-deletes": "0",
            "changed-partition-count": "1",
            "backlake.pipeline": "nightly", "backlake.date": "2026-11-01",
            "backlake.run": "first", "backlake.generation": "1",
        });
        assert_eq!(snapshot["summary"], summary);
        let hint = store.get(&Layout::iceberg_hint(TABLE)).await.unwrap();
        assert_eq!(hint.as_deref(), Some(b"1".as_slice()));
    }
}

#[tokio::test]
async fn a_replacement_is_one_commit_and_snapshots_that_list_its_files_expire() {
    let store = in_a_bucket();
    let (first, other) = (
        published(&store, 0, "first", 1, 3).await,
        published(&store, 1, "first", 1, 4).await,
    );
    let days = [day(0), day(1)];
    assert_eq!(missing(&store, &days).await.unwrap(), days);
    assert_eq!(commit(&store, &[&first, &other]).await.unwrap(), 2);
    let replaced = published(&store, 1, "second", 2, 5).await;
    let before = avro_files(&store).await;
    assert_eq!(commit(&store, &[&replaced]).await.unwrap(), 1);
    assert_consistent(&store, &[&first, &replaced]).await;
    let found = metadata(&store, 3).await.unwrap();
    let of = |key: &str| {
        let snapshots = found["snapshots"].as_array().unwrap().iter();
        let values = snapshots.map(|snapshot| snapshot[key].clone());
        values.collect::<Vec<_>>()
    };
    // The one with both dates cannot be read any more; the one with the first date can.
    assert_eq!(of("sequence-number"), [1, 3]);
    let last = &of("summary")[1];
    assert_eq!(last["operation"], "overwrite");
    assert_eq!(
        (&last["added-records"], &last["deleted-records"]),
        (&json!("5"), &json!("4"))
    );
    assert_eq!(last["total-records"], "8");
    let after = avro_files(&store).await;
    let gone = before.difference(&after).count();
    assert_eq!(
        gone, 2,
        "the manifest of the replaced date and the list: {before:?} {after:?}"
    );
    assert_eq!(commit(&store, &[&replaced]).await.unwrap(), 0);
    // The same files under a later generation are no change.
    let again = Manifest {
        generation: 3,
        ..replaced
    };
    assert_eq!(commit(&store, &[&again]).await.unwrap(), 0);
    // A file that was rewritten under its name is committed again.
    let rewritten = published(&store, 1, "second", 2, 900).await;
    assert_eq!(commit(&store, &[&rewritten]).await.unwrap(), 1);
    assert_consistent(&store, &[&first, &rewritten]).await;
}

#[tokio::test]
async fn snapshots_are_removed_by_one_commit_and_can_be_published_again() {
    let store = in_a_bucket();
    let mut manifests = Vec::new();
    for number in 0..4 {
        manifests.push(published(&store, number, "run", 1, 2).await);
    }
    let all: Vec<&Manifest> = manifests.iter().collect();
    commit(&store, &all).await.unwrap();
    let removed = [day(1), day(2), day(30)];
    assert_eq!(remove(&store, &removed).await.unwrap(), 1);
    assert_eq!(remove(&store, &removed).await.unwrap(), 0);
    let found = metadata(&store, 5).await.unwrap();
    let snapshots = found["snapshots"].as_array().unwrap();
    let last = &snapshots.last().unwrap()["summary"];
    assert_eq!(
        (&last["operation"], &last["total-records"]),
        (&json!("delete"), &json!("4"))
    );
    assert_eq!(last["backlake.pruned"], "2026-11-02, 2026-11-03");
    assert_consistent(&store, &[all[0], all[3]]).await;
    let days: Vec<NaiveDate> = (0..4).map(day).collect();
    assert_eq!(commit(&store, &all).await.unwrap(), 2);
    assert_consistent(&store, &all).await;
    assert_eq!(remove(&store, &days).await.unwrap(), 1);
    assert_consistent(&store, &[]).await;
    assert_eq!(remove(&in_a_bucket(), &removed).await.unwrap(), 0);
}

#[tokio::test]
async fn old_snapshots_and_versions_expire_and_their_objects_are_deleted() {
    let store = in_a_bucket();
    let mut manifests = Vec::new();
    for number in 0..70 {
        let manifest = published(&store, number, "run", 1, 1).await;
        commit(&store, &[&manifest]).await.unwrap();
        manifests.push(manifest);
    }
    assert_consistent(&store, &manifests.iter().collect::<Vec<_>>()).await;
    let found = metadata(&store, 70).await.unwrap();
    let snapshots = found["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 30);
    assert_eq!(found["snapshot-log"].as_array().unwrap().len(), 30);
    assert_eq!(found["metadata-log"].as_array().unwrap().len(), 30);
    assert!(metadata(&store, 39).await.is_none() && metadata(&store, 40).await.is_some());
    let files = avro_files(&store).await;
    let lists = files
        .iter()
        .filter(|name| name.starts_with("snap-"))
        .count();
    assert_eq!((lists, files.len() - lists), (30, 70));
}

#[tokio::test]
async fn a_later_contract_adds_a_column_to_the_table() {
    let store = in_a_bucket();
    let first = published(&store, 0, "run", 1, 2).await;
    commit(&store, &[&first]).await.unwrap();
    let text = TABLE
        .contract()
        .text()
        .replacen("version = 1", "version = 2", 1)
        + "\n[[column]]\nname = \"more\"\ntype = \"int64\"\nnullable = true\nsource = \"a test\"\nsince = 2\nmeaning = \"more\"\n";
    let later: &'static Contract = Box::leak(Box::new(Contract::parse(&text).unwrap()));
    let rows = attempts(3);
    let columns = rows.columns().iter().cloned();
    let more = std::sync::Arc::new(arrow::array::Int64Array::from(vec![None, Some(7), None]));
    let columns = columns.chain([more as arrow::array::ArrayRef]).collect();
    let rows = arrow::array::RecordBatch::try_new(later.schema(), columns).unwrap();
    let second = written(&store, later, rows, 1, "run", 1).await;
    let lock = lock(&store).await;
    let manifests = [second.clone()];
    let committed = super::commit(&store, &lock, &manifests, |_| later).await;
    lock.release().await;
    assert_eq!(committed.unwrap(), 1);
    let found = metadata(&store, 2).await.unwrap();
    assert_eq!(
        (
            &found["current-schema-id"],
            found["schemas"].as_array().unwrap().len()
        ),
        (&json!(1), 2)
    );
    assert!(
        found["properties"]["schema.name-mapping.default"]
            .as_str()
            .unwrap()
            .contains("more")
    );
    let fields = found["schemas"][1]["fields"].as_array().unwrap();
    assert_eq!(fields[fields.len() - 2]["name"], "more");
    assert_eq!(found["last-column-id"], fields[fields.len() - 2]["id"]);
    // The earlier contract leaves the column where it is.
    let third = published(&store, 2, "run", 1, 2).await;
    commit(&store, &[&third]).await.unwrap();
    let found = metadata(&store, 3).await.unwrap();
    assert_eq!(found["current-schema-id"], 1);
    assert_consistent(&store, &[&first, &second, &third]).await;
}

#[tokio::test]
async fn a_writer_that_is_interrupted_before_the_hint_is_finished_by_the_next_commit() {
    let store = in_a_bucket();
    let (first, second) = (
        published(&store, 0, "run", 1, 2).await,
        published(&store, 1, "run", 1, 2).await,
    );
    commit(&store, &[&first, &second]).await.unwrap();
    let hint = Layout::iceberg_hint(TABLE);
    let complaint = "requests/_iceberg/metadata/version-hint.text";
    for (text, said) in [
        (Some("1"), "names version 1, and the newest version is 2"),
        (Some("17"), "names version 17, and the newest version is 2"),
        (Some("one"), "is missing or names no version"),
        (None, "is missing or names no version"),
    ] {
        match text {
            Some(text) => store.put(&hint, Bytes::from(text)).await.unwrap(),
            None => store.objects().delete(&hint).await.unwrap(),
        }
        let expected = format!("{complaint} {said}");
        assert_eq!(found(&store, &[&first, &second]).await, [expected]);
        assert_eq!(commit(&store, &[&second]).await.unwrap(), 0);
        assert_consistent(&store, &[&first, &second]).await;
    }
}

#[tokio::test]
async fn metadata_that_is_not_ours_or_was_changed_is_refused_and_reported() {
    let store = in_a_bucket();
    let manifest = published(&store, 0, "run", 1, 2).await;
    commit(&store, &[&manifest]).await.unwrap();
    let kept = metadata(&store, 1).await.unwrap();
    let next = published(&store, 1, "run", 1, 2).await;
    type Edit = fn(&mut Value);
    let edits: [(Edit, &str); 6] = [
        (
            |json| json["properties"] = json!({}),
            "was not written by backlake",
        ),
        (
            |json| json["format-version"] = 3.into(),
            "was not written by backlake",
        ),
        (
            |json| json["location"] = "s3://other/requests".into(),
            "but the lake is now at s3://bucket/team/lake",
        ),
        (
            |json| json["current-snapshot-id"] = 7.into(),
            "lacks its current snapshot",
        ),
        (|json| *json = json!("text"), "cannot be read"),
        (
            |json| json["snapshots"][0]["manifest-list"] = "s3://bucket/team/lake/x.avro".into(),
            "x.avro is missing",
        ),
    ];
    for (change, expected) in edits {
        edit(&store, 1, change).await;
        let error = commit(&store, &[&next]).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            error
                .hint()
                .contains("move requests/_iceberg out of the lake"),
            "{}",
            error.hint()
        );
        let said = found(&store, &[&manifest]).await;
        assert!(said.len() == 1 && said[0].contains(expected), "{said:?}");
        edit(&store, 1, |json| *json = kept.clone()).await;
    }
    // What can be read and is wrong is found, too.
    edit(&store, 1, |json| {
        json["snapshots"][0]["summary"]["total-records"] = "5".into()
    })
    .await;
    let said = found(&store, &[&manifest]).await;
    assert_eq!(
        said,
        ["the Iceberg table of requests has 2 as total-records, and its snapshot says 5"]
    );
    edit(&store, 1, |json| *json = kept.clone()).await;
    commit(&store, &[&next]).await.unwrap();
    assert_consistent(&store, &[&manifest, &next]).await;
}

#[tokio::test]
async fn differences_between_tables_and_manifests_are_found() {
    let store = in_a_bucket();
    let (mut one, two) = (
        published(&store, 0, "run", 1, 2).await,
        published(&store, 1, "run", 1, 2).await,
    );
    commit(&store, &[&one, &two]).await.unwrap();
    let three = published(&store, 2, "run", 1, 2).await;
    one.tables.get_mut("requests").unwrap().files[0].rows = 3;
    let mut more = one.clone();
    more.tables
        .insert("pages".to_owned(), one.tables["requests"].clone());
    let place = "s3://bucket/team/lake/requests/snapshot_date=2026-11";
    let mut said = found(&store, &[&more, &three]).await;
    said.sort();
    assert_eq!(
        said,
        [
            "pages has no Iceberg table, but other tables have one".to_owned(),
            format!(
                "the Iceberg table disagrees with the manifest about {place}-01/run-00000.parquet"
            ),
            format!("the Iceberg table does not list {place}-03/run-00000.parquet"),
            format!("the Iceberg table lists {place}-02/run-00000.parquet, but no manifest does"),
        ]
    );
    let error = commit(&store, &[&one]).await.unwrap_err().to_string();
    assert!(error.contains("has 2 rows, the manifest says 3"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_concurrent_commits_none_is_lost_and_none_counts_twice() {
    let (folder, store) = on_disk();
    let mut manifests = Vec::new();
    for number in 0..6 {
        manifests.push(published(&store, number, "run", 1, 2).await);
    }
    let lock = std::sync::Arc::new(lock(&store).await);
    // Two independent writers commit each snapshot.
    let committer = |manifest: &Manifest| {
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let (lock, manifests) = (std::sync::Arc::clone(&lock), [manifest.clone()]);
        tokio::spawn(async move { super::commit(&store, &lock, &manifests, Table::contract).await })
    };
    let twice = manifests.iter().chain(&manifests);
    let committers: Vec<_> = twice.map(committer).collect();
    for committer in committers {
        committer.await.unwrap().unwrap();
    }
    assert_consistent(&store, &manifests.iter().collect::<Vec<_>>()).await;
    let table = IcebergTable::open(&store, TABLE).await.unwrap();
    assert_eq!((table.version, table.manifests.len()), (6, 6));
    assert_eq!(table.hinted().await.unwrap(), Some(6));
    // The next commit deletes what the commits that came second have left.
    let last = published(&store, 6, "run", 1, 2).await;
    super::commit(&store, &lock, &[last], Table::contract)
        .await
        .unwrap();
    assert_eq!(avro_files(&store).await.len(), 2 * 7);
}

/// A commit of a date without files that is ready for its last object.
async fn prepared(store: &Store, date: NaiveDate) -> (IcebergTable, Prepared) {
    let table = IcebergTable::open(store, TABLE).await.unwrap();
    let change = Change {
        what: format!("{date} 1 other"),
        at: noon(9).timestamp_millis(),
        contract: TABLE.contract(),
        seed: "other",
        added: Some((date, Vec::new())),
        removed: Vec::new(),
        summary: Vec::new(),
    };
    let prepared = table.prepare(&change).await.unwrap();
    (table, prepared)
}

#[tokio::test]
async fn what_a_commit_that_came_second_has_left_is_named_and_the_next_commit_deletes_it() {
    let (_folder, disk) = on_disk();
    for store in [disk, in_a_bucket()] {
        let mut manifests = vec![published(&store, 0, "run", 1, 2).await];
        commit(&store, &[&manifests[0]]).await.unwrap();
        // Of pyiceberg, of Spark, and what only looks like ours.
        let foreign = [
            "snap-8123-0-5f0c7b1e-93a4-4f0a-8a7e-0c1d2e3f4a5b.avro",
            "5f0c7b1e-93a4-4f0a-8a7e-0c1d2e3f4a5b-m0.avro",
            "8123-m0-x.avro",
            "-8123-m0.avro",
            "snap-x8123.avro",
        ];
        for name in foreign {
            let path = Layout::iceberg_object(TABLE, name);
            store.put(&path, Bytes::new()).await.unwrap();
        }
        let (mut winner, early) = prepared(&store, day(20)).await;
        let before = avro_files(&store).await;
        let (mut loser, late) = prepared(&store, day(21)).await;
        let left = &avro_files(&store).await - &before;
        assert_eq!(left.len(), 2, "a manifest and a list: {left:?}");
        assert!(winner.commit(early).await.unwrap());
        assert!(!loser.commit(late).await.unwrap());
        winner.publish_hint().await.unwrap();

        let sentences = left.iter().map(|name| {
            let path = Layout::iceberg_object(TABLE, name);
            format!("{path} is left over from a commit that was interrupted or overtaken by another one; the next commit to the table deletes it")
        });
        let sentences: Vec<String> = sentences.collect();
        assert_eq!(found(&store, &[&manifests[0]]).await, sentences);
        let objects = store.list_here(&Layout::iceberg_folder(TABLE)).await;
        let written = objects.unwrap().into_iter();
        let written = written.filter(|object| left.contains(object.location.filename().unwrap()));
        let first = written.map(|object| object.last_modified).min().unwrap();
        let soon = first + TimeDelta::seconds(59);
        let early = differences(&store, &manifests, soon).await.unwrap();
        assert_eq!(early, [""; 0], "a commit may still be under way");

        // What the metadata of another program names stays, however it writes the URI. Nothing is deleted, either, as long
        // as such metadata cannot be read.
        let list = format!("s3a://elsewhere/{}", left.last().unwrap());
        let named = json!({ "snapshots": [{ "manifest-list": list }] }).to_string();
        let other = Layout::iceberg_object(TABLE, "00002-5f0c.metadata.json");
        for (number, content) in [(1, named), (2, "no JSON".to_owned())] {
            store.put(&other, content.into()).await.unwrap();
            manifests.push(published(&store, number, "run", 1, 2).await);
            commit(&store, &[manifests.last().unwrap()]).await.unwrap();
            assert!(left.is_subset(&avro_files(&store).await));
        }
        store.objects().delete(&other).await.unwrap();
        manifests.push(published(&store, 3, "run", 1, 2).await);
        commit(&store, &[manifests.last().unwrap()]).await.unwrap();
        let remaining = avro_files(&store).await;
        assert!(left.is_disjoint(&remaining) && before.is_subset(&remaining));
        assert_consistent(&store, &manifests.iter().collect::<Vec<_>>()).await;
    }
}
