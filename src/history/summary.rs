//! The summary of a comparison.

use std::num::NonZeroU32;

use chrono::NaiveDate;
use serde::Serialize;

use super::breakdowns::{BreakdownChange, Breakdowns};
use super::pages::{PageChange, PageCounts, Pages, Total};
use super::pair::Pair;
use crate::error::Result;

/// The most important changes between two snapshots.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The snapshot before.
    pub from: NaiveDate,
    /// The snapshot after.
    pub to: NaiveDate,
    /// The metric of the comparison.
    pub by: String,
    /// The number of pages in both snapshots, and what happened to them.
    pub pages: PageCounts,
    /// The total of each metric.
    pub totals: Vec<Total>,
    /// The pages whose metric changed most.
    pub movers: Vec<PageChange>,
    /// The pages gained with the largest metric.
    pub gained: Vec<PageChange>,
    /// The pages lost with the largest metric.
    pub lost: Vec<PageChange>,
    /// The keys whose links shifted most.
    pub breakdowns: Vec<BreakdownChange>,
}

/// Summarises the changes, with at most `top` rows of each kind. Blocks for as long as the tables
/// take to read.
///
/// # Errors
/// A file cannot be read.
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
        movers: pages.movers()?.largest(top)?,
        gained: pages.gained()?.largest(top)?,
        lost: pages.lost()?.largest(top)?,
        breakdowns: breakdowns.shifts()?.largest(top)?,
    })
}
