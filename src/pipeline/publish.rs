//! From the archive to a published snapshot: flattens the responses, writes the four tables, checks
//! them, publishes them (write-audit-publish). A run does this when everything is fetched, and
//! [`super::ahead`] has done a part of it by then; a replay does nothing else.
//!
//! # Memory
//! A few responses at a time, and what [`super::write_tables`] needs; it does not grow with the
//! number of responses.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt as _;
use tokio::task::JoinHandle;
use tracing::warn;

use super::ahead::Ahead;
use super::alerting::alert;
use super::gates::{held, not_less};
use super::gathered::Gathered;
use super::means::Means;
use super::page::write_page;
use super::report::{Findings, Progress, RunEnd, RunReport, RunState};
use super::responses::{Found, ReadResponse, Source};
use super::start::Start;
use super::target_states::TargetStates;
use super::write_tables::{
    MemoryBudget, Written, sorter_of_pages, write_pages, write_requests, write_targets,
};
use crate::clock::{Stage, Stopwatch};
use crate::contract::Table;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::fate::Fate;
use crate::flatten::Drift;
use crate::lake::{
    Manifest, ManifestFile, ProfileChange, PublicationId, Published, Publishing, RequestTotals,
    Staging, TableManifest, Tally, publish, snapshots,
};
use crate::ledger::{Attempt, Outcome};
use crate::store::AttemptId;

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
    /// What is flattened and sorted already.
    ahead: Option<Ahead>,
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
        ahead: Option<Ahead>,
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
            stages: ahead
                .as_ref()
                .map(|ahead| ahead.stages.clone())
                .unwrap_or_default(),
            ahead,
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
                items: responses.found.items,
                unmatched: responses.found.unmatched,
                requests: self.requests,
            },
            irregularities: responses.found.irregularities,
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

    /// Flattens the responses that are left and starts to write pages and breakdowns. Sets the fates of
    /// the targets whose rows are found. Ends early at a response that cannot be used.
    async fn flatten(&mut self, staging: &Staging) -> Result<Responses> {
        let Start {
            pipeline,
            env,
            store,
            ledger,
            ..
        } = self.start;
        let archived = std::mem::take(&mut self.gathered.attempts.archived);
        let contract = pipeline.lake.contracts.of(Table::Pages);
        let (sorter, mut found) = match self.ahead.take() {
            Some(Ahead { sorter, found, .. }) => (sorter, found),
            None => {
                let memory = MemoryBudget::new(pipeline.lake.memory_bytes, &self.gathered.list);
                (sorter_of_pages(store, contract, memory)?, Found::default())
            }
        };
        let (rows, unsorted) = tokio::sync::mpsc::channel(BETWEEN);
        let written = write_pages(staging, sorter, unsorted, &self.stages);
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
            ledger,
            contract: Arc::clone(contract),
            list: Arc::clone(&self.gathered.list),
            rules: self.gathered.rules,
            stages: self.stages.clone(),
        };
        // In the order of the archive, so that the first damaged response ends it.
        let left: Vec<_> = archived
            .iter()
            .filter(|batch| !found.has(batch.id))
            .collect();
        let mut responses = futures::stream::iter(&left)
            .map(|batch| source.read(batch, attempts.get(&batch.id).copied()))
            .buffered(AT_ONCE);
        let mut damaged = None;
        for &batch in &left {
            let Some(read) = responses.next().await else {
                break;
            };
            // The archive has everything: the next start publishes.
            env.stop.check()?;
            let response = match read? {
                ReadResponse::Flattened(response) => response,
                ReadResponse::Damaged(error) => {
                    let id = batch.id;
                    damaged = Some(Damaged { id, error });
                    break;
                }
            };
            (env.on_progress)(Progress::Flattened);
            // A writer that has failed hangs up; awaiting it says why.
            if rows.send(found.add(batch, response)).await.is_err() {
                break;
            }
        }
        drop(responses);
        for target in std::mem::take(&mut found.returned) {
            self.gathered.states.set_fate(target, Fate::Returned);
        }
        Ok(Responses {
            written,
            found,
            damaged,
        })
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
    found: Found,
    /// The response at which flattening ended early.
    damaged: Option<Damaged>,
}

/// A response that cannot be used.
struct Damaged {
    id: AttemptId,
    error: Error,
}
