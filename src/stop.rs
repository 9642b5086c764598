//! A request to stop that comes from outside the work: a signal, or the loss of the lock.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

/// Why the process must stop its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT: someone pressed Ctrl-C.
    Interrupted,
    /// SIGTERM or SIGHUP: the machine, the scheduler or the terminal is going down.
    Terminated,
    /// Another run has taken over the lock; with what is known about that run.
    LockLost(String),
    /// The lock cannot be renewed, because the lake fails; with the cause.
    LakeFails(String),
}

impl StopReason {
    /// The error that the work ends with.
    #[must_use]
    pub fn error(&self) -> Error {
        match self {
            Self::Interrupted => Error::new(ErrorKind::Interrupted, "interrupted"),
            Self::Terminated => Error::new(ErrorKind::Terminated, "terminated by a signal"),
            Self::LakeFails(cause) => {
                Error::unexpected(format!("failed to renew the lock on the snapshot: {cause}"))
            }
            Self::LockLost(cause) => Error::new(
                ErrorKind::Locked,
                format!("lost the lock on the snapshot: {cause}"),
            ),
        }
    }
}

/// Requests a stop, and tells whether one was requested. All clones share one state.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<Option<StopReason>>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Stop {
    /// Requests a stop. The first reason counts. Returns whether this is the first request.
    pub fn request(&self, reason: StopReason) -> bool {
        self.0.send_if_modified(|requested| {
            let first = requested.is_none();
            if first {
                *requested = Some(reason);
            }
            first
        })
    }

    /// The reason, or `None` if no stop was requested.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.0.borrow().clone()
    }

    /// Goes on unless a stop was requested.
    ///
    /// # Errors
    /// The reason of the stop.
    pub fn check(&self) -> Result<()> {
        self.reason().map_or(Ok(()), |reason| Err(reason.error()))
    }

    /// Waits until a stop is requested.
    pub async fn requested(&self) -> StopReason {
        let mut requested = self.0.subscribe();
        // `self` keeps the sender alive, so waiting cannot fail.
        let reason = requested
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or(StopReason::Terminated)
    }
}
