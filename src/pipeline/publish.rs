//! From the archive to a published snapshot: flatten every answer, write the four tables, hold them to what is expected,
//! publish. What a run does when all is fetched, and all that a replay does.
//!
//! # Memory
//! A few answers at a time and what [`super::staging`] takes; it does not grow with the number of answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt as _;
use tokio::task::JoinHandle;
use tracing::warn;

use super::books::{Answered, Books};
use super::gates::held;
use super::report::{Findings, Progress, Published};
use super::spec::Pipeline;
use super::surroundings::Surroundings;
use super::target_states::TargetStates;
use super::write_tables::{Written, write_pages, write_requests, write_targets};
use crate::clock::{Stage, Stopwatch};
use crate::contract::{Contract, Table};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fate::Fate;
use crate::flatten::{Drift, Flattened, Irregularities, Requested, flatten};
use crate::lake::{
    Manifest, ManifestFile, ProfileChange, PublicationId, Publishing, RequestTotals, Staging,
    TableManifest, Tally, publish, snapshots,
};
use crate::ledger::{Attempt, Ledger, RunRecord};
use crate::store::{AttemptId, Lock, Store};
use crate::targets::{Rules, Target, TargetList};

/// Answers that are read and flattened at once.
const AT_ONCE: usize = 16;
/// Batches between two threads.
const BETWEEN: usize = 2;

/// Everything a run has gathered, ready to become a snapshot.
pub(super) struct Publication<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) env: &'a Surroundings<'a>,
    pub(super) store: &'a Store,
    pub(super) ledger: &'a Ledger,
    pub(super) lock: &'a Lock,
    pub(super) record: RunRecord,
    pub(super) list: Arc<TargetList>,
    /// By which the list was read.
    pub(super) rules: Rules,
    pub(super) states: TargetStates,
    pub(super) books: Books,
    pub(super) requests: RequestTotals,
    /// What is published of this date now.
    pub(super) over: Option<Manifest>,
    pub(super) when_damaged: WhenDamaged,
    pub(super) stages: Stopwatch,
}

/// What becomes of an archived answer that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenDamaged {
    /// It is entered as such, and the next start asks for its targets again.
    AskAgain,
    /// The books stay as they are: nothing is asked.
    Refuse,
}

impl Publication<'_> {
    /// Writes the tables, looks at them, and publishes them.
    pub(super) async fn publish(mut self) -> Result<Published> {
        // A replay writes what is published anew, under the same names if it is the same.
        let generation = match &self.over {
            Some(over) if over.run == self.record.run => over.generation,
            Some(over) => over.generation + 1,
            None => 1,
        };
        let Self {
            pipeline,
            env,
            store,
            lock,
            ..
        } = self;
        let stages = self.stages.clone();
        let staging = Staging::begin(
            store,
            pipeline.snapshot,
            PublicationId {
                run: self.record.run.clone(),
                generation,
            },
            &pipeline.contracts,
            pipeline.file_bytes,
            lock,
        )
        .await?;
        let attempts: Vec<Attempt> = std::mem::take(&mut self.books.entries)
            .into_iter()
            .map(|entry| entry.attempt)
            .collect();
        let manifest = self.stage(&staging, attempts, generation).await?;
        (env.on_progress)(Progress::Staged);
        let findings = self.look_at(&manifest).await?;
        if let Some(held) = held(&findings, pipeline) {
            return Ok(Published {
                manifest,
                findings,
                held: Some(held),
                stages,
            });
        }
        let how = Publishing {
            lock,
            published: self.over,
            format: pipeline.table_format,
            success_file: pipeline.success_file,
            stages: &stages,
            moved: &|| (env.on_progress)(Progress::Moved),
        };
        let manifest = publish(&staging, manifest, &how).await?;
        (env.on_progress)(Progress::Manifested);
        Ok(Published {
            manifest,
            findings,
            held: None,
            stages,
        })
    }

    /// Writes the four tables.
    async fn stage(
        &mut self,
        staging: &Staging,
        attempts: Vec<Attempt>,
        generation: u32,
    ) -> Result<Manifest> {
        let mut tables: BTreeMap<String, TableManifest> = BTreeMap::new();
        let contracts = &self.pipeline.contracts;
        let mut add = |table: Table, files: Vec<ManifestFile>| {
            let rows = files.iter().map(|file| file.rows).sum();
            let contract = contracts.of(table).id();
            tables.insert(
                table.name().to_owned(),
                TableManifest {
                    contract,
                    rows,
                    files,
                },
            );
        };
        let Rows {
            written,
            items,
            unmatched,
            irregularities,
        } = self.flatten(staging, &attempts).await?;
        let (lines, fates) = (self.list.line_count() as u64, self.states.fates(&self.list));
        let (files, list) = (staging.clone(), Arc::clone(&self.list));
        let states = std::mem::replace(&mut self.states, TargetStates::new(0));
        let stages = self.stages.clone();
        let rest = tokio::task::spawn_blocking(move || {
            stages.time(Stage::TargetsAndRequests, || -> Result<_> {
                Ok((
                    write_targets(&files, &list, &states, &attempts)?,
                    write_requests(&files, &attempts)?,
                ))
            })
        });
        // Beside the pages, which are sorted and written meanwhile.
        let (pages, breakdowns, profile) =
            written.await.context(|| "writing the pages panicked")??;
        let (targets, attempts) = rest.await.context(|| "writing the tables panicked")??;
        add(Table::Pages, pages);
        add(Table::Breakdowns, breakdowns);
        add(Table::Targets, targets);
        add(Table::Requests, attempts);
        Ok(Manifest {
            format: Manifest::FORMAT,
            snapshot: self.pipeline.snapshot,
            question: self.record.question.clone(),
            run: self.record.run.clone(),
            written_by: concat!("backlake ", env!("CARGO_PKG_VERSION")).to_owned(),
            started_at: self.record.started_at,
            published_at: self.env.clock.now(),
            generation,
            tables,
            tally: Tally {
                lines,
                fates,
                items,
                unmatched,
                requests: self.requests,
            },
            irregularities,
            profile,
        })
    }

    /// Flattens every answer and begins to write pages and breakdowns; sets the fates of the targets that are returned.
    async fn flatten(&mut self, staging: &Staging, attempts: &[Attempt]) -> Result<Rows> {
        let Self {
            pipeline,
            env,
            store,
            ledger,
            ..
        } = *self;
        let answered = std::mem::take(&mut self.books.answered);
        let fetched: HashMap<AttemptId, (i64, Option<String>)> = attempts
            .iter()
            .map(|attempt| {
                let arrived = attempt.sent_at.timestamp_micros()
                    + attempt.duration_ms.unwrap_or(0) as i64 * 1000;
                (attempt.id, (arrived, attempt.request_id.clone()))
            })
            .collect();
        let contract = pipeline.contracts.of(Table::Pages);
        let (rows, unsorted) = tokio::sync::mpsc::channel::<RecordBatch>(BETWEEN);
        let memory = (pipeline.memory_bytes, self.list.as_ref());
        let writer = write_pages(staging, store, contract, memory, unsorted, &self.stages);
        let (list, rules, stages) = (Arc::clone(&self.list), self.rules, self.stages.clone());
        let mut flattened = futures::stream::iter(&answered)
            .map(|answered| {
                let (arrived, request_id) = fetched.get(&answered.id).cloned().unwrap_or_default();
                flatten_answer(
                    ledger,
                    contract,
                    &list,
                    &rules,
                    answered,
                    (arrived, request_id),
                    &stages,
                )
            })
            .buffered(AT_ONCE);
        let (mut items, mut unmatched, mut irregularities) = (0, 0, Irregularities::default());
        let mut number = 0;
        let mut broken = None;
        while let Some(answer) = flattened.next().await {
            if let Some(reason) = env.stop.reason() {
                // The archive has everything: the next start publishes.
                return Err(reason.error());
            }
            // A lake that fails now says nothing of the answer.
            let answer = match answer? {
                Ok(answer) => answer,
                Err(error) => {
                    broken = Some((answered[number].id, error));
                    break;
                }
            };
            for (target, _) in answered[number]
                .targets
                .iter()
                .zip(&answer.returned)
                .filter(|(_, returned)| **returned)
            {
                self.states.set_fate(*target, Fate::Returned);
            }
            number += 1;
            items += answer.pages.num_rows() as u64;
            unmatched += answer.unmatched;
            irregularities.add(answer.irregularities);
            (env.on_progress)(Progress::Flattened);
            // A writer that has failed hangs up; it says why below.
            if rows.send(answer.pages).await.is_err() {
                break;
            }
        }
        drop(flattened);
        drop(rows);
        if let Some((id, error)) = broken {
            // What it says of the rows so far does not matter any more.
            let _ = writer.await;
            if self.when_damaged == WhenDamaged::Refuse {
                let message = format!("the archived answer to attempt {id} cannot be used");
                let hint = "nothing was changed; restore its file in _archive from a copy, or ask for the date anew with `backlake run --replace`, which is paid";
                return Err(Error::unexpected(message).caused_by(error).with_hint(hint));
            }
            if let Some(attempt) = attempts.iter().find(|attempt| attempt.id == id) {
                ledger
                    .reject_response(attempt.clone(), &error.to_string())
                    .await?;
            }
            let message =
                "an archived answer cannot be used; the next start asks for its targets again";
            let hint = "run the same command again: its targets, at most 1000, are asked and paid for once more; look at what has damaged _archive";
            return Err(Error::new(ErrorKind::Held, message)
                .caused_by(error)
                .with_hint(hint));
        }
        Ok(Rows {
            written: writer,
            items,
            unmatched,
            irregularities,
        })
    }

    /// Looks at what was staged: is it as the contract says, and of the same kind as the snapshot before it?
    async fn look_at(&self, manifest: &Manifest) -> Result<Findings> {
        let Self {
            pipeline, store, ..
        } = self;
        let contract = pipeline.contracts.of(Table::Pages);
        let drift = Drift::of(&manifest.irregularities, contract, manifest.tally.items);
        for found in &drift {
            warn!(
                field = found.field,
                items = found.items,
                example = found.example,
                "a field of the answers {}; the summary says more",
                found.what.words()
            );
        }
        let mut changes = Vec::new();
        for date in snapshots(store)
            .await?
            .into_iter()
            .rev()
            .filter(|date| *date < pipeline.snapshot)
        {
            // One that cannot be read is `verify`'s to name.
            let Ok(Some(before)) = Manifest::read(store, date).await else {
                continue;
            };
            if before.question.difference(&manifest.question).is_none() && before.profile.rows > 0 {
                changes = manifest
                    .profile
                    .changes(&before.profile, &pipeline.change_bounds);
                break;
            }
        }
        for ProfileChange {
            figure,
            before,
            now,
            ..
        } in &changes
        {
            warn!(
                before,
                now, "{figure} is not what it was in the snapshot before"
            );
        }
        Ok(Findings { drift, changes })
    }
}

/// What came of the answers.
struct Rows {
    /// Pages and breakdowns, which are still being written.
    written: JoinHandle<Written>,
    items: u64,
    unmatched: u64,
    irregularities: Irregularities,
}

async fn flatten_answer(
    ledger: &Ledger,
    contract: &Arc<Contract>,
    list: &Arc<TargetList>,
    rules: &Rules,
    answered: &Answered,
    (fetched_at, request_id): (i64, Option<String>),
    stages: &Stopwatch,
) -> Result<Result<Flattened>> {
    let id = answered.id;
    let packed = stages
        .time_async(Stage::Read, ledger.packed_response(id))
        .await?;
    let packed = match packed {
        Some(packed) => packed,
        None => {
            let message = format!("the answer to attempt {id} has vanished from the archive");
            return Ok(Err(Error::unexpected(message)));
        }
    };
    let (contract, list) = (Arc::clone(contract), Arc::clone(list));
    let (ids, rules, stages) = (answered.targets.clone(), *rules, stages.clone());
    let work = on_a_core(move || {
        let targets: Vec<Target<'_>> = ids.iter().map(|&id| list.target(id)).collect();
        let request_id = request_id.as_deref();
        let asked = Requested {
            contract: &contract,
            targets: &targets,
            rules: &rules,
            request_id,
            fetched_at,
        };
        let body = stages.time(Stage::Decompress, || packed.unpack())?;
        let flattened = stages.time(Stage::Flatten, || flatten(&body, &asked));
        flattened.context(|| format!("failed to flatten the answer to attempt {id}"))
    });
    work.await
        .context(|| format!("flattening the answer to attempt {id} panicked"))
}

/// Does work on one of as many threads as there are cores, first come first served. More threads than cores would only
/// take memory and each other's caches.
async fn on_a_core<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::result::Result<T, tokio::sync::oneshot::error::RecvError> {
    let (done, result) = tokio::sync::oneshot::channel();
    rayon::spawn_fifo(move || {
        // Who waits hears of a panic by the end of the channel, and of nothing if nobody waits any more.
        if let Ok(result) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            let _ = done.send(result);
        }
    });
    result.await
}
