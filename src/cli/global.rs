//! The flags of every command: formats and verbosity.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(super) struct Global {
    /// Print results as text for people or as JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    pub(super) output: Output,
    /// Format of log lines (does not affect results; see --output)
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true, env = "BACKLAKE_LOG_FORMAT")]
    pub(super) log_format: LogFormat,
    /// Log more; -vv logs everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub(super) verbose: u8,
    /// Log only errors and show no progress; results and errors are still printed
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
}

/// The format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}
