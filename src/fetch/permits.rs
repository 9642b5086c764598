//! Leave to send: requests at once, requests a minute, dollars.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
///
/// How many at once adapts. A request that the provider turns away because there are too many (40209) gives up the
/// place it held: turning away is free and quick, so after a burst as many places are left as the provider took. From
/// there it feels its way up again, one place for each round of answers; after a step that was turned away it waits
/// twice as many rounds for the next.
#[derive(Debug)]
pub struct Pacer {
    at_once: Semaphore,
    width: Mutex<Width>,
    a_minute: RateLimiter<NotKeyed, InMemoryState, Minutes, NoOpMiddleware<Nanos>>,
    minutes: Minutes,
    paused_until: Mutex<Duration>,
    clock: Clock,
}

/// How many may be under way at once now.
#[derive(Debug)]
struct Width {
    now: u32,
    most: u32,
    /// Answers since the last change.
    answers: u32,
    /// Rounds of answers before the next step up.
    rounds: u32,
    /// Whether the last change was a step up.
    stepped_up: bool,
}

/// The most rounds of answers between two steps up.
const MAX_ROUNDS: u32 = 16;

/// Our clock in the form that `governor` reads.
#[derive(Debug, Clone)]
struct Minutes(Clock);

impl governor::clock::Clock for Minutes {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(u64::try_from(self.0.running().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Pacer {
    /// A pacer for an account. At the start as many requests may leave together as may be under way at once.
    #[must_use]
    pub fn new(max_in_flight: NonZeroU32, requests_per_minute: NonZeroU32, clock: &Clock) -> Self {
        let minutes = Minutes(clock.clone());
        let quota = Quota::per_minute(requests_per_minute).allow_burst(max_in_flight);
        let most = max_in_flight.get();
        Self {
            at_once: Semaphore::new(most as usize),
            width: Mutex::new(Width {
                now: most,
                most,
                answers: 0,
                rounds: 1,
                stepped_up: false,
            }),
            a_minute: RateLimiter::direct_with_clock(quota, minutes.clone()),
            minutes,
            paused_until: Mutex::default(),
            clock: clock.clone(),
        }
    }

    /// Waits for a place among the requests under way, in the order of asking; it is held until the permit is dropped.
    ///
    /// # Errors
    /// None: the semaphore is never closed.
    pub async fn place(&self) -> Result<SemaphorePermit<'_>> {
        self.at_once
            .acquire()
            .await
            .context(|| "the pacer is closed")
    }

    /// Waits until one more request may leave this minute.
    pub async fn pace(&self) {
        loop {
            let pause = self.paused_until().saturating_sub(self.clock.running());
            if !pause.is_zero() {
                self.clock.sleep(pause).await;
            } else if let Err(not_until) = self.a_minute.check() {
                self.clock
                    .sleep(not_until.wait_time_from(self.minutes.now()))
                    .await;
            } else {
                return;
            }
        }
    }

    fn paused_until(&self) -> Duration {
        *self
            .paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets no request leave for so long.
    pub fn pause(&self, pause: Duration) {
        let mut paused = self
            .paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(self.clock.running() + pause);
    }

    /// How many may be under way at once now.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .now
    }

    /// Requests under way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        u64::from(self.width()).saturating_sub(self.at_once.available_permits() as u64)
    }

    /// A request was turned away because there are too many at once: its place is given up.
    pub fn narrow(&self, permit: SemaphorePermit<'_>) {
        let mut width = self.width.lock().unwrap_or_else(PoisonError::into_inner);
        width.rounds = if width.stepped_up {
            (width.rounds * 2).min(MAX_ROUNDS)
        } else {
            1
        };
        width.stepped_up = false;
        width.answers = 0;
        if width.now > 1 {
            width.now -= 1;
            permit.forget();
        }
    }

    /// A request was answered.
    pub fn answered(&self) {
        let mut width = self.width.lock().unwrap_or_else(PoisonError::into_inner);
        width.answers += 1;
        if width.now < width.most && width.answers >= width.now * width.rounds {
            if width.stepped_up {
                // The step before has held.
                width.rounds = 1;
            }
            width.now += 1;
            width.answers = 0;
            width.stepped_up = true;
            self.at_once.add_permits(1);
        }
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
    /// By how much a request was dearer than what was set aside for it, at the most.
    dearer: Usd,
}

impl Purse {
    /// A purse with a ceiling, of which some is spent already.
    #[must_use]
    pub fn new(ceiling: Option<Usd>, spent: Usd) -> Self {
        Self {
            ceiling,
            books: Mutex::new(Books {
                spent,
                ..Books::default()
            }),
        }
    }

    /// Sets aside what a request may cost, and as much more as others were dearer than that; says how much it is. None
    /// if the ceiling does not cover it.
    #[must_use]
    pub fn reserve(&self, worst: Usd) -> Option<Usd> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let worst = worst + books.dearer;
        let covered = self
            .ceiling
            .is_none_or(|ceiling| books.spent + books.reserved + worst <= ceiling);
        covered.then(|| {
            books.reserved += worst;
            worst
        })
    }

    /// Sets aside more for a request that is about to leave, if others have shown to be dearer meanwhile; says how much
    /// it is in all. None if the ceiling does not cover it.
    #[must_use]
    pub fn raise(&self, reserved: Usd, worst: Usd) -> Option<Usd> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = (worst + books.dearer).max(reserved);
        let all = books.spent + books.reserved - reserved + needed;
        self.ceiling.is_none_or(|ceiling| all <= ceiling).then(|| {
            books.reserved += needed - reserved;
            needed
        })
    }

    /// Settles what was set aside against what was charged; with nothing known, all of it counts as spent.
    pub fn settle(&self, reserved: Usd, charged: Option<Usd>) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.reserved -= reserved;
        let charged = charged.unwrap_or(reserved);
        books.spent += charged;
        if charged > reserved {
            let dearer = books.dearer + (charged - reserved);
            if books.dearer == Usd::ZERO {
                tracing::warn!(%reserved, %charged, "the provider charges more than its prices say; more is set aside from now on");
            }
            books.dearer = dearer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purse_never_gives_more_than_its_ceiling() {
        let cents = |cents: i64| Usd::from_micros(cents * 10_000);
        let purse = Purse::new(Some(cents(100)), cents(10));
        assert_eq!(purse.reserve(cents(60)), Some(cents(60)));
        assert_eq!(purse.reserve(cents(31)), None);
        purse.settle(cents(60), Some(cents(20)));
        assert!(purse.reserve(cents(70)).is_some());
        purse.settle(cents(70), None);
        assert_eq!(purse.reserve(cents(1)), None);
        assert!(
            Purse::new(None, Usd::ZERO)
                .reserve(cents(1_000_000))
                .is_some()
        );
        // What was dearer than expected is expected from then on.
        let purse = Purse::new(Some(cents(100)), Usd::ZERO);
        purse.settle(purse.reserve(cents(10)).unwrap(), Some(cents(15)));
        assert_eq!(purse.reserve(cents(10)), Some(cents(15)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pacer_spreads_requests_over_the_minute() {
        let start = chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let clock = Clock::simulated(start);
        let pacer = Pacer::new(
            NonZeroU32::new(5).unwrap(),
            NonZeroU32::new(60).unwrap(),
            &clock,
        );
        for _ in 0..65 {
            pacer.pace().await;
        }
        let took = (clock.now() - start).num_milliseconds();
        assert!(
            (59_900..61_000).contains(&took),
            "{took} ms for 65 requests at 60 a minute and 5 at once"
        );
        // A wall clock that is corrected by an hour changes nothing.
        clock.set_wall(chrono::Duration::hours(-1));
        let before = clock.running();
        pacer.pace().await;
        assert!((clock.running() - before).as_millis() < 1_100);
        pacer.pause(Duration::from_secs(30));
        pacer.pace().await;
        assert!((clock.running() - before).as_secs() >= 30);
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_were_turned_away_are_given_up_and_won_back_one_by_one() {
        let clock = Clock::simulated(chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap());
        let pacer = Pacer::new(
            NonZeroU32::new(30).unwrap(),
            NonZeroU32::new(10_000).unwrap(),
            &clock,
        );
        for _ in 0..18 {
            pacer.narrow(pacer.place().await.unwrap());
        }
        assert_eq!((pacer.width(), pacer.at_once.available_permits()), (12, 12));
        let answers = |count: u32| (0..count).for_each(|_| pacer.answered());
        answers(12);
        assert_eq!(pacer.width(), 13);
        pacer.narrow(pacer.place().await.unwrap());
        // The next step takes two rounds.
        answers(23);
        assert_eq!(pacer.width(), 12);
        answers(1);
        assert_eq!((pacer.width(), pacer.at_once.available_permits()), (13, 13));
        for _ in 0..40 {
            pacer.narrow(pacer.place().await.unwrap());
        }
        assert_eq!((pacer.width(), pacer.at_once.available_permits()), (1, 1));
    }
}
