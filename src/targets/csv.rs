//! Lists as csv: the csv crate for the rows, and our own count of lines, which it leaves to the reader.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::canonical::Invalid;
use super::source::{Blocks, MAX_LINE, Sink, Sources, cut, missing_column};
use crate::error::{Context, Error, Result};

pub(super) fn csv(
    sources: &Sources,
    source: usize,
    path: &str,
    reader: Box<dyn BufRead>,
    sink: Sink<'_>,
) -> Result<()> {
    let failed = || format!("failed to read target list {path}");
    let lines = Rc::new(RefCell::new(Lines::default()));
    let counted = Counted {
        reader,
        lines: Rc::clone(&lines),
    };
    let mut rows = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(counted);
    let header = rows.byte_headers().usage(failed)?.clone();
    let position = |name: &str| {
        header
            .iter()
            .position(|field| field.trim_ascii() == name.as_bytes())
            .ok_or_else(|| {
                let names: Vec<_> = header
                    .iter()
                    .map(|field| String::from_utf8_lossy(field).into_owned())
                    .collect();
                missing_column(path, name, &names)
            })
    };
    let column = position(&sources.column)?;
    let keep = sources
        .keep
        .iter()
        .map(|name| position(name))
        .collect::<Result<Vec<_>>>()?;
    let mut blocks = Blocks::new(source, sink);
    let mut row = csv::ByteRecord::new();
    let mut last = None;
    while rows.read_byte_record(&mut row).usage(failed)? {
        let number = lines
            .borrow_mut()
            .line_of(row.position().map_or(0, csv::Position::byte));
        let spans_lines = row.as_slice().contains(&b'\n');
        last = Some((number, spans_lines));
        match row.get(column) {
            Some(field) => blocks.block.push_target(number, field),
            None => blocks.block.push(
                number,
                &[],
                Some(Invalid::NoColumn {
                    column: sources.column.clone(),
                }),
            ),
        }
        let label = |&at: &usize| {
            row.get(at)
                .map(|field| String::from_utf8_lossy(shortened(field)).into())
        };
        blocks.block.labels.extend(keep.iter().map(label));
        blocks.flush_if_full()?;
    }
    if let Some((number, true)) = last
        && !lines.borrow().quotes.is_multiple_of(2)
    {
        // The csv crate takes all that follows such a quote for one field.
        return Err(Error::usage(format!(
            "target list {path}, line {number}: a quote is opened and never closed"
        ))
        .with_hint("close it, or double it if it belongs to the field; nothing was sent"));
    }
    blocks.finish()
}

/// A label is a name, not a document.
fn shortened(field: &[u8]) -> &[u8] {
    if field.len() > MAX_LINE {
        cut(field)
    } else {
        field
    }
}

/// What a csv's bytes say of its lines.
#[derive(Default)]
struct Lines {
    /// Bytes that have passed.
    bytes: u64,
    /// Line ends that have passed.
    ends: u64,
    /// Quotes that have passed.
    quotes: u64,
    /// The byte before.
    before: u8,
    /// Whether the line has a byte yet.
    begun: bool,
    /// Where each line that is not blank begins, by byte, and its number.
    starts: VecDeque<(u64, u64)>,
}

impl Lines {
    fn pass(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' if self.before == b'\r' => {}
                b'\n' | b'\r' => {
                    self.ends += 1;
                    self.begun = false;
                }
                _ if !self.begun => {
                    self.begun = true;
                    self.starts.push_back((self.bytes, self.ends + 1));
                }
                _ => {}
            }
            self.quotes += u64::from(byte == b'"');
            self.before = byte;
            self.bytes += 1;
        }
    }

    /// The number of the first line that is not blank at or behind a byte. Asked for in the order of the rows.
    fn line_of(&mut self, byte: u64) -> u64 {
        while self.starts.front().is_some_and(|&(start, _)| start < byte) {
            self.starts.pop_front();
        }
        self.starts.front().map_or(self.ends + 1, |&(_, line)| line)
    }
}

/// A reader that notes where lines begin.
struct Counted {
    reader: Box<dyn BufRead>,
    lines: Rc<RefCell<Lines>>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        self.lines.borrow_mut().pass(&into[..read]);
        Ok(read)
    }
}
