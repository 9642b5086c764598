//! The hot path: a serde seed over sonic-rs that drives one decoder per column, directly from bytes
//! to buffers.
//!
//! Items repeat the same fields in the same order, so the decoder first compares each key with the
//! field that comes next in the contract, and only then searches for it. A value that does not fit
//! leaves a null and an [`Irregular`] note. Such rows are rare, and `extra` reads them a second
//! time.

use std::fmt;

use arrow::array::ArrayRef;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::columns::ColumnDecoder;
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

/// Decodes all items of a response. If a value cannot even be parsed, the response is decoded value
/// by value: it is paid for, so the rest of it counts.
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
            let fits = match decode(&mut ColumnDecoder::of(items[column].kind)) {
                Ok(_) => decode(&mut self.columns[column]).unwrap_or(false),
                Err(_) => {
                    self.columns[column].null();
                    false
                }
            };
            if !fits {
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
            if !fields.next_value_seed(&mut columns[column])? {
                irregular.push(Irregular::Misfit { row, column });
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
