//! One run at a time: the lock on a snapshot.
//!
//! Locks are objects with numbers, each written only if it is not there yet, which every object store and disk can do;
//! the highest number holds. Its owner renews it every few seconds. It is taken over with the next number: at once if it
//! was released or its owner is a process of this machine that is gone, or else when it was not renewed for long and
//! stays so while it is watched. An owner that comes back sees the higher number and stops.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::layout::Layout;
use super::objects::Store;
use crate::clock::Clock;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::stop::{Stop, StopReason};

/// How often a lock is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// After so long without renewal the owner sends nothing more before it has renewed it.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(40);
/// After so long without renewal another may take it over.
const STALE_AFTER: Duration = Duration::from_secs(60);
/// How long it is watched before it is taken over: clocks may differ, a renewal tells. Longer than an owner goes on
/// without one.
const WATCHED_FOR: Duration = Duration::from_secs(60);

/// A process that may hold a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The machine's name.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// When it started, in the system's own terms.
    pub started: Option<String>,
    /// Where its number means this process: the machine's boot and the space of process numbers.
    pub place: Option<String>,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn this_process() -> Self {
        let pid = std::process::id();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let space = std::fs::read_link("/proc/self/ns/pid").ok();
        Self {
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            pid,
            started: start_of(pid),
            place: boot
                .zip(space)
                .map(|(boot, space)| format!("{} {}", boot.trim(), space.display())),
        }
    }

    /// Whether it is known to be gone, as seen from `here`: only a process of the same machine can tell.
    fn is_gone(&self, here: &Self) -> bool {
        self.place.is_some()
            && self.place == here.place
            && self.started.is_some()
            && start_of(self.pid) != self.started
    }
}

/// When a process of this machine started, in ticks since the boot; none if there is none, or no `/proc`.
fn start_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the start is the 20th field after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // A zombie is gone, though it has a number still.
    let state = fields.next()?;
    if state == "Z" {
        None
    } else {
        fields.nth(18).map(str::to_owned)
    }
}

/// A lock as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    owner: Owner,
    taken_at: DateTime<Utc>,
    renewed_at: DateTime<Utc>,
    renewals: u64,
    released: bool,
}

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    store: Store,
    layout: Layout,
    clock: Clock,
    number: u32,
    held: Mutex<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    record: Record,
    /// When the clock had run so long it was renewed last.
    at: Duration,
}

impl Lock {
    /// Takes the lock on a snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] if another run holds it, with what is known of that; a lake that fails.
    pub async fn take(
        store: &Store,
        snapshot: chrono::NaiveDate,
        owner: Owner,
        clock: &Clock,
    ) -> Result<Self> {
        let layout = Layout { snapshot };
        // Each round that fails was lost to someone who has it now.
        for _ in 0..3 {
            let locks = store.list(&layout.locks()).await?;
            let last = locks
                .iter()
                .filter_map(|object| Layout::lock_number(&object.location))
                .max();
            if let Some(number) = last
                && let Some(there) = read(store, layout, number).await?
                && !may_be_taken(store, layout, number, &there, &owner, clock).await?
            {
                return Err(held_by(&there, snapshot, clock.now()));
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
                for object in locks {
                    if let Err(error) = store.delete(&object.location).await {
                        warn!(%error, "an old lock stays; it means nothing");
                    }
                }
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
                };
                // What was listed may have been old.
                lock.renew().await?;
                return Ok(lock);
            }
        }
        Err(Error::new(
            ErrorKind::Locked,
            format!("snapshot {snapshot} is being taken by other runs"),
        ))
    }

    /// Takes the lock, does work while it is renewed, and gives it back.
    ///
    /// # Errors
    /// As [`Lock::take`]; a stop that was asked for while waiting for the lock; and what the work says.
    pub async fn hold<T>(
        store: &Store,
        snapshot: chrono::NaiveDate,
        owner: Owner,
        clock: &Clock,
        stop: &Stop,
        work: impl AsyncFnOnce(Arc<Self>) -> Result<T>,
    ) -> Result<T> {
        let lock = tokio::select! {
            lock = Self::take(store, snapshot, owner, clock) => Arc::new(lock?),
            reason = stop.requested() => return Err(reason.error()),
        };
        let end = tokio::select! {
            end = work(Arc::clone(&lock)) => end,
            // It never ends by itself.
            () = lock.keep(stop) => Err(Error::unexpected("the lock is no longer kept")),
        };
        if let Some(lock) = Arc::into_inner(lock) {
            lock.release().await;
        }
        end
    }

    /// Renews the lock for as long as it is awaited; asks the run to stop if it is lost.
    pub async fn keep(&self, stop: &Stop) {
        loop {
            self.clock.sleep(RENEWED_EVERY).await;
            match self.renew().await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Locked => {
                    stop.request(StopReason::LockLost(error.to_string()));
                }
                Err(error) if self.is_doubtful() => {
                    stop.request(StopReason::LakeFails(error.to_string()));
                }
                Err(error) => {
                    warn!(%error, "failed to renew the lock on the snapshot; trying again")
                }
            }
        }
    }

    /// Returns if the lock is held beyond doubt.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] if another run has taken it over; a lake that fails.
    pub async fn ensure(&self) -> Result<()> {
        if self.is_doubtful() {
            self.renew().await
        } else {
            Ok(())
        }
    }

    /// Renews the lock, unless another run has taken it over.
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
            let (snapshot, now) = (self.layout.snapshot, self.clock.now());
            return Err(match read(&self.store, self.layout, last).await? {
                Some(other) => held_by(&other, snapshot, now),
                None => Error::new(
                    ErrorKind::Locked,
                    format!("another run has taken snapshot {snapshot} over"),
                ),
            });
        }
        let mut held = self.held();
        held.record.renewed_at = self.clock.now();
        held.record.renewals += 1;
        held.at = self.clock.running();
        self.store
            .put(&self.layout.lock(self.number), json(&held.record)?)
            .await?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(())
    }

    /// Gives the lock back. What is not given back is taken over later.
    pub async fn release(self) {
        let record = Record {
            released: true,
            ..self.held().record
        };
        let released = async {
            self.store
                .put(&self.layout.lock(self.number), json(&record)?)
                .await
        };
        if let Err(error) = released.await {
            warn!(%error, "failed to release the lock on the snapshot");
        }
    }

    fn held(&self) -> Held {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether it was not renewed for so long that another may think of taking it over. A process that was stopped
    /// knows by the wall clock only.
    fn is_doubtful(&self) -> bool {
        let held = self.held();
        let by_wall = (self.clock.now() - held.record.renewed_at)
            .to_std()
            .unwrap_or_default();
        (self.clock.running().saturating_sub(held.at)).max(by_wall) > DOUBTFUL_AFTER
    }
}

async fn read(store: &Store, layout: Layout, number: u32) -> Result<Option<Record>> {
    let Some(bytes) = store.get(&layout.lock(number)).await? else {
        return Ok(None);
    };
    let read = serde_json::from_slice(&bytes);
    if let Err(error) = &read {
        warn!(%error, "{} is no lock; it is taken over", layout.lock(number));
    }
    Ok(read.ok())
}

async fn may_be_taken(
    store: &Store,
    layout: Layout,
    number: u32,
    there: &Record,
    here: &Owner,
    clock: &Clock,
) -> Result<bool> {
    let Owner { host, pid, .. } = &there.owner;
    if there.released {
        return Ok(true);
    }
    if there.owner.is_gone(here) {
        info!(
            host,
            pid, "the run that held the snapshot is gone; taking over"
        );
        return Ok(true);
    }
    let age = (clock.now() - there.renewed_at)
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
        "the run that holds the snapshot gives no sign of life; watching it"
    );
    clock.sleep(WATCHED_FOR).await;
    let again = read(store, layout, number).await?;
    Ok(again.is_none_or(|again| again.released || again.renewals == there.renewals))
}

fn held_by(there: &Record, snapshot: chrono::NaiveDate, now: DateTime<Utc>) -> Error {
    let Record {
        owner: Owner { host, pid, .. },
        taken_at,
        renewed_at,
        ..
    } = there;
    let age = (now - *renewed_at).num_seconds().max(0);
    Error::new(
        ErrorKind::Locked,
        format!(
            "another run holds snapshot {snapshot}: process {pid} on {host}, since {}, last sign of life {age} s ago",
            taken_at.format("%Y-%m-%d %H:%M:%S UTC")
        ),
    )
    .with_hint(format!(
        "nothing is lost; let it finish, then run the same command. If it is dead, start again {} s after its last sign of life: that start watches it for another minute and takes over",
        STALE_AFTER.as_secs()
    ))
}

fn json(record: &Record) -> Result<bytes::Bytes> {
    serde_json::to_vec_pretty(record)
        .map(Into::into)
        .context(|| "failed to write a lock")
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn owner(pid: u32) -> Owner {
        Owner {
            host: "pod".to_owned(),
            pid,
            started: None,
            place: None,
        }
    }

    fn lake() -> (Store, Clock, chrono::NaiveDate) {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        (
            Store::over(Arc::new(InMemory::new()), "memory"),
            Clock::simulated(now),
            now.date_naive(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_is_held_until_it_is_released() {
        let (store, clock, date) = lake();
        let lock = Lock::take(&store, date, owner(1), &clock).await.unwrap();
        let error = Lock::take(&store, date, owner(2), &clock)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("process 1 on pod"), "{error}");
        lock.release().await;
        let second = Lock::take(&store, date, owner(2), &clock).await.unwrap();
        second.renew().await.unwrap();
        assert_eq!(
            store
                .list(&Layout { snapshot: date }.locks())
                .await
                .unwrap()
                .len(),
            1
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_owner_s_lock_is_taken_over_and_an_owner_that_comes_back_stops() {
        let (store, clock, date) = lake();
        let dead = Lock::take(&store, date, owner(1), &clock).await.unwrap();
        clock.sleep(Duration::from_secs(59)).await;
        assert!(Lock::take(&store, date, owner(2), &clock).await.is_err());
        clock.sleep(Duration::from_secs(2)).await;
        let (left, right) = tokio::join!(
            Lock::take(&store, date, owner(2), &clock),
            Lock::take(&store, date, owner(3), &clock)
        );
        assert!(left.is_ok() != right.is_ok(), "one of two takes it over");
        let error = dead.ensure().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        let stop = Stop::default();
        assert!(
            clock
                .within(Duration::from_secs(30), dead.keep(&stop))
                .await
                .is_none()
        );
        assert!(matches!(stop.reason(), Some(StopReason::LockLost(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_whose_place_was_left_behind_is_not_held() {
        let (store, clock, date) = lake();
        let old = Lock::take(&store, date, owner(1), &clock).await.unwrap();
        old.release().await;
        let first = Lock::take(&store, date, owner(2), &clock).await.unwrap();
        first.release().await;
        let second = Lock::take(&store, date, owner(3), &clock).await.unwrap();
        assert_eq!(second.number, 2);
        // Someone who listed long ago finds the place of the first free again.
        let late = Lock {
            store: store.clone(),
            layout: Layout { snapshot: date },
            clock: clock.clone(),
            number: 1,
            held: Mutex::new(second.held()),
        };
        assert_eq!(late.renew().await.unwrap_err().kind(), ErrorKind::Locked);
        second.renew().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_that_is_alive_keeps_it_whatever_the_clocks_say() {
        let (store, clock, date) = lake();
        let (theirs, stop) = (clock.clone(), Stop::default());
        let lock = Lock::take(&store, date, owner(1), &theirs).await.unwrap();
        // A clock of its own that is an hour ahead.
        let ahead = Clock::simulated(clock.now() + chrono::Duration::hours(1));
        tokio::select! {
            () = lock.keep(&stop) => {}
            taken = Lock::take(&store, date, owner(2), &ahead) => {
                assert_eq!(taken.unwrap_err().kind(), ErrorKind::Locked);
            }
        }
        assert_eq!(stop.reason(), None);
    }

    #[tokio::test]
    async fn the_lock_of_a_process_of_this_machine_that_is_gone_is_taken_over_at_once() {
        let (store, clock, date) = lake();
        let here = Owner::this_process();
        let gone = Owner {
            started: Some("1".to_owned()),
            ..here.clone()
        };
        let _lock = Lock::take(&store, date, gone, &clock).await.unwrap();
        let taken = Lock::take(&store, date, here.clone(), &clock).await;
        assert_eq!(
            taken.is_ok(),
            here.place.is_some() && here.started.is_some()
        );
    }
}
