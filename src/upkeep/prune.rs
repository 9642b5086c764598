//! Prunes a lake: deletes old snapshots and old archives.
//!
//! [`to_prune`] plans and changes nothing; [`prune`] deletes. The newest snapshot and the newest archive always stay, as
//! does everything that is paid for a snapshot or replacement that is not published yet. A snapshot's manifest is deleted
//! first, so that readers never see a part of it. If pruning is interrupted, the next pruning finishes it.

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

/// Which snapshots or archives to keep. A date stays if one of the two rules keeps it; without a rule, all stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// How many of the newest to keep.
    pub newest: Option<u32>,
    /// How many days back to keep.
    pub days: Option<u32>,
}

impl Keep {
    /// The dates that are not kept, oldest first; never the newest of `dates`.
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

/// What pruning deletes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Pruning {
    /// Snapshots: their manifests and the files of their tables.
    pub snapshots: Vec<Objects>,
    /// Archives: the responses, and the intents and attempts that a replay needs.
    pub archives: Vec<Objects>,
}

/// Plans what to delete, and changes nothing.
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
    let replaced = being_replaced(store, &published).await?;
    let mut old_snapshots = keep_snapshots.dropped(&published, today);
    old_snapshots.extend(half_pruned(store, &published).await?);
    let open: BTreeSet<_> = open_snapshots(store).await?.into_iter().collect();
    let mut archived = dates_below(store, Layout::archives()).await?;
    archived.retain(|date| !open.contains(date));
    let old_archives = keep_archives.dropped(&archived.into_iter().collect(), today);

    let mut pruning = Pruning::default();
    for date in old_snapshots {
        if !replaced.contains(&date) {
            let objects = objects_of_snapshot(store, date).await?;
            pruning.snapshots.push(objects);
        }
    }
    for date in old_archives {
        if !replaced.contains(&date) {
            let layout = Layout { snapshot: date };
            let folders = [layout.archive(), layout.intents(), layout.attempts()];
            let objects = objects_in(store, date, &folders).await?;
            pruning.archives.push(objects);
        }
    }
    Ok(pruning)
}

/// The snapshots whose pruning was interrupted.
async fn half_pruned(store: &Store, published: &BTreeSet<NaiveDate>) -> Result<Vec<NaiveDate>> {
    let mut found = Vec::new();
    for date in dates_below(store, Layout::runs()).await? {
        let marker = Layout { snapshot: date }.pruned();
        if store.get(&marker).await?.is_some()
            && !published.contains(&date)
            && objects_of_snapshot(store, date).await?.objects > 0
        {
            found.push(date);
        }
    }
    Ok(found)
}

/// Deletes what [`to_prune`] has planned.
///
/// # Errors
/// A date whose lock another process holds; a lake that fails; a requested stop, which takes effect between two
/// deletions. The next pruning deletes what is left.
pub async fn prune(
    store: &Store,
    pruning: &Pruning,
    owner: &Owner,
    clock: &Clock,
    stop: &Stop,
) -> Result<()> {
    for &Objects { snapshot, .. } in &pruning.snapshots {
        stop.check()?;
        let work = async |_| delete_snapshot(store, snapshot, clock.now(), stop).await;
        Lock::hold(store, snapshot, owner.clone(), clock, stop, work).await?;
    }
    for &Objects { snapshot, .. } in &pruning.archives {
        stop.check()?;
        let work = async |_| delete_archive(store, snapshot, stop).await;
        Lock::hold(store, snapshot, owner.clone(), clock, stop, work).await?;
    }
    Ok(())
}

async fn delete_archive(store: &Store, snapshot: NaiveDate, stop: &Stop) -> Result<()> {
    let layout = Layout { snapshot };
    // Indexes, intents and attempts go first: without them, nothing takes the remaining responses for a whole archive.
    forget_bundles(store, layout).await?;
    for folder in [layout.intents(), layout.attempts(), layout.archive()] {
        stop.check()?;
        store.clear(&folder).await?;
    }
    Ok(())
}

async fn delete_snapshot(
    store: &Store,
    snapshot: NaiveDate,
    now: DateTime<Utc>,
    stop: &Stop,
) -> Result<()> {
    let layout = Layout { snapshot };
    // With the marker, the next pruning finds what is left if this one is interrupted.
    store.put(&layout.pruned(), Bytes::new()).await?;
    // Readers of the Delta logs and of the manifests must not see a table without some of its files.
    remove_from_delta(store, &[snapshot], now).await?;
    store.delete(&layout.manifest()).await?;
    for table in Table::ALL {
        stop.check()?;
        store
            .remove_folder(&layout.partition(table), &layout.staging("pruned", table))
            .await?;
    }
    store.clear(&layout.staging_root()).await
}

async fn objects_of_snapshot(store: &Store, snapshot: NaiveDate) -> Result<Objects> {
    let layout = Layout { snapshot };
    let folders = Table::ALL.map(|table| layout.partition(table));
    objects_in(store, snapshot, &folders).await
}

async fn objects_in(store: &Store, snapshot: NaiveDate, folders: &[Path]) -> Result<Objects> {
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
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::error::ErrorKind;
    use crate::stop::StopReason;

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

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_pruning_between_two_dates() {
        let store = Store::over(Arc::new(InMemory::new()), "memory");
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let (clock, owner) = (Clock::simulated(now), Owner::this_process());
        let snapshot = now.date_naive();
        let objects = Objects {
            snapshot,
            objects: 0,
            bytes: 0,
        };
        let archive = Layout { snapshot }.archive().join("00000-1.json.zst");
        store.put(&archive, Bytes::new()).await.unwrap();
        let pruning = Pruning {
            snapshots: Vec::new(),
            archives: vec![objects],
        };
        let stop = Stop::default();
        stop.request(StopReason::Interrupted);
        let error = prune(&store, &pruning, &owner, &clock, &stop)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert!(store.get(&archive).await.unwrap().is_some());
        prune(&store, &pruning, &owner, &clock, &Stop::default())
            .await
            .unwrap();
        assert!(store.get(&archive).await.unwrap().is_none());
    }
}
