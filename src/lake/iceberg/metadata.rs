//! The metadata of an Iceberg table, format version 2: what `v<N>.metadata.json` contains.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::schema::{self, PARTITION_FIELD_ID, SORT_ORDER_ID, Schema};
use crate::contract::Contract;
use crate::error::Result;

/// Iceberg snapshots that stay for time travel.
const SNAPSHOTS_KEPT: usize = 30;
/// Earlier versions of the metadata that stay.
pub(super) const VERSIONS_KEPT: usize = 30;
/// The property that tells our tables from those of other programs.
const OWN: (&str, &str) = ("backlake.format", "1");
/// The property with the names of the columns in the files.
const NAME_MAPPING: &str = "schema.name-mapping.default";
const MAIN: &str = "main";

/// The metadata of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TableMetadata {
    format_version: u8,
    pub(super) table_uuid: String,
    /// The folder of the table's files, as a URI.
    pub(super) location: String,
    pub(super) last_sequence_number: i64,
    last_updated_ms: i64,
    last_column_id: i32,
    current_schema_id: i32,
    schemas: Vec<Schema>,
    default_spec_id: i32,
    partition_specs: Vec<Value>,
    last_partition_id: i32,
    default_sort_order_id: i32,
    sort_orders: Vec<Value>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    #[serde(default)]
    current_snapshot_id: Option<i64>,
    #[serde(default)]
    refs: BTreeMap<String, Reference>,
    #[serde(default)]
    pub(super) snapshots: Vec<Snapshot>,
    #[serde(default)]
    snapshot_log: Vec<SnapshotTime>,
    #[serde(default)]
    pub(super) metadata_log: Vec<MetadataTime>,
}

/// A branch or a tag.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Reference {
    snapshot_id: i64,
    #[serde(rename = "type")]
    kind: String,
}

/// An Iceberg snapshot: the state of a table after a commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Snapshot {
    pub(super) sequence_number: i64,
    pub(super) snapshot_id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent_snapshot_id: Option<i64>,
    pub(super) timestamp_ms: i64,
    /// The URI of the list of its manifests.
    pub(super) manifest_list: String,
    pub(super) summary: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) schema_id: Option<i32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SnapshotTime {
    timestamp_ms: i64,
    snapshot_id: i64,
}

/// When a version of the metadata was written, and where it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MetadataTime {
    timestamp_ms: i64,
    pub(super) metadata_file: String,
}

impl TableMetadata {
    /// The metadata of a table without any snapshot. `seed` determines the table's id.
    pub(super) fn new(contract: &Contract, location: &str, metadata: &str, seed: &str) -> Self {
        let schema = Schema::of(contract);
        let mut properties = BTreeMap::new();
        let mut set = |key: &str, value: String| properties.insert(key.to_owned(), value);
        set(OWN.0, OWN.1.to_owned());
        set("comment", contract.description.clone());
        set(NAME_MAPPING, schema.name_mapping());
        set("write.metadata.path", metadata.to_owned());
        // Engines must not delete what manifests of the lake list.
        set("gc.enabled", "false".to_owned());
        // Spark's vectorized reader cannot read DELTA_BYTE_ARRAY, the encoding of strings with common prefixes.
        set("read.parquet.vectorization.enabled", "false".to_owned());
        Self {
            format_version: 2,
            table_uuid: Uuid::new_v8(hashed(&[&contract.table, seed])).to_string(),
            location: location.to_owned(),
            last_sequence_number: 0,
            last_updated_ms: 0,
            last_column_id: schema.last_id(),
            current_schema_id: schema.schema_id,
            schemas: vec![schema],
            default_spec_id: 0,
            partition_specs: vec![schema::partition_spec()],
            last_partition_id: PARTITION_FIELD_ID,
            default_sort_order_id: SORT_ORDER_ID,
            sort_orders: vec![schema::sort_order(contract)],
            properties,
            current_snapshot_id: None,
            refs: BTreeMap::new(),
            snapshots: Vec::new(),
            snapshot_log: Vec::new(),
            metadata_log: Vec::new(),
        }
    }

    /// Whether backlake has written it.
    pub(super) fn is_own(&self) -> bool {
        self.properties.get(OWN.0).map(String::as_str) == Some(OWN.1) && self.format_version == 2
    }

    /// The current snapshot; none if there is no snapshot, or if the metadata does not list it.
    pub(super) fn current(&self) -> Option<&Snapshot> {
        let id = self.current_snapshot_id?;
        self.snapshots
            .iter()
            .find(|snapshot| snapshot.snapshot_id == id)
    }

    /// Whether the current snapshot and the current schema are among those that are listed.
    pub(super) fn is_whole(&self) -> bool {
        let none = self.current_snapshot_id.is_none();
        (none || self.current().is_some()) && self.schema().is_some()
    }

    /// The current schema.
    pub(super) fn schema(&self) -> Option<&Schema> {
        self.schemas
            .iter()
            .find(|schema| schema.schema_id == self.current_schema_id)
    }

    /// Adds the contract's missing columns.
    ///
    /// # Errors
    /// A column that is not the contract's.
    pub(super) fn widen(&mut self, contract: &Contract) -> Result<()> {
        let next = self.schemas.iter().map(|schema| schema.schema_id + 1).max();
        let wider = match self.schema() {
            Some(schema) => schema.widened(contract, next.unwrap_or_default())?,
            None => Some(Schema::of(contract)),
        };
        if let Some(wider) = wider {
            self.last_column_id = self.last_column_id.max(wider.last_id());
            self.current_schema_id = wider.schema_id;
            self.properties
                .insert(NAME_MAPPING.to_owned(), wider.name_mapping());
            self.schemas.push(wider);
        }
        Ok(())
    }

    /// The id of the current schema, for a new snapshot.
    pub(super) fn schema_id(&self) -> i32 {
        self.current_schema_id
    }

    /// A time for the next commit: `at`, unless the table has changed later. Times never go back.
    pub(super) fn next_ms(&self, at: i64) -> i64 {
        at.max(self.last_updated_ms)
    }

    /// The id of the next snapshot: a hash of what it does to which state, so that it does not depend on chance.
    pub(super) fn next_id(&self, change: &str) -> i64 {
        let state = format!(
            "{:?} {}",
            self.current_snapshot_id, self.last_sequence_number
        );
        let [hash @ .., _, _, _, _, _, _, _, _] = hashed(&[&self.table_uuid, &state, change]);
        i64::from_be_bytes(hash) & i64::MAX
    }

    /// Makes a snapshot the current one. Expired are the oldest beyond a limit, and from `unreadable` on those that list
    /// files which the lake no longer has. `before` is the URI of the version that this one replaces.
    pub(super) fn advance(
        &mut self,
        snapshot: Snapshot,
        unreadable: Option<i64>,
        before: Option<String>,
    ) {
        if let Some(metadata_file) = before {
            self.metadata_log.push(MetadataTime {
                timestamp_ms: self.last_updated_ms,
                metadata_file,
            });
            let excess = self.metadata_log.len().saturating_sub(VERSIONS_KEPT);
            self.metadata_log.drain(..excess);
        }
        if let Some(from) = unreadable {
            self.snapshots.retain(|old| old.sequence_number < from);
        }
        let excess = (self.snapshots.len() + 1).saturating_sub(SNAPSHOTS_KEPT);
        self.snapshots.drain(..excess);
        let id = snapshot.snapshot_id;
        self.last_sequence_number = snapshot.sequence_number;
        self.last_updated_ms = snapshot.timestamp_ms;
        self.snapshot_log.push(SnapshotTime {
            timestamp_ms: snapshot.timestamp_ms,
            snapshot_id: id,
        });
        self.snapshots.push(snapshot);
        // The specification drops the log before an entry whose snapshot has expired.
        let kept = |entry: &SnapshotTime| {
            let mut kept = self.snapshots.iter();
            kept.any(|snapshot| snapshot.snapshot_id == entry.snapshot_id)
        };
        let gap = self.snapshot_log.iter().rposition(|entry| !kept(entry));
        self.snapshot_log.drain(..gap.map_or(0, |gap| gap + 1));
        self.current_snapshot_id = Some(id);
        let main = Reference {
            snapshot_id: id,
            kind: "branch".to_owned(),
        };
        self.refs = [(MAIN.to_owned(), main)].into();
    }
}

/// The first half of the SHA-256 of texts.
fn hashed(texts: &[&str]) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(texts.join("\n")).into();
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}
