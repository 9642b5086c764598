//! From the archive to a published snapshot: flattens every response, writes the four tables,
//! checks them, publishes them (write-audit-publish). A run does this when everything is fetched; a
//! replay does nothing else.
//!
//! # Memory
//! A few responses at a time, and what [`super::write_tables`] needs; it does not grow with the
//! number of responses.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt as _;
use tokio::task::JoinHandle;
use tracing::warn;

use super::alerting::alert;
use super::attempts::ArchivedBatch;
use super::gates::{held, not_less};
use super::gathered::Gathered;
use super::means::Means;
use super::page::write_page;
use super::report::{Findings, Progress, RunEnd, RunReport, RunState};
use super::start::Start;
use super::target_states::TargetStates;
use super::write_tables::{MemoryBudget, Written, write_pages, write_requests, write_targets};
use crate::clock::{Stage, Stopwatch};
use crate::contract::{Contract, Table};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fate::Fate;
use crate::flatten::{Drift, Flattened, Irregularities, Requested, flatten};
use crate::lake::{
    Manifest, ManifestFile, ProfileChange, PublicationId, Published, Publishing, RequestTotals,
    Staging, TableManifest, Tally, publish, snapshots,
};
use crate::ledger::{Attempt, Outcome};
use crate::store::AttemptId;
use crate::targets::Target;

/// How many responses are read and flattened at once.
const AT_ONCE: usize = 16;
/// How many batches of rows wait between flattening and sorting.
const BETWEEN: usize = 2;

/// A snapshot on its way from the archive to its readers.
pub(super) struct Publication<'a> {
    start: Start<'a>,
    gathered: Gathered,
    /// The attempts of the run, for the tables.
    attempts: Vec<Attempt>,
    requests: RequestTotals,
    /// What is published of this date now.
    published: Option<Manifest>,
    when_damaged: WhenDamaged,
    stages: Stopwatch,
}

/// What to do about an archived response that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenDamaged {
    /// Record it as damaged, so that the next start asks for its targets again.
    AskAgain,
    /// Fail and leave the ledger as it is.
    Refuse,
}

impl<'a> Publication<'a> {
    pub(super) fn new(
        start: &Start<'a>,
        mut gathered: Gathered,
        published: Option<Manifest>,
        when_damaged: WhenDamaged,
    ) -> Self {
        let requests = gathered.requests();
        let entries = std::mem::take(&mut gathered.attempts.entries);
        Self {
            start: *start,
            gathered,
            attempts: entries.into_iter().map(|entry| entry.attempt).collect(),
            requests,
            published,
            when_damaged,
            stages: Stopwatch::default(),
        }
    }

    /// Writes the tables, checks them and publishes them. `means` is for the report.
    pub(super) async fn publish(mut self, means: Option<Means>) -> Result<RunEnd> {
        let Start {
            pipeline,
            env,
            lock,
            ..
        } = self.start;
        let generation = self.generation();
        let id = PublicationId {
            run: self.gathered.record.run.clone(),
            generation,
        };
        let staging = Staging::begin(
            self.start.store,
            pipeline.snapshot,
            id,
            &pipeline.lake.contracts,
            pipeline.lake.file_bytes,
            lock,
        )
        .await?;
        let manifest = self.stage(&staging, generation).await?;
        if let Some(published) = &self.published
            && self.when_damaged == WhenDamaged::Refuse
        {
            not_less(published, &manifest)?;
        }
        (env.on_progress)(Progress::Staged);
        let findings = self.inspect(&manifest).await?;
        if let Some(held) = held(&findings, self.start.mode.findings, pipeline) {
            let report = self.report(&manifest, RunState::Open, findings, means);
            return Ok(RunEnd {
                report,
                error: Some(held),
            });
        }
        let how = Publishing {
            lock,
            published: self.published.take(),
            formats: &pipeline.lake.table_formats,
            success_file: pipeline.publish.success_file,
            stages: &self.stages,
            moved: &|| (env.on_progress)(Progress::Moved),
        };
        let Published { manifest, warnings } = publish(&staging, manifest, &how).await?;
        (env.on_progress)(Progress::Manifested);
        let mut report = self.report(&manifest, RunState::Published, findings, means);
        report.warnings = warnings;
        let failed = alert(&self.start, &mut report).await;
        report.warnings.extend(write_page(&self.start).await);
        report.warnings.extend(failed);
        Ok(RunEnd {
            report,
            error: None,
        })
    }

    /// Which publication of the date this is. A replay of the published run keeps its number, so
    /// that equal files get equal names.
    fn generation(&self) -> u32 {
        match &self.published {
            Some(published) if published.run == self.gathered.record.run => published.generation,
            Some(published) => published.generation + 1,
            None => 1,
        }
    }

    fn report(
        &self,
        manifest: &Manifest,
        state: RunState,
        findings: Findings,
        means: Option<Means>,
    ) -> RunReport {
        RunReport {
            seconds: self.start.seconds(),
            findings,
            stage_seconds: self.stages.seconds(),
            vanished: self.gathered.attempts.vanished,
            means,
            ..RunReport::of_manifest(manifest, state)
        }
    }

    /// Writes the four tables into the staging place.
    async fn stage(&mut self, staging: &Staging, generation: u32) -> Result<Manifest> {
        let responses = self.flatten(staging).await?;
        if let Some(damaged) = responses.damaged {
            // What the writer says about the rows so far no longer matters.
            let _ = responses.written.await;
            return Err(self.reject(damaged).await?);
        }
        let fates = self.gathered.fates();
        // On another thread, while pages are still being sorted and written.
        let rest = self.write_rest(staging);
        let pages = responses
            .written
            .await
            .context(|| "writing the pages panicked")??;
        let rest = rest.await.context(|| "writing the tables panicked")??;
        let mut tables: BTreeMap<String, TableManifest> = BTreeMap::new();
        for (table, files) in [
            (Table::Pages, pages.pages),
            (Table::Breakdowns, pages.breakdowns),
            (Table::Targets, rest.targets),
            (Table::Requests, rest.requests),
        ] {
            let contract = self.start.pipeline.lake.contracts.of(table).id();
            let rows = files.iter().map(|file| file.rows).sum();
            let entry = TableManifest {
                contract,
                rows,
                files,
            };
            tables.insert(table.name().to_owned(), entry);
        }
        let record = &self.gathered.record;
        Ok(Manifest {
            format: Manifest::FORMAT,
            snapshot: self.start.pipeline.snapshot,
            question: record.question.clone(),
            run: record.run.clone(),
            written_by: concat!("backlake ", env!("CARGO_PKG_VERSION")).to_owned(),
            started_at: record.started_at,
            published_at: self.start.env.clock.now(),
            generation,
            tables,
            tally: Tally {
                lines: self.gathered.list.line_count() as u64,
                fates,
                items: responses.items,
                unmatched: responses.unmatched,
                requests: self.requests,
            },
            irregularities: responses.irregularities,
            profile: pages.profile,
            budget_usd: self.start.pipeline.budget.max_cost_usd,
        })
    }

    /// Writes targets and requests on a thread of their own.
    fn write_rest(&mut self, staging: &Staging) -> JoinHandle<Result<Rest>> {
        let (staging, list) = (staging.clone(), Arc::clone(&self.gathered.list));
        // Neither is needed after this, and the states of a long list are large.
        let states = std::mem::replace(&mut self.gathered.states, TargetStates::new(0));
        let attempts = std::mem::take(&mut self.attempts);
        let stages = self.stages.clone();
        tokio::task::spawn_blocking(move || {
            stages.time(Stage::TargetsAndRequests, || {
                Ok(Rest {
                    targets: write_targets(&staging, &list, &states, &attempts)?,
                    requests: write_requests(&staging, &attempts)?,
                })
            })
        })
    }

    /// Flattens every response and starts to write pages and breakdowns. Sets the fates of the
    /// targets whose rows it finds. Ends early at a response that cannot be used.
    async fn flatten(&mut self, staging: &Staging) -> Result<Responses> {
        let Start { pipeline, env, .. } = self.start;
        let archived = std::mem::take(&mut self.gathered.attempts.archived);
        let contract = pipeline.lake.contracts.of(Table::Pages);
        let (rows, unsorted) = tokio::sync::mpsc::channel::<RecordBatch>(BETWEEN);
        let memory = MemoryBudget::new(pipeline.lake.memory_bytes, &self.gathered.list);
        let written = write_pages(
            staging,
            self.start.store,
            contract,
            memory,
            unsorted,
            &self.stages,
        );
        let mut found = Responses::new(written);
        let counted = self.attempts.iter();
        for attempt in counted.filter(|attempt| attempt.outcome == Outcome::Ok) {
            found.irregularities.envelope(&attempt.oddities);
        }
        let attempts: HashMap<_, _> = self
            .attempts
            .iter()
            .map(|attempt| (attempt.id, attempt))
            .collect();
        let source = Source {
            start: self.start,
            contract,
            gathered: &self.gathered,
            stages: &self.stages,
        };
        // In the order of the archive, so that the same archive gives the same files.
        let mut flattened = futures::stream::iter(&archived)
            .map(|batch| source.read(batch, attempts.get(&batch.id).copied()))
            .buffered(AT_ONCE);
        let mut returned = Vec::new();
        for batch in &archived {
            let Some(read) = flattened.next().await else {
                break;
            };
            // The archive has everything: the next start publishes.
            env.stop.check()?;
            let response = match read? {
                ReadResponse::Flattened(response) => response,
                ReadResponse::Damaged(error) => {
                    let id = batch.id;
                    found.damaged = Some(Damaged { id, error });
                    break;
                }
            };
            let targets = batch.targets.iter().zip(&response.returned);
            returned.extend(targets.filter_map(|(id, returned)| returned.then_some(*id)));
            found.items += response.pages.num_rows() as u64;
            found.unmatched += response.unmatched;
            found.irregularities.add(response.irregularities);
            (env.on_progress)(Progress::Flattened);
            // A writer that has failed hangs up; awaiting it says why.
            if rows.send(response.pages).await.is_err() {
                break;
            }
        }
        drop(flattened);
        for target in returned {
            self.gathered.states.set_fate(target, Fate::Returned);
        }
        Ok(found)
    }

    /// The error of a response that cannot be used, after the ledger has recorded it.
    async fn reject(&self, damaged: Damaged) -> Result<Error> {
        let Damaged { id, error } = damaged;
        if self.when_damaged == WhenDamaged::Refuse {
            let message = format!("the archived response to attempt {id} cannot be used");
            let hint = "nothing was changed; `backlake verify LAKE --archive` names every damaged response; restore the files in _archive from a backup, or fetch the date again with `backlake run --replace` (this costs money)";
            return Ok(Error::unexpected(message).caused_by(error).with_hint(hint));
        }
        let mut attempts = self.attempts.iter();
        if let Some(attempt) = attempts.find(|attempt| attempt.id == id) {
            let reason = error.to_string();
            let ledger = self.start.ledger;
            ledger.reject_response(attempt.clone(), &reason).await?;
        }
        let message = format!(
            "the archived response to attempt {id} cannot be used; the next start asks for its targets again"
        );
        let hint = "run the same command again: it asks and pays for at most 1000 targets once more; find out what damaged _archive";
        let error = Error::new(ErrorKind::Held, message).caused_by(error);
        Ok(error.with_hint(hint))
    }

    /// Looks for findings in the staged tables: does the data follow the contract, and is it like
    /// the previous snapshot?
    async fn inspect(&self, manifest: &Manifest) -> Result<Findings> {
        let contract = self.start.pipeline.lake.contracts.of(Table::Pages);
        let drift = Drift::of(&manifest.irregularities, contract, manifest.tally.items);
        for found in &drift {
            warn!(
                field = found.field,
                items = found.items,
                example = found.example,
                "a field of the responses {}; see the summary",
                found.what.words()
            );
        }
        let changes = self.changes(manifest).await?;
        for ProfileChange {
            figure,
            before,
            now,
            ..
        } in &changes
        {
            warn!(before, now, "{figure} differs from the previous snapshot");
        }
        Ok(Findings { drift, changes })
    }

    /// How the snapshot differs from the previous one that asked the same question.
    async fn changes(&self, manifest: &Manifest) -> Result<Vec<ProfileChange>> {
        let Start {
            pipeline, store, ..
        } = self.start;
        let dates = snapshots(store).await?.into_iter().rev();
        for date in dates.filter(|date| *date < pipeline.snapshot) {
            // `verify` reports a manifest that cannot be read.
            let Ok(Some(previous)) = Manifest::read(store, date).await else {
                continue;
            };
            let same = previous.question.difference(&manifest.question).is_none();
            if same && previous.profile.rows > 0 {
                let bounds = &pipeline.publish.change_bounds;
                return Ok(manifest.profile.changes(&previous.profile, bounds));
            }
        }
        Ok(Vec::new())
    }
}

/// The files of the tables that are not made from responses.
struct Rest {
    targets: Vec<ManifestFile>,
    requests: Vec<ManifestFile>,
}

/// What was found in the responses.
struct Responses {
    /// Pages and breakdowns, which are still being written.
    written: JoinHandle<Result<Written>>,
    items: u64,
    unmatched: u64,
    irregularities: Irregularities,
    /// The response at which flattening ended early.
    damaged: Option<Damaged>,
}

/// A response that cannot be used.
struct Damaged {
    id: AttemptId,
    error: Error,
}

impl Responses {
    fn new(written: JoinHandle<Result<Written>>) -> Self {
        Self {
            written,
            items: 0,
            unmatched: 0,
            irregularities: Irregularities::default(),
            damaged: None,
        }
    }
}

/// When the response to an attempt arrived, in microseconds since 1970.
fn arrived_at(attempt: &Attempt) -> i64 {
    let took = (attempt.duration_ms.unwrap_or(0) as i64).saturating_mul(1000);
    attempt.sent_at.timestamp_micros().saturating_add(took)
}

/// A response from the archive. A lake that fails says nothing about the response and is an error
/// instead.
enum ReadResponse {
    Flattened(Flattened),
    Damaged(Error),
}

/// Where responses are read from, and how.
struct Source<'a> {
    start: Start<'a>,
    contract: &'a Arc<Contract>,
    gathered: &'a Gathered,
    stages: &'a Stopwatch,
}

impl Source<'_> {
    /// Reads a response from the archive, holds it to its attempt, and flattens it.
    async fn read(&self, batch: &ArchivedBatch, attempt: Option<&Attempt>) -> Result<ReadResponse> {
        let id = batch.id;
        let Some(attempt) = attempt.cloned() else {
            let message = format!("attempt {id} is missing in the ledger");
            return Ok(ReadResponse::Damaged(Error::unexpected(message)));
        };
        let packed = self.start.ledger.packed_response(id);
        let packed = self.stages.time_async(Stage::Read, packed).await?;
        let Some(packed) = packed else {
            let message = format!("the response to attempt {id} is missing in the archive");
            return Ok(ReadResponse::Damaged(Error::unexpected(message)));
        };
        let (contract, list) = (Arc::clone(self.contract), Arc::clone(&self.gathered.list));
        let (ids, rules) = (batch.targets.clone(), self.gathered.rules);
        let stages = self.stages.clone();
        let flattened = on_a_core(move || {
            let targets: Vec<Target<'_>> = ids.iter().map(|&id| list.target(id)).collect();
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

/// Runs `work` on one of as many threads as there are cores, in the order of the calls. More
/// threads would only take memory and evict each other's caches.
async fn on_a_core<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::result::Result<T, tokio::sync::oneshot::error::RecvError> {
    let (done, result) = tokio::sync::oneshot::channel();
    rayon::spawn_fifo(move || {
        // After a panic the channel closes without a value. If no one waits any more, the value is
        // dropped.
        if let Ok(result) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            let _ = done.send(result);
        }
    });
    result.await
}
