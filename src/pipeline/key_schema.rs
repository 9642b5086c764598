//! The JSON Schema of the pipeline file for editors, generated from [`KEYS`]: what the parser
//! refuses, an editor marks.
//!
//! JSON has no dates without a time, no `nan` and one kind of number, and a schema reads no files.
//! So it takes `1.0` for an integer, and does not know whether the files in `lake.contracts` exist.

use serde_json::{Map, Value as Json, json};

use super::keys::Fallback::{Number as Whole, Ratio, Required, Value};
use super::keys::KEYS;
use super::keys::Key;
use super::keys::Kind::{
    self, Choices, Date, Dollars, Flag, Number, OneOf, Text, TextOrNumber, Texts,
};
use crate::targets::MAX_COLUMNS;

/// An amount as a string.
const AMOUNT: &str = r"^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$";
/// What [`super::resolve`] allows as a name.
const NAME: &str = "^[A-Za-z0-9_-]{1,60}$";
/// A URL to which credentials may be sent: without a login, and encrypted unless it is on this
/// machine.
const URL: &str = r"https://[^/@:?#\s]+(:[0-9]+)?([/?#][^@\s]*)?|http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?([/?#][^@\s]*)?";
/// A path on this machine, an object in a bucket, or a URL without a login.
const PLACE: &str = r"^(?![A-Za-z0-9+.-]*://)|^(s3a?|gs|az|abfss?)://[^/]+/.+|^https://[^/@\s]+([/?#].*)?$|^http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?([/?#].*)?$";

/// The name of an environment variable.
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// A path that is no pipeline file, or a folder in a bucket.
const LAKE: &str = r"^(?!.*\.toml$)(?![^/]*://).+$|^file://.+|^(s3a?|gs|az|abfss?)://[^/]+";

/// The JSON Schema of the pipeline file, as text.
#[must_use]
pub fn pipeline_schema() -> String {
    let mut top = Map::new();
    let mut tables: Vec<&str> = Vec::new();
    for key in KEYS {
        let (table, name) = key.path();
        if table.is_empty() {
            top.insert(name.to_owned(), property(key));
        } else if !tables.contains(&table) {
            tables.push(table);
            top.insert(table.to_owned(), table_schema(table));
        }
    }
    let required: Vec<&str> = tables
        .into_iter()
        .filter(|table| !required_in(table).is_empty())
        .collect();
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "pipeline file of backlake",
        "description": "What a run asks, of whom, and where it publishes.",
    });
    schema["type"] = "object".into();
    schema["properties"] = top.into();
    schema["required"] = required.into();
    schema["additionalProperties"] = false.into();
    format!("{schema:#}\n")
}

fn keys_of(table: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.path().0 == table)
}

fn required_in(table: &str) -> Vec<&'static str> {
    let required = keys_of(table).filter(|key| matches!(key.default, Required(_)));
    required.map(|key| key.path().1).collect()
}

fn table_schema(table: &str) -> Json {
    let properties: Map<String, Json> = keys_of(table)
        .map(|key| (key.path().1.to_owned(), property(key)))
        .collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false });
    schema["properties"] = properties.into();
    let required = required_in(table);
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    match table {
        "price" => {
            let (request, row) = ("per_request_usd", "per_row_usd");
            schema["dependencies"] = json!({ request: [row], row: [request] });
        }
        "targets" => {
            let number = json!({ "pattern": "^[+]?[0-9]{1,5}$" });
            schema["if"] = json!({
                "properties": { "header": { "const": false } },
                "required": ["header"],
            });
            schema["then"] = json!({ "properties": {
                "column": { "type": "integer" },
                "keep": { "items": number },
            } });
        }
        _ => {}
    }
    schema
}

fn property(key: &Key) -> Json {
    let mut schema = type_of(&key.kind);
    match key.name {
        "name" => schema["pattern"] = NAME.into(),
        "lake.url" => schema["pattern"] = LAKE.into(),
        "api.base_url" => schema["pattern"] = format!("^(simulator|{URL})$").into(),
        "lineage.url" => schema["pattern"] = format!("^({URL})$").into(),
        "targets.paths" => {
            schema["minItems"] = 1.into();
            schema["items"]["pattern"] = PLACE.into();
        }
        "notify.url_env" => schema["pattern"] = VARIABLE.into(),
        "targets.keep" => schema["uniqueItems"] = true.into(),
        _ => {}
    }
    schema["description"] = key.meaning.into();
    match &key.default {
        Value(toml) => schema["default"] = default(toml),
        Whole(number) => schema["default"] = (*number).into(),
        Ratio(ratio) => schema["default"] = (*ratio).into(),
        _ => {}
    }
    schema
}

/// A default as JSON.
fn default(toml: &str) -> Json {
    // Strings, booleans, numbers and lists of them are written alike.
    serde_json::from_str(toml).unwrap_or_default()
}

fn type_of(kind: &Kind) -> Json {
    match kind {
        Text => json!({ "type": "string" }),
        TextOrNumber => json!({ "anyOf": [
            { "type": "string" },
            { "type": "integer", "minimum": 1, "maximum": MAX_COLUMNS },
        ] }),
        Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Date => {
            json!({ "type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" })
        }
        Flag => json!({ "type": "boolean" }),
        Dollars => json!({ "anyOf": [
            { "type": "number", "minimum": 0 },
            { "type": "string", "pattern": AMOUNT },
        ] }),
        Number => json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX }),
        Choices(choices) => {
            json!({ "type": "array", "items": { "enum": choices } })
        }
        OneOf(choices) => {
            // As TOML reads them: the list has `\t` for a tab.
            let choices = choices.iter().map(|choice| choice.replace("\\t", "\t"));
            json!({ "enum": choices.collect::<Vec<_>>() })
        }
        Kind::Within(range) => {
            json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
        }
        Kind::UpTo(max) => json!({ "type": "number", "minimum": 0, "maximum": max }),
    }
}
