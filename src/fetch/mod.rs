//! [`Batch`](crate::plan::Batch)es in, answers archived: concurrently, at the account's pace, within the budget.
//!
//! What holds at the end of [`fetch`]: every target has come to exactly one [`End`]; every request that was sent
//! has its [`Attempt`] in the journal, or at least its [`Intent`]; the bytes of every answer were in the journal before
//! they were looked at; what may have been charged unseen is entered as such until [`settle`] has asked.

mod client;
mod isolate;
mod ledger;
mod permits;
mod retry;
mod settle;
mod stop;
mod wire;
mod work;

pub use client::{Client, Credentials, Limits, Reply, SendError};
pub use ledger::{Attempt, AttemptId, Charged, Intent, Journal, Outcome};
pub use permits::{Pacer, Purse};
pub use retry::{Decision, Happened, Moment, RetryPolicy, Tries};
pub use settle::{LISTED_AFTER, account, list, settle};
pub use stop::{Reason, Stop};
pub use wire::{Response, Wire, is_loopback};
pub use work::{BatchEnd, End, Entry, Event, Fetched, Fetcher, Step, fetch};
