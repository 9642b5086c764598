//! Where a lake is kept: an object store or a local disk, every path in it, and the lock on a snapshot.

mod delivery;
mod digest;
mod layout;
mod lock;
mod objects;

pub(crate) use delivery::Delivery;
pub(crate) use digest::hash;
pub use layout::{AttemptId, Layout};
pub use lock::{Lock, Owner};
pub use objects::Store;
pub(crate) use objects::{LocalFile, Scratch};
