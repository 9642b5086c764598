//! Writes the tables of a snapshot into its staging place, sorted.
//!
//! Pages are sorted, unfolded into breakdowns, and both are written at the same time: breakdowns
//! have the order of pages, and so need no sort of their own.
//!
//! # Memory
//! [`MemoryBudget`] gives the formula.

use arrow::array::RecordBatch;
use tokio::task::JoinHandle;

use super::attempts::request_ids;
use super::target_states::TargetStates;
use crate::clock::{Stage, Stopwatch};
use crate::contract::{Contract, Table};
use crate::error::{Context, Result};
use crate::fate::Fate;
use crate::flatten::breakdowns;
use crate::lake::{
    LineFate, ManifestFile, Profile, Sorter, Staging, TableWriter, requests_batch, targets_batch,
};
use crate::ledger::Attempt;
use crate::plan::sorted;
use crate::store::Store;
use crate::targets::{LineEnd, TargetList};

/// Rows of a batch of targets or requests.
const BATCH_ROWS: usize = 8192;
/// Pages that are unfolded at once: a page may have hundreds of rows of breakdowns.
const UNFOLDED_PAGES: usize = 4096;
/// Bytes per line besides the list, as measured: the state of its target, the order of its table,
/// and the fragments that reading the ledger leaves.
const LINE_BYTES: usize = 64;

/// The memory that publishing may use, and the part of it that the sorter of pages gets.
///
/// With `m = memory_mib` and `l` = the bytes of the target list, 64 bytes per line included:
///
/// ```text
/// sorter = 6/8 m - l,   at least 1/16 m,   at most 5/8 m
/// ```
///
/// So 2/8 of `m` are for two row groups, the responses in work and the batches being sorted; a list of
/// up to 1/8 of `m` costs the sorter nothing, and a longer one makes it spill to disk earlier.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemoryBudget {
    memory: usize,
    list: usize,
}

impl MemoryBudget {
    /// The budget of `memory` bytes for a snapshot of this list.
    pub(super) fn new(memory: usize, list: &TargetList) -> Self {
        let list = list.memory_bytes() + list.line_count() * LINE_BYTES;
        Self { memory, list }
    }

    /// Bytes that the sorter may buffer before it spills to disk.
    fn sorter(self) -> usize {
        let eighth = self.memory / 8;
        (6 * eighth)
            .saturating_sub(self.list)
            .clamp(eighth / 2, 5 * eighth)
    }
}

/// The files of the tables that are made from responses.
pub(super) struct Written {
    pub(super) pages: Vec<ManifestFile>,
    pub(super) breakdowns: Vec<ManifestFile>,
    pub(super) profile: Profile,
}

/// A sorter of pages within this memory.
pub(super) fn sorter_of_pages(
    store: &Store,
    contract: &Contract,
    memory: MemoryBudget,
) -> Result<Sorter> {
    let (schema, scratch) = (contract.schema(), store.scratch());
    Sorter::new(schema, &contract.sort, memory.sorter(), scratch)
}

/// Adds the rows that arrive, each batch with its rank, to those in the sorter, then writes pages and
/// breakdowns.
pub(super) fn write_pages(
    staging: &Staging,
    mut sorter: Sorter,
    mut rows: tokio::sync::mpsc::Receiver<(u64, RecordBatch)>,
    stages: &Stopwatch,
) -> JoinHandle<Result<Written>> {
    let (staging, stages) = (staging.clone(), stages.clone());
    tokio::task::spawn_blocking(move || {
        while let Some((rank, batch)) = rows.blocking_recv() {
            sorter.push(rank, batch);
            if sorter.is_full() {
                stages.time(Stage::Sort, || sorter.spill())?;
            }
        }
        let mut profile = Profile::default();
        let mut pages = staging.writer(Table::Pages);
        let mut breakdowns = staging.writer(Table::Breakdowns);
        let mut sorted = stages.time(Stage::Sort, || sorter.finish())?;
        side_by_side(
            || stages.time(Stage::Sort, || sorted.next()),
            |batch| {
                profile.add(&batch);
                let (written, unfolded) = rayon::join(
                    || stages.time(Stage::EncodePages, || pages.write(&batch)),
                    || write_breakdowns(&mut breakdowns, &batch, &stages),
                );
                written.and(unfolded)
            },
        )?;
        let (pages, breakdowns) = rayon::join(
            || stages.time(Stage::EncodePages, || pages.close()),
            || stages.time(Stage::EncodeBreakdowns, || breakdowns.close()),
        );
        Ok(Written {
            pages: pages?,
            breakdowns: breakdowns?,
            profile,
        })
    })
}

/// Unfolds sorted pages and writes their breakdowns, a part at a time.
fn write_breakdowns(
    writer: &mut TableWriter,
    pages: &RecordBatch,
    stages: &Stopwatch,
) -> Result<()> {
    for from in (0..pages.num_rows()).step_by(UNFOLDED_PAGES) {
        let part = pages.slice(from, UNFOLDED_PAGES.min(pages.num_rows() - from));
        let unfolded = stages
            .time(Stage::Unfold, || breakdowns(&part))
            .context(|| "failed to unfold pages")?;
        stages.time(Stage::EncodeBreakdowns, || writer.write(&unfolded))?;
    }
    Ok(())
}

/// Makes the next batch while the previous one is taken; whichever core is free helps.
fn side_by_side(
    mut make: impl FnMut() -> Option<Result<RecordBatch>> + Send,
    mut take: impl FnMut(RecordBatch) -> Result<()> + Send,
) -> Result<()> {
    // On a thread of the pool, so that no step has to wake one.
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

/// Writes the targets table: lines sorted by root domain, target, source and number, invalid lines
/// first.
pub(super) fn write_targets(
    staging: &Staging,
    list: &TargetList,
    states: &TargetStates,
    attempts: &[Attempt],
) -> Result<Vec<ManifestFile>> {
    let order = line_order(list);
    let request_ids = request_ids(attempts);
    let of_line = |fate, reason| LineFate {
        fate,
        reason,
        batch: None,
        request_id: None,
    };
    let fate_of = |index: usize| match list.line(index).end {
        LineEnd::Invalid(reason) => of_line(Fate::Invalid, Some(reason)),
        LineEnd::Duplicate { .. } => of_line(Fate::Duplicate, None),
        LineEnd::Target(id) => {
            let state = states.of(id);
            LineFate {
                fate: state.fate,
                reason: state.reason,
                batch: state.batch,
                request_id: state
                    .batch
                    .and_then(|batch| request_ids.get(&batch).copied()),
            }
        }
    };
    let mut writer = staging.writer(Table::Targets);
    for lines in order.chunks(BATCH_ROWS) {
        let lines: Vec<usize> = lines.iter().map(|line| line.index as usize).collect();
        writer.write(&targets_batch(list, &lines, fate_of)?)?;
    }
    writer.close()
}

/// A line and the place of its target in the sorted list: 0 for an invalid line.
struct PlacedLine {
    place: u32,
    index: u32,
}

/// The lines of a list in the order of the targets table.
fn line_order(list: &TargetList) -> Vec<PlacedLine> {
    let mut places = vec![0_u32; list.target_count()];
    for (at, id) in sorted(list).into_iter().enumerate() {
        places[id.0 as usize] = at as u32 + 1;
    }
    let mut order: Vec<PlacedLine> = list
        .lines()
        .zip(0..)
        .map(|(line, index)| {
            let place = match line.end {
                LineEnd::Target(id) | LineEnd::Duplicate { of: id, .. } => places[id.0 as usize],
                LineEnd::Invalid(_) => 0,
            };
            PlacedLine { place, index }
        })
        .collect();
    drop(places);
    // Lines of one target, and invalid lines, are sorted by source and number.
    order.sort_unstable_by(|left, right| {
        left.place.cmp(&right.place).then_with(|| {
            let (left, right) = (
                list.line(left.index as usize),
                list.line(right.index as usize),
            );
            (left.source, left.number).cmp(&(right.source, right.number))
        })
    });
    order
}
