//! What fetching tells the one who watches, and how batches end.

use std::time::Duration;

use crate::error::Error;
use crate::ledger::{Attempt, AttemptResult, Outcome};
use crate::money::Usd;
use crate::store::AttemptId;
use crate::targets::TargetId;

/// How it goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// An attempt has come this far.
    Step(Step),
    /// An attempt has ended.
    Attempt {
        /// How.
        outcome: Outcome,
        /// What came of it.
        result: AttemptResult,
        /// From sending to the last byte.
        took: Duration,
        /// Bytes of the answer.
        bytes: u64,
        /// What was charged, if the answer says so.
        cost: Option<Usd>,
        /// Targets that have ended with it.
        targets: u64,
    },
    /// What is under way now.
    Queue {
        /// Requests under way.
        in_flight: u64,
        /// Batches that wait for their next try.
        waiting: u64,
        /// Requests that may be under way at once now.
        width: u64,
    },
}

/// The steps of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its intent is about to be entered.
    Intending(AttemptId),
    /// Its intent is durable.
    Intended(AttemptId),
    /// Its answer is there, whole.
    Received(AttemptId),
    /// Its answer is durable.
    Archived(AttemptId),
    /// Its end is entered.
    Entered(AttemptId),
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its answer is archived under this attempt.
    Answered(AttemptId),
    /// The provider refuses its only target, with this code and text.
    Refused(String),
    /// Its tries are used up, for this reason.
    Failed(String),
    /// It was not sent, or what came of it is not known.
    Unsent,
}

/// Targets that were asked together, and how they ended. Batches that were split do not appear; their parts do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchEnd {
    /// The batch that asked last; none if none did.
    pub batch: Option<u32>,
    /// Its targets.
    pub targets: Vec<TargetId>,
    /// Its end.
    pub end: End,
}

/// An attempt and what it may have cost at the most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The attempt.
    pub attempt: Attempt,
    /// What was set aside for it.
    pub reserved: Usd,
    /// How long the clock had run when it was sent at the latest.
    pub sent_by: Duration,
}

/// How all batches ended.
#[derive(Debug)]
pub struct Fetched {
    /// Every target of every batch once.
    pub ends: Vec<BatchEnd>,
    /// Every attempt.
    pub entries: Vec<Entry>,
    /// The number of the next batch.
    pub next_batch: u32,
    /// Why sending stopped before all was sent.
    pub stopped: Option<Error>,
}
