//! Walks over the items of a response without parsing their values: for a response that the parser
//! rejects, and to see an item as received.

use sonic_rs::{JsonValueTrait as _, LazyValue};

use super::MAX_DEPTH;
use super::body::Malformed;
use super::walk::PATH;

/// Calls `take` with every item that is not null, in the order of the response.
///
/// # Errors
/// The body is not complete, or its nesting is too deep: skipping a value takes stack for each level.
pub fn each_item(json: &str, mut take: impl FnMut(LazyValue<'_>)) -> Result<(), Malformed> {
    if is_deep(json) {
        return Err(Malformed::deep());
    }
    walk(json, 0, &mut take)
}

fn walk(json: &str, level: usize, take: &mut dyn FnMut(LazyValue<'_>)) -> Result<(), Malformed> {
    match json.trim_ascii_start().as_bytes().first() {
        Some(b'{') if level < PATH.len() => {
            for entry in sonic_rs::to_object_iter(json) {
                let (key, value) = entry.map_err(|error| Malformed::of(&error))?;
                if key == PATH[level] {
                    walk(value.as_raw_str(), level + 1, take)?;
                }
            }
        }
        Some(b'[') => {
            for element in sonic_rs::to_array_iter(json) {
                let element = element.map_err(|error| Malformed::of(&error))?;
                if level < PATH.len() {
                    walk(element.as_raw_str(), level, take)?;
                } else if !element.is_null() {
                    take(element);
                }
            }
        }
        Some(_) => {}
        None => return Err(Malformed::empty()),
    }
    Ok(())
}

/// Whether brackets are nested deeper than in any response.
fn is_deep(json: &str) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}
