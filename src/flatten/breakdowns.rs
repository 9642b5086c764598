//! Unfolds the six maps of the pages table: one row per item, dimension and key. The rows of an
//! item follow each other, dimension by dimension, each in the order of the response.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{
    Array, ArrayData, ArrayRef, DictionaryArray, Int32Array, MutableArrayData, RecordBatch,
    StringArray, StructArray,
};
use arrow::datatypes::Int32Type;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use crate::contract::DIMENSIONS;

/// The rows of all dimensions for a batch of pages, in the order of the pages.
///
/// Columns with repeated values are dictionaries over the values of `pages`, so that nothing is
/// copied. The file contains plain strings, as the contract says.
///
/// # Errors
/// The batch does not follow the contract of the pages table, or has more rows of breakdowns than a
/// batch can.
pub fn breakdowns(pages: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| {
        let column = pages.column_by_name(name);
        column.ok_or_else(|| ArrowError::SchemaError(format!("pages has no column `{name}`")))
    };
    // The entries of each map, and where those of each page begin. A null map has no entries in the
    // arrays that flatten builds, so offsets alone describe the rows.
    let (mut entries, mut bounds) = (Vec::new(), Vec::new());
    for (_, field) in DIMENSIONS {
        let map = column(field)?.as_map_opt().ok_or_else(|| {
            ArrowError::SchemaError(format!("column `{field}` of pages is not a map"))
        })?;
        entries.push(map.entries().to_data());
        bounds.push(map.value_offsets());
    }
    let length = bounds
        .iter()
        .map(|bounds| (bounds[bounds.len() - 1] - bounds[0]) as usize)
        .sum();
    let entries: Vec<&ArrayData> = entries.iter().collect();
    let mut unfolded = MutableArrayData::new(entries, false, length);
    let (mut page, mut dimension) = (Vec::with_capacity(length), Vec::with_capacity(length));
    for row in 0..pages.num_rows() {
        for (at, bounds) in bounds.iter().enumerate() {
            let (from, to) = (bounds[row] as usize, bounds[row + 1] as usize);
            if from < to {
                unfolded.try_extend(at, from, to)?;
                page.resize(page.len() + to - from, row as i32);
                dimension.resize(dimension.len() + to - from, at as i32);
            }
        }
    }
    let unfolded = StructArray::from(unfolded.freeze());
    let page = Int32Array::from(page);
    let names = DIMENSIONS.map(|(dimension, _)| dimension);
    let dimension = repeated(
        dimension.into(),
        Arc::new(StringArray::from(names.to_vec())),
    )?;
    RecordBatch::try_new(
        Arc::new(schema()),
        vec![
            repeated(page.clone(), Arc::clone(column("target")?))?,
            repeated(page, Arc::clone(column("root_domain")?))?,
            dimension,
            Arc::clone(unfolded.column(0)),
            Arc::clone(unfolded.column(1)),
        ],
    )
}

/// The columns of the contract, with dictionaries for those whose values repeat.
fn schema() -> Schema {
    let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Schema::new(vec![
        Field::new("target", text(), true),
        Field::new("root_domain", text(), true),
        Field::new("dimension", text(), false),
        Field::new("key", DataType::Utf8, false),
        Field::new("links", DataType::Int64, true),
    ])
}

/// The values at these places.
fn repeated(places: Int32Array, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    // A null must be in the keys, because not every reader of dictionaries looks for it among the
    // values.
    let keys = match values.null_count() {
        0 => places,
        _ => places
            .iter()
            .map(|row| row.filter(|&row| values.is_valid(row as usize)))
            .collect(),
    };
    let array = DictionaryArray::<Int32Type>::try_new(keys, values)?;
    Ok(Arc::new(array))
}
