//! Writes a snapshot's tables into its staging place, sorted.
//!
//! Pages are sorted and written; breakdowns are read from them, a pass for each dimension, and so need no sort.
//!
//! # Memory
//! What is left of the bound beside the target list, which grows with its lines: the sorter's part, a row group of the table that is being written, and two batches of its rows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use super::books::request_ids;
use super::target_states::TargetStates;
use crate::clock::{Stage, Stopwatch};
use crate::contract::{Contract, DIMENSIONS, Table};
use crate::error::{Context, Result};
use crate::fate::Fate;
use crate::flatten::breakdowns;
use crate::lake::{
    LineFate, ManifestFile, Profile, Sorter, Staging, requests_batch, targets_batch,
};
use crate::ledger::Attempt;
use crate::plan::sorted;
use crate::store::Store;
use crate::targets::{LineEnd, TargetList};

/// Bytes for each line besides the list, as measured: its target's batch and fate, the order in which its table is written,
/// and what the reading of the books has left in pieces.
const LINE_BYTES: usize = 64;

/// What of the memory the sorter may buffer: five eighths, less what a long list takes beyond one eighth. A quarter is for
/// a row group, answers under way and what is put in order.
fn sorter_bytes(memory: usize, list: &TargetList) -> usize {
    let held = list.memory_bytes() + list.line_count() * LINE_BYTES;
    let eighth = memory / 8;
    (6 * eighth)
        .saturating_sub(held)
        .clamp(eighth / 2, 5 * eighth)
}
/// Rows of a batch of targets or requests.
const BATCH_ROWS: usize = 8192;
/// Pages that are unfolded at once: enough that cores seldom wait for each other between two batches.
const UNFOLDED_PAGES: usize = 32_768;

/// The files of pages and breakdowns, and what pages add up to.
pub(super) type Written = Result<(Vec<ManifestFile>, Vec<ManifestFile>, Profile)>;

/// Sorts what comes and writes pages and breakdowns.
pub(super) fn write_pages(
    staging: &Staging,
    store: &Store,
    contract: &Arc<Contract>,
    (memory, list): (usize, &TargetList),
    mut rows: tokio::sync::mpsc::Receiver<RecordBatch>,
    stages: &Stopwatch,
) -> tokio::task::JoinHandle<Written> {
    let (staging, scratch, contract) = (staging.clone(), store.scratch(), Arc::clone(contract));
    let (stages, budget) = (stages.clone(), sorter_bytes(memory, list));
    tokio::task::spawn_blocking(move || {
        let mut sorter = Sorter::new(contract.schema(), &contract.sort, budget, scratch)?;
        while let Some(batch) = rows.blocking_recv() {
            stages.time(Stage::Sort, || sorter.push(batch))?;
        }
        let mut profile = Profile::default();
        let mut writer = staging.writer(Table::Pages);
        let mut sorted = stages.time(Stage::Sort, || sorter.finish())?;
        beside(
            || stages.time(Stage::Sort, || sorted.next()),
            |batch| {
                profile.add(&batch);
                stages.time(Stage::EncodePages, || writer.write(&batch))
            },
        )?;
        let pages = stages.time(Stage::EncodePages, || writer.close())?;
        let breakdowns = write_breakdowns(&staging, &pages, &stages)?;
        Ok((pages, breakdowns, profile))
    })
}

/// Unfolds the staged pages, a pass for each dimension: what comes is in order.
fn write_breakdowns(
    staging: &Staging,
    pages: &[ManifestFile],
    stages: &Stopwatch,
) -> Result<Vec<ManifestFile>> {
    let passes = DIMENSIONS
        .iter()
        .flat_map(|pass| pages.iter().map(move |page| (pass, page)));
    let mut unfolded = passes.flat_map(|(&(dimension, field), page)| {
        let path = staging.file(Table::Pages, page);
        match unfold(&path, dimension, field, stages) {
            Ok(batches) => Box::new(batches) as Box<dyn Iterator<Item = _> + Send>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
        .map(move |batch| batch.context(|| format!("failed to unfold {}", path.display())))
    });
    let mut writer = staging.writer(Table::Breakdowns);
    beside(
        || unfolded.next(),
        |batch| stages.time(Stage::EncodeBreakdowns, || writer.write(&batch)),
    )?;
    stages.time(Stage::EncodeBreakdowns, || writer.close())
}

/// The breakdowns of one dimension of a file of pages.
fn unfold<'s>(
    path: &Path,
    dimension: &'s str,
    field: &'s str,
    stages: &'s Stopwatch,
) -> std::result::Result<
    impl Iterator<Item = std::result::Result<RecordBatch, ParquetError>> + Send + use<'s>,
    ParquetError,
> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?
        .with_batch_size(UNFOLDED_PAGES);
    let wanted = ["target", "root_domain", field];
    let columns = builder.schema().fields().iter().enumerate();
    let roots = columns.filter(|(_, column)| wanted.contains(&column.name().as_str()));
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots.map(|(at, _)| at));
    let mut pages = builder.with_projection(mask).build()?;
    let mut next = move || {
        let unfolded = pages
            .next()?
            .and_then(|batch| breakdowns(&batch, field, dimension));
        Some(unfolded.map_err(ParquetError::from))
    };
    Ok(std::iter::from_fn(move || {
        stages.time(Stage::Unfold, &mut next)
    }))
}

/// Makes the next batch beside the one that is taken; whichever core is free helps.
fn beside(
    mut make: impl FnMut() -> Option<Result<RecordBatch>> + Send,
    mut take: impl FnMut(RecordBatch) -> Result<()> + Send,
) -> Result<()> {
    // On a thread of the pool, so that each step begins without waking one.
    rayon::scope(|_| {
        let mut next = make();
        while let Some(batch) = next {
            let batch = batch?;
            let (taken, made) = rayon::join(|| take(batch), &mut make);
            taken?;
            next = made;
        }
        Ok(())
    })
}

/// Writes the requests table.
pub(super) fn write_requests(staging: &Staging, attempts: &[Attempt]) -> Result<Vec<ManifestFile>> {
    let mut writer = staging.writer(Table::Requests);
    for attempts in attempts.chunks(BATCH_ROWS) {
        writer.write(&requests_batch(attempts)?)?;
    }
    writer.close()
}

/// Writes the targets table: lines by root domain, target, source and number, invalid ones first.
pub(super) fn write_targets(
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
            LineEnd::Target(id) | LineEnd::Duplicate { of: id, .. } => {
                (place[id.0 as usize], index)
            }
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
        LineEnd::Invalid(reason) => LineFate {
            fate: Fate::Invalid,
            reason: Some(reason),
            batch: None,
            request_id: None,
        },
        LineEnd::Duplicate { .. } => LineFate {
            fate: Fate::Duplicate,
            reason: None,
            batch: None,
            request_id: None,
        },
        LineEnd::Target(id) => {
            let (fate, reason, batch) = states.of(id);
            let request_id = batch.and_then(|batch| request_ids.get(&batch).copied());
            LineFate {
                fate,
                reason,
                batch,
                request_id,
            }
        }
    };
    let mut writer = staging.writer(Table::Targets);
    for lines in order.chunks(BATCH_ROWS) {
        let lines: Vec<usize> = lines.iter().map(|&(_, index)| index as usize).collect();
        writer.write(&targets_batch(list, &lines, fate_of)?)?;
    }
    writer.close()
}
