//! Takes away old snapshots and old archives: first what would go, then the going.
//!
//! Never the newest snapshot or archive, never what is paid for a snapshot or a replacement that is not published yet,
//! never a file that a manifest still names. A snapshot goes by its manifest first, so that its readers never find it in
//! parts; what a pruning that was broken off has left is taken by the next.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, Days, NaiveDate, Utc};
use object_store::path::Path;
use serde::Serialize;

use super::unfinished::{Objects, being_replaced, open_snapshots};
use crate::clock::Clock;
use crate::contract::Table;
use crate::error::Result;
use crate::lake::{remove_from_delta, snapshots};
use crate::ledger::forget_bundles;
use crate::stop::Stop;
use crate::store::{Layout, Lock, Owner, Store};

/// What is to be kept, of snapshots or of archives. A date stays if one of the two says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// So many of the newest.
    pub newest: Option<u32>,
    /// Those of so many days.
    pub days: Option<u32>,
}

impl Keep {
    /// Which of these dates, the oldest first, are not to be kept; never the last.
    fn dropped(self, dates: &BTreeSet<NaiveDate>, today: NaiveDate) -> Vec<NaiveDate> {
        if self == Self::default() {
            return Vec::new();
        }
        let newest = self.newest.unwrap_or(0).max(1) as usize;
        let since = self
            .days
            .and_then(|days| today.checked_sub_days(Days::new(days.into())));
        let old = dates
            .iter()
            .rev()
            .skip(newest)
            .filter(|date| since.is_none_or(|since| **date < since));
        let mut old: Vec<NaiveDate> = old.copied().collect();
        old.reverse();
        old
    }
}

/// What pruning takes away, or would.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Pruning {
    /// Snapshots: their manifests and the files of their tables.
    pub snapshots: Vec<Objects>,
    /// Archives: answers, and the books that a replay needs.
    pub archives: Vec<Objects>,
}

/// Says what would go; takes nothing.
///
/// # Errors
/// A lake that fails.
pub async fn to_prune(
    store: &Store,
    keep_snapshots: Keep,
    keep_archives: Keep,
    today: NaiveDate,
) -> Result<Pruning> {
    let published: BTreeSet<_> = snapshots(store).await?.into_iter().collect();
    let mut pruning = Pruning::default();
    let mut old = keep_snapshots.dropped(&published, today);
    // What an earlier pruning has begun.
    for date in dates_below(store, Layout::runs()).await? {
        let begun = store
            .get(&Layout { snapshot: date }.pruned())
            .await?
            .is_some();
        if begun
            && !published.contains(&date)
            && objects_of_snapshot(store, date).await?.objects > 0
        {
            old.push(date);
        }
    }
    let replaced = being_replaced(store, &published).await?;
    old.retain(|date| !replaced.contains(date));
    for date in old {
        pruning
            .snapshots
            .push(objects_of_snapshot(store, date).await?);
    }
    let open: BTreeSet<_> = open_snapshots(store).await?.into_iter().collect();
    let archived: BTreeSet<_> = dates_below(store, Layout::archives())
        .await?
        .into_iter()
        .filter(|date| !open.contains(date))
        .collect();
    for date in keep_archives.dropped(&archived, today) {
        if replaced.contains(&date) {
            continue;
        }
        let layout = Layout { snapshot: date };
        let folders = [layout.archive(), layout.intents(), layout.attempts()];
        pruning.archives.push(dropped(store, date, &folders).await?);
    }
    Ok(pruning)
}

/// Takes away what [`to_prune`] has named.
///
/// # Errors
/// A date that a run holds; a lake that fails. What was not taken is taken by the next pruning.
pub async fn prune(store: &Store, pruning: &Pruning, owner: &Owner, clock: &Clock) -> Result<()> {
    let stop = Stop::default();
    for &Objects { snapshot, .. } in &pruning.snapshots {
        let work = async |_| drop_snapshot(store, snapshot, clock.now()).await;
        Lock::hold(store, snapshot, owner.clone(), clock, &stop, work).await?;
    }
    for &Objects { snapshot, .. } in &pruning.archives {
        let work = async |_| drop_archive(store, snapshot).await;
        Lock::hold(store, snapshot, owner.clone(), clock, &stop, work).await?;
    }
    Ok(())
}

/// Takes the books first: without them nobody takes what is left for an archive.
async fn drop_archive(store: &Store, snapshot: NaiveDate) -> Result<()> {
    let layout = Layout { snapshot };
    forget_bundles(store, layout).await?;
    for folder in [layout.intents(), layout.attempts(), layout.archive()] {
        store.clear(&folder).await?;
    }
    Ok(())
}

async fn drop_snapshot(store: &Store, snapshot: NaiveDate, now: DateTime<Utc>) -> Result<()> {
    let layout = Layout { snapshot };
    store.put(&layout.pruned(), Bytes::new()).await?;
    remove_from_delta(store, &[snapshot], now).await?;
    store.delete(&layout.manifest()).await?;
    store.delete(&layout.published_summary()).await?;
    for table in Table::ALL {
        store
            .remove_folder(&layout.partition(table), &layout.staging("pruned", table))
            .await?;
    }
    store.clear(&layout.staging_root()).await
}

async fn objects_of_snapshot(store: &Store, snapshot: NaiveDate) -> Result<Objects> {
    let layout = Layout { snapshot };
    dropped(
        store,
        snapshot,
        &Table::ALL.map(|table| layout.partition(table)),
    )
    .await
}

async fn dropped(store: &Store, snapshot: NaiveDate, folders: &[Path]) -> Result<Objects> {
    let mut objects = Vec::new();
    for folder in folders {
        objects.extend(store.list(folder).await?);
    }
    Ok(Objects::of(snapshot, &objects))
}

async fn dates_below(store: &Store, folder: Path) -> Result<Vec<NaiveDate>> {
    let folders = store.folders(&folder).await?;
    Ok(folders
        .iter()
        .filter_map(|folder| folder.filename()?.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_stays_if_one_rule_keeps_it_and_the_newest_always_stays() {
        let dates: BTreeSet<NaiveDate> = (1..=10)
            .map(|day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap())
            .collect();
        let today = NaiveDate::from_ymd_opt(2026, 11, 10).unwrap();
        for (newest, days, kept) in [
            (None, None, 10),
            (Some(3), None, 3),
            (None, Some(4), 5),
            (Some(3), Some(4), 5),
            (Some(7), Some(4), 7),
            (Some(0), None, 1),
            (None, Some(0), 1),
            (Some(99), None, 10),
        ] {
            let dropped = Keep { newest, days }.dropped(&dates, today);
            assert_eq!(dates.len() - dropped.len(), kept, "{newest:?} {days:?}");
            assert!(dropped.iter().all(|date| *date != today) && dropped.is_sorted());
        }
    }
}
