//! What a run has sent over all its starts, and what became of each target.

use std::collections::HashMap;
use std::num::NonZeroU32;

use tracing::warn;

use super::spec::Pipeline;
use crate::error::{Error, Result};
use crate::fate::{Fate, Fates};
use crate::fetch::{Attempt, AttemptId, Charged, End, Fetched, Outcome};
use crate::lake::{Archive, EarlierAttempt, RequestTotals};
use crate::money::Usd;
use crate::provider::Endpoint;
use crate::target::{TargetId, TargetList};

/// What a run has sent, over all its starts.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) attempts: Vec<Attempt>,
    pub(super) answered: Vec<Answered>,
    /// The number of the next batch.
    pub(super) next_batch: u32,
    /// What the answers say was charged.
    pub(super) cost: Usd,
    /// What may have been charged besides, at the most.
    pub(super) cost_unknown: Usd,
}

/// A batch that was answered: its answer is in the archive.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) id: AttemptId,
    pub(super) targets: Vec<TargetId>,
}

impl Books {
    /// Takes over what earlier starts of the run have sent. Their answered targets are not asked for again.
    pub(super) async fn take_earlier(
        &mut self,
        archive: &Archive,
        endpoint: Endpoint,
        list: &TargetList,
        states: &mut TargetStates,
    ) -> Result<()> {
        let mut vanished = 0;
        let (earlier, next_batch) = archive.earlier(endpoint).await?;
        self.next_batch = next_batch;
        for EarlierAttempt { targets: asked, reserved, attempt } in earlier {
            let id = attempt.id;
            self.enter(&attempt, reserved);
            if attempt.outcome == Outcome::Ok {
                let mut targets = Vec::with_capacity(asked.len());
                for text in &asked {
                    match list.find(text) {
                        Some(id) => targets.push(id),
                        None => vanished += 1,
                    }
                }
                states.set(&targets, Fate::Absent, Some(id.batch), None);
                self.answered.push(Answered { id, targets });
            } else if attempt.outcome == Outcome::Refused
                && let [text] = asked.as_slice()
                && let Some(target) = list.find(text)
            {
                let reason = refusal(&attempt);
                states.set(&[target], Fate::Refused, Some(id.batch), Some(&reason));
            }
            self.attempts.push(attempt);
        }
        if vanished > 0 {
            warn!(
                vanished,
                "targets of earlier answers are no longer in the list; their rows are kept as unmatched"
            );
        }
        Ok(())
    }

    /// Takes what this start has sent; returns why it stopped early, if it did.
    pub(super) fn take(
        &mut self,
        fetched: Fetched,
        attempts: Vec<Attempt>,
        states: &mut TargetStates,
        pipeline: &Pipeline,
    ) -> Option<Error> {
        for attempt in &attempts {
            self.enter(attempt, pipeline.prices.cost(1, u64::from(attempt.targets)));
        }
        self.attempts.extend(attempts);
        for end in fetched.ends {
            match end.end {
                End::Answered(id) => {
                    // Until flatten has found its row, an asked target counts as absent.
                    states.set(&end.targets, Fate::Absent, Some(end.batch), None);
                    self.answered.push(Answered { id, targets: end.targets });
                }
                End::Refused(reason) => {
                    states.set(&end.targets, Fate::Refused, Some(end.batch), Some(&reason))
                }
                End::Failed(reason) => states.set(&end.targets, Fate::Failed, Some(end.batch), Some(&reason)),
                End::Unsent => states.set(&end.targets, Fate::Unsent, None, None),
            }
        }
        fetched.stopped
    }

    fn enter(&mut self, attempt: &Attempt, worst: Usd) {
        self.cost += attempt.cost_usd.unwrap_or_default();
        if attempt.charged == Charged::Unknown {
            self.cost_unknown += worst;
        }
    }

    pub(super) fn totals(&self, lower_bound: u64) -> RequestTotals {
        RequestTotals {
            sent: self.attempts.len() as u64,
            retries: self
                .attempts
                .iter()
                .filter(|attempt| matches!(attempt.outcome, Outcome::Retried | Outcome::Ambiguous))
                .count() as u64,
            lower_bound,
            cost_usd: self.cost,
            cost_unknown_usd: self.cost_unknown,
        }
    }
}

fn refusal(attempt: &Attempt) -> String {
    format!(
        "{} {}",
        attempt.status_code.unwrap_or_default(),
        attempt.status_message.as_deref().unwrap_or_default()
    )
}

/// The request ids of answered batches.
pub(super) fn request_ids(attempts: &[Attempt]) -> HashMap<u32, &str> {
    let answered = attempts.iter().filter(|attempt| attempt.outcome == Outcome::Ok);
    answered.filter_map(|attempt| Some((attempt.id.batch, attempt.request_id.as_deref()?))).collect()
}

/// What became of each target, by its number.
#[derive(Debug)]
pub(super) struct TargetStates {
    states: Vec<TargetState>,
    reasons: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct TargetState {
    fate: Fate,
    batch: Option<NonZeroU32>,
    reason: Option<NonZeroU32>,
}

impl TargetStates {
    pub(super) fn new(targets: usize) -> Self {
        Self {
            states: vec![TargetState { fate: Fate::Unsent, batch: None, reason: None }; targets],
            reasons: Vec::new(),
        }
    }

    fn set(&mut self, targets: &[TargetId], fate: Fate, batch: Option<u32>, reason: Option<&str>) {
        let batch = batch.and_then(|batch| NonZeroU32::new(batch + 1));
        let reason = reason.and_then(|reason| {
            self.reasons.push(reason.to_owned());
            NonZeroU32::new(self.reasons.len() as u32)
        });
        for target in targets {
            self.states[target.0 as usize] = TargetState { fate, batch, reason };
        }
    }

    pub(super) fn set_fate(&mut self, target: TargetId, fate: Fate) {
        self.states[target.0 as usize].fate = fate;
    }

    /// Fate, reason and batch of a target.
    pub(super) fn of(&self, target: TargetId) -> (Fate, Option<&str>, Option<u32>) {
        let state = self.states[target.0 as usize];
        let reason = state.reason.map(|reason| self.reasons[reason.get() as usize - 1].as_str());
        (state.fate, reason, state.batch.map(|batch| batch.get() - 1))
    }

    /// The fates of all lines of the list.
    pub(super) fn fates(&self, list: &TargetList) -> Fates {
        let mut fates = Fates {
            duplicate: list.duplicate_count() as u64,
            invalid: list.invalid_count() as u64,
            ..Fates::default()
        };
        for state in &self.states {
            *fates.of_mut(state.fate) += 1;
        }
        fates
    }
}
