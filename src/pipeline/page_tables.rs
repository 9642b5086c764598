//! The tables that are made from responses, `pages` and `breakdowns`, while the responses come.
//!
//! Rows are sorted, and what is final ([`Frontier`]) is encoded and written at once. So a run whose
//! batches follow the order of names holds few rows, and has little left to write after the last
//! response. The files are the same in whatever order the responses come.
//!
//! The work is done in steps, one after the other, off the threads that wait for the network. Rows
//! that arrive during a step wait for the next one. Simulated time waits for the end of each step.
//!
//! # Memory
//! [`MemoryBudget`] gives the formula; also the rows that wait.

use arrow::array::RecordBatch;
use tokio::task::JoinHandle;

use super::attempts::ArchivedBatch;
use super::frontier::Frontier;
use super::gathered::Gathered;
use super::report::Progress;
use super::responses::{Found, Source, on_a_core};
use super::start::Start;
use super::write_tables::{MemoryBudget, PageWriters, Written, sorter_of_pages};
use crate::clock::{Stage, Stopwatch};
use crate::contract::Table;
use crate::error::{Context, Error, Result};
use crate::fate::Fate;
use crate::flatten::Flattened;
use crate::lake::{Manifest, PublicationId, Sorter, Staging};
use crate::targets::TargetId;

/// The rows of at most this many responses wait for a step to end.
const MOST_WAITING: usize = 8;

/// Pages and breakdowns on their way from responses to staged files. Its futures may be dropped at
/// any await.
pub(super) struct PageTables<'a> {
    start: Start<'a>,
    /// Where the responses are read from.
    pub(super) source: Source<'a>,
    /// What is found in the responses that were added.
    pub(super) found: Found,
    id: PublicationId,
    /// None until something is final.
    staging: Option<Staging>,
    /// None if rows are only written at the end.
    frontier: Option<Frontier>,
    memory: MemoryBudget,
    /// The rows that wait, with their ranks.
    waiting: Vec<(u64, RecordBatch)>,
    /// None during a step.
    rows: Option<Rows>,
    step: Option<JoinHandle<Result<Rows>>>,
    /// How many rows are known to be written.
    written: u64,
    is_late: bool,
}

/// What a step works on.
struct Rows {
    sorter: Sorter,
    /// None until rows are written.
    writers: Option<PageWriters>,
    /// Whether a row came that belongs before rows that are written already.
    is_late: bool,
}

impl<'a> PageTables<'a> {
    /// The tables before any response is added. Targets with one of the fates in `awaited` still wait
    /// for a response.
    ///
    /// # Errors
    /// A contract that cannot be sorted by.
    pub(super) fn new(
        start: &Start<'a>,
        gathered: &Gathered,
        published: Option<&Manifest>,
        awaited: &[Fate],
    ) -> Result<Self> {
        let settings = &start.pipeline.lake;
        let contract = settings.contracts.of(Table::Pages);
        let memory = MemoryBudget::new(settings.memory_bytes, &gathered.list);
        // Rows of targets that are no longer in the list may come anywhere.
        let is_orderly =
            gathered.attempts.vanished == 0 && contract.sort.iter().eq(["root_domain", "target"]);
        let frontier = is_orderly.then(|| {
            Frontier::new(&gathered.list, |target| {
                awaited.contains(&gathered.states.fate_of(target))
            })
        });
        Ok(Self {
            start: *start,
            source: Source {
                ledger: start.ledger,
                contract: contract.clone(),
                list: gathered.list.clone(),
                rules: gathered.rules,
                stages: Stopwatch::default(),
            },
            found: Found::new(gathered.list.target_count()),
            id: gathered.publication(published),
            staging: None,
            frontier,
            memory,
            waiting: Vec::new(),
            rows: Some(Rows::new(start, memory)?),
            step: None,
            written: 0,
            is_late: false,
        })
    }

    /// Starts again without any response, and writes rows only after all responses are added. Deletes
    /// what is written.
    ///
    /// # Errors
    /// A contract that cannot be sorted by, or a disk that fails.
    pub(super) async fn begin_again(&mut self) -> Result<()> {
        // What this step has made is not needed, so its error does not matter.
        let _ = self.step_ends().await;
        (self.frontier, self.rows) = (None, None);
        self.found = Found::new(self.source.list.target_count());
        self.waiting.clear();
        if let Some(staging) = &self.staging {
            staging.empty()?;
        }
        self.rows = Some(Rows::new(&self.start, self.memory)?);
        (self.written, self.is_late) = (0, false);
        Ok(())
    }

    /// The staging folder of the publication, which is empty when it is asked for first.
    ///
    /// # Errors
    /// A lake that fails, or a lock that is lost.
    pub(super) async fn staging(&mut self) -> Result<Staging> {
        if let Some(staging) = &self.staging {
            return Ok(staging.clone());
        }
        let (start, settings) = (&self.start, &self.start.pipeline.lake);
        let staging = Staging::begin(
            start.store,
            start.pipeline.snapshot,
            self.id.clone(),
            &settings.contracts,
            settings.file_bytes,
            start.lock,
        )
        .await?;
        Ok(self.staging.insert(staging).clone())
    }

    /// Prepares to write rows early, if any can be final before all are there. Unlike [`Self::add`], this
    /// must not be dropped: it renews the lock.
    ///
    /// # Errors
    /// As [`Self::staging`].
    pub(super) async fn prepare(&mut self) -> Result<()> {
        if self.frontier.as_ref().is_some_and(Frontier::can_be_due) {
            self.staging().await?;
        }
        Ok(())
    }

    /// How many rows of pages are known to be written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether a row came that belongs before rows that are written already. Then nothing more is
    /// added, and what is written is void.
    pub(super) fn is_late(&self) -> bool {
        self.is_late
    }

    /// Nothing comes for these targets.
    pub(super) fn settle(&mut self, targets: &[TargetId]) {
        if let Some(frontier) = &mut self.frontier {
            frontier.settle(targets);
        }
    }

    /// Adds a response, and waits until there is room for the next one.
    ///
    /// # Errors
    /// A disk that fails, or a lock that is lost.
    pub(super) async fn add(&mut self, batch: &ArchivedBatch, response: Flattened) -> Result<()> {
        // Before the first wait, so that a response is added as a whole or not at all.
        let rows = self.found.add(batch, response);
        self.waiting.push(rows);
        self.settle(&batch.targets);
        if self.waiting.len() >= MOST_WAITING || !self.is_working() {
            self.step_ends().await?;
        }
        match self.is_working() {
            true => Ok(()),
            false => self.begin_step(),
        }
    }

    /// Waits until all rows are sorted in.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) async fn all_are_added(&mut self) -> Result<()> {
        self.step_ends().await?;
        if !self.waiting.is_empty() {
            self.begin_step()?;
            self.step_ends().await?;
        }
        Ok(())
    }

    /// Writes the rows that are not written yet, and closes the files.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) async fn finish(mut self) -> Result<JoinHandle<Result<Written>>> {
        self.all_are_added().await?;
        let staging = self.staging().await?;
        let Rows {
            sorter, writers, ..
        } = self.rows.take().ok_or_else(failed_before)?;
        let stages = self.source.stages;
        Ok(tokio::task::spawn_blocking(move || {
            let mut writers = writers.unwrap_or_else(|| PageWriters::new(&staging));
            let mut sorted = stages.time(Stage::Sort, || sorter.finish())?;
            writers.write(&mut sorted, &stages)?;
            writers.close(&stages)
        }))
    }

    /// Whether a step has begun and nothing has waited for its end yet.
    pub(super) fn has_step(&self) -> bool {
        self.step.is_some()
    }

    fn is_working(&self) -> bool {
        self.step.as_ref().is_some_and(|step| !step.is_finished())
    }

    /// Waits for the end of the step in progress, if there is one.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) async fn step_ends(&mut self) -> Result<()> {
        let Some(step) = &mut self.step else {
            return Ok(());
        };
        let ended = step.await;
        self.step = None;
        let rows = ended.context(|| "sorting and writing rows panicked")??;
        self.is_late |= rows.is_late;
        let written = rows.writers.as_ref().map_or(0, PageWriters::rows);
        if written > self.written {
            self.written = written;
            (self.start.env.on_progress)(Progress::Written(written));
        }
        self.rows = Some(rows);
        Ok(())
    }

    fn begin_step(&mut self) -> Result<()> {
        if self.is_late {
            self.waiting.clear();
            return Ok(());
        }
        let mut rows = self.rows.take().ok_or_else(failed_before)?;
        // The staged files are those of whoever holds the lock. Rows that are not written now are written later.
        let may_write = self.staging.is_some() && !self.start.lock.is_doubtful();
        let frontier = self.frontier.as_mut().filter(|_| may_write);
        let final_below = frontier.and_then(Frontier::take);
        let (waiting, staging) = (std::mem::take(&mut self.waiting), self.staging.clone());
        let stages = self.source.stages.clone();
        self.step = Some(on_a_core(move || {
            rows.add(waiting)?;
            if let (Some(key), Some(staging)) = (final_below, staging) {
                rows.write_below(key, &staging, &stages)?;
            }
            if rows.sorter.is_full() {
                stages.time(Stage::Sort, || rows.sorter.spill())?;
            }
            Ok(rows)
        }));
        Ok(())
    }
}

impl Rows {
    fn new(start: &Start<'_>, memory: MemoryBudget) -> Result<Self> {
        let contract = start.pipeline.lake.contracts.of(Table::Pages);
        Ok(Self {
            sorter: sorter_of_pages(start.store, contract, memory)?,
            writers: None,
            is_late: false,
        })
    }

    /// Sorts in the rows of responses, unless one of them comes too late.
    fn add(&mut self, waiting: Vec<(u64, RecordBatch)>) -> Result<()> {
        for (rank, batch) in waiting {
            self.is_late = self.is_late || self.sorter.is_late(&batch)?;
            if self.is_late {
                break;
            }
            self.sorter.push(rank, batch);
        }
        Ok(())
    }

    /// Writes the rows below a key, up to the last full batch.
    fn write_below(
        &mut self,
        key: Vec<String>,
        staging: &Staging,
        stages: &Stopwatch,
    ) -> Result<()> {
        let taken = stages.time(Stage::Sort, || self.sorter.take_below(key))?;
        let Some(mut taken) = taken.filter(|_| !self.is_late) else {
            return Ok(());
        };
        let writers = &mut self.writers;
        let writers = writers.get_or_insert_with(|| PageWriters::new(staging));
        writers.write(&mut taken, stages)?;
        stages.time(Stage::Sort, || self.sorter.carry(taken))
    }
}

fn failed_before() -> Error {
    Error::unexpected("an earlier step failed to sort or write rows")
}
