//! Reads a sheet of an Excel workbook, cell by cell.
//!
//! # Memory
//! The texts that the cells of a workbook share are in memory, so a workbook that unpacks to more
//! than [`MAX_UNPACKED`] bytes is refused.

use std::fs::File;
use std::io::BufReader;

use calamine::{DataRef, Reader as _, Xlsx, XlsxError};

use super::archive::check_sizes;
use super::block::{Blocks, Sink};
use super::column::{MAX_COLUMNS, listed, shown};
use super::list_file::{Columns, ListFile};
use super::problem::Unreadable;
use super::reading::{Format, ReadAs};
use super::refused::Refused;
use crate::error::{Context, Error, Result};

/// The most bytes to which a workbook may unpack. A full sheet of URLs has about 200 MB.
const MAX_UNPACKED: u64 = 1 << 30;

/// Reads one target per row. The number of a line is the number of its row, from 1.
pub(super) fn xlsx(list: &ListFile<'_>, file: File, sink: Sink<'_>) -> Result<ReadAs, Refused> {
    check_sizes(list, &file, MAX_UNPACKED)?;
    let failed = || format!("{} as an Excel workbook", list.failed());
    let mut book: Xlsx<_> = Xlsx::new(BufReader::new(file)).usage(failed)?;
    let sheet = sheet(list, &book.sheet_names())?;
    let cells = book.worksheet_cells_reader(&sheet).usage(failed)?;
    let mut rows = SheetRows {
        cells,
        ahead: None,
        ended: false,
        skip: list.reading.skip_lines,
    };
    let mut row = SheetRow::default();
    let mut next = |row: &mut SheetRow| rows.next(row).usage(failed);
    let mut blocks = Blocks::new(list.number, sink);
    if !next(&mut row)? {
        return Ok(list.read_as(Format::Xlsx, None, None, Vec::new()));
    }
    let Columns {
        target,
        column,
        keep,
        names,
    } = list.columns(&row.cells)?;
    let mut any = !list.reading.header || next(&mut row)?;
    while any {
        match row.cells.get(target) {
            Some(text) if !text.is_empty() => {
                blocks.block.push_target(row.number, text.as_bytes());
            }
            _ => {
                let column = column.clone();
                let problem = Unreadable::NoColumn { column };
                blocks.block.push(row.number, &[], Some(problem.into()));
            }
        }
        let label = |&at: &usize| row.cells.get(at).filter(|text| !text.is_empty());
        let labels = keep.iter().map(|at| Some(label(at)?.as_str().into()));
        blocks.block.labels.extend(labels);
        blocks.flush_if_full()?;
        any = next(&mut row)?;
    }
    blocks.finish()?;
    Ok(list.read_as(Format::Xlsx, None, Some(column), names))
}

/// The sheet to read: the one that the pipeline names, or the first one.
fn sheet(list: &ListFile<'_>, names: &[String]) -> Result<String> {
    let wanted = &list.reading.sheet;
    let found = match wanted {
        None => names.first(),
        Some(wanted) => names.iter().find(|name| name.trim() == wanted.trim()),
    };
    found.cloned().ok_or_else(|| {
        let missing = wanted
            .as_ref()
            .map_or_else(String::new, |name| format!(" `{}`", shown(name)));
        let message = format!(
            "{} has no sheet{missing}; its sheets are: {}",
            list.named(),
            listed(names.iter())
        );
        Error::usage(message).with_hint("nothing was sent; set [targets] sheet to one of them")
    })
}

/// A row of a sheet: its cells up to the last one that is not empty.
#[derive(Default)]
struct SheetRow {
    number: u64,
    cells: Vec<String>,
}

/// The rows of a sheet that have a cell.
struct SheetRows<'a> {
    cells: calamine::XlsxCellReader<'a, BufReader<File>>,
    /// The first cell of the next row: its row and column from 0, and its text.
    ahead: Option<(u32, u32, String)>,
    /// Whether the last cell was read: calamine fails if it is asked for another one.
    ended: bool,
    skip: u32,
}

impl SheetRows<'_> {
    fn next(&mut self, row: &mut SheetRow) -> Result<bool, XlsxError> {
        row.cells.clear();
        let mut current = None;
        loop {
            let cell = match self.ahead.take() {
                Some(cell) => Some(cell),
                None => self.filled_cell()?,
            };
            let Some((number, column, text)) = cell else {
                return Ok(current.is_some());
            };
            if current.is_some_and(|current| current != number) {
                self.ahead = Some((number, column, text));
                return Ok(true);
            }
            current = Some(number);
            row.number = u64::from(number) + 1;
            let column = column as usize;
            if column < MAX_COLUMNS {
                if row.cells.len() <= column {
                    row.cells.resize(column + 1, String::new());
                }
                row.cells[column] = text;
            }
        }
    }

    /// The next cell that is not empty, after the lines to skip.
    fn filled_cell(&mut self) -> Result<Option<(u32, u32, String)>, XlsxError> {
        while !self.ended {
            let Some(cell) = self.cells.next_cell()? else {
                self.ended = true;
                break;
            };
            let (row, column) = cell.get_position();
            let text = text_of(cell.get_value());
            if row >= self.skip && !text.is_empty() {
                return Ok(Some((row, column, text)));
            }
        }
        Ok(None)
    }
}

/// The text of a cell, as Excel shows it without a format.
fn text_of(value: &DataRef<'_>) -> String {
    match value {
        DataRef::Empty => String::new(),
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) => number.to_string(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            text.clone()
        }
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(value) => value.to_string().to_uppercase(),
        DataRef::DateTime(moment) if moment.is_datetime() => {
            let (year, month, day, hour, minute, second, _) = moment.to_ymd_hms_milli();
            let date = format!("{year:04}-{month:02}-{day:02}");
            match (hour, minute, second) {
                (0, 0, 0) => date,
                _ => format!("{date} {hour:02}:{minute:02}:{second:02}"),
            }
        }
        DataRef::DateTime(duration) => duration.as_f64().to_string(),
        DataRef::Error(error) => error.to_string(),
    }
}
