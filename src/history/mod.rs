//! What changed between two published snapshots: pages gained, lost and moved, and how the breakdowns shifted.
//!
//! # What counts
//! A page is in a snapshot if it answers a line of its target list, that is, if its row is `matched`; there is one such
//! row for each target. Unmatched rows are left out: several of them can bear one target, and nobody asked for them.
//! Pages are compared by root domain and target, so one that the public suffix list has moved to another root domain
//! in between is lost and gained. Breakdowns hold no `matched`, and are summed over all rows.
//!
//! A page has moved if the metric has a value in both snapshots and they differ; where one is null nobody knows.
//!
//! # Order
//! All rows of a list stand in the order of their keys; a limited number are those of the greatest change, or for pages
//! gained and lost of the greatest value, and where these are equal in the order of their keys.
//!
//! # Memory
//! The lake's tables are sorted by the very keys that they are compared by, and polars is told so: its streaming engine
//! merges them as it reads, and holds a few row groups of each, however many rows or pages of one domain there are.
//! Lists are written as they arise, and of a limited list no more rows are held than it has. The sums of breakdowns
//! are held whole: one for each key.

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
pub use write::Format;
