//! The error that a run stops with when the provider refuses to continue.

use crate::error::{Error, ErrorKind};
use crate::ledger::AttemptResult;
use crate::money::Usd;
use crate::provider::{CHECK_THE_WAY, StatusClass, code};

/// The error for a result that stops the run. Its hint says what to do about the result.
pub(super) fn refusal(result: AttemptResult, message: &str) -> Error {
    let what = match result {
        AttemptResult::Status(code::NOT_AUTHORISED) | AttemptResult::HttpStatus(401) => {
            "the provider refused the login"
        }
        result if result.class() == StatusClass::NotTheProvider => {
            "something other than the provider responded"
        }
        _ => "the provider refused the request",
    };
    let message = format!("{what} ({message})");
    let error = Error::new(ErrorKind::Account, message);
    match result.hint() {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The error for a provider that refuses everything with a code that this program does not know.
pub(super) fn unknown_to_us(message: &str) -> Error {
    let message = format!(
        "the provider refuses one request after another with a code that backlake does not know ({message})"
    );
    let hint = "nothing was charged for the refusals; look the code up in the provider's documentation, then run the same command again: it continues";
    Error::new(ErrorKind::Account, message).with_hint(hint)
}

/// The error for responses that are paid for and cannot be used.
pub(super) fn paid_but_unusable(message: &str) -> Error {
    let message = format!(
        "several responses in a row cannot be used, although they are or may be paid for ({message})"
    );
    let hint = format!(
        "nothing more is sent; the responses are in _archive; if {CHECK_THE_WAY}; otherwise report the response; the next start tries one request"
    );
    Error::new(ErrorKind::Account, message).with_hint(hint)
}

/// The error for a response that costs more than the told prices say, when nothing shows what the
/// next one will cost. `told` is the most that it may have cost.
pub fn price_not_understood(told: Usd, charged: Usd) -> Error {
    let message = format!(
        "the provider charged ${charged} for a request that costs at most ${told} at its stated prices"
    );
    let hint = "nothing more is sent; compare the prices of your account with those that `backlake check` shows, set the real ones in [price], and run the same command: it continues";
    Error::new(ErrorKind::Account, message).with_hint(hint)
}
