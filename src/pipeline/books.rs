//! What a run has sent over all its starts, and what became of each target.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rayon::prelude::*;
use tracing::warn;

use super::target_states::TargetStates;
use crate::clock::Clock;
use crate::error::Error;
use crate::fate::Fate;
use crate::fetch::{End, Entry, Fetched};
use crate::lake::RequestTotals;
use crate::ledger::{Attempt, Charged, EarlierAttempt, Outcome, RefusedTarget};
use crate::money::Usd;
use crate::store::AttemptId;
use crate::targets::{TargetId, TargetList};

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

/// A batch that was answered: its answer is in the ledger.
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
        let asked = earlier
            .par_iter()
            .map(|attempt| attempt.targets.iter().map(|text| list.find(text)).collect());
        let asked: Vec<Vec<Option<TargetId>>> = asked.collect();
        for (
            EarlierAttempt {
                reserved, attempt, ..
            },
            asked,
        ) in earlier.into_iter().zip(asked)
        {
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
            self.entries.push(Entry {
                attempt,
                reserved,
                sent_by: clock.running(),
            });
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
                    self.answered.push(Answered {
                        id,
                        targets: end.targets,
                    });
                }
                End::Refused(reason) => {
                    states.set(&end.targets, Fate::Refused, end.batch, Some(&reason))
                }
                End::Failed(reason) => {
                    states.set(&end.targets, Fate::Failed, end.batch, Some(&reason))
                }
                End::Unsent => states.set(&end.targets, Fate::Unsent, None, None),
            }
        }
        fetched.stopped
    }

    /// Enters what is known of an attempt by now.
    pub(super) fn replace(&mut self, attempt: Attempt) {
        if let Some(entry) = self
            .entries
            .iter_mut()
            .find(|entry| entry.attempt.id == attempt.id)
        {
            entry.attempt = attempt;
        }
    }

    /// What the answers, and the provider's list of tasks, say was charged.
    pub(super) fn cost(&self) -> Usd {
        self.entries
            .iter()
            .filter_map(|entry| entry.attempt.cost_usd)
            .sum()
    }

    /// What may have been charged besides, at the most.
    pub(super) fn cost_unknown(&self) -> Usd {
        let unknown = self
            .entries
            .iter()
            .filter(|entry| entry.attempt.charged == Charged::Unknown);
        unknown.map(|entry| entry.reserved).sum()
    }

    /// Items in the answers that count.
    pub(super) fn items(&self) -> u64 {
        let answered = self
            .entries
            .iter()
            .map(|entry| &entry.attempt)
            .filter(|entry| entry.outcome == Outcome::Ok);
        answered.filter_map(|attempt| attempt.items).sum()
    }

    pub(super) fn totals(&self, lower_bound: u64) -> RequestTotals {
        let again =
            |entry: &&Entry| matches!(entry.attempt.outcome, Outcome::Retried | Outcome::Ambiguous);
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
        let refused = list
            .targets()
            .filter_map(|target| match states.of(target.id) {
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
    let answered = attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::Ok);
    answered
        .filter_map(|attempt| Some((attempt.id.batch, attempt.request_id.as_deref()?)))
        .collect()
}
