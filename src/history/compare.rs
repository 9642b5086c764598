//! Compares two snapshots in one call, for those who need the result as a whole.

use std::num::NonZeroU32;

use chrono::NaiveDate;

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
/// As [`Pair::choose`] and [`Pair::pages`].
pub async fn compare(
    store: &Store,
    [from, to]: [NaiveDate; 2],
    by: &str,
    top: NonZeroU32,
) -> Result<Summary> {
    let pair = Pair::choose(store, Some(from), Some(to), None).await?;
    let pages = pair.pages(store, by).await?;
    blocking(move || without_breakdowns(&pair, &pages, top)).await
}

/// The links of every dimension and key at two dates, over the pages in both.
///
/// # Errors
/// As [`Pair::choose`] and [`Pair::breakdowns`].
pub async fn shifts(store: &Store, [from, to]: [NaiveDate; 2]) -> Result<Vec<BreakdownChange>> {
    let pair = Pair::choose(store, Some(from), Some(to), None).await?;
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
