//! Splits delimited text into rows, strictly: a quote that does not close its field is an error,
//! because a lenient reader would swallow the rows up to the next quote without a word.
//!
//! A field is quoted if its first byte is a quote. Inside it, `""` is a quote, and delimiters and
//! line ends belong to the field. A quote elsewhere in a field is an ordinary character. Blank lines
//! are skipped. Lines are counted as a text editor counts them.
//!
//! # Memory
//! A row keeps the fields that are wanted, each up to a limit, so a line of any length is read in
//! little memory.

use std::io::{self, BufRead};

use memchr::{memchr2, memchr3};
use thiserror::Error;

use super::block::MAX_TARGET;

/// Bytes of a field that are kept: one more than a target may have, so that the excess shows.
const MAX_FIELD: usize = MAX_TARGET + 1;
/// Bytes of quoted fields over several lines that [`Row::inner_lines`] shows.
const MAX_INNER: usize = 1 << 16;

/// Why delimited text cannot be split into rows.
#[derive(Debug, Error)]
pub(super) enum Malformed {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The closing quote of a field is followed by text.
    #[error("a quoted field opens on line {opened}, and text follows its end on line {line}")]
    TextAfterQuote { opened: u64, line: u64 },
    /// The text ends inside a quoted field.
    #[error("the quote that opens a field on line {opened} is never closed")]
    NeverClosed { opened: u64 },
}

/// The fields that a row keeps.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Whether each field is kept, from the first to the last that is.
    kept: Vec<bool>,
}

impl Wanted {
    /// The first `number` fields.
    pub(super) fn first(number: usize) -> Self {
        Self {
            kept: vec![true; number],
        }
    }

    /// The fields at these positions.
    pub(super) fn at(positions: impl IntoIterator<Item = usize>) -> Self {
        let mut kept = Vec::new();
        for position in positions {
            if kept.len() <= position {
                kept.resize(position + 1, false);
            }
            kept[position] = true;
        }
        Self { kept }
    }
}

/// One row, reused for the next one.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The line on which the row starts, from 1.
    pub(super) line: u64,
    /// The number of fields.
    pub(super) fields: usize,
    /// The number of fields up to the last one that is not empty.
    pub(super) filled: usize,
    wanted: Wanted,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// The lines after the first one of quoted fields over several lines, each with its number.
    inner: Vec<u8>,
    inner_starts: Vec<(u64, usize)>,
    /// Whether the current field has more than one line.
    in_inner: bool,
}

impl Row {
    /// A row that keeps these fields.
    pub(super) fn keeping(wanted: Wanted) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// A field that is kept, without its quotes; none if the row is shorter. A field that is longer
    /// than a target may be is cut one byte after that.
    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..end])
    }

    /// All fields that are kept.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).filter_map(|at| self.get(at))
    }

    /// The line on which the first quoted field that spans lines starts.
    pub(super) fn quoted_line(&self) -> u64 {
        self.inner_starts
            .first()
            .map_or(self.line, |&(line, _)| line - 1)
    }

    /// The lines after the first of every quoted field that spans lines, with their numbers.
    pub(super) fn inner_lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let ends = self.inner_starts.iter().skip(1).map(|&(_, start)| start);
        let ends = ends.chain([self.inner.len()]);
        let lines = self.inner_starts.iter().zip(ends);
        lines.map(|(&(line, start), end)| (line, self.inner[start..end].trim_ascii()))
    }

    fn clear(&mut self) {
        (self.fields, self.filled) = (0, 0);
        self.text.clear();
        self.ends.clear();
        self.inner.clear();
        self.inner_starts.clear();
        self.in_inner = false;
    }

    fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.filled = self.fields + 1;
        if self.wanted.kept.get(self.fields) == Some(&true) {
            let start = self.ends.last().copied().unwrap_or(0);
            let room = MAX_FIELD - (self.text.len() - start).min(MAX_FIELD);
            self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn push_quoted(&mut self, bytes: &[u8]) {
        self.push(bytes);
        if self.in_inner {
            let room = MAX_INNER - self.inner.len().min(MAX_INNER);
            self.inner
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn start_inner_line(&mut self, line: u64) {
        self.in_inner = true;
        if self.inner.len() < MAX_INNER {
            self.inner_starts.push((line, self.inner.len()));
        }
    }

    fn end_field(&mut self) {
        self.in_inner = false;
        self.fields += 1;
        if self.ends.len() < self.wanted.kept.len() {
            self.ends.push(self.text.len());
        }
    }
}

/// Where in a row the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    RowStart,
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote in a quoted field: it ends the field, or a second one follows.
    Quote,
}

/// The rows of delimited text.
#[derive(Debug)]
pub(super) struct Rows<R> {
    reader: R,
    delimiter: u8,
    /// The line of the next byte, from 1.
    line: u64,
    /// Whether the last byte was a carriage return: a line feed after it ends the same line.
    after_return: bool,
    /// The line of the quote that opened the current field.
    opened: u64,
}

impl<R: BufRead> Rows<R> {
    /// The rows of `reader`, whose first byte is on line `line`.
    pub(super) fn new(reader: R, delimiter: u8, line: u64) -> Self {
        Self {
            reader,
            delimiter,
            line,
            after_return: false,
            opened: 0,
        }
    }

    /// Reads the next row; false at the end.
    pub(super) fn read(&mut self, row: &mut Row) -> Result<bool, Malformed> {
        row.clear();
        let mut at = At::RowStart;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if buffer.is_empty() {
                return self.end(at, row);
            }
            // Moved out so that the buffer and the counters can be used side by side.
            let mut step = Step {
                delimiter: self.delimiter,
                line: self.line,
                after_return: self.after_return,
                opened: self.opened,
                at,
            };
            let stepped = step.through(buffer, row);
            Step {
                line: self.line,
                after_return: self.after_return,
                opened: self.opened,
                at,
                ..
            } = step;
            let (used, ended) = stepped?;
            self.reader.consume(used);
            if ended {
                return Ok(true);
            }
        }
    }

    fn end(&self, at: At, row: &mut Row) -> Result<bool, Malformed> {
        match at {
            At::RowStart => Ok(false),
            At::Quoted => Err(Malformed::NeverClosed {
                opened: self.opened,
            }),
            At::FieldStart | At::Unquoted | At::Quote => {
                row.end_field();
                Ok(true)
            }
        }
    }
}

/// The state of [`Rows`] while it goes through one buffer.
struct Step {
    delimiter: u8,
    line: u64,
    after_return: bool,
    opened: u64,
    at: At,
}

impl Step {
    /// Goes through the buffer up to its end or to the end of the row. Returns the number of bytes
    /// used, and whether the row has ended.
    fn through(&mut self, buffer: &[u8], row: &mut Row) -> Result<(usize, bool), Malformed> {
        let mut used = 0;
        while let Some(&byte) = buffer.get(used) {
            match self.at {
                At::RowStart => match byte {
                    b'\n' | b'\r' => {
                        self.line_end(byte);
                        used += 1;
                    }
                    _ => {
                        row.line = self.line;
                        self.at = At::FieldStart;
                    }
                },
                At::FieldStart if byte == b'"' => {
                    self.opened = self.line;
                    self.after_return = false;
                    self.at = At::Quoted;
                    used += 1;
                }
                At::FieldStart => self.at = At::Unquoted,
                At::Unquoted => {
                    let rest = &buffer[used..];
                    let Some(end) = memchr3(self.delimiter, b'\n', b'\r', rest) else {
                        row.push(rest);
                        return Ok((buffer.len(), false));
                    };
                    row.push(&rest[..end]);
                    used += end + 1;
                    if self.field_end(rest[end], row) {
                        return Ok((used, true));
                    }
                }
                At::Quoted => used += self.quoted(&buffer[used..], row),
                At::Quote if byte == b'"' => {
                    row.push_quoted(b"\"");
                    self.at = At::Quoted;
                    used += 1;
                }
                At::Quote if byte == self.delimiter || byte == b'\n' || byte == b'\r' => {
                    used += 1;
                    if self.field_end(byte, row) {
                        return Ok((used, true));
                    }
                }
                At::Quote => {
                    let (opened, line) = (self.opened, self.line);
                    return Err(Malformed::TextAfterQuote { opened, line });
                }
            }
        }
        Ok((used, false))
    }

    /// Goes through a quoted field up to the next quote. Returns the number of bytes used.
    fn quoted(&mut self, rest: &[u8], row: &mut Row) -> usize {
        let end = memchr::memchr(b'"', rest);
        let mut text = &rest[..end.unwrap_or(rest.len())];
        while let Some(at) = memchr2(b'\n', b'\r', text) {
            let (line, after) = text.split_at(at + 1);
            self.after_return &= at == 0;
            self.line_end(text[at]);
            row.push_quoted(line);
            row.start_inner_line(self.line);
            text = after;
        }
        if !text.is_empty() {
            self.after_return = false;
            row.push_quoted(text);
        }
        if end.is_some() {
            self.after_return = false;
            self.at = At::Quote;
        }
        end.map_or(rest.len(), |end| end + 1)
    }

    /// Ends a field; true if the row ends with it.
    fn field_end(&mut self, byte: u8, row: &mut Row) -> bool {
        row.end_field();
        self.after_return = false;
        if byte == self.delimiter {
            self.at = At::FieldStart;
            return false;
        }
        self.line_end(byte);
        true
    }

    fn line_end(&mut self, byte: u8) {
        if !(byte == b'\n' && self.after_return) {
            self.line += 1;
        }
        self.after_return = byte == b'\r';
    }
}

/// Skips lines, and returns how many there were.
pub(super) fn skip_lines(reader: &mut dyn BufRead, number: u64) -> io::Result<u64> {
    let mut skipped = 0;
    while skipped < number {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let Some(end) = memchr2(b'\n', b'\r', buffer) else {
            let used = buffer.len();
            reader.consume(used);
            continue;
        };
        let is_return = buffer[end] == b'\r';
        reader.consume(end + 1);
        if is_return && reader.fill_buf()?.starts_with(b"\n") {
            reader.consume(1);
        }
        skipped += 1;
    }
    Ok(skipped)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    /// A row with the line on which it starts.
    type Found = (u64, Vec<String>);

    /// The rows of a text, and how it ends: read in buffers of `capacity` bytes.
    fn rows(text: &[u8], capacity: usize) -> (Vec<Found>, Result<(), String>) {
        let mut rows = Rows::new(BufReader::with_capacity(capacity, text), b',', 1);
        let mut row = Row::keeping(Wanted::first(100));
        let mut found = Vec::new();
        loop {
            match rows.read(&mut row) {
                Ok(true) => {
                    let fields = row
                        .iter()
                        .map(|field| String::from_utf8_lossy(field).into());
                    found.push((row.line, fields.collect()));
                    assert_eq!(row.iter().count(), row.fields);
                }
                Ok(false) => return (found, Ok(())),
                Err(error) => return (found, Err(error.to_string())),
            }
        }
    }

    #[test]
    fn quotes_are_read_strictly_and_lines_counted() {
        let never = "the quote that opens a field on line 1 is never closed";
        for (text, fields, end) in [
            ("", &[][..], ""),
            ("\n\r\n\ra", &[(4, &["a"][..])], ""),
            ("a,b\r\nc,\n", &[(1, &["a", "b"]), (2, &["c", ""])], ""),
            ("\"a,\"\"b\"\"\",c", &[(1, &["a,\"b\"", "c"])], ""),
            ("\"a\r\n\nb\"\nc", &[(1, &["a\r\n\nb"]), (4, &["c"])], ""),
            ("a \"b\" c,5\"", &[(1, &["a \"b\" c", "5\""])], ""),
            ("\"\"\n\"\",\"\"", &[(1, &[""]), (2, &["", ""])], ""),
            ("\"a", &[], never),
            ("\"a\"\"", &[], never),
            (
                "a\n\"b\nc\"d",
                &[(1, &["a"])],
                "a quoted field opens on line 2, and text follows its end on line 3",
            ),
        ] {
            let (found, ended) = rows(text.as_bytes(), 64);
            let found: Vec<(u64, Vec<&str>)> = found
                .iter()
                .map(|(line, row)| (*line, row.iter().map(String::as_str).collect()))
                .collect();
            let expected: Vec<(u64, Vec<&str>)> = fields
                .iter()
                .map(|(line, row)| (*line, row.to_vec()))
                .collect();
            assert_eq!(found, expected, "{text:?}");
            assert_eq!(ended.err().unwrap_or_default(), end, "{text:?}");
        }
    }

    #[test]
    fn a_row_keeps_what_is_wanted_and_no_more_than_a_target_may_have() {
        let long = "x".repeat(3 * MAX_TARGET);
        let text = format!("{long},\"{long}\",b,\"{long}\n{long}\"\n");
        let mut rows = Rows::new(text.as_bytes(), b',', 1);
        let mut row = Row::keeping(Wanted::at([2, 1]));
        assert!(rows.read(&mut row).unwrap());
        assert_eq!((row.fields, row.filled), (4, 4));
        assert_eq!(row.get(1).unwrap().len(), MAX_FIELD);
        assert_eq!(
            (row.get(0).unwrap(), row.get(2).unwrap()),
            (&b""[..], &b"b"[..])
        );
        assert_eq!(row.get(3), None);
        assert!(row.text.len() + row.inner.len() <= MAX_FIELD + 1 + MAX_INNER);
        assert_eq!(row.inner_lines().next().unwrap().0, 2);
    }

    proptest! {
        #[test]
        fn the_size_of_the_buffer_makes_no_difference(text in "[ab,\"\r\n]{0,24}") {
            let whole = rows(text.as_bytes(), 64);
            for capacity in 1..4 {
                prop_assert_eq!(&rows(text.as_bytes(), capacity), &whole);
            }
            // Where the text is well formed, a lenient reader reads the same.
            if whole.1.is_ok() {
                let mut lenient = csv::ReaderBuilder::new()
                    .has_headers(false)
                    .flexible(true)
                    .from_reader(text.as_bytes());
                let lenient: Vec<Vec<String>> = lenient
                    .records()
                    .map(|row| row.unwrap().iter().map(str::to_owned).collect())
                    .collect();
                let strict: Vec<Vec<String>> = whole.0.into_iter().map(|(_, row)| row).collect();
                prop_assert_eq!(strict, lenient);
            }
        }
    }
}
