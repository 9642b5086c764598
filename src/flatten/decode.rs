//! The hot path: a serde seed over sonic-rs that drives one decoder a column, straight from bytes to buffers.
//!
//! Items repeat the same fields in the same order, so the decoder compares each key with the one that came next in
//! the contract before it looks it up. A value that does not fit leaves a null and a note in [`Irregular`]; the
//! rare second look at such rows is taken by `extra`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, Int64Array, MapArray, StringArray, StructArray};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use chrono::{DateTime, NaiveDate};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::FlattenError;
use crate::contract::{Column, ColumnType};

/// The rows of an answer, a column for each field of the contract.
pub(super) struct Decoded {
    pub(super) rows: usize,
    pub(super) columns: Vec<ArrayRef>,
    pub(super) irregular: Vec<Irregular>,
}

/// Something in a row that its columns do not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Irregular {
    /// A field that no contract knows.
    Unknown { row: usize },
    /// A value that does not fit its column.
    Misfit { row: usize, column: usize },
    /// A known field for the second time.
    Repeated { row: usize, column: usize },
    /// An item that is no object.
    NoObject { row: usize },
}

impl Irregular {
    pub(super) fn row(self) -> usize {
        match self {
            Self::Unknown { row }
            | Self::Misfit { row, .. }
            | Self::Repeated { row, .. }
            | Self::NoObject { row } => row,
        }
    }
}

/// Decodes all items of an answer.
pub(super) fn decode(body: &[u8], items: &[&Column]) -> Result<Decoded, FlattenError> {
    let mut decoder = Decoder {
        names: items.iter().filter_map(|column| column.item.as_deref()).collect(),
        columns: items
            .iter()
            .map(|column| ColumnDecoder::of(column.kind))
            .collect(),
        rows: 0,
        irregular: Vec::new(),
    };
    let mut json = sonic_rs::Deserializer::from_slice(body);
    Descend {
        level: 0,
        decoder: &mut decoder,
    }
    .deserialize(&mut json)?;
    json.end()?;
    Ok(Decoded {
        rows: decoder.rows,
        columns: decoder
            .columns
            .into_iter()
            .zip(items)
            .map(|(column, of)| column.finish(of.kind))
            .collect(),
        irregular: decoder.irregular,
    })
}

struct Decoder<'c> {
    names: Vec<&'c str>,
    columns: Vec<ColumnDecoder>,
    rows: usize,
    irregular: Vec<Irregular>,
}

/// The way from an answer's root to its items.
const PATH: [&str; 3] = ["tasks", "result", "items"];

/// Goes down [`PATH`], over arrays and nulls at any level, and skips everything beside it.
struct Descend<'d, 'c> {
    level: usize,
    decoder: &'d mut Decoder<'c>,
}

impl<'de> DeserializeSeed<'de> for Descend<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Descend<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(wanted) = fields.next_key_seed(KeyIs(PATH.get(self.level)))? {
            if wanted {
                fields.next_value_seed(Descend {
                    level: self.level + 1,
                    decoder: self.decoder,
                })?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if self.level == PATH.len() {
            while elements.next_element_seed(Item(self.decoder))?.is_some() {}
        } else {
            while elements
                .next_element_seed(Descend {
                    level: self.level,
                    decoder: self.decoder,
                })?
                .is_some()
            {}
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Whether a key is the one wanted.
struct KeyIs(Option<&'static &'static str>);

impl<'de> DeserializeSeed<'de> for KeyIs {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0 == Some(&key))
    }
}

/// One element of `items`: a row, unless it is null.
struct Item<'d, 'c>(&'d mut Decoder<'c>);

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Item<'_, '_> {
    /// A row of nulls for what is no object.
    fn no_object(self) {
        let row = self.0.rows;
        self.0.rows += 1;
        self.0.columns.iter_mut().for_each(ColumnDecoder::null);
        self.0.irregular.push(Irregular::NoObject { row });
    }
}

impl<'de> Visitor<'de> for Item<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let Decoder {
            names,
            columns,
            rows,
            irregular,
        } = self.0;
        let row = *rows;
        *rows += 1;
        let (mut seen, mut next) = (0_u64, 0);
        while let Some(found) = fields.next_key_seed(Field { names, next })? {
            let Some(column) = found else {
                irregular.push(Irregular::Unknown { row });
                fields.next_value::<IgnoredAny>()?;
                continue;
            };
            next = column + 1;
            if seen & (1 << column) != 0 {
                irregular.push(Irregular::Repeated { row, column });
                fields.next_value::<IgnoredAny>()?;
                continue;
            }
            seen |= 1 << column;
            if !fields.next_value_seed(&mut columns[column])? {
                irregular.push(Irregular::Misfit { row, column });
            }
        }
        for (at, column) in columns.iter_mut().enumerate() {
            if seen & (1 << at) == 0 {
                column.null();
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        self.no_object();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.no_object();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.no_object();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.no_object();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.no_object();
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.no_object();
        Ok(())
    }
}

/// A field's name to its column; the one that should come next is tried first.
struct Field<'d, 'c> {
    names: &'d [&'c str],
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Field<'_, '_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Field<'_, '_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        if self.names.get(self.next) == Some(&key) {
            return Ok(Some(self.next));
        }
        Ok(self.names.iter().position(|name| *name == key))
    }
}

/// Decodes the values of one column; as a seed it returns whether the value fits.
enum ColumnDecoder {
    Text(TextBuffer),
    Count(Int64Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Counts(CountsDecoder),
}

impl ColumnDecoder {
    fn of(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Int64 => Self::Count(Int64Builder::with_capacity(1024)),
            ColumnType::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(1024)),
            ColumnType::CountsByKey => Self::Counts(CountsDecoder::default()),
            // No contract takes another type from an item.
            ColumnType::Utf8 | ColumnType::Bool | ColumnType::Decimal | ColumnType::TextsByKey => {
                Self::Text(TextBuffer::default())
            }
        }
    }

    fn null(&mut self) {
        match self {
            Self::Text(texts) => texts.push(None),
            Self::Count(counts) => counts.append_null(),
            Self::Timestamp(times) => times.append_null(),
            Self::Counts(maps) => maps.end_row(false),
        }
    }

    /// A null in place of a value that does not fit.
    fn misfit(&mut self) -> bool {
        self.null();
        false
    }

    fn finish(self, kind: ColumnType) -> ArrayRef {
        match self {
            Self::Text(texts) => Arc::new(texts.finish()),
            Self::Count(mut counts) => Arc::new(counts.finish()),
            Self::Timestamp(mut times) => Arc::new(times.finish().with_timezone("UTC")),
            Self::Counts(maps) => maps.finish(&kind.arrow()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut ColumnDecoder {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The largest integer up to which every integer is a float.
const EXACT_FLOAT: f64 = (1_u64 << 53) as f64;

/// The integer that a float is, if it is one exactly: JSON makes no difference between 3 and 3.0.
fn exact(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= EXACT_FLOAT).then_some(value as i64)
}

impl<'de> Visitor<'de> for &mut ColumnDecoder {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        match self {
            ColumnDecoder::Count(counts) => {
                counts.append_value(value);
                Ok(true)
            }
            other => Ok(other.misfit()),
        }
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        match (i64::try_from(value), self) {
            (Ok(value), ColumnDecoder::Count(counts)) => {
                counts.append_value(value);
                Ok(true)
            }
            (_, other) => Ok(other.misfit()),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        match (exact(value), self) {
            (Some(value), ColumnDecoder::Count(counts)) => {
                counts.append_value(value);
                Ok(true)
            }
            (_, other) => Ok(other.misfit()),
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<bool, E> {
        match self {
            ColumnDecoder::Text(texts) => texts.push(Some(value)),
            ColumnDecoder::Timestamp(times) => match micros(value) {
                Some(time) => times.append_value(time),
                None => return Ok(self.misfit()),
            },
            other => return Ok(other.misfit()),
        }
        Ok(true)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        self.null();
        Ok(true)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(self.misfit())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.misfit())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<bool, A::Error> {
        if let ColumnDecoder::Counts(maps) = self {
            return maps.read(entries);
        }
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.misfit())
    }
}

/// Reads `2024-03-31 07:06:04 +00:00` as microseconds since 1970.
fn micros(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() == 26 && bytes.ends_with(b" +00:00") {
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().try_fold(0, |sum: u32, byte| {
                byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0'))
            })
        };
        let separators = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':')];
        if separators.iter().any(|&(at, separator)| bytes[at] != separator) {
            return None;
        }
        let date = NaiveDate::from_ymd_opt(number(0, 4)? as i32, number(5, 7)?, number(8, 10)?)?;
        let time = date.and_hms_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?)?;
        return Some(time.and_utc().timestamp_micros());
    }
    DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %:z")
        .ok()
        .map(|time| time.timestamp_micros())
}

/// Texts in Arrow's layout that can be taken back.
struct TextBuffer {
    data: Vec<u8>,
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
}

impl Default for TextBuffer {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            offsets: vec![0],
            valid: NullBufferBuilder::new(1024),
        }
    }
}

impl TextBuffer {
    fn push(&mut self, text: Option<&str>) {
        self.data.extend_from_slice(text.unwrap_or_default().as_bytes());
        // An answer is limited to less than 2 GiB, so its texts are, too.
        self.offsets.push(self.data.len() as i32);
        self.valid.append(text.is_some());
    }

    fn get(&self, at: usize) -> &[u8] {
        &self.data[self.offsets[at] as usize..self.offsets[at + 1] as usize]
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.data.truncate(self.offsets[len] as usize);
        self.valid.truncate(len);
    }

    fn finish(mut self) -> StringArray {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        StringArray::new(offsets, Buffer::from_vec(self.data), self.valid.finish())
    }
}

/// Maps from text to count, in the order received.
struct CountsDecoder {
    keys: TextBuffer,
    values: Vec<i64>,
    values_valid: NullBufferBuilder,
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
}

impl Default for CountsDecoder {
    fn default() -> Self {
        Self {
            keys: TextBuffer::default(),
            values: Vec::new(),
            values_valid: NullBufferBuilder::new(4096),
            offsets: vec![0],
            valid: NullBufferBuilder::new(1024),
        }
    }
}

impl CountsDecoder {
    fn end_row(&mut self, valid: bool) {
        self.offsets.push(self.values.len() as i32);
        self.valid.append(valid);
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, mut entries: A) -> Result<bool, A::Error> {
        let start = self.values.len();
        let mut fits = true;
        while entries.next_key_seed(MapKey(&mut self.keys))?.is_some() {
            let value = entries.next_value_seed(MapValue)?;
            let count = value.ok().flatten();
            fits &= value.is_ok();
            self.values.push(count.unwrap_or_default());
            self.values_valid.append(count.is_some());
        }
        if !fits || self.has_repeated_key(start) {
            self.keys.truncate(start);
            self.values.truncate(start);
            self.values_valid.truncate(start);
            fits = false;
        }
        self.end_row(fits);
        Ok(fits)
    }

    /// Whether the entries from `start` name a key twice: engines refuse such maps.
    fn has_repeated_key(&self, start: usize) -> bool {
        let keys = || (start..self.keys.len()).map(|at| self.keys.get(at));
        if self.keys.len() - start > 24 {
            let mut seen = HashSet::new();
            return keys().any(|key| !seen.insert(key));
        }
        keys()
            .enumerate()
            .any(|(at, key)| keys().take(at).any(|other| other == key))
    }

    fn finish(mut self, kind: &DataType) -> ArrayRef {
        let DataType::Map(entry, _) = kind else {
            return Arc::new(self.keys.finish());
        };
        let DataType::Struct(fields) = entry.data_type() else {
            return Arc::new(self.keys.finish());
        };
        let values = Int64Array::new(ScalarBuffer::from(self.values), self.values_valid.finish());
        let keys = StringArray::new(
            OffsetBuffer::new(ScalarBuffer::from(self.keys.offsets)),
            Buffer::from_vec(self.keys.data),
            None,
        );
        let entries = StructArray::new(fields.clone(), vec![Arc::new(keys), Arc::new(values)], None);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let valid: Option<NullBuffer> = self.valid.finish();
        Arc::new(MapArray::new(Arc::clone(entry), offsets, entries, valid, false))
    }
}

/// Appends a map's key.
struct MapKey<'d>(&'d mut TextBuffer);

impl<'de> DeserializeSeed<'de> for MapKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MapKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<(), E> {
        self.0.push(Some(key));
        Ok(())
    }
}

/// A map's value: a count, null, or what is neither.
struct MapValue;

/// The value is neither a count nor null.
#[derive(Debug, Clone, Copy)]
struct NoCount;

impl<'de> DeserializeSeed<'de> for MapValue {
    type Value = Result<Option<i64>, NoCount>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MapValue {
    type Value = Result<Option<i64>, NoCount>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Ok(Some(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map(Some).map_err(|_| NoCount))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(exact(value).map(Some).ok_or(NoCount))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Ok(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err(NoCount))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err(NoCount))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(NoCount))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err(NoCount))
    }
}
