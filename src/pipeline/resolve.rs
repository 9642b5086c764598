//! From the pipeline file as written to a pipeline that is ready to run: all validation happens
//! here.
//!
//! One method per table of the file. An error names the file, the line, the key and what is
//! allowed.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use chrono::NaiveDate;
use toml::Spanned;

use super::file::{
    ApiSpec, BudgetSpec, LakeSpec, PipelineSpec, PriceSpec, PublishSpec, SimulatorSpec, TargetsSpec,
};
use super::keys::{self, Bounded, Fallback, KEYS, Ratio, Whole};
use super::lists::check_place;
use super::ready::{
    ApiSettings, Budget, LakeSettings, MaxInvalid, Overrides, Pipeline, Provider, PublishSettings,
    RequestSettings, SimulatorOptions, TargetSettings,
};
use crate::clock::Clock;
use crate::contract::{Contract, Contracts};
use crate::error::{Error, Result};
use crate::fetch::{Limits, RetryPolicy, is_loopback};
use crate::lake::ChangeBounds;
use crate::money::Usd;
use crate::provider::{Prices, TaskOptions};
use crate::targets::{Column, Reading, Rules, Sources};

/// The name that asks for the embedded simulator.
const SIMULATOR: &str = "simulator";

impl Pipeline {
    /// Reads and checks a pipeline file.
    ///
    /// # Errors
    /// A file that cannot be read, that is not TOML, or that has an unknown key, a wrong type or an
    /// impossible value; the message names the file, the line, the key and what is allowed.
    pub fn load(path: &str, overrides: Overrides, clock: &Clock) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::usage(format!("failed to read pipeline file {path}"))
                .caused_by(error)
                .with_hint("pass the path of a pipeline file, for example pipelines/demo.toml")
        })?;
        Self::parse(path, &text, overrides, clock)
    }

    /// Checks the text of a pipeline file; messages show `path`.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    pub fn parse(path: &str, text: &str, overrides: Overrides, clock: &Clock) -> Result<Self> {
        let file = File { path, text };
        let spec: PipelineSpec = toml::from_str(text).map_err(|error| file.syntax(&error))?;
        file.pipeline(spec, overrides, clock)
    }
}

/// A pipeline file, for messages that say where.
struct File<'a> {
    path: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn pipeline(
        &self,
        spec: PipelineSpec,
        overrides: Overrides,
        clock: &Clock,
    ) -> Result<Pipeline> {
        let Overrides {
            lake,
            snapshot,
            base_url,
            max_cost_usd,
            max_minutes,
        } = overrides;
        Ok(Pipeline {
            name: self.name(&spec.name)?,
            snapshot: match snapshot {
                Some(snapshot) => snapshot,
                None => self.snapshot(spec.snapshot, clock)?,
            },
            request: RequestSettings {
                endpoint: spec.endpoint,
                options: TaskOptions {
                    include_subdomains: spec.request.include_subdomains,
                    rank_scale: spec.request.rank_scale,
                },
            },
            targets: self.targets(spec.targets)?,
            api: self.api(spec.api, &spec.simulator, base_url)?,
            prices: spec.price.map(|price| self.prices(&price)).transpose()?,
            budget: self.budget(spec.budget, max_cost_usd, max_minutes)?,
            lake: self.lake(spec.lake, lake)?,
            publish: self.publish(spec.publish)?,
        })
    }

    fn name(&self, name: &Spanned<String>) -> Result<String> {
        let text = name.get_ref();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        if !(1..=60).contains(&text.len()) || !text.bytes().all(allowed) {
            let message = "a name has 1 to 60 letters, digits, `_` and `-`";
            return Err(self.refuse("name", name, message));
        }
        Ok(text.clone())
    }

    fn snapshot(&self, snapshot: Option<Spanned<String>>, clock: &Clock) -> Result<NaiveDate> {
        let Some(text) = snapshot else {
            return Ok(clock.today());
        };
        text.get_ref().parse().map_err(|_| {
            let message = format!(
                "`{}` is not a date; write it as \"2026-11-23\"",
                text.get_ref()
            );
            self.refuse("snapshot", &text, &message)
        })
    }

    fn targets(&self, spec: TargetsSpec) -> Result<TargetSettings> {
        if spec.paths.get_ref().is_empty() {
            let message = "the list is empty; name at least one file";
            return Err(self.refuse("targets.paths", &spec.paths, message));
        }
        for path in spec.paths.get_ref() {
            check_place(path)
                .map_err(|message| self.refuse("targets.paths", &spec.paths, &message))?;
        }
        if let Some(keep) = &spec.keep {
            let mut seen = HashSet::new();
            if let Some(again) = keep.get_ref().iter().find(|name| !seen.insert(*name)) {
                let message = format!("names `{again}` twice");
                return Err(self.refuse("targets.keep", keep, &message));
            }
        }
        if let Some(keep) = spec.keep.as_ref().filter(|_| !spec.header)
            && let Some(name) = keep
                .get_ref()
                .iter()
                .find(|name| name.parse::<u16>().is_err())
        {
            let message =
                format!("without a header, `{name}` is no column; write its number from 1");
            return Err(self.refuse("targets.keep", keep, &message));
        }
        if let Some(column) = &spec.column
            && !spec.header
            && matches!(column.get_ref(), Column::Name(_))
        {
            let message = "without a header, a column has no name; write its number from 1";
            return Err(self.refuse("targets.column", column, message));
        }
        let max_invalid = MaxInvalid {
            few: match spec.max_invalid_ratio {
                Some(_) => 0,
                None => keys::FEW_INVALID,
            },
            ratio: self.ratio(&keys::MAX_INVALID_RATIO, spec.max_invalid_ratio)?,
        };
        let days = self.whole(
            &keys::RETRY_REFUSED_AFTER_DAYS,
            spec.retry_refused_after_days,
        )?;
        Ok(TargetSettings {
            sources: Sources {
                paths: spec.paths.into_inner(),
                reading: Reading {
                    format: spec.format,
                    column: spec.column.map(Spanned::into_inner),
                    keep: spec.keep.map(Spanned::into_inner).unwrap_or_default(),
                    delimiter: spec.delimiter,
                    header: spec.header,
                    skip_lines: self.whole(&keys::SKIP_LINES, spec.skip_lines)?,
                    sheet: spec.sheet,
                },
            },
            max_invalid,
            rules: Rules {
                bare_url: spec.bare_url,
                suffixes: spec.suffixes,
            },
            max_list_bytes: mib(self.whole(&keys::MAX_LIST_MIB, spec.max_list_mib)?),
            retry_refused_after: chrono::Duration::days(days.into()),
        })
    }

    fn api(
        &self,
        spec: ApiSpec,
        simulator: &SimulatorSpec,
        base_url: Option<String>,
    ) -> Result<ApiSettings> {
        let seconds = |key: &Whole, value| -> Result<Duration> {
            Ok(Duration::from_secs(self.whole(key, value)?.into()))
        };
        Ok(ApiSettings {
            provider: self.provider(base_url, spec.base_url, simulator)?,
            max_in_flight: self.positive(&keys::MAX_IN_FLIGHT, spec.max_in_flight)?,
            requests_per_minute: self
                .positive(&keys::REQUESTS_PER_MINUTE, spec.requests_per_minute)?,
            limits: Limits {
                timeout: seconds(&keys::TIMEOUT_SECONDS, spec.timeout_seconds)?,
                stall: seconds(&keys::STALL_SECONDS, spec.stall_seconds)?,
                max_body: mib(self.whole(&keys::MAX_RESPONSE_MIB, spec.max_response_mib)?),
            },
            retry: RetryPolicy {
                max_attempts: self.whole(&keys::MAX_ATTEMPTS, spec.max_attempts)?,
                ..RetryPolicy::default()
            },
            drain: seconds(&keys::DRAIN_SECONDS, spec.drain_seconds)?,
            listed_after: seconds(&keys::LISTED_AFTER_SECONDS, spec.listed_after_seconds)?,
        })
    }

    /// The provider to ask. There is no default: a forgotten key would publish invented data, or cost
    /// money.
    fn provider(
        &self,
        flag: Option<String>,
        key: Option<Spanned<String>>,
        simulator: &SimulatorSpec,
    ) -> Result<Provider> {
        let Some(name) = flag.as_ref().or(key.as_ref().map(Spanned::get_ref)) else {
            let message = format!("{} does not say whom to ask", self.path);
            let hint = "set [api] base_url = \"simulator\" for invented data, or \"https://api.dataforseo.com\"";
            return Err(Error::usage(message).with_hint(hint));
        };
        if name == SIMULATOR {
            return Ok(Provider::Simulator(SimulatorOptions {
                seed: simulator.seed.unwrap_or(1),
                latency: Duration::from_millis(simulator.latency_ms.unwrap_or(0)),
            }));
        }
        check_base_url(name).map_err(|message| match (&flag, &key) {
            (None, Some(key)) => self.refuse("api.base_url", key, &message),
            _ => Error::usage(format!("--base-url: {message}")),
        })?;
        Ok(Provider::Remote(name.clone()))
    }

    fn prices(&self, spec: &PriceSpec) -> Result<Prices> {
        Ok(Prices {
            per_request: self.dollars("price.per_request_usd", &spec.per_request_usd)?,
            per_row: self.dollars("price.per_row_usd", &spec.per_row_usd)?,
        })
    }

    fn budget(
        &self,
        spec: BudgetSpec,
        max_cost_usd: Option<Usd>,
        max_minutes: Option<NonZeroU32>,
    ) -> Result<Budget> {
        let max_cost_usd = match (max_cost_usd, &spec.max_cost_usd) {
            (Some(given), _) if given.is_negative() => {
                return Err(Error::usage(format!("--max-cost-usd: {given} is negative")));
            }
            (Some(given), _) => Some(given),
            (None, Some(given)) => Some(self.dollars("budget.max_cost_usd", given)?),
            (None, None) => None,
        };
        let max_minutes = match (max_minutes, spec.max_minutes) {
            (Some(minutes), _) => Some(minutes.get()),
            (None, Some(given)) => Some(self.within(&keys::MAX_MINUTES, &given)?),
            (None, None) => None,
        };
        Ok(Budget {
            max_cost_usd,
            max_time: max_minutes.map(|minutes| Duration::from_secs(u64::from(minutes) * 60)),
        })
    }

    fn lake(&self, spec: LakeSpec, flag: Option<String>) -> Result<LakeSettings> {
        let url = flag.unwrap_or_else(|| spec.url.get_ref().clone());
        if url.is_empty() {
            let message = "the URL is empty; write a path or the URL of a bucket";
            return Err(self.refuse("lake.url", &spec.url, message));
        }
        let memory = mib(self.whole(&keys::MEMORY_MIB, spec.memory_mib)?);
        Ok(LakeSettings {
            url,
            table_format: spec.table_format,
            contracts: self.contracts(spec.contracts.as_ref())?,
            file_bytes: mib(self.whole(&keys::FILE_MIB, spec.file_mib)?),
            memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        })
    }

    /// The built-in contracts, replaced by those of the named files.
    fn contracts(&self, files: Option<&Spanned<Vec<String>>>) -> Result<Contracts> {
        let mut contracts = Contracts::default();
        let Some(files) = files else {
            return Ok(contracts);
        };
        for path in files.get_ref() {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
            let adopted = text.and_then(|text| contracts.adopt(Contract::parse(&text)?));
            adopted.map_err(|error| {
                let message = format!("{path}: {}", error.trim_end());
                self.refuse("lake.contracts", files, &message)
            })?;
        }
        Ok(contracts)
    }

    fn publish(&self, spec: PublishSpec) -> Result<PublishSettings> {
        Ok(PublishSettings {
            max_failed_ratio: self.ratio(&keys::MAX_FAILED_RATIO, spec.max_failed_ratio)?,
            on_drift: spec.on_drift,
            on_change: spec.on_change,
            change_bounds: ChangeBounds {
                rows: self.ratio(&keys::MAX_ROW_CHANGE, spec.max_row_change)?,
                nulls: self.ratio(&keys::MAX_NULL_CHANGE, spec.max_null_change)?,
                totals: self.ratio(&keys::MAX_TOTAL_CHANGE, spec.max_total_change)?,
            },
            success_file: spec.success_file,
        })
    }

    /// A whole number within its bounds, or its default.
    fn whole(&self, key: &Whole, value: Option<Spanned<i64>>) -> Result<u32> {
        value.map_or(Ok(key.default), |given| self.within(&key.bounds, &given))
    }

    /// The same for a key whose bounds start at 1.
    fn positive(&self, key: &Whole, value: Option<Spanned<i64>>) -> Result<NonZeroU32> {
        let number = self.whole(key, value)?;
        Ok(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
    }

    fn within(&self, bounds: &Bounded, value: &Spanned<i64>) -> Result<u32> {
        let number = u32::try_from(*value.get_ref())
            .ok()
            .filter(|number| bounds.range.contains(number));
        number.ok_or_else(|| {
            let (min, max) = (bounds.range.start(), bounds.range.end());
            let message = format!("{} is not from {min} to {max}", value.get_ref());
            self.refuse(bounds.key, value, &message)
        })
    }

    /// A ratio within its bounds, or its default.
    fn ratio(&self, key: &Ratio, value: Option<Spanned<f64>>) -> Result<f64> {
        match value {
            None => Ok(key.default),
            Some(ratio) if (0.0..=key.max).contains(ratio.get_ref()) => Ok(*ratio.get_ref()),
            Some(ratio) => {
                let message = format!("{} is not from 0.0 to {:.1}", ratio.get_ref(), key.max);
                Err(self.refuse(key.key, &ratio, &message))
            }
        }
    }

    fn dollars(&self, key: &str, value: &Spanned<Usd>) -> Result<Usd> {
        if value.get_ref().is_negative() {
            let message = format!("{} is negative; write it as \"25.00\"", value.get_ref());
            return Err(self.refuse(key, value, &message));
        }
        Ok(*value.get_ref())
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text[..span.start.min(self.text.len())];
        before.matches('\n').count() + 1
    }

    fn refuse<T>(&self, key: &str, value: &Spanned<T>, message: &str) -> Error {
        let line = self.line(&value.span());
        Error::usage(format!(
            "{}, line {line}, key `{key}`: {message}",
            self.path
        ))
    }

    /// An error of the TOML parser, with the line and the key it is about.
    fn syntax(&self, error: &toml::de::Error) -> Error {
        let missing = self.missing();
        if error.message().starts_with("missing field") && !missing.is_empty() {
            return Error::usage(format!("{} needs {}", self.path, missing.join(", ")))
                .with_hint("pipelines/nightly.toml is a complete example");
        }
        let line = error.span().map(|span| self.line(&span));
        let text = line.and_then(|line| self.text.lines().nth(line - 1));
        let key = text
            .and_then(|text| text.split_once('='))
            .map(|(key, _)| key.trim());
        let mut message = error.message().lines().collect::<Vec<_>>().join("; ");
        // The most natural way to write an amount is the one that TOML would round.
        if let Some(key) = key.filter(|key| key.ends_with("_usd"))
            && message.starts_with("invalid type")
        {
            message = format!("write the amount in quotes: {key} = \"25.00\"");
        }
        let place = match (line, key) {
            // A missing key is not on any line.
            _ if message.starts_with("missing field") => String::new(),
            (Some(line), Some(key)) => format!(", line {line}, key `{key}`"),
            (Some(line), None) => format!(", line {line}"),
            (None, _) => String::new(),
        };
        Error::usage(format!("{}{place}: {message}", self.path)).with_hint(
            "pipelines/nightly.toml explains every key; correct it and run the same command again",
        )
    }

    /// The required keys that the file does not have, each with an example.
    fn missing(&self) -> Vec<String> {
        let file: toml::Table = self.text.parse().unwrap_or_default();
        let missing = KEYS
            .iter()
            .filter_map(|key| match (&key.default, key.path()) {
                (Fallback::Required(example), ("", name)) if !file.contains_key(name) => {
                    Some(key.assignment(example))
                }
                (Fallback::Required(example), (table, name))
                    if !table.is_empty()
                        && file.get(table).and_then(|of| of.get(name)).is_none() =>
                {
                    Some(key.assignment(example))
                }
                _ => None,
            });
        missing.collect()
    }
}

/// A number of MiB in bytes.
fn mib(number: u32) -> u64 {
    u64::from(number) << 20
}

/// Refuses a URL to which credentials must not be sent.
fn check_base_url(url: &str) -> Result<(), String> {
    let parsed: url::Url = url
        .parse()
        .map_err(|error| format!("`{url}` is neither \"{SIMULATOR}\" nor a URL: {error}"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let message =
            "credentials do not belong in a URL; set DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD";
        return Err(message.to_owned());
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
