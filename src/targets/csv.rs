//! Reads csv and tsv: finds the delimiter and the columns in the header, then one target per row.

use super::block::{Blocks, MAX_TARGET, Sink, start_of};
use super::column::{Column, MAX_COLUMNS, NotFound, shown, shown_bytes};
use super::content::{self, Shape, delimiter_of_rows, first_lines};
use super::encoding::Peek;
use super::list_file::{Columns, ListFile};
use super::problem::Unreadable;
use super::reading::{Delimiter, Format, ReadAs};
use super::refused::{Instead, Refused};
use super::rows::{Malformed, Row, Rows, Wanted, skip_lines};
use crate::error::{Context, Error, Result};

/// How many rows are searched for a header that is not the first one.
const SEARCHED: usize = 20;

/// Reads one target per row. The number of a line is that of the line on which the row starts.
pub(super) fn csv(
    list: &ListFile<'_>,
    format: Format,
    mut text: Peek,
    sink: Sink<'_>,
) -> Result<ReadAs, Refused> {
    content::check(list, format, text.look().usage(|| list.failed())?)?;
    let skip = u64::from(list.reading.skip_lines);
    let skipped = skip_lines(&mut text, skip).usage(|| list.failed())?;
    let start = text.look().usage(|| list.failed())?.to_vec();
    let delimiter = match (list.reading.delimiter, format) {
        (Some(delimiter), _) => delimiter,
        (None, Format::Tsv) => Delimiter::Tab,
        (None, _) => detected(list, &start),
    };
    let mut rows = Rows::new(text, delimiter.byte(), skipped + 1);
    let mut first = Row::keeping(Wanted::first(MAX_COLUMNS));
    // Without a header, the first row shows how many columns there are, and is read again below.
    let any = if list.reading.header {
        read(list, &mut rows, &mut first)?
    } else {
        let mut again = Rows::new(&start[..], delimiter.byte(), skipped + 1);
        read(list, &mut again, &mut first)?
    };
    let names = names(&first);
    let read_as = |column, columns| list.read_as(format, Some(delimiter), column, columns);
    if !any {
        return Ok(read_as(None, Vec::new()));
    }
    let columns = found_columns(list, &names, &start, skipped)?;
    let (column, names) = (columns.column.clone(), columns.names.clone());
    Table {
        list,
        delimiter,
        columns,
        fields: first.fields,
    }
    .read(&mut rows, sink)?;
    Ok(read_as(Some(column), names))
}

/// A table whose columns are known.
struct Table<'a> {
    list: &'a ListFile<'a>,
    delimiter: Delimiter,
    columns: Columns,
    /// The number of fields of the header.
    fields: usize,
}

impl Table<'_> {
    fn read(&self, rows: &mut Rows<Peek>, sink: Sink<'_>) -> Result<()> {
        let Columns {
            target,
            column,
            keep,
            names: _,
        } = &self.columns;
        let mut blocks = Blocks::new(self.list.number, sink);
        let mut row = Row::keeping(Wanted::at(keep.iter().copied().chain([*target])));
        while read(self.list, rows, &mut row)? {
            self.refuse_swallowed(&row)?;
            match row.get(*target) {
                _ if row.filled > self.fields => {
                    let problem = Unreadable::MoreFields {
                        found: row.filled,
                        header: self.fields,
                    };
                    let field = start_of(row.get(*target).unwrap_or_default());
                    blocks.block.push(row.line, field, Some(problem.into()));
                }
                Some(field) => blocks.block.push_target(row.line, field),
                None => {
                    let column = column.clone();
                    let problem = Unreadable::NoColumn { column };
                    blocks.block.push(row.line, &[], Some(problem.into()));
                }
            }
            let label = |&at: &usize| {
                row.get(at)
                    .map(|field| String::from_utf8_lossy(shortened(field)).into())
            };
            blocks.block.labels.extend(keep.iter().map(label));
            blocks.flush_if_full()?;
        }
        blocks.finish()
    }

    /// Refuses a quoted field over several lines that contains rows: two stray quotes, one of which
    /// happens to end a field, would hide all rows between them.
    fn refuse_swallowed(&self, row: &Row) -> Result<()> {
        let target = self.columns.target;
        let shape = Shape::of(row.get(target).unwrap_or_default());
        let is_row = |line: &[u8]| {
            let mut fields = line.split(|&b| b == self.delimiter.byte());
            let number = fields.clone().count();
            (2..=self.fields).contains(&number)
                && shape != Shape::Other
                && fields
                    .nth(target)
                    .is_some_and(|field| Shape::of(field) == shape)
        };
        let Some((line, text)) = row.inner_lines().find(|(_, line)| is_row(line)) else {
            return Ok(());
        };
        let message = format!(
            "a quote opens a field that goes on for several lines, and line {line} in it looks like a row: `{}`",
            shown_bytes(text)
        );
        Err(self
            .list
            .wrong_at(row.quoted_line(), &message)
            .with_hint(QUOTES))
    }
}

const QUOTES: &str = "nothing was sent; close the quote, or double it if it belongs to the field";

fn read<R: std::io::BufRead>(
    list: &ListFile<'_>,
    rows: &mut Rows<R>,
    row: &mut Row,
) -> Result<bool> {
    rows.read(row).map_err(|malformed| {
        let (opened, what) = match malformed {
            Malformed::Io(error) => return Error::usage(list.failed()).caused_by(error),
            Malformed::TextAfterQuote { opened, line } => (
                opened,
                format!("a quote opens a field, and text follows its closing quote on line {line}"),
            ),
            Malformed::NeverClosed { opened } => {
                (opened, "a quote is opened and never closed".to_owned())
            }
        };
        list.wrong_at(opened, &what).with_hint(QUOTES)
    })
}

fn names(row: &Row) -> Vec<String> {
    row.iter()
        .map(|field| String::from_utf8_lossy(field).into_owned())
        .collect()
}

/// The first rows of a text, up to the first one that is malformed.
fn first_rows(start: &[u8], delimiter: Delimiter, line: u64) -> Vec<(u64, Vec<String>)> {
    let mut rows = Rows::new(start, delimiter.byte(), line);
    let mut row = Row::keeping(Wanted::first(MAX_COLUMNS));
    let mut found = Vec::new();
    while found.len() < SEARCHED && rows.read(&mut row).is_ok_and(|any| any) {
        found.push((row.line, names(&row)));
    }
    found
}

/// The delimiter with which the first row has the wanted column; then the one with which it has the
/// most fields. Without a header, all of the first rows must have as many.
fn detected(list: &ListFile<'_>, start: &[u8]) -> Delimiter {
    let score = |delimiter: &Delimiter| {
        let rows = first_rows(start, *delimiter, 1);
        let fields = rows.first().map_or(0, |(_, fields)| fields.len());
        let fits = if list.reading.header {
            rows.first()
                .is_some_and(|(_, names)| list.target_position(names).is_ok())
        } else {
            rows.iter().all(|(_, row)| row.len() == fields)
        };
        (fits && fields > 1, fields)
    };
    // The last of several best ones wins, and the first delimiter should.
    let best = Delimiter::ALL.into_iter().rev().max_by_key(score);
    best.unwrap_or(Delimiter::Comma)
}

/// Finds the columns in the first row. If it is no header, the error says what it seems to be.
fn found_columns(
    list: &ListFile<'_>,
    names: &[String],
    start: &[u8],
    skipped: u64,
) -> Result<Columns, Refused> {
    if names.len() == 1
        && list.reading.delimiter.is_none()
        && list.target_position(names).is_ok()
        && let Some(found) = first_lines(start).get(1..).and_then(delimiter_of_rows)
    {
        let message = format!(
            "{}: the first row has one column, but the rows after it have the delimiter {}",
            list.named(),
            found.toml()
        );
        let hint = "nothing was sent; correct the header, or set [targets] delimiter";
        return Err(Error::usage(message).with_hint(hint).into());
    }
    match list.target_position(names) {
        Err(NotFound::Missing) if list.reading.header => {
            Err(no_header(list, names, start, skipped))
        }
        _ => list.columns(names),
    }
}

/// The error for a first row that is not the header.
fn no_header(list: &ListFile<'_>, names: &[String], start: &[u8], skipped: u64) -> Refused {
    // The lines above a header may have no delimiter, so each one is tried.
    let further = Delimiter::ALL.into_iter().find_map(|delimiter| {
        let rows = first_rows(start, delimiter, skipped + 1);
        let is_header = |(_, names): &(u64, Vec<String>)| list.target_position(names).is_ok();
        rows.iter()
            .find(|row| is_header(row))
            .map(|(line, _)| *line)
    });
    if let Some(line) = further {
        let lines = start.split(|&b| b == b'\n');
        let above = lines.zip(skipped + 1..line).take(SEARCHED);
        let above: Vec<String> = above
            .map(|(text, number)| format!("line {number} `{}`", shown_bytes(text)))
            .collect();
        let message = format!(
            "{}: the header seems to be on line {line}; above it: {}",
            list.named(),
            above.join(", ")
        );
        let skip = u32::try_from(line - 1).unwrap_or(u32::MAX);
        let hint = format!("nothing was sent; set [targets] skip_lines = {skip}");
        let error = Error::usage(message).with_hint(hint);
        return Refused::or(error, Instead::SkipLines(skip));
    }
    let is_target = |name: &String| Shape::of(name.as_bytes()) != Shape::Other;
    if let Some(at) = names.iter().position(is_target) {
        let message = format!(
            "{} has no header: its first row contains `{}`",
            list.named(),
            shown(&names[at])
        );
        let hint = format!(
            "nothing was sent; set [targets] header = false and column = {}",
            at + 1
        );
        let error = Error::usage(message).with_hint(hint);
        return Refused::or(error, Instead::NoHeader(Column::Number(at + 1)));
    }
    list.no_target_column(names, &NotFound::Missing)
}

/// The start of a label that is longer than a target may be.
fn shortened(field: &[u8]) -> &[u8] {
    if field.len() > MAX_TARGET {
        start_of(field)
    } else {
        field
    }
}
