//! Reads csv: the csv crate splits rows, and [`LineCounter`] finds their line numbers, which the
//! crate does not report.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::block::{Blocks, MAX_TARGET, Sink, start_of};
use super::list_file::ListFile;
use super::problem::Unreadable;
use crate::error::{Context, Error, Result};

/// Reads one target per row. The number of a line is that of the line on which the row starts.
pub(super) fn csv(list: &ListFile<'_>, reader: Box<dyn BufRead>, sink: Sink<'_>) -> Result<()> {
    let failed = || list.failed();
    let lines = Rc::new(RefCell::new(LineCounter::default()));
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
                list.missing_column(name, &names)
            })
    };
    let column = position(list.column)?;
    let keep = list
        .keep
        .iter()
        .map(|name| position(name))
        .collect::<Result<Vec<_>>>()?;
    let mut blocks = Blocks::new(list.number, sink);
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
            None => {
                let column = list.column.to_owned();
                let problem = Unreadable::NoColumn { column };
                blocks.block.push(number, &[], Some(problem.into()));
            }
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
        // The csv crate reads everything after an unclosed quote as one field, and so would lose
        // all further lines.
        return Err(Error::usage(format!(
            "target list {}, line {number}: a quote is opened and never closed",
            list.path
        ))
        .with_hint("close the quote, or double it if it belongs to the field; nothing was sent"));
    }
    blocks.finish()
}

/// The start of a label that is longer than a target may be.
fn shortened(field: &[u8]) -> &[u8] {
    if field.len() > MAX_TARGET {
        start_of(field)
    } else {
        field
    }
}

/// Counts the lines of a csv as its bytes pass, in the way in which a text editor counts them.
#[derive(Default)]
struct LineCounter {
    /// The number of bytes so far.
    bytes: u64,
    /// The number of line ends so far.
    ends: u64,
    /// The number of quotes so far.
    quotes: u64,
    /// The last byte.
    last: u8,
    /// Whether the current line has a byte yet.
    started: bool,
    /// The first byte and the number of each line that is not blank, in order.
    starts: VecDeque<(u64, u64)>,
}

impl LineCounter {
    fn pass(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' if self.last == b'\r' => {}
                b'\n' | b'\r' => {
                    self.ends += 1;
                    self.started = false;
                }
                _ if !self.started => {
                    self.started = true;
                    self.starts.push_back((self.bytes, self.ends + 1));
                }
                _ => {}
            }
            self.quotes += u64::from(byte == b'"');
            self.last = byte;
            self.bytes += 1;
        }
    }

    /// The number of the first line at or after a byte that is not blank. Calls must be in the
    /// order of the rows.
    fn line_of(&mut self, byte: u64) -> u64 {
        while self.starts.front().is_some_and(|&(start, _)| start < byte) {
            self.starts.pop_front();
        }
        self.starts.front().map_or(self.ends + 1, |&(_, line)| line)
    }
}

/// A reader that passes its bytes to a [`LineCounter`].
struct Counted {
    reader: Box<dyn BufRead>,
    lines: Rc<RefCell<LineCounter>>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        self.lines.borrow_mut().pass(&into[..read]);
        Ok(read)
    }
}
