//! The command line: the only place that prints. A file a command.
//!
//! What is for machines (`--output json`, completions, documentation) goes to standard output, what is for people to
//! standard error.

mod check;
mod logging;
mod metrics;
mod output;
mod plan;
mod run;
mod schema;
mod signals;
mod simulate;
mod snapshots;
mod verify;

use std::num::NonZeroU32;
use std::process::ExitCode;

use chrono::NaiveDate;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::clock::Clock;
use crate::error::{Context as _, Error, Result};
use crate::money::Usd;
use crate::pipeline::{Overrides, Pipeline};
use output::Output;

/// Nightly backlink snapshots: target lists in, the fewest paid requests out, partitioned Parquet published.
#[derive(Debug, Parser)]
#[command(name = "backlake", version, max_term_width = 110, after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

const EXAMPLES: &str = "\
Examples:
  backlake plan pipelines/nightly.toml            what would be sent and what it would cost; nothing is sent
  backlake run pipelines/demo.toml                fetch from the embedded simulator and publish
  backlake run pipelines/nightly.toml --max-cost-usd 25
  backlake snapshots lake                         what is published
  backlake verify lake --output json              audit it

Exit codes:
  0 done    1 unexpected    2 usage or pipeline file    3 the account or provider refuses
  4 stopped at the budget    5 targets failed, snapshot held open    6 another run holds the snapshot
  130 and 143 interrupted
  After all but 0 and 2 run the same command again: it continues, and pays for nothing it holds.";

#[derive(Debug, Args)]
struct Global {
    /// What is printed: text for people on standard error, or JSON for machines on standard output
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
    /// The form of log lines; report and error stay text, or JSON with --output json
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true, env = "BACKLAKE_LOG_FORMAT")]
    log_format: LogFormat,
    /// Log more; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true, conflicts_with = "quiet")]
    verbose: u8,
    /// Log nothing below errors, and show no progress; the report and the error are still printed
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a first run would send and what it would cost; nothing is sent
    #[command(
        after_long_help = "Examples:\n  backlake plan pipelines/demo.toml\n  backlake plan pipelines/nightly.toml --output json\n  zcat pages.txt.gz | backlake plan from-stdin.toml        (with paths = [\"-\"])"
    )]
    Plan(PipelineArgs),
    /// Fetch what is missing and publish the snapshot; started again it continues
    #[command(after_long_help = RUN_EXAMPLES)]
    Run(run::RunArgs),
    /// Check configuration, credentials, prices, balance and that the lake is writable; nothing is paid
    #[command(
        after_long_help = "Examples:\n  backlake check pipelines/demo.toml\n  backlake check pipelines/nightly.toml --reconcile --snapshot 2026-11-23\n  DATAFORSEO_LOGIN=… DATAFORSEO_PASSWORD_FILE=… backlake check pipelines/nightly.toml"
    )]
    Check(check::CheckArgs),
    /// Audit published snapshots: files, hashes, counts, order, fates, money
    #[command(
        after_long_help = "Examples:\n  backlake verify lake\n  backlake verify lake --snapshot 2026-11-23 --output json"
    )]
    Verify(LakeArgs),
    /// List published snapshots
    #[command(
        after_long_help = "Examples:\n  backlake snapshots lake\n  backlake snapshots lake --output json"
    )]
    Snapshots(LakeArgs),
    /// Serve the simulated provider on loopback until it is stopped
    #[command(
        after_long_help = "Examples:\n  backlake simulate\n  backlake simulate --port 0 --seed 7 --date 2026-11-23 --latency-ms 500"
    )]
    Simulate(simulate::SimulateArgs),
    /// Show the tables' columns: type, unit, meaning, source
    #[command(after_long_help = "Examples:\n  backlake schema pages\n  backlake schema --markdown")]
    Schema(schema::SchemaArgs),
    /// Print shell completions
    #[command(after_long_help = "Examples:\n  backlake completions bash > /etc/bash_completion.d/backlake")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
  backlake run pipelines/demo.toml
  backlake run pipelines/nightly.toml --snapshot 2026-11-23 --max-cost-usd 25 --output json
  DATAFORSEO_LOGIN=… DATAFORSEO_PASSWORD_FILE=/run/secrets/dataforseo backlake run pipelines/nightly.toml";

/// What says more than the pipeline file: a flag, then the environment.
#[derive(Debug, Args)]
struct PipelineArgs {
    /// The pipeline file
    file: String,
    /// In place of [lake] url
    #[arg(long, env = "BACKLAKE_LAKE", value_name = "URL")]
    lake: Option<String>,
    /// The snapshot's date, in place of `snapshot`; by default today in UTC
    #[arg(long, env = "BACKLAKE_SNAPSHOT", value_name = "DATE")]
    snapshot: Option<NaiveDate>,
    /// In place of [api] base_url: `simulator`, or an https URL
    #[arg(long, env = "BACKLAKE_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// In place of [budget] max_cost_usd
    #[arg(long, env = "BACKLAKE_MAX_COST_USD", value_name = "USD", value_parser = usd)]
    max_cost_usd: Option<Usd>,
    /// In place of [budget] max_minutes: after so long nothing more is sent
    #[arg(long, env = "BACKLAKE_MAX_MINUTES", value_name = "MINUTES")]
    max_minutes: Option<NonZeroU32>,
}

fn usd(text: &str) -> Result<Usd, String> {
    text.parse().map_err(|_| "no amount of dollars; write it as 25.00".to_owned())
}

impl PipelineArgs {
    fn load(self, clock: &Clock, spend_what_is_left: bool) -> Result<Pipeline> {
        let Self { file, lake, snapshot, base_url, max_cost_usd, max_minutes } = self;
        let overrides = Overrides { lake, snapshot, base_url, max_cost_usd, max_minutes, spend_what_is_left };
        Pipeline::load(&file, overrides, clock)
    }
}

#[derive(Debug, Args)]
struct LakeArgs {
    /// The lake: a path, s3://, gs:// or az://
    lake: String,
    /// Only this snapshot
    #[arg(long, value_name = "DATE")]
    snapshot: Option<NaiveDate>,
}

/// Parses the command line, runs the command, prints what went wrong, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { command, global } = Cli::parse();
    leave_no_core_file();
    let screen = logging::start(&global);
    let clock = Clock::system();
    let outcome = runtime().and_then(|runtime| {
        runtime.block_on(async {
            match command {
                Command::Plan(args) => plan::plan(&args.load(&clock, false)?, &clock, global.output).await,
                Command::Run(args) => {
                    let pipeline = args.pipeline.load(&clock, args.spend_what_is_left)?;
                    run::run(&pipeline, args.metrics_file, &clock, &screen, global.output).await
                }
                Command::Check(args) => {
                    let pipeline = args.pipeline.load(&clock, false)?;
                    check::check(&pipeline, args.reconcile, &clock, global.output).await
                }
                Command::Verify(args) => verify::verify(&args, global.output).await,
                Command::Snapshots(args) => snapshots::list(&args, global.output).await,
                Command::Simulate(args) => simulate::simulate(args, &clock).await,
                Command::Schema(args) => schema::schema(&args),
                Command::Completions { shell } => completions(shell),
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error, global.output);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// The credentials are in memory: they are not to be in a file that a crash leaves.
fn leave_no_core_file() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};

        // Where that is forbidden, the system's own settings hold.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context(|| "failed to start the runtime")
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "backlake", &mut script);
    output::raw(&String::from_utf8(script).map_err(|_| Error::unexpected("completions are no UTF-8"))?)
}
