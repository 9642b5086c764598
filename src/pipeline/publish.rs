//! From the archive to a published snapshot: flattens the responses, writes the four tables, checks
//! them, publishes them (write-audit-publish). A run does this when everything is fetched, and
//! [`super::ahead`] has done a part of it by then; a replay does nothing else.
//!
//! # Memory
//! A few responses at a time, and what [`PageTables`] needs; it does not grow with the number of
//! responses.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt as _;
use tokio::task::JoinHandle;
use tracing::warn;

use super::alerting::alert;
use super::attempts::ArchivedBatch;
use super::gates::{held, not_less};
use super::gathered::Gathered;
use super::grace::outlive_queries;
use super::means::Means;
use super::page::write_page;
use super::page_tables::PageTables;
use super::report::{Findings, Progress, RunEnd, RunReport, RunState};
use super::responses::{Found, ReadResponse};
use super::start::Start;
use super::target_states::TargetStates;
use super::write_tables::{write_requests, write_targets};
use crate::clock::{Stage, Stopwatch};
use crate::contract::Table;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::fate::Fate;
use crate::flatten::Drift;
use crate::lake::{
    Manifest, ManifestFile, ProfileChange, Published, Publishing, RequestTotals, Staging,
    TableManifest, Tally, publish, snapshots,
};
use crate::ledger::{Attempt, Outcome};
use crate::store::AttemptId;

/// How many responses are read and flattened at once.
const AT_ONCE: usize = 16;

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
    /// The tables of the responses that are flattened already.
    ahead: Option<PageTables<'a>>,
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
        ahead: Option<PageTables<'a>>,
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
            ahead,
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
        let mut tables = match self.ahead.take() {
            Some(ahead) => ahead,
            None => {
                let (gathered, published) = (&self.gathered, self.published.as_ref());
                PageTables::new(&self.start, gathered, published, &[Fate::Absent])?
            }
        };
        self.stages = tables.source.stages.clone();
        let staging = tables.staging().await?;
        let manifest = self.stage(&staging, tables).await?;
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
            grace: pipeline.publish.grace,
            now: &|| env.clock.now(),
            stages: &self.stages,
            moved: &|| (env.on_progress)(Progress::Moved),
        };
        let Published {
            manifest,
            warnings,
            kept_until,
        } = publish(&staging, manifest, &how).await?;
        (env.on_progress)(Progress::Manifested);
        let mut report = self.report(&manifest, RunState::Published, findings, means);
        report.warnings = warnings;
        let failed = alert(&self.start, &mut report).await;
        report.warnings.extend(write_page(&self.start).await);
        report.warnings.extend(failed);
        if let Some(until) = kept_until {
            let left = outlive_queries(&self.start, &manifest, until).await;
            report.warnings.extend(left);
        }
        Ok(RunEnd {
            report,
            error: None,
        })
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
    async fn stage(&mut self, staging: &Staging, mut made: PageTables<'a>) -> Result<Manifest> {
        if let Some(damaged) = self.flatten(&mut made).await? {
            return Err(self.reject(damaged).await?);
        }
        let fates = self.gathered.fates();
        let found = std::mem::replace(&mut made.found, Found::new(0));
        let publication = self.gathered.publication(self.published.as_ref());
        // On another thread, while the rest of the pages is sorted and written.
        let rest = self.write_rest(staging);
        let pages = made.finish().await?;
        let pages = pages.await.context(|| "writing the pages panicked")??;
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
            generation: publication.generation,
            tables,
            tally: Tally {
                lines: self.gathered.list.line_count() as u64,
                fates,
                items: found.items,
                unmatched: found.unmatched,
                requests: self.requests,
            },
            irregularities: found.irregularities,
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

    /// Adds the responses that are left, and sets the fates of the targets whose rows are found.
    /// Returns a response that cannot be used, at which this ends early.
    async fn flatten(&mut self, tables: &mut PageTables<'_>) -> Result<Option<Damaged>> {
        let archived = std::mem::take(&mut self.gathered.attempts.archived);
        let mut damaged = self.add_left(&archived, tables).await?;
        if damaged.is_none() && tables.is_late() {
            warn!(
                "a row arrived that belongs before rows that are already written; writing all rows again"
            );
            tables.begin_again().await?;
            damaged = self.add_left(&archived, tables).await?;
        }
        let counted = self.attempts.iter();
        for attempt in counted.filter(|attempt| attempt.outcome == Outcome::Ok) {
            let found = &mut tables.found.irregularities;
            found.envelope(&attempt.oddities);
        }
        for target in tables.found.returned() {
            self.gathered.states.set_fate(target, Fate::Returned);
        }
        Ok(damaged)
    }

    /// Adds the responses that were not added before, until one comes too late or cannot be used.
    async fn add_left(
        &self,
        archived: &[ArchivedBatch],
        tables: &mut PageTables<'_>,
    ) -> Result<Option<Damaged>> {
        let added = self.add_each(archived, tables).await;
        match added {
            Ok(_) => tables.all_are_added().await?,
            // No step may outlive the lock; why this failed is known.
            Err(_) => _ = tables.step_ends().await,
        }
        added
    }

    /// The same, but a step may go on when this ends.
    async fn add_each(
        &self,
        archived: &[ArchivedBatch],
        tables: &mut PageTables<'_>,
    ) -> Result<Option<Damaged>> {
        let env = self.start.env;
        let attempts = self.attempts.iter();
        let attempts: HashMap<_, _> = attempts.map(|attempt| (attempt.id, attempt)).collect();
        let source = tables.source.clone();
        // In the order of the archive, so that the first damaged response ends it.
        let left = archived.iter().filter(|batch| !tables.found.has(batch.id));
        let left: Vec<_> = left.collect();
        let mut responses = futures::stream::iter(&left)
            .map(|batch| source.read(batch, attempts.get(&batch.id).copied()))
            .buffered(AT_ONCE);
        for &batch in &left {
            let Some(read) = responses.next().await else {
                break;
            };
            // The archive has everything: the next start publishes.
            env.stop.check()?;
            match read? {
                ReadResponse::Flattened(response) => tables.add(batch, response).await?,
                ReadResponse::Damaged(error) => {
                    let id = batch.id;
                    return Ok(Some(Damaged { id, error }));
                }
            }
            (env.on_progress)(Progress::Flattened);
            if tables.is_late() {
                break;
            }
        }
        Ok(None)
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

/// A response that cannot be used.
struct Damaged {
    id: AttemptId,
    error: Error,
}
