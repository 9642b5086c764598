//! Where a lake is stored: an object store or a local disk, the path of every object, and the lock on a snapshot. And
//! where target lists are read from: buckets.

mod delete;
mod bucket;
mod delivery;
mod diagnosis;
mod digest;
mod disk;
mod holder;
mod download;
mod layout;
mod leftovers;
mod lock;
mod objects;
mod owner;
mod patience;
mod patient;
mod probe;
mod regular;
mod room;
mod whole;

pub(crate) use bucket::{Bucket, SCHEMES};
pub(crate) use delivery::Delivery;
pub use digest::sha256;
pub(crate) use digest::{hash, hexadecimal};
pub(crate) use disk::{LocalFile, Scratch};
pub(crate) use download::Download;
pub use holder::{Hold, Holder};
pub use layout::{AttemptId, Layout};
pub use lock::Lock;
pub use objects::{Store, check_place_of_lake};
pub use owner::Owner;
pub use patience::RETRY;
pub use whole::write_whole;
