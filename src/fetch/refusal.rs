//! The error that a run stops with when the provider refuses to continue.

use crate::error::{Error, ErrorKind};
use crate::ledger::AttemptResult;

/// The error for a result that stops the run. Its hint says what to do about the result.
pub(super) fn refusal(result: AttemptResult, message: &str) -> Error {
    let error = Error::new(
        ErrorKind::Account,
        format!("the provider refuses the request: {message}"),
    );
    match result.hint() {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
