//! Decodes the values of one column from JSON directly into Arrow buffers, and says whether each
//! value fits.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::NullBufferBuilder;
use arrow::array::builder::{Int64Builder, TimestampMicrosecondBuilder};
use arrow::array::{ArrayRef, Int64Array, MapArray, StringArray, StructArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use chrono::{DateTime, NaiveDate};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::contract::{ItemType, counts_entry};
use crate::provider::Walk;

/// Whether a value fits its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// The column has the value.
    Exact,
    /// The column has the value, but a count in it was read as a float, which may have rounded it: see [`is_whole`].
    PerhapsRounded,
    /// The column has a null in its place.
    No,
}

/// Decodes the values of one column. As a serde seed it returns whether the value fits.
pub(super) enum ColumnDecoder {
    Text(TextBuffer),
    Count(Int64Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Counts(CountsDecoder),
}

impl ColumnDecoder {
    pub(super) fn of(kind: ItemType) -> Self {
        match kind {
            ItemType::Utf8 => Self::Text(TextBuffer::default()),
            ItemType::Int64 => Self::Count(Int64Builder::with_capacity(1024)),
            ItemType::Timestamp => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(1024))
            }
            ItemType::CountsByKey => Self::Counts(CountsDecoder::default()),
        }
    }

    /// Appends a null.
    pub(super) fn null(&mut self) {
        match self {
            Self::Text(texts) => texts.push(None),
            Self::Count(counts) => counts.append_null(),
            Self::Timestamp(times) => times.append_null(),
            Self::Counts(maps) => maps.end_row(false),
        }
    }

    /// Appends a null in place of a value that does not fit.
    fn misfit(&mut self) -> Fit {
        self.null();
        Fit::No
    }

    pub(super) fn finish(self) -> ArrayRef {
        match self {
            Self::Text(texts) => Arc::new(texts.finish()),
            Self::Count(mut counts) => Arc::new(counts.finish()),
            Self::Timestamp(mut times) => Arc::new(times.finish().with_timezone("UTC")),
            Self::Counts(maps) => Arc::new(maps.finish()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut ColumnDecoder {
    type Value = Fit;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fit, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The largest number below which a float can represent every integer.
const EXACT_FLOAT: f64 = (1_u64 << 53) as f64;

/// The value of a float that is an integer: JSON does not distinguish 3 from 3.0.
fn exact(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= EXACT_FLOAT).then_some(value as i64)
}

/// Whether a number, as written, is an integer that a float holds exactly. Parsing it as a float cannot tell:
/// 1.00000000000000000001 is read as 1.
fn is_integer(written: &str) -> bool {
    let lower = written.trim().to_ascii_lowercase();
    let (number, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let significant = digits.trim_end_matches('0');
    let Ok(exponent) = exponent.parse::<i64>() else {
        return significant.is_empty();
    };
    // The value is `significant` times ten to the power of this.
    let zeros = (digits.len() - significant.len()) as i64;
    let power = exponent.saturating_add(zeros - fraction.len() as i64);
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return true;
    }
    let power = u32::try_from(power)
        .ok()
        .and_then(|power| 10_u64.checked_pow(power));
    let value = significant.parse::<u64>().ok().zip(power);
    let value = value.and_then(|(value, power)| value.checked_mul(power));
    value.is_some_and(|value| value <= EXACT_FLOAT as u64)
}

/// Whether every count in a value that is [`Fit::PerhapsRounded`] is an integer as it is written.
pub(super) fn is_whole(written: &str) -> bool {
    // `null` and texts are judged elsewhere.
    let fits = |written: &str| {
        let is_number = written.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        !is_number || is_integer(written)
    };
    if !written.trim_start().starts_with('{') {
        return fits(written.trim());
    }
    sonic_rs::to_object_iter(written)
        .all(|entry| entry.is_ok_and(|(_, value)| fits(value.as_raw_str().trim())))
}

impl<'de> Visitor<'de> for &mut ColumnDecoder {
    type Value = Fit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_i64<E>(self, value: i64) -> Result<Fit, E> {
        match self {
            ColumnDecoder::Count(counts) => {
                counts.append_value(value);
                Ok(Fit::Exact)
            }
            other => Ok(other.misfit()),
        }
    }

    fn visit_u64<E>(self, value: u64) -> Result<Fit, E> {
        match (i64::try_from(value), self) {
            (Ok(value), ColumnDecoder::Count(counts)) => {
                counts.append_value(value);
                Ok(Fit::Exact)
            }
            (_, other) => Ok(other.misfit()),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Fit, E> {
        match (exact(value), self) {
            (Some(value), ColumnDecoder::Count(counts)) => {
                counts.append_value(value);
                Ok(Fit::PerhapsRounded)
            }
            (_, other) => Ok(other.misfit()),
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Fit, E> {
        match self {
            ColumnDecoder::Text(texts) => texts.push(Some(value)),
            ColumnDecoder::Timestamp(times) => match micros(value) {
                Some(time) => times.append_value(time),
                None => return Ok(self.misfit()),
            },
            other => return Ok(other.misfit()),
        }
        Ok(Fit::Exact)
    }

    fn visit_unit<E>(self) -> Result<Fit, E> {
        self.null();
        Ok(Fit::Exact)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Fit, E> {
        Ok(self.misfit())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Fit, A::Error> {
        Walk::past().visit_seq(elements)?;
        Ok(self.misfit())
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Fit, A::Error> {
        if let ColumnDecoder::Counts(maps) = self {
            return maps.read(entries);
        }
        Walk::past().visit_map(entries)?;
        Ok(self.misfit())
    }
}

/// The times of the years 1 to 9999, in microseconds since 1970. Python and other readers cannot represent other years.
const REPRESENTABLE: RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// Reads `2024-03-31 07:06:04 +00:00` as microseconds since 1970.
fn micros(text: &str) -> Option<i64> {
    any_micros(text).filter(|micros| REPRESENTABLE.contains(micros))
}

/// [`micros`] of any year. The usual offset of zero takes a fast path.
fn any_micros(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() == 26 && bytes.ends_with(b" +00:00") {
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().try_fold(0, |sum: u32, byte| {
                byte.is_ascii_digit()
                    .then(|| sum * 10 + u32::from(byte - b'0'))
            })
        };
        let separators = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':')];
        if separators
            .iter()
            .any(|&(at, separator)| bytes[at] != separator)
        {
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

/// Texts in Arrow's layout. Unlike in an Arrow builder, the last ones can be removed again.
pub(super) struct TextBuffer {
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
        self.data
            .extend_from_slice(text.unwrap_or_default().as_bytes());
        // A response is smaller than 2 GiB, so an offset fits into 32 bits.
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
        // Rows wait in memory to be sorted, so spare capacity is freed here.
        self.data.shrink_to_fit();
        self.offsets.shrink_to_fit();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        StringArray::new(offsets, Buffer::from_vec(self.data), self.valid.finish())
    }

    /// Finishes texts that contain no null.
    fn finish_without_nulls(mut self) -> StringArray {
        self.valid = NullBufferBuilder::new(0);
        self.finish()
    }
}

/// Decodes maps from text to count, and keeps the order of their entries.
pub(super) struct CountsDecoder {
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

    fn read<'de, A: MapAccess<'de>>(&mut self, mut entries: A) -> Result<Fit, A::Error> {
        let start = self.values.len();
        let (mut fits, mut floats) = (true, false);
        while entries.next_key_seed(MapKey(&mut self.keys))?.is_some() {
            let value = entries.next_value_seed(MapValue {
                floats: &mut floats,
            })?;
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
        Ok(match (fits, floats) {
            (false, _) => Fit::No,
            (true, true) => Fit::PerhapsRounded,
            (true, false) => Fit::Exact,
        })
    }

    /// Whether the entries from `start` contain a key twice. Query engines reject such maps.
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

    fn finish(mut self) -> MapArray {
        let (entry, fields) = counts_entry();
        self.values.shrink_to_fit();
        self.offsets.shrink_to_fit();
        let values = Int64Array::new(ScalarBuffer::from(self.values), self.values_valid.finish());
        let keys = self.keys.finish_without_nulls();
        let entries = StructArray::new(fields, vec![Arc::new(keys), Arc::new(values)], None);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let valid: Option<NullBuffer> = self.valid.finish();
        MapArray::new(entry, offsets, entries, valid, false)
    }
}

/// Appends the key of a map entry.
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

/// Reads the value of a map entry: a count, null, or a value that is neither.
struct MapValue<'f> {
    /// Set if the value is a float.
    floats: &'f mut bool,
}

/// A value that is neither a count nor null.
#[derive(Debug, Clone, Copy)]
struct NotACount;

impl<'de> DeserializeSeed<'de> for MapValue<'_> {
    type Value = Result<Option<i64>, NotACount>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MapValue<'_> {
    type Value = Result<Option<i64>, NotACount>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Ok(Some(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map(Some).map_err(|_| NotACount))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        *self.floats = true;
        Ok(exact(value).map(Some).ok_or(NotACount))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Ok(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err(NotACount))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err(NotACount))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        Walk::past().visit_seq(elements)?;
        Ok(Err(NotACount))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        Walk::past().visit_map(entries)?;
        Ok(Err(NotACount))
    }
}
