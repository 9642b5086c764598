//! Rows in, a published snapshot out; and every path there is.
//!
//! What holds of the lake: under a table's path stand whole snapshots or nothing; a snapshot's manifest is written
//! last, and names every file with its rows, bytes and hash; what was paid for is in the archive.

mod audit;
mod audit_group;
mod contracts;
mod copies;
mod delta;
mod key;
mod manifest;
mod profile;
mod publish;
mod rows;
mod sort;
mod staging;
mod views;
mod writer;

pub use audit::{Audit, audit, log_differences, strays};
pub use copies::LocalFiles;
pub use delta::TableFormat;
pub(crate) use delta::remove as remove_from_delta;
pub use manifest::{Manifest, ManifestFile, RequestTotals, TableManifest, snapshots};
pub use profile::{Bounds, Change, ColumnProfile, Profile};
pub use publish::{Publishing, heal, is_untidy, publish};
pub use rows::{LineFate, requests_batch, targets_batch};
pub use sort::Sorter;
pub use staging::Staging;
pub use views::views;
pub use writer::{ROW_GROUP_ROWS, TableWriter};
