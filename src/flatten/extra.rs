//! Collects what the columns of a row cannot hold: the originals, byte for byte, for the column
//! `extra`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::builder::StringBuilder;
use serde::de::DeserializeSeed as _;
use serde::{Deserialize, Serialize};
use sonic_rs::{JsonType, JsonValueTrait, LazyValue};

use super::decode::{Decoded, Irregular};
use super::error::FlattenError;
use crate::contract::ItemField;
use crate::provider::{Walk, each_item};

/// The values that do not fit the contract, counted by field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Irregularities {
    /// The number of values of each field that is not in the contract.
    pub unknown_fields: BTreeMap<String, u64>,
    /// The number of values of each field that do not fit its type or are repeated in one item.
    pub misfits: BTreeMap<String, u64>,
    /// The number of items that are not JSON objects.
    #[serde(alias = "no_objects")]
    pub not_objects: u64,
    /// The number of items without each field of the contract.
    #[serde(default)]
    pub missing: BTreeMap<String, u64>,
    /// A value of each field that is unknown or does not fit, as received: the first one of a
    /// response, and the smallest of those. A long value is cut.
    #[serde(default)]
    pub examples: BTreeMap<String, String>,
}

/// The most fields that are counted by name; the rest is counted together.
const MAX_NAMES: usize = 256;
/// The name under which the rest is counted.
const OTHERS: &str = "(others)";
/// The longest example in bytes.
const MAX_EXAMPLE: usize = 1000;

fn count(counts: &mut BTreeMap<String, u64>, field: &str, by: u64) {
    if let Some(known) = counts.get_mut(field) {
        *known += by;
    } else {
        let name = if counts.len() < MAX_NAMES {
            field
        } else {
            OTHERS
        };
        *counts.entry(name.to_owned()).or_default() += by;
    }
}

impl Irregularities {
    /// Adds the irregularities of another response. The order of the responses does not matter, unless
    /// they have more fields than are counted by name.
    pub fn add(&mut self, other: Self) {
        for (counts, others) in [
            (&mut self.unknown_fields, other.unknown_fields),
            (&mut self.misfits, other.misfits),
            (&mut self.missing, other.missing),
        ] {
            others
                .iter()
                .for_each(|(field, by)| count(counts, field, *by));
        }
        for (field, example) in other.examples {
            if let Some(known) = self.examples.get_mut(&field) {
                *known = example.min(std::mem::take(known));
            } else if self.examples.len() < MAX_NAMES {
                self.examples.insert(field, example);
            }
        }
        self.not_objects += other.not_objects;
    }

    /// Counts what is not as expected about the envelope of a response.
    pub fn envelope(&mut self, oddities: &[String]) {
        for oddity in oddities {
            count(&mut self.misfits, &format!("(response) {oddity}"), 1);
        }
    }

    /// Keeps the first value of a field in this response as its example.
    fn example(&mut self, field: &str, value: &str) {
        if self.examples.contains_key(field) || self.examples.len() >= MAX_NAMES {
            return;
        }
        let end = value.floor_char_boundary(MAX_EXAMPLE);
        let cut = if end < value.len() { "…" } else { "" };
        self.examples
            .insert(field.to_owned(), format!("{}{cut}", &value[..end]));
    }

    /// Whether every value fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Builds the `extra` column, which is null in rows where every value fits, and counts the values
/// that do not fit.
pub(super) fn collect(
    json: &str,
    items: &[&ItemField],
    decoded: &Decoded,
) -> Result<(ArrayRef, Irregularities), FlattenError> {
    let Decoded {
        rows,
        irregular,
        missing,
        ..
    } = decoded;
    let rows = *rows;
    let mut found = Irregularities::default();
    let missing = items.iter().zip(missing);
    for (item, missing) in missing.filter(|&(_, &missing)| missing > 0) {
        count(&mut found.missing, &item.name, *missing);
    }
    let mut column = StringBuilder::with_capacity(rows, 0);
    if irregular.is_empty() {
        column.append_nulls(rows);
        return Ok((Arc::new(column.finish()), found));
    }
    // The decoder notes irregularities in the order of the rows, so one pass over the items finds
    // all of them.
    let mut irregular = irregular.iter().copied().peekable();
    let mut row = 0;
    each_item(json, |item| {
        let mut of_row = Vec::new();
        while let Some(next) = irregular.next_if(|next| next.row() == row) {
            of_row.push(next);
        }
        row += 1;
        if of_row.is_empty() {
            column.append_null();
        } else {
            column.append_value(originals(&item, items, &of_row, &mut found));
        }
    })?;
    Ok((Arc::new(column.finish()), found))
}

/// The JSON object of the values that the columns of this row do not contain.
fn originals(
    item: &LazyValue<'_>,
    items: &[&ItemField],
    irregular: &[Irregular],
    found: &mut Irregularities,
) -> String {
    let fields = sonic_rs::to_object_iter(item.as_raw_str()).collect::<Result<Vec<_>, _>>();
    let (JsonType::Object, Ok(fields)) = (item.get_type(), fields) else {
        found.not_objects += 1;
        return format!("{{\"item\":{}}}", as_json(item.as_raw_str()));
    };
    let mut seen = vec![false; items.len()];
    let mut object = String::from("{");
    for (key, value) in fields {
        let column = items.iter().position(|item| item.name == *key);
        let counts = match column {
            None => &mut found.unknown_fields,
            Some(at) => {
                let again = std::mem::replace(&mut seen[at], true);
                let misfit = irregular
                    .iter()
                    .any(|note| matches!(note, Irregular::Misfit { column, .. } if *column == at));
                if !again && !misfit {
                    continue;
                }
                &mut found.misfits
            }
        };
        count(counts, &key, 1);
        found.example(&key, value.as_raw_str());
        if object.len() > 1 {
            object.push(',');
        }
        object.push_str(&serde_json::Value::from(&*key).to_string());
        object.push(':');
        object.push_str(&as_json(value.as_raw_str()));
    }
    object.push('}');
    object
}

/// A value as received. If it is not valid JSON, or nested too deeply for readers, its text as a
/// JSON string.
fn as_json(raw: &str) -> Cow<'_, str> {
    let mut json = sonic_rs::Deserializer::from_str(raw);
    match Walk::past().deserialize(&mut json) {
        Ok(_) => raw.into(),
        Err(_) => serde_json::Value::from(raw).to_string().into(),
    }
}
