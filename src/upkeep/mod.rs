//! Looks after a lake: says what became of its nights, abandons runs, deletes what is old, and packs the small objects of
//! a ledger.

mod abandon;
mod compact;
mod night;
mod nights;
mod prune;
mod status;
mod unfinished;

pub use abandon::{Unfinished, abandon, to_abandon};
pub use compact::{compact, to_compact};
pub use night::{Night, NightState};
pub use nights::{dates, nights};
pub use prune::{Keep, Pruning, prune, to_prune};
pub use status::{Balance, Expected, Month, Newest, Problem, Status, status};
pub use unfinished::{Objects, open_snapshots};
