//! What became of each target.

use std::num::NonZeroU32;

use crate::fate::{Fate, Fates};
use crate::ledger::Unanswered;
use crate::targets::{TargetId, TargetList};

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
            states: vec![
                TargetState {
                    fate: Fate::Unsent,
                    batch: None,
                    reason: None
                };
                targets
            ],
            reasons: Vec::new(),
        }
    }

    pub(super) fn set(
        &mut self,
        targets: &[TargetId],
        fate: Fate,
        batch: Option<u32>,
        reason: Option<&str>,
    ) {
        let batch = batch.and_then(|batch| NonZeroU32::new(batch + 1));
        let reason = reason.and_then(|reason| {
            self.reasons.push(reason.to_owned());
            NonZeroU32::new(self.reasons.len() as u32)
        });
        for target in targets {
            self.states[target.0 as usize] = TargetState {
                fate,
                batch,
                reason,
            };
        }
    }

    pub(super) fn set_fate(&mut self, target: TargetId, fate: Fate) {
        self.states[target.0 as usize].fate = fate;
    }

    /// The targets that were not answered, and what became of them.
    pub(super) fn unanswered(&self, list: &TargetList) -> Vec<Unanswered> {
        let open = list
            .targets()
            .filter_map(|target| match self.of(target.id) {
                (Fate::Absent | Fate::Returned, ..) => None,
                (fate, reason, batch) => {
                    let reason = reason.map(str::to_owned);
                    Some(Unanswered {
                        target: target.text.to_owned(),
                        fate,
                        reason,
                        batch,
                    })
                }
            });
        open.collect()
    }

    /// Takes over what an earlier start has kept of targets that were not answered.
    pub(super) fn take_unanswered(&mut self, kept: &[Unanswered], list: &TargetList) {
        for Unanswered {
            target,
            fate,
            reason,
            batch,
        } in kept
        {
            if let Some(id) = list
                .find(target)
                .filter(|id| self.of(*id).0 != Fate::Absent)
            {
                self.set(&[id], *fate, *batch, reason.as_deref());
            }
        }
    }

    /// A provider that refused every target has had a bad hour: they are asked again.
    pub(super) fn forgive_if_all_are_refused(&mut self) {
        if self.states.iter().all(|state| state.fate == Fate::Refused) {
            self.states.fill(TargetState {
                fate: Fate::Unsent,
                batch: None,
                reason: None,
            });
        }
    }

    /// Fate, reason and batch of a target.
    pub(super) fn of(&self, target: TargetId) -> (Fate, Option<&str>, Option<u32>) {
        let state = self.states[target.0 as usize];
        let reason = state
            .reason
            .map(|reason| self.reasons[reason.get() as usize - 1].as_str());
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
