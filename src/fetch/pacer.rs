//! Permission to send: limits the requests in flight and the requests per minute.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock::Clock;
use crate::error::{Context, Result};

/// Limits the requests in flight and the requests per minute, spread evenly.
///
/// The number of permits for requests in flight, the width, adapts to the account. A request that
/// the provider turns away because there are too many (40209) gives up its permit. This is free and
/// fast, so after a burst as many permits are left as the provider accepts. Then the width grows by
/// one permit per round of responses. If the provider turns away that step, the next step takes
/// twice as many rounds.
#[derive(Debug)]
pub struct Pacer {
    in_flight: Semaphore,
    width: Mutex<Width>,
    per_minute: RateLimiter<NotKeyed, InMemoryState, GovernorClock, NoOpMiddleware<Nanos>>,
    governor_clock: GovernorClock,
    paused_until: Mutex<Duration>,
    clock: Clock,
}

/// The number of permits for requests in flight.
#[derive(Debug)]
struct Width {
    now: u32,
    max: u32,
    /// Successful responses since the last change.
    successes: u32,
    /// Rounds of responses before the next step up. A round has as many responses as there are
    /// permits.
    rounds: u32,
    /// Whether the last change was a step up.
    stepped_up: bool,
}

/// The most rounds of responses between two steps up.
const MAX_ROUNDS: u32 = 16;

/// Our clock, as `governor` reads it.
#[derive(Debug, Clone)]
struct GovernorClock(Clock);

impl governor::clock::Clock for GovernorClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(u64::try_from(self.0.running().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Pacer {
    /// A pacer for an account. The first `max_in_flight` requests may be sent at the same time.
    #[must_use]
    pub fn new(max_in_flight: NonZeroU32, requests_per_minute: NonZeroU32, clock: &Clock) -> Self {
        let governor_clock = GovernorClock(clock.clone());
        let quota = Quota::per_minute(requests_per_minute).allow_burst(max_in_flight);
        let max = max_in_flight.get();
        Self {
            in_flight: Semaphore::new(max as usize),
            width: Mutex::new(Width {
                now: max,
                max,
                successes: 0,
                rounds: 1,
                stepped_up: false,
            }),
            per_minute: RateLimiter::direct_with_clock(quota, governor_clock.clone()),
            governor_clock,
            paused_until: Mutex::default(),
            clock: clock.clone(),
        }
    }

    /// Waits for a permit for a request in flight. Permits are given in the order of the calls.
    ///
    /// # Errors
    /// None: the semaphore is never closed.
    pub async fn permit(&self) -> Result<SemaphorePermit<'_>> {
        self.in_flight
            .acquire()
            .await
            .context(|| "the pacer is closed")
    }

    /// Waits until one more request may be sent in this minute.
    pub async fn turn(&self) {
        loop {
            let pause = self.paused_until().saturating_sub(self.clock.running());
            if !pause.is_zero() {
                self.clock.sleep(pause).await;
            } else if let Err(not_until) = self.per_minute.check() {
                self.clock
                    .sleep(not_until.wait_time_from(self.governor_clock.now()))
                    .await;
            } else {
                return;
            }
        }
    }

    fn paused_until(&self) -> Duration {
        *self.paused_until.lock()
    }

    /// Holds back all requests for this long.
    pub fn pause(&self, pause: Duration) {
        let mut paused = self.paused_until.lock();
        *paused = (*paused).max(self.clock.running() + pause);
    }

    /// How many requests may be in flight at the same time now.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width.lock().now
    }

    /// The number of requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        u64::from(self.width()).saturating_sub(self.in_flight.available_permits() as u64)
    }

    /// Gives up the permit of a request that was turned away because there are too many in flight.
    pub fn narrow(&self, permit: SemaphorePermit<'_>) {
        let mut width = self.width.lock();
        width.rounds = if width.stepped_up {
            (width.rounds * 2).min(MAX_ROUNDS)
        } else {
            1
        };
        width.stepped_up = false;
        width.successes = 0;
        if width.now > 1 {
            width.now -= 1;
            permit.forget();
        }
    }

    /// Counts a successful response, which may raise the width.
    pub fn succeeded(&self) {
        let mut width = self.width.lock();
        width.successes += 1;
        if width.now < width.max && width.successes >= width.now * width.rounds {
            if width.stepped_up {
                // The provider accepted the previous step.
                width.rounds = 1;
            }
            width.now += 1;
            width.successes = 0;
            width.stepped_up = true;
            self.in_flight.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_spread_over_the_minute() {
        let start = chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let clock = Clock::simulated(start);
        let pacer = Pacer::new(
            NonZeroU32::new(5).unwrap(),
            NonZeroU32::new(60).unwrap(),
            &clock,
        );
        for _ in 0..65 {
            pacer.turn().await;
        }
        let took = (clock.now() - start).num_milliseconds();
        assert!(
            (59_900..61_000).contains(&took),
            "{took} ms for 65 requests at 60 per minute and 5 at the same time"
        );
        // Setting the wall clock back by an hour changes nothing.
        clock.set_wall(chrono::Duration::hours(-1));
        let before = clock.running();
        pacer.turn().await;
        assert!((clock.running() - before).as_millis() < 1_100);
        pacer.pause(Duration::from_secs(30));
        pacer.turn().await;
        assert!((clock.running() - before).as_secs() >= 30);
    }

    #[tokio::test(start_paused = true)]
    async fn the_width_falls_with_each_request_turned_away_and_grows_by_steps() {
        let clock = Clock::simulated(chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap());
        let pacer = Pacer::new(
            NonZeroU32::new(30).unwrap(),
            NonZeroU32::new(10_000).unwrap(),
            &clock,
        );
        for _ in 0..18 {
            pacer.narrow(pacer.permit().await.unwrap());
        }
        assert_eq!(
            (pacer.width(), pacer.in_flight.available_permits()),
            (12, 12)
        );
        let succeed = |count: u32| (0..count).for_each(|_| pacer.succeeded());
        succeed(12);
        assert_eq!(pacer.width(), 13);
        pacer.narrow(pacer.permit().await.unwrap());
        // The next step takes two rounds.
        succeed(23);
        assert_eq!(pacer.width(), 12);
        succeed(1);
        assert_eq!(
            (pacer.width(), pacer.in_flight.available_permits()),
            (13, 13)
        );
        for _ in 0..40 {
            pacer.narrow(pacer.permit().await.unwrap());
        }
        assert_eq!((pacer.width(), pacer.in_flight.available_permits()), (1, 1));
    }
}
