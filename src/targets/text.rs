//! Reads the two formats with one target per line: txt and ndjson.

use std::io::{self, BufRead, Read as _};

use serde_json::{Map, Value};

use super::block::{Blocks, MAX_TARGET, Sink, start_of};
use super::list_file::ListFile;
use super::problem::Unreadable;
use crate::error::{Context, Result};

/// The longest row of ndjson in bytes; a row may contain more than a target.
const MAX_ROW: usize = 1 << 24;

/// Reads one target per line. Blank lines and lines that start with `#` are skipped.
pub(super) fn txt(list: &ListFile<'_>, reader: Box<dyn BufRead>, sink: Sink<'_>) -> Result<()> {
    let mut blocks = Blocks::new(list.number, sink);
    each_line(list, reader, MAX_TARGET, |number, line, problem| {
        let target = line.trim_ascii();
        if target.is_empty() || target.starts_with(b"#") {
            return Ok(());
        }
        let block = &mut blocks.block;
        block.push(number, target, problem.map(Into::into));
        block.labels.extend(list.keep.iter().map(|_| None));
        blocks.flush_if_full()
    })?;
    blocks.finish()
}

/// Reads one JSON object per line. Blank lines are skipped.
pub(super) fn ndjson(list: &ListFile<'_>, reader: Box<dyn BufRead>, sink: Sink<'_>) -> Result<()> {
    let mut blocks = Blocks::new(list.number, sink);
    each_line(list, reader, MAX_ROW, |number, line, problem| {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let row = problem.map_or_else(|| row_of(line), Err);
        let block = &mut blocks.block;
        match row.as_ref().map(|row| target_of(row, list.column)) {
            Ok(Ok(target)) => block.push(number, target.as_bytes(), None),
            Ok(Err(problem)) => block.push(number, start_of(line), Some(problem.into())),
            Err(problem) => block.push(number, start_of(line), Some(problem.clone().into())),
        }
        let label = |name: &String| label_of(row.as_ref().ok()?.get(name)?);
        block.labels.extend(list.keep.iter().map(label));
        blocks.flush_if_full()
    })?;
    blocks.finish()
}

fn row_of(line: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    serde_json::from_slice(line).map_err(|error| Unreadable::NotJson {
        detail: error.to_string(),
    })
}

fn target_of<'r>(row: &'r Map<String, Value>, column: &str) -> Result<&'r str, Unreadable> {
    let target = row.get(column).and_then(Value::as_str);
    target.ok_or_else(|| Unreadable::NoColumn {
        column: column.to_owned(),
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

/// Calls `take` for each line with its number, its text without the line end, and a problem if it
/// is too long.
fn each_line(
    list: &ListFile<'_>,
    mut reader: Box<dyn BufRead>,
    max: usize,
    mut take: impl FnMut(u64, &[u8], Option<Unreadable>) -> Result<()>,
) -> Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let failed = || format!("{}, line {number}", list.failed());
        // Two bytes more than the limit, so that a line of exactly `max` bytes is read with its
        // `\r\n`.
        let limit = max as u64 + 2;
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut line);
        if read.usage(failed)? == 0 {
            break;
        }
        let ended = line.pop_if(|last| *last == b'\n').is_some();
        if ended {
            line.pop_if(|last| *last == b'\r');
        }
        if line.len() > max {
            if !ended {
                skip_line(&mut reader).usage(failed)?;
            }
            take(number, start_of(&line), Some(Unreadable::TooLong { max }))?;
        } else {
            take(number, &line, None)?;
        }
    }
    Ok(())
}

/// Skips the rest of a line of any length.
fn skip_line(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}
