//! Printing: JSON on standard output, text for people on standard error.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use crate::error::{Context as _, Error, Result};
use crate::money::group_thousands;

/// For whom to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// For machines
    Json,
}

/// Prints a report for whom it is asked for; `text` is made only for people.
pub(super) fn report(
    report: &impl Serialize,
    text: impl FnOnce() -> String,
    output: Output,
) -> Result<()> {
    match output {
        Output::Text => {
            // The work is done, whether or not anyone reads of it.
            let _ = io::stderr().lock().write_all(text().as_bytes());
            Ok(())
        }
        Output::Json => {
            let mut json =
                serde_json::to_string_pretty(report).context(|| "failed to write the report")?;
            json.push('\n');
            raw(&json)
        }
    }
}

/// Prints to standard output as it is.
pub(super) fn raw(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints an error and what to do next. With JSON a report may have been printed before; the error then stands in it.
pub(super) fn error(error: &Error, output: Output) {
    let text = format!("error: {error}\nhint: {}\n", error.hint());
    // Nobody is left to tell if this fails.
    let _ = io::stderr().lock().write_all(text.as_bytes());
    if output == Output::Json && !error.is_reported() {
        let _ = raw(&format!("{}\n", json!({ "error": as_json(error) })));
    }
}

/// An error as it stands in JSON reports.
pub(super) fn as_json(error: &Error) -> serde_json::Value {
    json!({ "message": error.to_string(), "hint": error.hint(), "exit_code": error.kind().exit_code() })
}

/// A reader that has gone away is no failure of ours.
fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context(|| "failed to print")
        }
        _ => Ok(()),
    }
}

/// A number with commas.
pub(super) fn count(number: u64) -> String {
    group_thousands(&number.to_string())
}

/// A number with commas and its noun.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Bytes as people say them.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{amount:.1} {}", units[unit])
    }
}

/// Seconds as people say them.
pub(super) fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}
