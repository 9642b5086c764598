//! Unfolds the six maps of the pages table: one row per item, dimension and key, in the order of
//! the response.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{Array, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

/// The rows of one dimension for a batch of pages, in the order of the pages.
///
/// `field` is the column of the map, and `dimension` the name of the dimension. Columns with
/// repeated values are dictionaries over the values of `pages`, so that nothing is copied. The file
/// contains plain strings, as the contract says.
///
/// # Errors
/// The batch does not follow the contract of the pages table.
pub fn breakdowns(
    pages: &RecordBatch,
    field: &str,
    dimension: &str,
) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| {
        let column = pages.column_by_name(name);
        column.ok_or_else(|| ArrowError::SchemaError(format!("pages has no column `{name}`")))
    };
    let maps = column(field)?.as_map_opt().ok_or_else(|| {
        ArrowError::SchemaError(format!("column `{field}` of pages is not a map"))
    })?;
    // A null map has no entries in the arrays that flatten builds, so offsets alone describe the
    // rows.
    let offsets = maps.value_offsets();
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let length = (last - first) as usize;
    let mut page = Vec::with_capacity(length);
    for (row, bounds) in offsets.windows(2).enumerate() {
        page.extend(std::iter::repeat_n(
            row as i32,
            (bounds[1] - bounds[0]) as usize,
        ));
    }
    let page = Int32Array::from(page);
    let repeated = |name: &str| -> Result<_, ArrowError> {
        let values = Arc::clone(column(name)?);
        // A null must be in the keys, because not every reader of dictionaries looks for it among
        // the values.
        let keys = match values.null_count() {
            0 => page.clone(),
            _ => page
                .iter()
                .map(|row| row.filter(|&row| values.is_valid(row as usize)))
                .collect(),
        };
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(
            keys, values,
        )?))
    };
    let dimension = DictionaryArray::<Int32Type>::try_new(
        Int32Array::from(vec![0; length]),
        Arc::new(StringArray::from(vec![dimension])),
    )?;
    let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let schema = Schema::new(vec![
        Field::new("target", text(), true),
        Field::new("root_domain", text(), true),
        Field::new("dimension", text(), false),
        Field::new("key", DataType::Utf8, false),
        Field::new("links", DataType::Int64, true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            repeated("target")?,
            repeated("root_domain")?,
            Arc::new(dimension),
            maps.keys().slice(first as usize, length),
            maps.values().slice(first as usize, length),
        ],
    )
}
