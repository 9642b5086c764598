//! One target list for a reader: where it is, and which columns are wanted.

use crate::error::Error;

/// A target list that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListFile<'a> {
    /// The number of the list among all sources, from 0.
    pub(super) number: usize,
    /// The path, or `-` for standard input.
    pub(super) path: &'a str,
    /// The column that contains the target.
    pub(super) column: &'a str,
    /// The columns that are kept as labels.
    pub(super) keep: &'a [String],
}

impl ListFile<'_> {
    /// The message of an error while the list is read.
    pub(super) fn failed(&self) -> String {
        format!("failed to read target list {}", self.path)
    }

    /// The error for a wanted column that the list does not have. `names` are the columns that it
    /// has.
    pub(super) fn missing_column(&self, name: &str, names: &[String]) -> Error {
        Error::usage(format!(
            "target list {} has no column `{name}`; its columns are: {}",
            self.path,
            names.join(", ")
        ))
        .with_hint("set [targets] column (or keep) to one of these columns")
    }
}
