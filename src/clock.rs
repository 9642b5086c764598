//! Time as an injected dependency: the current time, durations, and waiting. No other file may ask the machine.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Timelike as _, Utc};
use parking_lot::Mutex;
use strum::IntoStaticStr;
use tokio::time::Instant;

/// A date as people and folders write it: `2026-11-23`, with all its digits.
///
/// # Errors
/// Any other text, with what to write.
pub fn date(text: &str) -> Result<NaiveDate, &'static str> {
    let read: Option<NaiveDate> = text.parse().ok();
    read.filter(|date| date.to_string() == text)
        .ok_or("not a date; write it as 2026-11-23")
}

/// Tells the time and waits. A test uses [`Clock::simulated`] on a runtime whose time is paused: there, a wait takes no
/// real time and ends exactly when it should.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    /// The wall-clock time at `started` of a simulated clock; none for the machine's clock.
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

    /// A clock that shows `start` now and advances with the runtime's time.
    #[must_use]
    pub fn simulated(start: DateTime<Utc>) -> Self {
        Self {
            started: Instant::now(),
            wall: Some(Arc::new(Mutex::new(start))),
        }
    }

    /// Whether time is simulated.
    pub(crate) fn is_simulated(&self) -> bool {
        self.wall.is_some()
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.wall {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the only place that may ask the machine"
            )]
            None => Utc::now(),
            Some(wall) => {
                let start = *wall.lock();
                start + chrono::Duration::from_std(self.running()).unwrap_or_default()
            }
        }
    }

    /// The current date in UTC.
    #[must_use]
    pub fn today(&self) -> NaiveDate {
        self.now().date_naive()
    }

    /// How long this clock has been running. Never decreases, even if someone sets the wall clock.
    #[must_use]
    pub fn running(&self) -> Duration {
        self.started.elapsed()
    }

    /// Moves a simulated wall clock forward or back, as if someone corrected it; has no effect on the machine's clock.
    pub fn set_wall(&self, by: chrono::Duration) {
        if let Some(wall) = &self.wall {
            *wall.lock() += by;
        }
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the only place that may wait"
        )]
        tokio::time::sleep(whole_milliseconds(duration)).await;
    }

    /// Runs `work` for at most `limit`; none if it does not finish in time.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(whole_milliseconds(limit), work)
            .await
            .ok()
    }
}

/// Rounds up to whole milliseconds, the resolution of the runtime's timers. With a fraction, the end of a wait would depend
/// on where within a millisecond it begins, even in simulated time.
fn whole_milliseconds(duration: Duration) -> Duration {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

/// A stage of flattening and publishing whose time the report shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// Audit the staged files.
    Audit,
    /// Commit to the Delta logs.
    #[strum(serialize = "commit to delta")]
    CommitToDelta,
    /// Commit to the Iceberg tables.
    #[strum(serialize = "commit to iceberg")]
    CommitToIceberg,
    /// Compare archived responses with what was received.
    Compare,
    /// Decompress archived responses.
    Decompress,
    /// Encode the breakdowns table as Parquet.
    #[strum(serialize = "encode breakdowns")]
    EncodeBreakdowns,
    /// Encode the pages table as Parquet.
    #[strum(serialize = "encode pages")]
    EncodePages,
    /// Decode responses into rows.
    Flatten,
    /// Read responses from the archive.
    Read,
    /// Sort the rows of pages.
    Sort,
    /// Write the targets and requests tables.
    #[strum(serialize = "targets and requests")]
    TargetsAndRequests,
    /// Unfold the maps of sorted pages.
    Unfold,
}

/// The time spent in each stage, summed over all threads. Cheap to clone; clones share the sums.
#[derive(Debug, Clone, Default)]
pub struct Stopwatch(Arc<Mutex<BTreeMap<Stage, Duration>>>);

impl Stopwatch {
    /// Runs `work` and adds its time to a stage.
    pub fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let start = std::time::Instant::now();
        let done = work();
        self.add(stage, start.elapsed());
        done
    }

    /// Awaits `work` and adds the time until it is ready, waits included, to a stage.
    pub async fn time_async<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        let start = std::time::Instant::now();
        let done = work.await;
        self.add(stage, start.elapsed());
        done
    }

    fn add(&self, stage: Stage, took: Duration) {
        *self.0.lock().entry(stage).or_default() += took;
    }

    /// Seconds per stage so far, with millisecond precision.
    #[must_use]
    pub fn seconds(&self) -> BTreeMap<&'static str, f64> {
        let stages = self.0.lock();
        stages
            .iter()
            .map(|(stage, took)| (stage.into(), took.as_millis() as f64 / 1000.0))
            .collect()
    }
}

/// The time until the clock's next full minute.
pub(super) fn to_next_minute(now: DateTime<Utc>) -> Duration {
    Duration::from_secs(u64::from(60 - now.second().min(59)))
}
