//! Maintains a lake: deletes old snapshots and archives, and packs the small objects of a ledger.

mod compact;
mod prune;
mod unfinished;

pub use compact::{compact, to_compact};
pub use prune::{Keep, Pruning, prune, to_prune};
pub use unfinished::{Objects, open_snapshots};
