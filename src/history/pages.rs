//! Compares pages: those in both snapshots, and why the others are in only one.

use std::sync::Arc;

use polars::prelude::{DataFrame, DataType, Expr, JoinType, LazyFrame, col, lit, when};
use serde::Serialize;

use super::list::List;
use super::local_files::{LocalFiles, SharedFiles};
use super::metric::Metric;
use super::pair::Pair;
use super::tables::{
    KEY, Side, blocking, counts, keyed, listed, merged, ratios, scan, texts, with_change, with_keys,
};
use crate::contract::Table;
use crate::error::{Context, Error, Result};
use crate::fate::Fate;
use crate::store::Store;

/// A page whose metric has changed, or that is in only one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PageChange {
    /// The root domain.
    pub root_domain: Option<String>,
    /// The target in canonical form.
    pub target: Option<String>,
    /// The metric before; `None` if the snapshot before does not have the page or the value is null.
    pub before: Option<i64>,
    /// The metric after; `None` if the snapshot after does not have the page or the value is null.
    pub after: Option<i64>,
    /// The difference, after minus before.
    pub change: Option<i64>,
    /// The change relative to the value before; `None` if that was 0.
    pub relative_change: Option<f64>,
    /// The fate before, of an unanswered page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fate_before: Option<String>,
    /// The fate after, of an unanswered page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fate_after: Option<String>,
}

/// Why one snapshot has a page and the other does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The other one asked for it, and the provider has no such page.
    Absent,
    /// The other list does not contain it.
    NotListed,
    /// The other one has no response: it failed, was refused or was not sent.
    Unanswered,
}

impl Missing {
    /// Whether this is the reason, by the fate in the other snapshot.
    pub(super) fn is(self, fate: &Expr) -> Expr {
        let fate = || fate.clone();
        match self {
            Self::Absent => fate().eq(name(Fate::Absent)),
            Self::NotListed => fate().is_null(),
            Self::Unanswered => {
                let is = |other| fate().eq(name(other));
                is(Fate::Failed).or(is(Fate::Refused)).or(is(Fate::Unsent))
            }
        }
    }
}

/// A fate as a value of its column.
pub(super) fn name(fate: Fate) -> Expr {
    lit(fate.name())
}

/// The pages of two snapshots, ready for comparison by a metric.
pub struct Pages {
    pages: [LazyFrame; 2],
    listed: [LazyFrame; 2],
    by: Metric,
    metrics: Vec<Metric>,
    /// The files of both snapshots. Local copies of remote files are deleted when this is dropped.
    files: SharedFiles,
}

impl Pair {
    /// The pages of both snapshots. `by` is the metric to compare.
    ///
    /// # Errors
    /// The metric is not a column of both snapshots, or the lake fails.
    pub async fn pages(&self, store: &Store, by: &str) -> Result<Pages> {
        let pages = self.files_of_both(store, Table::Pages).await?;
        let listed = self.files_of_both(store, Table::Targets).await?;
        let keys = self.keys(store).await?;
        let (by, root_domain) = (by.to_owned(), self.root_domain.clone());
        blocking(move || Pages::open(pages, listed, &by, root_domain.as_deref(), &keys)).await
    }
}

impl Pages {
    fn open(
        pages: [Arc<LocalFiles>; 2],
        targets: [Arc<LocalFiles>; 2],
        by: &str,
        root_domain: Option<&str>,
        keys: &[Option<DataFrame>; 2],
    ) -> Result<Self> {
        let mut from = scan(&pages[0], root_domain)?;
        let mut to = scan(&pages[1], root_domain)?;
        let metrics = metrics_of_both(&mut from, &mut to)?;
        let Some(by) = metrics.iter().find(|metric| metric.name == by).cloned() else {
            let names: Vec<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
            return Err(
                Error::usage(format!("--by: {by} is not a metric of both snapshots"))
                    .with_hint(format!("choose one of {}", names.join(", "))),
            );
        };
        let counts = || col("matched").and(col("target").is_not_null());
        let own = |rows, side: Side| with_keys(rows, keys[side as usize].as_ref());
        let listed = [
            own(listed(&targets[0], root_domain)?, Side::Before),
            own(listed(&targets[1], root_domain)?, Side::After),
        ];
        let pages_of = |rows: LazyFrame, side| own(rows.filter(counts()), side);
        Ok(Self {
            pages: [pages_of(from, Side::Before), pages_of(to, Side::After)],
            listed,
            by,
            metrics,
            files: pages.into_iter().chain(targets).collect(),
        })
    }

    /// The metric that is compared.
    pub(super) fn by(&self) -> &Metric {
        &self.by
    }

    /// The metrics that both snapshots have.
    pub(super) fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The targets of the list of one snapshot, each once: the key and `fate`.
    pub(super) fn listed(&self, side: Side) -> &LazyFrame {
        &self.listed[side as usize]
    }

    /// The pages that only the snapshot after has, because the provider had none of this target
    /// before: `root_domain`, `target`, `after`.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn new_pages(&self) -> Result<List<PageChange>> {
        self.missing(Side::After, Missing::Absent)
    }

    /// The pages that only the snapshot before has, because the provider has none of this target any
    /// more: `root_domain`, `target`, `before`.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn lost(&self) -> Result<List<PageChange>> {
        self.missing(Side::Before, Missing::Absent)
    }

    /// The pages whose target only the later list contains: `root_domain`, `target`, `after`.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn added(&self) -> Result<List<PageChange>> {
        self.missing(Side::After, Missing::NotListed)
    }

    /// The pages whose target only the earlier list contains: `root_domain`, `target`, `before`.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn removed(&self) -> Result<List<PageChange>> {
        self.missing(Side::Before, Missing::NotListed)
    }

    fn missing(&self, side: Side, why: Missing) -> Result<List<PageChange>> {
        let rows = self.only_in(side)?.filter(why.is(&col("fate")));
        let rows = rows.select([col(KEY[0]), col(KEY[1]), col(side.name())]);
        Ok(self.list(rows, col(side.name())))
    }

    /// The pages that only one snapshot has: the key, the metric under the side's name, and `fate`,
    /// which is the fate in the other snapshot, or null.
    pub(super) fn only_in(&self, side: Side) -> Result<LazyFrame> {
        let value = col(&self.by.name).alias(side.name());
        let pages = keyed(self.pages[side as usize].clone(), [value])?;
        let other = keyed(self.listed(side.other()).clone(), [col("fate")])?;
        let rows = merged(pages, other, JoinType::Left);
        Ok(rows.filter(col("fate").neq_missing(name(Fate::Returned))))
    }

    /// The pages of one snapshot whose target has no response in the other one: `root_domain`,
    /// `target`, `before`, `after`, `fate_before`, `fate_after`.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn unanswered(&self) -> Result<List<PageChange>> {
        let [before, after] = Side::BOTH.map(Side::fate);
        let fates = |side: Side| {
            let fate = col("fate").alias(side.fate());
            keyed(self.listed(side).clone(), [fate])
        };
        let one_sided = |returned: &str, other: &str| {
            let other = Missing::Unanswered.is(&col(other));
            col(returned).eq(name(Fate::Returned)).and(other)
        };
        let rows = merged(fates(Side::Before)?, fates(Side::After)?, JoinType::Inner)
            .filter(one_sided(before, after).or(one_sided(after, before)));
        let mut rows = keyed(rows, [col(before), col(after)])?;
        let mut columns = vec![col(before), col(after)];
        for side in Side::BOTH {
            let value = col(&self.by.name).alias(side.name());
            let pages = keyed(self.pages[side as usize].clone(), [value])?;
            columns.push(col(side.name()));
            rows = keyed(merged(rows, pages, JoinType::Left), columns.clone())?;
        }
        let order = [KEY[0], KEY[1], "before", "after", before, after];
        Ok(self.list(rows.select(order.map(col)), known_value()))
    }

    /// The pages in both snapshots whose metric differs: `root_domain`, `target`, `before`,
    /// `after`, `change`, `relative_change`.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn movers(&self) -> Result<List<PageChange>> {
        self.changed(col("change").neq(lit(0)), col("change").abs())
    }

    /// The movers whose metric has risen.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn risen(&self) -> Result<List<PageChange>> {
        self.changed(rises(), col("change"))
    }

    /// The movers whose metric has fallen.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn fallen(&self) -> Result<List<PageChange>> {
        self.changed(falls(), lit(0) - col("change"))
    }

    fn changed(&self, how: Expr, ranked_by: Expr) -> Result<List<PageChange>> {
        let rows = self.in_both(std::slice::from_ref(&self.by))?;
        let rows = change_of(&self.by, rows).filter(how);
        Ok(self.list(rows, ranked_by))
    }

    /// The pages in both snapshots: the key, and each metric under its [`metric_column`].
    pub(super) fn in_both(&self, metrics: &[Metric]) -> Result<LazyFrame> {
        let side = |side: Side| {
            let columns = metrics
                .iter()
                .map(|metric| col(&metric.name).alias(metric_column(metric, side)));
            keyed(self.pages[side as usize].clone(), columns)
        };
        Ok(merged(
            side(Side::Before)?,
            side(Side::After)?,
            JoinType::Inner,
        ))
    }

    fn list(&self, rows: LazyFrame, ranked_by: Expr) -> List<PageChange> {
        List::new(rows, ranked_by, KEY, read, Arc::clone(&self.files))
    }
}

/// The change of a metric, from the rows of [`Pages::in_both`].
pub(super) fn change_of(metric: &Metric, rows: LazyFrame) -> LazyFrame {
    let value = |side: Side| col(metric_column(metric, side)).alias(side.name());
    let columns = [
        col(KEY[0]),
        col(KEY[1]),
        value(Side::Before),
        value(Side::After),
    ];
    with_change(rows.select(columns))
}

/// Whether the metric has risen.
pub(super) fn rises() -> Expr {
    col("change").gt(lit(0))
}

/// Whether the metric has fallen.
pub(super) fn falls() -> Expr {
    col("change").lt(lit(0))
}

/// The metric of a page that only one snapshot has.
pub(super) fn known_value() -> Expr {
    when(col("before").is_null())
        .then(col("after"))
        .otherwise(col("before"))
}

/// The column of a metric in [`Pages::in_both`].
pub(super) fn metric_column(metric: &Metric, side: Side) -> String {
    format!("{} {}", metric.name, side.name())
}

/// The int64 columns that both snapshots have. Later versions of the contract can have more
/// columns.
fn metrics_of_both(from: &mut LazyFrame, to: &mut LazyFrame) -> Result<Vec<Metric>> {
    let failed = || "failed to read the snapshot's columns";
    let (before, after) = (
        from.collect_schema().context(failed)?,
        to.collect_schema().context(failed)?,
    );
    let shared = after
        .iter()
        .filter(|&(name, kind)| *kind == DataType::Int64 && before.get(name) == Some(kind))
        .map(|(name, _)| Metric::named(name));
    Ok(shared.collect())
}

pub(super) fn read(rows: &DataFrame) -> Result<Vec<PageChange>> {
    let domains = texts(rows, "root_domain")?;
    let (mut targets, mut fates_before, mut fates_after) = (
        texts(rows, "target")?,
        texts(rows, "fate_before")?,
        texts(rows, "fate_after")?,
    );
    let [before, after, change] = ["before", "after", "change"].map(|name| counts(rows, name));
    let (before, after, change) = (before?, after?, change?);
    let ratios = ratios(rows, "relative_change")?;
    let changes = domains
        .into_iter()
        .enumerate()
        .map(|(row, root_domain)| PageChange {
            root_domain,
            target: targets[row].take(),
            before: before[row],
            after: after[row],
            change: change[row],
            relative_change: ratios[row],
            fate_before: fates_before[row].take(),
            fate_after: fates_after[row].take(),
        });
    Ok(changes.collect())
}
