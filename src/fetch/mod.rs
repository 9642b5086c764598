//! Sends batches concurrently, within the account's limits and the budget, and archives the
//! responses.
//!
//! At the end of [`fetch`], every target has exactly one [`End`]. Every request that was sent has
//! an attempt in the ledger, or at least an intent. The bytes of every response were archived
//! before anything read them. An attempt that may have been charged has an unknown charge until
//! [`settle_charges`] finds out.

mod accused;
mod attempt;
mod classify;
mod client;
mod density;
mod dispatch;
mod download;
mod drain;
mod events;
mod fetcher;
mod free_calls;
mod isolate;
mod pacer;
mod post;
mod purse;
mod refusal;
mod retry;
mod settle_charges;
mod transport;
mod trust;
mod verdict;

pub use client::{Client, Credentials, Limits, Response};
pub use dispatch::fetch;
pub use download::{DownloadLimits, download, is_downloadable};
pub use events::{BatchEnd, End, Entry, Event, Fetched, Step};
pub use fetcher::Fetcher;
pub use free_calls::{fetch_account, fetch_index, list_tasks, reach_account, require_account};
pub use isolate::Search;
pub use pacer::Pacer;
pub use post::post_json;
pub use purse::Purse;
pub use refusal::price_not_understood;
pub use retry::{Decision, RetryContext, RetryPolicy, Tries};
pub use settle_charges::{LISTED_AFTER, Patience, settle_charges};
pub use transport::{SendError, StreamingResponse, Transport, is_loopback};
pub use trust::Evidence;
