//! One start of a run or a replay: what it works with while it holds the lock.

use chrono::{DateTime, Utc};

use super::ready::Pipeline;
use super::run_mode::RunMode;
use super::surroundings::Surroundings;
use crate::ledger::Ledger;
use crate::store::{Lock, Store};

/// One start of a run or a replay: what it works with while it holds the lock.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) mode: RunMode,
    pub(super) env: &'a Surroundings<'a>,
    pub(super) store: &'a Store,
    pub(super) ledger: &'a Ledger,
    pub(super) lock: &'a Lock,
    pub(super) started_at: DateTime<Utc>,
}

impl Start<'_> {
    /// Seconds since the start.
    pub(super) fn seconds(&self) -> f64 {
        (self.env.clock.now() - self.started_at).num_milliseconds() as f64 / 1000.0
    }
}
