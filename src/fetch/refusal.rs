//! Why a run stops that the provider refuses, and what to do about it.

use crate::error::{Error, ErrorKind};
use crate::ledger::AttemptResult;
use crate::provider::{StatusClass, code};

/// Why a run stops that the provider refuses.
pub(super) fn refusal(result: AttemptResult, message: &str) -> Error {
    let error = Error::new(
        ErrorKind::Account,
        format!("the provider refuses: {message}"),
    );
    match (result.class(), result) {
        (StatusClass::Defect, _) => {
            error.with_hint("this is a defect of backlake, not of your account; report it with the message above")
        }
        (_, AttemptResult::Status(code::NOT_AUTHORISED) | AttemptResult::HttpStatus(401)) => {
            error.with_hint("check DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD (the API password, not that of the dashboard)")
        }
        (_, AttemptResult::Status(code::OUT_OF_FUNDS | 40200) | AttemptResult::HttpStatus(402)) => {
            error.with_hint("the account is out of funds; add credit and run the same command: it continues")
        }
        (_, AttemptResult::Status(40203)) => error
            .with_hint("the account's own daily limit is reached; raise it in the dashboard or run the same command after 00:00 UTC"),
        (_, AttemptResult::Status(40207)) => error.with_hint("allow this machine's IP address in the provider's dashboard"),
        (StatusClass::PostedTooOften, _) => {
            error.with_hint("the same task was posted too often; run the same command in an hour (40205) or a day (40206)")
        }
        _ => error,
    }
}
