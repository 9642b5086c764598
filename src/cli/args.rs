//! The arguments that several commands share.

use std::num::NonZeroU32;

use chrono::NaiveDate;
use clap::{Args, ValueEnum};

use crate::clock::Clock;
use crate::error::Result;
use crate::money::Usd;
use crate::pipeline::{Overrides, Pipeline};

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

/// The pipeline file, and what flags and environment variables replace in it.
#[derive(Debug, Args)]
pub(super) struct PipelineArgs {
    /// The pipeline file
    file: String,
    /// Replace [lake] url
    #[arg(long, env = "BACKLAKE_LAKE", value_name = "URL")]
    lake: Option<String>,
    /// The date of the snapshot (replaces `snapshot`; default: today in UTC)
    #[arg(long, env = "BACKLAKE_SNAPSHOT", value_name = "DATE", value_parser = date)]
    snapshot: Option<NaiveDate>,
    /// Replace [api] base_url: `simulator`, or an https URL
    #[arg(long, env = "BACKLAKE_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// Replace [budget] max_cost_usd: the ceiling for all starts of the snapshot
    #[arg(long, env = "BACKLAKE_MAX_COST_USD", value_name = "USD", value_parser = usd)]
    max_cost_usd: Option<Usd>,
    /// Replace [budget] max_minutes: after this time no new request is sent
    #[arg(long, env = "BACKLAKE_MAX_MINUTES", value_name = "MINUTES")]
    max_minutes: Option<NonZeroU32>,
}

impl PipelineArgs {
    /// Reads and checks the pipeline file.
    pub(super) fn load(self, clock: &Clock) -> Result<Pipeline> {
        let Self {
            file,
            lake,
            snapshot,
            base_url,
            max_cost_usd,
            max_minutes,
        } = self;
        let overrides = Overrides {
            lake,
            snapshot,
            base_url,
            max_cost_usd,
            max_minutes,
        };
        Pipeline::load(&file, overrides, clock)
    }
}

/// The lake of a command that needs no pipeline file.
#[derive(Debug, Args)]
pub(super) struct LakeArg {
    /// The lake: a path, s3://, gs:// or az://
    #[arg(value_name = "LAKE")]
    pub(super) lake: String,
}

/// Parses a date.
pub(super) fn date(text: &str) -> Result<NaiveDate, String> {
    text.parse()
        .map_err(|_| "not a date; write it as 2026-11-23".to_owned())
}

fn usd(text: &str) -> Result<Usd, String> {
    text.parse()
        .map_err(|_| "not an amount of dollars; write it as 25.00".to_owned())
}
