//! `run` and `replay`: fetch, publish, sum up; or publish from what is archived.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use indicatif::ProgressBar;
use tracing::info;

use super::logging::Screen;
use super::metrics::Metrics;
use super::output::{self, Output, bytes, count, counted, duration};
use super::{PipelineArgs, signals};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fate::Fate;
use crate::fetch::Event;
use crate::flatten::Drifted;
use crate::lake::ProfileChange;
use crate::ledger::Outcome;
use crate::money::Usd;
use crate::pipeline::{
    self, Findings, Pipeline, Progress, RunMode, RunReport, RunState, Surroundings,
};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,
    /// Go on though the balance does not cover the plan
    #[arg(long)]
    pub(super) spend_what_is_left: bool,
    /// Fetch and pay anew though the date is published, and replace what is published of it
    #[arg(long)]
    pub(super) replace: bool,
    /// Publish all the same what [publish] on_drift or on_change would hold
    #[arg(long)]
    pub(super) accept: bool,
    /// Write metrics to this file, for the node exporter's textfile collector
    #[arg(long, env = "BACKLAKE_METRICS_FILE", value_name = "FILE")]
    pub(super) metrics_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,
    /// Publish all the same what is not complete, or what [publish] on_drift or on_change would hold
    #[arg(long)]
    pub(super) accept: bool,
}

/// Where the answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// From the provider, as far as they are not archived.
    Fetched,
    /// From the archive alone.
    Archived,
}

pub(super) async fn run(
    pipeline: &Pipeline,
    answers: Answers,
    mode: RunMode,
    metrics_file: Option<PathBuf>,
    clock: &Clock,
    screen: &Screen,
    output: Output,
) -> Result<()> {
    let metrics = metrics_file
        .map(|file| Metrics::new(&file, pipeline, clock))
        .transpose()?;
    let watcher = Watcher {
        screen,
        state: Mutex::default(),
    };
    // The one place where chance comes in: it names the run and draws the jitter.
    let seed = RandomState::new().hash_one(std::process::id());
    let on_progress = |progress: Progress| {
        if let Some(metrics) = &metrics {
            metrics.observe(&progress);
        }
        watcher.observe(progress);
    };
    let env = Surroundings {
        on_progress: &on_progress,
        ..Surroundings::of_process(clock, seed)
    };
    signals::listen(&env.stop)?;
    let end = match answers {
        Answers::Fetched => pipeline::run(pipeline, mode, &env).await,
        Answers::Archived => pipeline::replay(pipeline, mode.findings, &env).await,
    };
    watcher.close();
    if let Some(metrics) = &metrics {
        let error = end.as_ref().map_or_else(Some, |end| end.error.as_ref());
        let report = end.as_ref().ok().map(|end| &end.report);
        metrics.end(
            report,
            error.map_or(0, |error: &Error| error.kind().exit_code()),
        );
    }
    let end = end?;
    let mut json = serde_json::to_value(&end.report).unwrap_or_default();
    if let Some(error) = &end.error {
        json["error"] = output::as_json(error);
    }
    output::report(&json, || text(&end.report, pipeline, answers), output)?;
    end.error.map_or(Ok(()), |error| Err(error.mark_reported()))
}

/// Shows how a run goes: a bar on a terminal, log lines otherwise.
struct Watcher<'a> {
    screen: &'a Screen,
    state: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    bar: Option<ProgressBar>,
    requests: u64,
    batches: u64,
    targets: u64,
    targets_done: u64,
    answers: u64,
    flattened: u64,
    retries: u64,
    splits: u64,
    cost: Usd,
    /// Tenths of the whole that the log has told.
    told: u64,
}

const FETCHING: &str = "{spinner} fetching  {bar:28} {pos}/{len} targets · {msg} · ETA {eta}";
const PUBLISHING: &str = "{spinner} publishing {bar:27} {pos}/{len} answers";

impl Watcher<'_> {
    fn observe(&self, progress: Progress) {
        let mut watched = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = &mut *watched;
        match progress {
            Progress::Planned {
                targets,
                requests,
                max_cost,
                means,
            } => {
                info!(
                    targets,
                    requests,
                    max_cost_usd = %max_cost,
                    balance_usd = means.balance_usd.map(tracing::field::display),
                    per_request_usd = %means.price_per_request_usd,
                    per_row_usd = %means.price_per_row_usd,
                    prices_from = ?means.prices_from,
                    "fetching"
                );
                (watched.targets, watched.requests) =
                    (watched.targets_done + targets, watched.batches + requests);
                watched.bar = Some(self.screen.bar(watched.targets, FETCHING));
                watched.show();
            }
            Progress::Fetch(event) => {
                let Event::Attempt {
                    outcome,
                    cost,
                    targets,
                    ..
                } = event
                else {
                    return;
                };
                match outcome {
                    Outcome::Retried | Outcome::Ambiguous if targets == 0 => watched.retries += 1,
                    Outcome::Split => watched.splits += 1,
                    _ => watched.batches += 1,
                }
                watched.targets_done += targets;
                watched.cost += cost.unwrap_or_default();
                watched.show();
            }
            Progress::Publishing { responses: answers } => {
                info!(answers, "publishing");
                watched.answers = answers;
                if let Some(bar) = watched.bar.replace(self.screen.bar(answers, PUBLISHING)) {
                    bar.finish_and_clear();
                }
            }
            Progress::Flattened => {
                watched.flattened += 1;
                if let Some(bar) = &watched.bar {
                    bar.set_position(watched.flattened);
                }
            }
            Progress::Staged | Progress::Moved | Progress::Manifested => {}
        }
    }

    fn close(&self) {
        if let Some(bar) = self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .bar
            .take()
        {
            bar.finish_and_clear();
        }
    }
}

impl Watched {
    fn show(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.targets_done);
            let told = |number: u64, what: &str| match number {
                0 => String::new(),
                number => format!(" · {} {what}", count(number)),
            };
            let (retries, splits) = (told(self.retries, "retried"), told(self.splits, "split"));
            bar.set_message(format!(
                "{}/{} batches · {}{retries}{splits}",
                self.batches,
                self.requests.max(self.batches),
                self.cost.rounded()
            ));
        }
        let tenths = self.targets_done * 10 / self.targets.max(1);
        if tenths > self.told {
            self.told = tenths;
            info!(
                targets = self.targets_done,
                of = self.targets,
                batches = self.batches,
                retries = self.retries,
                cost_usd = %self.cost,
                "fetched"
            );
        }
    }
}

fn text(report: &RunReport, pipeline: &Pipeline, answers: Answers) -> String {
    let RunReport { snapshot, .. } = report;
    let mut text = match report.state {
        RunState::Published if answers == Answers::Archived => format!(
            "snapshot {snapshot} is rebuilt from its archive in {}: nothing was sent\n\n",
            pipeline.lake.url
        ),
        RunState::Published => format!(
            "snapshot {snapshot} is published in {}\n\n",
            pipeline.lake.url
        ),
        RunState::AlreadyPublished => {
            return format!(
                "snapshot {snapshot} was published before, by run {}: nothing was sent\n",
                report.run
            );
        }
        RunState::Open => format!(
            "snapshot {snapshot} is held open in {}: not published\n\n",
            pipeline.lake.url
        ),
    };
    let _ = writeln!(text, "  {:<14}{:>12}", "lines", count(report.lines));
    for fate in Fate::ALL {
        let number = report.fates.of(fate);
        if number > 0 {
            let _ = writeln!(text, "    {:<12}{:>12}", fate.name(), count(number));
        }
    }
    let _ = write!(text, "  {:<14}{:>12}", "items", count(report.items));
    if report.unmatched > 0 {
        let _ = write!(
            text,
            "  {} of them answer no asked target",
            count(report.unmatched)
        );
    }
    let retries = if report.retries > 0 {
        format!(", {} of them retried", count(report.retries))
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "\n  {:<14}{:>12}  lower bound {}{retries}",
        "requests",
        count(report.requests),
        count(report.lower_bound)
    );
    let _ = write!(
        text,
        "  {:<14}{:>12}",
        "cost",
        format!("${}", report.cost_usd)
    );
    if report.cost_unknown_usd > Usd::ZERO {
        let _ = write!(
            text,
            "  and up to ${} that no answer tells of",
            report.cost_unknown_usd
        );
    }
    if report.files > 0 {
        let _ = write!(
            text,
            "\n  {:<14}{:>12}  {}",
            "files",
            count(report.files),
            bytes(report.bytes)
        );
    }
    let _ = writeln!(
        text,
        "\n  {:<14}{:>12}  run {}",
        "time",
        duration(report.seconds.round() as u64),
        report.run
    );
    if report.vanished > 0 {
        let vanished = counted(report.vanished, "target");
        let _ = writeln!(
            text,
            "  {vanished} of earlier answers are no longer in the list; their rows are kept"
        );
    }
    if let Some(balance) = report.means.and_then(|means| means.balance_usd) {
        let _ = writeln!(
            text,
            "  {:<14}{:>12}  before the first request",
            "balance",
            balance.rounded()
        );
    }
    tell(&report.findings, report.items, &mut text);
    text
}

/// Lines of an example that are shown.
const EXAMPLE: usize = 60;

/// Says what the reader of the snapshot should know, with what would mend it.
fn tell(findings: &Findings, items: u64, text: &mut String) {
    if !findings.drift.is_empty() {
        let _ = writeln!(text, "\n  the answers are not as the contract says:");
    }
    for drift in &findings.drift {
        let kept = match drift.what {
            Drifted::Unknown | Drifted::Misfit => ", kept in pages.extra",
            Drifted::Missing | Drifted::Vanished => ", null there",
        };
        let of = format!("{} of {} items{kept}", count(drift.items), count(items));
        let _ = writeln!(text, "    `{}` {}: {of}", drift.field, drift.what.words());
        if let Some(example) = &drift.example {
            let cut: String = example.chars().take(EXAMPLE).collect();
            let more = if cut.len() < example.len() { "…" } else { "" };
            let _ = writeln!(text, "      for example {cut}{more}");
        }
    }
    let adopting: Vec<&str> = findings
        .drift
        .iter()
        .filter_map(|drift| drift.adopt.as_deref())
        .collect();
    if !adopting.is_empty() {
        let _ = writeln!(
            text,
            "    to adopt, copy the contract (`backlake schema pages --toml`), raise its version, append this,\n    name the file in [lake] contracts, and replay:"
        );
        for line in adopting.iter().flat_map(|lines| lines.lines()) {
            let _ = writeln!(text, "      {line}");
        }
    }
    if !findings.changes.is_empty() {
        let _ = writeln!(text, "\n  it is not as the snapshot before:");
    }
    for change in &findings.changes {
        let ProfileChange {
            figure,
            before,
            now,
            change,
            ..
        } = change;
        let _ = writeln!(
            text,
            "    {figure}: {before} before, {now} now ({:+.1} %)",
            change * 100.0
        );
    }
}
