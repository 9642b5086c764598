//! One contract: its file format, and which later versions may follow it.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::Deserialize;

use super::column::{Column, ColumnType, ItemType};

/// What readers of a table can rely on.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The table's name.
    pub table: String,
    /// The version of the contract. A published version never changes.
    pub version: u32,
    /// What a row represents.
    pub description: String,
    /// The columns by which a snapshot's rows are sorted.
    pub sort: Vec<String>,
    /// The columns, in order.
    pub columns: Vec<Column>,
    schema: SchemaRef,
    text: String,
}

/// The most columns that can be filled from an item: flattening keeps one bit per column.
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

/// The columns that a later version adds.
#[derive(Deserialize)]
struct AddedColumns {
    column: Vec<Column>,
}

impl Contract {
    /// Reads a contract file.
    ///
    /// # Errors
    /// A description of the problem, with line and key, if the text is not a contract.
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
            return Err(format!(
                "the table is sorted by `{key}`, which is not one of its columns"
            ));
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

    /// Checks that this version can follow an earlier one, so that readers of the earlier version can read this one: it
    /// has the same columns in the same order, and after them new columns, each nullable and filled from an item field.
    ///
    /// # Errors
    /// A description of the first difference that breaks this rule.
    pub fn follows(&self, earlier: &Self) -> Result<(), String> {
        if self.version <= earlier.version {
            return Err(format!(
                "version {} is not later than version {}, the current one",
                self.version, earlier.version
            ));
        }
        if self.sort != earlier.sort {
            return Err(format!(
                "the table is not sorted by {} as in {}",
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
                    "column {} is not `{}` as in {}: a later version keeps all columns and adds new ones after them",
                    at + 1,
                    column.name,
                    earlier.id()
                ));
            }
        }
        let new = &self.columns[earlier.columns.len()..];
        for (at, column) in new.iter().enumerate() {
            if column.item.is_none() || !column.nullable || column.since != self.version {
                return Err(format!(
                    "column `{}` is new: it needs `item`, `nullable = true` and `since = {}`",
                    column.name, self.version
                ));
            }
            // The partition column is in the path of each file.
            if column.name.is_empty() || column.name == "snapshot_date" {
                return Err(format!(
                    "`{}` cannot be the name of a new column",
                    column.name
                ));
            }
            let mut others = earlier.columns.iter().chain(&new[..at]);
            if others.any(|other| {
                other.name.eq_ignore_ascii_case(&column.name)
                    || other.item_name() == column.item_name()
            }) {
                return Err(format!(
                    "column `{}` repeats the name or the item of another column",
                    column.name
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
                "more than {MAX_ITEM_COLUMNS} columns have an `item`"
            ));
        }
        Ok(())
    }

    /// The contract file as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The schema of the table's record batches and files, without the partition column, which is in the path.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Name and version as in file metadata and manifests: `pages.v1`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}.v{}", self.table, self.version)
    }

    /// The lines that add an item field to the next version of this contract, in the format of its file. `None` if no
    /// next version may have them, for example because a column has that name.
    #[must_use]
    pub fn adopting(&self, field: &str, kind: ItemType) -> Option<String> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let lines = format!(
            "[[column]]\nname = {0}\ntype = \"{1}\"\nnullable = true\nitem = {0}\nsince = {2}\nmeaning = \"\"\n",
            quoted(field),
            ColumnType::from(kind).name(),
            self.version + 1,
        );
        let added: AddedColumns = toml::from_str(&lines).ok()?;
        let next = Self {
            version: self.version + 1,
            columns: [self.columns.clone(), added.column].concat(),
            ..self.clone()
        };
        next.follows(self).ok()?;
        Some(lines)
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
