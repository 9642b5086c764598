//! A contract as a Delta schema, and what a later contract makes of the schema that is in a log.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use deltalake::kernel::{Metadata, MetadataExt as _, StructField, StructType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::contract::{ColumnType, Contract};
use crate::error::{Context, Error, Result};

/// The column by which every table is partitioned: it stands in the paths and not in the files.
pub(super) const PARTITION: &str = "snapshot_date";
/// Commits from one checkpoint to the next: what a reader replays at the most.
pub(super) const CHECKPOINT_INTERVAL: u64 = 50;

/// The contract's columns as Delta has them, the partition column last.
fn schema(contract: &Contract) -> Result<StructType> {
    let mut fields: Vec<Value> = contract
        .columns
        .iter()
        .map(|column| {
            // Snapshots of an earlier contract lack what a later one brought.
            let nullable = column.nullable || column.since > 1;
            let comment = json!({ "comment": column.meaning });
            json!({ "name": column.name, "type": data_type(column.kind), "nullable": nullable, "metadata": comment })
        })
        .collect();
    let comment = json!({ "comment": "the snapshot's date" });
    fields
        .push(json!({ "name": PARTITION, "type": "date", "nullable": false, "metadata": comment }));
    serde_json::from_value(json!({ "type": "struct", "fields": fields }))
        .context(|| format!("failed to write {} as a Delta schema", contract.id()))
}

fn data_type(kind: ColumnType) -> Value {
    let map_of = |value: &str| json!({ "type": "map", "keyType": "string", "valueType": value, "valueContainsNull": true });
    match kind {
        ColumnType::Utf8 => "string".into(),
        ColumnType::Int64 => "long".into(),
        ColumnType::Bool => "boolean".into(),
        ColumnType::Timestamp => "timestamp".into(),
        ColumnType::Decimal => "decimal(18,6)".into(),
        ColumnType::CountsByKey => map_of("long"),
        ColumnType::TextsByKey => map_of("string"),
    }
}

/// What a new log says of its table. `seed` decides the table's id.
pub(super) fn new_metadata(
    contract: &Contract,
    seed: &str,
    created: DateTime<Utc>,
) -> Result<Metadata> {
    let failed = || format!("failed to describe {} for its Delta log", contract.table);
    let schema = serde_json::to_string(&schema(contract)?).context(failed)?;
    let metadata = json!({
        "id": table_id(&contract.table, seed),
        "name": contract.table,
        "description": contract.description,
        "format": { "provider": "parquet", "options": {} },
        "schemaString": schema,
        "partitionColumns": [PARTITION],
        "configuration": { "delta.checkpointInterval": CHECKPOINT_INTERVAL.to_string() },
        "createdTime": created.timestamp_millis(),
    });
    serde_json::from_value(metadata).context(failed)
}

/// A UUID of version 8, which is any 122 bits of one's own: here a hash, so that a table's id is no matter of chance.
fn table_id(table: &str, seed: &str) -> String {
    let mut bytes = Sha256::digest(format!("{table}\n{seed}"));
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut id = String::new();
    for (at, byte) in bytes.iter().take(16).enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) {
            "-"
        } else {
            ""
        };
        let _ = write!(id, "{dash}{byte:02x}");
    }
    id
}

/// The metadata with every column of the contract in its schema; none if they are all there. A column is never taken
/// away: an earlier program commits to the table of a later one.
///
/// # Errors
/// A table that is partitioned otherwise, or has a column of another type than the contract says.
pub(super) fn widened(metadata: &Metadata, contract: &Contract) -> Result<Option<Metadata>> {
    let table = &contract.table;
    let foreign = |what: String| {
        Error::usage(format!("the Delta log of {table} is not that of {}: {what}", contract.id())).with_hint(
            format!("the snapshots are whole without it: move {table}/_delta_log out of the lake; the next publication begins a new log"),
        )
    };
    if metadata.partition_columns() != [PARTITION] {
        let columns = metadata.partition_columns().join(", ");
        return Err(foreign(format!(
            "it is partitioned by ({columns}) instead of {PARTITION}"
        )));
    }
    let there = metadata
        .parse_schema()
        .context(|| format!("failed to read the Delta schema of {table}"))?;
    let mut fields: Vec<StructField> = there.fields().cloned().collect();
    let mut wider = false;
    for column in schema(contract)?.fields() {
        match fields.iter_mut().find(|field| field.name == column.name) {
            Some(field) if field.data_type != column.data_type => {
                return Err(foreign(format!(
                    "its column {} is {}",
                    field.name, field.data_type
                )));
            }
            Some(field) => {
                wider |= column.nullable && !field.nullable;
                field.nullable |= column.nullable;
            }
            None => {
                // Before the partition column, where a new log has it; the files so far do not.
                let end = fields
                    .iter()
                    .position(|field| field.name == PARTITION)
                    .unwrap_or(fields.len());
                fields.insert(
                    end,
                    StructField {
                        nullable: true,
                        ..column.clone()
                    },
                );
                wider = true;
            }
        }
    }
    if !wider {
        return Ok(None);
    }
    let schema =
        StructType::try_new(fields).context(|| format!("failed to widen the schema of {table}"))?;
    let widened = metadata.clone().with_schema(&schema);
    widened
        .map(Some)
        .context(|| format!("failed to widen the schema of {table}"))
}
