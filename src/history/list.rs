//! A list of changes: computed when it is read or written, and never held whole.

use std::io::Write;
use std::num::NonZeroU32;
use std::sync::Arc;

use polars::prelude::{
    DataFrame, Expr, IntoLazy as _, LazyFrame, PolarsResult, SortMultipleOptions, col,
};

use super::local_files::LocalFiles;
use super::tables::{FAILED, batches, compact};
use super::write::{Format, Writer};
use crate::error::{Context, Result};

/// Rows that are gathered before they are cut down to the greatest: few, but sorting them seldom pays.
const GATHERED: usize = 100_000;

/// Changes in the order of their keys, or the greatest of them.
pub struct List<Row> {
    rows: LazyFrame,
    /// What the greatest have most of, and the keys that decide between equals.
    rank: [Expr; 3],
    read: fn(&DataFrame) -> Result<Vec<Row>>,
    /// What the rows are computed from, kept until they are.
    _files: Arc<[LocalFiles; 2]>,
}

impl<Row> List<Row> {
    pub(super) fn new(
        rows: LazyFrame,
        greatest: Expr,
        key: [&str; 2],
        read: fn(&DataFrame) -> Result<Vec<Row>>,
        files: Arc<[LocalFiles; 2]>,
    ) -> Self {
        let rank = [greatest, col(key[0]), col(key[1])];
        Self {
            rows,
            rank,
            read,
            _files: files,
        }
    }

    /// The greatest changes, in memory.
    ///
    /// # Errors
    /// Files that fail.
    pub fn greatest(&self, limit: NonZeroU32) -> Result<Vec<Row>> {
        (self.read)(&self.ranked(limit)?)
    }

    /// Hands over the rows, some ten thousand at a time.
    ///
    /// # Errors
    /// Files that fail, and what `see` says.
    pub fn read(
        &self,
        limit: Option<NonZeroU32>,
        mut see: impl FnMut(Vec<Row>) -> Result<()>,
    ) -> Result<()> {
        self.limited(limit, |rows| see((self.read)(&rows)?))
    }

    /// Writes the rows. A reader that goes away ends it, and is no failure.
    ///
    /// # Errors
    /// Files that fail, and a disk that does.
    pub fn write(
        &self,
        limit: Option<NonZeroU32>,
        format: Format,
        out: impl Write + Send,
    ) -> Result<()> {
        let schema = self.rows.clone().collect_schema().context(|| FAILED)?;
        let mut writer = Writer::new(format, out, &schema)?;
        let written = self.limited(limit, |rows| writer.write(rows));
        let written = written.and_then(|()| writer.finish());
        if writer.is_deserted() {
            Ok(())
        } else {
            written
        }
    }

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

    /// The greatest rows. Polars' own way to find them keeps every batch that it has looked at (0.55).
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
