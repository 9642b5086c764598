//! Reads columns of a table one batch after another. Where each row is looked at once, in order, this
//! takes a fraction of the time of a query.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;

use arrow::array::{
    Array, AsArray as _, BooleanArray, Int64Array, MapArray, RecordBatch, StringArray,
};
use arrow::datatypes::Int64Type;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::local_files::LocalFiles;
use super::tables::FAILED;
use crate::error::{Context as _, Error, ErrorKind, Result};

/// Rows in a batch.
const BATCH_ROWS: usize = 16_384;

/// The rows of a table, in the order of its files.
pub(super) struct Rows {
    columns: Vec<&'static str>,
    paths: VecDeque<PathBuf>,
    reader: Option<ParquetRecordBatchReader>,
}

impl Rows {
    /// These columns of all rows.
    pub(super) fn of(files: &LocalFiles, columns: &[&'static str]) -> Self {
        Self {
            columns: columns.to_vec(),
            paths: files.paths().iter().cloned().collect(),
            reader: None,
        }
    }

    /// The next rows; `None` after the last.
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(reader) = &mut self.reader {
                match reader.next() {
                    Some(batch) => return batch.map(Some).map_err(damaged),
                    None => self.reader = None,
                }
            }
            let Some(path) = self.paths.pop_front() else {
                return Ok(None);
            };
            let file = File::open(&path).context(|| FAILED)?;
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
            let fields = builder.schema().fields().iter().enumerate();
            let wanted = fields.filter(|(_, field)| self.columns.contains(&field.name().as_str()));
            let roots: Vec<_> = wanted.map(|(at, _)| at).collect();
            let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
            let rows = builder.with_batch_size(BATCH_ROWS).with_projection(mask);
            self.reader = Some(rows.build().map_err(damaged)?);
        }
    }
}

/// Files of the right size cannot be read because of their content.
fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::FoundProblems, FAILED)
        .with_hint("run `backlake verify` to find the damaged file")
        .caused_by(error)
}

fn column<'a, T>(
    batch: &'a RecordBatch,
    name: &str,
    of: impl FnOnce(&'a dyn Array) -> Option<T>,
) -> Result<T> {
    let column = batch
        .column_by_name(name)
        .and_then(|column| of(column.as_ref()));
    column.ok_or_else(|| {
        Error::new(
            ErrorKind::FoundProblems,
            format!("{FAILED}: the column {name} is missing or has another type"),
        )
        .with_hint("run `backlake verify` to audit the snapshot")
    })
}

/// A column of texts.
pub(super) fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    column(batch, name, |column| column.as_string_opt::<i32>())
}

/// A column of integers.
pub(super) fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array> {
    column(batch, name, |column| column.as_primitive_opt::<Int64Type>())
}

/// A column of booleans.
pub(super) fn booleans<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BooleanArray> {
    column(batch, name, |column| column.as_boolean_opt())
}

/// Amounts of money in millionths of a dollar.
pub(super) fn micros(batch: &RecordBatch, name: &str) -> Result<Vec<Option<i128>>> {
    let amounts = column(batch, name, |column| {
        column.as_primitive_opt::<arrow::datatypes::Decimal128Type>()
    })?;
    Ok(amounts.iter().collect())
}

/// A text that may be null.
pub(super) fn at(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

/// An integer that may be null.
pub(super) fn number_at(column: &Int64Array, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.value(row))
}

/// The labels of lines.
pub(super) struct LabelColumn {
    lines: MapArray,
    names: StringArray,
    values: StringArray,
}

impl LabelColumn {
    /// The column `labels`.
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let lines = column(batch, "labels", |column| column.as_map_opt())?;
        let text = |column: &dyn Array| column.as_string_opt::<i32>().cloned();
        let entries = text(lines.keys()).zip(text(lines.values()));
        let (names, values) = entries.ok_or_else(|| Error::unexpected(FAILED))?;
        Ok(Self {
            lines: lines.clone(),
            names,
            values,
        })
    }

    /// The column and value of each label of a line. A null value is not a label.
    pub(super) fn of_line(&self, row: usize) -> impl Iterator<Item = (&str, &str)> {
        let ends = self.lines.value_offsets();
        let range = if self.lines.is_valid(row) {
            ends[row] as usize..ends[row + 1] as usize
        } else {
            0..0
        };
        range.filter_map(|entry| Some((at(&self.names, entry)?, at(&self.values, entry)?)))
    }
}
