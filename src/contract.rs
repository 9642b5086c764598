//! The contracts of the four tables: `schemas/*.toml`, compiled in, as Arrow schemas and as documentation.
//!
//! A contract says of every column its type, unit, meaning, source and the version that brought it. What flatten
//! decodes, what the writer writes and what the audit expects are all read from here.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::Deserialize;

/// The tables of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// A row per returned item.
    Pages,
    /// A row per item, dimension and key.
    Breakdowns,
    /// A row per input line: its fate.
    Targets,
    /// A row per attempt: what it cost.
    Requests,
}

impl Table {
    /// Every table, in the order in which a snapshot is published.
    pub const ALL: [Self; 4] = [Self::Pages, Self::Breakdowns, Self::Targets, Self::Requests];

    /// The table's folder in the lake, and its name in contracts and manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Breakdowns => "breakdowns",
            Self::Targets => "targets",
            Self::Requests => "requests",
        }
    }

    /// The table of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The contract in force, with which this program writes.
    #[must_use]
    pub fn contract(self) -> &'static Contract {
        static CONTRACTS: LazyLock<[Contract; 4]> = LazyLock::new(|| {
            [
                Contract::parse(include_str!("../schemas/pages.v1.toml")),
                Contract::parse(include_str!("../schemas/breakdowns.v1.toml")),
                Contract::parse(include_str!("../schemas/targets.v1.toml")),
                Contract::parse(include_str!("../schemas/requests.v1.toml")),
            ]
        });
        &CONTRACTS[self as usize]
    }
}

/// The type of a column: only what every engine reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ColumnType {
    /// A UTF-8 string.
    #[serde(rename = "utf8")]
    Utf8,
    /// A signed 64-bit integer.
    #[serde(rename = "int64")]
    Int64,
    /// True or false.
    #[serde(rename = "bool")]
    Bool,
    /// Microseconds since 1970 in UTC.
    #[serde(rename = "timestamp")]
    Timestamp,
    /// An exact amount of US dollars.
    #[serde(rename = "decimal(18,6)")]
    Decimal,
    /// Counts by key, in the order received.
    #[serde(rename = "map<utf8,int64>")]
    CountsByKey,
    /// Texts by key.
    #[serde(rename = "map<utf8,utf8>")]
    TextsByKey,
}

impl ColumnType {
    /// The name in the contract file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Int64 => "int64",
            Self::Bool => "bool",
            Self::Timestamp => "timestamp",
            Self::Decimal => "decimal(18,6)",
            Self::CountsByKey => "map<utf8,int64>",
            Self::TextsByKey => "map<utf8,utf8>",
        }
    }

    /// The type in Arrow.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Utf8 => DataType::Utf8,
            Self::Int64 => DataType::Int64,
            Self::Bool => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Decimal => DataType::Decimal128(18, 6),
            Self::CountsByKey => map_of(DataType::Int64),
            Self::TextsByKey => map_of(DataType::Utf8),
        }
    }
}

/// A map from text, with the field names that Parquet's specification gives them.
fn map_of(value: DataType) -> DataType {
    let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, true)];
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry.into()), false)), false)
}

/// One column of a table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The name in the table.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Whether it may be null.
    #[serde(default)]
    pub nullable: bool,
    /// The field of the provider's item it holds, if it holds one.
    pub item: Option<String>,
    /// Where the value comes from, if not from an item.
    source: Option<String>,
    /// What a number counts, or how a text is to be read.
    unit: Option<String>,
    /// Whether values repeat enough for a dictionary.
    #[serde(default = "yes")]
    pub dictionary: bool,
    /// The contract version that brought the column.
    pub since: u32,
    /// What it means.
    pub meaning: String,
}

fn yes() -> bool {
    true
}

impl Column {
    /// Where the value comes from, as the documentation says it.
    #[must_use]
    pub fn source(&self) -> String {
        match (&self.item, &self.source) {
            (Some(item), _) => format!("items[].{item}"),
            (None, Some(source)) => source.clone(),
            (None, None) => String::new(),
        }
    }
}

/// What readers of a table may rely on.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The table's name.
    pub table: String,
    /// The version of this contract; a published version never changes.
    pub version: u32,
    /// What a row stands for.
    pub description: String,
    /// The columns by which a snapshot's rows are sorted.
    pub sort: Vec<String>,
    /// The columns, in order.
    pub columns: Vec<Column>,
    schema: SchemaRef,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContractFile {
    table: String,
    version: u32,
    description: String,
    sort: Vec<String>,
    column: Vec<Column>,
}

impl Contract {
    /// Reads a contract file. The files are compiled in and a test reads each, so a mistake in one never ships.
    fn parse(text: &str) -> Self {
        #[expect(clippy::expect_used, reason = "compiled in, and read by a test")]
        let file: ContractFile = toml::from_str(text).expect("a contract that is compiled in");
        let fields =
            file.column.iter().map(|column| Field::new(&column.name, column.kind.arrow(), column.nullable));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let ContractFile { table, version, description, sort, column: columns } = file;
        Self { table, version, description, sort, columns, schema }
    }

    /// The schema of the table's record batches and files. Partition columns stand in the path, not here.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Name and version as file metadata and manifests carry them: `pages.v1`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}.v{}", self.table, self.version)
    }

    /// The contract as a Markdown section.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "## {} (version {})\n\n{} Sorted by {}.\n\n| column | type | unit | meaning | source | since |\n|---|---|---|---|---|---|\n",
            self.table,
            self.version,
            self.description,
            self.sort.join(", "),
        );
        for column in &self.columns {
            let null = if column.nullable { ", null" } else { "" };
            let unit = column.unit.as_deref().unwrap_or("");
            let _ = writeln!(
                text,
                "| {} | {}{null} | {unit} | {} | {} | v{} |",
                column.name,
                column.kind.name(),
                column.meaning,
                column.source(),
                column.since,
            );
        }
        text
    }
}

/// The documentation of all tables, as `schemas/README.md` holds it.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# The tables of the lake\n\n\
         Generated from the contracts beside this file by `backlake schema --markdown`; a test holds it true.\n\
         Every table is partitioned by `snapshot_date`, which stands in the path and not in the files.\n\
         Timestamps are microseconds in UTC.\n",
    );
    for table in Table::ALL {
        text.push('\n');
        text.push_str(&table.contract().markdown());
    }
    text
}

/// The six maps of an item: the field that holds it, and its name as a dimension of breakdowns, in the order of the
/// breakdowns table.
pub const DIMENSIONS: [(&str, &str); 6] = [
    ("attribute", "referring_links_attributes"),
    ("country", "referring_links_countries"),
    ("platform_type", "referring_links_platform_types"),
    ("semantic_location", "referring_links_semantic_locations"),
    ("tld", "referring_links_tld"),
    ("type", "referring_links_types"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contract_is_named_after_its_table_and_sorts_by_columns_it_has() {
        for table in Table::ALL {
            let contract = table.contract();
            assert_eq!(contract.table, table.name());
            for key in &contract.sort {
                assert!(contract.schema().index_of(key).is_ok(), "{} sorts by {key}", contract.table);
            }
            for column in &contract.columns {
                assert!(
                    !column.source().is_empty(),
                    "{} does not say where {} comes from",
                    contract.table,
                    column.name
                );
            }
        }
    }

    #[test]
    fn every_dimension_is_a_map_of_pages_and_they_stand_in_order() {
        assert!(DIMENSIONS.is_sorted());
        for (_, field) in DIMENSIONS {
            let schema = Table::Pages.contract().schema();
            assert_eq!(schema.field_with_name(field).unwrap().data_type(), &ColumnType::CountsByKey.arrow());
        }
    }
}
