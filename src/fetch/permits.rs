//! Leave to send: requests at once, requests a minute, dollars.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock::Clock;
use crate::error::{Context, Result};
use crate::money::Usd;

/// Gives leave to send at the account's pace: so many at once, so many a minute, evenly.
#[derive(Debug)]
pub struct Pacer {
    at_once: Semaphore,
    a_minute: RateLimiter<NotKeyed, InMemoryState, Minutes, NoOpMiddleware<Nanos>>,
    minutes: Minutes,
    clock: Clock,
}

/// Our clock in the form that `governor` reads.
#[derive(Debug, Clone)]
struct Minutes {
    clock: Clock,
    start: DateTime<Utc>,
}

impl governor::clock::Clock for Minutes {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        // A clock that is set back stands still here.
        let since = (self.clock.now() - self.start).to_std().unwrap_or_default();
        Nanos::new(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Pacer {
    /// A pacer for an account. At the start as many requests may leave together as may be under way at once.
    #[must_use]
    pub fn new(max_in_flight: NonZeroU32, requests_per_minute: NonZeroU32, clock: &Clock) -> Self {
        let minutes = Minutes { clock: clock.clone(), start: clock.now() };
        let quota = Quota::per_minute(requests_per_minute).allow_burst(max_in_flight);
        Self {
            at_once: Semaphore::new(max_in_flight.get() as usize),
            a_minute: RateLimiter::direct_with_clock(quota, minutes.clone()),
            minutes,
            clock: clock.clone(),
        }
    }

    /// Waits until one more request may leave; it counts as under way until the permit is dropped.
    ///
    /// # Errors
    /// None: the semaphore is never closed.
    pub async fn leave(&self) -> Result<SemaphorePermit<'_>> {
        let permit = self.at_once.acquire().await.context(|| "the pacer is closed")?;
        while let Err(not_until) = self.a_minute.check() {
            self.clock.sleep(not_until.wait_time_from(self.minutes.now())).await;
        }
        Ok(permit)
    }
}

/// What a run may spend: the worst case of everything under way is set aside before it is sent.
#[derive(Debug)]
pub struct Purse {
    ceiling: Option<Usd>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    spent: Usd,
    reserved: Usd,
}

impl Purse {
    /// A purse with a ceiling, of which some is spent already.
    #[must_use]
    pub fn new(ceiling: Option<Usd>, spent: Usd) -> Self {
        Self { ceiling, books: Mutex::new(Books { spent, reserved: Usd::ZERO }) }
    }

    /// Sets aside what a request may cost; false if the ceiling does not cover it.
    #[must_use]
    pub fn reserve(&self, worst: Usd) -> bool {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let covered = self.ceiling.is_none_or(|ceiling| books.spent + books.reserved + worst <= ceiling);
        if covered {
            books.reserved += worst;
        }
        covered
    }

    /// Settles what was set aside against what was charged; with nothing known, all of it counts as spent.
    pub fn settle(&self, reserved: Usd, charged: Option<Usd>) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.reserved -= reserved;
        books.spent += charged.unwrap_or(reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purse_never_gives_more_than_its_ceiling() {
        let cents = |cents: i64| Usd::from_micros(cents * 10_000);
        let purse = Purse::new(Some(cents(100)), cents(10));
        assert!(purse.reserve(cents(60)));
        assert!(!purse.reserve(cents(31)));
        purse.settle(cents(60), Some(cents(20)));
        assert!(purse.reserve(cents(70)));
        purse.settle(cents(70), None);
        assert!(!purse.reserve(cents(1)));
        assert!(Purse::new(None, Usd::ZERO).reserve(cents(1_000_000)));
    }

    #[tokio::test]
    async fn the_pacer_spreads_requests_over_the_minute() {
        let start = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let clock = Clock::simulated(start);
        let pacer = Pacer::new(NonZeroU32::new(5).unwrap(), NonZeroU32::new(60).unwrap(), &clock);
        for _ in 0..65 {
            drop(pacer.leave().await.unwrap());
        }
        let took = (clock.now() - start).num_milliseconds();
        assert!((59_900..61_000).contains(&took), "{took} ms for 65 requests at 60 a minute and 5 at once");
    }
}
