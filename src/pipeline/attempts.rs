//! The attempts of a run over all its starts, and what they cost.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rayon::prelude::*;
use tracing::warn;

use super::target_states::{TargetState, TargetStates};
use crate::clock::Clock;
use crate::error::Error;
use crate::fate::Fate;
use crate::fetch::{End, Entry, Fetched};
use crate::lake::RequestTotals;
use crate::ledger::{Attempt, Charged, EarlierAttempt, Outcome, RefusedTarget, ReturnedTarget};
use crate::money::Usd;
use crate::provider::StatusClass;
use crate::store::AttemptId;
use crate::targets::{TargetId, TargetList};

/// The attempts of a run over all its starts.
#[derive(Debug, Default)]
pub(super) struct RunAttempts {
    pub(super) entries: Vec<Entry>,
    /// The batches whose response is in the archive.
    pub(super) archived: Vec<ArchivedBatch>,
    /// The number of the next batch.
    pub(super) next_batch: u32,
    /// How many targets of earlier responses are no longer in the list.
    pub(super) vanished: u64,
}

/// A batch whose response is in the archive.
#[derive(Debug, Clone)]
pub(super) struct ArchivedBatch {
    pub(super) id: AttemptId,
    pub(super) targets: Arc<[TargetId]>,
}

impl RunAttempts {
    /// Adds what earlier starts of the run have sent, and sets the states of their targets: a
    /// target with an archived response is not asked for again.
    pub(super) fn add_earlier(
        &mut self,
        earlier: Vec<EarlierAttempt>,
        list: &TargetList,
        states: &mut TargetStates,
        clock: &Clock,
    ) {
        let requested = earlier
            .par_iter()
            .map(|attempt| list.find_all(attempt.targets.iter()));
        let requested: Vec<Vec<Option<TargetId>>> = requested.collect();
        for (earlier, requested) in earlier.into_iter().zip(requested) {
            let EarlierAttempt {
                reserved, attempt, ..
            } = earlier;
            match (attempt.outcome, requested.as_slice()) {
                (Outcome::Ok, _) => self.add_archived(attempt.id, &requested, states),
                // A response to the same target outranks the refusal.
                (Outcome::Refused, &[Some(target)]) if states.fate_of(target) != Fate::Absent => {
                    let state = TargetState {
                        fate: Fate::Refused,
                        reason: Some(&refusal(&attempt)),
                        batch: Some(attempt.id.batch),
                    };
                    states.set(&[target], state);
                }
                _ => {}
            }
            // The process that sent it no longer runs, so it was sent before now.
            let sent_by = clock.running();
            self.entries.push(Entry {
                attempt,
                reserved,
                sent_by,
            });
        }
        if self.vanished > 0 {
            warn!(
                vanished = self.vanished,
                "targets of earlier responses are no longer in the list; their rows are kept as unmatched"
            );
        }
    }

    fn add_archived(
        &mut self,
        id: AttemptId,
        requested: &[Option<TargetId>],
        states: &mut TargetStates,
    ) {
        let mut targets = Vec::with_capacity(requested.len());
        for target in requested {
            match target {
                // A target that was asked for twice belongs to the first response; the row of the
                // second counts as unmatched.
                Some(id) if states.fate_of(*id) != Fate::Absent => targets.push(*id),
                Some(_) => {}
                None => self.vanished += 1,
            }
        }
        states.set(&targets, asked(Fate::Absent, Some(id.batch), None));
        let targets = targets.into();
        self.archived.push(ArchivedBatch { id, targets });
    }

    /// Adds what this start has sent. Returns why sending stopped early, if it did.
    pub(super) fn add(&mut self, fetched: Fetched, states: &mut TargetStates) -> Option<Error> {
        self.next_batch = fetched.next_batch;
        self.entries.extend(fetched.entries);
        for end in fetched.ends {
            let (targets, batch) = (end.targets, end.batch);
            match end.end {
                End::Complete(id) => {
                    // Until `flatten` finds its row, a target counts as absent.
                    states.set(&targets, asked(Fate::Absent, batch, None));
                    self.archived.push(ArchivedBatch { id, targets });
                }
                End::Refused(reason) => {
                    states.set(&targets, asked(Fate::Refused, batch, Some(&reason)));
                }
                End::Failed(reason) => {
                    states.set(&targets, asked(Fate::Failed, batch, Some(&reason)));
                }
                End::Unsent => states.set(&targets, asked(Fate::Unsent, None, None)),
            }
        }
        fetched.stopped
    }

    /// Replaces an attempt whose charge is settled now.
    pub(super) fn replace(&mut self, attempt: Attempt) {
        let mut entries = self.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.attempt.id == attempt.id) {
            entry.attempt = attempt;
        }
    }

    /// Puts attempts and archived batches in the order of their numbers.
    pub(super) fn sort(&mut self) {
        self.archived.sort_by_key(|batch| batch.id);
        self.entries.sort_by_key(|entry| entry.attempt.id);
    }

    /// What is known to be charged.
    pub(super) fn cost(&self) -> Usd {
        let entries = self.entries.iter();
        entries.filter_map(|entry| entry.attempt.cost_usd).sum()
    }

    /// What may be charged in addition, at most.
    pub(super) fn cost_unknown(&self) -> Usd {
        self.unknown().map(|entry| entry.reserved).sum()
    }

    /// What is or may be charged, at most.
    pub(super) fn committed(&self) -> Usd {
        self.cost() + self.cost_unknown()
    }

    /// Whether the charge of some attempt is unknown.
    pub(super) fn has_unknown_charges(&self) -> bool {
        self.unknown().next().is_some()
    }

    fn unknown(&self) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.iter();
        entries.filter(|entry| entry.attempt.charged == Charged::Unknown)
    }

    /// Items in the responses that count.
    pub(super) fn items(&self) -> u64 {
        let attempts = self.entries.iter().map(|entry| &entry.attempt);
        let archived = attempts.filter(|attempt| attempt.outcome == Outcome::Ok);
        archived.filter_map(|attempt| attempt.items).sum()
    }

    /// How many requests were sent and what they cost.
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

    /// The targets that the provider refused during this run, for later runs to skip. None if it
    /// refused most of the list: then the targets are probably not the cause. A target that was
    /// refused with an unknown code is asked for again, for the same reason.
    pub(super) fn refused(&self, list: &TargetList, states: &TargetStates) -> Vec<RefusedTarget> {
        // Those that were refused in earlier runs were not asked for, so they do not count here.
        let refused = || list.ids().filter(|&id| states.fate_of(id) == Fate::Refused);
        let asked = refused().filter(|&id| states.of(id).batch.is_some());
        if asked.count() > list.target_count() / 2 {
            return Vec::new();
        }
        let when = self.sent_at(|attempt| {
            attempt.outcome == Outcome::Refused
                && attempt.status_code.map(StatusClass::of) == Some(StatusClass::BatchRefused)
        });
        let refused = refused().filter_map(|id| {
            let state = states.of(id);
            Some(RefusedTarget {
                target: list.target(id).text.into_owned(),
                reason: state.reason?.to_owned(),
                refused_at: *when.get(&state.batch?)?,
            })
        });
        refused.collect()
    }

    /// Those of the targets of earlier refusals that have a response to a later request.
    pub(super) fn returned(
        &self,
        before: Vec<(TargetId, RefusedTarget)>,
        states: &TargetStates,
    ) -> Vec<ReturnedTarget> {
        if before.is_empty() {
            return Vec::new();
        }
        let when = self.sent_at(|attempt| attempt.outcome == Outcome::Ok);
        let returned = before.into_iter().filter_map(|(id, before)| {
            // Whether a target with a response has a row is found out later, and does not matter here.
            let state = states.of(id);
            let batch = state.batch.filter(|_| state.fate == Fate::Absent)?;
            let returned_at = *when.get(&batch)?;
            (before.refused_at < returned_at).then_some(ReturnedTarget {
                target: before.target,
                returned_at,
            })
        });
        returned.collect()
    }

    /// When the last such attempt of each batch was sent.
    fn sent_at(&self, wanted: impl Fn(&Attempt) -> bool) -> HashMap<u32, DateTime<Utc>> {
        let attempts = self.entries.iter().map(|entry| &entry.attempt);
        let wanted = attempts.filter(|attempt| wanted(attempt));
        wanted
            .map(|attempt| (attempt.id.batch, attempt.sent_at))
            .collect()
    }
}

fn asked(fate: Fate, batch: Option<u32>, reason: Option<&str>) -> TargetState<'_> {
    TargetState {
        fate,
        reason,
        batch,
    }
}

fn refusal(attempt: &Attempt) -> String {
    format!(
        "{} {}",
        attempt.status_code.unwrap_or_default(),
        attempt.status_message.as_deref().unwrap_or_default()
    )
}

/// The request ids of the batches that have a response.
pub(super) fn request_ids(attempts: &[Attempt]) -> HashMap<u32, &str> {
    let archived = attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::Ok);
    archived
        .filter_map(|attempt| Some((attempt.id.batch, attempt.request_id.as_deref()?)))
        .collect()
}
