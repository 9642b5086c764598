//! Reads the fields of an envelope by need: each in whatever form its value can be understood, with a
//! note of what is not as expected. The nesting of the JSON must be known to be limited.

use std::borrow::Cow;

use super::account::plausible;
use crate::money::Usd;

/// Calls `take` with the name and the JSON of each field of an object, and notes fields that are
/// repeated.
pub(super) fn each_field(
    object: &str,
    place: &str,
    odd: &mut Vec<String>,
    mut take: impl FnMut(&str, &str, &mut Vec<String>),
) {
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in sonic_rs::to_object_iter(object).map_while(Result::ok) {
        if seen.iter().any(|seen| *seen == *name) {
            odd.push(format!("{place}{name} is repeated"));
        } else if seen.len() < MAX_SEEN {
            seen.push(name.to_string());
        }
        take(&name, value.as_raw_str().trim(), odd);
    }
}

/// Names that are compared with the names before them.
const MAX_SEEN: usize = 64;
/// The longest text that is taken from an envelope, in bytes.
const MAX_TEXT: usize = 2000;

/// The elements of an array; any other value is the only element.
pub(super) fn elements(value: &str) -> Vec<Cow<'_, str>> {
    if !value.starts_with('[') {
        return vec![value.into()];
    }
    sonic_rs::to_array_iter(value)
        .map_while(Result::ok)
        .map(|element| element.as_raw_str().trim().to_owned().into())
        .collect()
}

/// The text of a value: of a string its content, of anything else its JSON.
pub(super) fn text(value: &str, name: &str, odd: &mut Vec<String>) -> Option<String> {
    if value == "null" {
        return None;
    }
    if let Ok(text) = serde_json::from_str(value) {
        return Some(text);
    }
    odd.push(name.to_owned());
    let end = value.floor_char_boundary(MAX_TEXT);
    Some(value[..end].trim_matches('"').to_owned())
}

/// A whole number, also as text or with a fraction of zero.
pub(super) fn whole(value: &str, name: &str, odd: &mut Vec<String>) -> Option<u32> {
    if let Ok(number) = value.parse() {
        return Some(number);
    }
    if value != "null" {
        odd.push(name.to_owned());
    }
    let number: f64 = value.trim_matches('"').trim().parse().ok()?;
    (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number))
        .then_some(number as u32)
}

/// An amount, also as text, if a request can cost that much.
pub(super) fn cost(value: &str, name: &str, odd: &mut Vec<String>) -> Option<Usd> {
    let amount = plausible(value.trim_matches('"').trim());
    if value != "null" && (amount.is_none() || value.starts_with('"')) {
        odd.push(name.to_owned());
    }
    amount
}
