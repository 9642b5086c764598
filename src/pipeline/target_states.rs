//! The state of every target: its fate, the reason and the batch that asked for it.

use std::num::NonZeroU32;

use crate::fate::{Fate, Fates};
use crate::ledger::UnansweredTarget;
use crate::targets::{TargetId, TargetList};

/// The state of every target, by its number. Twelve bytes per target.
#[derive(Debug)]
pub(super) struct TargetStates {
    states: Vec<PackedState>,
    reasons: Vec<String>,
}

/// The state of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TargetState<'a> {
    pub(super) fate: Fate,
    /// Why, if the fate alone does not say it.
    pub(super) reason: Option<&'a str>,
    /// The batch that asked last.
    pub(super) batch: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct PackedState {
    fate: Fate,
    /// The number of the batch, plus one.
    batch: Option<NonZeroU32>,
    /// The index of the reason, plus one.
    reason: Option<NonZeroU32>,
}

const UNSENT: PackedState = PackedState {
    fate: Fate::Unsent,
    batch: None,
    reason: None,
};

impl TargetStates {
    /// The states of targets before anything is sent.
    pub(super) fn new(targets: usize) -> Self {
        Self {
            states: vec![UNSENT; targets],
            reasons: Vec::new(),
        }
    }

    /// Sets the state of targets that were asked for together.
    pub(super) fn set(&mut self, targets: &[TargetId], state: TargetState<'_>) {
        let reason = state.reason.and_then(|reason| {
            self.reasons.push(reason.to_owned());
            NonZeroU32::new(self.reasons.len() as u32)
        });
        let packed = PackedState {
            fate: state.fate,
            batch: state.batch.and_then(|batch| NonZeroU32::new(batch + 1)),
            reason,
        };
        for target in targets {
            self.states[target.0 as usize] = packed;
        }
    }

    /// Changes the fate of a target and keeps the rest.
    pub(super) fn set_fate(&mut self, target: TargetId, fate: Fate) {
        self.states[target.0 as usize].fate = fate;
    }

    /// The state of a target.
    pub(super) fn of(&self, target: TargetId) -> TargetState<'_> {
        let packed = self.states[target.0 as usize];
        TargetState {
            fate: packed.fate,
            reason: packed
                .reason
                .map(|reason| self.reasons[reason.get() as usize - 1].as_str()),
            batch: packed.batch.map(|batch| batch.get() - 1),
        }
    }

    /// The targets without a response, and their states.
    pub(super) fn unanswered(&self, list: &TargetList) -> Vec<UnansweredTarget> {
        let open = list.targets().filter_map(|target| {
            let state = self.of(target.id);
            (!matches!(state.fate, Fate::Absent | Fate::Returned)).then(|| UnansweredTarget {
                target: target.text.to_owned(),
                fate: state.fate,
                reason: state.reason.map(str::to_owned),
                batch: state.batch,
            })
        });
        open.collect()
    }

    /// Restores what an earlier start recorded about targets without a response.
    pub(super) fn restore(&mut self, recorded: &[UnansweredTarget], list: &TargetList) {
        for UnansweredTarget {
            target,
            fate,
            reason,
            batch,
        } in recorded
        {
            let target = list.find(target);
            if let Some(id) = target.filter(|id| self.of(*id).fate != Fate::Absent) {
                let state = TargetState {
                    fate: *fate,
                    reason: reason.as_deref(),
                    batch: *batch,
                };
                self.set(&[id], state);
            }
        }
    }

    /// Resets all targets if every one is refused: then the cause was the provider, and they are
    /// asked for again. Returns whether it did.
    pub(super) fn reset_if_all_are_refused(&mut self) -> bool {
        let all = self.states.iter().all(|state| state.fate == Fate::Refused);
        if all {
            self.states.fill(UNSENT);
        }
        all
    }

    /// Whether each target is still to be sent, by its number.
    pub(super) fn unsent(&self) -> Vec<bool> {
        let states = self.states.iter();
        states.map(|state| state.fate == Fate::Unsent).collect()
    }

    /// The reason of the first target that failed, else of the first one that is refused: an
    /// example for messages.
    pub(super) fn failure(&self) -> Option<&str> {
        let first = |fate| self.states.iter().find(|state| state.fate == fate);
        let state = first(Fate::Failed).or_else(|| first(Fate::Refused))?;
        Some(self.reasons[state.reason?.get() as usize - 1].as_str())
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
