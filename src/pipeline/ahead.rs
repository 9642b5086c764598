//! Flattens and sorts while a run still fetches, so that publishing has only to merge, encode and
//! write.
//!
//! This never holds back a request or the archive: only the ids of archived responses are queued;
//! the responses are read back from the archive. What is not flattened when fetching ends,
//! publishing reads. If this fails, publishing reads everything.
//!
//! # Memory
//! The sorter, which publishing takes over, and a few responses; also the target numbers of the
//! responses that wait.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::{Either, select};
use futures::stream::poll_fn;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::attempts::ArchivedBatch;
use super::gathered::Gathered;
use super::report::Progress;
use super::responses::{Found, ReadResponse, Source, on_a_core};
use super::start::Start;
use super::write_tables::{MemoryBudget, sorter_of_pages};
use crate::clock::{Stage, Stopwatch};
use crate::contract::Table;
use crate::error::{Context, Error, Result};
use crate::lake::Sorter;
use crate::ledger::Attempt;

/// How many responses are read at once: an object store takes longer to send one than a core to
/// flatten it.
const AT_ONCE: usize = 8;

/// A response that is archived.
pub(super) struct Completed {
    pub(super) batch: ArchivedBatch,
    pub(super) attempt: Attempt,
}

/// What is flattened and sorted before publishing begins.
pub(super) struct Ahead {
    pub(super) sorter: Sorter,
    pub(super) found: Found,
    /// The time that this took.
    pub(super) stages: Stopwatch,
}

/// [`Ahead`] while it is being built. Its futures may be dropped at any await.
struct Working {
    /// None while it spills.
    sorter: Option<Sorter>,
    spilling: Option<JoinHandle<Result<Sorter>>>,
    found: Found,
    stages: Stopwatch,
}

/// Flattens and sorts what earlier starts have archived, and what `fetching` completes, until that
/// ends. `None` if flattening failed; publishing then reads everything.
///
/// # Errors
/// A contract that cannot be sorted by.
pub(super) async fn flatten_during<T>(
    start: &Start<'_>,
    gathered: &mut Gathered,
    fetching: impl AsyncFnOnce(&mut Gathered, UnboundedSender<Completed>) -> T,
) -> Result<(T, Option<Ahead>)> {
    let (completed, queue) = unbounded_channel();
    let contract = start.pipeline.lake.contracts.of(Table::Pages);
    let stages = Stopwatch::default();
    let source = Source {
        ledger: start.ledger,
        contract: Arc::clone(contract),
        list: Arc::clone(&gathered.list),
        rules: gathered.rules,
        stages: stages.clone(),
    };
    let memory = MemoryBudget::new(start.pipeline.lake.memory_bytes, &gathered.list);
    let mut working = Working {
        sorter: Some(sorter_of_pages(start.store, contract, memory)?),
        spilling: None,
        found: Found::default(),
        stages,
    };
    let entries = gathered.attempts.entries.iter();
    let attempts: HashMap<_, _> = entries
        .map(|entry| (entry.attempt.id, &entry.attempt))
        .collect();
    for batch in &gathered.attempts.archived {
        if let Some(attempt) = attempts.get(&batch.id) {
            let (batch, attempt) = (batch.clone(), (*attempt).clone());
            // The queue is open, and what does not get in is read by publishing.
            let _ = completed.send(Completed { batch, attempt });
        }
    }
    let flattened = || (start.env.on_progress)(Progress::Flattened);
    let (ended, flattened) = {
        let flattening = pin!(working.follow(&source, queue, flattened));
        match select(pin!(fetching(gathered, completed)), flattening).await {
            Either::Left((ended, _)) => (ended, Ok(())),
            // Flattening has failed.
            Either::Right((flattened, fetching)) => (fetching.await, flattened),
        }
    };
    let ahead = match flattened {
        Ok(()) => working.finish().await,
        Err(error) => Err(error),
    };
    let ahead = ahead.inspect_err(|error| {
        warn!(%error, "failed to sort rows while fetching; publishing reads all responses from the archive");
    });
    Ok((ended, ahead.ok()))
}

impl Working {
    async fn follow(
        &mut self,
        source: &Source<'_>,
        mut queue: UnboundedReceiver<Completed>,
        flattened: impl Fn(),
    ) -> Result<()> {
        let queue = poll_fn(|context| queue.poll_recv(context));
        let mut responses = queue
            .map(async |Completed { batch, attempt }| {
                let read = source.read(&batch, Some(&attempt)).await;
                (batch, read)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((batch, read)) = responses.next().await {
            let response = match read {
                Ok(ReadResponse::Flattened(response)) => response,
                // Publishing reads it again, and does what is to be done about it.
                Ok(ReadResponse::Damaged(error)) | Err(error) => {
                    debug!(%error, "a response is not flattened while fetching");
                    continue;
                }
            };
            // The last wait: from here on, the response is either flattened as a whole or not at all.
            let mut sorter = self.sorter().await?;
            let (rank, rows) = self.found.add(&batch, response);
            sorter.push(rank, rows);
            flattened();
            if sorter.is_full() {
                let stages = self.stages.clone();
                self.spilling = Some(on_a_core(move || {
                    stages.time(Stage::Sort, || sorter.spill())?;
                    Ok(sorter)
                }));
            } else {
                self.sorter = Some(sorter);
            }
        }
        Ok(())
    }

    /// Takes the sorter, after it has finished spilling.
    async fn sorter(&mut self) -> Result<Sorter> {
        if let Some(spilling) = &mut self.spilling {
            let spilled = spilling.await;
            self.spilling = None;
            self.sorter = Some(spilled.context(|| "sorting rows panicked")??);
        }
        let lost = || Error::unexpected("sorting rows has failed before");
        self.sorter.take().ok_or_else(lost)
    }

    async fn finish(mut self) -> Result<Ahead> {
        Ok(Ahead {
            sorter: self.sorter().await?,
            found: self.found,
            stages: self.stages,
        })
    }
}
