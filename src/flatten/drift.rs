//! Drift: the fields that differ from the contract, in words for the person who decides what to do
//! about them.

use serde::Serialize;
use serde::de::DeserializeSeed as _;

use super::columns::{ColumnDecoder, Fit};
use super::extra::Irregularities;
use crate::contract::{Contract, ItemType};

/// A field that differs from the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The name of the field.
    pub field: String,
    /// How it differs.
    pub what: Drifted,
    /// The number of items in which it differs; of responses, if it is about their envelope.
    pub items: u64,
    /// A value as received, if there is one.
    pub example: Option<String>,
    /// The lines that adopt an unknown field into the next version of the contract, if a column can
    /// hold its values.
    pub adopt: Option<String>,
}

/// How a field differs from the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drifted {
    /// The contract does not have the field; its values are kept in `extra`.
    Unknown,
    /// A value does not fit the type of its column; the original is kept in `extra`.
    Misfit,
    /// Some items do not have the field; their column is null.
    Missing,
    /// No item has the field.
    Vanished,
}

impl Drifted {
    /// How the field differs, as a predicate for reports: "`field` is missing".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "is not in the contract",
            Self::Misfit => "does not fit its type",
            Self::Missing => "is missing",
            Self::Vanished => "has vanished",
        }
    }
}

/// The types that a new column can have, strictest first.
const ADOPTABLE: [ItemType; 4] = [
    ItemType::Int64,
    ItemType::Timestamp,
    ItemType::CountsByKey,
    ItemType::Utf8,
];

impl Drift {
    /// Lists the drift among irregularities. `items` is the number of items that they were found
    /// in.
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
        let whole_item = "(item)".to_owned();
        let not_objects =
            (found.not_objects > 0).then_some((Drifted::Misfit, &whole_item, found.not_objects));
        let all = unknown.chain(misfits).chain(missing).chain(not_objects);
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
            let adopt = kind.and_then(|kind| contract.adopting(field, kind));
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

/// The strictest type that can hold a value, if any can.
fn kind_of(value: &str) -> Option<ItemType> {
    ADOPTABLE.into_iter().find(|kind| {
        let mut json = sonic_rs::Deserializer::from_slice(value.as_bytes());
        // Null fits every type, so it is not evidence for one.
        let fit = ColumnDecoder::of(*kind).deserialize(&mut json);
        value != "null" && fit.is_ok_and(|fit| fit != Fit::No)
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
