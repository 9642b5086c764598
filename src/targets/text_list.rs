//! Some thousands of texts in two buffers, for work in which one allocation per text would show.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Texts, one after another. In JSON, an array of strings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextList {
    text: String,
    /// Where each text ends in `text`.
    ends: Vec<usize>,
}

impl TextList {
    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// The number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The texts in the order added.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = &self.text[start..end];
            start = end;
            text
        })
    }
}

impl<T: AsRef<str>> FromIterator<T> for TextList {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut list = Self::default();
        texts.into_iter().for_each(|text| list.push(text.as_ref()));
        list
    }
}

impl Serialize for TextList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for TextList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Array)
    }
}

/// Reads an array of strings.
struct Array;

impl<'de> Visitor<'de> for Array {
    type Value = TextList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<TextList, A::Error> {
        let mut list = TextList::default();
        while let Some(text) = elements.next_element::<String>()? {
            list.push(&text);
        }
        // A run keeps the lists of its earlier attempts.
        list.text.shrink_to_fit();
        list.ends.shrink_to_fit();
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_list_is_a_list_of_strings_in_memory_and_in_json(texts in prop::collection::vec(".*", 0..20)) {
            let list: TextList = texts.iter().collect();
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), texts.iter().collect::<Vec<_>>());
            prop_assert_eq!((list.len(), list.is_empty()), (texts.len(), texts.is_empty()));
            let json = serde_json::to_string(&list).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&texts).unwrap());
            prop_assert_eq!(serde_json::from_str::<TextList>(&json).unwrap(), list);
        }
    }

    #[test]
    fn whatever_is_not_an_array_of_strings_is_refused() {
        for json in [
            "{}",
            "\"a\"",
            "[1]",
            "[null]",
            "[[\"a\"]]",
            "[\"a\"",
            "null",
        ] {
            assert!(serde_json::from_str::<TextList>(json).is_err(), "{json}");
        }
    }
}
