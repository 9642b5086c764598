//! Limits how long requests in flight are awaited after a signal.

use std::time::Duration;

use tracing::warn;

use crate::clock::Clock;
use crate::stop::{Stop, StopReason};

/// Watches for a stop from outside. After a signal it gives requests in flight a limited time to
/// end.
pub(super) struct Drain<'a> {
    stop: &'a Stop,
    clock: &'a Clock,
    limit: Duration,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No stop was requested yet.
    Watching,
    /// Requests in flight are awaited until this reading of the clock.
    Until(Duration),
    /// A stop was requested, and requests in flight are awaited as long as they take.
    Unlimited,
}

impl<'a> Drain<'a> {
    pub(super) fn new(stop: &'a Stop, clock: &'a Clock, limit: Duration) -> Self {
        Self {
            stop,
            clock,
            limit,
            state: State::Watching,
        }
    }

    /// Waits until a stop is requested. Never returns after [`Drain::begin`].
    pub(super) async fn requested(&self) -> StopReason {
        match self.state {
            State::Watching => self.stop.requested().await,
            State::Until(_) | State::Unlimited => std::future::pending().await,
        }
    }

    /// Starts the time limit, if the reason is a signal: someone waits for the process to end.
    /// After the loss of the lock, requests in flight may take as long as they need.
    pub(super) fn begin(&mut self, reason: &StopReason) {
        self.state = match reason {
            StopReason::Interrupted | StopReason::Terminated => {
                State::Until(self.clock.running() + self.limit)
            }
            StopReason::LockLost(_) | StopReason::LakeFails(_) => State::Unlimited,
        };
    }

    /// Waits until the time limit is over. Never returns without a time limit.
    pub(super) async fn over(&self) {
        match self.state {
            State::Until(end) => {
                let rest = end.saturating_sub(self.clock.running());
                self.clock.sleep(rest).await;
            }
            State::Watching | State::Unlimited => std::future::pending().await,
        }
    }

    /// Ends the time limit: `requests` in flight are abandoned.
    pub(super) fn end(&mut self, requests: usize) {
        self.state = State::Unlimited;
        warn!(
            requests,
            "abandoned the requests in flight; they may be charged, and the next start finds out"
        );
    }
}
