//! Time, handed in from outside: what the hour is, how long something takes, and how to wait.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Timelike as _, Utc};
use tokio::time::Instant;

/// Tells the time and waits. A test takes [`Clock::simulated`] on a runtime whose time is paused: there, waiting
/// costs nothing and every wait ends exactly when it should.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    /// What the clock on a simulated wall showed at `started`; none for the machine's.
    wall: Option<Arc<Mutex<DateTime<Utc>>>>,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self {
            started: Instant::now(),
            wall: None,
        }
    }

    /// A clock that shows `start` now and goes on with the runtime's time.
    #[must_use]
    pub fn simulated(start: DateTime<Utc>) -> Self {
        Self {
            started: Instant::now(),
            wall: Some(Arc::new(Mutex::new(start))),
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.wall {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the one place that may ask the machine"
            )]
            None => Utc::now(),
            Some(wall) => {
                let start = *wall.lock().unwrap_or_else(PoisonError::into_inner);
                start + chrono::Duration::from_std(self.running()).unwrap_or_default()
            }
        }
    }

    /// The date now, in UTC.
    #[must_use]
    pub fn today(&self) -> NaiveDate {
        self.now().date_naive()
    }

    /// How long this clock has been running: never goes back, whatever becomes of the wall's.
    #[must_use]
    pub fn running(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sets a simulated wall clock forward or back, as someone who corrects it; nothing on the machine's.
    pub fn set_wall(&self, by: chrono::Duration) {
        if let Some(wall) = &self.wall {
            *wall.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that may wait"
        )]
        tokio::time::sleep(duration).await;
    }

    /// What `work` comes to, if it does within `limit`.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(limit, work).await.ok()
    }
}

/// How long the stages of a work take, summed over the threads that do it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stopwatch(Arc<Mutex<BTreeMap<&'static str, Duration>>>);

impl Stopwatch {
    /// Does a piece of work of this stage.
    pub fn time<T>(&self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let start = std::time::Instant::now();
        let done = work();
        self.add(stage, start.elapsed());
        done
    }

    /// Adds what a piece of work of this stage took.
    pub fn add(&self, stage: &'static str, took: Duration) {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(stage)
            .or_default() += took;
    }

    /// Seconds of each stage so far, to the millisecond.
    #[must_use]
    pub fn seconds(&self) -> BTreeMap<&'static str, f64> {
        let stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages
            .iter()
            .map(|(stage, took)| (*stage, took.as_millis() as f64 / 1000.0))
            .collect()
    }
}

/// How long it is to the next minute of the clock.
pub(super) fn to_next_minute(now: DateTime<Utc>) -> Duration {
    Duration::from_secs(u64::from(60 - now.second().min(59)))
}
