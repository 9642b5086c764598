//! The commands, and which file runs each.

use clap::{CommandFactory as _, Parser, Subcommand};

use super::abandon::AbandonArgs;
use super::alerts::AlertsArgs;
use super::check::CheckArgs;
use super::compact::CompactArgs;
use super::completions::CompletionsArgs;
use super::config::ConfigArgs;
use super::console::{Console, Failure};
use super::diff::DiffArgs;
use super::exit_codes::exit_codes_help;
use super::global::Global;
use super::init::InitArgs;
use super::man::ManArgs;
use super::plan::PlanArgs;
use super::prune::PruneArgs;
use super::replay::ReplayArgs;
use super::report::ReportArgs;
use super::run::RunArgs;
use super::schema::SchemaArgs;
use super::simulate::SimulateArgs;
use super::snapshots::SnapshotsArgs;
use super::sql::SqlArgs;
use super::status::StatusArgs;
use super::verify::VerifyArgs;

/// Nightly snapshots of backlink profiles: target lists in, the fewest paid requests out, Parquet published
#[derive(Debug, Parser)]
#[command(name = "backlake", version, max_term_width = 100, after_long_help = help())]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) global: Global,
}

fn help() -> String {
    format!("{EXAMPLES}\n{}", exit_codes_help())
}

const EXAMPLES: &str = "\
Examples:
  backlake init pages.csv                         write a pipeline file for a list
  backlake config > nightly.toml                  write a pipeline file with every key
  backlake plan pipelines/nightly.toml            show requests and cost; nothing is paid
  backlake run pipelines/demo.toml                fetch from the embedded simulator and publish
  backlake run pipelines/nightly.toml --max-cost-usd 25
  backlake replay pipelines/nightly.toml          rebuild a snapshot from its archive, for free
  backlake status pipelines/nightly.toml          say whether the last nights are published
  backlake snapshots lake                         list all snapshots
  backlake diff lake                              show what changed since the previous snapshot
  backlake report lake --out report.html          write what moved as one HTML page
  backlake alerts lake --fail                     list what needs attention
  backlake verify lake --output json              audit published snapshots
  backlake sql lake --write lake.sql              create views for DuckDB
";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Look at a target list and write a pipeline file for it
    Init(InitArgs),
    /// Show what a first run would send and cost; send no paid request
    Plan(PlanArgs),
    /// Fetch what is missing and publish the snapshot; run it again to continue
    Run(RunArgs),
    /// Rebuild a snapshot from its archive, for free; send nothing
    Replay(ReplayArgs),
    /// Check configuration, credentials, prices, balance and write access to the lake, for free
    Check(CheckArgs),
    /// Audit published snapshots: files, hashes, counts, order, fates, money
    Verify(VerifyArgs),
    /// Show whether the last nights were published, and how to continue those that were not
    Status(StatusArgs),
    /// List all snapshots, including open ones
    Snapshots(SnapshotsArgs),
    /// Show what changed between two published snapshots
    Diff(DiffArgs),
    /// Write what moved as one HTML page, with plots
    Report(ReportArgs),
    /// List what needs attention, worst first
    Alerts(AlertsArgs),
    /// Print a DuckDB script that creates views of the lake
    Sql(SqlArgs),
    /// Give up an unfinished run or replacement, so that another can begin (dry run unless --yes)
    Abandon(AbandonArgs),
    /// Delete old snapshots and archives (dry run unless --yes)
    Prune(PruneArgs),
    /// Pack the small objects of published snapshots, one tar per date (dry run unless --yes)
    Compact(CompactArgs),
    /// Serve the simulated provider on loopback, or publish simulated nights
    Simulate(SimulateArgs),
    /// Show the columns of the tables, or the JSON Schema of the pipeline file
    Schema(SchemaArgs),
    /// Print a pipeline file with every key, its default and its meaning
    Config(ConfigArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
    /// Print man pages
    Man(ManArgs),
}

impl Command {
    /// Runs the command.
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        match self {
            Self::Init(args) => args.exec(console).await,
            Self::Plan(args) => args.exec(console).await,
            Self::Run(args) => args.exec(console).await,
            Self::Replay(args) => args.exec(console).await,
            Self::Check(args) => args.exec(console).await,
            Self::Verify(args) => args.exec(console).await,
            Self::Status(args) => args.exec(console).await,
            Self::Snapshots(args) => args.exec(console).await,
            Self::Diff(args) => args.exec(console).await,
            Self::Report(args) => args.exec(console).await,
            Self::Alerts(args) => args.exec(console).await,
            Self::Sql(args) => args.exec(console).await,
            Self::Abandon(args) => args.exec(console).await,
            Self::Prune(args) => args.exec(console).await,
            Self::Compact(args) => args.exec(console).await,
            Self::Simulate(args) => args.exec(console).await,
            Self::Schema(args) => args.exec(),
            Self::Config(args) => args.exec(),
            Self::Completions(args) => args.exec(&mut Cli::command()),
            Self::Man(args) => args.exec(Cli::command()),
        }
    }
}
