//! A pipeline file as written ([`super::file`]) and ready to run ([`Pipeline`]): all validation stands between the two.
//!
//! What a flag says counts before the environment, that before the file, that before the default.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use chrono::NaiveDate;
use serde::Deserialize;
use toml::Spanned;

use super::file::{ApiSpec, PublishSpec, Spec};
use crate::clock::Clock;
use crate::contract::{Contract, Contracts};
use crate::error::{Error, Result};
use crate::fetch::{LISTED_AFTER, Limits, RetryPolicy, is_loopback};
use crate::lake::{Bounds, TableFormat};
use crate::money::Usd;
use crate::plan::Pace;
use crate::provider::{
    Endpoint, MAX_IN_FLIGHT, MAX_REQUESTS_PER_MINUTE, Prices, SERVER_TIMEOUT, TaskOptions,
};
use crate::question::Question;
use crate::targets::{Rules, Sources};

/// What becomes of a snapshot in which something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFinding {
    /// It is reported and the snapshot published.
    #[default]
    Report,
    /// The snapshot is held until somebody accepts it.
    Hold,
}

/// What flags and environment say in place of the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// In place of `[lake] url`.
    pub lake: Option<String>,
    /// In place of `snapshot`.
    pub snapshot: Option<NaiveDate>,
    /// In place of `[api] base_url`.
    pub base_url: Option<String>,
    /// In place of `[budget] max_cost_usd`.
    pub max_cost_usd: Option<Usd>,
    /// In place of `[budget] max_minutes`.
    pub max_minutes: Option<NonZeroU32>,
    /// Go on though the balance does not cover the plan.
    pub spend_what_is_left: bool,
    /// Publish the date anew if it is published.
    pub replace: bool,
    /// Publish what would be held.
    pub accept: bool,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// The embedded simulator.
    Simulator(SimulatorOptions),
    /// A host; credentials come from the environment.
    Remote(String),
}

/// How the embedded simulator behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulatorOptions {
    /// Decides its population.
    pub seed: u64,
    /// How long it takes for an answer.
    pub latency: Duration,
}

/// A pipeline, ready to run: nothing in it needs checking again.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name, in manifests and tags.
    pub name: String,
    /// What is asked.
    pub endpoint: Endpoint,
    /// The snapshot's date.
    pub snapshot: NaiveDate,
    /// Where targets come from.
    pub sources: Sources,
    /// How lines become targets.
    pub rules: Rules,
    /// What is asked for beside the targets.
    pub options: TaskOptions,
    /// Whom to ask.
    pub api: Api,
    /// Requests under way at once.
    pub max_in_flight: NonZeroU32,
    /// Requests a minute.
    pub requests_per_minute: NonZeroU32,
    /// What an answer may take.
    pub limits: Limits,
    /// What to do after a failure.
    pub retry: RetryPolicy,
    /// How long to wait for what is under way once a signal has asked to stop.
    pub drain: Duration,
    /// After so long the provider lists what it was sent, or was never sent it.
    pub listed_after: Duration,
    /// After so long a target that was refused is asked for again.
    pub retry_refused_after: chrono::Duration,
    /// What the account pays, if the file says so; otherwise the account is asked.
    pub prices: Option<Prices>,
    /// What a run may cost.
    pub max_cost_usd: Option<Usd>,
    /// How long a run may send.
    pub max_time: Option<Duration>,
    /// Go on though the balance does not cover the plan.
    pub spend_what_is_left: bool,
    /// Where the lake stands.
    pub lake: String,
    /// What its tables are.
    pub table_format: TableFormat,
    /// The contracts to write by.
    pub contracts: Contracts,
    /// Bytes of a file at about the most.
    pub file_bytes: u64,
    /// Bytes of memory that publishing may take beside the target list.
    pub memory_bytes: usize,
    /// Publish the date anew if it is published.
    pub replace: bool,
    /// Publish what would be held.
    pub accept: bool,
    /// The share of targets that may fail in a snapshot that is published.
    pub max_failed_ratio: f64,
    /// What becomes of a snapshot whose answers are not as the contract says.
    pub on_drift: OnFinding,
    /// What becomes of a snapshot that differs from the one before it by more than these bounds.
    pub on_change: OnFinding,
    /// How far it may differ.
    pub change_bounds: Bounds,
    /// Whether `_SUCCESS` is put into partitions.
    pub success_file: bool,
}

/// How long a full request is taken to last when a plan's time is estimated.
const EXPECTED_LATENCY: Duration = Duration::from_secs(5);

impl Pipeline {
    /// Reads and checks a pipeline file.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, has an unknown key, a wrong type or an impossible value: with the file,
    /// the line, the key and what is allowed.
    pub fn load(path: &str, overrides: Overrides, clock: &Clock) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::usage(format!("failed to read pipeline file {path}"))
                .caused_by(error)
                .with_hint("pass the path of a pipeline file, for example pipelines/demo.toml")
        })?;
        Self::parse(path, &text, overrides, clock)
    }

    /// Checks the text of a pipeline file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    pub fn parse(path: &str, text: &str, overrides: Overrides, clock: &Clock) -> Result<Self> {
        let file = File { path, text };
        let spec: Spec = toml::from_str(text).map_err(|error| file.syntax(&error))?;
        file.resolve(spec, overrides, clock)
    }

    /// What a run of this pipeline asks, and of whom.
    #[must_use]
    pub fn question(&self) -> Question {
        Question {
            pipeline: self.name.clone(),
            endpoint: self.endpoint,
            asked_of: match &self.api {
                Api::Simulator(options) => format!("simulator, seed {}", options.seed),
                // On this machine a port says nothing: a simulator takes another with each start.
                Api::Remote(url) => url
                    .parse()
                    .ok()
                    .and_then(|url: url::Url| url.host_str().map(str::to_owned))
                    .unwrap_or_else(|| url.clone()),
            },
            invented: match &self.api {
                Api::Simulator(_) => true,
                Api::Remote(url) => url.parse().is_ok_and(|url| is_loopback(&url)),
            },
            include_subdomains: self.options.include_subdomains,
            rank_scale: self.options.rank_scale,
        }
    }

    /// The pace at which requests are expected to go.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let latency = match &self.api {
            Api::Simulator(options) => options.latency,
            Api::Remote(_) => EXPECTED_LATENCY,
        };
        Pace {
            max_in_flight: self.max_in_flight.get(),
            requests_per_minute: self.requests_per_minute.get(),
            latency,
        }
    }
}

/// A pipeline file, for messages that say where.
struct File<'a> {
    path: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        self.text[..span.start.min(self.text.len())]
            .matches('\n')
            .count()
            + 1
    }

    fn syntax(&self, error: &toml::de::Error) -> Error {
        let place = error.span().map_or_else(String::new, |span| {
            let line = self.line(&span);
            let text = self.text.lines().nth(line - 1).unwrap_or_default();
            match text.split_once('=') {
                Some((key, _)) => format!(", line {line}, key `{}`", key.trim()),
                None => format!(", line {line}"),
            }
        });
        // A key that is missing stands on no line.
        let place = if error.message().starts_with("missing field") {
            String::new()
        } else {
            place
        };
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        Error::usage(format!("{}{place}: {message}", self.path)).with_hint(
            "pipelines/nightly.toml explains every key; correct it and run the same command again",
        )
    }

    fn refuse<T>(&self, key: &str, value: &Spanned<T>, message: &str) -> Error {
        Error::usage(format!(
            "{}, line {}, key `{key}`: {message}",
            self.path,
            self.line(&value.span())
        ))
    }

    /// A number within bounds, or the default.
    fn number(
        &self,
        key: &str,
        value: Option<Spanned<i64>>,
        bounds: (u32, u32),
        default: u32,
    ) -> Result<NonZeroU32> {
        let number = match &value {
            None => Some(default),
            Some(given) => u32::try_from(*given.get_ref())
                .ok()
                .filter(|given| (bounds.0..=bounds.1).contains(given)),
        };
        match (number.and_then(NonZeroU32::new), value) {
            (Some(number), _) => Ok(number),
            (None, Some(given)) => {
                let message = format!(
                    "{} is not from {} to {}",
                    given.get_ref(),
                    bounds.0,
                    bounds.1
                );
                Err(self.refuse(key, &given, &message))
            }
            (None, None) => Err(Error::unexpected(format!("the default of `{key}` is zero"))),
        }
    }

    /// A share within bounds, or the default.
    fn ratio(
        &self,
        key: &str,
        value: Option<Spanned<f64>>,
        most: f64,
        default: f64,
    ) -> Result<f64> {
        match value {
            None => Ok(default),
            Some(ratio) if (0.0..=most).contains(ratio.get_ref()) => Ok(*ratio.get_ref()),
            Some(ratio) => Err(self.refuse(
                key,
                &ratio,
                &format!("{} is not from 0.0 to {most:.1}", ratio.get_ref()),
            )),
        }
    }

    /// The built-in contracts, and what the named files put in their places.
    fn contracts(&self, files: Option<&Spanned<Vec<String>>>) -> Result<Contracts> {
        let mut contracts = Contracts::default();
        let Some(files) = files else {
            return Ok(contracts);
        };
        for path in files.get_ref() {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
            let adopted = text.and_then(|text| contracts.adopt(Contract::parse(&text)?));
            adopted.map_err(|error| {
                self.refuse(
                    "lake.contracts",
                    files,
                    &format!("{path}: {}", error.trim_end()),
                )
            })?;
        }
        Ok(contracts)
    }

    fn dollars(&self, key: &str, value: &Spanned<Usd>) -> Result<Usd> {
        if value.get_ref().is_negative() {
            return Err(self.refuse(
                key,
                value,
                &format!("{} is negative; write it as \"25.00\"", value.get_ref()),
            ));
        }
        Ok(*value.get_ref())
    }

    fn resolve(&self, spec: Spec, overrides: Overrides, clock: &Clock) -> Result<Pipeline> {
        let name = spec.name.get_ref();
        if name.is_empty()
            || name.len() > 60
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        {
            return Err(self.refuse(
                "name",
                &spec.name,
                "a name has 1 to 60 letters, digits, `_` and `-`",
            ));
        }
        let snapshot = match (overrides.snapshot, &spec.snapshot) {
            (Some(snapshot), _) => snapshot,
            (None, Some(text)) => text.get_ref().parse().map_err(|_| {
                self.refuse("snapshot", text, "no date; write it as \"2026-11-23\"")
            })?,
            (None, None) => clock.today(),
        };
        if spec.targets.paths.get_ref().is_empty() {
            return Err(self.refuse("targets.paths", &spec.targets.paths, "names no file"));
        }
        let keep = match &spec.targets.keep {
            None => Vec::new(),
            Some(keep) => {
                let mut seen = HashSet::new();
                if let Some(again) = keep
                    .get_ref()
                    .iter()
                    .find(|name| !seen.insert(name.as_str()))
                {
                    return Err(self.refuse(
                        "targets.keep",
                        keep,
                        &format!("names `{again}` twice"),
                    ));
                }
                keep.get_ref().clone()
            }
        };
        let ApiSpec {
            base_url,
            max_in_flight,
            requests_per_minute,
            timeout_seconds,
            stall_seconds,
            drain_seconds,
            listed_after_seconds,
            max_response_mib,
            max_attempts,
        } = spec.api;
        let simulator = SimulatorOptions {
            seed: spec.simulator.seed.unwrap_or(1),
            latency: Duration::from_millis(spec.simulator.latency_ms.unwrap_or(0)),
        };
        let from_file = base_url.as_ref().map(|url| url.get_ref().clone());
        let api = match overrides.base_url.clone().or(from_file).as_deref() {
            None | Some("simulator") => Api::Simulator(simulator),
            Some(url) => {
                if let Err(message) = check_base_url(url) {
                    return Err(match (&overrides.base_url, &base_url) {
                        (None, Some(spanned)) => self.refuse("api.base_url", spanned, &message),
                        _ => Error::usage(format!("--base-url: {message}")),
                    });
                }
                Api::Remote(url.to_owned())
            }
        };
        let max_cost_usd = match (overrides.max_cost_usd, &spec.budget.max_cost_usd) {
            (Some(given), _) if given.is_negative() => {
                return Err(Error::usage(format!("--max-cost-usd: {given} is negative")));
            }
            (Some(given), _) => Some(given),
            (None, Some(given)) => Some(self.dollars("budget.max_cost_usd", given)?),
            (None, None) => None,
        };
        let prices = match &spec.price {
            None => None,
            Some(price) => Some(Prices {
                per_request: self.dollars("price.per_request_usd", &price.per_request_usd)?,
                per_row: self.dollars("price.per_row_usd", &price.per_row_usd)?,
            }),
        };
        let PublishSpec {
            max_row_change,
            max_null_change,
            max_total_change,
            ..
        } = spec.publish;
        let change_bounds = Bounds {
            rows: self.ratio("publish.max_row_change", max_row_change, 100.0, 0.5)?,
            nulls: self.ratio("publish.max_null_change", max_null_change, 1.0, 0.1)?,
            totals: self.ratio("publish.max_total_change", max_total_change, 100.0, 0.5)?,
        };
        let max_failed_ratio = self.ratio(
            "publish.max_failed_ratio",
            spec.publish.max_failed_ratio,
            1.0,
            0.0,
        )?;
        let contracts = self.contracts(spec.lake.contracts.as_ref())?;
        let file_mib = self.number("lake.file_mib", spec.lake.file_mib, (1, 4096), 256)?;
        let memory_mib = self.number(
            "lake.memory_mib",
            spec.lake.memory_mib,
            (256, 1 << 20),
            1024,
        )?;
        let lake = overrides
            .lake
            .unwrap_or_else(|| spec.lake.url.get_ref().clone());
        if lake.is_empty() {
            return Err(self.refuse("lake.url", &spec.lake.url, "names no place"));
        }
        let server_timeout = SERVER_TIMEOUT.as_secs() as u32;
        let timeout = self.number(
            "api.timeout_seconds",
            timeout_seconds,
            (server_timeout + 1, 3600),
            server_timeout + 30,
        )?;
        let max_response = self.number("api.max_response_mib", max_response_mib, (1, 1024), 256)?;
        let stall = self.number("api.stall_seconds", stall_seconds, (5, 600), 60)?;
        let drain = self.number("api.drain_seconds", drain_seconds, (1, 3600), 60)?;
        let listed_after = LISTED_AFTER.as_secs() as u32;
        let listed_after = self.number(
            "api.listed_after_seconds",
            listed_after_seconds,
            (1, 3600),
            listed_after,
        )?;
        let max_minutes = match (overrides.max_minutes, spec.budget.max_minutes) {
            (Some(minutes), _) => Some(minutes),
            (None, Some(given)) => {
                Some(self.number("budget.max_minutes", Some(given), (1, 7 * 24 * 60), 1)?)
            }
            (None, None) => None,
        };
        let retry_refused_after = match spec.targets.retry_refused_after_days {
            Some(days) if *days.get_ref() == 0 => 0,
            given => self
                .number("targets.retry_refused_after_days", given, (0, 3650), 30)?
                .get(),
        };
        let retry = RetryPolicy::default();
        Ok(Pipeline {
            name: name.clone(),
            endpoint: spec.endpoint,
            snapshot,
            sources: Sources {
                paths: spec.targets.paths.into_inner(),
                format: spec.targets.format,
                column: spec.targets.column,
                keep,
            },
            rules: Rules {
                bare_url: spec.targets.bare_url,
                suffixes: spec.targets.suffixes,
            },
            options: TaskOptions {
                include_subdomains: spec.request.include_subdomains,
                rank_scale: spec.request.rank_scale,
            },
            api,
            max_in_flight: self.number(
                "api.max_in_flight",
                max_in_flight,
                (1, MAX_IN_FLIGHT),
                MAX_IN_FLIGHT,
            )?,
            requests_per_minute: self.number(
                "api.requests_per_minute",
                requests_per_minute,
                (1, MAX_REQUESTS_PER_MINUTE),
                2_000,
            )?,
            limits: Limits {
                timeout: Duration::from_secs(u64::from(timeout.get())),
                stall: Duration::from_secs(u64::from(stall.get())),
                max_body: u64::from(max_response.get()) << 20,
            },
            retry: RetryPolicy {
                max_attempts: self
                    .number(
                        "api.max_attempts",
                        max_attempts,
                        (1, 20),
                        retry.max_attempts,
                    )?
                    .get(),
                ..retry
            },
            drain: Duration::from_secs(u64::from(drain.get())),
            listed_after: Duration::from_secs(u64::from(listed_after.get())),
            retry_refused_after: chrono::Duration::days(i64::from(retry_refused_after)),
            prices,
            max_cost_usd,
            max_time: max_minutes.map(|minutes| Duration::from_secs(u64::from(minutes.get()) * 60)),
            spend_what_is_left: overrides.spend_what_is_left,
            lake,
            table_format: spec.lake.table_format,
            contracts,
            file_bytes: u64::from(file_mib.get()) << 20,
            memory_bytes: (memory_mib.get() as usize) << 20,
            replace: overrides.replace,
            accept: overrides.accept,
            max_failed_ratio,
            on_drift: spec.publish.on_drift,
            on_change: spec.publish.on_change,
            change_bounds,
            success_file: spec.publish.success_file,
        })
    }
}

/// Holds a host to what credentials may be sent to.
fn check_base_url(url: &str) -> Result<(), String> {
    let parsed: url::Url = url
        .parse()
        .map_err(|error| format!("`{url}` is neither \"simulator\" nor a URL: {error}"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(
            "credentials do not belong into a URL; set DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD"
                .to_owned(),
        );
    }
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&parsed) => Ok(()),
        "http" => Err(format!(
            "{url} would send the credentials unencrypted; use https://"
        )),
        scheme => Err(format!("scheme `{scheme}` is not https")),
    }
}
