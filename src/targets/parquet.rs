//! Reads Parquet: the target column as text, and the kept columns cast to text.

use std::fs::File;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::block::{BLOCK_LINES, Blocks, Sink};
use super::column::shown;
use super::list_file::{Columns, ListFile};
use super::reading::{Format, ReadAs};
use super::refused::Refused;
use crate::error::{Context, Error, Result};

/// Reads one target per row. The number of a line is the number of its row, from 1.
pub(super) fn parquet(list: &ListFile<'_>, file: File, sink: Sink<'_>) -> Result<ReadAs, Refused> {
    let failed = || format!("{} as Parquet", list.failed());
    let mut blocks = Blocks::new(list.number, sink);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).usage(failed)?;
    let fields = builder.schema().fields().iter();
    let names: Vec<String> = fields.map(|field| field.name().clone()).collect();
    let Columns {
        target,
        column,
        keep,
        names: columns,
    } = list.columns(&names)?;
    let wanted = keep.iter().copied().chain([target]);
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let batches = builder
        .with_projection(mask)
        .with_batch_size(BLOCK_LINES)
        .build()
        .usage(failed)?;
    let mut number = 0;
    for batch in batches {
        let batch = batch.usage(failed)?;
        let targets = target_column(list, &batch, &names[target])?;
        let targets = targets.as_string::<i32>();
        let kept = keep
            .iter()
            .map(|&at| as_text(list, &batch, &names[at], number));
        let kept = kept.collect::<Result<Vec<_>>>()?;
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
    blocks.finish()?;
    Ok(list.read_as(Format::Parquet, None, Some(column), columns))
}

/// The target column of a batch, which must contain text.
fn target_column(list: &ListFile<'_>, batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let column = column_of(list, batch, name)?;
    let (list, shown) = (list.named(), shown(name));
    let inner = match column.data_type() {
        DataType::Dictionary(_, value) => value.as_ref(),
        other => other,
    };
    if !matches!(
        inner,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    ) {
        let message = format!("{list}: column `{shown}` contains {inner}, not text");
        let hint = "set [targets] column to the column that contains the targets";
        return Err(Error::usage(message).with_hint(hint));
    }
    let failed = || format!("{list}: column `{shown}` cannot be read as text");
    cast(column, &DataType::Utf8).usage(failed)
}

fn column_of<'b>(list: &ListFile<'_>, batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let (list, shown) = (list.named(), shown(name));
        Error::unexpected(format!("column `{shown}` of {list} was not read"))
    })
}

/// A kept column of a batch, cast to text. `before` is the number of rows before this batch. A value that cannot be cast is
/// an error: a null in its place would look like a missing label.
fn as_text(list: &ListFile<'_>, batch: &RecordBatch, name: &str, before: u64) -> Result<ArrayRef> {
    let column = column_of(list, batch, name)?;
    let (list, shown) = (list.named(), shown(name));
    let failed = || format!("{list}: column `{shown}` cannot be kept as text");
    let column = match column.data_type() {
        // arrow can format a time zone only if it is an offset; the moments stay the same.
        DataType::Timestamp(unit, Some(_)) => {
            let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
            &cast(column, &utc).usage(failed)?
        }
        _ => column,
    };
    let texts = cast(column, &DataType::Utf8).usage(failed)?;
    // A dictionary may contain nulls, too.
    let nulls = column.logical_nulls();
    let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    match (0..texts.len()).find(|&row| texts.is_null(row) && !is_null(row)) {
        None => Ok(texts),
        Some(row) => {
            let row = before + row as u64 + 1;
            let message =
                format!("{list}: column `{shown}` has a value in row {row} that is not UTF-8 text");
            let hint = "nothing was sent; keep another column, or write this one as text";
            Err(Error::usage(message).with_hint(hint))
        }
    }
}
