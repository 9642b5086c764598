//! One target list for a reader: where it is, and which columns are wanted.

use std::path::Path;

use super::column::{Column, NotFound, column_at, not_found, position};
use super::reading::{Delimiter, Format, ReadAs, Reading};
use super::refused::{Instead, Refused};
use crate::error::Error;
use crate::visible::escaped;

/// A target list that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListFile<'a> {
    /// The number of the list among all sources, from 0.
    pub(super) number: usize,
    /// The path or URL, or `-` for standard input.
    pub(super) path: &'a str,
    /// The file that contains it. Not used for standard input.
    pub(super) file: &'a Path,
    /// How it is read.
    pub(super) reading: &'a Reading,
}

/// The wanted columns of a list by their positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    /// The column that contains the target.
    pub(super) target: usize,
    /// The same by its name or, without a header, by its number.
    pub(super) column: Column,
    /// The columns that are kept as labels.
    pub(super) keep: Vec<usize>,
    /// All columns, as [`ReadAs::columns`] has them.
    pub(super) names: Vec<String>,
}

impl ListFile<'_> {
    /// The message of an error while the list is read.
    pub(super) fn failed(&self) -> String {
        format!("failed to read {}", self.named())
    }

    /// The list as messages name it.
    pub(super) fn named(&self) -> String {
        match self.path {
            "-" => "standard input".to_owned(),
            path => format!("target list {}", escaped(path)),
        }
    }

    /// An error in the list, at a line.
    pub(super) fn wrong_at(&self, line: u64, message: &str) -> Error {
        Error::usage(format!("{}, line {line}: {message}", self.named()))
    }

    /// How the list was read.
    pub(super) fn read_as(
        &self,
        format: Format,
        delimiter: Option<Delimiter>,
        column: Option<Column>,
        columns: Vec<String>,
    ) -> ReadAs {
        ReadAs {
            source: self.path.to_owned(),
            format,
            delimiter,
            column,
            columns,
        }
    }

    /// A kept column: by name or, where there are no names, by number.
    fn kept(&self, name: &str) -> Column {
        match name.trim().parse() {
            Ok(number @ 1..) if !self.reading.header => Column::Number(number),
            _ => Column::Name(name.to_owned()),
        }
    }

    /// The position of the column that contains the target.
    pub(super) fn target_position(&self, names: &[String]) -> Result<usize, NotFound> {
        // Without a header, nothing else is needed where there is one column.
        if !self.reading.header && self.reading.column.is_none() && names.len() == 1 {
            return Ok(0);
        }
        position(names, self.reading.column.as_ref())
    }

    /// Finds the wanted columns among these.
    pub(super) fn columns(&self, names: &[String]) -> Result<Columns, Refused> {
        let target = self
            .target_position(names)
            .map_err(|why| self.no_target_column(names, &why))?;
        let keep = self.reading.keep.iter().map(|name| {
            let column = self.kept(name);
            position(names, Some(&column))
                .map_err(|why| not_found(&self.named(), names, Some(&column), "keep", &why))
        });
        let keep = keep.collect::<Result<_, Error>>()?;
        let column = if self.reading.header {
            column_at(names, target)
        } else {
            Column::Number(target + 1)
        };
        Ok(Columns {
            target,
            column,
            keep,
            names: self.names(names),
        })
    }

    /// The error for a list without the column that should contain the targets.
    pub(super) fn no_target_column(&self, names: &[String], why: &NotFound) -> Refused {
        let column = self.reading.column.as_ref();
        let error = not_found(&self.named(), names, column, "column", why);
        if column.is_some() {
            return error.into();
        }
        let candidates = match why {
            NotFound::Missing => (0..names.len()).collect(),
            NotFound::Ambiguous(found) => found.clone(),
        };
        let columns = candidates.iter().map(|&at| column_at(names, at));
        Refused::or(error, Instead::ColumnOf(columns.collect()))
    }

    /// All columns by what means each of them.
    fn names(&self, names: &[String]) -> Vec<String> {
        let by_number = |at: usize| (at + 1).to_string();
        let all = 0..names.len();
        if self.reading.header {
            all.map(|at| names[at].trim().to_owned()).collect()
        } else {
            all.map(by_number).collect()
        }
    }
}
