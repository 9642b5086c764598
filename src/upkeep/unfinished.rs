//! Which dates have something under way: a run whose snapshot is not published yet, or a replacement that is not.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use object_store::ObjectMeta;
use serde::Serialize;

use crate::error::Result;
use crate::lake::{Manifest, snapshots};
use crate::ledger::Ledger;
use crate::store::{Layout, Store};

/// The dates of runs that were begun and whose snapshot was never published, oldest first.
///
/// # Errors
/// A lake that fails.
pub async fn open_snapshots(store: &Store) -> Result<Vec<NaiveDate>> {
    let published = snapshots(store).await?;
    let begun = store.folders(&Layout::runs()).await?;
    let begun = begun
        .iter()
        .filter_map(|folder| folder.filename()?.parse().ok());
    let mut open = Vec::new();
    for snapshot in begun.filter(|date| !published.contains(date)) {
        if store.get(&Layout { snapshot }.pruned()).await?.is_none() {
            open.push(snapshot);
        }
    }
    Ok(open)
}

/// The dates of which a replacement was begun and is not published: what it has paid for is needed.
pub(crate) async fn being_replaced(
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
        if Ledger::new(store.clone(), date)
            .run_record(manifest.generation + 1)
            .await?
            .is_some()
        {
            found.insert(date);
        }
    }
    Ok(found)
}

/// Objects of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Objects {
    /// The date.
    pub snapshot: NaiveDate,
    /// How many there are.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Objects {
    pub(crate) fn of(snapshot: NaiveDate, objects: &[ObjectMeta]) -> Self {
        let bytes = objects.iter().map(|object| object.size).sum();
        Self {
            snapshot,
            objects: objects.len() as u64,
            bytes,
        }
    }
}
