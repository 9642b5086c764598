//! Sorts pages by (root_domain, target) in bounded memory: full buffers are spilled as sorted runs and merged.
//!
//! # Memory
//! The budget for what is buffered, some batches that are put in order, and a few megabytes for each run while they are
//! merged; it does not grow with the number of rows.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _, Write as _};
use std::path::PathBuf;

use arrow::array::AsArray as _;
use arrow::array::{Array as _, RecordBatch, StringArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use rayon::iter::ParallelIterator as _;
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

use crate::error::{Context, Error, Result};

/// Rows of one batch that is given back.
const BATCH_ROWS: usize = 16384;
/// Rows of one batch of a spilled run; while runs are merged, one of each is in memory.
const SPILL_ROWS: usize = 1024;

/// Takes batches in any order and gives their rows back in order. Equal keys keep the order of arrival.
#[derive(Debug)]
pub struct Sorter {
    schema: SchemaRef,
    key: Key,
    buffered: Vec<RecordBatch>,
    buffered_bytes: usize,
    budget: usize,
    scratch: PathBuf,
    runs: Vec<File>,
}

/// The two columns that rows are sorted by.
#[derive(Debug, Clone, Copy)]
struct Key {
    root_domain: usize,
    target: usize,
}

impl Key {
    fn columns(self, batch: &RecordBatch) -> (&StringArray, &StringArray) {
        (
            batch.column(self.root_domain).as_string(),
            batch.column(self.target).as_string(),
        )
    }
}

fn text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

fn compare(
    left: (&StringArray, &StringArray),
    at: usize,
    right: (&StringArray, &StringArray),
    and: usize,
) -> Ordering {
    text(left.0, at)
        .cmp(&text(right.0, and))
        .then_with(|| text(left.1, at).cmp(&text(right.1, and)))
}

impl Sorter {
    /// A sorter that buffers about `budget` bytes and spills to files in `scratch`.
    ///
    /// # Errors
    /// A schema without the two columns.
    pub fn new(schema: SchemaRef, budget: usize, scratch: PathBuf) -> Result<Self> {
        let column = |name: &str| {
            schema
                .index_of(name)
                .context(|| "the rows cannot be sorted")
        };
        let key = Key {
            root_domain: column("root_domain")?,
            target: column("target")?,
        };
        Ok(Self {
            schema,
            key,
            buffered: Vec::new(),
            buffered_bytes: 0,
            budget,
            scratch,
            runs: Vec::new(),
        })
    }

    /// Takes a batch.
    ///
    /// # Errors
    /// A disk that fails when a full buffer is spilled.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.buffered_bytes += batch.get_array_memory_size();
        self.buffered.push(batch);
        if self.buffered_bytes >= self.budget {
            self.spill()
        } else {
            Ok(())
        }
    }

    fn spill(&mut self) -> Result<()> {
        let failed = || {
            format!(
                "failed to write a temporary file in {}",
                self.scratch.display()
            )
        };
        let mut file = tempfile::tempfile_in(&self.scratch).context(failed)?;
        let mut writer =
            StreamWriter::try_new(BufWriter::new(&mut file), &self.schema).context(failed)?;
        let buffered = std::mem::take(&mut self.buffered);
        for batch in InMemory::sort(buffered, self.key, SPILL_ROWS) {
            writer.write(&batch?).context(failed)?;
        }
        writer.finish().context(failed)?;
        writer
            .into_inner()
            .context(failed)?
            .flush()
            .context(failed)?;
        file.rewind().context(failed)?;
        self.buffered_bytes = 0;
        self.runs.push(file);
        Ok(())
    }

    /// Gives all rows back in order.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn finish(mut self) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send> {
        if self.runs.is_empty() {
            let sorted = InMemory::sort(self.buffered, self.key, BATCH_ROWS);
            return Ok(Box::new(sorted) as Box<dyn Iterator<Item = Result<RecordBatch>> + Send>);
        }
        if !self.buffered.is_empty() {
            self.spill()?;
        }
        Ok(Box::new(Merge::new(self.runs, self.key)?))
    }
}

/// Batches that are put in order as they are taken out, a few stretches at once on all cores.
struct InMemory {
    batches: Vec<RecordBatch>,
    order: Vec<(usize, usize)>,
    taken: usize,
    ready: VecDeque<Result<RecordBatch>>,
    batch_rows: usize,
}

/// Stretches that are put in order at once.
const STRETCHES: usize = 4;

impl InMemory {
    fn sort(batches: Vec<RecordBatch>, key: Key, batch_rows: usize) -> Self {
        let mut order: Vec<(usize, usize)> = batches
            .iter()
            .enumerate()
            .flat_map(|(number, batch)| (0..batch.num_rows()).map(move |row| (number, row)))
            .collect();
        let columns: Vec<_> = batches.iter().map(|batch| key.columns(batch)).collect();
        // Stable: equal keys keep the order of arrival.
        order
            .par_sort_by(|left, right| compare(columns[left.0], left.1, columns[right.0], right.1));
        Self {
            order,
            taken: 0,
            ready: VecDeque::new(),
            batches,
            batch_rows,
        }
    }
}

/// The rows of these numbers, batch and row, as a batch of their own. Only the batches they stand in are looked at:
/// there may be thousands, and each that is named costs a comparison of its types.
fn gather(batches: &[RecordBatch], rows: &[(usize, usize)]) -> Result<RecordBatch> {
    let mut used: Vec<usize> = rows.iter().map(|&(batch, _)| batch).collect();
    used.sort_unstable();
    used.dedup();
    let place = |batch: usize| used.partition_point(|&used| used < batch);
    let rows: Vec<(usize, usize)> = rows
        .iter()
        .map(|&(batch, row)| (place(batch), row))
        .collect();
    let batches: Vec<&RecordBatch> = used.iter().map(|&batch| &batches[batch]).collect();
    interleave_record_batch(&batches, &rows).context(|| "failed to put rows in order")
}

impl Iterator for InMemory {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            let end = self
                .order
                .len()
                .min(self.taken + STRETCHES * self.batch_rows);
            let stretches = self.order[self.taken..end].par_chunks(self.batch_rows);
            let ready: Vec<_> = stretches.map(|rows| gather(&self.batches, rows)).collect();
            self.ready.extend(ready);
            self.taken = end;
        }
        self.ready.pop_front()
    }
}

/// A sorted run on disk, a batch of it in memory.
struct Run {
    reader: StreamReader<BufReader<File>>,
    batch: RecordBatch,
    row: usize,
}

/// Merges sorted runs. There are few of them, so the smallest head is found by looking at each.
struct Merge {
    runs: Vec<Run>,
    key: Key,
}

impl Merge {
    fn new(files: Vec<File>, key: Key) -> Result<Self> {
        let mut runs = Vec::with_capacity(files.len());
        for file in files {
            let reader = StreamReader::try_new(BufReader::with_capacity(1 << 20, file), None);
            let mut reader = reader.context(|| "failed to read a temporary file")?;
            if let Some(batch) = reader.next() {
                runs.push(Run {
                    batch: batch.context(|| "failed to read a temporary file")?,
                    reader,
                    row: 0,
                });
            }
        }
        Ok(Self { runs, key })
    }

    /// The next rows in order, until one run's batch is used up or enough are there.
    fn step(&mut self) -> Result<Option<RecordBatch>> {
        if self.runs.is_empty() {
            return Ok(None);
        }
        let columns: Vec<_> = self
            .runs
            .iter()
            .map(|run| self.key.columns(&run.batch))
            .collect();
        let mut rows: Vec<usize> = self.runs.iter().map(|run| run.row).collect();
        let mut order = Vec::with_capacity(BATCH_ROWS);
        let used_up = loop {
            let first = |&left: &usize, &right: &usize| {
                compare(columns[left], rows[left], columns[right], rows[right])
                    .then_with(|| left.cmp(&right))
            };
            let Some(least) = (0..rows.len()).min_by(first) else {
                break None;
            };
            order.push((least, rows[least]));
            rows[least] += 1;
            if rows[least] == self.runs[least].batch.num_rows() {
                break Some(least);
            }
            if order.len() == BATCH_ROWS {
                break None;
            }
        };
        let batches: Vec<&RecordBatch> = self.runs.iter().map(|run| &run.batch).collect();
        let merged =
            interleave_record_batch(&batches, &order).context(|| "failed to put rows in order")?;
        for (run, row) in self.runs.iter_mut().zip(rows) {
            run.row = row;
        }
        if let Some(at) = used_up {
            let run = &mut self.runs[at];
            match run.reader.next() {
                Some(batch) => {
                    run.batch = batch.context(|| "failed to read a temporary file")?;
                    run.row = 0;
                }
                // Removed in place: the order of runs is the order of arrival.
                None => drop(self.runs.remove(at)),
            }
        }
        Ok(Some(merged))
    }
}

impl Iterator for Merge {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step()
            .map_err(|error| Error::unexpected("failed to merge sorted rows").caused_by(error))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_come_back_in_order_and_complete_however_small_the_memory(
            batches in prop::collection::vec(prop::collection::vec(("[ab]{0,2}", prop::option::of("[ab]{0,2}")), 1..40), 0..12),
            budget in prop_oneof![Just(1_usize), Just(4_000), Just(1 << 30)],
        ) {
            let schema = Arc::new(Schema::new(vec![
                Field::new("target", DataType::Utf8, true),
                Field::new("root_domain", DataType::Utf8, true),
                Field::new("arrival", DataType::Int64, false),
            ]));
            let mut sorter = Sorter::new(Arc::clone(&schema), budget, std::env::temp_dir()).unwrap();
            let mut expected = Vec::new();
            for rows in batches {
                let from = expected.len() as i64;
                let arrival = Int64Array::from_iter_values(from..from + rows.len() as i64);
                let columns: Vec<arrow::array::ArrayRef> = vec![
                    Arc::new(StringArray::from_iter_values(rows.iter().map(|(target, _)| target))),
                    Arc::new(StringArray::from_iter(rows.iter().map(|(_, root)| root.as_deref()))),
                    Arc::new(arrival),
                ];
                sorter.push(RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
                let numbered = (from..).zip(rows).map(|(arrival, (target, root))| (root, target, arrival));
                expected.extend(numbered);
            }
            expected.sort();
            let mut sorted = Vec::new();
            for batch in sorter.finish().unwrap() {
                let batch = batch.unwrap();
                let (roots, targets) = (batch.column(1).as_string::<i32>(), batch.column(0).as_string::<i32>());
                let arrivals = batch.column(2).as_primitive::<arrow::datatypes::Int64Type>();
                for row in 0..batch.num_rows() {
                    sorted.push((text(roots, row).map(str::to_owned), targets.value(row).to_owned(), arrivals.value(row)));
                }
            }
            prop_assert_eq!(sorted, expected);
        }
    }
}
