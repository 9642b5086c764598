//! What fetching works with: the provider, the limits, the ledger and the rules.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::trace;

use super::client::Client;
use super::events::{Event, Step};
use super::pacer::Pacer;
use super::purse::Purse;
use super::retry::RetryPolicy;
use super::trust::Evidence;
use crate::clock::Clock;
use crate::ledger::{Attempt, Ledger};
use crate::money::Usd;
use crate::plan::Batch;
use crate::provider::{Endpoint, Prices, TaskOptions};
use crate::stop::Stop;
use crate::targets::{TargetId, TargetList};

/// What fetching works with.
pub struct Fetcher<'a> {
    /// The targets that the batches refer to.
    pub list: &'a TargetList,
    /// The run's name: the prefix of every tag.
    pub run: &'a str,
    /// The endpoint that requests are sent to.
    pub endpoint: Endpoint,
    /// The fields of each request besides its targets.
    pub options: TaskOptions,
    /// Sends the requests.
    pub client: &'a Client,
    /// Limits requests in flight and per minute.
    pub pacer: &'a Pacer,
    /// Limits the cost.
    pub purse: &'a Purse,
    /// The prices from which the cost of a request is estimated.
    pub prices: Prices,
    /// What the lake shows about the responses before the first one.
    pub evidence: Evidence,
    /// Decides what follows a failure.
    pub retry: RetryPolicy,
    /// Records intents and attempts, and archives responses.
    pub ledger: &'a Ledger,
    /// Tells the time and waits.
    pub clock: &'a Clock,
    /// The source of the random part of each wait.
    pub random: Mutex<fastrand::Rng>,
    /// Is called with every event.
    pub events: &'a (dyn Fn(Event) + Sync),
    /// Is called with every attempt that completes its batch, and the targets of that batch. The response is in the
    /// archive by then.
    pub completed: &'a (dyn Fn(&Attempt, &Arc<[TargetId]>) + Sync),
    /// Is called with targets that end without a response, refused or failed.
    pub unanswered: &'a (dyn Fn(&[TargetId]) + Sync),
    /// Stops the run from outside.
    pub stop: &'a Stop,
    /// The reading of [`Clock::running`] after which no further request is sent.
    pub deadline: Option<Duration>,
    /// How long to wait for requests in flight after a signal.
    pub drain: Duration,
}

impl Fetcher<'_> {
    /// What the request for a batch may cost at most.
    pub(super) fn max_cost(&self, batch: &Batch) -> Usd {
        self.prices.cost(1, batch.targets.len() as u64)
    }

    /// The number of distinct root domains among targets.
    pub(super) fn root_domains(&self, targets: &[TargetId]) -> u32 {
        let mut roots: Vec<u32> = targets
            .iter()
            .map(|&id| self.list.root_domain_of(id))
            .collect();
        roots.sort_unstable();
        roots.dedup();
        roots.len() as u32
    }

    /// A random number from 0 to 1.
    pub(super) fn jitter(&self) -> f64 {
        self.random.lock().f64()
    }

    /// Reports that an attempt has reached a step.
    pub(super) fn step(&self, step: Step) {
        trace!(?step);
        (self.events)(Event::Step(step));
    }
}
