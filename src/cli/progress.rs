//! Progress of a run: a bar on a terminal, log lines otherwise.

use indicatif::ProgressBar;
use parking_lot::Mutex;
use tracing::info;

use super::format::{count, rounded};
use super::logging::Screen;
use crate::fetch::Event;
use crate::ledger::Outcome;
use crate::money::Usd;
use crate::pipeline::Progress;

/// Shows the progress events of a run.
pub(super) struct Watcher<'a> {
    screen: &'a Screen,
    state: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    bar: Option<ProgressBar>,
    requests: u64,
    batches: u64,
    targets: u64,
    answered: u64,
    refused: u64,
    failed: u64,
    /// The responses that are flattened; none while fetching, when the bar shows targets.
    flattened: Option<u64>,
    retries: u64,
    splits: u64,
    cost: Usd,
    /// How many tenths of the targets the log has reported.
    reported_tenths: u64,
    /// Whether the lake fails, so that nothing advances.
    waits_for_lake: bool,
}

/// Before the first response there is nothing to estimate the end from.
const WAITING: &str = "{spinner} fetching  {bar:28} {human_pos}/{human_len} targets · {msg} · waiting for the first response";
const FETCHING: &str =
    "{spinner} fetching  {bar:28} {human_pos}/{human_len} targets · {msg} · ETA {eta}";
const PUBLISHING: &str = "{spinner} publishing {bar:27} {human_pos}/{human_len} responses · {msg}";

const KEEPING: &str =
    "{spinner} published; keeping the replaced files until {msg}, then deleting them";

impl<'a> Watcher<'a> {
    pub(super) fn new(screen: &'a Screen) -> Self {
        Self {
            screen,
            state: Mutex::default(),
        }
    }

    pub(super) fn observe(&self, progress: Progress) {
        let watched = &mut *self.state.lock();
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
                    estimated_cost_usd = %max_cost,
                    balance_usd = means.balance_usd.map(tracing::field::display),
                    per_request_usd = %means.price_per_request_usd,
                    per_row_usd = %means.price_per_row_usd,
                    prices_from = <&str>::from(means.prices_from),
                    "fetching"
                );
                watched.targets = watched.ended() + targets;
                watched.requests = watched.batches + requests;
                watched.replace_bar(self.screen.bar(watched.targets, WAITING));
                watched.show(self.screen);
            }
            Progress::Fetch(Event::Attempt {
                outcome,
                cost,
                targets,
                ..
            }) => {
                watched.count(outcome, targets);
                watched.cost += cost.unwrap_or_default();
                watched.show(self.screen);
            }
            Progress::Publishing {
                responses,
                flattened,
                written,
            } => {
                info!(responses, flattened, written, "publishing");
                let bar = self.screen.bar(responses, PUBLISHING);
                bar.set_position(flattened);
                watched.replace_bar(bar);
                watched.flattened = Some(flattened);
                watched.waits_for_lake(watched.waits_for_lake);
            }
            Progress::Flattened => {
                if let (Some(flattened), Some(bar)) = (&mut watched.flattened, &watched.bar) {
                    *flattened += 1;
                    bar.set_position(*flattened);
                }
            }
            Progress::KeepsReplaced { until } => {
                let until = until.format("%Y-%m-%d %H:%M:%S UTC");
                info!("published; keeping the replaced files until {until}, then deleting them");
                let bar = self.screen.bar(0, KEEPING);
                bar.set_message(until.to_string());
                watched.replace_bar(bar);
            }
            Progress::LakeFails => watched.waits_for_lake(true),
            Progress::LakeWorks => watched.waits_for_lake(false),
            Progress::Fetch(_)
            | Progress::Written(_)
            | Progress::Staged
            | Progress::Moved
            | Progress::Manifested => {}
        }
    }

    pub(super) fn close(&self) {
        if let Some(bar) = self.state.lock().bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Watched {
    fn replace_bar(&mut self, bar: ProgressBar) {
        if let Some(bar) = self.bar.replace(bar) {
            bar.finish_and_clear();
        }
    }

    /// Targets whose fate is known.
    fn ended(&self) -> u64 {
        self.answered + self.refused + self.failed
    }

    /// Counts an attempt; `targets` is the number of targets that ended with it.
    fn count(&mut self, outcome: Outcome, targets: u64) {
        match outcome {
            Outcome::Retried | Outcome::Ambiguous if targets == 0 => self.retries += 1,
            Outcome::Split => self.splits += 1,
            _ => self.batches += 1,
        }
        match outcome {
            Outcome::Ok => self.answered += targets,
            Outcome::Refused => self.refused += targets,
            _ => self.failed += targets,
        }
    }

    fn show(&mut self, screen: &Screen) {
        if let Some(bar) = &self.bar {
            if self.ended() > 0 && bar.position() == 0 {
                screen.restyle(bar, FETCHING);
            }
            bar.set_position(self.ended());
            bar.set_message(self.message());
        }
        // One log line per tenth: enough to see that the run advances.
        let tenths = self.ended() * 10 / self.targets.max(1);
        if tenths > self.reported_tenths {
            self.reported_tenths = tenths;
            info!(
                answered = self.answered,
                failed = self.failed,
                refused = self.refused,
                of = self.targets,
                batches = self.batches,
                retries = self.retries,
                cost_usd = %self.cost,
                "progress"
            );
        }
    }

    fn waits_for_lake(&mut self, waits: bool) {
        self.waits_for_lake = waits;
        if let Some(bar) = &self.bar {
            bar.set_message(self.message());
        }
    }

    fn message(&self) -> String {
        let mut message = format!(
            "{}/{} batches · {}",
            count(self.batches),
            count(self.requests.max(self.batches)),
            rounded(self.cost)
        );
        for (number, what) in [
            (self.failed, "failed"),
            (self.retries, "retried"),
            (self.splits, "split"),
        ] {
            if number > 0 {
                message.push_str(&format!(" · {} {what}", count(number)));
            }
        }
        if self.waits_for_lake {
            message.push_str(" · the lake fails, waiting for it");
        }
        message
    }
}
