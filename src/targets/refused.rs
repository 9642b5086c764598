//! Why a list cannot be read as it is set, and the setting with which it could be: people read the
//! first as an error with a hint, and [`reading_for`](super::reading_for) applies the second.

use super::column::Column;
use super::reading::Format;
use crate::error::Error;

/// A list that cannot be read as it is set.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: Error,
    /// What to set instead, if the list shows it.
    pub(super) instead: Option<Instead>,
}

/// A setting with which a list could be read.
#[derive(Debug)]
pub(super) enum Instead {
    Format(Format),
    SkipLines(u32),
    /// There is no header, and this column of the first row contains a target.
    NoHeader(Column),
    /// One of these columns may contain the targets.
    ColumnOf(Vec<Column>),
}

impl Refused {
    pub(super) fn or(error: Error, instead: Instead) -> Self {
        let instead = Some(instead);
        Self { error, instead }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self {
            error,
            instead: None,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}
