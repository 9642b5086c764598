//! `--metrics-file`: metrics of a run, in the text format of the node exporter's textfile
//! collector.

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{
    Counter, Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec,
    IntGauge, Opts, Registry, TextEncoder,
};
use tracing::warn;

use crate::clock::Clock;
use crate::error::{Context as _, Result};
use crate::fate::Fate;
use crate::fetch::Event;
use crate::ledger::Outcome;
use crate::money::Usd;
use crate::pipeline::{Pipeline, Progress, RunReport, RunState};
use crate::store::write_whole;

/// How often the file is written during a run.
const WRITTEN_EVERY: Duration = Duration::from_secs(10);

/// Counts events and writes them to a file, which is always complete.
pub(super) struct Metrics {
    file: PathBuf,
    clock: Clock,
    registry: Registry,
    written: Mutex<Option<Duration>>,
    planned_requests: IntGauge,
    planned_targets: IntGauge,
    requests: IntCounterVec,
    retries: IntCounterVec,
    cost: Counter,
    bytes: IntCounter,
    duration: Histogram,
    queue: GaugeVec,
    fates: GaugeVec,
    cost_unknown: Gauge,
    balance: Gauge,
    exit_code: IntGauge,
    published: IntGauge,
    seconds: Gauge,
    ended: Gauge,
}

impl Metrics {
    /// Metrics of a run. A gauge whose value is not known yet is zero.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn new(file: &Path, pipeline: &Pipeline, clock: &Clock) -> Result<Self> {
        let labels = [("pipeline".to_owned(), pipeline.name.clone())]
            .into_iter()
            .collect();
        let registry =
            Registry::new_custom(Some("backlake".to_owned()), Some(labels)).context(|| DEFECT)?;
        let gauge = |name: &str, help: &str| registered(&registry, Gauge::new(name, help));
        let number = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help));
        let counts = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauges = |name: &str, help: &str, label: &str| {
            registered(&registry, GaugeVec::new(Opts::new(name, help), &[label]))
        };
        let buckets = vec![
            0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 150.0,
        ];
        let duration =
            HistogramOpts::new("request_duration_seconds", "From sending to the last byte.")
                .buckets(buckets);
        let metrics = Self {
            planned_requests: number("planned_requests", "Requests that this start planned.")?,
            planned_targets: number("planned_targets", "Targets that this start asks for.")?,
            requests: counts("requests_total", "Requests sent, by outcome.", &["outcome"])?,
            retries: counts(
                "retries_total",
                "Requests that were repeated, by class of failure.",
                &["class"],
            )?,
            cost: registered(
                &registry,
                Counter::new(
                    "cost_usd_total",
                    "Dollars charged according to the responses.",
                ),
            )?,
            bytes: registered(
                &registry,
                IntCounter::new("response_bytes_total", "Bytes of responses, decompressed."),
            )?,
            duration: registered(&registry, Histogram::with_opts(duration))?,
            queue: gauges(
                "queue",
                "Requests in flight, batches waiting for their next attempt, requests allowed in flight.",
                "what",
            )?,
            fates: gauges(
                "lines",
                "Input lines by fate, at the end of the run.",
                "fate",
            )?,
            cost_unknown: gauge(
                "cost_unknown_usd",
                "Dollars that may have been charged in addition.",
            )?,
            balance: gauge("balance_usd", "Dollars that the account held at the start.")?,
            exit_code: number(
                "run_exit_code",
                "The exit code of the last start; -1 while a start is in progress.",
            )?,
            published: number("snapshot_published", "Whether the snapshot is published.")?,
            seconds: gauge("run_seconds", "How long this start of the run took.")?,
            ended: gauge(
                "run_ended_timestamp_seconds",
                "When the last start ended; 0 while a start is in progress.",
            )?,
            file: file.to_owned(),
            clock: clock.clone(),
            written: Mutex::default(),
            registry,
        };
        metrics.exit_code.set(-1);
        metrics.write()?;
        Ok(metrics)
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
                self.planned_targets.set(*targets as i64);
                self.planned_requests.set(*requests as i64);
                self.balance.set(means.balance_usd.map_or(0.0, dollars));
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
    pub(super) fn end(&self, report: Option<&RunReport>, exit_code: u8) {
        self.queue.reset();
        if let Some(report) = report {
            for fate in Fate::ALL {
                self.fates
                    .with_label_values(&[fate.name()])
                    .set(report.fates.of(fate) as f64);
            }
            self.cost_unknown.set(dollars(report.cost_unknown_usd));
            self.published
                .set(i64::from(report.state != RunState::Open));
            self.seconds.set(report.seconds);
        }
        self.exit_code.set(i64::from(exit_code));
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
        write_whole(&self.file, &text)
            .usage(|| format!("--metrics-file: failed to write {}", self.file.display()))
    }
}

const DEFECT: &str = "the metrics are not well formed";

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
