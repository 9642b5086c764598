//! The columns of a table: their types, and where their values come from.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use serde::Deserialize;
use strum::{EnumString, IntoStaticStr, VariantNames};

/// The type of a column. Every query engine can read these types.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Deserialize, EnumString, IntoStaticStr, VariantNames,
)]
#[serde(try_from = "String")]
pub enum ColumnType {
    /// A UTF-8 string.
    #[strum(serialize = "utf8")]
    Utf8,
    /// A signed 64-bit integer.
    #[strum(serialize = "int64")]
    Int64,
    /// True or false.
    #[strum(serialize = "bool")]
    Bool,
    /// Microseconds since 1970 in UTC.
    #[strum(serialize = "timestamp")]
    Timestamp,
    /// An exact amount of US dollars.
    #[strum(serialize = "decimal(18,6)")]
    Decimal,
    /// Counts by key, in the order received.
    #[strum(serialize = "map<utf8,int64>")]
    CountsByKey,
    /// Strings by key.
    #[strum(serialize = "map<utf8,utf8>")]
    TextsByKey,
}

impl TryFrom<String> for ColumnType {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse().map_err(|_| {
            let allowed = Self::VARIANTS.join("`, `");
            format!("unknown type `{name}`, expected one of `{allowed}`")
        })
    }
}

impl ColumnType {
    /// The name in contract files.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
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

/// A map with string keys.
fn map_of(value: DataType) -> DataType {
    DataType::Map(map_entry(map_fields(value)), false)
}

/// The fields of a map entry, with the names that the Parquet specification gives them.
fn map_fields(value: DataType) -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", value, true),
    ])
}

/// The field of a map's entries.
fn map_entry(fields: Fields) -> FieldRef {
    Arc::new(Field::new("key_value", DataType::Struct(fields), false))
}

/// The entry field of a map of counts and its inner fields, for a decoder that builds the map.
#[must_use]
pub fn counts_entry() -> (FieldRef, Fields) {
    let fields = map_fields(DataType::Int64);
    (map_entry(fields.clone()), fields)
}

/// The type of a column that is decoded from an item of the provider: the types that JSON values can be decoded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemType {
    /// A string.
    Utf8,
    /// An integer.
    Int64,
    /// A date and time in the provider's format.
    Timestamp,
    /// An object whose values are integers.
    CountsByKey,
}

impl From<ItemType> for ColumnType {
    fn from(kind: ItemType) -> Self {
        match kind {
            ItemType::Utf8 => Self::Utf8,
            ItemType::Int64 => Self::Int64,
            ItemType::Timestamp => Self::Timestamp,
            ItemType::CountsByKey => Self::CountsByKey,
        }
    }
}

impl ItemType {
    /// The item type of a column type; none if items cannot fill a column of that type.
    fn of(kind: ColumnType) -> Option<Self> {
        match kind {
            ColumnType::Utf8 => Some(Self::Utf8),
            ColumnType::Int64 => Some(Self::Int64),
            ColumnType::Timestamp => Some(Self::Timestamp),
            ColumnType::CountsByKey => Some(Self::CountsByKey),
            ColumnType::Bool | ColumnType::Decimal | ColumnType::TextsByKey => None,
        }
    }
}

/// The field of the provider's item that fills a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemField {
    /// The field's name in the response.
    pub name: String,
    /// The type that its values are decoded to.
    pub kind: ItemType,
}

/// One column of a table.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "ColumnFile")]
pub struct Column {
    /// The name in the table.
    pub name: String,
    /// The type in the table.
    pub kind: ColumnType,
    /// Whether the column may be null.
    pub nullable: bool,
    /// The field of the provider's item that fills the column; none if backlake computes it.
    pub item: Option<ItemField>,
    /// Where the value comes from if not from an item.
    source: Option<String>,
    /// What a number counts, or how a string is to be read.
    pub unit: Option<String>,
    /// Whether values repeat often enough for a dictionary to save space.
    pub dictionary: bool,
    /// The contract version that added the column.
    pub since: u32,
    /// What the column means.
    pub meaning: String,
}

/// A column as contract files write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnFile {
    name: String,
    #[serde(rename = "type")]
    kind: ColumnType,
    #[serde(default)]
    nullable: bool,
    item: Option<String>,
    source: Option<String>,
    unit: Option<String>,
    #[serde(default = "yes")]
    dictionary: bool,
    since: u32,
    meaning: String,
}

fn yes() -> bool {
    true
}

impl TryFrom<ColumnFile> for Column {
    type Error = String;

    fn try_from(file: ColumnFile) -> Result<Self, String> {
        let item = match file.item {
            None => None,
            Some(name) => {
                let kind = ItemType::of(file.kind).ok_or_else(|| {
                    format!(
                        "column `{}` has `item` and the type {}, but items only fill columns of type utf8, int64, timestamp and map<utf8,int64>",
                        file.name,
                        file.kind.name()
                    )
                })?;
                Some(ItemField { name, kind })
            }
        };
        Ok(Self {
            name: file.name,
            kind: file.kind,
            nullable: file.nullable,
            item,
            source: file.source,
            unit: file.unit,
            dictionary: file.dictionary,
            since: file.since,
            meaning: file.meaning,
        })
    }
}

impl Column {
    /// The name of the item field that fills the column; none if backlake computes it.
    #[must_use]
    pub fn item_name(&self) -> Option<&str> {
        self.item.as_ref().map(|item| item.name.as_str())
    }

    /// Where the value comes from, as the documentation shows it: the path of the field in the response, or the
    /// contract's own words; empty if the contract does not say.
    #[must_use]
    pub fn source(&self) -> String {
        match (&self.item, &self.source) {
            (Some(item), _) => format!("items[].{}", item.name),
            (None, Some(source)) => source.clone(),
            (None, None) => String::new(),
        }
    }
}

/// The false-positive rate of the Bloom filter on a column; none if the column has no filter because readers do not
/// look up rows by it.
///
/// Rows are sorted by root domain, so that the statistics of `target` and `url` exclude almost no row group, and only a
/// filter does. At one in a thousand, the filter of a row group of distinct values has 256 KiB, and a look-up over a
/// month of snapshots seldom reads a row group without a match. A lower rate would cost more bytes to read than it saves.
#[must_use]
pub fn bloom_filter(column: &str) -> Option<f64> {
    matches!(column, "target" | "url").then_some(0.001)
}
