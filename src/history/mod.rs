//! Compares two published snapshots: what became of each page, and how breakdowns shifted. Counts
//! what the pages of one night amount to.
//!
//! # What counts
//! A page is in a snapshot if its row is `matched`, that is, if it belongs to a line of the target
//! list. Each target has at most one such row, however many lines ask for it. Unmatched rows do not
//! count: they were not requested, and several can have the same target. Pages are compared by root
//! domain and target, so a page that the public suffix list moves to another root domain is removed
//! and added.
//!
//! A page that only one snapshot has is in one of five groups, by the fate of its target in the
//! other one. `new` and `lost`: the target was asked and absent. `added` and `removed`: the other
//! list does not contain it. `unanswered`: it failed, was refused or was not sent, so its page is unknown.
//! The view `page_changes` uses the same words for the same pages.
//!
//! A page in both has risen or fallen if its metric has a value in both snapshots and the values
//! differ. If one value is null, the change is unknown. Totals are over pages with both values.
//! Links are added up; of every other metric the median is taken, because its values have no
//! meaningful sum.
//!
//! Breakdowns are compared over the pages in both snapshots, too: what the list did is not a shift.
//!
//! # Order
//! A full list is in the order of its keys. A limited list has the rows with the largest change or,
//! for pages that only one snapshot has, with the largest value; equal rows are in the order of
//! their keys.
//!
//! # Memory
//! The tables of the lake are sorted by the keys of the comparison, and a hint tells polars so. Its
//! streaming engine merges them as it reads, and keeps a few row groups of each in memory, whatever
//! the number of rows or the size of a domain. Lists are written as they are computed, and a
//! limited list keeps only its own rows. Medians keep one counter per distinct value, the sums of
//! breakdowns one entry per key, and breakdowns 16 bytes per target that only one snapshot has.

mod breakdowns;
mod chosen;
mod columns;
mod compare;
mod each;
mod grouping;
mod groups;
mod label_lines;
mod labels;
mod lines;
mod list;
mod local_files;
mod metric;
mod nightly;
mod opened;
mod pages;
mod pair;
mod ranked;
mod summary;
mod tables;
mod tally;
mod top;
mod totals;
mod write;

pub use breakdowns::{BreakdownChange, Breakdowns};
pub use chosen::{chosen, manifest_of};
pub use compare::{compare, shifts};
pub use each::{LabelRow, LinkRow, PageRow, each_label, each_link, each_page, each_target_with};
pub use groups::{
    Group, InBoth, ListChange, MetricChange, PageGroups, Targets, TopPages, Unanswered,
    UnansweredFates,
};
pub use label_lines::Label;
pub use labels::MOST_VALUES;
pub use lines::{LabelCost, Lines, MOST_REASONS, Reason, lines, targets_with};
pub use list::List;
pub use metric::Statistic;
pub use nightly::{Bounds, CONCENTRATED, NightPages, Pick, night_pages};
pub use opened::Opened;
pub use pages::{PageChange, Pages};
pub use pair::Pair;
pub use summary::{Summary, summary};
pub use totals::{PageNumbers, PageTotals, Quartiles};
pub use write::ListFormat;
