//! Reads the responses of a run from the archive, holds each one to its attempt, and flattens it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::task::JoinHandle;

use super::attempts::ArchivedBatch;
use crate::clock::{Stage, Stopwatch};
use crate::contract::Contract;
use crate::error::{Context, Error, Result};
use crate::flatten::{Flattened, Irregularities, Requested, flatten};
use crate::ledger::{Attempt, Ledger};
use crate::store::AttemptId;
use crate::targets::{Rules, Target, TargetId, TargetList};

/// Where responses are read from, and how. Cheap to clone.
#[derive(Clone)]
pub(super) struct Source<'a> {
    pub(super) ledger: &'a Ledger,
    /// The contract of the rows.
    pub(super) contract: Arc<Contract>,
    pub(super) list: Arc<TargetList>,
    pub(super) rules: Rules,
    pub(super) stages: Stopwatch,
}

/// A response from the archive. A lake that fails says nothing about the response and is an error
/// instead.
pub(super) enum ReadResponse {
    Flattened(Flattened),
    Damaged(Error),
}

impl Source<'_> {
    /// Reads a response from the archive, holds it to its attempt, and flattens it.
    pub(super) async fn read(
        &self,
        batch: &ArchivedBatch,
        attempt: Option<&Attempt>,
    ) -> Result<ReadResponse> {
        let id = batch.id;
        let Some(attempt) = attempt.cloned() else {
            let message = format!("attempt {id} is missing in the ledger");
            return Ok(ReadResponse::Damaged(Error::unexpected(message)));
        };
        let packed = self.ledger.packed_response(id);
        let packed = self.stages.time_async(Stage::Read, packed).await?;
        let Some(packed) = packed else {
            let message = format!("the response to attempt {id} is missing in the archive");
            return Ok(ReadResponse::Damaged(Error::unexpected(message)));
        };
        let (contract, list) = (Arc::clone(&self.contract), Arc::clone(&self.list));
        let (ids, rules) = (Arc::clone(&batch.targets), self.rules);
        let stages = self.stages.clone();
        let flattened = on_a_core(move || {
            let texts = list.texts_of(ids.iter().copied());
            let targets: Vec<Target<'_>> = list.targets_with(ids.iter().copied(), &texts).collect();
            let requested = Requested {
                contract: &contract,
                targets: &targets,
                rules: &rules,
                request_id: attempt.request_id.as_deref(),
                fetched_at: arrived_at(&attempt),
            };
            let most = attempt.most_bytes();
            let body = stages.time(Stage::Decompress, || packed.unpack(most))?;
            stages.time(Stage::Compare, || attempt.check_body(&body))?;
            let flattened = stages.time(Stage::Flatten, || flatten(&body, &requested));
            flattened.context(|| format!("failed to flatten the response to attempt {id}"))
        });
        let flattened = flattened
            .await
            .context(|| format!("flattening the response to attempt {id} panicked"))?;
        Ok(flattened.map_or_else(ReadResponse::Damaged, ReadResponse::Flattened))
    }
}

/// When the response to an attempt arrived, in microseconds since 1970.
fn arrived_at(attempt: &Attempt) -> i64 {
    let took = (attempt.duration_ms.unwrap_or(0) as i64).saturating_mul(1000);
    attempt.sent_at.timestamp_micros().saturating_add(took)
}

/// What flattening found, apart from the rows.
pub(super) struct Found {
    /// The flattened responses.
    responses: HashSet<AttemptId>,
    /// Whether the row of each target was found.
    is_returned: Vec<bool>,
    pub(super) items: u64,
    pub(super) unmatched: u64,
    pub(super) irregularities: Irregularities,
}

impl Found {
    /// Before any response of a list with this many targets.
    pub(super) fn new(targets: usize) -> Self {
        Self {
            responses: HashSet::new(),
            is_returned: vec![false; targets],
            items: 0,
            unmatched: 0,
            irregularities: Irregularities::default(),
        }
    }

    /// The targets whose rows were found.
    pub(super) fn returned(&self) -> impl Iterator<Item = TargetId> {
        let targets = (0..).map(TargetId).zip(&self.is_returned);
        targets.filter_map(|(id, &returned)| returned.then_some(id))
    }

    /// Whether the response to this attempt is flattened.
    pub(super) fn has(&self, id: AttemptId) -> bool {
        self.responses.contains(&id)
    }

    /// How many responses are flattened.
    pub(super) fn responses(&self) -> u64 {
        self.responses.len() as u64
    }

    /// Adds a flattened response and returns its rows, with their rank for the sorter: rows with equal
    /// keys get the order of the attempts.
    pub(super) fn add(&mut self, batch: &ArchivedBatch, response: Flattened) -> (u64, RecordBatch) {
        let AttemptId {
            batch: number,
            attempt,
        } = batch.id;
        self.responses.insert(batch.id);
        for (id, returned) in batch.targets.iter().zip(&response.returned) {
            self.is_returned[id.0 as usize] |= returned;
        }
        self.items += response.pages.num_rows() as u64;
        self.unmatched += response.unmatched;
        self.irregularities.add(response.irregularities);
        let rank = u64::from(number) << 32 | u64::from(attempt);
        (rank, response.pages)
    }
}

/// Runs `work` on one of as many threads as there are cores. More threads would only take memory and
/// evict each other's caches. The task fails if `work` panics.
pub(super) fn on_a_core<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    // The runtime waits for blocking tasks, so simulated time does not run ahead of the work.
    tokio::task::spawn_blocking(move || rayon::scope(|_| work()))
}
