//! What readers see: writes tables as Parquet files, audits them, and publishes them as a snapshot.
//!
//! Publishing follows the write-audit-publish pattern. Files are staged where no reader looks and audited there. Then
//! they are moved to the tables' folders, and the manifest, written last, makes the snapshot visible. The manifest
//! lists every file with its rows, size and hash, so a snapshot is published completely or not at all.

mod audit;
mod audit_group;
mod conflicts;
mod contracts;
mod delta;
mod ducklake;
mod footer;
mod formats;
mod grace;
mod iceberg;
mod key;
mod manifest;
mod profile;
mod publish;
mod table_rows;
mod sort;
mod script;
mod staging;
#[cfg(test)]
mod testing;
mod views;
mod writer;

pub use audit::{Audit, audit, strays};
pub use ducklake::ducklake;
pub use formats::{TableFormat, check_tables, table_differences};
pub(crate) use formats::{ensure_readable, remove_from_tables};
pub use manifest::{
    Manifest, ManifestFile, PublicationId, RequestTotals, TableManifest, Tally, snapshots,
};
pub use profile::{ChangeBounds, ColumnProfile, Profile, ProfileChange};
pub use publish::{Published, Publishing, heal, is_untidy, publish, tidy};
pub use script::sql_text;
pub use sort::{Sorter, Taken};
pub use staging::Staging;
pub use table_rows::{LineFate, requests_batch, targets_batch};
pub use views::{ViewLife, views};
pub use writer::{ROW_GROUP_ROWS, TableWriter};
