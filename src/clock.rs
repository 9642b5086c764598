//! Time, handed in from outside: what the hour is, and how to wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

/// Tells the time and waits. A test takes [`Clock::simulated`], which never waits.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System,
    Simulated(Arc<Mutex<DateTime<Utc>>>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands still until someone waits on it; waiting moves it on and returns at once.
    #[must_use]
    pub fn simulated(start: DateTime<Utc>) -> Self {
        Self(Kind::Simulated(Arc::new(Mutex::new(start))))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask the machine")]
            Kind::System => Utc::now(),
            Kind::Simulated(now) => *now.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The date now, in UTC.
    #[must_use]
    pub fn today(&self) -> NaiveDate {
        self.now().date_naive()
    }

    /// Waits for `duration`, or, on a simulated clock, moves the time on by it.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that may wait")]
            Kind::System => tokio::time::sleep(duration).await,
            Kind::Simulated(now) => {
                if let Ok(step) = chrono::Duration::from_std(duration) {
                    *now.lock().unwrap_or_else(PoisonError::into_inner) += step;
                }
                tokio::task::yield_now().await;
            }
        }
    }
}
