//! Everything that a run knows over all its starts: its record, its target list, its attempts and
//! the state of each target. This is what becomes a snapshot.

use std::sync::Arc;

use super::attempts::RunAttempts;
use super::target_states::TargetStates;
use crate::error::{Context, Result};
use crate::fate::{Fate, Fates};
use crate::lake::{Manifest, PublicationId, RequestTotals};
use crate::ledger::{RefusedTarget, ReturnedTarget, RunRecord};
use crate::plan::{Plan, lower_bound};
use crate::targets::{Rules, TargetId, TargetList};

/// Everything that a run knows over all its starts.
pub(super) struct Gathered {
    pub(super) record: RunRecord,
    pub(super) list: Arc<TargetList>,
    /// The rules by which the list was read.
    pub(super) rules: Rules,
    pub(super) states: TargetStates,
    pub(super) attempts: RunAttempts,
}

impl Gathered {
    /// Which publication of the date this becomes. A replay of the published run keeps its number, so
    /// that equal files get equal names.
    pub(super) fn publication(&self, published: Option<&Manifest>) -> PublicationId {
        let run = self.record.run.clone();
        let generation = match published {
            Some(published) if published.run == run => published.generation,
            Some(published) => published.generation + 1,
            None => 1,
        };
        PublicationId { run, generation }
    }

    /// The fates of all lines. A target with a response counts as absent until its row is found.
    pub(super) fn fates(&self) -> Fates {
        self.states.fates(&self.list)
    }

    /// How many requests were sent and what they cost.
    pub(super) fn requests(&self) -> RequestTotals {
        self.attempts
            .totals(lower_bound(&self.list.root_domain_sizes()))
    }

    /// The targets that the provider refused, for later runs to skip.
    pub(super) fn refused(&self) -> Vec<RefusedTarget> {
        self.attempts.refused(&self.list, &self.states)
    }

    /// Those of the targets of earlier refusals that have a later response.
    pub(super) fn returned(&self, before: Vec<(TargetId, RefusedTarget)>) -> Vec<ReturnedTarget> {
        self.attempts.returned(before, &self.states)
    }

    /// The plan for all targets that are still to be sent.
    pub(super) async fn plan_unsent(&self) -> Result<Plan> {
        let list = Arc::clone(&self.list);
        let unsent = list
            .ids()
            .filter(|&id| self.states.fate_of(id) == Fate::Unsent);
        let unsent = unsent.collect();
        let planned = tokio::task::spawn_blocking(move || Plan::of_some(&list, unsent));
        planned.await.context(|| "planning panicked")
    }
}
