//! The sources of targets: files by path and glob, or standard input, as txt, csv, ndjson or
//! Parquet.
//!
//! Every list is read as a stream, in blocks of a few thousand lines. Only Parquet that is
//! compressed or on standard input is first copied to a temporary file, because its index is at its
//! end.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::block::Sink;
use super::compression::{Compression, open_seekable, open_text};
use super::csv::csv;
use super::list_file::ListFile;
use super::parquet::parquet;
use super::text::{ndjson, txt};
use crate::error::{Context, Error, Result};

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
    /// Expands paths and globs to files, in order, each file once.
    ///
    /// # Errors
    /// A path that does not exist or is a directory; a glob that is malformed or matches no file.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        for path in &self.paths {
            if path == "-" {
                files.push(path.clone());
            } else if Path::new(path).is_dir() {
                return Err(
                    Error::usage(format!("target list {path} is a directory")).with_hint(format!(
                        "name its files, for example \"{}/*.txt\"",
                        path.trim_end_matches('/')
                    )),
                );
            } else if Path::new(path).exists() {
                files.push(path.clone());
            } else if path.contains(['*', '?', '[']) {
                files.extend(matches_of(path)?);
            } else {
                return Err(
                    Error::usage(format!("target list {path} does not exist")).with_hint(
                        "paths are relative to the working directory; correct the path or create the list",
                    ),
                );
            }
        }
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        Ok(files)
    }

    /// Reads one of [`Sources::files`] from start to end.
    pub(super) fn read(&self, number: usize, path: &str, sink: Sink<'_>) -> Result<()> {
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
            Format::Txt => txt(&list, open_text(path)?, sink),
            Format::Csv => csv(&list, open_text(path)?, sink),
            Format::Ndjson => ndjson(&list, open_text(path)?, sink),
            Format::Parquet => parquet(&list, open_seekable(path)?, sink),
        }
    }
}

/// The files that a glob matches.
fn matches_of(pattern: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let matches = glob::glob(pattern)
        .usage(|| format!("[targets] paths: `{pattern}` is not a valid glob"))?;
    for found in matches {
        let found = found.usage(|| format!("failed to read a file that {pattern} matches"))?;
        if found.is_file() {
            files.push(found.to_string_lossy().into_owned());
        }
    }
    if files.is_empty() {
        return Err(
            Error::usage(format!("[targets] paths: {pattern} matches no file")).with_hint(
                "globs are relative to the working directory; correct the glob or create the list",
            ),
        );
    }
    Ok(files)
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
