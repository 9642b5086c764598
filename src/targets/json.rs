//! Reads an array of JSON as a stream: the items are found by their brackets, and each one is
//! parsed by itself.

use std::io::BufRead;

use super::block::Sink;
use super::column::shown_bytes;
use super::content;
use super::encoding::Peek;
use super::list_file::ListFile;
use super::objects::{Objects, item};
use super::problem::Unreadable;
use super::reading::{Format, ReadAs};
use super::refused::Refused;
use super::text::MAX_ITEM;
use crate::error::{Context, Result};

/// Reads one target per item. The number of a line is that of the line on which the item starts.
pub(super) fn json(list: &ListFile<'_>, mut text: Peek, sink: Sink<'_>) -> Result<ReadAs, Refused> {
    content::check(list, Format::Json, text.look().usage(|| list.failed())?)?;
    let mut objects = Objects::new(list, sink);
    let mut items = Items {
        list,
        text,
        line: 1,
    };
    items.open()?;
    let mut written = Vec::new();
    while let Some(Found { line, too_long }) = items.next(&mut written)? {
        let item = if too_long {
            Err(Unreadable::TooLong { max: MAX_ITEM })
        } else {
            Ok(item(&written).map_err(|problem| {
                list.wrong_at(line, &format!("`{}`: {problem}", shown_bytes(&written)))
                    .with_hint("nothing was sent; correct the list")
            })?)
        };
        objects.push(line, &written, item)?;
    }
    objects.finish(Format::Json)
}

/// The items of an array.
struct Items<'a> {
    list: &'a ListFile<'a>,
    text: Peek,
    line: u64,
}

/// An item that was found.
struct Found {
    /// The line on which it starts.
    line: u64,
    /// Whether it is longer than [`MAX_ITEM`], and so only its start is known.
    too_long: bool,
}

impl Items<'_> {
    fn failed<T>(&self, what: &str) -> Result<T> {
        let hint = "nothing was sent; a .json list is one array of texts or objects; for an object per line, set [targets] format = \"ndjson\"";
        Err(self.list.wrong_at(self.line, what).with_hint(hint))
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        let buffer = self.text.fill_buf().usage(|| self.list.failed())?;
        Ok(buffer.first().copied())
    }

    fn step(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\n');
        self.text.consume(1);
    }

    /// Skips white space and returns the byte after it, which is not consumed.
    fn significant(&mut self) -> Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(Some(byte));
            }
            self.step(byte);
        }
        Ok(None)
    }

    fn open(&mut self) -> Result<()> {
        match self.significant()? {
            Some(byte @ b'[') => {
                self.step(byte);
                Ok(())
            }
            Some(b'{') => self.failed("an object begins where the array of targets should"),
            _ => self.failed("the array of targets does not begin"),
        }
    }

    /// Finds the next item and puts it into `written`.
    fn next(&mut self, written: &mut Vec<u8>) -> Result<Option<Found>> {
        written.clear();
        let Some(first) = self.significant()? else {
            return self.failed("the array of targets does not end");
        };
        if first == b']' {
            self.step(first);
            return match self.significant()? {
                None => Ok(None),
                Some(_) => self.failed("text follows the array of targets"),
            };
        }
        let line = self.line;
        let (mut depth, mut in_text, mut escaped) = (0_u32, false, false);
        let mut length = 0;
        while let Some(byte) = self.peek()? {
            if in_text {
                in_text = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
            } else {
                match byte {
                    b',' if depth == 0 => {
                        self.step(byte);
                        if self.significant()? == Some(b']') {
                            return self.failed("no item follows the comma");
                        }
                        break;
                    }
                    b']' | b'}' if depth == 0 => break,
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth -= 1,
                    b'"' => in_text = true,
                    _ => {}
                }
            }
            if written.len() < MAX_ITEM {
                written.push(byte);
            }
            length += 1;
            self.step(byte);
        }
        let too_long = length > MAX_ITEM;
        Ok(Some(Found { line, too_long }))
    }
}
