//! Iceberg schemas, made from a contract and widened for a later contract, with the ids of all fields.
//!
//! An id depends on the position of its column alone. A later contract keeps all columns and adds new ones after them, so
//! an id never changes its meaning.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::contract::{Column, ColumnType, Contract};
use crate::error::{Error, Result};

/// The partition column of every table. It is in the paths, not in the files.
pub(super) const PARTITION: &str = "snapshot_date";
/// The id of the partition column.
pub(super) const PARTITION_ID: i32 = 1;
/// The id of the partition field, as the specification numbers the first one.
pub(super) const PARTITION_FIELD_ID: i32 = 1000;
/// The id of the contract's first column.
const FIRST_ID: i32 = 2;
/// The ids of a column: its own, and those of a map's keys and values.
const IDS_PER_COLUMN: i32 = 3;

/// A schema, as the table metadata lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Schema {
    #[serde(rename = "type")]
    kind: String,
    pub(super) schema_id: i32,
    pub(super) fields: Vec<Field>,
}

/// A column of a schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Field {
    pub(super) id: i32,
    pub(super) name: String,
    pub(super) required: bool,
    #[serde(rename = "type")]
    pub(super) kind: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    doc: Option<String>,
}

/// The id of the contract's column at this position.
fn id(position: usize) -> i32 {
    i32::try_from(position).map_or(i32::MAX, |position| FIRST_ID + IDS_PER_COLUMN * position)
}

/// The contract's columns with their ids.
pub(super) fn columns(contract: &Contract) -> impl Iterator<Item = (i32, &Column)> {
    let columns = contract.columns.iter().enumerate();
    columns.map(|(position, column)| (id(position), column))
}

/// The type of a column; `id` is the column's own.
fn data_type(kind: ColumnType, id: i32) -> Value {
    let map_of = |value: &str| {
        json!({
            "type": "map",
            "key-id": id + 1, "key": "string",
            "value-id": id + 2, "value-required": false, "value": value,
        })
    };
    match kind {
        ColumnType::Utf8 => "string".into(),
        ColumnType::Int64 => "long".into(),
        ColumnType::Bool => "boolean".into(),
        ColumnType::Timestamp => "timestamptz".into(),
        ColumnType::Decimal => "decimal(18, 6)".into(),
        ColumnType::CountsByKey => map_of("long"),
        ColumnType::TextsByKey => map_of("string"),
    }
}

impl Schema {
    /// The contract's columns, with the partition column last.
    pub(super) fn of(contract: &Contract) -> Self {
        let mut fields: Vec<Field> = columns(contract)
            .map(|(id, column)| Field {
                id,
                name: column.name.clone(),
                // Files of an earlier contract do not have the column.
                required: !column.nullable && column.since == 1,
                kind: data_type(column.kind, id),
                doc: Some(column.meaning.clone()),
            })
            .collect();
        fields.push(Field {
            id: PARTITION_ID,
            name: PARTITION.to_owned(),
            // pyiceberg looks for a required column in the files.
            required: false,
            kind: "date".into(),
            doc: Some("date of the snapshot".to_owned()),
        });
        Self {
            kind: "struct".to_owned(),
            schema_id: 0,
            fields,
        }
    }

    /// This schema with the contract's missing columns; none if no column is missing. A column is never removed, so that an
    /// earlier version of backlake can commit to the table of a later one.
    ///
    /// # Errors
    /// A column that is not the contract's.
    pub(super) fn widened(&self, contract: &Contract, schema_id: i32) -> Result<Option<Self>> {
        let mut wider = self.clone();
        for column in Self::of(contract).fields {
            match wider.fields.iter_mut().find(|field| field.id == column.id) {
                Some(field) if (&field.name, &field.kind) != (&column.name, &column.kind) => {
                    return Err(Error::usage(format!(
                        "the Iceberg table {} does not match {}: field {} is {} of type {}, and not {}",
                        contract.table,
                        contract.id(),
                        field.id,
                        field.name,
                        field.kind,
                        column.name
                    )));
                }
                Some(field) => field.required &= column.required,
                None => {
                    // Before the partition column, as in a new table.
                    let end = wider
                        .fields
                        .iter()
                        .position(|field| field.id == PARTITION_ID);
                    let end = end.unwrap_or(wider.fields.len());
                    let column = Field {
                        required: false,
                        ..column
                    };
                    wider.fields.insert(end, column);
                }
            }
        }
        if wider == *self {
            return Ok(None);
        }
        wider.schema_id = schema_id;
        Ok(Some(wider))
    }

    /// The highest id, those of keys and values of maps included.
    pub(super) fn last_id(&self) -> i32 {
        let last = self.fields.iter().map(|field| {
            let value = field.kind["value-id"].as_i64();
            value.map_or(field.id, |id| id as i32)
        });
        last.max().unwrap_or_default()
    }

    /// The property `schema.name-mapping.default`: the ids of the columns of files, by name.
    pub(super) fn name_mapping(&self) -> String {
        let mapping: Vec<Value> = self
            .fields
            .iter()
            .map(|field| match &field.kind {
                Value::Object(map)
                    if map.contains_key("key-id") && map.contains_key("value-id") =>
                {
                    json!({
                        "field-id": field.id,
                        "names": [field.name],
                        "fields": [
                            { "field-id": map["key-id"], "names": ["key"] },
                            { "field-id": map["value-id"], "names": ["value"] },
                        ],
                    })
                }
                _ => json!({ "field-id": field.id, "names": [field.name] }),
            })
            .collect();
        Value::from(mapping).to_string()
    }
}

/// The partition specification of every table.
pub(super) fn partition_spec() -> Value {
    json!({
        "spec-id": 0,
        "fields": [{
            "name": PARTITION,
            "transform": "identity",
            "source-id": PARTITION_ID,
            "field-id": PARTITION_FIELD_ID,
        }],
    })
}

/// The id of the order in which the rows of all files are.
pub(super) const SORT_ORDER_ID: i32 = 1;

/// The order in which the rows of a table's files are.
pub(super) fn sort_order(contract: &Contract) -> Value {
    let keys = contract.sort.iter().filter_map(|key| {
        let (id, _) = columns(contract).find(|(_, column)| column.name == *key)?;
        Some(json!({
            "transform": "identity", "source-id": id, "direction": "asc", "null-order": "nulls-first",
        }))
    });
    json!({ "order-id": SORT_ORDER_ID, "fields": keys.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Table;

    #[test]
    fn an_id_never_changes_and_belongs_to_one_field() {
        for table in Table::ALL {
            let schema = Schema::of(table.contract());
            let mut ids: Vec<i64> = schema.fields.iter().map(|field| field.id.into()).collect();
            for field in &schema.fields {
                ids.extend(
                    ["key-id", "value-id"]
                        .iter()
                        .filter_map(|part| field.kind[part].as_i64()),
                );
            }
            assert_eq!(ids.iter().max(), Some(&schema.last_id().into()));
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), all, "{}", table.name());
        }
        let requests = Schema::of(Table::Requests.contract());
        let of = |name: &str| {
            requests
                .fields
                .iter()
                .find(|field| field.name == name)
                .unwrap()
                .id
        };
        assert_eq!(
            (of("snapshot_date"), of("batch"), of("attempt"), of("tag")),
            (1, 2, 5, 8)
        );
    }

    #[test]
    fn a_later_contract_adds_its_columns_and_an_earlier_one_keeps_them() {
        let v1 = Table::Pages.contract();
        let text = v1.text().replacen("version = 1", "version = 2", 1)
            + "\n[[column]]\nname = \"extra_rank\"\ntype = \"int64\"\nnullable = true\nitem = \"extra_rank\"\nsince = 2\nmeaning = \"new\"\n";
        let v2 = Contract::parse(&text).unwrap();
        let narrow = Schema::of(v1);
        assert_eq!(narrow.widened(v1, 1).unwrap(), None);
        let wide = narrow.widened(&v2, 1).unwrap().unwrap();
        let last_two = &wide.fields[wide.fields.len() - 2..];
        let (new, partition) = (&last_two[0], &last_two[1]);
        assert_eq!((new.name.as_str(), new.required), ("extra_rank", false));
        assert_eq!((partition.id, wide.schema_id), (PARTITION_ID, 1));
        assert_eq!(wide.widened(v1, 2).unwrap(), None);
        assert!(wide.name_mapping().contains("extra_rank"));
        assert!(wide.last_id() > narrow.last_id());
        let mut other = narrow;
        other.fields[3].kind = "float".into();
        let message = other.widened(v1, 1).unwrap_err().to_string();
        assert!(message.contains("of type \"float\""), "{message}");
    }
}
