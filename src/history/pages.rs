//! Compares pages: gained, lost and moved, with counts and totals.

use std::sync::Arc;

use polars::prelude::{
    DataFrame, DataType, Expr, JoinType, LazyFrame, MaintainOrderJoin, col, len, lit,
};
use polars_plan::plans::{HintIR, Sorted};
use serde::Serialize;

use super::list::List;
use super::local_files::LocalFiles;
use super::pair::Pair;
use super::tables::{FAILED, blocking, counts, only, ratios, run, scan, texts, with_change};
use crate::contract::Table;
use crate::error::{Context, Error, Result};
use crate::store::Store;

/// The key of the comparison, by which the lake sorts pages.
const KEY: [&str; 2] = ["root_domain", "target"];

/// A page whose metric has changed, or that is in only one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageChange {
    /// The root domain.
    pub root_domain: Option<String>,
    /// The target in canonical form.
    pub target: Option<String>,
    /// The metric before; `None` if the page was gained or the value is null.
    pub before: Option<i64>,
    /// The metric after; `None` if the page was lost or the value is null.
    pub after: Option<i64>,
    /// The difference, after minus before.
    pub change: Option<i64>,
    /// The change relative to the value before; `None` if that was 0.
    pub relative_change: Option<f64>,
}

/// The number of pages in both snapshots, and what happened to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PageCounts {
    /// Pages before: `lost` plus `in_both`.
    pub before: i64,
    /// Pages after: `gained` plus `in_both`.
    pub after: i64,
    /// Pages that are only in the snapshot after.
    pub gained: i64,
    /// Pages that are only in the snapshot before.
    pub lost: i64,
    /// Pages in both: `changed` plus `unchanged` plus `unknown`.
    pub in_both: i64,
    /// Pages in both whose metric differs.
    pub changed: i64,
    /// Pages in both whose metric is the same.
    pub unchanged: i64,
    /// Pages in both whose metric is null in either snapshot.
    pub unknown: i64,
}

/// The total of a metric over all pages with a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    /// The column of the pages table.
    pub metric: String,
    /// The total before.
    pub before: i64,
    /// The total after.
    pub after: i64,
    /// The difference, after minus before.
    pub change: i64,
    /// The mean before; `None` if no page had a value.
    pub mean_before: Option<f64>,
    /// The mean after; `None` if no page has a value.
    pub mean_after: Option<f64>,
}

/// The pages of two snapshots, ready for comparison by a metric.
pub struct Pages {
    from: LazyFrame,
    to: LazyFrame,
    by: String,
    metrics: Vec<String>,
    /// The files of both snapshots. Local copies of remote files are deleted when this is dropped.
    files: Arc<[LocalFiles; 2]>,
}

impl Pair {
    /// The pages of both snapshots, of all root domains or of one. `by` is the metric to compare.
    ///
    /// # Errors
    /// The metric is not a column of both snapshots, or the lake fails.
    pub async fn pages(&self, store: &Store, by: &str, root_domain: Option<&str>) -> Result<Pages> {
        let before = store.local_files(&self.from, Table::Pages).await?;
        let after = store.local_files(&self.to, Table::Pages).await?;
        let (by, root_domain) = (by.to_owned(), root_domain.map(str::to_owned));
        blocking(move || Pages::open([before, after], by, root_domain.as_deref())).await
    }
}

impl Pages {
    fn open(files: [LocalFiles; 2], by: String, root_domain: Option<&str>) -> Result<Self> {
        let mut from = scan(&files[0], root_domain)?;
        let mut to = scan(&files[1], root_domain)?;
        let metrics = metrics_of_both(&mut from, &mut to)?;
        if !metrics.contains(&by) {
            return Err(
                Error::usage(format!("--by: {by} is not a metric of both snapshots"))
                    .with_hint(format!("choose one of {}", metrics.join(", "))),
            );
        }
        let counts = || col("matched").and(col("target").is_not_null());
        let (from, to) = (from.filter(counts()), to.filter(counts()));
        Ok(Self {
            from,
            to,
            by,
            metrics,
            files: Arc::new(files),
        })
    }

    /// The metric that is compared.
    #[must_use]
    pub fn by(&self) -> &str {
        &self.by
    }

    /// The pages that are only in the snapshot after: `root_domain`, `target`, `after`.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn gained(&self) -> Result<List<PageChange>> {
        self.only_in(&self.to, "after", &self.from)
    }

    /// The pages that are only in the snapshot before: `root_domain`, `target`, `before`.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn lost(&self) -> Result<List<PageChange>> {
        self.only_in(&self.from, "before", &self.to)
    }

    /// The pages of one snapshot that are not in the other, with their metric under `name`.
    fn only_in(&self, one: &LazyFrame, name: &str, other: &LazyFrame) -> Result<List<PageChange>> {
        let one = keyed(one, col(&self.by).alias(name))?;
        let other = keyed(other, col("matched").alias("in_other"))?;
        let rows = merged(one, other, JoinType::Left).filter(col("in_other").is_null());
        let rows = rows.select([col(KEY[0]), col(KEY[1]), col(name)]);
        Ok(List::new(
            rows,
            col(name),
            KEY,
            read,
            Arc::clone(&self.files),
        ))
    }

    /// The pages in both snapshots whose metric differs: `root_domain`, `target`, `before`,
    /// `after`, `change`, `relative_change`.
    ///
    /// # Errors
    /// polars rejects the query.
    pub fn movers(&self) -> Result<List<PageChange>> {
        let rows = with_change(self.in_both()?).filter(col("change").neq(lit(0)));
        Ok(List::new(
            rows,
            col("change").abs(),
            KEY,
            read,
            Arc::clone(&self.files),
        ))
    }

    fn in_both(&self) -> Result<LazyFrame> {
        let from = keyed(&self.from, col(&self.by).alias("before"))?;
        let to = keyed(&self.to, col(&self.by).alias("after"))?;
        Ok(merged(from, to, JoinType::Inner))
    }

    /// The number of pages in both snapshots, and what happened to them. Blocks for as long as the
    /// tables take to read.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn counts(&self) -> Result<PageCounts> {
        let count = |expr: Expr, name: &str| expr.cast(DataType::Int64).alias(name);
        let change = || col("after") - col("before");
        let pages =
            |side: &LazyFrame| only(&run(side.clone().select([count(len(), "pages")]))?, "pages");
        let (before, after) = (pages(&self.from)?, pages(&self.to)?);
        let both = run(self.in_both()?.select([
            count(len(), "in_both"),
            count(change().neq(lit(0)).sum(), "changed"),
            count(change().is_null().sum(), "unknown"),
        ]))?;
        let (in_both, changed, unknown) = (
            only(&both, "in_both")?,
            only(&both, "changed")?,
            only(&both, "unknown")?,
        );
        Ok(PageCounts {
            before,
            after,
            gained: after - in_both,
            lost: before - in_both,
            in_both,
            changed,
            unchanged: in_both - changed - unknown,
            unknown,
        })
    }

    /// The totals of all metrics that both snapshots have. Blocks for as long as the tables take to
    /// read.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn totals(&self) -> Result<Vec<Total>> {
        let sums = self.sums(&self.from)?.into_iter().zip(self.sums(&self.to)?);
        let total = |(metric, (before, after)): (&String, (Sum, Sum))| Total {
            metric: metric.clone(),
            before: before.total,
            after: after.total,
            change: after.total - before.total,
            mean_before: before.mean(),
            mean_after: after.mean(),
        };
        Ok(self.metrics.iter().zip(sums).map(total).collect())
    }

    /// The sum of each metric in one snapshot, computed in one pass.
    fn sums(&self, side: &LazyFrame) -> Result<Vec<Sum>> {
        let values = |metric: &str| format!("{metric} values");
        let exprs = self.metrics.iter().flat_map(|metric| {
            let count = col(metric).count().cast(DataType::Int64);
            [col(metric).sum(), count.alias(values(metric))]
        });
        let sums = run(side.clone().select(exprs.collect::<Vec<_>>()))?;
        let of = |metric: &String| {
            Ok(Sum {
                total: only(&sums, metric)?,
                values: only(&sums, &values(metric))?,
            })
        };
        self.metrics.iter().map(of).collect()
    }
}

/// The sum of a metric over one snapshot.
struct Sum {
    total: i64,
    /// The number of pages with a value.
    values: i64,
}

impl Sum {
    fn mean(&self) -> Option<f64> {
        (self.values > 0).then(|| self.total as f64 / self.values as f64)
    }
}

/// The columns of counts that both snapshots have. Later versions of the contract can have more
/// columns.
fn metrics_of_both(from: &mut LazyFrame, to: &mut LazyFrame) -> Result<Vec<String>> {
    let failed = || "failed to read the snapshot's columns";
    let (before, after) = (
        from.collect_schema().context(failed)?,
        to.collect_schema().context(failed)?,
    );
    let shared = after
        .iter()
        .filter(|&(name, kind)| *kind == DataType::Int64 && before.get(name) == Some(kind))
        .map(|(name, _)| name.to_string());
    Ok(shared.collect())
}

/// The key and one more column. The hint that the key is sorted makes polars merge instead of hash.
fn keyed(side: &LazyFrame, column: Expr) -> Result<LazyFrame> {
    let sorted = KEY.map(|key| Sorted {
        column: key.into(),
        descending: Some(false),
        nulls_last: Some(false),
    });
    let rows = side.clone().select([col(KEY[0]), col(KEY[1]), column]);
    rows.hint(HintIR::Sorted(Arc::new(sorted)))
        .context(|| FAILED)
}

/// Joins two snapshots by the key, in the order of the key.
fn merged(left: LazyFrame, right: LazyFrame, how: JoinType) -> LazyFrame {
    left.join_builder()
        .with(right)
        .on(KEY.map(col))
        .how(how)
        .join_nulls(true)
        .maintain_order(MaintainOrderJoin::Left)
        .finish()
}

fn read(rows: &DataFrame) -> Result<Vec<PageChange>> {
    let domains = texts(rows, "root_domain")?;
    let mut targets = texts(rows, "target")?.into_iter();
    let mut numbers = ["before", "after", "change"]
        .map(|name| counts(rows, name))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let ratios = ratios(rows, "relative_change")?;
    let changes = domains
        .into_iter()
        .enumerate()
        .map(|(row, root_domain)| PageChange {
            root_domain,
            target: targets.next().flatten(),
            before: numbers[0][row].take(),
            after: numbers[1][row].take(),
            change: numbers[2][row].take(),
            relative_change: ratios[row],
        });
    Ok(changes.collect())
}
