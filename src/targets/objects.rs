//! Items of JSON: a text is a target, and of an object the wanted keys are read. ndjson and arrays
//! consist of them.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::block::{Blocks, Sink, start_of};
use super::column::{Column, NotFound, not_found, position};
use super::list_file::ListFile;
use super::problem::Unreadable;
use super::reading::{Format, ReadAs};
use super::refused::Refused;
use crate::error::{Error, Result};

/// Collects the items of one list.
pub(super) struct Objects<'a> {
    list: &'a ListFile<'a>,
    blocks: Blocks<'a>,
    /// The wanted keys, once the first object has shown which keys there are.
    keys: Option<Keys>,
}

struct Keys {
    target: String,
    keep: Vec<String>,
    /// Those of the first object.
    all: Vec<String>,
}

impl Keys {
    /// Finds the wanted keys among those of the first object. A key that is named but not there may
    /// be in later objects.
    fn of(list: &ListFile<'_>, first: &Map<String, Value>) -> Result<Self, Refused> {
        let names: Vec<String> = first.keys().cloned().collect();
        let column = list.reading.column.as_ref();
        if let Some(Column::Number(number)) = column {
            let message = format!(
                "{}: [targets] column = {number}: objects have no numbered columns",
                list.named()
            );
            let hint = "nothing was sent; set [targets] column to a name";
            return Err(Error::usage(message).with_hint(hint).into());
        }
        let key = |column: Option<&Column>| match (position(&names, column), column) {
            (Ok(at), _) => Ok(names[at].clone()),
            (Err(NotFound::Missing), Some(Column::Name(name))) => Ok(name.clone()),
            (Err(why), _) => Err(why),
        };
        let target = key(column).map_err(|why| list.no_target_column(&names, &why))?;
        let keep = list.reading.keep.iter().map(|name| {
            let column = Column::Name(name.clone());
            key(Some(&column))
                .map_err(|why| not_found(&list.named(), &names, Some(&column), "keep", &why))
        });
        Ok(Self {
            target,
            keep: keep.collect::<Result<_>>()?,
            all: names,
        })
    }
}

impl<'a> Objects<'a> {
    pub(super) fn new(list: &'a ListFile<'a>, sink: Sink<'a>) -> Self {
        Self {
            list,
            blocks: Blocks::new(list.number, sink),
            keys: None,
        }
    }

    /// Adds an item, or why it could not be read; `written` is its text.
    pub(super) fn push(
        &mut self,
        number: u64,
        written: &[u8],
        item: Result<Value, Unreadable>,
    ) -> Result<(), Refused> {
        match item {
            Ok(Value::Object(object)) => self.push_object(number, written, &object)?,
            Ok(Value::String(target)) => {
                self.blocks.block.push_target(number, target.as_bytes());
                self.no_labels();
            }
            Ok(_) => {
                let detail = "neither an object nor a text".to_owned();
                self.push_unreadable(number, written, Unreadable::NotJson { detail });
            }
            Err(problem) => self.push_unreadable(number, written, problem),
        }
        Ok(self.blocks.flush_if_full()?)
    }

    fn push_object(
        &mut self,
        number: u64,
        written: &[u8],
        object: &Map<String, Value>,
    ) -> Result<(), Refused> {
        let keys = match &mut self.keys {
            Some(keys) => keys,
            keys => keys.insert(Keys::of(self.list, object)?),
        };
        let block = &mut self.blocks.block;
        let column = || Column::Name(keys.target.clone());
        let problem = match object.get(&keys.target) {
            Some(Value::String(target)) => {
                block.push_target(number, target.as_bytes());
                None
            }
            None | Some(Value::Null) => Some(Unreadable::NoColumn { column: column() }),
            Some(_) => Some(Unreadable::NotText { column: column() }),
        };
        if let Some(problem) = problem {
            block.push(number, start_of(written), Some(problem.into()));
        }
        let has_other = |name: &String| object.get(name).is_some_and(is_other);
        // The parser rounds numbers, so they are taken from the text.
        let texts = match keys.keep.iter().any(has_other) {
            true => texts_of(written),
            false => HashMap::new(),
        };
        let label = |name: &String| label_of(object.get(name)?, texts.get(name.as_str()).copied());
        block.labels.extend(keys.keep.iter().map(label));
        Ok(())
    }

    fn push_unreadable(&mut self, number: u64, written: &[u8], problem: Unreadable) {
        let written = start_of(written);
        self.blocks
            .block
            .push(number, written, Some(problem.into()));
        self.no_labels();
    }

    fn no_labels(&mut self) {
        let none = self.list.reading.keep.iter().map(|_| None);
        self.blocks.block.labels.extend(none);
    }

    /// Hands on the last items, and says how the list was read.
    pub(super) fn finish(self, format: Format) -> Result<ReadAs, Refused> {
        self.blocks.finish()?;
        let (column, columns) = match self.keys {
            Some(keys) => (Some(Column::Name(keys.target)), keys.all),
            None => (None, Vec::new()),
        };
        Ok(self.list.read_as(format, None, column, columns))
    }
}

/// An item from its text.
pub(super) fn item(written: &[u8]) -> Result<Value, Unreadable> {
    serde_json::from_slice(written).map_err(|error| Unreadable::NotJson {
        detail: error.to_string(),
    })
}

/// Whether a value is, or may contain, a number.
fn is_other(value: &Value) -> bool {
    matches!(value, Value::Number(_) | Value::Array(_) | Value::Object(_))
}

/// The values of an object as they are written.
fn texts_of(written: &[u8]) -> HashMap<Cow<'_, str>, &str> {
    let fields: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_slice(written).unwrap_or_default();
    let fields = fields.into_iter();
    fields.map(|(name, value)| (name, value.get())).collect()
}

/// A value as a label: a string without its quotes, any other value as it is written, without white space between its
/// parts.
fn label_of(value: &Value, written: Option<&str>) -> Option<Box<str>> {
    match (value, written) {
        (Value::Null, _) => None,
        (Value::String(text), _) => Some(text.as_str().into()),
        (_, Some(written)) => Some(compact(written).into()),
        (other, None) => Some(other.to_string().into()),
    }
}

/// JSON without white space outside its texts.
fn compact(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let mut kept = json.to_owned();
    kept.retain(|character| {
        let keep = in_text || !character.is_ascii_whitespace();
        if in_text {
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else {
            in_text = character == '"';
        }
        keep
    });
    kept
}
