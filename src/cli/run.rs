//! `run`: fetch what is missing and publish the snapshot.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;

use clap::Args;
use tracing::{info, warn};

use super::args::{BudgetArgs, PipelineArgs};
use super::console::{Console, Failure, with_error};
use super::metrics::Metrics;
use super::progress::Watcher;
use super::run_text::text;
use super::signals;
use crate::error::{Context as _, Error, Result};
use crate::fate::Fates;
use crate::pipeline::{
    self, BalanceMode, Begins, FindingsMode, Pipeline, Progress, RunEnd, RunMode, RunReport,
    StartMode, Surroundings,
};

const EXAMPLES: &str = "\
Examples:
  backlake run pipelines/demo.toml
  backlake run pipelines/nightly.toml --snapshot 2026-11-23 --max-cost-usd 25 --output json
  DATAFORSEO_LOGIN=… DATAFORSEO_PASSWORD_FILE=/run/secrets/dataforseo \\
    backlake run pipelines/nightly.toml";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    budget: BudgetArgs,
    /// Start even if the balance does not cover the plan, and run until the balance is used up
    #[arg(long)]
    spend_what_is_left: bool,
    /// Fetch this date again even if it is published, and pay again; then replace the snapshot
    #[arg(long)]
    replace: bool,
    /// Start a snapshot for a date other than today; the data fetched is still today's
    #[arg(long)]
    backfill: bool,
    /// Publish even if `on_drift` or `on_change` would hold the snapshot
    #[arg(long)]
    accept: bool,
    /// Write metrics to FILE, for the node exporter's textfile collector
    #[arg(long, env = "BACKLAKE_METRICS_FILE", value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

/// What to do with the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Fetch what is missing and publish.
    Run(RunMode),
    /// Publish from the archive.
    Replay(FindingsMode),
}

impl Work {
    /// How the report says that the snapshot is published now.
    fn published(self) -> &'static str {
        match self {
            Self::Run(_) => "published in",
            Self::Replay(_) => "rebuilt from its archive, for free, in",
        }
    }
}

impl RunArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let mode = self.mode();
        let pipeline = self.pipeline.load(self.budget, console)?;
        execute(&pipeline, Work::Run(mode), self.metrics_file, console).await
    }

    fn mode(&self) -> RunMode {
        RunMode {
            start: if self.replace {
                StartMode::Replace
            } else {
                StartMode::Continue
            },
            findings: if self.accept {
                FindingsMode::Accept
            } else {
                FindingsMode::Hold
            },
            begins: if self.backfill {
                Begins::AnyDate
            } else {
                Begins::Today
            },
            balance: if self.spend_what_is_left {
                BalanceMode::SpendWhatIsLeft
            } else {
                BalanceMode::Require
            },
        }
    }
}

/// Runs or replays a pipeline, with progress, metrics and signals, and prints its report.
pub(super) async fn execute(
    pipeline: &Pipeline,
    work: Work,
    metrics_file: Option<PathBuf>,
    console: &Console,
) -> Result<(), Failure> {
    let metrics = match metrics_file {
        Some(file) => Some(Metrics::start(&file, pipeline, &console.clock).await?),
        None => None,
    };
    let watcher = Watcher::new(&console.screen);
    // The only source of randomness: it names the run and draws the jitter.
    let seed = RandomState::new().hash_one(std::process::id());
    let on_progress = |progress: Progress| {
        if let Some(metrics) = &metrics {
            metrics.observe(&progress);
        }
        watcher.observe(progress);
    };
    let env = Surroundings {
        on_progress: &on_progress,
        ..Surroundings::of_process(&console.clock, seed)
    };
    signals::listen(&env.stop)?;
    let continued = match work {
        Work::Run(mode) => continue_yesterday(pipeline, mode, &env).await,
        Work::Replay(_) => None,
    };
    // Boxed, because these futures are large.
    let end = match work {
        Work::Run(mode) => Box::pin(pipeline::run(pipeline, mode, &env)).await,
        Work::Replay(findings) => Box::pin(pipeline::replay(pipeline, findings, &env)).await,
    };
    watcher.close();
    for end in continued.iter().flatten().chain(&end) {
        log(&end.report);
    }
    if let Some(metrics) = &metrics {
        // The program exits with the error of today, else with that of yesterday.
        let mut ends = [Some(&end), continued.as_ref()].into_iter().flatten();
        let error = ends.find_map(|end| end.as_ref().map_or_else(Some, |end| end.error.as_ref()));
        let exit_code = error.map_or(0, |error: &Error| error.kind().exit_code());
        let report = end.as_ref().ok().map(|end| &end.report);
        metrics.end(report, exit_code, pipeline).await;
    }
    match continued {
        None => {
            let end = end?;
            // The report is printed even if the run failed: it says how far it came.
            let text = || text(&end.report, pipeline, work.published());
            console.end(&end.report, text, end.error)
        }
        Some(continued) => show_both(continued, end, pipeline, console),
    }
}

/// The report as a log line.
fn log(report: &RunReport) {
    let Fates {
        returned,
        absent,
        duplicate,
        invalid,
        refused,
        failed,
        unsent,
    } = report.fates;
    info!(
        snapshot = %report.snapshot,
        state = report.state.name(),
        run = report.run,
        lines = report.lines,
        returned,
        absent,
        duplicate,
        invalid,
        refused,
        failed,
        unsent,
        requests = report.requests,
        lower_bound = report.lower_bound,
        retries = report.retries,
        cost_usd = %report.cost_usd,
        cost_unknown_usd = %report.cost_unknown_usd,
        seconds = report.seconds,
        "report"
    );
}

/// Continues yesterday's snapshot if it is open and the pipeline file wants that. If the lake cannot be read, this only
/// logs a warning: today's run reports the error.
async fn continue_yesterday(
    pipeline: &Pipeline,
    mode: RunMode,
    env: &Surroundings<'_>,
) -> Option<Result<RunEnd>> {
    let found = pipeline::open_yesterday(pipeline, env).await;
    let yesterday = found.unwrap_or_else(|error| {
        warn!(%error, "failed to check whether yesterday's snapshot is open; it is not continued");
        None
    })?;
    info!(snapshot = %yesterday.snapshot, "continuing yesterday's open snapshot first");
    // To replace or accept something is a decision about the date that was asked for.
    let mode = RunMode {
        balance: mode.balance,
        ..RunMode::default()
    };
    Some(Box::pin(pipeline::run(&yesterday, mode, env)).await)
}

/// Prints both reports. The error of today's run is the last; without one, yesterday's is.
fn show_both(
    yesterday: Result<RunEnd>,
    today: Result<RunEnd>,
    pipeline: &Pipeline,
    console: &Console,
) -> Result<(), Failure> {
    let published = "published in";
    let (before, earlier) = split(yesterday);
    let (now, error) = split(today);
    let both = || {
        let reports = [&before, &now].into_iter().flatten();
        let texts: Vec<_> = reports
            .map(|report| text(report, pipeline, published))
            .collect();
        texts.join("\n")
    };
    let mut json = serde_json::to_value(&now).context(|| "failed to write the report")?;
    if !json.is_object() {
        json = serde_json::json!({});
    }
    json["continued"] = with_error(&before, earlier.as_ref())?;
    if let (Some(earlier), Some(_)) = (&earlier, &error) {
        warn!(error = %earlier, hint = earlier.hint(), "yesterday's snapshot is still open");
    }
    let earlier = earlier.map(|error| {
        let message = format!("yesterday's snapshot: {error}");
        Error::new(error.kind(), message).with_hint(error.hint())
    });
    console.end(&json, both, error.or(earlier))
}

/// The report and the error of a run, of which at least one is there.
fn split(end: Result<RunEnd>) -> (Option<RunReport>, Option<Error>) {
    match end {
        Ok(RunEnd { report, error }) => (Some(report), error),
        Err(error) => (None, Some(error)),
    }
}
