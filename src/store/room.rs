//! The free space of the disk that the lake, or what is staged for it, is on: looked at before anything is paid, and again
//! before each request.

use std::io;

use super::objects::Store;
use crate::error::{Context, Error, Result};

/// Space for everything that does not grow with the plan, and for the responses in flight.
const SPARE_BYTES: u64 = 32 << 20;

impl Store {
    /// Makes sure that the disk has room for what a plan may write: on the lake's disk, or in the folder for temporary
    /// files if the lake is in an object store.
    ///
    /// # Errors
    /// A usage error with what is free and what is needed.
    pub fn ensure_room(&self, bytes: u64) -> Result<()> {
        match self.short_of(bytes + SPARE_BYTES) {
            None => Ok(()),
            Some(message) => Err(Error::usage(message)
                .with_hint("nothing was sent; free some space, or split the list")),
        }
    }

    /// Waits until the lake works and its disk has room for the responses in flight: what is paid for must have a place.
    ///
    /// # Errors
    /// A disk that has no room for longer than the lake's patience.
    pub(crate) async fn ready(&self) -> Result<()> {
        let full = |message| io::Error::new(io::ErrorKind::StorageFull, message);
        if self.short_of(SPARE_BYTES).is_some() {
            let has_room = async || self.short_of(SPARE_BYTES).map_or(Ok(()), |m| Err(full(m)));
            let waited = self.patience().persist(has_room).await;
            waited.context(|| "sending nothing more")?;
        }
        self.patience().healthy().await;
        Ok(())
    }

    /// What is free and what is needed, if that is more.
    fn short_of(&self, needed: u64) -> Option<String> {
        // A disk that does not say how much is free is tried.
        let free = self.free_bytes()?;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        (free < needed).then(|| {
            format!(
                "{} MiB are free in {}, and up to {} MiB are needed",
                mib(free),
                self.scratch().display(),
                mib(needed)
            )
        })
    }

    fn free_bytes(&self) -> Option<u64> {
        if let Some(free) = self.told_free() {
            return Some(free);
        }
        let found = rustix::fs::statvfs(self.scratch()).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}
