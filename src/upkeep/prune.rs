//! Prunes a lake: deletes old snapshots and old archives.
//!
//! [`to_prune`] plans and changes nothing; [`prune`] deletes. The newest snapshot and the newest archive that can be
//! replayed always stay, as does everything that is paid for a snapshot or replacement that is not published yet. A
//! snapshot's manifest is deleted first, so that readers never see a part of it. If pruning is interrupted, the next
//! pruning finishes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use object_store::ObjectMeta;
use serde::Serialize;

use super::unfinished::{Objects, being_replaced, days_before, is_open, open_snapshots};
use crate::clock::Clock;
use crate::contract::Table;
use crate::error::Result;
use crate::lake::{ensure_readable, remove_from_tables, snapshots};
use crate::ledger::{Ledger, forget_bundles, refused_until};
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
        let newest = self.newest.unwrap_or(0).max(1) as usize;
        let old = dates.iter().rev().skip(newest).copied();
        let mut old: Vec<NaiveDate> = old.filter(|date| self.is_old(*date, today)).collect();
        old.reverse();
        old
    }

    /// Whether a date that is not among the newest is too old to keep.
    fn is_old(self, date: NaiveDate, today: NaiveDate) -> bool {
        let since = self.days.map(|days| days_before(today, days));
        self != Self::default() && since.is_none_or(|since| date < since)
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
    let mut archived = store.dates_below(&Layout::archives()).await?;
    archived.retain(|date| !open.contains(date));
    let archived: BTreeSet<_> = archived.into_iter().collect();
    // Nothing can be replayed from these, so they do not take the place of an archive that can be.
    let abandoned = match keep_archives == Keep::default() {
        true => BTreeSet::new(),
        false => abandoned(store, archived.difference(&published)).await?,
    };
    let mut old_archives = keep_archives.dropped(&(&archived - &abandoned), today);
    let abandoned = abandoned.into_iter();
    old_archives.extend(abandoned.filter(|date| keep_archives.is_old(*date, today)));
    old_archives.sort_unstable();
    for date in dates_with_records(store, &published).await? {
        let wanted = keep_archives != Keep::default() || !published.contains(&date);
        let pruned = !archived.contains(&date) && !open.contains(&date);
        let layout = Layout { snapshot: date };
        if wanted && pruned && !of_archive(store, layout, today).await?.is_empty() {
            // Its pruning was interrupted, or its list of refused targets has outlived its archive.
            old_archives.push(date);
        }
    }

    let mut pruning = Pruning::default();
    for date in old_snapshots {
        if !replaced.contains(&date) {
            let objects = objects_of_snapshot(store, date).await?;
            pruning.snapshots.push(objects);
        }
    }
    for date in old_archives {
        if !replaced.contains(&date) {
            let objects = of_archive(store, Layout { snapshot: date }, today).await?;
            pruning.archives.push(Objects::of(date, &objects));
        }
    }
    Ok(pruning)
}

/// Those of these dates whose every run is abandoned.
async fn abandoned(
    store: &Store,
    dates: impl Iterator<Item = &NaiveDate>,
) -> Result<BTreeSet<NaiveDate>> {
    let mut abandoned = BTreeSet::new();
    for &date in dates {
        if Ledger::new(store.clone(), date).is_abandoned().await? {
            abandoned.insert(date);
        }
    }
    Ok(abandoned)
}

/// The snapshots whose pruning was interrupted.
async fn half_pruned(store: &Store, published: &BTreeSet<NaiveDate>) -> Result<Vec<NaiveDate>> {
    // Most dates that were ever pruned have no folders, so only those that have one are looked at. On a disk, pruning
    // moves the files to the staging folder, and deletes them and that folder last.
    let mut with_files: BTreeSet<_> = store
        .dates_below(&Layout::all_staged())
        .await?
        .into_iter()
        .collect();
    for table in Table::ALL {
        let partitions = store.folders(&Layout::table(table)).await?;
        with_files.extend(partitions.iter().filter_map(Layout::date_of_partition));
    }
    let mut found = Vec::new();
    for &date in with_files.difference(published) {
        let marker = Layout { snapshot: date }.pruned();
        if store.get(&marker).await?.is_some() {
            found.push(date);
        }
    }
    Ok(found)
}

/// The dates of which more is left than every pruning leaves, by one listing for all dates. The records of the runs of a
/// published snapshot stay with it.
async fn dates_with_records(
    store: &Store,
    published: &BTreeSet<NaiveDate>,
) -> Result<BTreeSet<NaiveDate>> {
    let objects = store.list(&Layout::runs()).await?;
    let paths = objects.iter().map(|object| &object.location);
    let dates = paths.filter_map(|path| {
        let date = Layout::date_of_record(path)?;
        let stays = published.contains(&date) && Layout::generation_of(path).is_some();
        (!stays).then_some(date)
    });
    Ok(dates.collect())
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
    if !pruning.snapshots.is_empty() {
        // A table that cannot be read must stop this before the first one is changed.
        ensure_readable(store).await?;
    }
    for &Objects { snapshot, .. } in &pruning.snapshots {
        stop.check()?;
        let work = async |lock: Arc<Lock>| {
            let date = Date::new(store, snapshot, &lock, clock.today(), stop);
            // A run or a replacement may have been started since the plan was made.
            if !date.is_being_filled().await? {
                date.delete_snapshot(clock.now()).await?;
            }
            Ok(())
        };
        Lock::hold(store, snapshot, owner.clone(), clock, stop, work).await?;
    }
    for &Objects { snapshot, .. } in &pruning.archives {
        stop.check()?;
        let work = async |lock: Arc<Lock>| {
            let date = Date::new(store, snapshot, &lock, clock.today(), stop);
            if !date.is_being_filled().await? {
                date.delete_archive().await?;
            }
            Ok(())
        };
        Lock::hold(store, snapshot, owner.clone(), clock, stop, work).await?;
    }
    Ok(())
}

/// A date whose lock is held.
pub(super) struct Date<'a> {
    store: &'a Store,
    layout: Layout,
    lock: &'a Lock,
    today: NaiveDate,
    stop: &'a Stop,
}

impl<'a> Date<'a> {
    pub(super) fn new(
        store: &'a Store,
        snapshot: NaiveDate,
        lock: &'a Lock,
        today: NaiveDate,
        stop: &'a Stop,
    ) -> Self {
        let layout = Layout { snapshot };
        Self {
            store,
            layout,
            lock,
            today,
            stop,
        }
    }

    /// Whether a run or a replacement of the date is unfinished: it needs everything of the date.
    async fn is_being_filled(&self) -> Result<bool> {
        let date = self.layout.snapshot;
        if snapshots(self.store).await?.contains(&date) {
            let replaced = being_replaced(self.store, &[date].into()).await?;
            return Ok(!replaced.is_empty());
        }
        is_open(self.store, date).await
    }

    async fn delete_archive(&self) -> Result<()> {
        let Self {
            store,
            layout,
            lock,
            ..
        } = *self;
        if !snapshots(store).await?.contains(&layout.snapshot) {
            self.delete_records().await?;
        }
        // Indexes, intents and attempts go first: without them, nothing takes the remaining responses for a whole archive.
        forget_bundles(self.store, layout, lock).await?;
        for folder in [layout.intents(), layout.attempts(), layout.archive()] {
            self.stop.check()?;
            lock.clear(&folder).await?;
        }
        self.forget_runs().await
    }

    async fn delete_snapshot(&self, now: DateTime<Utc>) -> Result<()> {
        let Self {
            store,
            layout,
            lock,
            ..
        } = *self;
        self.delete_from_tables(now).await?;
        if store.list(&layout.archive()).await?.is_empty() {
            self.delete_records().await?;
        }
        // Without their snapshot they are of no use; with it, they can be made again.
        for derived in [layout.alerts(), layout.report()] {
            lock.delete(&derived).await?;
        }
        lock.delete(&layout.manifest()).await?;
        self.delete_partitions().await?;
        self.forget_runs().await
    }

    /// Marks the date as deleted and removes it from the tables of all formats. The caller has checked that they are
    /// readable. `abandon` does this, too.
    pub(super) async fn delete_from_tables(&self, now: DateTime<Utc>) -> Result<()> {
        let Self {
            store,
            layout,
            lock,
            ..
        } = *self;
        // With the marker, the next pruning finds what is left if this one is interrupted.
        lock.ensure().await?;
        store.put(&layout.pruned(), Bytes::new()).await?;
        // Readers of Delta and Iceberg tables and of the manifests must not see a table without some of its files.
        remove_from_tables(store, lock, &[layout.snapshot], now).await
    }

    /// Deletes the files of the tables, and what is staged for them.
    pub(super) async fn delete_partitions(&self) -> Result<()> {
        let Self { layout, lock, .. } = *self;
        for table in Table::ALL {
            self.stop.check()?;
            lock.remove_folder(&layout.partition(table), &layout.staging("pruned", table))
                .await?;
        }
        lock.clear(&layout.staging_root()).await
    }

    /// Deletes the records of the runs of a date that nothing is left of. This comes before anything else, so that no
    /// later run of the date takes up the name of one: the provider knows requests by it.
    async fn delete_records(&self) -> Result<()> {
        let objects = self.store.list_here(&self.layout.run_root()).await?;
        for path in objects.into_iter().map(|object| object.location) {
            if Layout::generation_of(&path).is_some() {
                self.lock.delete(&path).await?;
            }
        }
        Ok(())
    }

    /// Deletes what only a replay needs, once there is no archive to replay. The records of the runs stay as long as
    /// their snapshot is published; after that, a new run of the date gets a name of its own.
    async fn forget_runs(&self) -> Result<()> {
        let Self {
            store,
            layout,
            lock,
            ..
        } = *self;
        if !store.list(&layout.archive()).await?.is_empty() {
            return Ok(());
        }
        for object in beside_archive(store, layout, self.today).await? {
            lock.delete(&object.location).await?;
        }
        Ok(())
    }
}

/// The archive of a date, and what becomes useless with it.
async fn of_archive(store: &Store, layout: Layout, today: NaiveDate) -> Result<Vec<ObjectMeta>> {
    let mut objects = beside_archive(store, layout, today).await?;
    for folder in [layout.archive(), layout.intents(), layout.attempts()] {
        objects.extend(store.list(&folder).await?);
    }
    Ok(objects)
}

/// What becomes useless with the archive of a date: target lists and fates; the records of the runs, unless their snapshot
/// is published; and the list of refused targets, once it holds no target back any more.
async fn beside_archive(
    store: &Store,
    layout: Layout,
    today: NaiveDate,
) -> Result<Vec<ObjectMeta>> {
    let published = snapshots(store).await?.contains(&layout.snapshot);
    let mut found = store.list_here(&layout.run_root()).await?;
    found.retain(|object| {
        let path = &object.location;
        Layout::is_of_run(path) && !(published && Layout::generation_of(path).is_some())
    });
    let refused = refused_until(store, layout.snapshot).await?;
    if refused.is_some_and(|until| until < today) {
        let lists = store.list_here(&Layout::all_refused()).await?;
        found.extend(
            lists
                .into_iter()
                .filter(|list| list.location == layout.refused()),
        );
    }
    Ok(found)
}

async fn objects_of_snapshot(store: &Store, snapshot: NaiveDate) -> Result<Objects> {
    let layout = Layout { snapshot };
    let mut objects = Vec::new();
    for table in Table::ALL {
        objects.extend(store.list(&layout.partition(table)).await?);
    }
    Ok(Objects::of(snapshot, &objects))
}

#[cfg(test)]
mod tests {
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
            // Longer ago than there are dates.
            (None, Some(97_000_000), 10),
            (None, Some(u32::MAX), 10),
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
        // The snapshot was pruned before, and its archive is left.
        let layout = Layout { snapshot };
        store.put(&layout.pruned(), Bytes::new()).await.unwrap();
        let archive = layout.archive().join("00000-1.json.zst");
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
