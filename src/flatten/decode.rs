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
use crate::provider::{TakeItem, Walk};

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

/// Decodes all items of a response.
pub(super) fn decode(body: &[u8], items: &[&ItemField]) -> Result<Decoded, FlattenError> {
    let mut decoder = Decoder {
        names: items.iter().map(|item| item.name.as_str()).collect(),
        columns: items
            .iter()
            .map(|item| ColumnDecoder::of(item.kind))
            .collect(),
        rows: 0,
        irregular: Vec::new(),
        missing: vec![0; items.len()],
    };
    let mut json = sonic_rs::Deserializer::from_slice(body);
    Walk::to_items(&mut decoder).deserialize(&mut json)?;
    json.end()?;
    Ok(Decoded {
        rows: decoder.rows,
        columns: decoder
            .columns
            .into_iter()
            .map(ColumnDecoder::finish)
            .collect(),
        irregular: decoder.irregular,
        missing: decoder.missing,
    })
}

struct Decoder<'c> {
    names: Vec<&'c str>,
    columns: Vec<ColumnDecoder>,
    rows: usize,
    irregular: Vec<Irregular>,
    missing: Vec<u64>,
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
