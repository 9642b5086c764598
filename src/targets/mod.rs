//! Target lists in, [`Target`]s out: each line is read once, brought to canonical form, and
//! counted.
//!
//! A [`TargetList`] contains every input line exactly once. Every target in it follows the
//! provider's rules, and no two targets are the same.

mod block;
mod canonical;
mod compression;
mod csv;
mod host;
mod kept;
mod list;
mod list_file;
mod parquet;
mod percent;
mod places;
mod problem;
mod rules;
mod source;
mod spelling;
mod text;
mod texts;

pub use canonical::{Canonical, canonical};
pub use list::{Line, LineEnd, Target, TargetId, TargetList};
pub use places::{Glob, Place, is_pattern, no_match, places_on_disk};
pub use rules::{BareUrl, Invalid, Rules, SuffixList, TargetKind};
pub use source::{Format, Sources};
pub use spelling::{Form, Spelling};
