//! Helpers of the tests of table formats: small snapshots of one table, on a local disk and in an object store.

use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, Duration, NaiveDate, Utc};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use serde_json::json;

use super::manifest::{Manifest, PublicationId};
use super::table_rows::requests_batch;
use super::writer::TableWriter;
use crate::contract::{Contract, Table};
use crate::ledger::{Attempt, Charged, Outcome};
use crate::store::{AttemptId, Layout, Store};

pub(super) const TABLE: Table = Table::Requests;

pub(super) fn day(number: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 1).unwrap() + Duration::days(number)
}

pub(super) fn noon(number: i64) -> DateTime<Utc> {
    day(number).and_hms_opt(12, 0, 0).unwrap().and_utc()
}

pub(super) fn attempts(rows: u32) -> RecordBatch {
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
        body_sha256: None,
        body_xxh3: None,
        oddities: Vec::new(),
    };
    requests_batch(&(0..rows).map(attempt).collect::<Vec<_>>()).unwrap()
}

/// Writes a snapshot of one table and returns its manifest.
pub(super) async fn published(
    store: &Store,
    number: i64,
    run: &str,
    generation: u32,
    rows: u32,
) -> Manifest {
    let (contract, rows) = (TABLE.contract(), attempts(rows));
    written(store, contract, rows, number, run, generation).await
}

pub(super) async fn written(
    store: &Store,
    contract: &'static Contract,
    rows: RecordBatch,
    number: i64,
    run: &str,
    generation: u32,
) -> Manifest {
    let snapshot = day(number);
    let place = Layout { snapshot }.partition(TABLE);
    let staged = tempfile::tempdir().unwrap();
    let id = PublicationId {
        run: run.to_owned(),
        generation,
    };
    let mut writer = TableWriter::new(
        &Arc::new(contract.clone()),
        staged.path().to_owned(),
        place.to_string(),
        &id,
        1 << 30,
    );
    writer.write(&rows).unwrap();
    let files = writer.close().unwrap();
    for file in &files {
        let staged = staged.path().join(file.name());
        let path = Path::from(file.path.as_str());
        let delivery = store.deliver(&staged, &path).await.unwrap();
        delivery.complete().await.unwrap();
    }
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let manifest = json!({
        "format": 1,
        "snapshot": snapshot,
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

pub(super) fn on_disk() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().to_str().unwrap()).unwrap();
    (folder, store)
}

pub(super) fn in_a_bucket() -> Store {
    let bucket = PrefixStore::new(
        Arc::new(InMemory::new()) as Arc<dyn object_store::ObjectStore>,
        "team/lake",
    );
    Store::over(Arc::new(bucket), "s3://bucket/team/lake")
}
