//! Target lists in, [`Target`]s out: each line read once, brought to canonical form, and counted.
//!
//! What holds of a [`TargetList`]: every input line stands in it exactly once; every target in it keeps the
//! provider's rules, and no two are the same.

mod canonical;
mod csv;
mod kept;
mod list;
mod source;
mod texts;

pub use canonical::{BareUrl, Canonical, Invalid, Rules, SuffixList, TargetKind, canonical, stem};
pub use list::{Line, LineEnd, Target, TargetId, TargetList};
pub use source::{Format, Sources};
