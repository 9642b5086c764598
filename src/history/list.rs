//! A list of changes that is computed while it is read or written, and is never in memory as a
//! whole.

use std::io::Write;
use std::num::NonZeroU32;
use std::sync::Arc;

use polars::prelude::{
    DataFrame, Expr, IntoLazy as _, LazyFrame, PolarsResult, SortMultipleOptions, col,
};

use super::local_files::LocalFiles;
use super::tables::{FAILED, batches, compact};
use super::write::{ListFormat, ListWriter};
use crate::error::{Context, Result};

/// The number of rows that are collected before all but the largest are dropped. It is small, but
/// large enough that sorting is rare.
const GATHERED: usize = 100_000;

/// All changes in the order of their keys, or the largest of them.
pub struct List<Row> {
    rows: LazyFrame,
    /// The value that ranks the rows, and the keys that decide between equal values.
    rank: [Expr; 3],
    read: fn(&DataFrame) -> Result<Vec<Row>>,
    /// The files that the rows are computed from. They must exist until then.
    _files: Arc<[LocalFiles; 2]>,
}

impl<Row> List<Row> {
    pub(super) fn new(
        rows: LazyFrame,
        ranked_by: Expr,
        key: [&str; 2],
        read: fn(&DataFrame) -> Result<Vec<Row>>,
        files: Arc<[LocalFiles; 2]>,
    ) -> Self {
        let rank = [ranked_by, col(key[0]), col(key[1])];
        Self {
            rows,
            rank,
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

    /// The largest rows. The `top_k` of polars 0.55 keeps every batch that it reads in memory, so
    /// this does not use it.
    fn ranked(&self, limit: NonZeroU32) -> Result<DataFrame> {
        let rows = limit.get() as usize;
        let mut gathered: Option<DataFrame> = None;
        batches(self.rows.clone(), |batch| {
            let batch = if batch.height() > rows {
                self.cut(batch, limit).context(|| FAILED)?
            } else {
                batch
            };
            let all = match gathered.take() {
                None => compact(&batch)?,
                Some(before) => before.vstack(&compact(&batch)?).context(|| FAILED)?,
            };
            gathered = Some(if all.height() < 2 * rows + GATHERED {
                all
            } else {
                compact(&self.cut(all, limit).context(|| FAILED)?)?
            });
            Ok(())
        })?;
        match gathered {
            Some(rows) => self.cut(rows, limit).context(|| FAILED),
            None => {
                let schema = self.rows.clone().collect_schema().context(|| FAILED)?;
                Ok(DataFrame::empty_with_schema(&schema))
            }
        }
    }

    /// Sorts rows by rank and drops all but the first.
    fn cut(&self, rows: DataFrame, limit: NonZeroU32) -> PolarsResult<DataFrame> {
        let order = SortMultipleOptions::default()
            .with_order_descending_multi([true, false, false])
            .with_nulls_last_multi([true, false, false]);
        rows.lazy()
            .sort_by_exprs(&self.rank, order)
            .limit(limit.get())
            .collect()
    }
}
