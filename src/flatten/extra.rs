//! The second look at rows that hold what their columns could not: originals, byte for byte, for `extra`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::builder::StringBuilder;
use serde::{Deserialize, Serialize};
use sonic_rs::{JsonType, JsonValueTrait, LazyValue};

use super::FlattenError;
use super::decode::{Decoded, Irregular};
use crate::contract::Column;
use crate::provider::PATH;

/// What did not fit the contract, counted by field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Irregularities {
    /// Fields that no contract knows.
    pub unknown_fields: BTreeMap<String, u64>,
    /// Fields whose value did not fit its type, or that came twice.
    pub misfits: BTreeMap<String, u64>,
    /// Items that were no object.
    pub no_objects: u64,
    /// Known fields that items came without.
    #[serde(default)]
    pub missing: BTreeMap<String, u64>,
    /// The first value of each field that is unknown or did not fit, as received; a long one is cut.
    #[serde(default)]
    pub examples: BTreeMap<String, String>,
}

/// Names of fields that are counted; further ones are counted together.
const MAX_NAMES: usize = 256;
/// The name that further ones are counted under.
const OTHERS: &str = "(others)";
/// Bytes of an example.
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
    /// Adds those of another answer.
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
            self.example(&field, &example);
        }
        self.no_objects += other.no_objects;
    }

    /// Keeps a field's first value.
    fn example(&mut self, field: &str, value: &str) {
        if self.examples.contains_key(field) || self.examples.len() >= MAX_NAMES {
            return;
        }
        let end = value.floor_char_boundary(MAX_EXAMPLE);
        let cut = if end < value.len() { "…" } else { "" };
        self.examples
            .insert(field.to_owned(), format!("{}{cut}", &value[..end]));
    }

    /// Whether everything fitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The `extra` column: null for rows in which everything fitted; and what did not fit, counted.
pub(super) fn collect(
    body: &[u8],
    items: &[&Column],
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
    for (column, missing) in items
        .iter()
        .zip(missing)
        .filter(|&(_, &missing)| missing > 0)
    {
        count(
            &mut found.missing,
            column.item_name().unwrap_or_default(),
            *missing,
        );
    }
    let mut column = StringBuilder::with_capacity(rows, 0);
    if irregular.is_empty() {
        column.append_nulls(rows);
        return Ok((Arc::new(column.finish()), found));
    }
    let mut irregular = irregular.iter().copied().peekable();
    let mut row = 0;
    each_item(body, 0, &mut |item| {
        let mut of_row = Vec::new();
        while let Some(next) = irregular.next_if(|next| next.row() == row) {
            of_row.push(next);
        }
        row += 1;
        if of_row.is_empty() {
            column.append_null();
        } else {
            column.append_value(originals(&item, items, &of_row, &mut found)?);
        }
        Ok(())
    })?;
    Ok((Arc::new(column.finish()), found))
}

/// The JSON object of what the columns of this row do not hold.
fn originals(
    item: &LazyValue<'_>,
    items: &[&Column],
    irregular: &[Irregular],
    found: &mut Irregularities,
) -> Result<String, FlattenError> {
    if item.get_type() != JsonType::Object {
        found.no_objects += 1;
        return Ok(format!("{{\"item\":{}}}", item.as_raw_str()));
    }
    let mut seen = vec![false; items.len()];
    let mut object = String::from("{");
    for entry in sonic_rs::to_object_iter(item.as_raw_str()) {
        let (key, value) = entry?;
        let column = items
            .iter()
            .position(|column| column.item_name() == Some(&*key));
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
        object.push_str(value.as_raw_str());
    }
    object.push('}');
    Ok(object)
}

/// Calls `take` with every item that is not null, in the order in which they were decoded.
fn each_item(
    json: &[u8],
    level: usize,
    take: &mut dyn FnMut(LazyValue<'_>) -> Result<(), FlattenError>,
) -> Result<(), FlattenError> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') if level < PATH.len() => {
            for entry in sonic_rs::to_object_iter(json) {
                let (key, value) = entry?;
                if key == PATH[level] {
                    each_item(value.as_raw_str().as_bytes(), level + 1, take)?;
                }
            }
        }
        Some(b'[') => {
            for element in sonic_rs::to_array_iter(json) {
                let element = element?;
                if level < PATH.len() {
                    each_item(element.as_raw_str().as_bytes(), level, take)?;
                } else if !element.is_null() {
                    take(element)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}
