//! Reads Parquet: the target column as text, and the kept columns cast to text.

use std::fs::File;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::block::{BLOCK_LINES, Blocks, Sink};
use super::list_file::ListFile;
use crate::error::{Context, Error, Result};

/// Reads one target per row. The number of a line is the number of its row, from 1.
pub(super) fn parquet(list: &ListFile<'_>, file: File, sink: Sink<'_>) -> Result<()> {
    let mut blocks = Blocks::new(list.number, sink);
    let mut number = 0;
    for batch in wanted_columns(list, file)? {
        let batch = batch.usage(|| failed(list))?;
        let targets = target_column(list, &batch)?;
        let targets = targets.as_string::<i32>();
        let kept = list
            .keep
            .iter()
            .map(|name| as_text(list, &batch, name))
            .collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            number += 1;
            let target = if targets.is_valid(row) {
                targets.value(row)
            } else {
                ""
            };
            blocks.block.push_target(number, target.as_bytes());
            let label = |column: &ArrayRef| {
                let column = column.as_string::<i32>();
                column.is_valid(row).then(|| column.value(row).into())
            };
            blocks.block.labels.extend(kept.iter().map(label));
            blocks.flush_if_full()?;
        }
    }
    blocks.finish()
}

fn failed(list: &ListFile<'_>) -> String {
    format!("{} as Parquet", list.failed())
}

/// A reader of the wanted columns only.
fn wanted_columns(list: &ListFile<'_>, file: File) -> Result<ParquetRecordBatchReader> {
    let failed = || failed(list);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).usage(failed)?;
    let names: Vec<String> = builder
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let wanted = |name: &str| name == list.column || list.keep.iter().any(|kept| kept == name);
    for name in std::iter::once(list.column).chain(list.keep.iter().map(String::as_str)) {
        if !names.iter().any(|found| found == name) {
            return Err(list.missing_column(name, &names));
        }
    }
    let roots = (0..names.len()).filter(|&at| wanted(&names[at]));
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    builder
        .with_projection(mask)
        .with_batch_size(BLOCK_LINES)
        .build()
        .usage(failed)
}

/// The target column of a batch, which must contain text.
fn target_column(list: &ListFile<'_>, batch: &RecordBatch) -> Result<ArrayRef> {
    let kind = batch
        .column_by_name(list.column)
        .map(|column| column.data_type().clone());
    let inner = match &kind {
        Some(DataType::Dictionary(_, value)) => Some(value.as_ref()),
        other => other.as_ref(),
    };
    match inner {
        Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => {
            as_text(list, batch, list.column)
        }
        _ => Err(Error::usage(format!(
            "target list {}: column `{}` contains {}, not text",
            list.path,
            list.column,
            inner.map(ToString::to_string).unwrap_or_default()
        ))
        .with_hint("set [targets] column to the column that contains the targets")),
    }
}

/// A column of a batch, cast to text.
fn as_text(list: &ListFile<'_>, batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let path = list.path;
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| Error::unexpected(format!("column `{name}` of {path} was not read")))?;
    let failed = || format!("target list {path}: column `{name}` cannot be kept as text");
    let column = match column.data_type() {
        // arrow can format a time zone only if it is an offset; the moments stay the same.
        DataType::Timestamp(unit, Some(_)) => {
            let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
            &cast(column, &utc).usage(failed)?
        }
        _ => column,
    };
    cast(column, &DataType::Utf8).usage(failed)
}
