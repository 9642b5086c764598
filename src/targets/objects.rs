//! Items of JSON: a text is a target, and of an object the wanted keys are read. ndjson and arrays
//! consist of them.

use serde_json::{Map, Value};

use super::block::{Blocks, Sink, start_of};
use super::column::{Column, NotFound, not_found, position};
use super::list_file::ListFile;
use super::problem::Unreadable;
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
}

impl Keys {
    /// Finds the wanted keys among those of the first object. A key that is named but not there may
    /// be in later objects.
    fn of(list: &ListFile<'_>, first: &Map<String, Value>) -> Result<Self> {
        let names: Vec<String> = first.keys().cloned().collect();
        let key = |column: Option<&Column>, key: &str| match (position(&names, column), column) {
            (_, Some(Column::Number(number))) => {
                let message = format!("{}: [targets] {key} = {number}", list.named());
                Err(
                    Error::usage(format!("{message}: objects have no numbered columns"))
                        .with_hint(format!("nothing was sent; set [targets] {key} to a name")),
                )
            }
            (Ok(at), _) => Ok(names[at].clone()),
            (Err(NotFound::Missing), Some(Column::Name(name))) => Ok(name.clone()),
            (Err(why), _) => Err(not_found(&list.named(), &names, column, key, &why)),
        };
        let keep = list.reading.keep.iter();
        Ok(Self {
            target: key(list.reading.column.as_ref(), "column")?,
            keep: keep
                .map(|name| key(Some(&Column::Name(name.clone())), "keep"))
                .collect::<Result<_>>()?,
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
    ) -> Result<()> {
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
        self.blocks.flush_if_full()
    }

    fn push_object(
        &mut self,
        number: u64,
        written: &[u8],
        object: &Map<String, Value>,
    ) -> Result<()> {
        let keys = match &mut self.keys {
            Some(keys) => keys,
            keys => keys.insert(Keys::of(self.list, object)?),
        };
        let block = &mut self.blocks.block;
        match object.get(&keys.target).and_then(Value::as_str) {
            Some(target) => block.push_target(number, target.as_bytes()),
            None => {
                let column = Column::Name(keys.target.clone());
                let problem = Unreadable::NoColumn { column };
                block.push(number, start_of(written), Some(problem.into()));
            }
        }
        let label = |name: &String| label_of(object.get(name)?);
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

    /// Hands on the last items, and returns the column that the targets were taken from.
    pub(super) fn finish(self) -> Result<Option<Column>> {
        self.blocks.finish()?;
        Ok(self.keys.map(|keys| Column::Name(keys.target)))
    }
}

/// An item from its text.
pub(super) fn item(written: &[u8]) -> Result<Value, Unreadable> {
    serde_json::from_slice(written).map_err(|error| Unreadable::NotJson {
        detail: error.to_string(),
    })
}

/// A value as a label: a string without its quotes, any other value as JSON.
fn label_of(value: &Value) -> Option<Box<str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.as_str().into()),
        other => Some(other.to_string().into()),
    }
}
