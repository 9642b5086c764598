//! Reads the two formats with one target per line: txt and ndjson.

use std::io::{self, BufRead, Read as _};

use super::block::{Blocks, MAX_TARGET, Sink, start_of};
use super::content;
use super::encoding::Peek;
use super::list_file::ListFile;
use super::objects::{Objects, item};
use super::problem::Unreadable;
use super::reading::{Format, ReadAs};
use super::refused::Refused;
use crate::error::Context as _;

/// The longest item of JSON in bytes; an item may contain more than a target.
pub(super) const MAX_ITEM: usize = 1 << 24;

/// Reads one target per line. Blank lines and lines that start with `#` are skipped.
pub(super) fn txt(list: &ListFile<'_>, mut text: Peek, sink: Sink<'_>) -> Result<ReadAs, Refused> {
    content::check(list, Format::Txt, text.look().usage(|| list.failed())?)?;
    let mut blocks = Blocks::new(list.number, sink);
    each_line(list, text, MAX_TARGET, |number, line, problem| {
        let target = line.trim_ascii();
        if target.is_empty() || target.starts_with(b"#") {
            return Ok(());
        }
        let block = &mut blocks.block;
        block.push(number, target, problem.map(Into::into));
        block.labels.extend(list.reading.keep.iter().map(|_| None));
        Ok(blocks.flush_if_full()?)
    })?;
    blocks.finish()?;
    Ok(list.read_as(Format::Txt, None, None, Vec::new()))
}

/// Reads one JSON object or text per line. Blank lines are skipped.
pub(super) fn ndjson(
    list: &ListFile<'_>,
    mut text: Peek,
    sink: Sink<'_>,
) -> Result<ReadAs, Refused> {
    content::check(list, Format::Ndjson, text.look().usage(|| list.failed())?)?;
    let mut objects = Objects::new(list, sink);
    each_line(list, text, MAX_ITEM, |number, line, problem| {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let item = problem.map_or_else(|| item(line), Err);
        objects.push(number, line, item)
    })?;
    objects.finish(Format::Ndjson)
}

/// Calls `take` for each line with its number, its text without the line end, and a problem if it
/// is too long.
fn each_line(
    list: &ListFile<'_>,
    mut reader: Peek,
    max: usize,
    mut take: impl FnMut(u64, &[u8], Option<Unreadable>) -> Result<(), Refused>,
) -> Result<(), Refused> {
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
