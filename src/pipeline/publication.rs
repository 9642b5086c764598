//! From the archive to a published snapshot: flatten every answer, sort, write the four tables, publish.
//!
//! # Memory
//! A few answers at a time, the sorter's budget, and a row group a table; it does not grow with the number of
//! answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use arrow_array::RecordBatch;
use futures::StreamExt as _;
use tracing::warn;

use super::books::{Answered, Books, TargetStates, request_ids};
use super::report::Progress;
use super::run::Surroundings;
use super::spec::Pipeline;
use crate::contract::{DIMENSIONS, Table};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fate::Fate;
use crate::fetch::{Attempt, AttemptId};
use crate::flatten::{Asked, Flattened, Irregularities, breakdowns, flatten};
use crate::lake::{
    Archive, LineFate, Lock, Manifest, ManifestFile, RequestTotals, RunRecord, Sorter, Staging, Store,
    TableManifest, publish, requests_batch, targets_batch,
};
use crate::plan::sorted;
use crate::target::{LineEnd, Rules, Target, TargetList};

/// Bytes of pages that are buffered before they are spilled.
const SORT_BUDGET: usize = 64 << 20;
/// Answers that are read and flattened at once.
const AT_ONCE: usize = 4;
/// Batches between two threads.
const BETWEEN: usize = 2;
/// Rows of a batch of the targets table.
const BATCH_LINES: usize = 8192;
/// Files of the breakdowns are numbered by dimension: this many numbers each.
const FILES_A_DIMENSION: u32 = 10_000;

#[expect(clippy::too_many_arguments, reason = "everything a run has gathered comes together here, once")]
pub(super) async fn publish_snapshot(
    pipeline: &Pipeline,
    around: &Surroundings<'_>,
    store: &Store,
    archive: &Archive,
    lock: &Lock,
    record: RunRecord,
    list: Arc<TargetList>,
    mut states: TargetStates,
    books: Books,
    requests: RequestTotals,
) -> Result<Manifest> {
    let Surroundings { clock, hear, stop, .. } = around;
    let Books { entries, answered, .. } = books;
    let attempts: Vec<Attempt> = entries.into_iter().map(|entry| entry.attempt).collect();
    let staging = Staging::begin(store, pipeline.snapshot, &record.run, lock).await?;
    let mut tables: BTreeMap<String, TableManifest> = BTreeMap::new();
    let mut add = |table: Table, files: Vec<ManifestFile>| {
        let rows = files.iter().map(|file| file.rows).sum();
        tables
            .insert(table.name().to_owned(), TableManifest { contract: table.contract().id(), rows, files });
    };

    let fetched_at: HashMap<AttemptId, (i64, Option<String>)> = attempts
        .iter()
        .map(|attempt| {
            let arrived = attempt.sent_at.timestamp_micros() + attempt.duration_ms.unwrap_or(0) as i64 * 1000;
            (attempt.id, (arrived, attempt.request_id.clone()))
        })
        .collect();
    let (rows, sorted_rows) = tokio::sync::mpsc::channel::<RecordBatch>(BETWEEN);
    let writer = write_pages(&staging, store, sorted_rows);
    let mut flattened = futures::stream::iter(&answered)
        .map(|answered| {
            let (arrived, request_id) = fetched_at.get(&answered.id).cloned().unwrap_or_default();
            flatten_answer(archive, &list, &pipeline.rules, answered, arrived, request_id)
        })
        .buffered(AT_ONCE);
    let (mut items, mut unmatched, mut irregularities) = (0, 0, Irregularities::default());
    let mut number = 0;
    let mut failed = None;
    while let Some(answer) = flattened.next().await {
        if let Some(reason) = stop.reason() {
            // The archive has everything: the next start publishes.
            return Err(reason.error());
        }
        // A lake that fails now says nothing of the answer.
        let answer = match answer? {
            Ok(answer) => answer,
            Err(error) => {
                failed = Some((answered[number].id, error));
                break;
            }
        };
        for (target, _) in
            answered[number].targets.iter().zip(&answer.returned).filter(|(_, returned)| **returned)
        {
            states.set_fate(*target, Fate::Returned);
        }
        number += 1;
        items += answer.pages.num_rows() as u64;
        unmatched += answer.unmatched;
        irregularities.add(answer.irregularities);
        hear(Progress::Flattened);
        // A writer that has failed hangs up; it says why below.
        if rows.send(answer.pages).await.is_err() {
            break;
        }
    }
    drop(flattened);
    drop(rows);
    let written = writer.await.context(|| "writing the pages panicked")?;
    if let Some((id, error)) = failed {
        if let Some(attempt) = attempts.into_iter().find(|attempt| attempt.id == id) {
            archive.disown(attempt, &error.to_string()).await?;
        }
        let message = "an archived answer cannot be used; the next start asks for its targets again";
        let hint = "run the same command again: its targets, at most 1000, are asked and paid for once more; look at what has damaged _archive";
        return Err(Error::new(ErrorKind::TargetsFailed, message).caused_by(error).with_hint(hint));
    }
    let (pages, breakdowns) = written?;
    add(Table::Pages, pages);
    add(Table::Breakdowns, breakdowns);
    if !irregularities.is_empty() {
        warn!(
            unknown_fields = ?irregularities.unknown_fields,
            misfits = ?irregularities.misfits,
            "answers hold what the contract does not; the originals are in pages.extra"
        );
    }

    let (lines, fates) = (list.line_count() as u64, states.fates(&list));
    let files = staging.clone();
    let rest = tokio::task::spawn_blocking(move || -> Result<_> {
        let targets = write_targets(&files, &list, &states, &attempts)?;
        let mut writer = files.writer(Table::Requests, 0);
        for attempts in attempts.chunks(BATCH_LINES) {
            writer.write(&requests_batch(attempts)?)?;
        }
        Ok((targets, writer.close(true)?))
    });
    let (targets, attempts) = rest.await.context(|| "writing the tables panicked")??;
    add(Table::Targets, targets);
    add(Table::Requests, attempts);

    let manifest = Manifest {
        format: Manifest::FORMAT,
        snapshot: pipeline.snapshot,
        question: record.question,
        run: record.run,
        written_by: concat!("backlake ", env!("CARGO_PKG_VERSION")).to_owned(),
        started_at: record.started_at,
        published_at: clock.now(),
        generation: 1,
        tables,
        lines,
        fates,
        items,
        unmatched,
        requests,
        irregularities,
    };
    hear(Progress::Staged);
    let moved = || hear(Progress::Moved);
    publish(&staging, &manifest, lock, &moved).await?;
    hear(Progress::Manifested);
    Ok(manifest)
}

async fn flatten_answer(
    archive: &Archive,
    list: &Arc<TargetList>,
    rules: &Rules,
    answered: &Answered,
    fetched_at: i64,
    request_id: Option<String>,
) -> Result<Result<Flattened>> {
    let id = answered.id;
    let body = match archive.answer(id).await? {
        Some(Ok(body)) => body,
        Some(Err(broken)) => return Ok(Err(broken)),
        None => {
            let message = format!("the answer to attempt {id} has vanished from the archive");
            return Ok(Err(Error::unexpected(message)));
        }
    };
    let (list, ids, rules) = (Arc::clone(list), answered.targets.clone(), *rules);
    let work = tokio::task::spawn_blocking(move || {
        let targets: Vec<Target<'_>> = ids.iter().map(|&id| list.target(id)).collect();
        let asked = Asked { targets: &targets, rules: &rules, request_id: request_id.as_deref(), fetched_at };
        flatten(&body, &asked)
    });
    let flattened = work.await.context(|| format!("flattening the answer to attempt {id} panicked"))?;
    Ok(flattened.context(|| format!("failed to flatten the answer to attempt {id}")))
}

type Written = Result<(Vec<ManifestFile>, Vec<ManifestFile>)>;

/// Sorts what comes and writes pages and breakdowns, each on a thread of its own.
fn write_pages(
    staging: &Staging,
    store: &Store,
    mut rows: tokio::sync::mpsc::Receiver<RecordBatch>,
) -> tokio::task::JoinHandle<Written> {
    let (staging, scratch) = (staging.clone(), store.scratch());
    tokio::task::spawn_blocking(move || {
        let mut sorter = Sorter::new(Table::Pages.contract().schema(), SORT_BUDGET, scratch)?;
        while let Some(batch) = rows.blocking_recv() {
            sorter.push(batch)?;
        }
        let runtime = tokio::runtime::Handle::current();
        thread::scope(|scope| {
            let (send, pages) = mpsc::sync_channel::<RecordBatch>(BETWEEN);
            let unfolded = scope.spawn(|| {
                let _runtime = runtime.enter();
                write_breakdowns(&staging, pages)
            });
            let mut writer = staging.writer(Table::Pages, 0);
            for batch in sorter.finish()? {
                let batch = batch?;
                writer.write(&batch)?;
                if send.send(batch).is_err() {
                    break;
                }
            }
            drop(send);
            let unfolded =
                unfolded.join().unwrap_or_else(|_| Err(Error::unexpected("writing the breakdowns panicked")));
            Ok((writer.close(true)?, unfolded?))
        })
    })
}

/// Unfolds sorted pages into six sorted stretches, a writer each: together they are the table in order.
fn write_breakdowns(staging: &Staging, pages: mpsc::Receiver<RecordBatch>) -> Result<Vec<ManifestFile>> {
    let first = |number: usize| number as u32 * FILES_A_DIMENSION;
    let mut writers: Vec<_> =
        (0..DIMENSIONS.len()).map(|number| staging.writer(Table::Breakdowns, first(number))).collect();
    for batch in pages {
        for ((dimension, field), writer) in DIMENSIONS.iter().zip(&mut writers) {
            let unfolded =
                breakdowns(&batch, field, dimension).context(|| "failed to unfold the breakdowns")?;
            writer.write(&unfolded)?;
        }
    }
    let mut files = Vec::new();
    let last = writers.len() - 1;
    for (number, writer) in writers.into_iter().enumerate() {
        let none_yet = files.is_empty();
        files.extend(writer.close(number == last && none_yet)?);
    }
    Ok(files)
}

/// Writes the targets table: lines by root domain, target, source and number, invalid ones first.
fn write_targets(
    staging: &Staging,
    list: &TargetList,
    states: &TargetStates,
    attempts: &[Attempt],
) -> Result<Vec<ManifestFile>> {
    let mut place = vec![0_u32; list.target_count()];
    for (at, id) in sorted(list).into_iter().enumerate() {
        place[id.0 as usize] = at as u32 + 1;
    }
    let mut order: Vec<(u32, u32)> = list
        .lines()
        .zip(0..)
        .map(|(line, index)| match line.end {
            LineEnd::Target(id) | LineEnd::Duplicate { of: id, .. } => (place[id.0 as usize], index),
            LineEnd::Invalid(_) => (0, index),
        })
        .collect();
    drop(place);
    // Lines of one target, and the invalid ones, stand by source and number.
    order.sort_unstable_by(|left, right| {
        left.0.cmp(&right.0).then_with(|| {
            let (left, right) = (list.line(left.1 as usize), list.line(right.1 as usize));
            (left.source, left.number).cmp(&(right.source, right.number))
        })
    });
    let request_ids = request_ids(attempts);
    let fate_of = |index: usize| match list.line(index).end {
        LineEnd::Invalid(reason) => {
            LineFate { fate: Fate::Invalid, reason: Some(reason), batch: None, request_id: None }
        }
        LineEnd::Duplicate { .. } => {
            LineFate { fate: Fate::Duplicate, reason: None, batch: None, request_id: None }
        }
        LineEnd::Target(id) => {
            let (fate, reason, batch) = states.of(id);
            let request_id = batch.and_then(|batch| request_ids.get(&batch).copied());
            LineFate { fate, reason, batch, request_id }
        }
    };
    let mut writer = staging.writer(Table::Targets, 0);
    for lines in order.chunks(BATCH_LINES) {
        let lines: Vec<usize> = lines.iter().map(|&(_, index)| index as usize).collect();
        writer.write(&targets_batch(list, &lines, fate_of)?)?;
    }
    writer.close(true)
}
