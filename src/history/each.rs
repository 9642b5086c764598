//! Hands the rows of one night to a caller that folds over all of them, with only the columns that it
//! needs.

use polars::prelude::{ChunkExplode as _, DataFrame, LazyFrame, col, lit};

use super::local_files::LocalFiles;
use super::tables::{FAILED, KEY, batches, blocking, scan};
use crate::contract::Table;
use crate::error::{Context as _, Result};
use crate::fate::Fate;
use crate::lake::Manifest;
use crate::store::Store;

/// A page that counts, in the order of the lake: by root domain, then by target.
#[derive(Debug, Clone, Copy)]
pub struct PageRow<'a> {
    /// The root domain.
    pub root_domain: &'a str,
    /// The target.
    pub target: &'a str,
    /// The values of the columns that were asked for; `None` is null.
    pub values: &'a [Option<i64>],
}

/// The links of a page that have a key in a dimension.
#[derive(Debug, Clone, Copy)]
pub struct LinkRow<'a> {
    /// The target.
    pub target: &'a str,
    /// The dimension: tld, country, …
    pub dimension: &'a str,
    /// The key within the dimension.
    pub key: &'a str,
    /// The number of links.
    pub links: i64,
}

/// A label of a line with a target.
#[derive(Debug, Clone, Copy)]
pub struct LabelRow<'a> {
    /// The target.
    pub target: &'a str,
    /// The column of the target list.
    pub column: &'a str,
    /// Its value.
    pub value: &'a str,
}

/// Folds over the pages of a night. `columns` are columns of counts.
///
/// # Errors
/// The lake fails, or a file is missing or damaged.
pub async fn each_page<T: Send + 'static>(
    store: &Store,
    manifest: &Manifest,
    columns: &'static [&'static str],
    mut state: T,
    mut add: impl FnMut(&mut T, &PageRow<'_>) + Send + 'static,
) -> Result<T> {
    let files = LocalFiles::open(store, manifest, Table::Pages).await?;
    blocking(move || {
        let counts = col("matched").and(col(KEY[1]).is_not_null());
        let wanted: Vec<_> = KEY.iter().chain(columns).map(|name| col(*name)).collect();
        let rows = scan(&files, None)?.filter(counts).select(wanted);
        let mut values = vec![None; columns.len()];
        batches(rows, |batch| {
            let domains = texts(&batch, KEY[0])?;
            let targets = texts(&batch, KEY[1])?;
            let numbers = columns.iter().map(|name| integers(&batch, name));
            let numbers = numbers.collect::<Result<Vec<_>>>()?;
            for (row, target) in targets.iter().enumerate() {
                for (value, column) in values.iter_mut().zip(&numbers) {
                    *value = column[row];
                }
                let page = PageRow {
                    root_domain: domains[row].unwrap_or_default(),
                    target: target.unwrap_or_default(),
                    values: &values,
                };
                add(&mut state, &page);
            }
            Ok(())
        })?;
        Ok(state)
    })
    .await
}

/// The targets of a night that had this fate.
///
/// # Errors
/// As [`each_page`].
pub async fn each_target_with<T: Send + 'static>(
    store: &Store,
    manifest: &Manifest,
    fate: Fate,
    mut state: T,
    mut add: impl FnMut(&mut T, &str) + Send + 'static,
) -> Result<T> {
    let files = LocalFiles::open(store, manifest, Table::Targets).await?;
    blocking(move || {
        let had = col("fate").eq(lit(fate.name()));
        let rows = scan(&files, None)?.filter(had).select([col(KEY[1])]);
        batches(rows, |batch| {
            for target in texts(&batch, KEY[1])?.into_iter().flatten() {
                add(&mut state, target);
            }
            Ok(())
        })?;
        Ok(state)
    })
    .await
}

/// Folds over the breakdowns of a night, in these dimensions.
///
/// # Errors
/// As [`each_page`].
pub async fn each_link<T: Send + 'static>(
    store: &Store,
    manifest: &Manifest,
    dimensions: &'static [&'static str],
    mut state: T,
    mut add: impl FnMut(&mut T, &LinkRow<'_>) + Send + 'static,
) -> Result<T> {
    let files = LocalFiles::open(store, manifest, Table::Breakdowns).await?;
    blocking(move || {
        let wanted = dimensions
            .iter()
            .map(|name| col("dimension").eq(lit(*name)))
            .reduce(polars::prelude::Expr::or);
        let rows = scan(&files, None)?;
        let rows: LazyFrame = match wanted {
            Some(wanted) => rows.filter(wanted),
            None => rows,
        };
        let rows = rows.select([col(KEY[1]), col("dimension"), col("key"), col("links")]);
        batches(rows, |batch| {
            let targets = texts(&batch, KEY[1])?;
            let dimensions = texts(&batch, "dimension")?;
            let keys = texts(&batch, "key")?;
            let links = integers(&batch, "links")?;
            for (row, target) in targets.iter().enumerate() {
                let link = LinkRow {
                    target: target.unwrap_or_default(),
                    dimension: dimensions[row].unwrap_or_default(),
                    key: keys[row].unwrap_or_default(),
                    links: links[row].unwrap_or_default(),
                };
                add(&mut state, &link);
            }
            Ok(())
        })?;
        Ok(state)
    })
    .await
}

/// Folds over the labels of the lines of a night that have a target. Lines with the same target
/// can repeat a label.
///
/// # Errors
/// As [`each_page`].
pub async fn each_label<T: Send + 'static>(
    store: &Store,
    manifest: &Manifest,
    mut state: T,
    mut add: impl FnMut(&mut T, &LabelRow<'_>) + Send + 'static,
) -> Result<T> {
    let files = LocalFiles::open(store, manifest, Table::Targets).await?;
    blocking(move || {
        let valid = col("fate").neq(lit(Fate::Invalid.name()));
        let lines = scan(&files, None)?.filter(col("labels").is_not_null().and(valid));
        let lines = lines.select([col(KEY[1]), col("labels")]);
        batches(lines, |mut batch| {
            batch.rechunk_mut();
            let targets = texts(&batch, KEY[1])?;
            each_label_of(&batch, |row, column, value| {
                if let Some(target) = targets[row] {
                    let label = LabelRow {
                        target,
                        column,
                        value,
                    };
                    add(&mut state, &label);
                }
            })
        })?;
        Ok(state)
    })
    .await
}

fn texts<'a>(batch: &'a DataFrame, name: &str) -> Result<Vec<Option<&'a str>>> {
    let column = batch.column(name).and_then(|column| column.str());
    Ok(column.context(|| FAILED)?.iter().collect())
}

fn integers(batch: &DataFrame, name: &str) -> Result<Vec<Option<i64>>> {
    let column = batch.column(name).and_then(|column| column.i64());
    Ok(column.context(|| FAILED)?.iter().collect())
}

/// Calls `see` with each label of rows in one chunk: the number of the row, the column and its
/// value. A null value is not a label.
fn each_label_of(rows: &DataFrame, mut see: impl FnMut(usize, &str, &str)) -> Result<()> {
    let lists = rows.column("labels").and_then(|column| column.list());
    let lists = lists.context(|| FAILED)?;
    let entries = lists.get_inner();
    let entries = entries.struct_().context(|| FAILED)?;
    let field = |name: &str| entries.field_by_name(name).context(|| FAILED);
    let (keys, values) = (field("key")?, field("value")?);
    let keys = keys.str().context(|| FAILED)?;
    let values = values.str().context(|| FAILED)?;
    let ends = lists.offsets().context(|| FAILED)?;
    for (row, ends) in ends.as_slice().windows(2).enumerate() {
        for entry in (ends[0] as usize)..(ends[1] as usize) {
            if let (Some(key), Some(value)) = (keys.get(entry), values.get(entry)) {
                see(row, key, value);
            }
        }
    }
    Ok(())
}
