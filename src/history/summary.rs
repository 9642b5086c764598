//! The summary of a comparison.

use std::num::NonZeroU32;

use chrono::NaiveDate;
use serde::Serialize;

use super::breakdowns::{BreakdownChange, Breakdowns};
use super::grouping::Grouped;
use super::groups::{ListChange, MetricChange, PageGroups, TopPages};
use super::metric::Statistic;
use super::pages::{PageChange, Pages};
use super::pair::Pair;
use crate::error::Result;

/// The most important changes between two snapshots.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The snapshot before.
    pub from: NaiveDate,
    /// The snapshot after.
    pub to: NaiveDate,
    /// The root domain that is compared; `None` for all.
    pub root_domain: Option<String>,
    /// The metric of the comparison.
    pub by: String,
    /// What a value of the metric over many pages is.
    pub statistic: Statistic,
    /// The targets of both lists.
    pub list: ListChange,
    /// What became of the pages.
    pub pages: PageGroups,
    /// Every metric over the pages in both snapshots.
    pub metrics: Vec<MetricChange>,
    /// The largest pages of each group.
    pub top: TopPages,
    /// The pages in both whose spam score has risen most.
    #[serde(skip)]
    pub spam: Vec<PageChange>,
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
    Ok(Summary {
        breakdowns: breakdowns.shifts()?.largest(top)?,
        ..without_breakdowns(pair, pages, top)?
    })
}

/// The same without a shift of breakdowns, which takes longest to find.
pub(super) fn without_breakdowns(pair: &Pair, pages: &Pages, top: NonZeroU32) -> Result<Summary> {
    let [from, to] = pair.dates();
    let list = pages.lists()?;
    let Grouped {
        pages: groups,
        metrics,
        top: largest,
        spam,
    } = pages.grouped(top)?;
    Ok(Summary {
        from,
        to,
        root_domain: pair.root_domain.clone(),
        by: pages.by().name.clone(),
        statistic: pages.by().statistic,
        list,
        pages: groups,
        metrics,
        top: largest,
        spam,
        breakdowns: Vec::new(),
    })
}
