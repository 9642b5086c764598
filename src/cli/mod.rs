//! The command line: the only place that prints. A file a command.
//!
//! What is for machines (`--output json`, completions, documentation) goes to standard output, what is for people to
//! standard error.

mod check;
mod compact;
mod diff;
mod logging;
mod metrics;
mod output;
mod plan;
mod prune;
mod run;
mod schema;
mod signals;
mod simulate;
mod snapshots;
mod sql;
mod verify;

use std::num::NonZeroU32;
use std::process::ExitCode;

use chrono::NaiveDate;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::clock::Clock;
use crate::error::{Context as _, Error, Result};
use crate::money::Usd;
use crate::pipeline::{
    BalanceMode, CheckScope, FindingsMode, Overrides, Pipeline, RunMode, StartMode,
};
use output::Output;
use run::Answers;

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
  backlake replay pipelines/nightly.toml          rebuild a snapshot from its archive, for nothing
  backlake snapshots lake                         what is published
  backlake diff lake                              what changed since the snapshot before
  backlake verify lake --output json              audit it
  backlake sql lake --write lake.sql              views for DuckDB

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
    /// Rebuild a snapshot from its archive: nothing is sent and nothing is paid
    #[command(
        after_long_help = "Examples:\n  backlake replay pipelines/nightly.toml --snapshot 2026-11-23        after a contract change or a lost table\n  backlake replay pipelines/nightly.toml --snapshot 2026-11-23 --accept   publish what is held, as it is"
    )]
    Replay(run::ReplayArgs),
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
    /// Take away old snapshots and archives; without --yes, only say what would go
    #[command(
        after_long_help = "Examples:\n  backlake prune lake --keep-snapshots-days 400 --keep-archives-days 90        what would go\n  backlake prune lake --keep-snapshots 30 --keep-archives 7 --yes\n\nA date stays if one of its rules keeps it; the newest always stays, and so does what is not published yet."
    )]
    Prune(prune::PruneArgs),
    /// Bundle the small objects of published snapshots, a tar a date; without --yes, only say which
    #[command(
        after_long_help = "Examples:\n  backlake compact lake                          what would be bundled\n  backlake compact lake --keep-days 7 --yes\n\nAnswers and books stand in the tar under their paths in the lake: `tar -x` there brings them back. Replays read bundles as they are."
    )]
    Compact(compact::CompactArgs),
    /// Show what changed between two published snapshots
    #[command(
        after_long_help = "Examples:\n  backlake diff lake\n  backlake diff lake --what movers --by referring_domains --limit 50\n  backlake diff lake --from 2026-11-22 --to 2026-11-23 --what lost --format csv --out lost.csv\n  backlake diff lake --what breakdowns --root-domain example.com --output json"
    )]
    Diff(diff::DiffArgs),
    /// Print a DuckDB script with views of the lake: the tables, the latest night, what changed, what it cost
    #[command(
        after_long_help = "Examples:\n  backlake sql lake --write lake.sql && duckdb -init lake.sql\n  backlake sql s3://team-lake/links > links.sql\n\nThe script reads the manifests when it is run: it need not be made again for a new night."
    )]
    Sql(sql::SqlArgs),
    /// Serve the simulated provider on loopback until it is stopped
    #[command(
        after_long_help = "Examples:\n  backlake simulate\n  backlake simulate --port 0 --seed 7 --date 2026-11-23 --latency-ms 500"
    )]
    Simulate(simulate::SimulateArgs),
    /// Show the tables' columns: type, unit, meaning, source
    #[command(after_long_help = "Examples:\n  backlake schema pages\n  backlake schema --markdown")]
    Schema(schema::SchemaArgs),
    /// Print shell completions
    #[command(
        after_long_help = "Examples:\n  backlake completions bash > /etc/bash_completion.d/backlake"
    )]
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
    text.parse()
        .map_err(|_| "no amount of dollars; write it as 25.00".to_owned())
}

impl PipelineArgs {
    /// Reads the pipeline file.
    fn load(self, clock: &Clock) -> Result<Pipeline> {
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

fn findings(accept: bool) -> FindingsMode {
    if accept {
        FindingsMode::Accept
    } else {
        FindingsMode::Hold
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
                Command::Plan(args) => {
                    let pipeline = args.load(&clock)?;
                    plan::plan(&pipeline, &clock, global.output).await
                }
                Command::Run(args) => {
                    let run::RunArgs {
                        pipeline,
                        spend_what_is_left,
                        replace,
                        accept,
                        metrics_file,
                    } = args;
                    let mode = RunMode {
                        start: if replace {
                            StartMode::Replace
                        } else {
                            StartMode::Continue
                        },
                        findings: findings(accept),
                        balance: if spend_what_is_left {
                            BalanceMode::SpendWhatIsLeft
                        } else {
                            BalanceMode::Require
                        },
                    };
                    let pipeline = pipeline.load(&clock)?;
                    run::run(
                        &pipeline,
                        Answers::Fetched,
                        mode,
                        metrics_file,
                        &clock,
                        &screen,
                        global.output,
                    )
                    .await
                }
                Command::Replay(args) => {
                    let mode = RunMode {
                        findings: findings(args.accept),
                        ..RunMode::default()
                    };
                    let pipeline = args.pipeline.load(&clock)?;
                    run::run(
                        &pipeline,
                        Answers::Archived,
                        mode,
                        None,
                        &clock,
                        &screen,
                        global.output,
                    )
                    .await
                }
                Command::Check(args) => {
                    let pipeline = args.pipeline.load(&clock)?;
                    let scope = if args.reconcile {
                        CheckScope::Reconcile
                    } else {
                        CheckScope::Setup
                    };
                    check::check(&pipeline, scope, &clock, global.output).await
                }
                Command::Verify(args) => verify::verify(&args, global.output).await,
                Command::Snapshots(args) => snapshots::list(&args, global.output).await,
                Command::Compact(args) => compact::run(&args, &clock, global.output).await,
                Command::Prune(args) => prune::run(&args, &clock, global.output).await,
                Command::Diff(args) => diff::diff(args, global.output).await,
                Command::Sql(args) => sql::sql(&args).await,
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
        let _ = setrlimit(
            Resource::Core,
            Rlimit {
                current: Some(0),
                maximum: Some(0),
            },
        );
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context(|| "failed to start the runtime")
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "backlake", &mut script);
    output::raw(
        &String::from_utf8(script).map_err(|_| Error::unexpected("completions are no UTF-8"))?,
    )
}
