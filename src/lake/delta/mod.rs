//! Delta logs: they list the Parquet files of the published snapshots for Delta readers. Files are never copied.
//!
//! Each snapshot is added, replaced or removed by one commit per table. The commit has the application transaction
//! `backlake/<pipeline>/<date>` with the manifest's generation, so repeating an interrupted commit changes nothing. The
//! log of a table lists all published snapshots, because VACUUM deletes files that are in the folder and not in the log:
//! the first commit of a table therefore also adds the snapshots in [`missing`].
//!
//! The deltalake crate replays logs and writes checkpoints. The commit itself uses the lake's own
//! [`put_new`](crate::store::Store), which is durable when it returns.

mod commit;
#[cfg(test)]
mod commit_tests;
mod log;
#[cfg(test)]
mod log_tests;
mod schema;
mod stats;
mod store;
#[cfg(test)]
mod testing;

pub(super) use commit::{check, commit, differences, missing, remove};
