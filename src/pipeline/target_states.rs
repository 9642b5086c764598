//! The state of every target: its fate, the reason and the batch that asked for it.

use std::num::NonZeroU32;

use hashbrown::HashMap;

use crate::fate::{Fate, Fates};
use crate::ledger::UnansweredTarget;
use crate::targets::{TargetId, TargetList};

/// The state of every target. Five bytes per target, and about 15 for each target with a reason.
#[derive(Debug)]
pub(super) struct TargetStates {
    /// The fate of each target, by its number.
    fates: Vec<Fate>,
    /// The batch of each target, plus one.
    batches: Vec<Option<NonZeroU32>>,
    /// The indexes of the reasons. Few targets have one.
    reasons_of: HashMap<TargetId, u32>,
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

impl TargetStates {
    /// The states of targets before anything is sent.
    pub(super) fn new(targets: usize) -> Self {
        Self {
            fates: vec![Fate::Unsent; targets],
            batches: vec![None; targets],
            reasons_of: HashMap::new(),
            reasons: Vec::new(),
        }
    }

    /// Sets the state of targets that were asked for together.
    pub(super) fn set(&mut self, targets: &[TargetId], state: TargetState<'_>) {
        let reason = state.reason.map(|reason| {
            self.reasons.push(reason.to_owned());
            self.reasons.len() as u32 - 1
        });
        for target in targets {
            self.fates[target.0 as usize] = state.fate;
            self.batches[target.0 as usize] =
                state.batch.and_then(|batch| NonZeroU32::new(batch + 1));
            match reason {
                Some(reason) => _ = self.reasons_of.insert(*target, reason),
                None => _ = self.reasons_of.remove(target),
            }
        }
    }

    /// Changes the fate of a target and keeps the rest.
    pub(super) fn set_fate(&mut self, target: TargetId, fate: Fate) {
        self.fates[target.0 as usize] = fate;
    }

    /// The state of a target.
    pub(super) fn of(&self, target: TargetId) -> TargetState<'_> {
        let batch = self.batches[target.0 as usize];
        TargetState {
            fate: self.fate_of(target),
            reason: self.reason_of(target),
            batch: batch.map(|batch| batch.get() - 1),
        }
    }

    /// The fate of a target.
    pub(super) fn fate_of(&self, target: TargetId) -> Fate {
        self.fates[target.0 as usize]
    }

    fn reason_of(&self, target: TargetId) -> Option<&str> {
        let reason = self.reasons_of.get(&target)?;
        Some(self.reasons[*reason as usize].as_str())
    }

    /// The targets without a response, and their states.
    pub(super) fn unanswered(&self, list: &TargetList) -> Vec<UnansweredTarget> {
        let answered = |fate| matches!(fate, Fate::Absent | Fate::Returned);
        let open = list.ids().filter(|&id| !answered(self.fate_of(id)));
        let unanswered = list.targets_of(open).map(|target| {
            let state = self.of(target.id);
            UnansweredTarget {
                target: target.text.into_owned(),
                fate: state.fate,
                reason: state.reason.map(str::to_owned),
                batch: state.batch,
            }
        });
        unanswered.collect()
    }

    /// Restores what an earlier start recorded about targets without a response.
    pub(super) fn restore(&mut self, recorded: &[UnansweredTarget], list: &TargetList) {
        let targets = list.find_all(recorded.iter().map(|recorded| recorded.target.as_str()));
        for (recorded, target) in recorded.iter().zip(targets) {
            let UnansweredTarget {
                fate,
                reason,
                batch,
                ..
            } = recorded;
            if let Some(id) = target.filter(|id| self.fate_of(*id) != Fate::Absent) {
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
        let all = self.fates.iter().all(|fate| *fate == Fate::Refused);
        if all {
            *self = Self::new(self.fates.len());
        }
        all
    }

    /// The reason of the first target that failed, else of the first one that is refused: an
    /// example for messages.
    pub(super) fn failure(&self) -> Option<&str> {
        let first = |wanted| self.fates.iter().position(|&fate| fate == wanted);
        let target = first(Fate::Failed).or_else(|| first(Fate::Refused))?;
        self.reason_of(TargetId(target as u32))
    }

    /// The fates of all lines of the list.
    pub(super) fn fates(&self, list: &TargetList) -> Fates {
        let mut fates = Fates {
            duplicate: list.duplicate_count() as u64,
            invalid: list.invalid_count() as u64,
            ..Fates::default()
        };
        for fate in &self.fates {
            *fates.of_mut(*fate) += 1;
        }
        fates
    }
}
