//! [`Batch`](crate::plan::Batch)es in, answers archived: concurrently, at the account's pace, within the budget.
//!
//! What holds at the end of [`fetch`]: every batch has ended in exactly one [`End`]; every request that was sent
//! has its [`Attempt`] in the journal; the bytes of every answer were in the journal before they were looked at.

mod client;
mod ledger;
mod permits;
mod retry;
mod split;
mod work;

pub use client::{Client, Credentials, Limits, Reply, SendError, is_loopback};
pub use ledger::{Attempt, AttemptId, Charged, Intent, Journal, Outcome};
pub use permits::{Pacer, Purse};
pub use retry::{Decision, Happened, RetryPolicy, Tries};
pub use work::{BatchEnd, End, Event, Fetched, Fetcher, Stopping, fetch};
