//! The contracts of the four tables: `schemas/*.toml`, compiled in, as Arrow schemas and as documentation.
//!
//! A contract says of every column its type, unit, meaning, source and the version that brought it. What flatten
//! decodes, what the writer writes and what the audit expects are all read from here. [`Contracts`] are those in force
//! for a pipeline: the built-in ones, or a later version of `pages` that its file names, which adopts further fields.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
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

    /// The built-in contract.
    #[must_use]
    pub fn contract(self) -> &'static Contract {
        &BUILT_IN[self as usize]
    }
}

static BUILT_IN: LazyLock<[Arc<Contract>; 4]> = LazyLock::new(|| {
    [
        include_str!("../schemas/pages.v1.toml"),
        include_str!("../schemas/breakdowns.v1.toml"),
        include_str!("../schemas/targets.v1.toml"),
        include_str!("../schemas/requests.v1.toml"),
    ]
    .map(|text| {
        #[expect(
            clippy::expect_used,
            reason = "compiled in, and read by a test: a mistake in one never ships"
        )]
        Arc::new(Contract::parse(text).expect("a contract that is compiled in"))
    })
});

/// The contracts that a pipeline writes by, one a table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Contracts([Arc<Contract>; 4]);

impl Default for Contracts {
    /// The built-in ones.
    fn default() -> Self {
        Self(BUILT_IN.clone())
    }
}

impl Contracts {
    /// The contract of a table.
    #[must_use]
    pub fn of(&self, table: Table) -> &Arc<Contract> {
        &self.0[table as usize]
    }

    /// Puts a later version in the place of the one in force.
    ///
    /// # Errors
    /// A contract that does not follow the one in force, in words: see [`Contract::follows`].
    pub fn adopt(&mut self, later: Contract) -> Result<(), String> {
        if later.table != Table::Pages.name() {
            return Err(format!(
                "a contract of `{}`; only that of `pages` can adopt fields, the others are filled by the program",
                later.table
            ));
        }
        let in_force = &mut self.0[Table::Pages as usize];
        later.follows(in_force)?;
        *in_force = Arc::new(later);
        Ok(())
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
    let entry = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", value, true),
    ];
    DataType::Map(
        Arc::new(Field::new(
            "key_value",
            DataType::Struct(entry.into()),
            false,
        )),
        false,
    )
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
    text: String,
}

/// The columns that can be filled from an item: flatten keeps a bit for each.
const MAX_ITEM_COLUMNS: usize = 64;

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
    /// Reads a contract file.
    ///
    /// # Errors
    /// A text that is no contract, with line and key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: ContractFile = toml::from_str(text).map_err(|error| error.to_string())?;
        let fields = file
            .column
            .iter()
            .map(|column| Field::new(&column.name, column.kind.arrow(), column.nullable));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let ContractFile {
            table,
            version,
            description,
            sort,
            column: columns,
        } = file;
        if let Some(key) = sort.iter().find(|key| schema.index_of(key).is_err()) {
            return Err(format!("it sorts by `{key}`, which is no column of it"));
        }
        Ok(Self {
            table,
            version,
            description,
            sort,
            columns,
            schema,
            text: text.to_owned(),
        })
    }

    /// Holds a later version to the one before it: readers of the earlier must be able to read the later. It has the
    /// same columns in the same order, and behind them new ones, each nullable and filled from a field of the item.
    ///
    /// # Errors
    /// In what it does not follow, in words.
    pub fn follows(&self, earlier: &Self) -> Result<(), String> {
        if self.version <= earlier.version {
            return Err(format!(
                "version {} does not follow version {}, which is in force",
                self.version, earlier.version
            ));
        }
        if self.sort != earlier.sort {
            return Err(format!(
                "it is not sorted by {}, as {} is",
                earlier.sort.join(", "),
                earlier.id()
            ));
        }
        for (at, column) in earlier.columns.iter().enumerate() {
            let same = self.columns.get(at).is_some_and(|own| {
                (&own.name, own.kind, own.nullable, &own.item)
                    == (&column.name, column.kind, column.nullable, &column.item)
            });
            if !same {
                return Err(format!(
                    "column {} is not `{}` as in {}: a later version keeps all columns and adds new ones behind them",
                    at + 1,
                    column.name,
                    earlier.id()
                ));
            }
        }
        let new = &self.columns[earlier.columns.len()..];
        for (at, column) in new.iter().enumerate() {
            let known = earlier.columns.iter().chain(&new[..at]);
            if known
                .clone()
                .any(|known| known.name == column.name || known.item == column.item)
            {
                return Err(format!(
                    "column `{}` repeats the name or the item of another",
                    column.name
                ));
            }
            let fits = matches!(
                column.kind,
                ColumnType::Utf8
                    | ColumnType::Int64
                    | ColumnType::Timestamp
                    | ColumnType::CountsByKey
            );
            if column.item.is_none() || !column.nullable || column.since != self.version || !fits {
                return Err(format!(
                    "column `{}` is new: it needs `item`, `nullable = true`, `since = {}` and one of the types utf8, int64, timestamp and map<utf8,int64>",
                    column.name, self.version
                ));
            }
        }
        if self
            .columns
            .iter()
            .filter(|column| column.item.is_some())
            .count()
            > MAX_ITEM_COLUMNS
        {
            return Err(format!(
                "more than {MAX_ITEM_COLUMNS} columns are filled from items"
            ));
        }
        Ok(())
    }

    /// The contract file as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
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

    /// The lines that would adopt a field into the next version of this contract, as its file would hold them.
    #[must_use]
    pub fn adopting(&self, field: &str, kind: ColumnType) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        format!(
            "[[column]]\nname = {0}\ntype = \"{1}\"\nnullable = true\nitem = {0}\nsince = {2}\nmeaning = \"\"\n",
            quoted(field),
            kind.name(),
            self.version + 1,
        )
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
    fn a_later_version_keeps_every_column_and_adds_fields_of_the_item_behind_them() {
        let v1 = Table::Pages.contract();
        let later = |text: String| Contract::parse(&text).unwrap();
        let v2 = v1.text().replace("\nversion = 1", "\nversion = 2");
        let adopted = format!("{v2}\n{}", v1.adopting("page_authority", ColumnType::Int64));
        assert_eq!(later(adopted.clone()).follows(v1), Ok(()));
        let mut contracts = Contracts::default();
        contracts.adopt(later(adopted.clone())).unwrap();
        assert_eq!(contracts.of(Table::Pages).id(), "pages.v2");
        for (text, complaint) in [
            (v1.text().to_owned(), "version 1 does not follow version 1"),
            (
                v2.replace("\nname = \"rank\"", "\nname = \"page_rank\""),
                "column 6 is not `rank`",
            ),
            (
                v2.replace(
                    "sort = [\"root_domain\", \"target\"]",
                    "sort = [\"target\"]",
                ),
                "not sorted by root_domain",
            ),
            (
                format!("{v2}\n{}", v1.adopting("backlinks", ColumnType::Int64)),
                "`backlinks` repeats",
            ),
            (
                format!("{v2}\n{}", v1.adopting("x", ColumnType::Bool)),
                "column `x` is new",
            ),
            (adopted.replace("since = 2", "since = 1"), "`since = 2`"),
        ] {
            let refused = later(text).follows(v1).unwrap_err();
            assert!(refused.contains(complaint), "{refused}");
        }
        assert!(
            contracts
                .adopt(Table::Targets.contract().clone())
                .unwrap_err()
                .contains("only that of `pages`")
        );
    }

    #[test]
    fn every_contract_is_named_after_its_table_and_sorts_by_columns_it_has() {
        for table in Table::ALL {
            let contract = table.contract();
            assert_eq!(contract.table, table.name());
            for key in &contract.sort {
                assert!(
                    contract.schema().index_of(key).is_ok(),
                    "{} sorts by {key}",
                    contract.table
                );
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
            assert_eq!(
                schema.field_with_name(field).unwrap().data_type(),
                &ColumnType::CountsByKey.arrow()
            );
        }
    }
}
