//! Rows in, a published snapshot out; and every path there is.
//!
//! What holds of the lake: under a table's path stand whole snapshots or nothing; a snapshot's manifest is written
//! last, and names every file with its rows, bytes and hash; what was paid for is in the archive.

mod archive;
mod audit;
mod layout;
mod lock;
mod manifest;
mod publish;
mod sort;
mod store;
mod tables;
mod writer;

pub use archive::{Archive, EarlierAttempt, Question, RefusedTarget, RunRecord, open_snapshots};
pub use audit::{Audit, audit, unpublished};
pub use layout::Layout;
pub use lock::{Lock, Owner};
pub use manifest::{Manifest, ManifestFile, RequestTotals, TableManifest, snapshots};
pub use publish::{Staging, publish};
pub use sort::Sorter;
pub use store::Store;
pub use tables::{LineFate, requests_batch, targets_batch};
pub use writer::TableWriter;
