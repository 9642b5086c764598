//! Pages gained, lost and moved.

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

/// What pages are compared by, and sorted by in the lake.
const KEY: [&str; 2] = ["root_domain", "target"];

/// A page whose metric has changed, or that is in one snapshot only.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageChange {
    /// Its registrable domain.
    pub root_domain: Option<String>,
    /// The page or domain.
    pub target: Option<String>,
    /// The metric before; none if gained, or if nobody knows.
    pub before: Option<i64>,
    /// The metric after; none if lost, or if nobody knows.
    pub after: Option<i64>,
    /// What was added, or taken away.
    pub change: Option<i64>,
    /// The change as a share of what was before; none of nothing.
    pub relative_change: Option<f64>,
}

/// How many pages there are, and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PageCounts {
    /// Pages before; `lost` and `in_both` add up to it.
    pub before: i64,
    /// Pages after; `gained` and `in_both` add up to it.
    pub after: i64,
    /// Only in the snapshot after.
    pub gained: i64,
    /// Only in the snapshot before.
    pub lost: i64,
    /// In both; `changed`, `unchanged` and `unknown` add up to it.
    pub in_both: i64,
    /// Those whose metric differs.
    pub changed: i64,
    /// Those whose metric is the same.
    pub unchanged: i64,
    /// Those whose metric is null in one snapshot or in both.
    pub unknown: i64,
}

/// The total of a metric over all pages that have a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    /// The column of the table `pages`.
    pub metric: String,
    /// The total before.
    pub before: i64,
    /// The total after.
    pub after: i64,
    /// What was added, or taken away.
    pub change: i64,
    /// The mean before; none of no values.
    pub mean_before: Option<f64>,
    /// The mean after; none of no values.
    pub mean_after: Option<f64>,
}

/// The pages of two snapshots, ready to be compared by a metric.
pub struct Pages {
    from: LazyFrame,
    to: LazyFrame,
    by: String,
    metrics: Vec<String>,
    /// Deleted with this, if they are copies.
    files: Arc<[LocalFiles; 2]>,
}

impl Pair {
    /// The pages of both, to be compared by a metric, of all root domains or of one.
    ///
    /// # Errors
    /// A metric that is none of both snapshots, and a lake that fails.
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
                Error::usage(format!("--by: {by} is no metric that both snapshots have"))
                    .with_hint(format!("one of {}", metrics.join(", "))),
            );
        }
        let asked = || col("matched").and(col("target").is_not_null());
        let (from, to) = (from.filter(asked()), to.filter(asked()));
        Ok(Self {
            from,
            to,
            by,
            metrics,
            files: Arc::new(files),
        })
    }

    /// The metric by which pages are compared.
    #[must_use]
    pub fn by(&self) -> &str {
        &self.by
    }

    /// Pages that only the snapshot after has, with their metric: `root_domain`, `target`, `after`.
    ///
    /// # Errors
    /// A query that polars refuses.
    pub fn gained(&self) -> Result<List<PageChange>> {
        self.only_in(&self.to, "after", &self.from)
    }

    /// Pages that only the snapshot before has, with their metric: `root_domain`, `target`, `before`.
    ///
    /// # Errors
    /// A query that polars refuses.
    pub fn lost(&self) -> Result<List<PageChange>> {
        self.only_in(&self.from, "before", &self.to)
    }

    fn only_in(&self, here: &LazyFrame, name: &str, there: &LazyFrame) -> Result<List<PageChange>> {
        let here = keyed(here, col(&self.by).alias(name))?;
        let there = keyed(there, col("matched").alias("there"))?;
        let rows = merged(here, there, JoinType::Left).filter(col("there").is_null());
        let rows = rows.select([col(KEY[0]), col(KEY[1]), col(name)]);
        Ok(List::new(
            rows,
            col(name),
            KEY,
            read,
            Arc::clone(&self.files),
        ))
    }

    /// Pages of both whose metric differs: `root_domain`, `target`, `before`, `after`, `change`, `relative_change`.
    ///
    /// # Errors
    /// A query that polars refuses.
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

    /// How many pages there are, and what became of them. Takes its time, and holds few of them.
    ///
    /// # Errors
    /// Files that fail.
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

    /// The totals of all metrics that both snapshots have. Takes its time, and holds few rows.
    ///
    /// # Errors
    /// Files that fail.
    pub fn totals(&self) -> Result<Vec<Total>> {
        let known = |metric: &str| format!("{metric} known");
        let sums = |side: &LazyFrame| {
            let of = |metric: &String| {
                let known = col(metric)
                    .count()
                    .cast(DataType::Int64)
                    .alias(known(metric));
                [col(metric).sum(), known]
            };
            run(side
                .clone()
                .select(self.metrics.iter().flat_map(of).collect::<Vec<_>>()))
        };
        let (from, to) = (sums(&self.from)?, sums(&self.to)?);
        let total = |metric: &String| {
            let (before, after) = (only(&from, metric)?, only(&to, metric)?);
            let mean = |side: &DataFrame, total: i64| -> Result<Option<f64>> {
                let known = only(side, &known(metric))?;
                Ok((known > 0).then(|| total as f64 / known as f64))
            };
            Ok(Total {
                metric: metric.clone(),
                before,
                after,
                change: after - before,
                mean_before: mean(&from, before)?,
                mean_after: mean(&to, after)?,
            })
        };
        self.metrics.iter().map(total).collect()
    }
}

/// The counts that both snapshots have: versions of the contract may differ by a column.
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

/// The key and one column more; polars is told that they are sorted, so that it merges and does not hash.
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

/// Joins two sides by the key, in its order.
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
