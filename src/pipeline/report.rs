//! The reports of plan, run and check, for people and machines, and the progress of a run.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use tracing::warn;

use super::means::Means;
use crate::alerts::{self, Alert, Alerts};
use crate::error::Error;
use crate::fate::Fates;
use crate::fetch::Event;
use crate::flatten::{Drift, Irregularities};
use crate::lake::{Manifest, ProfileChange, Tally};
use crate::ledger::Ledger;
use crate::money::Usd;
use crate::question::Question;
use crate::store::Store;
use crate::targets::ReadAs;

/// The report of `plan`: nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// The name of the pipeline.
    pub pipeline: String,
    /// The provider: its host, or the simulator and its seed.
    pub provider: String,
    /// Whether the provider invents its data.
    pub invented: bool,
    /// The date of the snapshot.
    pub snapshot: NaiveDate,
    /// Input lines.
    pub lines: u64,
    /// Targets, each counted once.
    pub targets: u64,
    /// Root domains among them.
    pub root_domains: u64,
    /// Lines that repeat an earlier line's target.
    pub duplicates: u64,
    /// Lines that are not a target.
    pub invalid: u64,
    /// Lines in which `&amp;` was read as `&`.
    pub unescaped: u64,
    /// The first few invalid lines.
    pub first_invalid: Vec<InvalidLine>,
    /// Why lines are not targets, most frequent first.
    pub invalid_reasons: Vec<InvalidReason>,
    /// How each list is read.
    pub lists: Vec<ReadAs>,
    /// Requests that the plan needs.
    pub requests: u64,
    /// The fewest requests that any packing can reach.
    pub lower_bound: u64,
    /// Requests that batches in the order of the list would need.
    pub requests_in_input_order: u64,
    /// What the plan costs, at most.
    pub cost_usd: Usd,
    /// What the lower bound would cost, at most.
    pub cost_usd_lower_bound: Usd,
    /// What batches in the order of the list would cost, at most.
    pub cost_usd_in_input_order: Usd,
    /// The prices behind these costs, and the balance.
    #[serde(flatten)]
    pub means: Means,
    /// Whether the balance covers the plan, if the balance is known.
    pub balance_covers: Option<bool>,
    /// How long the plan takes at the pace of the pipeline, in seconds.
    pub seconds: u64,
    /// `[budget] max_cost_usd`.
    pub max_cost_usd: Option<Usd>,
    /// The targets that the provider refused in earlier runs, if the lake remembers any.
    pub refused_before: Option<RefusedBefore>,
}

/// The targets of a plan that the provider refused in earlier runs, as far as the lake remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedBefore {
    /// Targets that the run does not ask for.
    pub skipped: u64,
    /// The last date on which one of them is skipped.
    pub skipped_until: Option<NaiveDate>,
    /// Targets that the run asks for again, because `retry_refused_after_days` are over.
    pub asked_again: u64,
    /// Requests to expect in addition if they are refused again.
    pub requests: u64,
    /// What to expect these to cost.
    pub cost_usd: Usd,
}

/// What the list contains, and what a first run would send.
#[derive(Debug, Clone, Serialize)]
pub struct InitReport {
    /// The pipeline file.
    pub file: String,
    /// The pages among the targets.
    pub pages: u64,
    /// The domains among the targets.
    pub domains: u64,
    /// The subdomains among the targets.
    pub subdomains: u64,
    /// The columns that are kept as labels.
    pub keep: Vec<String>,
    /// The plan of the file.
    #[serde(flatten)]
    pub plan: PlanReport,
}

/// A line that is not a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvalidLine {
    /// The file that it is in.
    pub source: String,
    /// Its number in that file.
    pub line: u64,
    /// As written.
    pub input: String,
    /// Why it is not a target.
    pub reason: String,
}

/// A reason why lines are not targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvalidReason {
    /// The reason; `…` stands for what differs from line to line.
    pub reason: String,
    /// How many lines it holds for.
    pub lines: u64,
    /// The first few of them.
    pub examples: Vec<InvalidLine>,
}

/// The state of a snapshot when a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RunState {
    /// The snapshot is published.
    Published,
    /// The snapshot was published before this start; nothing was sent.
    AlreadyPublished,
    /// The snapshot is not published: the same command continues.
    Open,
}

impl RunState {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The report of `run` and `replay`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// The name of the run.
    pub run: String,
    /// The name of the pipeline.
    pub pipeline: String,
    /// The provider: its host, or the simulator and its seed.
    pub provider: String,
    /// Whether the provider invents its data.
    pub invented: bool,
    /// The date of the snapshot.
    pub snapshot: NaiveDate,
    /// The state of the snapshot.
    pub state: RunState,
    /// Input lines.
    pub lines: u64,
    /// The fates of the lines.
    pub fates: Fates,
    /// Requests that all starts of the run have sent.
    pub requests: u64,
    /// Requests that failed and were repeated, or were interrupted.
    pub retries: u64,
    /// The fewest requests that any packing can reach.
    pub lower_bound: u64,
    /// Items in the responses.
    pub items: u64,
    /// Items that match no requested target.
    pub unmatched: u64,
    /// What is known to be charged.
    pub cost_usd: Usd,
    /// What may be charged in addition, at most.
    pub cost_unknown_usd: Usd,
    /// Files published.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// How long this start took, in seconds.
    pub seconds: f64,
    /// Values and fields that do not fit the contract.
    pub irregularities: Irregularities,
    /// What readers of the snapshot should know about it.
    #[serde(flatten)]
    pub findings: Findings,
    /// How long each stage of publishing took in seconds, summed over threads.
    pub stage_seconds: BTreeMap<&'static str, f64>,
    /// Targets of earlier responses that are no longer in the list.
    pub vanished: u64,
    /// The refused targets and what it took to find them; `None` if no target is refused, and for a
    /// `replay`, which sends no request.
    pub refusals: Option<Refusals>,
    /// What was known about the account; `None` if no request was left to send.
    pub means: Option<Means>,
    /// Other snapshots that were started and are not published.
    pub also_open: Vec<NaiveDate>,
    /// What needs attention, worst first.
    pub alerts: Vec<Alert>,
    /// How many alerts were told on an earlier night and are quiet.
    pub quiet_alerts: u64,
    /// How many more alerts there are than are listed.
    pub more_alerts: u64,
    /// What failed without changing the outcome.
    pub warnings: Vec<String>,
    /// How each list was read; empty if none was read in this start.
    pub lists: Vec<ReadAs>,
    /// Why lines of these lists are not targets, most frequent first.
    pub invalid_reasons: Vec<InvalidReason>,
}

/// The refused targets of a run, and what it took to find them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// Targets that this run found to be refused.
    pub found: u64,
    /// Targets that were not asked for, because an earlier run found them to be refused.
    pub skipped: u64,
    /// Requests that were refused.
    pub requests_refused: u64,
    /// Responses above the lower bound: while it searches, a run asks for parts of batches.
    pub responses_above_bound: u64,
    /// What these requests and responses cost in addition, if the prices are known.
    pub cost_usd: Option<Usd>,
    /// The date from which the targets that were found are asked for again; without one, the next
    /// run asks for them.
    pub asked_again_from: Option<NaiveDate>,
    /// The first few that were found.
    pub examples: Vec<RefusedExample>,
}

/// A target that the provider refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedExample {
    /// The target in canonical form.
    pub target: String,
    /// The provider's status code and its text.
    pub reason: String,
}

/// The end of a run: its report, and why it ended early, if it did.
#[derive(Debug)]
pub struct RunEnd {
    /// The report.
    pub report: RunReport,
    /// Why the snapshot is not published.
    pub error: Option<Error>,
}

/// The report of `check`: everything that a run needs besides its target lists works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The name of the pipeline.
    pub pipeline: String,
    /// The provider: its host, or the simulator and its seed.
    pub provider: String,
    /// Whether the provider invents its data.
    pub invented: bool,
    /// The URL of the API, or `simulator`.
    pub base_url: String,
    /// The lake; writing to it was tried.
    pub lake: String,
    /// The balance of the account, if the provider reports it.
    pub balance_usd: Option<Usd>,
    /// The price of a request, if the provider reports it.
    pub price_per_request_usd: Option<Usd>,
    /// The price of a returned row, if the provider reports it.
    pub price_per_row_usd: Option<Usd>,
    /// How many requests per minute the account allows, if the provider reports it.
    pub requests_per_minute: Option<u32>,
    /// The comparison with the provider's task list, if it was requested.
    pub reconciled: Option<Reconciled>,
}

/// The recorded requests of a snapshot, compared with the provider's task list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// The date of the snapshot.
    pub snapshot: NaiveDate,
    /// Recorded requests.
    pub requests: u64,
    /// What they cost according to the ledger.
    pub recorded_usd: Usd,
    /// What they cost according to the provider.
    pub charged_usd: Usd,
    /// Requests whose costs differ, or that only one side has.
    pub different: u64,
    /// The first few differences.
    pub first_differences: Vec<String>,
}

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// A plan is ready to be sent.
    Planned {
        /// Targets to ask for.
        targets: u64,
        /// Requests to send.
        requests: u64,
        /// What they cost, at most.
        max_cost: Usd,
        /// What is known about the account.
        means: Means,
    },
    /// A step of a request.
    Fetch(Event),
    /// Everything is fetched; the tables are written next.
    Publishing {
        /// The responses of the snapshot.
        responses: u64,
        /// How many of them are flattened already.
        flattened: u64,
        /// How many rows of pages are written already.
        written: u64,
    },
    /// A response is flattened. While a run fetches, this is for responses that are archived already.
    Flattened,
    /// This many rows of pages are written. While a run fetches, these are the rows before which no
    /// later response has a row.
    Written(u64),
    /// All tables are staged.
    Staged,
    /// A table is in its place.
    Moved,
    /// The manifest is written: the snapshot is published.
    Manifested,
    /// The files of the replaced snapshot are kept for their readers; then they are deleted.
    KeepsReplaced {
        /// When they are deleted.
        until: DateTime<Utc>,
    },
    /// The lake fails, and the run waits for it.
    LakeFails,
    /// The lake works again.
    LakeWorks,
}

impl RunReport {
    /// A report with these figures and nothing else.
    pub(super) fn new(
        run: &str,
        question: &Question,
        snapshot: NaiveDate,
        state: RunState,
        tally: Tally,
    ) -> Self {
        Self {
            run: run.to_owned(),
            pipeline: question.pipeline.clone(),
            provider: question.asked_of.clone(),
            invented: question.invented,
            snapshot,
            state,
            lines: tally.lines,
            fates: tally.fates,
            requests: tally.requests.sent,
            retries: tally.requests.retries,
            lower_bound: tally.requests.lower_bound,
            items: tally.items,
            unmatched: tally.unmatched,
            cost_usd: tally.requests.cost_usd,
            cost_unknown_usd: tally.requests.cost_unknown_usd,
            files: 0,
            bytes: 0,
            seconds: 0.0,
            irregularities: Irregularities::default(),
            findings: Findings::default(),
            stage_seconds: BTreeMap::new(),
            vanished: 0,
            refusals: None,
            means: None,
            also_open: Vec::new(),
            alerts: Vec::new(),
            quiet_alerts: 0,
            more_alerts: 0,
            warnings: Vec::new(),
            lists: Vec::new(),
            invalid_reasons: Vec::new(),
        }
    }

    /// The report of a snapshot whose tables are written.
    pub(super) fn of_manifest(manifest: &Manifest, state: RunState) -> Self {
        let (run, question) = (&manifest.run, &manifest.question);
        Self {
            files: manifest.files().count() as u64,
            bytes: manifest.bytes(),
            irregularities: manifest.irregularities.clone(),
            ..Self::new(run, question, manifest.snapshot, state, manifest.tally)
        }
    }

    /// The report of a snapshot that an earlier start has published, with the alerts that it told.
    pub(super) async fn already_published(store: &Store, manifest: &Manifest) -> Self {
        let mut report = Self::of_manifest(manifest, RunState::AlreadyPublished);
        match alerts::read(store, manifest.snapshot).await {
            Ok(Some(alerts)) => report.take_alerts(&alerts),
            Ok(None) => {}
            Err(error) => warn!(%error, "failed to read the reported alerts"),
        }
        report
    }

    /// Adds the alerts that are told for the snapshot.
    pub(super) fn take_alerts(&mut self, alerts: &Alerts) {
        self.alerts = alerts.told().cloned().collect();
        self.quiet_alerts = (alerts.alerts.len() - self.alerts.len()) as u64;
        // Those beyond the limit come after the listed ones, and the quiet ones come last.
        match alerts.alerts.last() {
            Some(last) if last.quiet => self.quiet_alerts += alerts.more,
            _ => self.more_alerts = alerts.more,
        }
    }
}

/// Writes the summary into the lake. A run that has done its work does not fail because of it.
pub(super) async fn write_summary(ledger: &Ledger, report: &RunReport, error: Option<&Error>) {
    let mut summary = serde_json::to_value(report).unwrap_or_default();
    summary["exit_code"] = error.map_or(0, |error| error.kind().exit_code()).into();
    summary["error"] = error.map(ToString::to_string).into();
    summary["hint"] = error.map(Error::hint).into();
    if let Err(error) = ledger.write_summary(&summary).await {
        warn!(%error, "failed to write the summary of the run");
    }
}

/// Replaces the summary of an earlier start.
pub(super) async fn renew_summary(ledger: &Ledger, published: &Manifest) {
    if summary_is_outdated(ledger, &published.run).await {
        let report = RunReport::of_manifest(published, RunState::AlreadyPublished);
        write_summary(ledger, &report, None).await;
    }
}

/// Whether the summary in the lake is that of a start before the one that published this run: a kill came between the
/// manifest and the summary.
pub(super) async fn summary_is_outdated(ledger: &Ledger, run: &str) -> bool {
    #[derive(Deserialize)]
    struct Last {
        run: String,
        state: String,
    }
    let last = ledger.summary::<Last>().await;
    last.is_ok_and(|last| {
        last.is_some_and(|last| last.run != run || last.state == RunState::Open.name())
    })
}

/// What readers of a snapshot should know about it.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Findings {
    /// Fields that differ from the contract.
    pub drift: Vec<Drift>,
    /// Figures that differ from the previous snapshot by more than `[publish]` allows.
    pub changes: Vec<ProfileChange>,
}
