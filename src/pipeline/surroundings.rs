//! What a run takes from outside: clock, seed, environment, listener, lock.

use std::sync::Arc;

use tracing::{Instrument as _, info_span};

use super::report::Progress;
use super::spec::Pipeline;
use crate::clock::Clock;
use crate::error::Result;
use crate::fetch::Transport;
use crate::stop::Stop;
use crate::store::{Lock, Owner, Store};

/// What a run takes from outside, so that a test can set it.
pub struct Surroundings<'a> {
    /// Tells the time and waits.
    pub clock: Clock,
    /// Names the run and draws the jitter.
    pub seed: u64,
    /// The value of an environment variable.
    pub variable: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Hears how it goes.
    pub on_progress: &'a (dyn Fn(Progress) + Sync),
    /// Asks to stop.
    pub stop: Stop,
    /// The process, for the lock.
    pub owner: Owner,
    /// Carries requests in place of HTTP.
    pub transport: Option<Arc<dyn Transport>>,
    /// The lake in place of the one at `[lake] url`.
    pub store: Option<Store>,
}

impl Surroundings<'_> {
    /// Those of a process: the machine's clock, its environment, and nobody listening.
    #[must_use]
    pub fn of_process(clock: &Clock, seed: u64) -> Self {
        Self {
            clock: clock.clone(),
            seed,
            variable: &|name| std::env::var(name).ok(),
            on_progress: &|_| {},
            stop: Stop::default(),
            owner: Owner::this_process(),
            transport: None,
            store: None,
        }
    }

    pub(super) fn lake(&self, pipeline: &Pipeline) -> Result<Store> {
        self.store
            .clone()
            .map_or_else(|| Store::create(&pipeline.lake), Ok)
    }
}

/// Does what needs the lock on the pipeline's snapshot, and keeps the lock meanwhile.
pub(super) async fn locked<T>(
    store: &Store,
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
    work: impl AsyncFnOnce(Arc<Lock>) -> Result<T>,
) -> Result<T> {
    let span = info_span!("run", snapshot = %pipeline.snapshot, pipeline = pipeline.name);
    let work = async |lock| work(lock).instrument(span).await;
    Lock::hold(
        store,
        pipeline.snapshot,
        env.owner.clone(),
        &env.clock,
        &env.stop,
        work,
    )
    .await
}
