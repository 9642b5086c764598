//! What the DuckDB scripts have in common: the place of the lake, the extension that reads it, and placeholders.

use super::manifest::snapshots;
use crate::error::{Error, Result};
use crate::store::Store;

/// The place of a lake, as DuckDB opens it.
///
/// # Errors
/// A lake that fails, or in which no snapshot is published: a script takes columns and files from there. A path that no
/// pattern of DuckDB can match.
pub(super) async fn place(store: &Store) -> Result<String> {
    let place = store.display();
    if snapshots(store).await?.is_empty() {
        return Err(Error::usage(format!("no snapshot is published in {place}"))
            .with_hint("publish a snapshot first: the script takes columns and files from there"));
    }
    if place.contains('\\') {
        return Err(Error::usage(format!(
            "DuckDB cannot read the lake {place}: its path has a backslash"
        ))
        .with_hint("rename the folder, or open the lake by a link whose path has none"));
    }
    Ok(place.trim_end_matches('/').to_owned())
}

/// A text as an SQL string literal.
#[must_use]
pub fn sql_text(text: &str) -> String {
    format!("'{}'", inside_quotes(text))
}

/// A text with its single quotes doubled, for use inside an SQL string literal.
pub(super) fn inside_quotes(text: &str) -> String {
    text.replace('\'', "''")
}

/// The statements that load what DuckDB needs for a remote lake.
pub(super) fn extension(place: &str) -> &'static str {
    match place.split_once("://") {
        None => "",
        Some(("az" | "abfs" | "abfss", _)) => "INSTALL azure;\nLOAD azure;\n",
        Some(_) => "INSTALL httpfs;\nLOAD httpfs;\n",
    }
}

/// A template with its placeholders replaced in one pass: what replaces one is never read again.
pub(super) fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let found = values
            .iter()
            .find_map(|(name, value)| Some((value, after.strip_prefix(name)?.strip_prefix('}')?)));
        if let Some((value, after)) = found {
            filled.push_str(value);
            rest = after;
        } else {
            filled.push('{');
            rest = after;
        }
    }
    filled.push_str(rest);
    filled
}
