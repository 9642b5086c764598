//! Asked to stop from outside: a signal, or the loss of the lock.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{Error, ErrorKind};

/// Why a run is to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT: someone pressed Ctrl-C.
    Interrupted,
    /// SIGTERM or SIGHUP: the machine, the scheduler or the terminal goes away.
    Terminated,
    /// Another run has taken the lock over; with what is known of it.
    LockLost(String),
    /// The lock cannot be renewed, because the lake fails; with how.
    LakeFails(String),
}

impl StopReason {
    /// What the run ends with.
    #[must_use]
    pub fn error(&self) -> Error {
        match self {
            Self::Interrupted => Error::new(ErrorKind::Interrupted, "interrupted"),
            Self::Terminated => Error::new(ErrorKind::Terminated, "asked to terminate"),
            Self::LakeFails(how) => {
                Error::unexpected(format!("the lock on the snapshot cannot be renewed: {how}"))
            }
            Self::LockLost(how) => Error::new(
                ErrorKind::Locked,
                format!("the lock on the snapshot is lost: {how}"),
            ),
        }
    }
}

/// A handle to stop a run with, and to see whether it is to stop. Clones are the same handle.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<Option<StopReason>>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Stop {
    /// Asks the run to stop; the first reason counts. False if it was asked before.
    pub fn request(&self, reason: StopReason) -> bool {
        self.0.send_if_modified(|asked| {
            let first = asked.is_none();
            if first {
                *asked = Some(reason);
            }
            first
        })
    }

    /// Why the run is to stop, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.0.borrow().clone()
    }

    /// Returns when the run is asked to stop.
    pub async fn requested(&self) -> StopReason {
        let mut asked = self.0.subscribe();
        // The sender lives as long as this, so waiting cannot fail.
        let reason = asked
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or(StopReason::Terminated)
    }
}
