//! The state that all requests share: the account, the limits, and the record of charges.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, Utc};
use http::{HeaderMap, header};
use parking_lot::Mutex;

use super::behaviour::Behaviour;
use super::draws::Draws;
use super::population::Population;
use super::reaction::{Milestone, Scripted};
use crate::clock::Clock;
use crate::money::Usd;

/// What the provider charged for one task: an entry of the provider's own ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The id of the task.
    pub id: String,
    /// The tag that was posted with the task.
    pub tag: Option<String>,
    /// When the task was posted.
    pub posted: DateTime<Utc>,
    /// The status code of the task.
    pub status_code: u32,
    /// The number of targets posted.
    pub targets: usize,
    /// The number of items returned.
    pub items: usize,
    /// The amount charged.
    pub cost: Usd,
}

/// Receives milestones as they are reached.
pub(super) type Observer = Box<dyn Fn(Milestone) + Send + Sync>;

/// Counts the calls of one minute.
#[derive(Default)]
pub(super) struct MinuteLimit(Mutex<MinuteCount>);

#[derive(Default)]
struct MinuteCount {
    /// The minute, counted from 1970.
    minute: i64,
    calls: u32,
}

impl MinuteLimit {
    /// Counts a call, and returns whether it is among the first `most` of its minute.
    fn admits(&self, now: DateTime<Utc>, most: u32) -> bool {
        let minute = now.timestamp() / 60;
        let mut count = self.0.lock();
        if count.minute != minute {
            *count = MinuteCount { minute, calls: 0 };
        }
        count.calls += 1;
        count.calls <= most
    }
}

/// The state that all requests share.
pub(super) struct State {
    pub(super) behaviour: Behaviour,
    pub(super) clock: Clock,
    pub(super) population: Population,
    pub(super) ledger: Mutex<Vec<Charge>>,
    /// The most that the tasks in progress can cost. The provider reserves money until it charges.
    reserved: Mutex<Usd>,
    /// Scripted responses that are not sent yet.
    pub(super) script: Mutex<VecDeque<Scripted>>,
    pub(super) observer: Mutex<Option<Observer>>,
    in_flight: AtomicUsize,
    /// The number of open connections and of requests in progress.
    pub(super) busy: AtomicUsize,
    pub(super) most_in_flight: AtomicUsize,
    requests_limit: MinuteLimit,
    user_data_limit: MinuteLimit,
    /// The number of requests that have arrived at the paid endpoint.
    pub(super) requests: AtomicU64,
    pub(super) tasks: AtomicU64,
}

impl State {
    pub(super) fn new(behaviour: Behaviour, clock: Clock) -> Self {
        Self {
            population: behaviour.population(),
            behaviour,
            clock,
            ledger: Mutex::default(),
            reserved: Mutex::default(),
            script: Mutex::default(),
            observer: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            requests_limit: MinuteLimit::default(),
            user_data_limit: MinuteLimit::default(),
            requests: AtomicU64::new(0),
            tasks: AtomicU64::new(0),
        }
    }

    /// The day of the population.
    pub(super) fn date(&self) -> NaiveDate {
        self.behaviour.date.unwrap_or_else(|| self.clock.today())
    }

    /// The balance after all charges.
    pub(super) fn balance(&self) -> Usd {
        let ledger = self.ledger.lock();
        self.behaviour.balance - ledger.iter().map(|charge| charge.cost).sum()
    }

    /// Reserves the most that a task can cost, if the balance covers it in addition to the tasks in
    /// progress.
    pub(super) fn reserve(&self, most: Usd) -> bool {
        let mut reserved = self.reserved.lock();
        let covered = self.balance() - *reserved >= most;
        if covered {
            *reserved += most;
        }
        covered
    }

    /// Charges a task, and releases the amount that was reserved for it.
    pub(super) fn charge(&self, charge: Charge, reserved_for_it: Usd) {
        let mut reserved = self.reserved.lock();
        self.ledger.lock().push(charge);
        *reserved -= reserved_for_it;
    }

    /// Counts a paid request, and returns whether the limit per minute admits it.
    pub(super) fn admits_request(&self) -> bool {
        let most = self.behaviour.requests_per_minute;
        self.requests_limit.admits(self.clock.now(), most)
    }

    /// Counts a call of `user_data`, and returns whether the limit per minute admits it.
    pub(super) fn admits_user_data(&self) -> bool {
        let most = self.behaviour.user_data_per_minute;
        self.user_data_limit.admits(self.clock.now(), most)
    }

    /// Whether the credentials of a request are right and not revoked.
    pub(super) fn authorised(&self, headers: &HeaderMap) -> bool {
        let credentials = format!("{}:{}", self.behaviour.login, self.behaviour.password);
        let expected = format!("Basic {}", STANDARD.encode(credentials));
        let requests = self.requests.load(Ordering::Relaxed);
        let revoked = self.behaviour.revoked_after;
        revoked.is_none_or(|after| requests <= after)
            && headers
                .get(header::AUTHORIZATION)
                .is_some_and(|given| given.as_bytes() == expected.as_bytes())
    }

    /// Reports a milestone to the observer.
    pub(super) fn report(&self, milestone: Milestone) {
        if let Some(observer) = &*self.observer.lock() {
            observer(milestone);
        }
    }

    /// An id in the provider's format, unique within this simulator.
    pub(super) fn next_id(&self) -> String {
        let number = self.tasks.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        let hash = Draws::new(self.behaviour.seed, &[&number.to_le_bytes()]).bits() >> 16;
        format!(
            "{}-1535-{:04}-0000-{hash:012x}",
            now.format("%m%d%H%M"),
            576 + number % 9000
        )
    }
}

/// Counts a request as in flight as long as it exists.
pub(super) struct InFlight<'a> {
    state: &'a State,
    /// The number of requests in flight when this one started, itself included.
    pub(super) count: usize,
}

impl<'a> InFlight<'a> {
    pub(super) fn enter(state: &'a State) -> Self {
        let count = state.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        state.most_in_flight.fetch_max(count, Ordering::Relaxed);
        Self { state, count }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
