//! Hands the rows of one night to a caller that folds over all of them, with only the columns that it
//! needs.

use arrow::array::Array as _;

use super::columns::{LabelColumn, Rows, at, booleans, number_at, numbers, texts};
use super::local_files::LocalFiles;
use super::tables::{KEY, blocking};
use crate::contract::Table;
use crate::error::Result;
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
        let wanted: Vec<_> = KEY
            .iter()
            .chain(&["matched"])
            .chain(columns)
            .copied()
            .collect();
        let mut rows = Rows::of(&files, &wanted);
        let mut values = vec![None; columns.len()];
        while let Some(batch) = rows.next_batch()? {
            let (domains, targets) = (texts(&batch, KEY[0])?, texts(&batch, KEY[1])?);
            let matched = booleans(&batch, "matched")?;
            let counts = columns.iter().map(|name| numbers(&batch, name));
            let counts = counts.collect::<Result<Vec<_>>>()?;
            for row in 0..batch.num_rows() {
                let is_matched = matched.is_valid(row) && matched.value(row);
                let Some(target) = at(targets, row).filter(|_| is_matched) else {
                    continue;
                };
                for (value, column) in values.iter_mut().zip(&counts) {
                    *value = number_at(column, row);
                }
                let page = PageRow {
                    root_domain: at(domains, row).unwrap_or_default(),
                    target,
                    values: &values,
                };
                add(&mut state, &page);
            }
        }
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
        let mut rows = Rows::of(&files, &[KEY[1], "fate"]);
        while let Some(batch) = rows.next_batch()? {
            let (targets, fates) = (texts(&batch, KEY[1])?, texts(&batch, "fate")?);
            for row in (0..batch.num_rows()).filter(|row| at(fates, *row) == Some(fate.name())) {
                if let Some(target) = at(targets, row) {
                    add(&mut state, target);
                }
            }
        }
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
        let mut rows = Rows::of(&files, &[KEY[1], "dimension", "key", "links"]);
        while let Some(batch) = rows.next_batch()? {
            let (targets, names) = (texts(&batch, KEY[1])?, texts(&batch, "dimension")?);
            let (keys, links) = (texts(&batch, "key")?, numbers(&batch, "links")?);
            for row in 0..batch.num_rows() {
                let dimension = at(names, row).unwrap_or_default();
                if !dimensions.is_empty() && !dimensions.contains(&dimension) {
                    continue;
                }
                let link = LinkRow {
                    target: at(targets, row).unwrap_or_default(),
                    dimension,
                    key: at(keys, row).unwrap_or_default(),
                    links: number_at(links, row).unwrap_or_default(),
                };
                add(&mut state, &link);
            }
        }
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
        let mut rows = Rows::of(&files, &[KEY[1], "fate", "labels"]);
        while let Some(batch) = rows.next_batch()? {
            let (targets, fates) = (texts(&batch, KEY[1])?, texts(&batch, "fate")?);
            let labels = LabelColumn::of(&batch)?;
            for row in 0..batch.num_rows() {
                let is_valid = at(fates, row) != Some(Fate::Invalid.name());
                let Some(target) = at(targets, row).filter(|_| is_valid) else {
                    continue;
                };
                for (column, value) in labels.of_line(row) {
                    let label = LabelRow {
                        target,
                        column,
                        value,
                    };
                    add(&mut state, &label);
                }
            }
        }
        Ok(state)
    })
    .await
}
