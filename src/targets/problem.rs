//! The reasons why an input line is not a target: it cannot be read, or it breaks a rule of the
//! provider.

use thiserror::Error;

use super::column::Column;
use super::rules::Invalid;

/// Why a line is not a target. The message is the `reason` in the targets table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Problem {
    /// The reader found no text for a target.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The text breaks a rule of the provider.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The reason that a stored list recorded, because the input alone does not show it.
    #[error("{0}")]
    Recorded(String),
}

/// Why a line has no text that could be a target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    #[error("longer than {max} bytes")]
    TooLong { max: usize },
    #[error("its labels have more than {max} bytes; keep fewer or shorter columns")]
    LongLabels { max: usize },
    #[error("not UTF-8 at byte {at}; save the list as UTF-8")]
    NotUtf8 { at: usize },
    #[error("not a JSON object: {detail}")]
    NotJson { detail: String },
    #[error("no {} in this row", described(column))]
    NoColumn { column: Column },
    #[error("{} is not a text in this row", described(column))]
    NotText { column: Column },
    #[error(
        "{found} fields, but the header has {header}: quote the fields that contain the delimiter"
    )]
    MoreFields { found: usize, header: usize },
}

fn described(column: &Column) -> String {
    match column {
        Column::Name(_) => column.to_string(),
        Column::Number(_) => format!("column {column}"),
    }
}
