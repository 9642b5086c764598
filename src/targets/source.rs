//! The sources of targets: files by path and glob, or standard input, in every format.
//!
//! Every list is read as a stream, in blocks of a few thousand lines. Only Parquet and workbooks
//! that are compressed or on standard input are first copied to a temporary file, because their
//! index is at their end.

use std::collections::HashSet;
use std::path::Path;

use super::block::Sink;
use super::column::shown;
use super::compression::{Compression, open};
use super::content::SUPPORTED;
use super::csv::csv;
use super::json::json;
use super::list_file::ListFile;
use super::parquet::parquet;
use super::reading::{Format, ReadAs, Reading};
use super::sitemap::{indexed, sitemap};
use super::text::{ndjson, txt};
use super::xlsx::xlsx;
use crate::error::{Context, Error, Result};

/// The lists to read, and how to read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Paths and globs, relative to the working directory; `-` is standard input.
    pub paths: Vec<String>,
    /// How the lists are read.
    pub reading: Reading,
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

    /// The same files, with those that an index of sitemaps names in place of the index.
    ///
    /// # Errors
    /// An index that is damaged, or that names a file which does not exist.
    pub(super) fn without_indexes(&self, files: Vec<String>) -> Result<Vec<String>> {
        let mut lists = Vec::with_capacity(files.len());
        for path in files {
            let list = self.list(0, &path);
            let is_xml = match self.reading.format {
                Some(format) => format == Format::Xml,
                None => {
                    format_of(&list, Compression::split(&path).0).is_ok_and(|f| f == Format::Xml)
                }
            };
            let indexed = if is_xml && path != "-" {
                indexed(&list, open(&list)?.text(&list)?)?
            } else {
                None
            };
            lists.extend(indexed.unwrap_or_else(|| vec![path]));
        }
        let mut seen = HashSet::new();
        lists.retain(|file| seen.insert(file.clone()));
        Ok(lists)
    }

    fn list<'a>(&'a self, number: usize, path: &'a str) -> ListFile<'a> {
        ListFile {
            number,
            path,
            reading: &self.reading,
        }
    }

    /// Reads one list from start to end.
    pub(super) fn read(&self, number: usize, path: &str, sink: Sink<'_>) -> Result<ReadAs> {
        let list = self.list(number, path);
        let opened = open(&list)?;
        let format = match (self.reading.format, &opened.name) {
            (Some(format), _) => format,
            (None, None) => Format::Txt,
            (None, Some(name)) => format_of(&list, name)?,
        };
        match format {
            Format::Txt => txt(&list, opened.text(&list)?, sink),
            Format::Csv | Format::Tsv => csv(&list, format, opened.text(&list)?, sink),
            Format::Ndjson => ndjson(&list, opened.text(&list)?, sink),
            Format::Json => json(&list, opened.text(&list)?, sink),
            Format::Xml => sitemap(&list, opened.text(&list)?, sink),
            Format::Xlsx => xlsx(&list, opened.file(&list)?, sink),
            Format::Parquet => parquet(&list, opened.file(&list)?, sink),
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

/// The format that the extension of a name tells.
fn format_of(list: &ListFile<'_>, name: &str) -> Result<Format> {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str())
        .map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("txt") => Ok(Format::Txt),
        Some("csv") => Ok(Format::Csv),
        Some("tsv" | "tab") => Ok(Format::Tsv),
        Some("ndjson" | "jsonl") => Ok(Format::Ndjson),
        Some("json") => Ok(Format::Json),
        Some("xml") => Ok(Format::Xml),
        Some("xlsx" | "xlsm") => Ok(Format::Xlsx),
        Some("parquet") => Ok(Format::Parquet),
        _ => Err(Error::usage(format!(
            "{}: the extension of {} does not name a format that is supported",
            list.named(),
            shown(name)
        ))
        .with_hint(format!(
            "nothing was sent; supported are {SUPPORTED}; rename or convert the list, or set [targets] format"
        ))),
    }
}
