//! The Delta logs of the tables: the same Parquet files that a snapshot publishes, named once more, never copied.
//!
//! What holds of a log: a snapshot enters it by one commit a table, and is replaced or taken out by one; the commit
//! carries the application transaction `backlake/<pipeline>/<date>` with the manifest's generation, so one that was
//! broken off and is repeated changes nothing. The log of a table names all published snapshots or there is none: a
//! reader's VACUUM deletes what lies in the folder and not in the log, so [`missing`] is committed along.
//!
//! Replay and checkpoints are deltalake's; the commit itself is the lake's own put of an object that must not be there
//! yet, durable when it returns.

mod commit;
mod log;
mod objects;
mod schema;
mod stats;
#[cfg(test)]
mod tests;

pub use commit::TableFormat;
pub(crate) use commit::remove;
pub(super) use commit::{commit, differences, exists, missing};
