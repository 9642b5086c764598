//! The shape of an answer: the way from its root to its items, past everything else.
//!
//! The envelope and flatten walk the same way with the same parser, so what the one accepts the other can read.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::MAX_DEPTH;

/// The way from an answer's root to its items; arrays and nulls may stand at any level.
pub const PATH: [&str; 3] = ["tasks", "result", "items"];

/// Takes the items of an answer, one after the other.
pub trait TakeItem {
    /// Takes one, null or not.
    ///
    /// # Errors
    /// The parser's.
    fn take<'de, D: Deserializer<'de>>(&mut self, item: D) -> Result<(), D::Error>;
}

/// Walks over a value: down [`PATH`] where there is someone to take the items, else past it. Its value tells whether
/// there was one that is not null. Its depth is limited, so that no answer can exhaust the stack.
pub struct Walk<'t, T> {
    depth: usize,
    /// Who takes the items, and the part of the path that comes next.
    toward: Option<(&'t mut T, usize)>,
}

/// Takes nothing: for values that are passed over.
pub enum Nobody {}

impl TakeItem for Nobody {
    fn take<'de, D: Deserializer<'de>>(&mut self, _: D) -> Result<(), D::Error> {
        match *self {}
    }
}

impl Walk<'_, Nobody> {
    /// Past a value that is not wanted.
    #[must_use]
    pub fn past() -> Self {
        Self {
            depth: 0,
            toward: None,
        }
    }
}

impl<'t, T: TakeItem> Walk<'t, T> {
    /// From an answer's root to its items.
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
