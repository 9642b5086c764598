//! The error that a run stops with when the provider refuses to continue.

use crate::error::{Error, ErrorKind};
use crate::ledger::AttemptResult;
use crate::provider::code;

/// The error for a result that stops the run. Its hint says what to do about the result.
pub(super) fn refusal(result: AttemptResult, message: &str) -> Error {
    let refused = match result {
        AttemptResult::Status(code::NOT_AUTHORISED) | AttemptResult::HttpStatus(401) => "the login",
        _ => "the request",
    };
    let message = format!("the provider refused {refused} ({message})");
    let error = Error::new(ErrorKind::Account, message);
    match result.hint() {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The error for a provider that refuses everything with a code that this program does not know.
pub(super) fn unknown_to_us(message: &str) -> Error {
    let message = format!(
        "the provider refuses one request after the other with a code that backlake does not know ({message})"
    );
    let hint = "nothing was charged for the refusals; look the code up in the provider's documentation, then run the same command again: it continues";
    Error::new(ErrorKind::Account, message).with_hint(hint)
}
