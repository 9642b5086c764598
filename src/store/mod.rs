//! Where a lake is stored: an object store or a local disk, the path of every object, and the lock on a snapshot. And
//! where target lists are read from: buckets.

mod bucket;
mod delivery;
mod digest;
mod disk;
mod download;
mod layout;
mod lock;
mod objects;
mod owner;
mod whole;

pub(crate) use bucket::Bucket;
pub(crate) use delivery::Delivery;
pub(crate) use digest::hash;
pub(crate) use disk::{LocalFile, Scratch};
pub(crate) use download::Download;
pub use layout::{AttemptId, Layout};
pub use lock::Lock;
pub use objects::Store;
pub use owner::Owner;
pub use whole::write_whole;
