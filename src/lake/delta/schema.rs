//! Delta schemas: made from a contract, and widened for a later contract.

use chrono::{DateTime, Utc};
use deltalake::kernel::{Metadata, MetadataExt as _, StructField, StructType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::contract::{ColumnType, Contract};
use crate::error::{Context, Error, Result};

/// The partition column of every table. It is in the paths, not in the files.
pub(super) const PARTITION: &str = "snapshot_date";
/// Commits between two checkpoints: the most that a reader replays.
pub(super) const CHECKPOINT_INTERVAL: u64 = 50;

/// The contract's columns as a Delta schema, with the partition column last.
fn schema(contract: &Contract) -> Result<StructType> {
    let mut fields: Vec<Value> = contract
        .columns
        .iter()
        .map(|column| {
            // Snapshots of an earlier contract do not have the column.
            let nullable = column.nullable || column.since > 1;
            let comment = json!({ "comment": column.meaning });
            json!({ "name": column.name, "type": data_type(column.kind), "nullable": nullable, "metadata": comment })
        })
        .collect();
    let comment = json!({ "comment": "date of the snapshot" });
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

/// The metadata action of a new log. `seed` determines the table's id.
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

/// The id of a table: a UUID made from a hash, so that it does not depend on chance.
fn table_id(table: &str, seed: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(format!("{table}\n{seed}")).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uuid::new_v8(bytes).to_string()
}

/// The metadata with the contract's missing columns added to its schema; none if no column is missing. A column is never
/// removed, so that an earlier version of backlake can commit to the table of a later one.
///
/// # Errors
/// A table with other partition columns, or with a column whose type differs from the contract's.
pub(super) fn widened(metadata: &Metadata, contract: &Contract) -> Result<Option<Metadata>> {
    let table = &contract.table;
    let foreign = |what: String| {
        Error::usage(format!("the Delta log of {table} does not match {}: {what}", contract.id())).with_hint(
            format!("the snapshots do not need the log: move {table}/_delta_log out of the lake, and the next publication creates a new one"),
        )
    };
    if metadata.partition_columns() != [PARTITION] {
        let columns = metadata.partition_columns().join(", ");
        return Err(foreign(format!(
            "it is partitioned by ({columns}) instead of {PARTITION}"
        )));
    }
    let existing = metadata
        .parse_schema()
        .context(|| format!("failed to read the Delta schema of {table}"))?;
    let mut fields: Vec<StructField> = existing.fields().cloned().collect();
    let mut wider = false;
    for column in schema(contract)?.fields() {
        match fields.iter_mut().find(|field| field.name == column.name) {
            Some(field) if field.data_type != column.data_type => {
                return Err(foreign(format!(
                    "its column {} has the type {}",
                    field.name, field.data_type
                )));
            }
            Some(field) => {
                wider |= column.nullable && !field.nullable;
                field.nullable |= column.nullable;
            }
            None => {
                // Before the partition column, as in a new log. Nullable, because existing files lack the column.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_s_id_only_depends_on_its_name_and_the_run() {
        assert_eq!(
            table_id("pages", "run"),
            "bfbaffe0-0f72-8be0-ba50-24be2e726b72"
        );
    }
}
