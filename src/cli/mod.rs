//! The command line, and the only module that prints: one file per command.
//!
//! Results go to standard output, as text or as JSON with `--output json`. Progress, logs, warnings
//! and errors go to standard error.

mod abandon;
mod alert_text;
mod alerts;
mod args;
mod check;
mod command;
mod compact;
mod completions;
mod config;
mod console;
mod diff;
mod diff_text;
mod entry;
mod exit_codes;
mod format;
mod global;
mod init;
mod logging;
mod man;
mod metrics;
mod outside;
mod plan;
mod progress;
mod prune;
mod replay;
mod report;
mod run;
mod run_text;
mod schema;
mod signals;
mod simulate;
mod simulate_nights;
mod snapshots;
mod sql;
mod status;
mod status_text;
mod usage;
mod verify;

pub use entry::main;
pub use exit_codes::exit_codes_markdown;
