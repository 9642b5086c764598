//! What plan, run and check have to say, for people and machines, and how a run goes.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use tracing::warn;

use super::means::Means;
use crate::clock::{Clock, Stopwatch};
use crate::error::Error;
use crate::fate::Fates;
use crate::fetch::Event;
use crate::flatten::{Drift, Irregularities};
use crate::lake::{Manifest, ProfileChange};
use crate::ledger::Ledger;
use crate::money::Usd;

/// What `plan` finds: nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// The pipeline's name.
    pub pipeline: String,
    /// The snapshot it is for.
    pub snapshot: NaiveDate,
    /// Input lines.
    pub lines: u64,
    /// Targets, each counted once.
    pub targets: u64,
    /// Root domains among them.
    pub root_domains: u64,
    /// Lines that repeat an earlier line's target.
    pub duplicates: u64,
    /// Lines that are no target.
    pub invalid: u64,
    /// The first few of them.
    pub first_invalid: Vec<InvalidLine>,
    /// Requests it takes.
    pub requests: u64,
    /// The fewest that could do.
    pub lower_bound: u64,
    /// Requests that filling batches in the order of the list would take.
    pub requests_in_input_order: u64,
    /// What the requests cost at the most.
    pub cost_usd: Usd,
    /// What the lower bound would cost.
    pub cost_usd_lower_bound: Usd,
    /// What filling in the order of the list would cost.
    pub cost_usd_in_input_order: Usd,
    /// The prices this is reckoned with, and the balance.
    #[serde(flatten)]
    pub means: Means,
    /// Whether the balance covers the plan, if it is known.
    pub balance_covers: Option<bool>,
    /// Seconds it takes at the account's pace.
    pub seconds: u64,
    /// The ceiling, if the pipeline has one.
    pub max_cost_usd: Option<Usd>,
}

/// A line that is no target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvalidLine {
    /// The file it stands in.
    pub source: String,
    /// Its number there.
    pub line: u64,
    /// As written.
    pub input: String,
    /// Why it is no target.
    pub reason: String,
}

/// How a run stands when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// The snapshot is published.
    Published,
    /// It was before; nothing was sent.
    AlreadyPublished,
    /// It is held open: the same command continues.
    Open,
}

/// What `run` has done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// The run's name.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The snapshot.
    pub snapshot: NaiveDate,
    /// How it stands.
    pub state: RunState,
    /// Input lines.
    pub lines: u64,
    /// What became of them.
    pub fates: Fates,
    /// Requests sent, by all starts of the run.
    pub requests: u64,
    /// Those of them that failed and were repeated, or broke off.
    pub retries: u64,
    /// The fewest requests that could do.
    pub lower_bound: u64,
    /// Items in the answers.
    pub items: u64,
    /// Items that answer no asked target.
    pub unmatched: u64,
    /// What the answers say was charged.
    pub cost_usd: Usd,
    /// What may have been charged besides, at the most.
    pub cost_unknown_usd: Usd,
    /// Files published.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Seconds since this start.
    pub seconds: f64,
    /// Values and fields that did not fit the contract.
    pub irregularities: Irregularities,
    /// What the snapshot shows that its reader should know.
    #[serde(flatten)]
    pub findings: Findings,
    /// Seconds that each stage of publishing took, summed over its threads.
    pub stage_seconds: BTreeMap<&'static str, f64>,
    /// Targets of earlier answers that are no longer in the list.
    pub vanished: u64,
    /// What was known of the account at the start; none if nothing was to be asked.
    pub means: Option<Means>,
}

/// A run's end: what it has done, and why it ended early, if it did.
#[derive(Debug)]
pub struct RunEnd {
    /// What it has done.
    pub report: RunReport,
    /// Why the snapshot is not published.
    pub error: Option<Error>,
}

/// What `check` finds: what a run needs besides its target lists is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The pipeline's name.
    pub pipeline: String,
    /// Whom it asks.
    pub base_url: String,
    /// Where it writes; it was tried.
    pub lake: String,
    /// What the account holds.
    pub balance_usd: Option<Usd>,
    /// What the account pays for a request.
    pub price_per_request_usd: Option<Usd>,
    /// What the account pays for a row.
    pub price_per_row_usd: Option<Usd>,
    /// Requests the account may send a minute.
    pub requests_per_minute: Option<u32>,
    /// The books of the snapshot beside the provider's, if that was asked for.
    pub reconciled: Option<Reconciled>,
}

/// The books of a snapshot beside the provider's list of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// The snapshot.
    pub snapshot: NaiveDate,
    /// Requests in the books.
    pub requests: u64,
    /// What they cost by the books.
    pub booked_usd: Usd,
    /// What they cost by the provider's list.
    pub charged_usd: Usd,
    /// Requests of which the two differ, or that are in one only.
    pub different: u64,
    /// The first few of them.
    pub first_differences: Vec<String>,
}

/// How a run goes, for the one who watches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// What is to be sent is known.
    Planned {
        /// Targets to be asked for.
        targets: u64,
        /// Requests planned.
        requests: u64,
        /// What they cost at the most.
        max_cost: Usd,
        /// What is known of the account.
        means: Means,
    },
    /// Something came of a request.
    Fetch(Event),
    /// All is fetched; the tables are written.
    Publishing {
        /// Answers to be flattened.
        answers: u64,
    },
    /// An answer is flattened.
    Flattened,
    /// All tables are staged.
    Staged,
    /// A table stands in its place.
    Moved,
    /// The manifest is written: the snapshot is published.
    Manifested,
}

impl RunReport {
    /// Of a snapshot that is published.
    pub(super) fn of_manifest(
        manifest: &Manifest,
        state: RunState,
        start: DateTime<Utc>,
        clock: &Clock,
    ) -> Self {
        Self {
            run: manifest.run.clone(),
            pipeline: manifest.question.pipeline.clone(),
            snapshot: manifest.snapshot,
            state,
            lines: manifest.tally.lines,
            fates: manifest.tally.fates,
            requests: manifest.tally.requests.sent,
            retries: manifest.tally.requests.retries,
            lower_bound: manifest.tally.requests.lower_bound,
            items: manifest.tally.items,
            unmatched: manifest.tally.unmatched,
            cost_usd: manifest.tally.requests.cost_usd,
            cost_unknown_usd: manifest.tally.requests.cost_unknown_usd,
            files: manifest.files().count() as u64,
            bytes: manifest.bytes(),
            seconds: seconds(start, clock),
            irregularities: manifest.irregularities.clone(),
            findings: Findings::default(),
            stage_seconds: BTreeMap::new(),
            vanished: 0,
            means: None,
        }
    }
}

impl Published {
    /// What a run or a replay that came to this says.
    pub(super) fn end(
        self,
        start: DateTime<Utc>,
        clock: &Clock,
        vanished: u64,
        means: Option<Means>,
    ) -> RunEnd {
        let Self {
            manifest,
            findings,
            held,
            stages,
        } = self;
        let state = if held.is_some() {
            RunState::Open
        } else {
            RunState::Published
        };
        let report = RunReport {
            findings,
            stage_seconds: stages.seconds(),
            vanished,
            means,
            ..RunReport::of_manifest(&manifest, state, start, clock)
        };
        RunEnd {
            report,
            error: held,
        }
    }
}

pub(super) fn seconds(start: DateTime<Utc>, clock: &Clock) -> f64 {
    (clock.now() - start).num_milliseconds() as f64 / 1000.0
}

/// Keeps the summary in the lake; a run that has done its work does not fail for want of one.
pub(super) async fn write_summary(ledger: &Ledger, report: &RunReport, error: Option<&Error>) {
    let mut summary = serde_json::to_value(report).unwrap_or_default();
    summary["exit_code"] = error.map_or(0, |error| error.kind().exit_code()).into();
    summary["error"] = error.map(ToString::to_string).into();
    let published = report.state == RunState::Published;
    if let Err(error) = ledger.write_summary(&summary, published).await {
        warn!(%error, "failed to keep the run's summary");
    }
}

/// What a snapshot shows that its reader should know.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Findings {
    /// Fields that are not as the contract says.
    pub drift: Vec<Drift>,
    /// Figures that differ from the snapshot before by more than [publish] allows.
    pub changes: Vec<ProfileChange>,
}

/// What came of a publication.
pub(super) struct Published {
    /// The manifest, as published or as it would be.
    pub(super) manifest: Manifest,
    pub(super) findings: Findings,
    /// Why the snapshot is held, if it is.
    pub(super) held: Option<Error>,
    /// How long the stages took.
    pub(super) stages: Stopwatch,
}
