//! The events that fetching reports while it runs, and how batches end.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::ledger::{Attempt, AttemptResult, Outcome};
use crate::money::Usd;
use crate::store::AttemptId;
use crate::targets::TargetId;

/// Something that happened while fetching.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// An attempt has reached this step.
    Step(Step),
    /// An attempt has ended.
    Attempt {
        /// How it ended.
        outcome: Outcome,
        /// What came back.
        result: AttemptResult,
        /// The time from sending to the last byte of the response.
        took: Duration,
        /// The size of the response body in bytes.
        bytes: u64,
        /// What was charged, if the response says so.
        cost: Option<Usd>,
        /// The number of targets that need no further attempt; 0 if the attempt decides nothing
        /// about its targets.
        targets: u64,
    },
    /// The requests that are in flight and waiting.
    Queue {
        /// Requests in flight.
        in_flight: u64,
        /// Batches that wait for their next attempt.
        waiting: u64,
        /// Requests that may be in flight at the same time now.
        width: u64,
    },
}

/// The steps of an attempt, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The intent is about to be recorded.
    Intending(AttemptId),
    /// The intent is durable.
    Intended(AttemptId),
    /// The whole response has arrived.
    Received(AttemptId),
    /// The response is durable.
    Archived(AttemptId),
    /// The attempt is recorded.
    Recorded(AttemptId),
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The response to this attempt is archived.
    Complete(AttemptId),
    /// The provider refuses the only target, with this code and text.
    Refused(String),
    /// The tries are used up, or the provider refuses the batch without saying why; with the last
    /// reason.
    Failed(String),
    /// The batch was not sent, or the run stopped before it could know how the batch ended.
    Unsent,
}

/// Targets that were asked for together, and how they ended. A batch that was split does not
/// appear; its parts do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchEnd {
    /// The last batch that asked for them, or `None` if no batch was sent.
    pub batch: Option<u32>,
    /// The targets.
    pub targets: Arc<[TargetId]>,
    /// How they ended.
    pub end: End,
}

/// An attempt and what it may have cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The attempt.
    pub attempt: Attempt,
    /// What it may have cost at most.
    pub reserved: Usd,
    /// The reading of [`Clock::running`](crate::clock::Clock::running) by which it was sent.
    pub sent_by: Duration,
}

/// How all batches ended.
#[derive(Debug)]
pub struct Fetched {
    /// Every target of every batch, once.
    pub ends: Vec<BatchEnd>,
    /// Every attempt.
    pub entries: Vec<Entry>,
    /// The number of the next batch.
    pub next_batch: u32,
    /// Why sending stopped before everything was sent.
    pub stopped: Option<Error>,
}
