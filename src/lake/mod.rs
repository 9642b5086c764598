//! Rows in, a published snapshot out; and every path there is.
//!
//! What holds of the lake: under a table's path stand whole snapshots or nothing; a snapshot's manifest is written
//! last, and names every file with its rows, bytes and hash; what was paid for is in the archive.

mod archive;
mod audit;
mod audit_group;
mod bundle;
mod contracts;
mod copies;
mod delivery;
mod delta;
mod key;
mod layout;
mod lock;
mod manifest;
mod profile;
mod prune;
mod publish;
mod refused;
mod runs;
mod sort;
mod store;
mod tables;
mod views;
mod writer;

pub use archive::{Archive, EarlierAttempt, Packed, Question, RunRecord, Unanswered};
pub use audit::{Audit, audit, log_differences, strays};
pub use bundle::{compact, to_compact};
pub use copies::LocalFiles;
pub use delta::TableFormat;
pub use layout::Layout;
pub use lock::{Lock, Owner};
pub use manifest::{Manifest, ManifestFile, RequestTotals, TableManifest, snapshots};
pub use profile::{Bounds, Change, ColumnProfile, Profile};
pub use prune::{Keep, Objects, Pruning, prune, to_prune};
pub use publish::{Publishing, Staging, heal, is_untidy, publish};
pub use refused::{RefusedTarget, refused_since, remember_refused};
pub use runs::open_snapshots;
pub use sort::Sorter;
pub use store::Store;
pub use tables::{LineFate, requests_batch, targets_batch};
pub use views::views;
pub use writer::TableWriter;
