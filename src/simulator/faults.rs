//! The faults that a scenario can name: failures of the provider, of the connection, and of the
//! clock.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::provider::code;

/// A fault of some requests to the paid endpoint, which are counted from 0 in the order of arrival.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The kind of fault.
    pub what: What,
    /// Whether the task is still done and charged.
    #[serde(default)]
    pub charged: bool,
    /// The share of requests that have the fault, from 0 to 1.
    #[serde(default = "all")]
    pub share: f64,
    /// The first request that can have the fault.
    #[serde(default)]
    pub from: u64,
    /// The first request that can no longer have the fault.
    #[serde(default = "never")]
    pub until: u64,
    /// The status of [`What::Code`], [`What::EnvelopeCode`] and [`What::Html`].
    #[serde(default)]
    pub code: u32,
    /// The delay of [`What::Late`], or the step of [`What::WallClock`].
    #[serde(default)]
    pub seconds: f64,
    /// How many times the price [`What::Dearer`] charges.
    #[serde(default)]
    pub times: u64,
}

fn all() -> f64 {
    1.0
}

fn never() -> u64 {
    u64::MAX
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The task fails with a status code of the provider.
    Code,
    /// The whole request fails with a status code of the provider: there is no task.
    EnvelopeCode,
    /// The task costs more than the price.
    Dearer,
    /// The envelope is written in an unusual form, another one for each request.
    Odd,
    /// The encoding of the body has an unusual name.
    Encoding,
    /// The response is an HTML page with an HTTP status.
    Html,
    /// The connection is refused. (A simulator on a port can only close it.)
    Refused,
    /// The connection is closed without a response.
    Reset,
    /// The connection is closed in the middle of the response.
    BreakOff,
    /// The response stops in the middle, and the connection stays open.
    Stall,
    /// The compressed body is truncated, and the response ends as if it were complete.
    TruncatedGzip,
    /// The response takes longer.
    Late,
    /// The wall clock is set forward or back.
    WallClock,
}

impl Fault {
    /// Whether a request has the fault; `draw` is a random number from 0 to 1.
    pub(super) fn strikes(&self, number: u64, draw: f64) -> bool {
        (self.from..self.until).contains(&number) && draw < self.share
    }

    /// The delay of [`What::Late`].
    pub(super) fn delay(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }

    /// The step of [`What::WallClock`].
    pub(super) fn step(&self) -> chrono::Duration {
        chrono::Duration::milliseconds((self.seconds * 1000.0) as i64)
    }
}

/// Targets that the provider refuses for reasons of its own.
#[derive(Debug, Clone)]
pub struct Poison {
    /// The targets in canonical form.
    pub targets: Arc<HashSet<String>>,
    /// Whether the refusal names the target.
    pub named: bool,
    /// The status code of the refusal.
    pub code: u32,
}

impl Default for Poison {
    fn default() -> Self {
        Self {
            targets: Arc::default(),
            named: false,
            code: code::INVALID_FIELD,
        }
    }
}
