//! Keeps the largest rows of a stream of batches.

use std::num::NonZeroU32;

use polars::prelude::{DataFrame, Expr, IntoLazy as _, PolarsResult, SortMultipleOptions, col};

use super::tables::{FAILED, compact};
use crate::error::{Context, Result};

/// The number of rows that are collected before all but the largest are dropped. It is small, but
/// large enough that sorting is rare.
const GATHERED: usize = 100_000;

/// The largest rows of all batches so far. The `top_k` of polars 0.55 keeps every batch that it
/// reads in memory, so this does not use it.
pub(super) struct Top {
    /// The value that ranks the rows, and the keys that decide between equal values.
    rank: [Expr; 3],
    limit: NonZeroU32,
    gathered: Option<DataFrame>,
}

impl Top {
    pub(super) fn new(ranked_by: Expr, key: [&str; 2], limit: NonZeroU32) -> Self {
        Self {
            rank: [ranked_by, col(key[0]), col(key[1])],
            limit,
            gathered: None,
        }
    }

    /// Takes a batch of rows into account.
    pub(super) fn add(&mut self, batch: DataFrame) -> Result<()> {
        let rows = self.limit.get() as usize;
        let batch = if batch.height() > rows {
            self.cut(batch).context(|| FAILED)?
        } else {
            batch
        };
        let all = match self.gathered.take() {
            None => compact(&batch)?,
            Some(before) => before.vstack(&compact(&batch)?).context(|| FAILED)?,
        };
        self.gathered = Some(if all.height() < 2 * rows + GATHERED {
            all
        } else {
            compact(&self.cut(all).context(|| FAILED)?)?
        });
        Ok(())
    }

    /// The largest rows of both.
    pub(super) fn and(mut self, other: Self) -> Result<Self> {
        if let Some(rows) = other.gathered {
            self.add(rows)?;
        }
        Ok(self)
    }

    /// The largest rows, in order; `None` without a batch.
    pub(super) fn finish(mut self) -> Result<Option<DataFrame>> {
        let gathered = self.gathered.take();
        gathered
            .map(|rows| self.cut(rows).context(|| FAILED))
            .transpose()
    }

    /// Sorts rows by rank and drops all but the first.
    fn cut(&self, rows: DataFrame) -> PolarsResult<DataFrame> {
        let order = SortMultipleOptions::default()
            .with_order_descending_multi([true, false, false])
            .with_nulls_last_multi([true, false, false]);
        rows.lazy()
            .sort_by_exprs(&self.rank, order)
            .limit(self.limit.get())
            .collect()
    }
}
