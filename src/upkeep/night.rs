//! What became of one night: judged from its manifest, its ledger, its last summary and its lock.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::error::{Error, ErrorKind};
use crate::fate::Fates;
use crate::lake::Tally;
use crate::ledger::{Charged, EarlierAttempt, Outcome};
use crate::money::Usd;
use crate::question::Question;
use crate::store::{Hold, Holder};

/// What became of a night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NightState {
    /// The snapshot is published.
    Published,
    /// A process works on the snapshot now.
    Running,
    /// The snapshot waits for a decision.
    Held,
    /// The snapshot was started and is not published.
    Open,
    /// Nothing was started on this date.
    Missing,
    /// The snapshot was published and deleted later.
    Pruned,
    /// The run was abandoned, and no other run was started.
    Abandoned,
    /// The manifest cannot be read.
    Damaged,
}

impl NightState {
    /// The name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One night, as the lake tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Night {
    /// The date of the snapshot.
    pub snapshot: NaiveDate,
    /// What became of it.
    pub state: NightState,
    /// What was asked, and of whom; `None` if nothing was started.
    pub question: Option<Question>,
    /// Input lines, if they are known.
    pub lines: Option<u64>,
    /// Targets whose response is archived, if their number is known.
    pub answered: Option<u64>,
    /// The fates of the lines, if the last start could say so.
    pub fates: Option<Fates>,
    /// Requests that were sent.
    pub requests: u64,
    /// The fewest requests that any packing can reach, if it is known.
    pub lower_bound: Option<u64>,
    /// Everything that was charged for this date, replaced snapshots included.
    pub cost_usd: Usd,
    /// What may have been charged in addition, at most.
    pub cost_unknown_usd: Usd,
    /// What the lower bound costs, if the prices are known.
    pub lower_bound_usd: Option<Usd>,
    /// The size of the published files in bytes.
    pub bytes: u64,
    /// When the snapshot was published.
    pub published_at: Option<DateTime<Utc>>,
    /// Whether a replacement of the published snapshot was started and is not published.
    pub replacing: bool,
    /// Why the snapshot is not published.
    pub why: Option<String>,
    /// What the last start advised.
    pub hint: Option<String>,
    /// The process that took the lock and has not released it.
    pub lock: Option<Holder>,
    /// The balance of the account before the first request of the last start.
    pub balance_usd: Option<Usd>,
}

/// What the lake holds for one date.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) published: Option<Published>,
    /// Why the manifest cannot be read.
    pub(super) damaged: Option<Error>,
    pub(super) pruned: bool,
    /// Whether a run was abandoned, and no other run was started.
    pub(super) abandoned: bool,
    /// What the newest run asks.
    pub(super) question: Option<Question>,
    pub(super) spent: Option<Spent>,
    /// The lines of the run's target list.
    pub(super) lines: Option<u64>,
    pub(super) summary: Option<Summary>,
    pub(super) lock: Option<Holder>,
}

/// What a manifest says.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) tally: Tally,
    pub(super) bytes: u64,
    pub(super) at: DateTime<Utc>,
    pub(super) replacing: bool,
}

/// What attempts add up to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spent {
    pub(super) requests: u64,
    pub(super) answered: u64,
    pub(super) cost_usd: Usd,
    pub(super) cost_unknown_usd: Usd,
}

impl Spent {
    pub(super) fn of<'a>(attempts: impl IntoIterator<Item = &'a EarlierAttempt>) -> Self {
        let mut spent = Self::default();
        for earlier in attempts {
            spent.requests += 1;
            spent.cost_usd += earlier.attempt.cost_usd.unwrap_or_default();
            if earlier.attempt.charged == Charged::Unknown {
                spent.cost_unknown_usd += earlier.reserved;
            }
            if earlier.attempt.outcome == Outcome::Ok {
                spent.answered += earlier.targets.len() as u64;
            }
        }
        spent
    }
}

/// The summary of the last start, as far as it is needed here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Summary {
    pub(super) lines: u64,
    pub(super) fates: Fates,
    pub(super) lower_bound: u64,
    pub(super) means: Option<Means>,
    pub(super) exit_code: u8,
    pub(super) error: Option<String>,
    pub(super) hint: Option<String>,
}

/// The account as the last start found it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Means {
    pub(super) balance_usd: Option<Usd>,
    pub(super) price_per_request_usd: Usd,
    pub(super) price_per_row_usd: Usd,
}

const KILLED: &str = "the last start was interrupted before it could say why: its process was killed, or its machine went down";
const NO_REPORT: &str = "the last start failed before it could write its report into the lake";

impl Night {
    /// A date on which nothing was started.
    pub(super) fn missing(snapshot: NaiveDate) -> Self {
        Self::of(snapshot, Evidence::default())
    }

    /// Judges what the lake holds for a date.
    pub(super) fn of(snapshot: NaiveDate, evidence: Evidence) -> Self {
        let state = evidence.state();
        let spent = evidence.spent.unwrap_or_default();
        let balance_usd = evidence
            .summary
            .as_ref()
            .and_then(|last| last.means?.balance_usd);
        let mut night = Self {
            snapshot,
            state,
            lines: evidence.lines,
            answered: evidence.spent.map(|spent| spent.answered),
            fates: None,
            requests: spent.requests,
            lower_bound: None,
            cost_usd: spent.cost_usd,
            cost_unknown_usd: spent.cost_unknown_usd,
            lower_bound_usd: None,
            bytes: 0,
            published_at: None,
            replacing: false,
            why: evidence.why(state),
            hint: evidence.damaged.map(|error| error.hint().to_owned()),
            lock: evidence.lock,
            balance_usd,
            question: evidence.question,
        };
        match (&evidence.published, evidence.summary) {
            (Some(published), summary) => night.add_published(published, summary.as_ref()),
            (None, Some(summary)) if matches!(state, NightState::Open | NightState::Held) => {
                night.add_summary(&summary);
            }
            _ => {}
        }
        night
    }

    fn add_published(&mut self, published: &Published, summary: Option<&Summary>) {
        let Tally {
            lines,
            fates,
            items,
            requests,
            ..
        } = published.tally;
        self.lines = Some(lines);
        self.answered = Some(fates.returned + fates.absent);
        self.fates = Some(fates);
        self.requests = self.requests.max(requests.sent);
        self.lower_bound = Some(requests.lower_bound);
        // The ledger also knows what replaced runs have cost; it may have been pruned.
        self.cost_usd = self.cost_usd.max(requests.cost_usd);
        self.cost_unknown_usd = self.cost_unknown_usd.max(requests.cost_unknown_usd);
        self.lower_bound_usd = match summary.and_then(|summary| summary.means) {
            Some(means) => Some(means.cost(requests.lower_bound, items)),
            None if requests.sent == requests.lower_bound => Some(requests.cost_usd),
            None => None,
        };
        self.bytes = published.bytes;
        self.published_at = Some(published.at);
        self.replacing = published.replacing;
    }

    fn add_summary(&mut self, summary: &Summary) {
        self.lines = Some(summary.lines);
        // Killed starts may have archived more than the last summary knows.
        if self.lock.is_none() {
            self.fates = Some(summary.fates);
            self.answered = Some(summary.fates.returned + summary.fates.absent);
            self.hint.clone_from(&summary.hint);
        }
        self.lower_bound = Some(summary.lower_bound);
        let targets = summary.lines - summary.fates.duplicate - summary.fates.invalid;
        self.lower_bound_usd = summary
            .means
            .map(|means| means.cost(summary.lower_bound, targets));
    }

    /// Whether someone must do something about this night.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        let at_work = self
            .lock
            .as_ref()
            .is_some_and(|lock| lock.hold == Hold::Held);
        match self.state {
            NightState::Published => self.replacing && !at_work,
            NightState::Running | NightState::Pruned | NightState::Abandoned => false,
            NightState::Held | NightState::Open | NightState::Missing | NightState::Damaged => true,
        }
    }

    /// The command that continues it, with this pipeline file; `None` if no command does.
    #[must_use]
    pub fn command(&self, file: &str) -> Option<String> {
        let replace = match self.state {
            NightState::Open | NightState::Held => "",
            NightState::Published if self.needs_attention() => " --replace",
            _ => return None,
        };
        let snapshot = self.snapshot;
        Some(format!(
            "backlake run {file} --snapshot {snapshot}{replace}"
        ))
    }
}

impl Evidence {
    fn state(&self) -> NightState {
        let held = self
            .lock
            .as_ref()
            .is_some_and(|lock| lock.hold == Hold::Held);
        let held_back = self.lock.is_none()
            && self
                .summary
                .as_ref()
                .is_some_and(|summary| summary.exit_code == ErrorKind::Held.exit_code());
        match self {
            Self {
                damaged: Some(_), ..
            } => NightState::Damaged,
            Self {
                published: Some(_), ..
            } => NightState::Published,
            Self {
                abandoned: true, ..
            } => NightState::Abandoned,
            Self { pruned: true, .. } => NightState::Pruned,
            Self {
                question: None,
                lock: None,
                ..
            } => NightState::Missing,
            _ if held => NightState::Running,
            _ if held_back => NightState::Held,
            _ => NightState::Open,
        }
    }

    fn why(&self, state: NightState) -> Option<String> {
        let said = self
            .summary
            .as_ref()
            .and_then(|summary| summary.error.as_deref());
        match (state, said) {
            (NightState::Damaged, _) => self.damaged.as_ref().map(Error::to_string),
            (NightState::Open | NightState::Held, _) if self.lock.is_some() => {
                Some(KILLED.to_owned())
            }
            (NightState::Open | NightState::Held, None) => Some(NO_REPORT.to_owned()),
            (NightState::Open | NightState::Held, Some(said)) => Some(said.to_owned()),
            (NightState::Missing, _) => Some("nothing was started".to_owned()),
            _ => None,
        }
    }
}

impl Means {
    fn cost(self, requests: u64, rows: u64) -> Usd {
        self.price_per_request_usd * requests + self.price_per_row_usd * rows
    }
}

#[cfg(test)]
pub(super) mod tests;
