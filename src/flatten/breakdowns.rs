//! The six maps of pages, unfolded: a row per item, dimension and key, in the order the answer had them.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{Array, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

/// The rows of one dimension for a batch of pages, in the order of the pages.
///
/// `field` is the map's column, `dimension` its name. Columns that repeat are dictionaries over the pages' own
/// values, so nothing is copied; in the file they are plain strings as the contract says.
///
/// # Errors
/// A batch that does not keep the contract of pages.
pub fn breakdowns(
    pages: &RecordBatch,
    field: &str,
    dimension: &str,
) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| {
        let column = pages.column_by_name(name);
        column.ok_or_else(|| ArrowError::SchemaError(format!("pages without column `{name}`")))
    };
    let maps = column(field)?
        .as_map_opt()
        .ok_or_else(|| ArrowError::SchemaError(format!("column `{field}` of pages is no map")))?;
    // A null map spans no entries: flatten leaves none behind, and neither does a slice of what it wrote.
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
        // A null belongs to the key: not every reader of dictionaries looks for it among the values.
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
