//! Estimates the cost and duration of a plan, and the bounds that it is compared with.

use std::time::Duration;

use crate::money::Usd;
use crate::provider::{MAX_ROOT_DOMAINS, MAX_TARGETS, Prices};
use crate::targets::TargetList;

/// How fast requests can be sent, and how long one is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The most requests in flight at the same time.
    pub max_in_flight: u32,
    /// The most requests started per minute.
    pub requests_per_minute: u32,
    /// The expected time until a response is complete.
    pub latency: Duration,
}

impl Pace {
    /// How long a number of requests takes, in whole seconds.
    #[must_use]
    pub fn seconds(&self, requests: u64) -> u64 {
        let rounds = requests.div_ceil(u64::from(self.max_in_flight));
        let by_latency = self.latency.as_secs_f64() * rounds as f64;
        let by_rate = requests as f64 * 60.0 / f64::from(self.requests_per_minute);
        by_latency.max(by_rate).ceil() as u64
    }
}

/// The highest cost of a number of requests, and how long they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The number of requests.
    pub requests: u64,
    /// The cost if every target returns a row.
    pub cost: Usd,
    /// The duration in seconds at the account's pace.
    pub seconds: u64,
}

impl Estimate {
    /// Estimates `requests` requests for `targets` targets in total.
    #[must_use]
    pub fn of(requests: u64, targets: u64, prices: &Prices, pace: &Pace) -> Self {
        Self {
            requests,
            cost: prices.cost(requests, targets),
            seconds: pace.seconds(requests),
        }
    }
}

/// The fewest requests that any plan needs. `sizes` are the numbers of targets of the root domains.
///
/// A batch has room for 1000 targets and for 100 root domains. A root domain with `n` targets needs
/// a slot in at least `n / 1000` batches, rounded up.
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

/// The number of requests if batches are filled in the order of the list, as a simple script does.
#[must_use]
pub fn requests_in_input_order(list: &TargetList) -> u64 {
    let mut last_batch_of = vec![0_u64; list.root_domain_count()];
    let (mut batch, mut targets, mut domains) = (0_u64, MAX_TARGETS, 0);
    for target in list.in_input_order() {
        let last = &mut last_batch_of[list.root_domain_of(target) as usize];
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
