//! Compares breakdowns: how the links of pages in both snapshots shifted between the keys of each
//! dimension.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use polars::prelude::{BooleanChunked, DataFrame, IntoLazy as _, JoinType, LazyFrame, col, df};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::list::List;
use super::local_files::{LocalFiles, SharedFiles};
use super::pages::name;
use super::pair::Pair;
use super::tables::{
    FAILED, Side, batches, blocking, counts, keyed, listed, merged, ratios, scan, texts,
    with_change, with_keys,
};
use crate::contract::Table;
use crate::error::{Context, Error, Result};
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
    /// All rows of pages, matched or not.
    pages: [LazyFrame; 2],
    listed: [LazyFrame; 2],
    files: SharedFiles,
}

impl Pair {
    /// The breakdowns of both snapshots.
    ///
    /// # Errors
    /// The lake fails.
    pub async fn breakdowns(&self, store: &Store) -> Result<Breakdowns> {
        let rows = self.files_of_both(store, Table::Breakdowns).await?;
        let pages = self.files_of_both(store, Table::Pages).await?;
        let targets = self.files_of_both(store, Table::Targets).await?;
        let keys = self.keys(store).await?;
        let root_domain = self.root_domain.clone();
        blocking(move || {
            let domain = root_domain.as_deref();
            let own = |rows: LazyFrame, side: usize| with_keys(rows, keys[side].as_ref());
            let read = |files: &LocalFiles, side| Ok::<_, Error>(own(scan(files, domain)?, side));
            let list = |files: &LocalFiles, side| Ok::<_, Error>(own(listed(files, domain)?, side));
            Ok(Breakdowns {
                rows: [read(&rows[0], 0)?, read(&rows[1], 1)?],
                pages: [read(&pages[0], 0)?, read(&pages[1], 1)?],
                listed: [list(&targets[0], 0)?, list(&targets[1], 1)?],
                files: rows.into_iter().chain(pages).chain(targets).collect(),
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
        for side in Side::BOTH {
            self.add(&mut sums, side)?;
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

    /// The targets of a snapshot's rows that are not pages in both, as hashes: few in most nights,
    /// and 16 bytes each if the lists have nothing in common.
    fn others(&self, side: Side) -> Result<HashSet<u128>> {
        let fate = |side: Side| {
            let fate = col("fate").alias(side.fate());
            keyed(self.listed[side as usize].clone(), [fate])
        };
        let is_returned = |side: Side| col(side.fate()).eq_missing(name(Fate::Returned));
        let (own, other) = (side, side.other());
        let rows = keyed(self.pages[side as usize].clone(), [])?;
        let rows = keyed(merged(rows, fate(own)?, JoinType::Left), [col(own.fate())])?;
        let rows = merged(rows, fate(other)?, JoinType::Left)
            .filter(is_returned(own).and(is_returned(other)).not());
        let mut found = HashSet::new();
        batches(rows.select([col("target")]), |batch| {
            found.extend(hashes(&batch)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Adds the links of a snapshot batch by batch, because the streaming engine of polars 0.55 keeps
    /// most of the rows that it groups.
    fn add(&self, sums: &mut Sums, side: Side) -> Result<()> {
        let others = self.others(side)?;
        let mut columns = vec![col(SHIFT_KEY[0]), col(SHIFT_KEY[1]), col("links")];
        if !others.is_empty() {
            columns.push(col("target"));
        }
        let rows = self.rows[side as usize].clone().select(columns);
        batches(rows, |batch| {
            let batch = if others.is_empty() {
                batch
            } else {
                let hashes = hashes(&batch)?.into_iter();
                let in_both: BooleanChunked =
                    hashes.map(|target| !others.contains(&target)).collect();
                batch.filter(&in_both).context(|| FAILED)?
            };
            let grouped = batch
                .lazy()
                .group_by(SHIFT_KEY.map(col))
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
        })
    }
}

/// The hash of each target. No two of any real number of targets have the same.
fn hashes(rows: &DataFrame) -> Result<Vec<u128>> {
    let targets = rows
        .column("target")
        .and_then(|column| column.str())
        .context(|| FAILED)?;
    let hash = |target: Option<&str>| xxh3_128(target.unwrap_or_default().as_bytes());
    Ok(targets.iter().map(hash).collect())
}

/// The links in both snapshots, by dimension and key.
type Sums = BTreeMap<(String, String), [i64; 2]>;

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
