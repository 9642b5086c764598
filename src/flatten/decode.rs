//! The hot path: a serde seed over sonic-rs that drives one decoder per column, directly from bytes
//! to buffers.
//!
//! Items repeat the same fields in the same order, so the decoder first compares each key with the
//! field that comes next in the contract, and only then searches for it. A value that does not fit
//! leaves a null and an [`Irregular`] note. Such rows are rare, and `extra` reads them a second
//! time.

use std::fmt;

use arrow::array::ArrayRef;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::columns::{ColumnDecoder, Fit, is_whole};
use super::error::FlattenError;
use crate::contract::ItemField;
use crate::provider::{TakeItem, Walk, each_item};

/// The rows of a response, with one column for each field of the contract.
pub(super) struct Decoded {
    pub(super) rows: usize,
    pub(super) columns: Vec<ArrayRef>,
    pub(super) irregular: Vec<Irregular>,
    /// For each column, the number of items without its field.
    pub(super) missing: Vec<u64>,
}

/// A part of an item that its columns do not contain. Rows and columns are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Irregular {
    /// A field that is not in the contract.
    Unknown { row: usize },
    /// A value that does not fit its column.
    Misfit { row: usize, column: usize },
    /// A field that the item already had.
    Repeated { row: usize, column: usize },
    /// An item that is not a JSON object.
    NotAnObject { row: usize },
}

impl Irregular {
    pub(super) fn row(self) -> usize {
        match self {
            Self::Unknown { row }
            | Self::Misfit { row, .. }
            | Self::Repeated { row, .. }
            | Self::NotAnObject { row } => row,
        }
    }
}

/// Decodes all items of a response. If a value cannot even be parsed, the response is decoded value by value: it is
/// paid for, so the rest of it counts. The same happens if a count was parsed as a float, because only its text shows
/// whether it was rounded.
pub(super) fn decode(json: &str, items: &[&ItemField]) -> Result<Decoded, FlattenError> {
    let mut decoder = Decoder::new(items);
    let mut parser = sonic_rs::Deserializer::from_str(json);
    if Walk::to_items(&mut decoder)
        .deserialize(&mut parser)
        .is_err()
    {
        decoder = Decoder::new(items);
        each_item(json, |item| {
            decoder.take_by_value(item.as_raw_str(), items);
        })?;
    }
    Ok(decoder.finish())
}

struct Decoder<'c> {
    names: Vec<&'c str>,
    columns: Vec<ColumnDecoder>,
    rows: usize,
    irregular: Vec<Irregular>,
    missing: Vec<u64>,
}

impl<'c> Decoder<'c> {
    fn new(items: &[&'c ItemField]) -> Self {
        let columns = items.iter().map(|item| ColumnDecoder::of(item.kind));
        Self {
            names: items.iter().map(|item| item.name.as_str()).collect(),
            columns: columns.collect(),
            rows: 0,
            irregular: Vec::new(),
            missing: vec![0; items.len()],
        }
    }

    fn finish(self) -> Decoded {
        let columns = self.columns.into_iter();
        Decoded {
            rows: self.rows,
            columns: columns.map(ColumnDecoder::finish).collect(),
            irregular: self.irregular,
            missing: self.missing,
        }
    }

    /// Takes an item of which some values may not be valid JSON: those do not fit their columns.
    fn take_by_value(&mut self, item: &str, items: &[&ItemField]) {
        let row = self.rows;
        self.rows += 1;
        let fields: Result<Vec<_>, _> = sonic_rs::to_object_iter(item).collect();
        let Ok(fields) = fields else {
            self.columns.iter_mut().for_each(ColumnDecoder::null);
            self.irregular.push(Irregular::NotAnObject { row });
            return;
        };
        let mut seen = vec![false; items.len()];
        for (key, value) in fields {
            let Some(column) = self.names.iter().position(|name| *name == key) else {
                self.irregular.push(Irregular::Unknown { row });
                continue;
            };
            if std::mem::replace(&mut seen[column], true) {
                self.irregular.push(Irregular::Repeated { row, column });
                continue;
            }
            let decode = |decoder: &mut ColumnDecoder| {
                decoder.deserialize(&mut sonic_rs::Deserializer::from_str(value.as_raw_str()))
            };
            // On a column of its own first, because a value that breaks off leaves half of itself.
            let fit = match decode(&mut ColumnDecoder::of(items[column].kind)) {
                Ok(fit) if fit != Fit::PerhapsRounded || is_whole(value.as_raw_str()) => {
                    decode(&mut self.columns[column]).unwrap_or(Fit::No)
                }
                Ok(_) | Err(_) => {
                    self.columns[column].null();
                    Fit::No
                }
            };
            if fit == Fit::No {
                self.irregular.push(Irregular::Misfit { row, column });
            }
        }
        for (at, column) in self.columns.iter_mut().enumerate() {
            if !seen[at] {
                column.null();
                self.missing[at] += 1;
            }
        }
    }
}

impl TakeItem for Decoder<'_> {
    fn take<'de, D: Deserializer<'de>>(&mut self, item: D) -> Result<(), D::Error> {
        item.deserialize_any(ItemVisitor(self))
    }
}

/// One element of `items`: a row, unless it is null.
struct ItemVisitor<'d, 'c>(&'d mut Decoder<'c>);

impl ItemVisitor<'_, '_> {
    /// Appends a row of nulls for an item that is not an object.
    fn not_an_object(self) {
        let row = self.0.rows;
        self.0.rows += 1;
        self.0.columns.iter_mut().for_each(ColumnDecoder::null);
        self.0.irregular.push(Irregular::NotAnObject { row });
    }
}

impl<'de> Visitor<'de> for ItemVisitor<'_, '_> {
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
            missing,
        } = self.0;
        let row = *rows;
        *rows += 1;
        // A contract has at most 64 item columns, so a bit per column shows which ones the item
        // had.
        let (mut seen, mut next) = (0_u64, 0);
        while let Some(found) = fields.next_key_seed(FieldName { names, next })? {
            let Some(column) = found else {
                irregular.push(Irregular::Unknown { row });
                fields.next_value_seed(Walk::past())?;
                continue;
            };
            next = column + 1;
            if seen & (1 << column) != 0 {
                irregular.push(Irregular::Repeated { row, column });
                fields.next_value_seed(Walk::past())?;
                continue;
            }
            seen |= 1 << column;
            match fields.next_value_seed(&mut columns[column])? {
                Fit::Exact => {}
                Fit::No => irregular.push(Irregular::Misfit { row, column }),
                Fit::PerhapsRounded => return Err(A::Error::custom("a count that is a float")),
            }
        }
        for (at, column) in columns.iter_mut().enumerate() {
            if seen & (1 << at) == 0 {
                column.null();
                missing[at] += 1;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<(), A::Error> {
        Walk::past().visit_seq(elements)?;
        self.not_an_object();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.not_an_object();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.not_an_object();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.not_an_object();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.not_an_object();
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.not_an_object();
        Ok(())
    }
}

/// Finds the column of a field by its name, and tries the expected next column first.
struct FieldName<'d, 'c> {
    names: &'d [&'c str],
    next: usize,
}

impl<'de> DeserializeSeed<'de> for FieldName<'_, '_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName<'_, '_> {
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

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::contract::ItemType;

    /// The count in both kinds of columns, and whether the value is kept for `extra`.
    fn decoded(written: &str) -> Vec<(Option<i64>, bool)> {
        let item = |name: &str, kind| ItemField {
            name: name.to_owned(),
            kind,
        };
        let columns = [item("n", ItemType::Int64), item("m", ItemType::CountsByKey)];
        let items = format!(r#"{{"n":{written},"m":{{"a":1,"b":{written},"c":null}}}}"#);
        let json = format!(r#"{{"tasks":[{{"result":[{{"items":[{items}]}}]}}]}}"#);
        let decoded = decode(&json, &columns.each_ref()).unwrap();
        assert_eq!(decoded.rows, 1, "{written}");
        let misfit = |column| {
            decoded
                .irregular
                .contains(&Irregular::Misfit { row: 0, column })
        };
        let count = decoded.columns[0].as_primitive::<Int64Type>();
        let count = count.is_valid(0).then(|| count.value(0));
        let map = decoded.columns[1].as_map();
        let in_map = map.is_valid(0).then(|| {
            let entries = map.value(0);
            entries.column(1).as_primitive::<Int64Type>().value(1)
        });
        vec![(count, misfit(0)), (in_map, misfit(1))]
    }

    #[test]
    fn a_count_is_what_is_written_or_it_is_kept_as_written() {
        let mut random = fastrand::Rng::with_seed(14);
        let most = 1_i64 << 53;
        for case in 0..2_000 {
            let digits = random.u32(0..16);
            let size = 10_i64.pow(digits).min(most);
            let count = match case {
                0 => most,
                1 => -most,
                // Zero has no zeros at its end.
                _ => match random.i64(-size..=size) {
                    0 => 1,
                    other => other,
                },
            };
            let sign = if count < 0 { "-" } else { "" };
            let text = count.unsigned_abs().to_string();
            let shift = random.usize(1..20);
            let padded = format!("{text:0>width$}", width = shift + 1);
            let (whole, fraction) = padded.split_at(padded.len() - shift);
            let whole_numbers = [
                format!("{sign}{text}"),
                format!("{sign}{text}.0"),
                format!("{sign}{text}.{}", "0".repeat(shift)),
                format!("{sign}{whole}.{fraction}e{shift}"),
                format!("{sign}{text}{}E-{shift}", "0".repeat(shift)),
            ];
            for written in whole_numbers {
                assert_eq!(
                    decoded(&written),
                    vec![(Some(count), false); 2],
                    "{written}"
                );
            }
            let broken = [
                format!("{sign}{text}.{}1", "0".repeat(shift)),
                format!("{sign}{text}{}1e-{}", "0".repeat(shift), shift + 1),
                format!("{sign}{text}.{}", "9".repeat(shift)),
            ];
            for written in broken {
                assert_eq!(decoded(&written), vec![(None, true); 2], "{written}");
            }
        }
        for written in [
            "9007199254740993.0",
            "1e400",
            "1e-400",
            "1e99999999999999999999",
        ] {
            assert_eq!(decoded(written), vec![(None, true); 2], "{written}");
        }
        assert_eq!(decoded("-0.0e5"), vec![(Some(0), false); 2]);
    }
}
