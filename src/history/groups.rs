//! The pages of two snapshots in groups: in both, or why only one snapshot has them.

use serde::Serialize;

use super::metric::Statistic;
use super::pages::PageChange;

/// The pages of two snapshots in groups. Each page is in exactly one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageGroups {
    /// Pages that both snapshots have.
    pub in_both: InBoth,
    /// Pages that only the snapshot after has; before, their target was asked and absent.
    pub new: Group,
    /// Pages that only the snapshot before has; after, their target was asked and absent.
    pub lost: Group,
    /// Pages whose target only the later list contains.
    pub added: Group,
    /// Pages whose target only the earlier list contains.
    pub removed: Group,
    /// Pages that only one snapshot has, because the other one has no response for their target.
    pub unanswered: Unanswered,
}

/// The pages that both snapshots have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InBoth {
    /// The number of pages: `risen` plus `fallen` plus `unchanged` plus `unknown`.
    pub pages: i64,
    /// Pages whose metric has risen.
    pub risen: i64,
    /// Pages whose metric has fallen.
    pub fallen: i64,
    /// Pages whose metric is the same.
    pub unchanged: i64,
    /// Pages whose metric is null in either snapshot. The two totals are without them.
    pub unknown: i64,
    /// The metric before, over all pages with both values.
    pub before: Option<i64>,
    /// The metric after, over the same pages.
    pub after: Option<i64>,
    /// The difference, after minus before.
    pub change: Option<i64>,
}

/// Pages that only one snapshot has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The number of pages.
    pub pages: i64,
    /// The metric before, over all pages of the snapshot before.
    pub before: Option<i64>,
    /// The metric after, over all pages of the snapshot after.
    pub after: Option<i64>,
}

/// Pages that cannot be compared, because one snapshot has no response for their target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// The number of pages.
    pub pages: i64,
    /// The metric before, over all pages that only the snapshot before has.
    pub before: Option<i64>,
    /// The metric after, over all pages that only the snapshot after has.
    pub after: Option<i64>,
    /// Why the snapshot before does not have the others.
    pub fates_before: UnansweredFates,
    /// Why the snapshot after does not have the others.
    pub fates_after: UnansweredFates,
}

/// Why a snapshot has no response for targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(
    missing_docs,
    reason = "each field is the count of the fate of its name"
)]
pub struct UnansweredFates {
    pub failed: i64,
    pub refused: i64,
    pub unsent: i64,
}

/// The targets of both lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ListChange {
    /// The targets of the earlier list, each once, by fate.
    pub before: Targets,
    /// The targets of the later list, each once, by fate.
    pub after: Targets,
    /// The targets that only the later list contains, with or without a page.
    pub added: i64,
    /// The targets that only the earlier list contains, with or without a page.
    pub removed: i64,
}

/// The targets of a list, each once, by fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// The number of targets: the sum of the fates.
    pub targets: i64,
    /// Targets with a page.
    pub returned: i64,
    /// Targets that were asked, and of which the provider has no page.
    pub absent: i64,
    /// Targets whose attempts all failed.
    pub failed: i64,
    /// Targets that the provider refuses.
    pub refused: i64,
    /// Targets that were not sent.
    pub unsent: i64,
}

/// A metric over the pages with a value in both snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetricChange {
    /// The column of the pages table.
    pub metric: String,
    /// What `before` and `after` are.
    pub statistic: Statistic,
    /// The number of pages with a value in both snapshots.
    pub pages: i64,
    /// The metric before; `None` without a page.
    pub before: Option<i64>,
    /// The metric after; `None` without a page.
    pub after: Option<i64>,
    /// The difference, after minus before.
    pub change: Option<i64>,
    /// Pages whose metric has risen.
    pub risen: i64,
    /// Pages whose metric has fallen.
    pub fallen: i64,
}

/// The largest pages of each group.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TopPages {
    /// Pages in both whose metric has risen most.
    pub risen: Vec<PageChange>,
    /// Pages in both whose metric has fallen most.
    pub fallen: Vec<PageChange>,
    /// New pages with the largest metric.
    pub new: Vec<PageChange>,
    /// Lost pages with the largest metric.
    pub lost: Vec<PageChange>,
    /// Added pages with the largest metric.
    pub added: Vec<PageChange>,
    /// Removed pages with the largest metric.
    pub removed: Vec<PageChange>,
    /// Unanswered pages with the largest metric.
    pub unanswered: Vec<PageChange>,
}
