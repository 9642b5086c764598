//! What changed, in short.

use std::num::NonZeroU32;

use chrono::NaiveDate;
use serde::Serialize;

use super::breakdowns::{BreakdownChange, Breakdowns};
use super::pages::{PageChange, PageCounts, Pages, Total};
use super::pair::Pair;
use crate::error::Result;

/// What changed between two snapshots, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The snapshot before.
    pub from: NaiveDate,
    /// The snapshot after.
    pub to: NaiveDate,
    /// The metric by which pages are compared.
    pub by: String,
    /// How many pages there are, and what became of them.
    pub pages: PageCounts,
    /// The totals of all metrics.
    pub totals: Vec<Total>,
    /// The pages that changed most.
    pub movers: Vec<PageChange>,
    /// The greatest of the pages gained.
    pub gained: Vec<PageChange>,
    /// The greatest of the pages lost.
    pub lost: Vec<PageChange>,
    /// The keys that shifted most.
    pub breakdowns: Vec<BreakdownChange>,
}

/// Sums up what changed, with so many of each kind. Takes its time: for use on a blocking thread.
///
/// # Errors
/// Files that fail.
pub fn summary(
    pair: &Pair,
    pages: &Pages,
    breakdowns: &Breakdowns,
    top: NonZeroU32,
) -> Result<Summary> {
    let [from, to] = pair.dates();
    Ok(Summary {
        from,
        to,
        by: pages.by().to_owned(),
        pages: pages.counts()?,
        totals: pages.totals()?,
        movers: pages.movers()?.greatest(top)?,
        gained: pages.gained()?.greatest(top)?,
        lost: pages.lost()?.greatest(top)?,
        breakdowns: breakdowns.shifts()?.greatest(top)?,
    })
}
