//! Compares breakdowns: how the links of pages in both snapshots shifted between the keys of each
//! dimension.

use std::collections::BTreeMap;
use std::sync::Arc;

use polars::prelude::{DataFrame, IntoLazy as _, JoinType, LazyFrame, col, df, lit};
use serde::Serialize;

use super::list::List;
use super::local_files::LocalFiles;
use super::pair::Pair;
use super::tables::{
    FAILED, Side, batches, blocking, counts, keyed, listed, merged, ratios, scan, texts,
    with_change,
};
use crate::contract::{DIMENSIONS, Table};
use crate::error::{Context, Result};
use crate::fate::Fate;
use crate::store::Store;

/// The key of the shifts.
const SHIFT_KEY: [&str; 2] = ["dimension", "key"];

/// The links of one key in both snapshots.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BreakdownChange {
    /// The dimension: tld, country, …
    pub dimension: Option<String>,
    /// The key within the dimension.
    pub key: Option<String>,
    /// The links before; 0 if no page had the key.
    pub before: Option<i64>,
    /// The links after; 0 if no page has the key.
    pub after: Option<i64>,
    /// The difference, after minus before.
    pub change: Option<i64>,
    /// The change relative to the links before; `None` if they were 0.
    pub relative_change: Option<f64>,
}

/// The breakdowns of two snapshots, ready for comparison.
pub struct Breakdowns {
    rows: [LazyFrame; 2],
    /// The targets of each list that have a page.
    returned: [LazyFrame; 2],
    files: Arc<[LocalFiles]>,
}

impl Pair {
    /// The breakdowns of both snapshots.
    ///
    /// # Errors
    /// The lake fails.
    pub async fn breakdowns(&self, store: &Store) -> Result<Breakdowns> {
        let files = [
            store.local_files(&self.from, Table::Breakdowns).await?,
            store.local_files(&self.to, Table::Breakdowns).await?,
            store.local_files(&self.from, Table::Targets).await?,
            store.local_files(&self.to, Table::Targets).await?,
        ];
        let root_domain = self.root_domain.clone();
        blocking(move || {
            let rows = |files| scan(files, root_domain.as_deref());
            let returned = |files| {
                let targets = listed(files, root_domain.as_deref())?;
                Ok(targets.filter(col("fate").eq(lit(Fate::Returned.name()))))
            };
            Ok(Breakdowns {
                rows: [rows(&files[0])?, rows(&files[1])?],
                returned: [returned(&files[2])?, returned(&files[3])?],
                files: Arc::new(files),
            })
        })
        .await
    }
}

impl Breakdowns {
    /// Every key that pages in both snapshots have in either, changed or not: `dimension`, `key`,
    /// `before`, `after`, `change`, `relative_change`. Blocks for as long as the tables take to
    /// read.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn shifts(&self) -> Result<List<BreakdownChange>> {
        let mut sums = Sums::new();
        for (dimension, _) in DIMENSIONS {
            for side in Side::BOTH {
                add(&mut sums, dimension, self.in_both(dimension, side)?, side)?;
            }
        }
        let (keys, links): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        let (dimensions, keys): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        let (before, after): (Vec<_>, Vec<_>) = links
            .into_iter()
            .map(|[before, after]| (before, after))
            .unzip();
        let rows =
            df!("dimension" => dimensions, "key" => keys, "before" => before, "after" => after);
        let rows = with_change(rows.context(|| FAILED)?.lazy());
        Ok(List::new(
            rows,
            col("change").abs(),
            SHIFT_KEY,
            read,
            Arc::clone(&self.files),
        ))
    }

    /// The rows of one dimension in one snapshot, of pages that are in both. Within a dimension, the
    /// table is sorted by the key of the pages.
    fn in_both(&self, dimension: &str, side: Side) -> Result<LazyFrame> {
        let rows = self.rows[side as usize].clone();
        let rows = rows.filter(col("dimension").eq(lit(dimension)));
        let rows = keyed(rows, [col("key"), col("links")])?;
        let [before, after] = self.returned.each_ref().map(|rows| keyed(rows.clone(), []));
        // Both, because an unmatched row can have the target of a page of the other snapshot.
        let pages = keyed(merged(before?, after?, JoinType::Inner), [])?;
        Ok(merged(rows, pages, JoinType::Inner))
    }
}

/// The links in both snapshots, by dimension and key.
type Sums = BTreeMap<(String, String), [i64; 2]>;

/// Adds the links of a dimension batch by batch, because the streaming engine of polars 0.55 keeps
/// most of the rows that it groups.
fn add(sums: &mut Sums, dimension: &str, rows: LazyFrame, side: Side) -> Result<()> {
    batches(rows.select([col("key"), col("links")]), |batch| {
        let grouped = batch
            .lazy()
            .group_by([col("key")])
            .agg([col("links").sum()])
            .collect();
        let grouped = grouped.context(|| FAILED)?;
        let keys = texts(&grouped, "key")?.into_iter();
        for (key, links) in keys.zip(counts(&grouped, "links")?) {
            let key = (dimension.to_owned(), key.unwrap_or_default());
            sums.entry(key).or_default()[side as usize] += links.unwrap_or_default();
        }
        Ok(())
    })
}

fn read(rows: &DataFrame) -> Result<Vec<BreakdownChange>> {
    let dimensions = texts(rows, "dimension")?;
    let mut keys = texts(rows, "key")?.into_iter();
    let (before, after) = (counts(rows, "before")?, counts(rows, "after")?);
    let (change, ratios) = (counts(rows, "change")?, ratios(rows, "relative_change")?);
    let changes = dimensions
        .into_iter()
        .enumerate()
        .map(|(row, dimension)| BreakdownChange {
            dimension,
            key: keys.next().flatten(),
            before: before[row],
            after: after[row],
            change: change[row],
            relative_change: ratios[row],
        });
    Ok(changes.collect())
}
