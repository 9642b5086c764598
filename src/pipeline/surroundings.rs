//! Everything that a run takes from outside: clock, seed, environment, progress, lock owner.

use std::sync::Arc;

use tracing::{Instrument as _, info_span};

use super::ready::Pipeline;
use super::report::Progress;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fetch::Transport;
use crate::stop::Stop;
use crate::store::{Lock, Owner, Store};

/// Everything that a run takes from outside.
pub struct Surroundings<'a> {
    /// Tells the time and waits.
    pub clock: Clock,
    /// Decides the name of the run and the jitter of its waits.
    pub seed: u64,
    /// Returns the value of an environment variable.
    pub variable: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Is called with each step of the run.
    pub on_progress: &'a (dyn Fn(Progress) + Sync),
    /// Asks the run to stop.
    pub stop: Stop,
    /// The process that holds the lock.
    pub owner: Owner,
    /// For tests: carries requests instead of HTTP.
    pub transport: Option<Arc<dyn Transport>>,
    /// For tests: the lake, instead of the one at `[lake] url`.
    pub store: Option<Store>,
}

impl Surroundings<'_> {
    /// The surroundings of a process: the clock and the environment of the machine, and no
    /// progress.
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
        let url = &pipeline.lake.url;
        let (store, name) = match &self.store {
            Some(store) => (store.clone(), url.clone()),
            None => {
                let store = Store::create(url)?;
                let name = store.display();
                (store, name)
            }
        };
        let patient = store.patient(&self.clock, &self.stop, pipeline.lake.retry);
        Ok(patient.with_spill(&name))
    }
}

/// Runs `work` while it holds the lock on the pipeline's snapshot.
pub(super) async fn locked<T>(
    store: &Store,
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
    work: impl AsyncFnOnce(Arc<Lock>) -> Result<T>,
) -> Result<T> {
    let span = info_span!("run", snapshot = %pipeline.snapshot, pipeline = pipeline.name);
    let work = async |lock| work(lock).instrument(span).await;
    let tell = |fails| {
        (env.on_progress)(match fails {
            true => Progress::LakeFails,
            false => Progress::LakeWorks,
        });
    };
    let held = Lock::hold(
        store,
        pipeline.snapshot,
        env.owner.clone(),
        &env.clock,
        &env.stop,
        work,
    );
    tokio::select! {
        biased;
        end = held => end,
        // It never ends.
        () = store.watch(tell) => Err(Error::unexpected("the lake is no longer watched")),
    }
}
