//! The sources of targets: files by path and glob, or standard input, as txt, csv, ndjson or
//! Parquet.
//!
//! Every list is read as a stream, in blocks of a few thousand lines. Only Parquet that is
//! compressed or on standard input is first copied to a temporary file, because its index is at its
//! end.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::block::Sink;
use super::compression::{Compression, open_seekable, open_text};
use super::csv::csv;
use super::list_file::ListFile;
use super::parquet::parquet;
use super::places::{Place, places_on_disk};
use super::text::{ndjson, txt};
use crate::error::{Error, Result};

/// The format of a target list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One target per line; lines that start with `#` are comments.
    Txt,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object per line.
    Ndjson,
    /// Parquet.
    Parquet,
}

/// The lists to read, and how to read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Paths and globs, relative to the working directory; `-` is standard input.
    pub paths: Vec<String>,
    /// The format of all lists; if absent, the extension of each file decides.
    pub format: Option<Format>,
    /// The column that contains the target, in csv, ndjson and Parquet.
    pub column: String,
    /// The columns to keep as labels.
    pub keep: Vec<String>,
}

impl Sources {
    /// The lists on this machine that the paths name, in order, each once.
    ///
    /// # Errors
    /// As [`places_on_disk`].
    pub fn places(&self) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for path in &self.paths {
            places.extend(places_on_disk(path)?);
        }
        Ok(Place::each_once(places))
    }

    /// Reads one of the lists from start to end.
    pub(super) fn read(&self, number: usize, place: &Place, sink: Sink<'_>) -> Result<()> {
        let path = place.name.as_str();
        let list = ListFile {
            number,
            path,
            column: &self.column,
            keep: &self.keep,
        };
        let format = match self.format {
            Some(format) => format,
            None if path == "-" => Format::Txt,
            None => format_of(Compression::split(path).0)?,
        };
        match format {
            Format::Txt => txt(&list, open_text(path, &place.file)?, sink),
            Format::Csv => csv(&list, open_text(path, &place.file)?, sink),
            Format::Ndjson => ndjson(&list, open_text(path, &place.file)?, sink),
            Format::Parquet => parquet(&list, open_seekable(path, &place.file)?, sink),
        }
    }
}

fn format_of(name: &str) -> Result<Format> {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str())
        .map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("txt") => Ok(Format::Txt),
        Some("csv") => Ok(Format::Csv),
        Some("ndjson" | "jsonl") => Ok(Format::Ndjson),
        Some("parquet") => Ok(Format::Parquet),
        _ => Err(Error::usage(format!(
            "target list {name}: its extension does not name a known format"
        ))
        .with_hint(
            "name it .txt, .csv, .ndjson or .parquet (then .gz or .zst), or set [targets] format",
        )),
    }
}
