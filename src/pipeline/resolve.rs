//! From the pipeline file as written to a pipeline that is ready to run: all validation happens
//! here.
//!
//! One method per table of the file. An error names the file, the line, the key and what is
//! allowed.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use toml::Spanned;

use super::checked::File;
use super::file::{
    Amount, ApiSpec, BudgetSpec, LakeSpec, LineageSpec, PipelineSpec, PriceSpec, PublishSpec,
    SimulatorSpec, TargetsSpec,
};
use super::keys::{self, Key, Whole};
use super::lists::check_place;
use super::ready::{
    ApiSettings, Budget, LakeSettings, LineageSettings, MaxInvalid, Overrides, Pipeline, Provider,
    PublishSettings, RequestSettings, SimulatorOptions, TargetSettings,
};
use crate::clock::{Clock, date};
use crate::contract::{Contract, Contracts};
use crate::error::{Error, Result};
use crate::fetch::{Limits, RetryPolicy, is_downloadable, is_loopback};
use crate::files::read_text;
use crate::lake::ChangeBounds;
use crate::money::Usd;
use crate::provider::{Prices, TaskOptions};
use crate::secret::{has_login, shown};
use crate::store::check_place_of_lake;
use crate::targets::{Column, Reading, Rules, Sources};

/// The name that asks for the embedded simulator.
pub(super) const SIMULATOR: &str = "simulator";

impl Pipeline {
    /// Reads and checks a pipeline file.
    ///
    /// # Errors
    /// A file that cannot be read, that is not TOML, or that has an unknown key, a wrong type or an
    /// impossible value; the message names the file, the line, the key and what is allowed.
    pub fn load(path: &str, overrides: Overrides, clock: &Clock) -> Result<Self> {
        let text = read_text(Path::new(path)).map_err(|error| {
            Error::usage(format!("failed to read pipeline file {path}"))
                .caused_by(error)
                .with_hint(
                    "pass the path of a pipeline file; `backlake config` prints one with every key",
                )
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
        let required = [
            ("targets.paths", spec.targets.paths.is_some()),
            (
                "api.base_url",
                base_url.is_some() || spec.api.base_url.is_some(),
            ),
            ("lake.url", lake.is_some() || spec.lake.url.is_some()),
        ];
        self.require(&required)?;
        Ok(Pipeline {
            name: self.name(spec.name.as_ref())?,
            snapshot: match snapshot {
                Some(snapshot) => snapshot,
                None => self.snapshot(spec.snapshot, clock)?,
            },
            today: clock.today(),
            request: RequestSettings {
                endpoint: spec.endpoint,
                options: TaskOptions {
                    include_subdomains: spec.request.include_subdomains,
                    rank_scale: spec.request.rank_scale,
                },
            },
            targets: self.targets(spec.targets)?,
            api: self.api(spec.api, &spec.simulator, base_url)?,
            prices: self.prices(&spec.price)?,
            budget: self.budget(spec.budget, max_cost_usd, max_minutes)?,
            lake: self.lake(spec.lake, lake)?,
            continue_open: spec.run.continue_open,
            publish: self.publish(spec.publish)?,
            alerts: self.alerts(spec.alerts)?,
            notify: self.notify(spec.notify)?,
            lineage: self.lineage(spec.lineage)?,
        })
    }

    /// Refuses a file without these keys, and names all that are missing.
    fn require(&self, keys: &[(&str, bool)]) -> Result<()> {
        let missing = keys.iter().filter(|(_, given)| !given);
        let missing: Vec<_> = missing.filter_map(|(name, _)| Key::named(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let lines: Vec<_> = missing.iter().map(|key| key.line()).collect();
        let message = format!("{} needs {}", self.path, lines.join(", "));
        // There is no default whom to ask: it would publish invented data, or cost money.
        let whom = if missing.iter().any(|key| key.name == "api.base_url") {
            "; base_url = \"simulator\" is free and invents its data"
        } else {
            ""
        };
        let hint = format!("write these lines{whom}; `backlake config` prints every key");
        Err(Error::usage(message).with_hint(hint))
    }

    fn name(&self, name: Option<&Spanned<String>>) -> Result<String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        let fits = |text: &str| (1..=60).contains(&text.len()) && text.bytes().all(allowed);
        let message = "a name has 1 to 60 letters, digits, `_` and `-`";
        match name {
            Some(name) if fits(name.get_ref()) => Ok(name.get_ref().clone()),
            Some(name) => Err(self.refuse("name", name, message)),
            None => {
                let stem = Path::new(self.path).file_stem();
                let stem =
                    stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
                if fits(&stem) {
                    return Ok(stem);
                }
                let message = format!("{} needs a name: `{stem}` is not one; {message}", self.path);
                Err(Error::usage(message).with_hint("write name = \"nightly\""))
            }
        }
    }

    fn snapshot(&self, snapshot: Option<Spanned<String>>, clock: &Clock) -> Result<NaiveDate> {
        let Some(text) = snapshot else {
            return Ok(clock.today());
        };
        date(text.get_ref()).map_err(|why| {
            let message = format!("`{}` is {why}", text.get_ref());
            self.refuse("snapshot", &text, &message)
        })
    }

    /// Refuses paths and columns that cannot be meant.
    fn check_targets(&self, spec: &TargetsSpec, header: bool) -> Result<()> {
        if let Some(paths) = &spec.paths {
            if paths.get_ref().is_empty() {
                let message = "the list is empty; name at least one file";
                return Err(self.refuse("targets.paths", paths, message));
            }
            for path in paths.get_ref() {
                check_place(path)
                    .map_err(|message| self.refuse("targets.paths", paths, &message))?;
            }
        }
        if let Some(keep) = &spec.keep {
            let mut seen = HashSet::new();
            if let Some(again) = keep.get_ref().iter().find(|name| !seen.insert(*name)) {
                let message = format!("names `{again}` twice");
                return Err(self.refuse("targets.keep", keep, &message));
            }
        }
        if let Some(keep) = spec.keep.as_ref().filter(|_| !header)
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
            && !header
            && matches!(column.get_ref(), Column::Name(_))
        {
            let message = "without a header, a column has no name; write its number from 1";
            return Err(self.refuse("targets.column", column, message));
        }
        Ok(())
    }

    fn targets(&self, spec: TargetsSpec) -> Result<TargetSettings> {
        let header = spec.header.unwrap_or(true);
        self.check_targets(&spec, header)?;
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
                paths: spec.paths.map(Spanned::into_inner).unwrap_or_default(),
                reading: Reading {
                    format: spec.format,
                    column: spec.column.map(Spanned::into_inner),
                    keep: spec.keep.map(Spanned::into_inner).unwrap_or_default(),
                    delimiter: spec.delimiter,
                    header,
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

    fn provider(
        &self,
        flag: Option<String>,
        key: Option<Spanned<String>>,
        simulator: &SimulatorSpec,
    ) -> Result<Provider> {
        let name = flag.as_ref().or(key.as_ref().map(Spanned::get_ref));
        let name = name.map_or("", String::as_str);
        if name == SIMULATOR {
            return Ok(Provider::Simulator(SimulatorOptions {
                seed: simulator.seed.unwrap_or(1),
                latency: Duration::from_millis(simulator.latency_ms.unwrap_or(0)),
                stories: simulator.stories.unwrap_or(false),
            }));
        }
        check_base_url(name).map_err(|message| match (&flag, &key) {
            (None, Some(key)) => self.refuse("api.base_url", key, &message),
            _ => Error::usage(format!("--base-url: {message}")),
        })?;
        Ok(Provider::Remote(name.to_owned()))
    }

    fn prices(&self, spec: &PriceSpec) -> Result<Option<Prices>> {
        let (request, row) = (&spec.per_request_usd, &spec.per_row_usd);
        if let (None, None) = (request, row) {
            return Ok(None);
        }
        self.require(&[
            ("price.per_request_usd", request.is_some()),
            ("price.per_row_usd", row.is_some()),
        ])?;
        let price = |name, amount: &Option<Spanned<Amount>>| {
            let amount = amount.as_ref().map(|amount| self.dollars(name, amount));
            amount.transpose().map(Option::unwrap_or_default)
        };
        Ok(Some(Prices {
            per_request: price("price.per_request_usd", request)?,
            per_row: price("price.per_row_usd", row)?,
        }))
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
        let url = match (flag, &spec.url) {
            (Some(flag), _) => {
                check_given_lake(&flag)?;
                Some(flag)
            }
            (None, Some(url)) => {
                check_lake(url.get_ref())
                    .map_err(|message| self.refuse("lake.url", url, &message))?;
                Some(url.get_ref().clone())
            }
            (None, None) => None,
        };
        let url = url.unwrap_or_default();
        let memory = mib(self.whole(&keys::MEMORY_MIB, spec.memory_mib)?);
        let retry_minutes = self.whole(&keys::RETRY_MINUTES, spec.retry_minutes)?;
        Ok(LakeSettings {
            url,
            table_formats: spec.table_formats,
            contracts: self.contracts(spec.contracts.as_ref())?,
            file_bytes: mib(self.whole(&keys::FILE_MIB, spec.file_mib)?),
            memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
            retry: Duration::from_secs(u64::from(retry_minutes) * 60),
        })
    }

    /// The built-in contracts, replaced by those of the named files.
    fn contracts(&self, files: Option<&Spanned<Vec<String>>>) -> Result<Contracts> {
        let mut contracts = Contracts::default();
        let Some(files) = files else {
            return Ok(contracts);
        };
        for path in files.get_ref() {
            let text = read_text(Path::new(path)).map_err(|error| error.to_string());
            let adopted = text.and_then(|text| contracts.adopt(Contract::parse(&text)?));
            adopted.map_err(|error| {
                let message = format!("{path}: {}", error.trim_end());
                self.refuse("lake.contracts", files, &message)
            })?;
        }
        Ok(contracts)
    }

    fn lineage(&self, spec: LineageSpec) -> Result<LineageSettings> {
        let url = spec.url.map(|url| {
            let parsed: Option<url::Url> = url.get_ref().parse().ok();
            let allowed = |parsed: &url::Url| is_downloadable(parsed) && !has_login(url.get_ref());
            parsed.filter(allowed).ok_or_else(|| {
                let message = "not an https:// URL without a login";
                self.refuse("lineage.url", &url, message)
            })
        });
        Ok(LineageSettings {
            file: spec.file.map(Into::into),
            url: url.transpose()?,
        })
    }

    fn publish(&self, spec: PublishSpec) -> Result<PublishSettings> {
        let grace = self.whole(&keys::GRACE_MINUTES, spec.grace_minutes)?;
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
            grace: TimeDelta::minutes(grace.into()),
            report: spec.report,
        })
    }
}

/// A number of MiB in bytes.
fn mib(number: u32) -> u64 {
    u64::from(number) << 20
}

/// Refuses what cannot be a lake, without looking for it.
fn check_lake(url: &str) -> Result<(), String> {
    if url.is_empty() {
        return Err("the URL is empty; write a path or the URL of a bucket".to_owned());
    }
    // `run` would create folders of these names.
    if url == "~" || url.starts_with("~/") {
        return Err("`~` is not expanded here; write the whole path".to_owned());
    }
    if url.ends_with(".toml") && !Path::new(url).is_dir() {
        let shown = shown(url);
        return Err(format!("{shown} is a pipeline file, not a lake"));
    }
    check_place_of_lake(url)
}

/// The same for a lake that a flag or an environment variable names.
///
/// # Errors
/// What is wrong with it, and what to pass instead.
pub fn check_given_lake(url: &str) -> Result<()> {
    check_lake(url).map_err(|message| {
        let message = format!("--lake or BACKLAKE_LAKE: {message}");
        Error::usage(message).with_hint(
            "set it to the folder or the URL (s3://, gs://, az://) of the lake, or leave it out: the pipeline file names the lake",
        )
    })
}

/// Refuses a URL to which credentials must not be sent.
fn check_base_url(url: &str) -> Result<(), String> {
    if has_login(url) {
        let message =
            "credentials do not belong in a URL; set DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD";
        return Err(message.to_owned());
    }
    let shown = shown(url);
    let parsed: url::Url = url
        .parse()
        .map_err(|error| format!("`{shown}` is neither \"{SIMULATOR}\" nor a URL: {error}"))?;
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&parsed) => Ok(()),
        "http" => Err(format!(
            "{shown} would send the credentials unencrypted; use https://"
        )),
        scheme => Err(format!("scheme `{scheme}` is not https")),
    }
}
