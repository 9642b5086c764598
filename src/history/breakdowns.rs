//! Compares breakdowns: how links shifted between the keys of each dimension.

use std::collections::BTreeMap;
use std::sync::Arc;

use polars::prelude::{DataFrame, IntoLazy as _, LazyFrame, col, df};
use serde::Serialize;

use super::list::List;
use super::local_files::LocalFiles;
use super::pair::Pair;
use super::tables::{FAILED, batches, blocking, counts, ratios, scan, texts, with_change};
use crate::contract::Table;
use crate::error::{Context, Result};
use crate::store::Store;

/// The key of the comparison.
const KEY: [&str; 2] = ["dimension", "key"];

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
    from: LazyFrame,
    to: LazyFrame,
    files: Arc<[LocalFiles; 2]>,
}

impl Pair {
    /// The breakdowns of both snapshots, of all root domains or of one.
    ///
    /// # Errors
    /// The lake fails.
    pub async fn breakdowns(&self, store: &Store, root_domain: Option<&str>) -> Result<Breakdowns> {
        let before = store.local_files(&self.from, Table::Breakdowns).await?;
        let after = store.local_files(&self.to, Table::Breakdowns).await?;
        let root_domain = root_domain.map(str::to_owned);
        blocking(move || {
            let scan = |files| scan(files, root_domain.as_deref());
            let (from, to) = (scan(&before)?, scan(&after)?);
            Ok(Breakdowns {
                from,
                to,
                files: Arc::new([before, after]),
            })
        })
        .await
    }
}

impl Breakdowns {
    /// Every key of either snapshot, changed or not: `dimension`, `key`, `before`, `after`,
    /// `change`, `relative_change`. Blocks for as long as the tables take to read.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn shifts(&self) -> Result<List<BreakdownChange>> {
        let mut sums = Sums::new();
        add(&mut sums, &self.from, Side::Before)?;
        add(&mut sums, &self.to, Side::After)?;
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
            KEY,
            read,
            Arc::clone(&self.files),
        ))
    }
}

/// One of the two snapshots, as an index into [`Sums`].
#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

/// The links in both snapshots, by dimension and key.
type Sums = BTreeMap<(String, String), [i64; 2]>;

/// Adds the links of a snapshot batch by batch, because the streaming engine of polars 0.55 keeps
/// most of the rows that it groups.
fn add(sums: &mut Sums, rows: &LazyFrame, side: Side) -> Result<()> {
    batches(
        rows.clone()
            .select([col(KEY[0]), col(KEY[1]), col("links")]),
        |batch| {
            let grouped = batch
                .lazy()
                .group_by(KEY.map(col))
                .agg([col("links").sum()])
                .collect();
            let grouped = grouped.context(|| FAILED)?;
            let keys = texts(&grouped, "dimension")?
                .into_iter()
                .zip(texts(&grouped, "key")?);
            for ((dimension, key), links) in keys.zip(counts(&grouped, "links")?) {
                let key = (dimension.unwrap_or_default(), key.unwrap_or_default());
                sums.entry(key).or_default()[side as usize] += links.unwrap_or_default();
            }
            Ok(())
        },
    )
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
