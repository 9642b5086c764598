//! Finds unfinished work: snapshots that are not published yet, and replacements that are not published yet.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate};
use object_store::ObjectMeta;
use serde::Serialize;

use crate::error::Result;
use crate::lake::{Manifest, snapshots};
use crate::ledger::Ledger;
use crate::store::{Layout, Store};

/// The dates of snapshots that were started and never published, oldest first.
///
/// # Errors
/// A lake that fails.
pub async fn open_snapshots(store: &Store) -> Result<Vec<NaiveDate>> {
    let published = snapshots(store).await?;
    let mut open = Vec::new();
    for snapshot in store.dates_below(&Layout::runs()).await? {
        if !published.contains(&snapshot) && is_open(store, snapshot).await? {
            open.push(snapshot);
        }
    }
    Ok(open)
}

/// Whether a snapshot that is not published was started, and not deleted since then.
pub(super) async fn is_open(store: &Store, snapshot: NaiveDate) -> Result<bool> {
    Ok(store.get(&Layout { snapshot }.pruned()).await?.is_none())
}

/// The date `days` days before `today`, or the earliest date if that is before all dates.
pub(super) fn days_before(today: NaiveDate, days: u32) -> NaiveDate {
    today
        .checked_sub_days(Days::new(days.into()))
        .unwrap_or(NaiveDate::MIN)
}

/// The published dates whose replacement was started and is not published yet: it needs what it has paid for.
pub(crate) async fn being_replaced(
    store: &Store,
    published: &BTreeSet<NaiveDate>,
) -> Result<BTreeSet<NaiveDate>> {
    let mut found = BTreeSet::new();
    for &date in published {
        // `verify` reports a manifest that cannot be read. Until it is fixed, everything of its date stays.
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

/// How many objects a date has, and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Objects {
    /// The date.
    pub snapshot: NaiveDate,
    /// The number of objects.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Objects {
    /// Counts the listed objects of a date.
    pub(crate) fn of(snapshot: NaiveDate, objects: &[ObjectMeta]) -> Self {
        let bytes = objects.iter().map(|object| object.size).sum();
        Self {
            snapshot,
            objects: objects.len() as u64,
            bytes,
        }
    }
}
