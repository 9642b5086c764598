//! The hot path: a serde seed over sonic-rs that drives one decoder a column, straight from bytes to buffers.
//!
//! Items repeat the same fields in the same order, so the decoder compares each key with the one that came next in
//! the contract before it looks it up. A value that does not fit leaves a null and a note in [`Irregular`]; the
//! rare second look at such rows is taken by `extra`.

use std::fmt;

use arrow::array::ArrayRef;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::FlattenError;
use super::columns::ColumnDecoder;
use crate::contract::Column;
use crate::provider::{TakeItem, Walk};

/// The rows of an answer, a column for each field of the contract.
pub(super) struct Decoded {
    pub(super) rows: usize,
    pub(super) columns: Vec<ArrayRef>,
    pub(super) irregular: Vec<Irregular>,
    /// Items that came without each column's field.
    pub(super) missing: Vec<u64>,
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
        names: items
            .iter()
            .filter_map(|column| column.item_name())
            .collect(),
        columns: items
            .iter()
            .map(|column| ColumnDecoder::of(column.kind))
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
            .zip(items)
            .map(|(column, of)| column.finish(of.kind))
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
        item.deserialize_any(Item(self))
    }
}

/// One element of `items`: a row, unless it is null.
struct Item<'d, 'c>(&'d mut Decoder<'c>);

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
            missing,
        } = self.0;
        let row = *rows;
        *rows += 1;
        let (mut seen, mut next) = (0_u64, 0);
        while let Some(found) = fields.next_key_seed(Field { names, next })? {
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
