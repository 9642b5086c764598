//! The lock on a snapshot, so that only one process works on it at a time.
//!
//! A lock is an object with a number, created only if it does not exist yet; every object store and disk can do that.
//! The highest number holds the lock. Its owner renews it every ten seconds. Another process takes it over by creating
//! the next number: at once if the lock was released, or if its owner was a process on this machine that has ended;
//! otherwise only if the lock was not renewed for a minute and stays so for another minute. An owner that resumes
//! after that finds the higher number and stops.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use object_store::path::Path;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::layout::Layout;
use super::objects::Store;
use super::owner::Owner;
use crate::clock::Clock;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::stop::{Stop, StopReason};

/// How often a lock is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// After this time without a renewal, the owner sends nothing until it has renewed the lock.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(40);
/// After this time without a renewal, another process may take the lock over.
pub(super) const STALE_AFTER: Duration = Duration::from_secs(60);
/// How long a stale lock is watched before it is taken over. Clocks may differ, so only a renewal proves that the owner
/// is alive. Longer than an owner continues without one.
const WATCHED_FOR: Duration = Duration::from_secs(60);

/// A lock as its object stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) owner: Owner,
    pub(super) taken_at: DateTime<Utc>,
    pub(super) renewed_at: DateTime<Utc>,
    renewals: u64,
    pub(super) released: bool,
}

/// A lock that this process holds.
#[derive(Debug)]
pub struct Lock {
    store: Store,
    layout: Layout,
    clock: Clock,
    number: u32,
    held: Mutex<Held>,
    /// Markers that are deleted once the lock is released.
    pub(super) markers: Mutex<Vec<Path>>,
}

#[derive(Debug, Clone)]
struct Held {
    record: Record,
    /// How long the clock had been running at the last renewal.
    at: Duration,
}

impl Lock {
    /// Takes the lock on a snapshot. Waits up to a minute if the current owner seems dead.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] if another process holds the lock, with its host, process and age; a lake that fails.
    pub async fn take(
        store: &Store,
        snapshot: chrono::NaiveDate,
        owner: Owner,
        clock: &Clock,
    ) -> Result<Self> {
        let layout = Layout { snapshot };
        // A round only fails if another process took the lock in the same moment.
        for _ in 0..3 {
            let locks = store.list(&layout.locks()).await?;
            let last = locks
                .iter()
                .filter_map(|object| Layout::lock_number(&object.location))
                .max();
            if let Some(number) = last
                && let Some(existing) = read(store, layout, number).await?
                && !may_be_taken(store, layout, number, &existing, &owner, clock).await?
            {
                return Err(held_by(&existing, snapshot, clock.now()));
            }
            let number = last.map_or(0, |last| last + 1);
            let now = clock.now();
            let record = Record {
                owner: owner.clone(),
                taken_at: now,
                renewed_at: now,
                renewals: 0,
                released: false,
            };
            if store.put_new(&layout.lock(number), json(&record)?).await? {
                let held = Mutex::new(Held {
                    record,
                    at: clock.running(),
                });
                let lock = Self {
                    store: store.clone(),
                    layout,
                    clock: clock.clone(),
                    number,
                    held,
                    markers: Mutex::default(),
                };
                // The listing may be outdated: renewing checks that no higher number exists.
                lock.renew().await?;
                for object in locks {
                    if let Err(error) = lock.delete(&object.location).await {
                        warn!(%error, "failed to delete an expired lock (harmless)");
                    }
                }
                return Ok(lock);
            }
        }
        Err(Error::new(
            ErrorKind::Locked,
            format!("other processes are taking the lock on snapshot {snapshot}"),
        ))
    }

    /// Takes the lock, does work while renewing the lock, and releases it.
    ///
    /// # Errors
    /// The errors of [`Lock::take`] and of the work; the stop's error if a stop is requested before the lock is taken.
    pub async fn hold<T>(
        store: &Store,
        snapshot: chrono::NaiveDate,
        owner: Owner,
        clock: &Clock,
        stop: &Stop,
        work: impl AsyncFnOnce(Arc<Self>) -> Result<T>,
    ) -> Result<T> {
        let lock = tokio::select! {
            biased;
            lock = Self::take(store, snapshot, owner, clock) => Arc::new(lock?),
            reason = stop.requested() => return Err(reason.error()),
        };
        if let Err(error) = lock.clear_leftovers(clock.now()).await {
            warn!(%error, "failed to delete what an interrupted process has left (harmless)");
        }
        let ended = Notify::new();
        let working = async {
            let end = work(Arc::clone(&lock)).await;
            ended.notify_one();
            end
        };
        let (end, ()) = tokio::join!(working, lock.keep_until(ended.notified(), stop));
        if let Some(lock) = Arc::into_inner(lock) {
            lock.release().await;
        }
        end
    }

    /// Renews the lock until the work has ended. Requests a stop if the lock is lost or cannot be renewed for long.
    ///
    /// A renewal is never cancelled: on a disk the write would continue and overwrite the release.
    pub async fn keep_until(&self, ended: impl Future<Output = ()>, stop: &Stop) {
        let mut ended = pin!(ended);
        loop {
            tokio::select! {
                biased;
                () = &mut ended => return,
                () = self.clock.sleep(RENEWED_EVERY) => {}
            }
            match self.renew().await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Locked => {
                    stop.request(StopReason::LockLost(error.to_string()));
                }
                Err(error) if self.is_doubtful() => {
                    stop.request(StopReason::LakeFails(error.to_string()));
                }
                Err(error) => {
                    warn!(%error, "failed to renew the lock on the snapshot; retrying")
                }
            }
        }
    }

    /// Makes sure that this process still holds the lock.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] if another process has taken the lock over; a lake that fails.
    pub async fn ensure(&self) -> Result<()> {
        if self.is_doubtful() {
            self.renew().await
        } else {
            Ok(())
        }
    }

    /// Renews the lock, unless another process has taken it over.
    ///
    /// # Errors
    /// As [`Lock::ensure`].
    pub async fn renew(&self) -> Result<()> {
        let locks = self.store.list(&self.layout.locks()).await?;
        let last = locks
            .iter()
            .filter_map(|object| Layout::lock_number(&object.location))
            .max();
        if let Some(last) = last.filter(|last| *last > self.number) {
            let other = read(&self.store, self.layout, last).await?;
            return Err(self.lost(other.as_ref()));
        }
        let mut held = self.held();
        held.record.renewed_at = self.clock.now();
        held.record.renewals += 1;
        held.at = self.clock.running();
        self.write(&held.record).await?;
        *self.held.lock() = held;
        Ok(())
    }

    /// Overwrites the lock's object if it is still that of this process, and only then.
    async fn write(&self, record: &Record) -> Result<()> {
        let path = self.layout.lock(self.number);
        // A round only fails if another renewal of this process came in between.
        for _ in 0..3 {
            let Some((bytes, version)) = self.store.get_version(&path).await? else {
                return Err(self.lost(None));
            };
            let found: Option<Record> = serde_json::from_slice(&bytes).ok();
            let is_ours =
                |found: &Record| (&found.owner, found.taken_at) == (&record.owner, record.taken_at);
            if !found.as_ref().is_some_and(is_ours) {
                return Err(self.lost(found.as_ref()));
            }
            if self.store.replace(&path, json(record)?, version).await? {
                return Ok(());
            }
        }
        Err(self.lost(None))
    }

    /// The error of a lock that another process has taken over.
    fn lost(&self, by: Option<&Record>) -> Error {
        let snapshot = self.layout.snapshot;
        match by {
            Some(other) => held_by(other, snapshot, self.clock.now()),
            None => Error::new(
                ErrorKind::Locked,
                format!("another process has taken over the lock on snapshot {snapshot}"),
            ),
        }
    }

    /// Releases the lock. If that fails, the lock expires and can be taken over later.
    pub async fn release(self) {
        let record = Record {
            released: true,
            ..self.held().record
        };
        match self.write(&record).await {
            Ok(()) => self.delete_markers().await,
            Err(error) => warn!(%error, "failed to release the lock on the snapshot"),
        }
    }

    /// The date that is locked.
    pub(super) fn snapshot(&self) -> chrono::NaiveDate {
        self.layout.snapshot
    }

    /// This process.
    pub(super) fn owner(&self) -> Owner {
        self.held().record.owner
    }

    /// The lake that the lock is in.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    fn held(&self) -> Held {
        self.held.lock().clone()
    }

    /// Whether the lock was not renewed for so long that another process may be about to take it over. After the process
    /// was suspended, only the wall clock shows that.
    pub(crate) fn is_doubtful(&self) -> bool {
        let held = self.held();
        let by_wall = (self.clock.now() - held.record.renewed_at)
            .to_std()
            .unwrap_or_default();
        (self.clock.running().saturating_sub(held.at)).max(by_wall) > DOUBTFUL_AFTER
    }
}

pub(super) async fn read(store: &Store, layout: Layout, number: u32) -> Result<Option<Record>> {
    let Some(bytes) = store.get(&layout.lock(number)).await? else {
        return Ok(None);
    };
    let read = serde_json::from_slice(&bytes);
    if let Err(error) = &read {
        warn!(%error, "{} is not a valid lock; taking it over", layout.lock(number));
    }
    Ok(read.ok())
}

async fn may_be_taken(
    store: &Store,
    layout: Layout,
    number: u32,
    existing: &Record,
    here: &Owner,
    clock: &Clock,
) -> Result<bool> {
    let Owner { host, pid, .. } = &existing.owner;
    if existing.released {
        return Ok(true);
    }
    if existing.owner.has_ended(here) {
        info!(
            host,
            pid, "the process that held the lock has ended; taking the lock over"
        );
        return Ok(true);
    }
    let age = (clock.now() - existing.renewed_at)
        .abs()
        .to_std()
        .unwrap_or(Duration::MAX);
    if age <= STALE_AFTER {
        return Ok(false);
    }
    warn!(
        host,
        pid,
        age_seconds = age.as_secs(),
        "the process that holds the lock does not renew it; watching the lock for a minute"
    );
    clock.sleep(WATCHED_FOR).await;
    let again = read(store, layout, number).await?;
    Ok(again.is_none_or(|again| again.released || again.renewals == existing.renewals))
}

fn held_by(existing: &Record, snapshot: chrono::NaiveDate, now: DateTime<Utc>) -> Error {
    let Record {
        owner: Owner { host, pid, .. },
        taken_at,
        renewed_at,
        ..
    } = existing;
    let age = (now - *renewed_at).num_seconds().max(0);
    Error::new(
        ErrorKind::Locked,
        format!(
            "another process holds the lock on snapshot {snapshot}: process {pid} on {host}, since {}, last renewed {age} s ago",
            taken_at.format("%Y-%m-%d %H:%M:%S UTC")
        ),
    )
    .with_hint(format!(
        "nothing is lost; wait until that run finishes, then run the same command. If its process is dead, run the same command {} s after the last renewal: it watches the lock for another minute, then takes over",
        STALE_AFTER.as_secs()
    ))
}

fn json(record: &Record) -> Result<bytes::Bytes> {
    serde_json::to_vec_pretty(record)
        .map(Into::into)
        .context(|| "failed to write a lock")
}

#[cfg(test)]
mod tests;
