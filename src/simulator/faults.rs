//! What goes wrong at the provider and on the way to it: the faults that a scenario names.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

use super::server::{Envelope, State, answer, html};
use super::{Charge, Reaction, Scripted};
use crate::provider::code;

/// Something that goes wrong with some requests to the paid endpoint, counted from 0 as they come.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub what: What,
    /// Whether the task is done and charged nevertheless.
    #[serde(default)]
    pub charged: bool,
    /// The share of requests it happens to.
    #[serde(default = "all")]
    pub share: f64,
    /// The first request it may happen to.
    #[serde(default)]
    pub from: u64,
    /// The first request it no longer happens to.
    #[serde(default = "never")]
    pub until: u64,
    /// The status of [`What::Code`] and [`What::Html`].
    #[serde(default)]
    pub code: u32,
    /// How much of [`What::Late`] and [`What::WallClock`].
    #[serde(default)]
    pub seconds: f64,
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
    /// The task fails with a code of the provider.
    Code,
    /// A page of HTML under an HTTP status.
    Html,
    /// No connection. (A simulator that listens can only hang up.)
    Refused,
    /// The connection is closed without an answer.
    Reset,
    /// The connection is closed in the middle of the answer.
    BreakOff,
    /// The answer stops in the middle and nothing more comes.
    Stall,
    /// The compressed body is cut, and the answer ends as if it were whole.
    TruncatedGzip,
    /// The answer takes longer.
    Late,
    /// The clock on the wall is set forward or back.
    WallClock,
}

/// Targets that the provider takes for bad.
#[derive(Debug, Clone)]
pub struct Poison {
    /// In canonical form.
    pub targets: Arc<HashSet<String>>,
    /// Whether the refusal names the target.
    pub named: bool,
    /// The refusal's code.
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

impl Fault {
    /// Whether it happens to this request; `draw` is a random number from 0 to 1.
    pub(super) fn strikes(&self, number: u64, draw: f64) -> bool {
        (self.from..self.until).contains(&number) && draw < self.share
    }

    pub(super) fn duration(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }

    pub(super) fn step(&self) -> chrono::Duration {
        chrono::Duration::milliseconds((self.seconds * 1000.0) as i64)
    }

    /// What happens in place of doing the task.
    pub(super) fn instead(&self, headers: &HeaderMap, state: &State) -> Reaction {
        match self.what {
            What::Code => answer(
                &Envelope::of_failed_task(state, self.code, "Scripted."),
                headers,
            )
            .into(),
            What::Html => html(self.code as u16).into(),
            What::Refused => Reaction::Refused,
            What::Stall => Reaction::Stall(0, Scripted::ok("")),
            _ => Reaction::HangUp,
        }
    }

    /// What becomes of the answer to a task that was done.
    pub(super) fn after(
        &self,
        number: u64,
        mut whole: Scripted,
        id: &str,
        headers: &HeaderMap,
        state: &State,
    ) -> Reaction {
        match self.what {
            What::Code => {
                // A failed task can be billed.
                let mut failed = Envelope::of_failed_task(state, self.code, "Scripted.");
                let mut ledger = state.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(charge) = ledger.iter_mut().find(|charge| charge.id == id) {
                    *charge = Charge {
                        status_code: self.code,
                        items: 0,
                        ..charge.clone()
                    };
                    failed.charge(charge.cost);
                }
                answer(&failed, headers).into()
            }
            What::Html => html(self.code as u16).into(),
            What::BreakOff => Reaction::BreakOff(number, whole),
            What::Stall => Reaction::Stall(number, whole),
            What::TruncatedGzip => {
                whole.body.truncate(whole.body.len() / 2);
                whole.into()
            }
            _ => Reaction::HangUp,
        }
    }
}
