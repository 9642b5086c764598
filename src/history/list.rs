//! A list of changes that is computed while it is read or written, and is never in memory as a
//! whole.

use std::io::Write;
use std::num::NonZeroU32;

use polars::prelude::{DataFrame, Expr, LazyFrame};

use super::local_files::SharedFiles;
use super::tables::{FAILED, batches, compact};
use super::top::Top;
use super::write::{ListFormat, ListWriter};
use crate::error::{Context, Result};

/// All changes in the order of their keys, or the largest of them.
pub struct List<Row> {
    rows: LazyFrame,
    ranked_by: Expr,
    key: [&'static str; 2],
    read: fn(&DataFrame) -> Result<Vec<Row>>,
    /// The files that the rows are computed from. They must exist until then.
    _files: SharedFiles,
}

impl<Row> List<Row> {
    pub(super) fn new(
        rows: LazyFrame,
        ranked_by: Expr,
        key: [&'static str; 2],
        read: fn(&DataFrame) -> Result<Vec<Row>>,
        files: SharedFiles,
    ) -> Self {
        Self {
            rows,
            ranked_by,
            key,
            read,
            _files: files,
        }
    }

    /// Returns the largest changes, at most `limit`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn largest(&self, limit: NonZeroU32) -> Result<Vec<Row>> {
        (self.read)(&self.ranked(limit)?)
    }

    /// Calls `see` with the rows, some ten thousand at a time: all rows, or the largest.
    ///
    /// # Errors
    /// A file cannot be read, or `see` returns an error.
    pub fn read(
        &self,
        limit: Option<NonZeroU32>,
        mut see: impl FnMut(Vec<Row>) -> Result<()>,
    ) -> Result<()> {
        self.limited(limit, |rows| see((self.read)(&rows)?))
    }

    /// Writes the rows: all, or the largest. If the reader closes the pipe, writing stops without
    /// an error.
    ///
    /// # Errors
    /// A file cannot be read, or `out` fails.
    pub fn write(
        &self,
        limit: Option<NonZeroU32>,
        format: ListFormat,
        out: impl Write + Send,
    ) -> Result<()> {
        let schema = self.rows.clone().collect_schema().context(|| FAILED)?;
        let mut writer = ListWriter::new(format, out, &schema)?;
        let written = self.limited(limit, |rows| writer.write(rows));
        let written = written.and_then(|()| writer.finish());
        if writer.is_closed_by_reader() {
            Ok(())
        } else {
            written
        }
    }

    /// Calls `see` with all rows, or with the largest.
    fn limited(
        &self,
        limit: Option<NonZeroU32>,
        mut see: impl FnMut(DataFrame) -> Result<()>,
    ) -> Result<()> {
        match limit {
            None => batches(self.rows.clone(), |rows| see(compact(&rows)?)),
            Some(limit) => see(self.ranked(limit)?),
        }
    }

    fn ranked(&self, limit: NonZeroU32) -> Result<DataFrame> {
        let mut largest = Top::new(self.ranked_by.clone(), self.key, limit);
        batches(self.rows.clone(), |batch| largest.add(batch))?;
        match largest.finish()? {
            Some(rows) => Ok(rows),
            None => {
                let schema = self.rows.clone().collect_schema().context(|| FAILED)?;
                Ok(DataFrame::empty_with_schema(&schema))
            }
        }
    }
}
