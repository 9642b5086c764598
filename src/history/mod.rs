//! Compares two published snapshots: pages gained, lost and moved, and breakdowns that shifted.
//!
//! # What counts
//! A page is in a snapshot if its row is `matched`, that is, if it belongs to a line of the target
//! list. Each target has at most one such row. Unmatched rows do not count: they were not
//! requested, and several can have the same target. Pages are compared by root domain and target,
//! so a page that the public suffix list moves to another root domain is lost and gained.
//! Breakdowns have no column `matched`, so all their rows count.
//!
//! A page has moved if its metric has a value in both snapshots and the values differ. If one value
//! is null, the change is unknown.
//!
//! # Order
//! A full list is in the order of its keys. A limited list has the rows with the largest change or,
//! for pages gained and lost, with the largest value; equal rows are in the order of their keys.
//!
//! # Memory
//! The tables of the lake are sorted by the keys of the comparison, and a hint tells polars so. Its
//! streaming engine merges them as it reads, and keeps a few row groups of each in memory, whatever
//! the number of rows or the size of a domain. Lists are written as they are computed, and a
//! limited list keeps only its own rows. The sums of breakdowns are in memory as a whole, with one
//! entry per key.

mod breakdowns;
mod list;
mod local_files;
mod pages;
mod pair;
mod summary;
mod tables;
mod write;

pub use breakdowns::{BreakdownChange, Breakdowns};
pub use list::List;
pub use pages::{PageChange, PageCounts, Pages, Total};
pub use pair::Pair;
pub use summary::{Summary, summary};
pub use write::ListFormat;
