//! Writes the tables of a snapshot into its staging place, sorted.
//!
//! Sorted pages are unfolded into breakdowns, and both are written at the same time: breakdowns have
//! the order of pages, and so need no sort of their own.
//!
//! # Memory
//! [`MemoryBudget`] gives the formula.

use arrow::array::RecordBatch;

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
use crate::store::Store;
use crate::targets::{LineEnd, TargetList};

/// Rows of a batch of targets or requests.
const BATCH_ROWS: usize = 8192;
/// Pages that are unfolded at once: a page may have hundreds of rows of breakdowns.
const UNFOLDED_PAGES: usize = 4096;
/// Bytes per line besides the list, at most: the state of its target, its place in its batch and in the
/// targets table, and what the allocator keeps of freed memory.
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

/// Writes pages and breakdowns.
pub(super) struct PageWriters {
    pages: TableWriter,
    breakdowns: TableWriter,
    profile: Profile,
}

impl PageWriters {
    pub(super) fn new(staging: &Staging) -> Self {
        Self {
            pages: staging.writer(Table::Pages),
            breakdowns: staging.writer(Table::Breakdowns),
            profile: Profile::default(),
        }
    }

    /// How many pages are written.
    pub(super) fn rows(&self) -> u64 {
        self.profile.rows
    }

    /// Writes sorted pages, which must follow those before them, and their breakdowns.
    pub(super) fn write(
        &mut self,
        mut sorted: impl Iterator<Item = Result<RecordBatch>> + Send,
        stages: &Stopwatch,
    ) -> Result<()> {
        side_by_side(
            || stages.time(Stage::Sort, || sorted.next()),
            |batch| {
                self.profile.add(&batch);
                let (written, unfolded) = rayon::join(
                    || stages.time(Stage::EncodePages, || self.pages.write(&batch)),
                    || write_breakdowns(&mut self.breakdowns, &batch, stages),
                );
                written.and(unfolded)
            },
        )
    }

    /// Closes the files.
    pub(super) fn close(self, stages: &Stopwatch) -> Result<Written> {
        let (pages, breakdowns) = rayon::join(
            || stages.time(Stage::EncodePages, || self.pages.close()),
            || stages.time(Stage::EncodeBreakdowns, || self.breakdowns.close()),
        );
        Ok(Written {
            pages: pages?,
            breakdowns: breakdowns?,
            profile: self.profile,
        })
    }
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
    let lines = line_order(list);
    let request_ids = request_ids(attempts);
    let of_line = |fate, reason| LineFate {
        fate,
        reason,
        batch: None,
        request_id: None,
    };
    let fate_of = |end| match end {
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
    let mut parts = lines.chunks(BATCH_ROWS);
    side_by_side(
        || {
            let lines = parts.next()?.iter().map(|&index| index as usize);
            Some(targets_batch(list, &lines.collect::<Vec<_>>(), fate_of))
        },
        |batch| writer.write(&batch),
    )?;
    writer.close()
}

/// The indexes of all lines in the order of the targets table.
fn line_order(list: &TargetList) -> Vec<u32> {
    let mut invalid = 0;
    // For each target, the number of its lines, then the place of the next one.
    let mut places = vec![0_u32; list.target_count()];
    for target in list.targets_of_lines() {
        match target {
            Some(id) => places[id.0 as usize] += 1,
            None => invalid += 1,
        }
    }
    let mut next = invalid;
    for place in &mut places {
        let lines = std::mem::replace(place, next);
        next += lines;
    }
    let mut lines = vec![0_u32; list.line_count()];
    let mut next_invalid = 0;
    for (index, target) in (0..).zip(list.targets_of_lines()) {
        let place = target.map_or(&mut next_invalid, |id| &mut places[id.0 as usize]);
        lines[*place as usize] = index;
        *place += 1;
    }
    // Lines of one target, and invalid lines, are sorted by source and number.
    let mut begin = 0;
    for end in std::iter::once(invalid).chain(places) {
        let same = &mut lines[begin as usize..end as usize];
        if same.len() > 1 {
            same.sort_by_cached_key(|&index| {
                let place = list.line_place(index as usize);
                (place.source, place.number)
            });
        }
        begin = end;
    }
    lines
}
