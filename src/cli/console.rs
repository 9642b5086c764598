//! What every command needs to talk to its user: clock, screen, and where results go.

use std::io::{self, Write as _};
use std::sync::OnceLock;

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::json;

use super::global::{Global, LogFormat, Output};
use super::logging::Screen;
use crate::clock::Clock;
use crate::error::{Context as _, Error, Result};
use crate::visible::{escaped, escaped_json, escaped_lines};

/// The terminal, or what takes its place.
pub(super) struct Console {
    pub(super) clock: Clock,
    pub(super) screen: Screen,
    pub(super) output: Output,
    log_format: LogFormat,
    /// The snapshot that the command is about, once it is known.
    snapshot: OnceLock<NaiveDate>,
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
    pub(super) fn new(clock: Clock, screen: Screen, global: &Global) -> Self {
        Self {
            clock,
            screen,
            output: global.output,
            log_format: global.log_format,
            snapshot: OnceLock::new(),
        }
    }

    /// Says which snapshot the command is about, for its error.
    pub(super) fn about(&self, snapshot: NaiveDate) {
        self.snapshot.get_or_init(|| snapshot);
    }

    /// Prints a result to standard output; `text` is called only for people.
    pub(super) fn report(
        &self,
        report: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        match self.output {
            // Values are escaped where a line is composed. This is the safety net for values that were
            // not expected to come from outside.
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
        self.report(&with_error(report, Some(&error))?, text)?;
        Err(Failure::Reported(error))
    }

    /// Prints an error and its hint to standard error, as a log line if log lines are JSON, and for programs also to standard output.
    pub(super) fn show(&self, failure: &Failure) {
        let error = failure.error();
        match self.log_format {
            LogFormat::Json => {
                let code = error.kind().exit_code();
                let snapshot = self.snapshot.get().map(tracing::field::display);
                tracing::error!(code, hint = error.hint(), snapshot, "{error}");
            }
            LogFormat::Text => {
                let (message, hint) = (error.to_string(), error.hint());
                let text = format!("error: {}\nhint: {}\n", escaped(&message), escaped(hint));
                // If this fails, there is nowhere left to say so.
                let _ = io::stderr().lock().write_all(text.as_bytes());
            }
        }
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

/// A JSON report that contains the error, if there is one.
pub(super) fn with_error(
    report: &impl Serialize,
    error: Option<&Error>,
) -> Result<serde_json::Value> {
    let mut json = serde_json::to_value(report).context(|| "failed to write the report")?;
    if let Some(error) = error {
        json["error"] = as_json(error);
    }
    Ok(json)
}

/// An error in a JSON report.
fn as_json(error: &Error) -> serde_json::Value {
    json!({
        "message": error.to_string(),
        "hint": error.hint(),
        "exit_code": error.kind().exit_code(),
    })
}
