//! What a plan costs, how long it takes, and what it is measured against.

use std::time::Duration;

use crate::money::Usd;
use crate::provider::{MAX_ROOT_DOMAINS, MAX_TARGETS, Prices};
use crate::targets::TargetList;

/// How fast requests may go out, and how long one is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Requests under way at once.
    pub max_in_flight: u32,
    /// Requests started a minute.
    pub requests_per_minute: u32,
    /// How long an answer takes.
    pub latency: Duration,
}

impl Pace {
    /// How long so many requests take, in whole seconds.
    #[must_use]
    pub fn seconds(&self, requests: u64) -> u64 {
        let rounds = requests.div_ceil(u64::from(self.max_in_flight));
        let by_latency = self.latency.as_secs_f64() * rounds as f64;
        let by_rate = requests as f64 * 60.0 / f64::from(self.requests_per_minute);
        by_latency.max(by_rate).ceil() as u64
    }
}

/// What a number of requests costs at the most, and how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Requests.
    pub requests: u64,
    /// Their cost if every target returns a row.
    pub cost: Usd,
    /// Seconds at the account's pace.
    pub seconds: u64,
}

impl Estimate {
    /// Of `requests` that ask for `targets`.
    #[must_use]
    pub fn of(requests: u64, targets: u64, prices: &Prices, pace: &Pace) -> Self {
        Self {
            requests,
            cost: prices.cost(requests, targets),
            seconds: pace.seconds(requests),
        }
    }
}

/// The fewest requests that any plan could do with: by targets, or by root domains, of which one with `n` targets
/// takes at least `n / 1000` slots, rounded up.
#[must_use]
pub fn lower_bound(sizes: &[u32]) -> u64 {
    let targets: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
    let slots: u64 = sizes
        .iter()
        .map(|&size| u64::from(size).div_ceil(MAX_TARGETS as u64))
        .sum();
    targets
        .div_ceil(MAX_TARGETS as u64)
        .max(slots.div_ceil(MAX_ROOT_DOMAINS as u64))
}

/// The requests that filling batch after batch in the order of the list takes: what a simple script pays for.
#[must_use]
pub fn requests_in_input_order(list: &TargetList) -> u64 {
    let mut last_batch_of = vec![0_u64; list.root_domain_count()];
    let (mut batch, mut targets, mut domains) = (0_u64, MAX_TARGETS, 0);
    for target in list.targets() {
        let last = &mut last_batch_of[list.root_domain_of(target.id) as usize];
        let new = batch == 0 || *last != batch;
        if targets == MAX_TARGETS || (new && domains == MAX_ROOT_DOMAINS) {
            batch += 1;
            (targets, domains) = (0, 0);
        }
        if *last != batch {
            *last = batch;
            domains += 1;
        }
        targets += 1;
    }
    batch
}
