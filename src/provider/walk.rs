//! Walks a response from its root to its items and skips everything else.
//!
//! The envelope and `flatten` walk in the same way with the same parser, so `flatten` can read what
//! the envelope accepts.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::MAX_DEPTH;

/// The fields from a response's root to its items. Arrays and nulls are allowed at every level.
pub const PATH: [&str; 3] = ["tasks", "result", "items"];

/// Receives the items of a response, one by one.
pub trait TakeItem {
    /// Takes one item, null or not.
    ///
    /// # Errors
    /// The parser's.
    fn take<'de, D: Deserializer<'de>>(&mut self, item: D) -> Result<(), D::Error>;
}

/// Walks over a value: down [`PATH`] to the items if they are wanted, else past the value. The
/// result says whether the value is not null. The depth is limited, so that no response can exhaust
/// the stack.
pub struct Walk<'t, T> {
    depth: usize,
    /// The receiver of the items, and the index of the next field in [`PATH`]. `None` skips the
    /// value.
    toward: Option<(&'t mut T, usize)>,
}

/// Receives nothing: for values that are skipped.
pub enum NoItems {}

impl TakeItem for NoItems {
    fn take<'de, D: Deserializer<'de>>(&mut self, _: D) -> Result<(), D::Error> {
        match *self {}
    }
}

impl Walk<'_, NoItems> {
    /// Skips a value.
    #[must_use]
    pub fn past() -> Self {
        Self {
            depth: 0,
            toward: None,
        }
    }
}

impl<'t, T: TakeItem> Walk<'t, T> {
    /// Walks from a response's root to its items.
    pub fn to_items(taker: &'t mut T) -> Self {
        Self {
            depth: 0,
            toward: Some((taker, 0)),
        }
    }

    fn deeper<E: de::Error>(&self) -> Result<usize, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!(
                "nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(self.depth + 1)
    }
}

impl<'de, T: TakeItem> DeserializeSeed<'de> for Walk<'_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: TakeItem> Visitor<'de> for Walk<'_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<bool, A::Error> {
        let depth = self.deeper()?;
        let wanted = self.toward.as_ref().and_then(|(_, next)| PATH.get(*next));
        while let Some(found) = fields.next_key_seed(KeyIs(wanted))? {
            let toward = self
                .toward
                .as_mut()
                .filter(|_| found)
                .map(|(taker, next)| (&mut **taker, *next + 1));
            fields.next_value_seed(Walk { depth, toward })?;
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<bool, A::Error> {
        let depth = self.deeper()?;
        if let Some((taker, next)) = &mut self.toward
            && *next == PATH.len()
        {
            while elements.next_element_seed(Item(*taker))?.is_some() {}
            return Ok(true);
        }
        loop {
            let toward = self
                .toward
                .as_mut()
                .map(|(taker, next)| (&mut **taker, *next));
            if elements
                .next_element_seed(Walk { depth, toward })?
                .is_none()
            {
                return Ok(true);
            }
        }
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(true)
    }
}

/// One element of `items`.
struct Item<'t, T>(&'t mut T);

impl<'de, T: TakeItem> DeserializeSeed<'de> for Item<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.take(deserializer)
    }
}

/// Whether a key is the wanted one.
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
