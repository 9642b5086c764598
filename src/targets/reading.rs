//! How lists are read: the choices of a pipeline, and what was found out about each list.

use serde::{Deserialize, Serialize};

use super::column::{Column, column_at};

/// The format of a target list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One target per line; lines that start with `#` are comments.
    Txt,
    /// Values with a delimiter between them, by default with a header.
    Csv,
    /// The same with tabs.
    Tsv,
    /// One JSON object per line.
    Ndjson,
    /// A JSON array of strings and objects.
    Json,
    /// A sitemap, or an index of sitemaps.
    Xml,
    /// A sheet of an Excel workbook.
    Xlsx,
    /// Parquet.
    Parquet,
}

impl Format {
    /// The name in the pipeline file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Txt => "txt",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Ndjson => "ndjson",
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Xlsx => "xlsx",
            Self::Parquet => "parquet",
        }
    }
}

/// The delimiter of csv.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delimiter {
    /// `,`
    #[serde(rename = ",")]
    Comma,
    /// `;`
    #[serde(rename = ";")]
    Semicolon,
    /// A tab.
    #[serde(rename = "\t")]
    Tab,
    /// `|`
    #[serde(rename = "|")]
    Pipe,
}

impl Delimiter {
    /// Every delimiter. Where nothing decides between two, the first one applies.
    pub const ALL: [Self; 4] = [Self::Comma, Self::Semicolon, Self::Tab, Self::Pipe];

    /// The byte between two fields.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Pipe => b'|',
        }
    }

    /// The delimiter as the pipeline file writes it.
    #[must_use]
    pub fn toml(self) -> &'static str {
        match self {
            Self::Comma => "\",\"",
            Self::Semicolon => "\";\"",
            Self::Tab => "\"\\t\"",
            Self::Pipe => "\"|\"",
        }
    }
}

/// How lists are read. What is absent is found out from each list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The format of all lists; if absent, the extension of each file decides.
    pub format: Option<Format>,
    /// The column that contains the target; if absent, the one with a well-known name.
    pub column: Option<Column>,
    /// The columns to keep as labels.
    pub keep: Vec<String>,
    /// The delimiter of csv; if absent, the header decides.
    pub delimiter: Option<Delimiter>,
    /// Whether csv, tsv and xlsx have a header.
    pub header: bool,
    /// How many lines stand above the header of csv, tsv and xlsx.
    pub skip_lines: u32,
    /// The sheet of a workbook; if absent, the first one.
    pub sheet: Option<String>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            format: None,
            column: None,
            keep: Vec::new(),
            delimiter: None,
            header: true,
            skip_lines: 0,
            sheet: None,
        }
    }
}

/// How a list was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadAs {
    /// The path, or `-` for standard input.
    pub source: String,
    /// The format.
    pub format: Format,
    /// The delimiter of csv.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// The column that the targets were taken from, in formats with columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<Column>,
    /// All columns of the list: their names or, without a header, their numbers.
    #[serde(skip)]
    pub columns: Vec<String>,
}

impl ReadAs {
    /// The columns beside that of the targets: those that their name means and no other.
    #[must_use]
    pub fn other_columns(&self) -> Vec<&str> {
        let others = self.columns.iter().enumerate().filter(|(at, _)| {
            let (column, number) = (column_at(&self.columns, *at), Column::Number(at + 1));
            let target = self.column.as_ref();
            column != number && target.is_some_and(|target| *target != column && *target != number)
        });
        others.map(|(_, name)| name.as_str()).collect()
    }
}
