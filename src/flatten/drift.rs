//! What in the answers is not as the contract says, in words for the one who must decide what to do about it.

use serde::Serialize;
use serde::de::DeserializeSeed as _;

use super::columns::ColumnDecoder;
use super::extra::Irregularities;
use crate::contract::{Contract, ItemType};

/// A field that is not as the contract says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The field of the item.
    pub field: String,
    /// What is with it.
    pub what: Drifted,
    /// Items in which it is so.
    pub items: u64,
    /// A value as received, where there is one.
    pub example: Option<String>,
    /// The lines that would adopt an unknown field into the next version of the contract, where a column can hold it.
    pub adopt: Option<String>,
}

/// In what way a field is not as the contract says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drifted {
    /// No contract knows it; it is kept in `extra`.
    Unknown,
    /// Its value does not fit the type; the original is kept in `extra`.
    Misfit,
    /// Some items came without it; null there.
    Missing,
    /// No item has it any more.
    Vanished,
}

impl Drifted {
    /// What is with the field, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "is in no contract",
            Self::Misfit => "does not fit its type",
            Self::Missing => "is missing",
            Self::Vanished => "has vanished",
        }
    }
}

/// The types a new column may have, the strictest first.
const ADOPTABLE: [ItemType; 4] = [
    ItemType::Int64,
    ItemType::Timestamp,
    ItemType::CountsByKey,
    ItemType::Utf8,
];

impl Drift {
    /// What of these irregularities is drift, among so many items.
    #[must_use]
    pub fn of(found: &Irregularities, contract: &Contract, items: u64) -> Vec<Self> {
        let unknown = found
            .unknown_fields
            .iter()
            .map(|(field, count)| (Drifted::Unknown, field, *count));
        let misfits = found
            .misfits
            .iter()
            .map(|(field, count)| (Drifted::Misfit, field, *count));
        let missing = found.missing.iter().map(|(field, count)| {
            (
                if *count == items {
                    Drifted::Vanished
                } else {
                    Drifted::Missing
                },
                field,
                *count,
            )
        });
        let no_object = "(item)".to_owned();
        let no_objects =
            (found.no_objects > 0).then_some((Drifted::Misfit, &no_object, found.no_objects));
        let all = unknown.chain(misfits).chain(missing).chain(no_objects);
        all.map(|(what, field, items)| {
            let example = found
                .examples
                .get(field)
                .filter(|_| what != Drifted::Missing)
                .cloned();
            let kind = example
                .as_deref()
                .filter(|_| what == Drifted::Unknown)
                .and_then(kind_of);
            let adopt = kind.map(|kind| contract.adopting(field, kind));
            Self {
                field: field.clone(),
                what,
                items,
                example,
                adopt,
            }
        })
        .collect()
    }
}

/// The column type that holds a value; none if none does.
fn kind_of(value: &str) -> Option<ItemType> {
    ADOPTABLE.into_iter().find(|kind| {
        let mut json = sonic_rs::Deserializer::from_slice(value.as_bytes());
        // Null fits every type and says nothing.
        value != "null"
            && ColumnDecoder::of((*kind).into())
                .deserialize(&mut json)
                .unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_adopted_by_the_strictest_type_that_holds_it() {
        for (value, kind) in [
            ("17", Some(ItemType::Int64)),
            ("\"2024-03-31 07:06:04 +00:00\"", Some(ItemType::Timestamp)),
            ("\"high\"", Some(ItemType::Utf8)),
            ("{\"a\":1}", Some(ItemType::CountsByKey)),
            ("{\"a\":\"b\"}", None),
            ("1.5", None),
            ("[1]", None),
            ("null", None),
            ("\"cut…", None),
        ] {
            assert_eq!(kind_of(value), kind, "{value}");
        }
    }
}
