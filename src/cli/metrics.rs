//! `--metrics-file`: metrics of a run, in the text format of the node exporter's textfile
//! collector.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use parking_lot::Mutex;
use prometheus::{
    Counter, Encoder as _, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts,
    Registry, TextEncoder,
};
use tracing::warn;

use super::outside::write_named;
use crate::alerts::Severity;
use crate::clock::Clock;
use crate::error::{Context as _, Error, Result};
use crate::fate::{Fate, Fates};
use crate::fetch::Event;
use crate::ledger::Outcome;
use crate::money::Usd;
use crate::pipeline::{Pipeline, Progress, RunReport, RunState};
use crate::store::{Owner, Store};
use crate::upkeep::{Expected, NightState, nights, status};

/// How often the file is written during a run.
const WRITTEN_EVERY: Duration = Duration::from_secs(10);

/// Counts events and writes them to a file, which is always complete.
///
/// What is not known is left out: a zero would look like a value. What the lake knows of the
/// snapshot and of earlier starts is there from the first write on, so that a repeated start, which
/// finds nothing to do, does not make it vanish.
pub(super) struct Metrics {
    file: PathBuf,
    clock: Clock,
    registry: Registry,
    written: Mutex<Option<Duration>>,
    planned_requests: Known,
    planned_targets: Known,
    requests: IntCounterVec,
    retries: IntCounterVec,
    cost: Counter,
    bytes: IntCounter,
    duration: Histogram,
    queue: GaugeVec,
    fates: GaugeVec,
    alerts: GaugeVec,
    snapshot_requests: Known,
    snapshot_cost: Known,
    cost_unknown: Known,
    balance: Known,
    budget: Known,
    exit_code: Known,
    date: Known,
    published: Known,
    last_published: Known,
    open: Known,
    seconds: Known,
    started: Known,
    ended: Known,
}

/// A gauge that is written only once its value is known.
struct Known(GaugeVec);

impl Known {
    fn new(registry: &Registry, name: &str, help: &str) -> Result<Self> {
        let gauge = GaugeVec::new(Opts::new(name, help), &[]);
        registered(registry, gauge).map(Self)
    }

    fn set(&self, value: f64) {
        self.0.with_label_values(&[] as &[&str]).set(value);
    }
}

impl Metrics {
    /// Metrics of a run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) async fn start(file: &Path, pipeline: &Pipeline, clock: &Clock) -> Result<Self> {
        let metrics = Self::new(file, pipeline, clock)?;
        metrics.exit_code.set(-1.0);
        metrics.started.set(clock.now().timestamp() as f64);
        metrics.date.set(midnight(pipeline.snapshot));
        if let Some(budget) = pipeline.budget.max_cost_usd {
            metrics.budget.set(dollars(budget));
        }
        metrics.look(pipeline).await;
        metrics.write()?;
        Ok(metrics)
    }

    fn new(file: &Path, pipeline: &Pipeline, clock: &Clock) -> Result<Self> {
        let registry = registry(&pipeline.name)?;
        let known = |name: &str, help: &str| Known::new(&registry, name, help);
        let counts = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauges = |name: &str, help: &str, label: &str| {
            registered(&registry, GaugeVec::new(Opts::new(name, help), &[label]))
        };
        let duration =
            HistogramOpts::new("request_duration_seconds", HELP_DURATION).buckets(BUCKETS.to_vec());
        Ok(Self {
            planned_requests: known("planned_requests", "Requests that this start planned.")?,
            planned_targets: known("planned_targets", "Targets that this start asks for.")?,
            requests: counts(
                "requests_total",
                "Requests that this start sent, by outcome.",
                &["outcome"],
            )?,
            retries: counts(
                "retries_total",
                "Requests that were repeated, by class of failure.",
                &["class"],
            )?,
            cost: registered(
                &registry,
                Counter::new("cost_usd_total", "Dollars that this start was charged."),
            )?,
            bytes: registered(
                &registry,
                IntCounter::new("response_bytes_total", "Bytes of responses, decompressed."),
            )?,
            duration: registered(&registry, Histogram::with_opts(duration))?,
            queue: gauges("queue", HELP_QUEUE, "what")?,
            fates: gauges("lines", "Input lines of the snapshot by fate.", "fate")?,
            alerts: gauges("alerts", HELP_ALERTS, "severity")?,
            snapshot_requests: known(
                "snapshot_requests",
                "Requests of all starts of the snapshot.",
            )?,
            snapshot_cost: known(
                "snapshot_cost_usd",
                "Dollars charged for all starts of the snapshot.",
            )?,
            cost_unknown: known(
                "cost_unknown_usd",
                "Dollars that may have been charged in addition.",
            )?,
            balance: known(
                "balance_usd",
                "Dollars of the account before the last requests.",
            )?,
            budget: known("budget_usd", "Dollars that the snapshot may cost at most.")?,
            exit_code: known(
                "run_exit_code",
                "The exit code of the last start; -1 while one is in progress.",
            )?,
            date: known(
                "snapshot_date_seconds",
                "Midnight UTC of the date of the snapshot.",
            )?,
            published: known("snapshot_published", "Whether the snapshot is published.")?,
            last_published: known(
                "last_published_timestamp_seconds",
                "How new the newest published snapshot is.",
            )?,
            open: known(
                "open_snapshots",
                "Snapshots that were started and are not published.",
            )?,
            seconds: known("run_seconds", "How long the last start took.")?,
            started: known(
                "run_started_timestamp_seconds",
                "When the last start began.",
            )?,
            ended: known("run_ended_timestamp_seconds", "When the last start ended.")?,
            file: file.to_owned(),
            clock: clock.clone(),
            written: Mutex::default(),
            registry,
        })
    }

    /// Takes over what the lake knows. A lake that cannot be read leaves out what only it knows: the
    /// run itself reports it.
    async fn look(&self, pipeline: &Pipeline) {
        let expected = Expected {
            nights: 1,
            max_age: TimeDelta::days(1),
        };
        let (here, now) = (Owner::this_process(), self.clock.now());
        let Ok(store) = Store::open(&pipeline.lake.url) else {
            return;
        };
        let found = match status(&store, expected, &here, now).await {
            Ok(found) => found,
            Err(error) => return warn!(%error, "failed to read the lake for the metrics"),
        };
        let open = found.nights.iter().filter(|night| {
            let unfinished = [NightState::Open, NightState::Held, NightState::Running];
            unfinished.contains(&night.state) || night.replacing
        });
        self.open.set(open.count() as f64);
        if let Some(newest) = found.newest {
            self.last_published
                .set(newest.published_at.timestamp() as f64);
        }
        if let Some(balance) = found.balance {
            self.balance.set(dollars(balance.usd));
        }
        // It may be older than what the status shows.
        let night = nights(&store, [pipeline.snapshot], &here, now).await;
        let Some(night) = night.unwrap_or_default().pop() else {
            return;
        };
        self.published
            .set(f64::from(u8::from(night.published_at.is_some())));
        if night.question.is_some() {
            self.snapshot_requests.set(night.requests as f64);
            self.snapshot_cost.set(dollars(night.cost_usd));
            self.cost_unknown.set(dollars(night.cost_unknown_usd));
        }
        if let Some(fates) = night.fates {
            self.set_fates(&fates);
        }
    }

    fn set_fates(&self, fates: &Fates) {
        for fate in Fate::ALL {
            let lines = self.fates.with_label_values(&[fate.name()]);
            lines.set(fates.of(fate) as f64);
        }
    }

    /// Counts an event.
    pub(super) fn observe(&self, progress: &Progress) {
        match progress {
            Progress::Planned {
                targets,
                requests,
                means,
                ..
            } => {
                self.planned_targets.set(*targets as f64);
                self.planned_requests.set(*requests as f64);
                if let Some(balance) = means.balance_usd {
                    self.balance.set(dollars(balance));
                }
            }
            Progress::Fetch(Event::Attempt {
                outcome,
                result,
                took,
                bytes,
                cost,
                ..
            }) => {
                self.requests.with_label_values(&[outcome.name()]).inc();
                if matches!(outcome, Outcome::Retried | Outcome::Ambiguous) {
                    self.retries
                        .with_label_values(&[result.class().name()])
                        .inc();
                }
                self.cost.inc_by(cost.map_or(0.0, dollars));
                self.bytes.inc_by(*bytes);
                self.duration.observe(took.as_secs_f64());
            }
            Progress::Fetch(Event::Queue {
                in_flight,
                waiting,
                width,
            }) => {
                for (what, number) in [
                    ("in_flight", in_flight),
                    ("waiting", waiting),
                    ("allowed", width),
                ] {
                    self.queue.with_label_values(&[what]).set(*number as f64);
                }
            }
            _ => return,
        }
        let now = self.clock.running();
        let mut written = self.written.lock();
        if written.is_none_or(|written| now - written >= WRITTEN_EVERY) {
            *written = Some(now);
            drop(written);
            self.try_to_write();
        }
    }

    /// Records the end of the run.
    pub(super) async fn end(&self, report: Option<&RunReport>, exit_code: u8, pipeline: &Pipeline) {
        self.queue.reset();
        self.look(pipeline).await;
        if let Some(report) = report {
            self.set_fates(&report.fates);
            for severity in Severity::ALL {
                let told = report.alerts.iter();
                let number = told.filter(|alert| alert.severity == severity).count();
                let gauge = self.alerts.with_label_values(&[severity.name()]);
                gauge.set(number as f64);
            }
            self.cost_unknown.set(dollars(report.cost_unknown_usd));
            let published = report.state != RunState::Open;
            self.published.set(f64::from(u8::from(published)));
            self.seconds.set(report.seconds);
        }
        self.exit_code.set(f64::from(exit_code));
        self.ended.set(self.clock.now().timestamp() as f64);
        self.try_to_write();
    }

    /// A run that is paid for does not fail because of its metrics.
    fn try_to_write(&self) {
        if let Err(error) = self.write() {
            warn!(%error, "failed to write the metrics");
        }
    }

    fn write(&self) -> Result<()> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .context(|| DEFECT)?;
        let file = self.file.display();
        if self
            .file
            .metadata()
            .is_ok_and(|found| found.file_type().is_fifo())
        {
            // A reader that does not read would hold up requests.
            let message = format!("--metrics-file: {file} is a FIFO");
            return Err(
                Error::usage(message).with_hint("name a file, which is replaced as a whole")
            );
        }
        write_named("--metrics-file", &self.file, &text)
    }
}

const DEFECT: &str = "the metrics are not well formed";
const HELP_ALERTS: &str = "Alerts that the last start told, by severity.";
const HELP_DURATION: &str = "From sending to the last byte.";
const HELP_QUEUE: &str =
    "Requests in flight, batches waiting for their next attempt, requests allowed in flight.";

/// The upper limits of the classes of request durations, in seconds.
const BUCKETS: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 150.0,
];

/// The registry, whose metrics are named after the program and its pipeline.
fn registry(pipeline: &str) -> Result<Registry> {
    let labels = [("pipeline".to_owned(), pipeline.to_owned())].into();
    Registry::new_custom(Some("backlake".to_owned()), Some(labels)).context(|| DEFECT)
}

/// The beginning of a date in UTC, in seconds since 1970.
fn midnight(date: NaiveDate) -> f64 {
    date.and_time(NaiveTime::MIN).and_utc().timestamp() as f64
}

/// Dollars as Prometheus takes them. The ledger keeps exact decimals; these are for graphs.
fn dollars(amount: Usd) -> f64 {
    amount.to_string().parse().unwrap_or_default()
}

fn registered<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> Result<M> {
    let metric = metric.context(|| DEFECT)?;
    registry
        .register(Box::new(metric.clone()))
        .context(|| DEFECT)?;
    Ok(metric)
}
