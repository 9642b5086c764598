//! The sources of targets: files by path and glob, or standard input, in every format.
//!
//! Every list is read as a stream, in blocks of a few thousand lines. Only Parquet and workbooks
//! that are compressed or on standard input are first copied to a temporary file, because their
//! index is at their end.

use std::path::Path;

use super::block::Sink;
use super::column::shown;
use super::compression::{Compression, open};
use super::content::SUPPORTED;
use super::csv::csv;
use super::json::json;
use super::list_file::ListFile;
use super::parquet::parquet;
use super::places::{Place, places_on_disk};
use super::reading::{Format, ReadAs, Reading};
use super::refused::{Instead, Refused};
use super::sitemap::{indexed, sitemap};
use super::text::{ndjson, txt};
use super::xlsx::xlsx;
use crate::error::{Error, Result};

/// The lists to read, and how to read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Paths and globs, relative to the working directory; `-` is standard input.
    pub paths: Vec<String>,
    /// How the lists are read.
    pub reading: Reading,
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

    /// The same lists, with those that an index of sitemaps names in place of the index.
    ///
    /// # Errors
    /// An index that is damaged, or that names a file which does not exist.
    pub(super) fn without_indexes(&self, places: &[Place]) -> Result<Vec<Place>> {
        let mut lists = Vec::with_capacity(places.len());
        for place in places {
            let list = self.list(0, place);
            let is_xml = match self.reading.format {
                Some(format) => format == Format::Xml,
                None => {
                    let (name, _) = Compression::split(&place.name);
                    format_of(&list, name).is_ok_and(|format| format == Format::Xml)
                }
            };
            // Next to the copy of a remote list, there is nothing that belongs to it.
            let is_local = Path::new(&place.name) == place.file && place.name != "-";
            let indexed = if is_xml && is_local {
                indexed(&list, open(&list)?.text(&list)?)?
            } else {
                None
            };
            lists.extend(indexed.unwrap_or_else(|| vec![place.clone()]));
        }
        Ok(Place::each_once(lists))
    }

    fn list<'a>(&'a self, number: usize, place: &'a Place) -> ListFile<'a> {
        let Place { name, file } = place;
        ListFile {
            path: name,
            file,
            number,
            reading: &self.reading,
        }
    }

    /// Reads one list from start to end.
    pub(super) fn read(
        &self,
        number: usize,
        place: &Place,
        sink: Sink<'_>,
    ) -> Result<ReadAs, Refused> {
        let list = self.list(number, place);
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

/// The format that the extension of a name tells.
fn format_of(list: &ListFile<'_>, name: &str) -> Result<Format, Refused> {
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
        _ => {
            let message = format!(
                "{}: its extension does not name a known format: {}",
                list.named(),
                shown(name)
            );
            let hint = format!(
                "nothing was sent; supported are {SUPPORTED}; rename or convert the list, or set [targets] format"
            );
            // What the content is, is checked once it is read as text.
            let error = Error::usage(message).with_hint(hint);
            Err(Refused::or(error, Instead::Format(Format::Txt)))
        }
    }
}
