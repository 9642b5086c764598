//! [`Batch`](crate::plan::Batch)es in, answers archived: concurrently, at the account's pace, within the budget.
//!
//! What holds at the end of [`fetch`]: every target has come to exactly one [`End`]; every request that was sent
//! has its [`Attempt`] in the journal, or at least its [`Intent`]; the bytes of every answer were in the journal before
//! they were looked at; what may have been charged unseen is entered as such until [`settle`] has asked.

mod client;
mod dispatch;
mod events;
mod free;
mod isolate;
mod permits;
mod refusal;
mod retry;
mod settle;
mod transport;

pub use client::{Client, Credentials, Limits, Response};
pub use dispatch::{Fetcher, fetch};
pub use events::{BatchEnd, End, Entry, Event, Fetched, Step};
pub use free::{fetch_account, list_tasks};
pub use permits::{Pacer, Purse};
pub use retry::{Decision, RetryContext, RetryPolicy, Tries};
pub use settle::{LISTED_AFTER, settle_charges};
pub use transport::{SendError, StreamingResponse, Transport, is_loopback};
