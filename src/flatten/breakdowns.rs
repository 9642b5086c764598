//! Unfolds the six maps of the pages table: one row per item, dimension and key. The rows of an
//! item follow each other, dimension by dimension, each in the order of the response.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{
    Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, MapArray, NullBufferBuilder,
    RecordBatch, StringArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use arrow::error::ArrowError;

use crate::contract::DIMENSIONS;

/// The rows of all dimensions for a batch of pages, in the order of the pages.
///
/// Columns with repeated values are dictionaries over the values of `pages`, so that nothing is
/// copied. The file contains plain strings, as the contract says.
///
/// # Errors
/// The batch does not follow the contract of the pages table, or the keys of its maps have 2 GiB or more.
pub fn breakdowns(pages: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| {
        let column = pages.column_by_name(name);
        column.ok_or_else(|| ArrowError::SchemaError(format!("pages has no column `{name}`")))
    };
    let mut maps = Vec::with_capacity(DIMENSIONS.len());
    for (_, field) in DIMENSIONS {
        let map = column(field)?.as_map_opt();
        let entries = map.and_then(Entries::of).ok_or_else(|| {
            ArrowError::SchemaError(format!("column `{field}` of pages is not a map of counts"))
        })?;
        maps.push(entries);
    }
    let length = maps.iter().map(Entries::len).sum();
    let mut unfolded = Unfolded::with_capacity(length, maps.iter().map(Entries::bytes).sum());
    let (mut page, mut dimension) = (Vec::with_capacity(length), Vec::with_capacity(length));
    for row in 0..pages.num_rows() {
        for (at, entries) in maps.iter().enumerate() {
            let (from, to) = entries.of_row(row);
            if from < to {
                unfolded.extend(entries, from, to);
                page.resize(page.len() + to - from, row as i32);
                dimension.resize(dimension.len() + to - from, at as i32);
            }
        }
    }
    let (keys, links) = unfolded.finish()?;
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
            Arc::new(keys),
            Arc::new(links),
        ],
    )
}

/// The entries of a map column. A null map has no entries in the arrays that flatten builds, so offsets alone say which
/// ones are those of a row.
struct Entries<'a> {
    keys: &'a StringArray,
    counts: &'a Int64Array,
    offsets: &'a [i32],
}

impl<'a> Entries<'a> {
    /// The entries; none if the map is not one of counts.
    fn of(map: &'a MapArray) -> Option<Self> {
        Some(Self {
            keys: map.keys().as_string_opt()?,
            counts: map.values().as_primitive_opt::<Int64Type>()?,
            offsets: map.value_offsets(),
        })
    }

    fn len(&self) -> usize {
        (self.offsets[self.offsets.len() - 1] - self.offsets[0]) as usize
    }

    /// The bytes of all keys.
    fn bytes(&self) -> usize {
        let (from, to) = (self.offsets[0], self.offsets[self.offsets.len() - 1]);
        self.bytes_of(from as usize, to as usize).len()
    }

    fn bytes_of(&self, from: usize, to: usize) -> &'a [u8] {
        let offsets = self.keys.value_offsets();
        &self.keys.value_data()[offsets[from] as usize..offsets[to] as usize]
    }

    /// Where the entries of a row begin and end.
    fn of_row(&self, row: usize) -> (usize, usize) {
        (self.offsets[row] as usize, self.offsets[row + 1] as usize)
    }
}

/// Keys and counts of several maps, a few entries of each in turn. Arrow's `MutableArrayData`, which is made for any type and
/// for long ranges, takes 1.5 times as long.
struct Unfolded {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    counts: Vec<i64>,
    valid: NullBufferBuilder,
}

impl Unfolded {
    fn with_capacity(entries: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(entries + 1);
        offsets.push(0);
        Self {
            bytes: Vec::with_capacity(bytes),
            offsets,
            counts: Vec::with_capacity(entries),
            valid: NullBufferBuilder::new(entries),
        }
    }

    /// Copies the entries between two places of a map.
    fn extend(&mut self, entries: &Entries<'_>, from: usize, to: usize) {
        let ends = &entries.keys.value_offsets()[from..=to];
        // Offsets wrap if the keys have 2 GiB or more, which `finish` refuses.
        let shift = (self.bytes.len() as i32).wrapping_sub(ends[0]);
        let ends = ends[1..].iter().map(|end| end.wrapping_add(shift));
        self.offsets.extend(ends);
        self.bytes.extend_from_slice(entries.bytes_of(from, to));
        self.counts
            .extend_from_slice(&entries.counts.values()[from..to]);
        match entries.counts.nulls() {
            Some(nulls) => self.valid.append_buffer(&nulls.slice(from, to - from)),
            None => self.valid.append_n_non_nulls(to - from),
        }
    }

    fn finish(mut self) -> Result<(StringArray, Int64Array), ArrowError> {
        if i32::try_from(self.bytes.len()).is_err() {
            let message = "the keys of a batch of pages have 2 GiB or more";
            return Err(ArrowError::ComputeError(message.to_owned()));
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let keys = StringArray::try_new(offsets, Buffer::from_vec(self.bytes), None)?;
        let counts = Int64Array::new(ScalarBuffer::from(self.counts), self.valid.finish());
        Ok((keys, counts))
    }
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
