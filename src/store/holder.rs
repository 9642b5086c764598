//! Who holds the lock on a snapshot, for someone who only looks: nothing is taken, waited for or changed.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::layout::Layout;
use super::lock::{Record, STALE_AFTER, read};
use super::objects::Store;
use super::owner::Owner;
use crate::error::Result;

/// The process that took the lock on a snapshot last and has not released it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its machine.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// When it took the lock.
    pub taken_at: DateTime<Utc>,
    /// When it renewed the lock last.
    pub renewed_at: DateTime<Utc>,
    /// Whether it is at work.
    pub hold: Hold,
}

/// Whether the process that took a lock is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// It renews the lock.
    Held,
    /// It has ended, or has not renewed the lock for a minute: it was killed, or its machine went down.
    Abandoned,
}

impl Holder {
    /// The holder of the lock on a snapshot, as seen from the process `here`; `None` if the lock is free.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn of(
        store: &Store,
        snapshot: NaiveDate,
        here: &Owner,
        now: DateTime<Utc>,
    ) -> Result<Option<Self>> {
        let Some(record) = current(store, snapshot).await? else {
            return Ok(None);
        };
        let age = (now - record.renewed_at).abs().to_std().unwrap_or_default();
        let hold = if record.owner.has_ended(here) || age > STALE_AFTER {
            Hold::Abandoned
        } else {
            Hold::Held
        };
        Ok(Some(Self {
            host: record.owner.host,
            pid: record.owner.pid,
            taken_at: record.taken_at,
            renewed_at: record.renewed_at,
            hold,
        }))
    }
}

/// Whether the process that took the lock on a snapshot last may still work on it: it has not released the lock and, as seen
/// from the process `here`, has not certainly ended.
pub(super) async fn may_go_on(store: &Store, snapshot: NaiveDate, here: &Owner) -> Result<bool> {
    let record = current(store, snapshot).await?;
    Ok(record.is_some_and(|record| !record.owner.has_ended(here)))
}

/// The lock on a snapshot that was taken last; `None` if it was released.
async fn current(store: &Store, snapshot: NaiveDate) -> Result<Option<Record>> {
    let layout = Layout { snapshot };
    let locks = store.list(&layout.locks()).await?;
    let last = locks
        .iter()
        .filter_map(|object| Layout::lock_number(&object.location))
        .max();
    let Some(number) = last else { return Ok(None) };
    let record = read(store, layout, number).await?;
    Ok(record.filter(|record| !record.released))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::memory::InMemory;

    use super::*;
    use crate::clock::Clock;
    use crate::store::Lock;

    #[tokio::test(start_paused = true)]
    async fn a_lock_is_held_while_it_is_renewed_then_abandoned_and_gone_once_released() {
        let store = Store::over(Arc::new(InMemory::new()), "memory");
        let clock = Clock::simulated(DateTime::from_timestamp(1_790_000_000, 0).unwrap());
        let date = clock.today();
        let here = Owner::this_process();
        let far = Owner {
            host: "pod".to_owned(),
            pid: 7,
            started: None,
            place: None,
        };
        let seen = async || Holder::of(&store, date, &here, clock.now()).await.unwrap();
        assert_eq!(seen().await, None);
        let lock = Lock::take(&store, date, far, &clock).await.unwrap();
        let holder = seen().await.unwrap();
        assert_eq!((holder.pid, holder.hold), (7, Hold::Held));
        clock.sleep(Duration::from_secs(61)).await;
        assert_eq!(seen().await.unwrap().hold, Hold::Abandoned);
        lock.release().await;
        assert_eq!(seen().await, None);
    }

    #[tokio::test]
    async fn the_lock_of_a_process_on_this_machine_that_has_ended_is_abandoned_at_once() {
        let store = Store::over(Arc::new(InMemory::new()), "memory");
        let clock = Clock::simulated(DateTime::from_timestamp(1_790_000_000, 0).unwrap());
        let here = Owner::this_process();
        let ended = Owner {
            started: Some("1".to_owned()),
            ..here.clone()
        };
        let _lock = Lock::take(&store, clock.today(), ended, &clock)
            .await
            .unwrap();
        let holder = Holder::of(&store, clock.today(), &here, clock.now()).await;
        let abandoned = holder.unwrap().unwrap().hold == Hold::Abandoned;
        assert_eq!(abandoned, here.place.is_some() && here.started.is_some());
    }
}
