//! Compares two snapshots for callers that need the whole result in memory.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::breakdowns::BreakdownChange;
use super::pair::Pair;
use super::summary::{Summary, without_breakdowns};
use super::tables::blocking;
use crate::error::Result;
use crate::store::Store;

/// What became of the pages between two dates, with at most `top` pages of each group. `by` is the
/// metric. The summary has no breakdowns: [`shifts`] has all of them.
///
/// # Errors
/// As [`Pair::pages`].
pub async fn compare(
    pair: &Arc<Pair>,
    store: &Store,
    by: &str,
    top: NonZeroU32,
) -> Result<Summary> {
    let pages = pair.pages(store, by).await?;
    let pair = Arc::clone(pair);
    blocking(move || without_breakdowns(&pair, &pages, top)).await
}

/// The links of every dimension and key in both snapshots, over the pages in both.
///
/// # Errors
/// As [`Pair::breakdowns`].
pub async fn shifts(pair: &Pair, store: &Store) -> Result<Vec<BreakdownChange>> {
    let breakdowns = pair.breakdowns(store).await?;
    blocking(move || {
        let mut shifts = Vec::new();
        breakdowns.shifts()?.read(None, |rows| {
            shifts.extend(rows);
            Ok(())
        })?;
        Ok(shifts)
    })
    .await
}
