//! Iceberg tables: version 2 metadata that lists the Parquet files of the published snapshots. Files are never copied.
//!
//! Each published snapshot is added, replaced or removed by one Iceberg snapshot per table, with one manifest per date. The
//! Parquet files need no field ids: `schema.name-mapping.default` has them, by column name. The partition column is not in
//! the files, so that its value comes from here.
//!
//! `<table>/_iceberg/metadata/v<N>.metadata.json` is committed by the lake's own [`put_new`](crate::store::Store): of two
//! writers one wins, and the other repeats its commit on top of it. `version-hint.text` follows, and is corrected by the next
//! commit if the writer is interrupted in between. A commit that is repeated finds that nothing is missing.
//!
//! A replaced or pruned file is deleted from the lake, so that the Iceberg snapshots that list it expire with it. Others
//! stay for time travel, up to [`table`]'s limit. Only objects of expired snapshots are deleted.

mod avro;
mod commit;
#[cfg(test)]
mod commit_tests;
mod differences;
mod manifest_schema;
mod metadata;
mod schema;
mod stats;
mod table;
mod unused;

pub(super) use commit::{check, commit, missing, remove};
pub(super) use differences::differences;
