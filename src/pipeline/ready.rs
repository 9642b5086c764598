//! A pipeline that is ready to run: every value is checked, every default is filled in.
//!
//! The structs follow the tables of the pipeline file. Precedence of values: flag, environment
//! variable, pipeline file, default.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use url::Url;

use super::file::{ContinueOpen, NotifyFormat, Occasion, OnFinding};
use crate::alerts::AlertSettings;
use crate::contract::Contracts;
use crate::fetch::{Limits, RetryPolicy, is_loopback};
use crate::lake::{ChangeBounds, TableFormat};
use crate::money::Usd;
use crate::plan::Pace;
use crate::provider::{Endpoint, Prices, TaskOptions};
use crate::question::Question;
use crate::targets::{Rules, Sources};

/// Values from flags and environment variables that replace those of the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Replaces `[lake] url`.
    pub lake: Option<String>,
    /// Replaces `snapshot`.
    pub snapshot: Option<NaiveDate>,
    /// Replaces `[api] base_url`.
    pub base_url: Option<String>,
    /// Replaces `[budget] max_cost_usd`.
    pub max_cost_usd: Option<Usd>,
    /// Replaces `[budget] max_minutes`.
    pub max_minutes: Option<NonZeroU32>,
}

/// A pipeline, ready to run: nothing in it needs checking again.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The name of the pipeline, in manifests and tags.
    pub name: String,
    /// The date of the snapshot.
    pub snapshot: NaiveDate,
    /// The date in UTC when the file was read: the only one that can be begun without saying so.
    pub today: NaiveDate,
    /// What to ask.
    pub request: RequestSettings,
    /// What to ask for.
    pub targets: TargetSettings,
    /// The provider to ask, and how fast.
    pub api: ApiSettings,
    /// The prices of the file; `None` means that the account is asked.
    pub prices: Option<Prices>,
    /// The limits of a run.
    pub budget: Budget,
    /// Where and how tables are written.
    pub lake: LakeSettings,
    /// What `run` does if yesterday's snapshot is open.
    pub continue_open: ContinueOpen,
    /// When a snapshot is published.
    pub publish: PublishSettings,
    /// What needs attention.
    pub alerts: AlertSettings,
    /// Who is told how a run ended.
    pub notify: NotifySettings,
    /// Where lineage events go.
    pub lineage: LineageSettings,
}

/// What to ask about each target: `endpoint` and `[request]`.
#[derive(Debug, Clone, Copy)]
pub struct RequestSettings {
    /// The endpoint of the API.
    pub endpoint: Endpoint,
    /// The options that every task carries.
    pub options: TaskOptions,
}

/// Where targets come from: `[targets]`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// The target lists.
    pub sources: Sources,
    /// How lines become targets.
    pub rules: Rules,
    /// How many lines may be invalid.
    pub max_invalid: MaxInvalid,
    /// The largest list that is downloaded, in bytes.
    pub max_list_bytes: u64,
    /// How long a refused target is not asked for again; zero means that it is always asked for.
    pub retry_refused_after: chrono::Duration,
}

/// How many lines of the target lists may be invalid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaxInvalid {
    /// Fewer invalid lines than this are always allowed.
    pub few: u64,
    /// The share of lines that may be invalid.
    pub ratio: f64,
}

/// The provider to ask, and how fast: `[api]` and `[simulator]`.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// The provider to ask.
    pub provider: Provider,
    /// The most requests in flight.
    pub max_in_flight: NonZeroU32,
    /// The most requests per minute.
    pub requests_per_minute: NonZeroU32,
    /// The limits of a response: time and size.
    pub limits: Limits,
    /// What to do after a failure.
    pub retry: RetryPolicy,
    /// How long requests in flight may continue after a signal asked the run to stop.
    pub drain: Duration,
    /// How long after a request was sent the provider's task list must show it, if it ever does.
    pub listed_after: Duration,
}

/// The provider to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// The embedded simulator.
    Simulator(SimulatorOptions),
    /// The API at this URL; credentials come from the environment.
    Remote(String),
}

/// How the embedded simulator behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulatorOptions {
    /// Decides its population.
    pub seed: u64,
    /// How long it takes to respond.
    pub latency: Duration,
    /// Whether something happens to some of its sites and pages.
    pub stories: bool,
}

/// The limits of a run: `[budget]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// The most a snapshot may cost over all its starts; `None` means no limit.
    pub max_cost_usd: Option<Usd>,
    /// How long each start may send; `None` means no limit.
    pub max_time: Option<Duration>,
}

/// Where and how tables are written: `[lake]`.
#[derive(Debug, Clone)]
pub struct LakeSettings {
    /// A path, or the URL of a bucket.
    pub url: String,
    /// The table formats beside Parquet.
    pub table_formats: Vec<TableFormat>,
    /// The contracts that tables follow.
    pub contracts: Contracts,
    /// The size at which a file is closed, in bytes.
    pub file_bytes: u64,
    /// The memory that publishing may use, target list included, in bytes.
    pub memory_bytes: usize,
    /// How long a failure of the lake is tried again.
    pub retry: Duration,
}

/// When a snapshot is published: `[publish]`.
#[derive(Debug, Clone, Copy)]
pub struct PublishSettings {
    /// The share of targets that may fail in a published snapshot, from 0 to 1.
    pub max_failed_ratio: f64,
    /// What to do if responses differ from the contract.
    pub on_drift: OnFinding,
    /// What to do if the snapshot differs from the previous one by more than `change_bounds`.
    pub on_change: OnFinding,
    /// How far a snapshot may differ from the previous one.
    pub change_bounds: ChangeBounds,
    /// Whether partitions get a `_SUCCESS` file.
    pub success_file: bool,
    /// How long the files of a replaced snapshot are kept.
    pub grace: TimeDelta,
    /// Whether the snapshot gets a report page.
    pub report: bool,
}

/// Who is told how a run ended: `[notify]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySettings {
    /// The environment variable with the URL of the webhook; `None` for no webhook.
    pub url_env: Option<String>,
    /// How a notice is written.
    pub format: NotifyFormat,
    /// What the webhook is told of.
    pub on: BTreeSet<Occasion>,
}

/// Where lineage events go: `[lineage]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineageSettings {
    /// The file to which events are appended.
    pub file: Option<PathBuf>,
    /// The server that takes events.
    pub url: Option<Url>,
}

/// How long a full request is expected to take when the time of a plan is estimated.
const EXPECTED_LATENCY: Duration = Duration::from_secs(5);

impl Provider {
    /// The name of the provider in manifests and reports: the host, or the simulator and its seed.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Simulator(options) => {
                let stories = if options.stories { ", stories" } else { "" };
                format!("simulator, seed {}{stories}", options.seed)
            }
            // Without the port: `backlake simulate` listens on another one after each start.
            Self::Remote(url) => url
                .parse()
                .ok()
                .and_then(|url: url::Url| url.host_str().map(str::to_owned))
                .unwrap_or_else(|| url.clone()),
        }
    }

    /// Whether the provider invents its data. A provider on this machine can only be a simulator.
    #[must_use]
    pub fn is_invented(&self) -> bool {
        match self {
            Self::Simulator(_) => true,
            Self::Remote(url) => url.parse().is_ok_and(|url| is_loopback(&url)),
        }
    }
}

impl Pipeline {
    /// What a run of this pipeline asks, and whom.
    #[must_use]
    pub fn question(&self) -> Question {
        Question {
            pipeline: self.name.clone(),
            endpoint: self.request.endpoint,
            asked_of: self.api.provider.name(),
            invented: self.api.provider.is_invented(),
            include_subdomains: self.request.options.include_subdomains,
            rank_scale: self.request.options.rank_scale,
        }
    }

    /// The pace at which requests are expected to be sent and answered.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let latency = match &self.api.provider {
            Provider::Simulator(options) => options.latency,
            Provider::Remote(_) => EXPECTED_LATENCY,
        };
        Pace {
            max_in_flight: self.api.max_in_flight.get(),
            requests_per_minute: self.api.requests_per_minute.get(),
            latency,
        }
    }
}
