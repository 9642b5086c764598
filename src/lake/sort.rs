//! Sorts rows in bounded memory: a full buffer is spilled to disk as a sorted run, and the runs are merged.
//!
//! # Memory
//! The budget for buffered batches, a few batches of sorted rows, and a few megabytes per run while runs are merged. It
//! does not grow with the number of rows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _, Write as _};
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use rayon::iter::ParallelIterator as _;
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

use super::key::Keys;
use crate::error::{Context, Error, Result};

/// Rows per sorted batch.
const BATCH_ROWS: usize = 16384;
/// Rows per batch of a spilled run. While runs are merged, one batch of each is in memory.
const SPILL_ROWS: usize = 1024;

/// Takes batches in any order and returns their rows sorted. The sort is stable.
#[derive(Debug)]
pub struct Sorter {
    schema: SchemaRef,
    /// The names of the columns to sort by.
    key: Vec<String>,
    buffered: Vec<RecordBatch>,
    buffered_bytes: usize,
    budget: usize,
    scratch: PathBuf,
    runs: Vec<File>,
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
            buffered_bytes: 0,
            budget,
            scratch,
            runs: Vec::new(),
        })
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// A disk that fails while a full buffer is spilled.
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
        self.buffered_bytes = 0;
        self.runs.push(file);
        Ok(())
    }

    /// Returns all rows, sorted.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn finish(mut self) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send> {
        if self.runs.is_empty() {
            let sorted = InMemory::sort(self.buffered, &self.key, BATCH_ROWS)?;
            return Ok(Box::new(sorted) as Box<dyn Iterator<Item = Result<RecordBatch>> + Send>);
        }
        if !self.buffered.is_empty() {
            self.spill()?;
        }
        Ok(Box::new(Merge::new(self.runs, self.key)?))
    }
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
        // A stable sort: rows with equal keys keep the order in which they arrived.
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

/// A sorted run on disk, with its current batch in memory.
struct Run {
    reader: StreamReader<BufReader<File>>,
    batch: RecordBatch,
    row: usize,
}

/// Merges sorted runs. There are only a few, so the smallest head is found by comparing all of them.
struct Merge {
    runs: Vec<Run>,
    key: Vec<String>,
}

impl Merge {
    fn new(files: Vec<File>, key: Vec<String>) -> Result<Self> {
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

    /// The next sorted rows: as many as a batch has, or fewer if a run's current batch ends.
    fn step(&mut self) -> Result<Option<RecordBatch>> {
        if self.runs.is_empty() {
            return Ok(None);
        }
        let keys = keys(self.runs.iter().map(|run| &run.batch), &self.key)?;
        let mut rows: Vec<usize> = self.runs.iter().map(|run| run.row).collect();
        let mut order = Vec::with_capacity(BATCH_ROWS);
        let used_up = loop {
            let first = |&left: &usize, &right: &usize| {
                keys[left]
                    .compare(rows[left], &keys[right], rows[right])
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
            interleave_record_batch(&batches, &order).context(|| "failed to gather sorted rows")?;
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
                // `remove` keeps the order of the runs, which makes the merge stable.
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

    use arrow::array::{Array as _, AsArray as _, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_come_back_sorted_and_complete_with_any_memory_budget(
            batches in prop::collection::vec(prop::collection::vec(("[ab]{0,2}", prop::option::of("(aaaaaaa)?[abé]{0,2}")), 1..40), 0..12),
            budget in prop_oneof![Just(1_usize), Just(4_000), Just(1 << 30)],
        ) {
            let schema = Arc::new(Schema::new(vec![
                Field::new("target", DataType::Utf8, true),
                Field::new("root_domain", DataType::Utf8, true),
                Field::new("arrival", DataType::Int64, false),
            ]));
            let key = ["root_domain", "target"].map(str::to_owned);
            let mut sorter = Sorter::new(Arc::clone(&schema), &key, budget, std::env::temp_dir()).unwrap();
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
                    let root = roots.is_valid(row).then(|| roots.value(row).to_owned());
                    sorted.push((root, targets.value(row).to_owned(), arrivals.value(row)));
                }
            }
            prop_assert_eq!(sorted, expected);
        }
    }
}
