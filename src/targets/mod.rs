//! Target lists in, [`Target`]s out: each line is read once, brought to canonical form, and
//! counted.
//!
//! A [`TargetList`] contains every input line exactly once. Every target in it follows the
//! provider's rules, and no two targets are the same.

mod archive;
mod block;
mod builder;
mod canonical;
mod column;
mod compression;
mod content;
mod csv;
mod encoding;
mod front_coded;
mod host;
mod json;
mod kept;
mod lines;
mod list;
mod list_file;
mod look;
mod objects;
mod parquet;
mod percent;
mod places;
mod problem;
mod reading;
mod refused;
mod roots;
mod rows;
mod rules;
mod sitemap;
mod sort;
mod source;
mod spelling;
mod text;
mod text_list;
mod texts;
mod xlsx;

pub use canonical::{Canonical, canonical};
pub use column::{Column, MAX_COLUMNS};
pub use list::{Line, LineEnd, LinePlace, Target, TargetId, TargetList};
pub use look::{keepable, reading_for};
pub use places::{Glob, Place, is_pattern, no_match, places_on_disk};
pub use reading::{Delimiter, Format, ReadAs, Reading};
pub use rules::{BareUrl, Invalid, Rules, SuffixList, TargetKind};
pub use source::Sources;
pub use spelling::{Form, Spelling};
pub use text_list::TextList;
