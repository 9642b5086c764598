//! What every command needs to talk to its user: clock, screen, and where results go.

use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;

use super::args::Output;
use super::logging::Screen;
use crate::clock::Clock;
use crate::error::{Context as _, Error, Result};
use crate::visible::{escaped, escaped_json, escaped_lines};

/// The terminal, or what takes its place.
pub(super) struct Console {
    pub(super) clock: Clock,
    pub(super) screen: Screen,
    pub(super) output: Output,
}

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The error is not printed yet.
    Error(Error),
    /// The JSON report that is already printed contains the error.
    Reported(Error),
}

impl Failure {
    pub(super) fn error(&self) -> &Error {
        match self {
            Self::Error(error) | Self::Reported(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Console {
    /// Prints a result to standard output; `text` is called only for people.
    pub(super) fn report(
        &self,
        report: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        match self.output {
            // Values are escaped where a line is composed; this is for those that nobody expects to
            // be foreign.
            Output::Text => print(&escaped_lines(&text())),
            Output::Json => {
                let json = serde_json::to_string_pretty(report);
                let json = json.context(|| "failed to write the report")?;
                print(&(escaped_json(&json) + "\n"))
            }
        }
    }

    /// Prints the result of a command that may have failed. A JSON report contains the error, so
    /// that programs find both in one document.
    pub(super) fn end(
        &self,
        report: &impl Serialize,
        text: impl FnOnce() -> String,
        error: Option<Error>,
    ) -> Result<(), Failure> {
        let Some(error) = error else {
            return Ok(self.report(report, text)?);
        };
        let mut json = serde_json::to_value(report).context(|| "failed to write the report")?;
        json["error"] = as_json(&error);
        self.report(&json, text)?;
        Err(Failure::Reported(error))
    }

    /// Prints an error and its hint to standard error, and for programs also to standard output.
    pub(super) fn show(&self, failure: &Failure) {
        let error = failure.error();
        let (message, hint) = (error.to_string(), error.hint());
        let text = format!("error: {}\nhint: {}\n", escaped(&message), escaped(hint));
        // If this fails, there is nowhere left to say so.
        let _ = io::stderr().lock().write_all(text.as_bytes());
        if self.output == Output::Json && matches!(failure, Failure::Error(_)) {
            let json = json!({ "error": as_json(error) }).to_string();
            let _ = print(&(escaped_json(&json) + "\n"));
        }
    }
}

/// Prints text to standard output. A reader that has closed the pipe is not an error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context(|| "failed to print to standard output")
        }
        _ => Ok(()),
    }
}

/// An error in a JSON report.
fn as_json(error: &Error) -> serde_json::Value {
    json!({
        "message": error.to_string(),
        "hint": error.hint(),
        "exit_code": error.kind().exit_code(),
    })
}
