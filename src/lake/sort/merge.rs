//! Merges the sorted runs that a sorter has spilled to disk.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch, UInt64Array};
use arrow::datatypes::{Schema, UInt64Type};
use arrow::ipc::reader::StreamReader;

use super::{Row, gather, keys};
use crate::error::{Context, Error, Result};

/// A sorted run on disk, with its current batch in memory.
struct Run {
    reader: StreamReader<BufReader<File>>,
    batch: RecordBatch,
    /// The ranks of the batch's rows.
    ranks: UInt64Array,
    row: usize,
    /// Where the batch is among those whose rows are being gathered.
    place: Option<u32>,
}

impl Run {
    /// The start of a spilled run; none if it has no rows.
    fn open(file: File) -> Result<Option<Self>> {
        let reader = StreamReader::try_new(BufReader::with_capacity(1 << 20, file), None);
        let mut run = Self {
            reader: reader.context(|| "failed to read a temporary file")?,
            batch: RecordBatch::new_empty(Arc::new(Schema::empty())),
            ranks: UInt64Array::from_value(0, 0),
            row: 0,
            place: None,
        };
        Ok(run.advance()?.then_some(run))
    }

    /// Reads the next batch; false at the end.
    fn advance(&mut self) -> Result<bool> {
        let Some(batch) = self.reader.next() else {
            return Ok(false);
        };
        let mut batch = batch.context(|| "failed to read a temporary file")?;
        let ranks = batch.remove_column(batch.num_columns() - 1);
        self.ranks = ranks.as_primitive::<UInt64Type>().clone();
        (self.batch, self.row, self.place) = (batch, 0, None);
        Ok(true)
    }
}

/// Merges sorted runs. There are only a few, so the smallest head is found by comparing all of them.
pub(super) struct Merge {
    runs: Vec<Run>,
    key: Vec<String>,
    batch_rows: usize,
}

impl Merge {
    pub(super) fn new(files: Vec<File>, key: Vec<String>, batch_rows: usize) -> Result<Self> {
        let runs = files.into_iter().map(Run::open);
        let runs = runs.filter_map(Result::transpose).collect::<Result<_>>()?;
        Ok(Self {
            runs,
            key,
            batch_rows,
        })
    }

    /// The next sorted rows: as many as a batch has, and fewer only at the end.
    fn step(&mut self) -> Result<Option<RecordBatch>> {
        let mut batches = Vec::new();
        let mut rows = Vec::with_capacity(self.batch_rows);
        for run in &mut self.runs {
            run.place = None;
        }
        while rows.len() < self.batch_rows && !self.runs.is_empty() {
            self.take(&mut batches, &mut rows)?;
        }
        if rows.is_empty() {
            return Ok(None);
        }
        gather(&batches, &rows).map(Some)
    }

    /// Takes the smallest rows until there are enough, or the current batch of a run ends.
    fn take(&mut self, batches: &mut Vec<RecordBatch>, rows: &mut Vec<Row>) -> Result<()> {
        let keys = keys(self.runs.iter().map(|run| &run.batch), &self.key)?;
        let mut heads: Vec<usize> = self.runs.iter().map(|run| run.row).collect();
        let mut places: Vec<Option<u32>> = self.runs.iter().map(|run| run.place).collect();
        let mut used_up = None;
        while rows.len() < self.batch_rows && used_up.is_none() {
            let first = |&left: &usize, &right: &usize| {
                let rank = |run: usize| self.runs[run].ranks.value(heads[run]);
                keys[left]
                    .compare(heads[left], &keys[right], heads[right])
                    .then_with(|| rank(left).cmp(&rank(right)))
            };
            let Some(least) = (0..heads.len()).min_by(first) else {
                break;
            };
            let batch = *places[least].get_or_insert_with(|| {
                batches.push(self.runs[least].batch.clone());
                batches.len() as u32 - 1
            });
            rows.push(Row {
                start: 0,
                batch,
                row: heads[least] as u32,
            });
            heads[least] += 1;
            used_up = (heads[least] == self.runs[least].batch.num_rows()).then_some(least);
        }
        drop(keys);
        for ((run, head), place) in self.runs.iter_mut().zip(heads).zip(places) {
            (run.row, run.place) = (head, place);
        }
        if let Some(at) = used_up
            && !self.runs[at].advance()?
        {
            drop(self.runs.swap_remove(at));
        }
        Ok(())
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
