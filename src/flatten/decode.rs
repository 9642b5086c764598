//! The hot path: a serde seed over sonic-rs that drives one decoder a column, straight from bytes to buffers.
//!
//! Items repeat the same fields in the same order, so the decoder compares each key with the one that came next in
//! the contract before it looks it up. A value that does not fit leaves a null and a note in [`Irregular`]; the
//! rare second look at such rows is taken by `extra`.

use std::fmt;

use arrow_array::ArrayRef;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::FlattenError;
use super::columns::ColumnDecoder;
use crate::contract::Column;
use crate::provider::MAX_DEPTH;

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
        columns: items.iter().map(|column| ColumnDecoder::of(column.kind)).collect(),
        rows: 0,
        irregular: Vec::new(),
    };
    let mut json = sonic_rs::Deserializer::from_slice(body);
    Descend { level: 0, arrays: 0, decoder: &mut decoder }.deserialize(&mut json)?;
    json.end()?;
    Ok(Decoded {
        rows: decoder.rows,
        columns: decoder.columns.into_iter().zip(items).map(|(column, of)| column.finish(of.kind)).collect(),
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
    /// Arrays within arrays on this level.
    arrays: usize,
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
                    arrays: 0,
                    decoder: self.decoder,
                })?;
            } else {
                fields.next_value_seed(SKIP)?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if self.level == PATH.len() {
            while elements.next_element_seed(Item(self.decoder))?.is_some() {}
        } else if self.arrays > MAX_DEPTH {
            return Err(de::Error::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        } else {
            let Self { level, arrays, decoder } = self;
            while elements.next_element_seed(Descend { level, arrays: arrays + 1, decoder })?.is_some() {}
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

/// A value that is passed over, at most so many levels deep, so that no answer can exhaust the stack.
pub(super) struct Skip(usize);

/// Passes over a value that is an element or a field of an item.
pub(super) const SKIP: Skip = Skip(MAX_DEPTH);

impl Skip {
    fn inner<E: de::Error>(&self) -> Result<Self, E> {
        let left = self.0.checked_sub(1);
        left.map(Self).ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key_seed(KeyIs(None))?.is_some() {
            entries.next_value_seed(self.inner()?)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self.inner()?)?.is_some() {}
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
        let Decoder { names, columns, rows, irregular } = self.0;
        let row = *rows;
        *rows += 1;
        let (mut seen, mut next) = (0_u64, 0);
        while let Some(found) = fields.next_key_seed(Field { names, next })? {
            let Some(column) = found else {
                irregular.push(Irregular::Unknown { row });
                fields.next_value_seed(SKIP)?;
                continue;
            };
            next = column + 1;
            if seen & (1 << column) != 0 {
                irregular.push(Irregular::Repeated { row, column });
                fields.next_value_seed(SKIP)?;
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

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<(), A::Error> {
        SKIP.visit_seq(elements)?;
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
