//! Runs work for the processor off the threads that wait for the network, unless there is little of it.
//!
//! # Memory
//! As many threads as there are cores do this work, however many responses wait for it. More threads
//! would gain nothing, and each thread that allocates much keeps some of the memory that it frees.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// At most this many bytes are processed in place: searching, hashing, parsing or compressing them takes a few hundred
/// microseconds, so handing them to another thread gains nothing.
const LITTLE: usize = 64 << 10;

/// A pool of its own, so that no response waits for rows to be sorted and written before it is
/// archived. None if the system allows no more threads; then blocking threads do the work.
static THREADS: LazyLock<Option<ThreadPool>> =
    LazyLock::new(|| ThreadPoolBuilder::new().build().ok());

/// Runs work on this many bytes: in place if they are few, otherwise on another thread.
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
    // The runtime waits for blocking tasks, so simulated time does not run ahead of the work.
    let done = tokio::task::spawn_blocking(|| match &*THREADS {
        Some(threads) => threads.install(work),
        None => work(),
    });
    done.await.map_err(|_| Panicked)
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
            let done = aside(bytes, || {
                (std::thread::current().id(), rayon::current_thread_index())
            });
            let (thread, in_pool) = done.await.unwrap();
            assert_eq!(thread == std::thread::current().id(), bytes <= LITTLE);
            assert_eq!(in_pool.is_some(), bytes > LITTLE);
            assert!(aside(bytes, || panic!("on purpose")).await.is_err());
        }
    }
}
