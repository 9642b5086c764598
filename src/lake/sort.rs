//! Sorts rows in bounded memory: a full buffer is spilled to disk as a sorted run, and the runs are merged. Rows below a
//! key can be taken as soon as all of them have arrived.
//!
//! The sorted batches depend on the rows and their ranks alone, not on the order in which they arrive, on what is taken
//! early or on what is spilled: a file that is written from them is the same to the byte.
//!
//! # Memory
//! The budget for buffered batches, a few batches of sorted rows, and a few megabytes per run while runs are merged. It
//! does not grow with the number of rows.

mod merge;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Seek as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{filter_record_batch, interleave_record_batch, not};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use rayon::iter::ParallelIterator as _;
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

use self::merge::Merge;
use super::key::Keys;
use crate::error::{Context, Error, Result};

/// Rows per sorted batch.
const BATCH_ROWS: usize = 16384;
/// Rows per batch of a spilled run. While runs are merged, one batch of each is in memory.
const SPILL_ROWS: usize = 1024;

/// Takes batches in any order and returns their rows sorted by key. Rows with equal keys are in the order of the ranks of
/// their batches, and those of one batch keep their order.
#[derive(Debug)]
pub struct Sorter {
    schema: SchemaRef,
    /// The names of the columns to sort by.
    key: Vec<String>,
    buffered: Vec<Ranked>,
    /// Rows that were taken early and did not fill a batch. They come before all others.
    carried: Option<RecordBatch>,
    /// All rows below this key were taken.
    taken_below: Option<Vec<String>>,
    buffered_bytes: usize,
    budget: usize,
    /// Rows per sorted batch.
    batch_rows: usize,
    scratch: PathBuf,
    runs: Vec<File>,
}

#[derive(Debug)]
struct Ranked {
    rank: u64,
    batch: RecordBatch,
}

impl Sorter {
    /// A sorter by these columns, which buffers about `budget` bytes and spills to files in `scratch`.
    ///
    /// # Errors
    /// A schema without one of the columns.
    pub fn new(schema: SchemaRef, key: &[String], budget: usize, scratch: PathBuf) -> Result<Self> {
        for name in key {
            schema
                .index_of(name)
                .context(|| "the rows lack a sort column")?;
        }
        Ok(Self {
            schema,
            key: key.to_vec(),
            buffered: Vec::new(),
            carried: None,
            taken_below: None,
            buffered_bytes: 0,
            budget,
            batch_rows: BATCH_ROWS,
            scratch,
            runs: Vec::new(),
        })
    }

    /// Whether a row of this batch belongs before rows that were already taken. Such a batch must not be added.
    ///
    /// # Errors
    /// Rows that lack a sort column.
    pub fn is_late(&self, batch: &RecordBatch) -> Result<bool> {
        let Some(taken) = &self.taken_below else {
            return Ok(false);
        };
        let keys = keys([batch], &self.key)?;
        let mut late = keys.iter().flat_map(|keys| keys.below(taken));
        Ok(late.any(|is_below| is_below))
    }

    /// Takes the rows below a key, all of which must have arrived. [`Taken`] returns those that fill batches; the caller
    /// gives the rest back with [`Self::carry`]. `None` if rows were spilled: then only [`Self::finish`] returns rows.
    ///
    /// # Errors
    /// Rows that lack a sort column.
    pub fn take_below(&mut self, key: Vec<String>) -> Result<Option<Taken>> {
        if !self.runs.is_empty() {
            return Ok(None);
        }
        let mut taken: Vec<RecordBatch> = self.carried.take().into_iter().collect();
        for Ranked { rank, batch } in self.take_buffered() {
            let is_below = match keys([&batch], &self.key)?.first() {
                Some(keys) => BooleanArray::from(keys.below(&key).collect::<Vec<_>>()),
                None => continue,
            };
            let failed = || "failed to take rows early";
            match is_below.true_count() {
                0 => self.push(rank, batch),
                all if all == batch.num_rows() => taken.push(batch),
                _ => {
                    let is_above = not(&is_below).context(failed)?;
                    let above = filter_record_batch(&batch, &is_above).context(failed)?;
                    self.push(rank, above);
                    taken.push(filter_record_batch(&batch, &is_below).context(failed)?);
                }
            }
        }
        self.taken_below = Some(key);
        let mut full = InMemory::sort(taken, &self.key, self.batch_rows)?;
        let whole = full.order.len() - full.order.len() % self.batch_rows;
        let rest = full.order.split_off(whole);
        Ok(Some(Taken { full, rest }))
    }

    /// Keeps what [`Self::take_below`] took and did not return.
    ///
    /// # Errors
    /// Rows that cannot be gathered: a defect.
    pub fn carry(&mut self, taken: Taken) -> Result<()> {
        if !taken.rest.is_empty() {
            let carried = gather(&taken.full.batches, &taken.rest)?;
            self.buffered_bytes += carried.get_array_memory_size();
            self.carried = Some(carried);
        }
        Ok(())
    }

    /// Adds a batch. Every batch has a rank of its own.
    pub fn push(&mut self, rank: u64, batch: RecordBatch) {
        self.buffered_bytes += batch.get_array_memory_size();
        self.buffered.push(Ranked { rank, batch });
    }

    /// Whether the buffer is full, so that [`Self::spill`] must follow before the next batch.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffered_bytes >= self.budget
    }

    /// Sorts what is buffered and moves it to the disk.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn spill(&mut self) -> Result<()> {
        let buffered = self.take_all();
        let failed = || {
            format!(
                "failed to write a temporary file in {}",
                self.scratch.display()
            )
        };
        let schema = with_rank(&self.schema);
        let ranked = |Ranked { rank, batch }: Ranked| {
            let mut columns = batch.columns().to_vec();
            columns.push(Arc::new(UInt64Array::from_value(rank, batch.num_rows())));
            RecordBatch::try_new(Arc::clone(&schema), columns)
        };
        let buffered = buffered.into_iter().map(ranked);
        let buffered = buffered.collect::<std::result::Result<_, _>>();
        let buffered = buffered.context(|| "failed to rank rows")?;
        let mut file = tempfile::tempfile_in(&self.scratch).context(failed)?;
        let mut writer =
            StreamWriter::try_new(BufWriter::new(&mut file), &schema).context(failed)?;
        for batch in InMemory::sort(buffered, &self.key, SPILL_ROWS)? {
            writer.write(&batch?).context(failed)?;
        }
        writer.finish().context(failed)?;
        writer
            .into_inner()
            .context(failed)?
            .flush()
            .context(failed)?;
        file.rewind().context(failed)?;
        self.runs.push(file);
        Ok(())
    }

    /// What is carried and what is buffered, in order.
    fn take_all(&mut self) -> Vec<Ranked> {
        // No other row has the key of a carried one, so any rank will do.
        let carried = self.carried.take().map(|batch| Ranked { rank: 0, batch });
        let buffered = self.take_buffered();
        carried.into_iter().chain(buffered).collect()
    }

    /// What is buffered, in the order of the ranks.
    fn take_buffered(&mut self) -> Vec<Ranked> {
        self.buffered_bytes = 0;
        let mut buffered = std::mem::take(&mut self.buffered);
        buffered.sort_by_key(|batch| batch.rank);
        buffered
    }

    /// Returns all rows that were not taken before, sorted.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn finish(mut self) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send> {
        if self.runs.is_empty() {
            let buffered = self.take_all().into_iter();
            let buffered = buffered.map(|ranked| ranked.batch).collect();
            let sorted = InMemory::sort(buffered, &self.key, self.batch_rows)?;
            return Ok(Box::new(sorted) as Box<dyn Iterator<Item = Result<RecordBatch>> + Send>);
        }
        if !self.buffered.is_empty() || self.carried.is_some() {
            self.spill()?;
        }
        Ok(Box::new(Merge::new(self.runs, self.key, self.batch_rows)?))
    }
}

/// The rows below a key, sorted: an iterator over full batches.
pub struct Taken {
    full: InMemory,
    /// The rows after those of the full batches.
    rest: Vec<Row>,
}

impl Iterator for Taken {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.full.next()
    }
}

/// The schema of a spilled run: the rank is its last column.
fn with_rank(schema: &Schema) -> SchemaRef {
    let rank = Arc::new(Field::new("rank of the batch", DataType::UInt64, false));
    let fields = schema.fields().iter().cloned().chain([rank]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A buffered row, with the start of its key: most comparisons end there, without reading the batch.
struct Row {
    start: u64,
    batch: u32,
    row: u32,
}

/// Buffered batches, whose sorted rows are gathered on demand, a few batches at a time on all cores.
struct InMemory {
    batches: Vec<RecordBatch>,
    order: Vec<Row>,
    taken: usize,
    ready: VecDeque<Result<RecordBatch>>,
    batch_rows: usize,
}

/// Sorted batches that are gathered at the same time.
const GATHERED: usize = 4;

impl InMemory {
    fn sort(batches: Vec<RecordBatch>, key: &[String], batch_rows: usize) -> Result<Self> {
        let keys = keys(&batches, key)?;
        let mut order: Vec<Row> = (0..)
            .zip(&keys)
            .zip(&batches)
            .flat_map(|((number, keys), batch)| {
                (0..batch.num_rows() as u32).map(move |row| Row {
                    start: keys.start(row as usize),
                    batch: number,
                    row,
                })
            })
            .collect();
        // A stable sort: rows with equal keys keep the order of the batches, which the caller has put in the order of
        // their ranks.
        order.par_sort_by(|left, right| {
            left.start.cmp(&right.start).then_with(|| {
                let (own, other) = (&keys[left.batch as usize], &keys[right.batch as usize]);
                own.compare(left.row as usize, other, right.row as usize)
            })
        });
        drop(keys);
        Ok(Self {
            order,
            taken: 0,
            ready: VecDeque::new(),
            batches,
            batch_rows,
        })
    }
}

/// The sort keys of each batch.
fn keys<'a>(
    batches: impl IntoIterator<Item = &'a RecordBatch>,
    names: &[String],
) -> Result<Vec<Keys<'a>>> {
    let missing = || Error::unexpected("the rows lack a sort column or have another type in it");
    let keys = batches.into_iter();
    keys.map(|batch| Keys::of(batch, names).ok_or_else(missing))
        .collect()
}

/// Gathers rows into one batch. Only the batches with such rows are passed on:
/// there may be thousands of batches, and each one costs a type check.
fn gather(batches: &[RecordBatch], rows: &[Row]) -> Result<RecordBatch> {
    let mut used: Vec<u32> = rows.iter().map(|row| row.batch).collect();
    used.sort_unstable();
    used.dedup();
    let place = |batch: u32| used.partition_point(|&used| used < batch);
    let rows: Vec<(usize, usize)> = rows
        .iter()
        .map(|row| (place(row.batch), row.row as usize))
        .collect();
    let batches: Vec<&RecordBatch> = used.iter().map(|&at| &batches[at as usize]).collect();
    interleave_record_batch(&batches, &rows).context(|| "failed to gather sorted rows")
}

impl Iterator for InMemory {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            let end = self
                .order
                .len()
                .min(self.taken + GATHERED * self.batch_rows);
            let parts = self.order[self.taken..end].par_chunks(self.batch_rows);
            let ready: Vec<_> = parts.map(|rows| gather(&self.batches, rows)).collect();
            self.ready.extend(ready);
            self.taken = end;
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests;
