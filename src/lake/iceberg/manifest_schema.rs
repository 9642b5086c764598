//! The Avro schemas of manifests and manifest lists, with the ids that the Iceberg specification gives to their fields.

use apache_avro::Schema as Avro;
use apache_avro::schema::UnionSchema;
use serde_json::{Value, json};

use super::schema::{PARTITION, PARTITION_FIELD_ID};
use crate::error::{Context, Result};

fn field(id: i32, name: &str, kind: Value) -> Value {
    json!({ "name": name, "type": kind, "field-id": id })
}

fn optional(id: i32, name: &str, kind: Value) -> Value {
    json!({ "name": name, "type": ["null", kind], "default": null, "field-id": id })
}

fn list(element: i32, kind: Value) -> Value {
    json!({ "type": "array", "items": kind, "element-id": element })
}

/// Avro maps have text keys, so that Iceberg writes others as lists of pairs.
fn map(key: i32, value: i32, kind: &str) -> Value {
    let pair = json!({
        "type": "record",
        "name": format!("k{key}_v{value}"),
        "fields": [field(key, "key", "int".into()), field(value, "value", kind.into())],
    });
    json!({ "type": "array", "items": pair })
}

/// The schema of an entry of a manifest.
pub(super) fn manifest() -> Result<Avro> {
    let date = json!({ "type": "int", "logicalType": "date" });
    let partition = json!({
        "type": "record",
        "name": "r102",
        "fields": [optional(PARTITION_FIELD_ID, PARTITION, date)],
    });
    let data_file = json!({
        "type": "record",
        "name": "r2",
        "fields": [
            field(134, "content", "int".into()),
            field(100, "file_path", "string".into()),
            field(101, "file_format", "string".into()),
            field(102, "partition", partition),
            field(103, "record_count", "long".into()),
            field(104, "file_size_in_bytes", "long".into()),
            optional(108, "column_sizes", map(117, 118, "long")),
            optional(109, "value_counts", map(119, 120, "long")),
            optional(110, "null_value_counts", map(121, 122, "long")),
            optional(125, "lower_bounds", map(126, 127, "bytes")),
            optional(128, "upper_bounds", map(129, 130, "bytes")),
            optional(132, "split_offsets", list(133, "long".into())),
            optional(140, "sort_order_id", "int".into()),
        ],
    });
    parsed(&json!({
        "type": "record",
        "name": "manifest_entry",
        "fields": [
            field(0, "status", "int".into()),
            optional(1, "snapshot_id", "long".into()),
            optional(3, "sequence_number", "long".into()),
            optional(4, "file_sequence_number", "long".into()),
            field(2, "data_file", data_file),
        ],
    }))
}

/// The schema of an entry of a manifest list.
pub(super) fn manifest_list() -> Result<Avro> {
    let summary = json!({
        "type": "record",
        "name": "r508",
        "fields": [
            field(509, "contains_null", "boolean".into()),
            optional(518, "contains_nan", "boolean".into()),
            optional(510, "lower_bound", "bytes".into()),
            optional(511, "upper_bound", "bytes".into()),
        ],
    });
    parsed(&json!({
        "type": "record",
        "name": "manifest_file",
        "fields": [
            field(500, "manifest_path", "string".into()),
            field(501, "manifest_length", "long".into()),
            field(502, "partition_spec_id", "int".into()),
            field(517, "content", "int".into()),
            field(515, "sequence_number", "long".into()),
            field(516, "min_sequence_number", "long".into()),
            field(503, "added_snapshot_id", "long".into()),
            field(504, "added_files_count", "int".into()),
            field(505, "existing_files_count", "int".into()),
            field(506, "deleted_files_count", "int".into()),
            field(512, "added_rows_count", "long".into()),
            field(513, "existing_rows_count", "long".into()),
            field(514, "deleted_rows_count", "long".into()),
            optional(507, "partitions", list(508, summary)),
        ],
    }))
}

fn parsed(schema: &Value) -> Result<Avro> {
    let schema = Avro::parse(schema).and_then(marked);
    schema.context(|| "failed to make an Avro schema of Iceberg metadata")
}

/// The schema with its lists of pairs marked as maps: the parser drops a logical type that it does not know.
fn marked(schema: Avro) -> Result<Avro, apache_avro::Error> {
    Ok(match schema {
        Avro::Record(mut record) => {
            for field in &mut record.fields {
                field.schema = marked(field.schema.clone())?;
            }
            Avro::Record(record)
        }
        Avro::Union(union) => {
            let variants = union.variants().iter().cloned().map(marked);
            Avro::Union(UnionSchema::new(variants.collect::<Result<_, _>>()?)?)
        }
        Avro::Array(mut array) => {
            if matches!(&*array.items, Avro::Record(pair) if pair.name.name().starts_with('k')) {
                array
                    .attributes
                    .insert("logicalType".to_owned(), "map".into());
            }
            Avro::Array(array)
        }
        other => other,
    })
}
