//! Which dates have something under way: a run whose snapshot is not published yet, or a replacement that is not.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use super::archive::Archive;
use super::layout::Layout;
use super::manifest::{Manifest, snapshots};
use super::store::Store;
use crate::error::Result;

/// The dates of runs that were begun and whose snapshot was never published, oldest first.
///
/// # Errors
/// A lake that fails.
pub async fn open_snapshots(store: &Store) -> Result<Vec<NaiveDate>> {
    let published = snapshots(store).await?;
    let begun = store.folders(&Layout::runs()).await?;
    let begun = begun.iter().filter_map(|folder| folder.filename()?.parse().ok());
    let mut open = Vec::new();
    for snapshot in begun.filter(|date| !published.contains(date)) {
        if store.get(&Layout { snapshot }.pruned()).await?.is_none() {
            open.push(snapshot);
        }
    }
    Ok(open)
}

/// The dates of which a replacement was begun and is not published: what it has paid for is needed.
pub(super) async fn being_replaced(
    store: &Store,
    published: &BTreeSet<NaiveDate>,
) -> Result<BTreeSet<NaiveDate>> {
    let mut found = BTreeSet::new();
    for &date in published {
        // A manifest that cannot be read is `verify`'s to name; what is said of it stays.
        let Ok(Some(manifest)) = Manifest::read(store, date).await else {
            found.insert(date);
            continue;
        };
        if Archive::new(store.clone(), date).run_record(manifest.generation + 1).await?.is_some() {
            found.insert(date);
        }
    }
    Ok(found)
}
