//! Runs work for the processor off the threads that wait for the network, unless there is little of it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// At most this many bytes are processed in place: searching, hashing, parsing or compressing them takes a few hundred
/// microseconds, so handing them to another thread gains nothing.
const LITTLE: usize = 64 << 10;

/// Runs work on this many bytes: in place if they are few, otherwise on a blocking thread.
///
/// # Errors
/// The work panicked.
pub(crate) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    if bytes <= LITTLE {
        return catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked);
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Panicked)
}

/// A generous estimate of the size after decompression. Data crafted to expand further exceeds it.
pub(crate) fn unpacked(bytes: usize) -> usize {
    bytes.saturating_mul(16)
}

/// The work panicked; the log shows where.
#[derive(Debug)]
pub(crate) struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the work on it has panicked; please report this defect")
    }
}

impl std::error::Error for Panicked {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_wherever_the_work_is_done() {
        for bytes in [0, LITTLE, LITTLE + 1] {
            let done = aside(bytes, std::thread::current).await.unwrap();
            let here = done.id() == std::thread::current().id();
            assert_eq!(here, bytes <= LITTLE);
            assert!(aside(bytes, || panic!("on purpose")).await.is_err());
        }
    }
}
