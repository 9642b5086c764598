//! What a run has sent over all its starts, and what became of each target.

use std::collections::HashMap;
use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use rayon::prelude::*;
use tracing::warn;

use crate::clock::Clock;
use crate::error::Error;
use crate::fate::{Fate, Fates};
use crate::fetch::{Attempt, AttemptId, Charged, End, Entry, Fetched, Outcome};
use crate::lake::{EarlierAttempt, RefusedTarget, RequestTotals, Unanswered};
use crate::money::Usd;
use crate::target::{TargetId, TargetList};

/// What a run has sent, over all its starts.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) entries: Vec<Entry>,
    pub(super) answered: Vec<Answered>,
    /// The number of the next batch.
    pub(super) next_batch: u32,
    /// Targets of earlier answers that are no longer in the list.
    pub(super) vanished: u64,
}

/// A batch that was answered: its answer is in the archive.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) id: AttemptId,
    pub(super) targets: Vec<TargetId>,
}

impl Books {
    /// Takes over what earlier starts of the run have sent. Their answered targets are not asked for again.
    pub(super) fn take_earlier(
        &mut self,
        (earlier, next_batch): (Vec<EarlierAttempt>, u32),
        list: &TargetList,
        states: &mut TargetStates,
        clock: &Clock,
    ) {
        self.next_batch = next_batch;
        let asked =
            earlier.par_iter().map(|attempt| attempt.targets.iter().map(|text| list.find(text)).collect());
        let asked: Vec<Vec<Option<TargetId>>> = asked.collect();
        for (EarlierAttempt { reserved, attempt, .. }, asked) in earlier.into_iter().zip(asked) {
            let id = attempt.id;
            if attempt.outcome == Outcome::Ok {
                let mut targets = Vec::with_capacity(asked.len());
                for target in asked {
                    match target {
                        // Asked again though its answer was there, it stays with the first: the rows of the other
                        // answer nothing that was asked. An answer outranks a refusal.
                        Some(id) if states.of(id).0 != Fate::Absent => targets.push(id),
                        Some(_) => {}
                        None => self.vanished += 1,
                    }
                }
                states.set(&targets, Fate::Absent, Some(id.batch), None);
                self.answered.push(Answered { id, targets });
            } else if attempt.outcome == Outcome::Refused
                && let &[Some(target)] = asked.as_slice()
                && states.of(target).0 != Fate::Absent
            {
                let reason = refusal(&attempt);
                states.set(&[target], Fate::Refused, Some(id.batch), Some(&reason));
            }
            // Whoever sent it is gone by now.
            self.entries.push(Entry { attempt, reserved, sent_by: clock.running() });
        }
        states.forgive_if_all_are_refused();
        if self.vanished > 0 {
            warn!(
                vanished = self.vanished,
                "targets of earlier answers are no longer in the list; their rows are kept as unmatched"
            );
        }
    }

    /// Takes what this start has sent; returns why it stopped early, if it did.
    pub(super) fn take(&mut self, fetched: Fetched, states: &mut TargetStates) -> Option<Error> {
        self.next_batch = fetched.next_batch;
        self.entries.extend(fetched.entries);
        for end in fetched.ends {
            match end.end {
                End::Answered(id) => {
                    // Until flatten has found its row, an asked target counts as absent.
                    states.set(&end.targets, Fate::Absent, end.batch, None);
                    self.answered.push(Answered { id, targets: end.targets });
                }
                End::Refused(reason) => states.set(&end.targets, Fate::Refused, end.batch, Some(&reason)),
                End::Failed(reason) => states.set(&end.targets, Fate::Failed, end.batch, Some(&reason)),
                End::Unsent => states.set(&end.targets, Fate::Unsent, None, None),
            }
        }
        fetched.stopped
    }

    /// Enters what is known of an attempt by now.
    pub(super) fn replace(&mut self, attempt: Attempt) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.attempt.id == attempt.id) {
            entry.attempt = attempt;
        }
    }

    /// What the answers, and the provider's list of tasks, say was charged.
    pub(super) fn cost(&self) -> Usd {
        self.entries.iter().filter_map(|entry| entry.attempt.cost_usd).sum()
    }

    /// What may have been charged besides, at the most.
    pub(super) fn cost_unknown(&self) -> Usd {
        let unknown = self.entries.iter().filter(|entry| entry.attempt.charged == Charged::Unknown);
        unknown.map(|entry| entry.reserved).sum()
    }

    /// Items in the answers that count.
    pub(super) fn items(&self) -> u64 {
        let answered =
            self.entries.iter().map(|entry| &entry.attempt).filter(|entry| entry.outcome == Outcome::Ok);
        answered.filter_map(|attempt| attempt.items).sum()
    }

    pub(super) fn totals(&self, lower_bound: u64) -> RequestTotals {
        let again = |entry: &&Entry| matches!(entry.attempt.outcome, Outcome::Retried | Outcome::Ambiguous);
        RequestTotals {
            sent: self.entries.len() as u64,
            retries: self.entries.iter().filter(again).count() as u64,
            lower_bound,
            cost_usd: self.cost(),
            cost_unknown_usd: self.cost_unknown(),
        }
    }

    /// The targets that the provider has refused while this snapshot was fetched, to be remembered: none if it refuses
    /// most, for then it is not the targets.
    pub(super) fn refused(&self, list: &TargetList, states: &TargetStates) -> Vec<RefusedTarget> {
        let fates = states.fates(list);
        if fates.refused > list.target_count() as u64 / 2 {
            return Vec::new();
        }
        let mut when: HashMap<u32, DateTime<Utc>> = HashMap::new();
        for Entry { attempt, .. } in &self.entries {
            if attempt.outcome == Outcome::Refused {
                when.insert(attempt.id.batch, attempt.sent_at);
            }
        }
        let refused = list.targets().filter_map(|target| match states.of(target.id) {
            (Fate::Refused, Some(reason), Some(batch)) => Some(RefusedTarget {
                target: target.text.to_owned(),
                reason: reason.to_owned(),
                refused_at: *when.get(&batch)?,
            }),
            _ => None,
        });
        refused.collect()
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

    pub(super) fn set(&mut self, targets: &[TargetId], fate: Fate, batch: Option<u32>, reason: Option<&str>) {
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

    /// The targets that were not answered, and what became of them.
    pub(super) fn unanswered(&self, list: &TargetList) -> Vec<Unanswered> {
        let open = list.targets().filter_map(|target| match self.of(target.id) {
            (Fate::Absent | Fate::Returned, ..) => None,
            (fate, reason, batch) => {
                let reason = reason.map(str::to_owned);
                Some(Unanswered { target: target.text.to_owned(), fate, reason, batch })
            }
        });
        open.collect()
    }

    /// Takes over what an earlier start has kept of targets that were not answered.
    pub(super) fn take_unanswered(&mut self, kept: &[Unanswered], list: &TargetList) {
        for Unanswered { target, fate, reason, batch } in kept {
            if let Some(id) = list.find(target).filter(|id| self.of(*id).0 != Fate::Absent) {
                self.set(&[id], *fate, *batch, reason.as_deref());
            }
        }
    }

    /// A provider that refused every target has had a bad hour: they are asked again.
    fn forgive_if_all_are_refused(&mut self) {
        if self.states.iter().all(|state| state.fate == Fate::Refused) {
            self.states.fill(TargetState { fate: Fate::Unsent, batch: None, reason: None });
        }
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
