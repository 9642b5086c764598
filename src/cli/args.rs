//! The arguments that several commands share.

use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use clap::Args;

use super::console::Console;
use crate::alerts::AlertSettings;
use crate::clock::{Clock, date};
use crate::error::{Error, Result};
use crate::money::Usd;
use crate::pipeline::{Overrides, Pipeline, check_given_lake};
use crate::stop::Stop;
use crate::store::{RETRY, Store};
use crate::upkeep::dates;

/// The pipeline file, and what flags and environment variables replace in it.
#[derive(Debug, Args)]
pub(super) struct PipelineArgs {
    /// The pipeline file
    file: String,
    /// Replace [lake] url
    #[arg(long, env = "BACKLAKE_LAKE", value_name = "URL")]
    lake: Option<String>,
    /// The date of the snapshot (replaces `snapshot`; default: today in UTC)
    #[arg(long, env = "BACKLAKE_SNAPSHOT", value_name = "DATE", value_parser = date)]
    snapshot: Option<NaiveDate>,
    /// Replace [api] base_url: `simulator`, or an https URL
    #[arg(long, env = "BACKLAKE_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
}

/// What flags and environment variables replace in the budget, for commands that plan to spend.
#[derive(Debug, Default, Args)]
pub(super) struct BudgetArgs {
    /// Replace [budget] max_cost_usd: the ceiling for all starts of the snapshot
    #[arg(long, env = "BACKLAKE_MAX_COST_USD", value_name = "USD", value_parser = usd, allow_negative_numbers = true)]
    max_cost_usd: Option<Usd>,
    /// Replace [budget] max_minutes: after this time no new request is sent
    #[arg(long, env = "BACKLAKE_MAX_MINUTES", value_name = "MINUTES", value_parser = minutes)]
    max_minutes: Option<NonZeroU32>,
}

impl PipelineArgs {
    /// Reads and checks the pipeline file.
    pub(super) fn load(self, budget: BudgetArgs, console: &Console) -> Result<Pipeline> {
        let Self {
            file,
            lake,
            snapshot,
            base_url,
        } = self;
        let BudgetArgs {
            max_cost_usd,
            max_minutes,
        } = budget;
        let overrides = Overrides {
            lake,
            snapshot,
            base_url,
            max_cost_usd,
            max_minutes,
        };
        let pipeline = Pipeline::load(&file, overrides, &console.clock)?;
        console.about(pipeline.snapshot);
        Ok(pipeline)
    }
}

/// The lake of a command that needs no pipeline file.
#[derive(Debug, Args)]
pub(super) struct LakeArg {
    /// The lake (a path, s3://, gs:// or az://), or a pipeline file (.toml) that names it. Default:
    /// BACKLAKE_LAKE
    #[arg(value_name = "LAKE")]
    place: Option<String>,
    /// As with a pipeline file: the environment replaces [lake] url
    #[arg(long, env = "BACKLAKE_LAKE", hide = true)]
    lake: Option<String>,
}

/// The lake that a command works on.
pub(super) struct Lake {
    pub(super) store: Store,
    /// As it was given.
    pub(super) url: String,
    /// The pipeline file, if the lake was given by one.
    pub(super) file: Option<String>,
    /// What that file says about alerts.
    pub(super) alerts: Option<AlertSettings>,
}

impl LakeArg {
    /// Opens the lake.
    ///
    /// # Errors
    /// No place at all, a place that is not a lake, or a pipeline file that is wrong.
    pub(super) async fn open(&self, clock: &Clock) -> Result<Lake> {
        let found = self.find(clock)?;
        let store = found.open()?;
        found.lake(store).await
    }

    /// Opens the lake for a command that changes it: what fails for a while is tried again, as long as the pipeline file
    /// says, if the lake was given by one.
    ///
    /// # Errors
    /// As [`LakeArg::open`].
    pub(super) async fn open_patiently(&self, clock: &Clock, stop: &Stop) -> Result<Lake> {
        let found = self.find(clock)?;
        let store = found.open()?.patient(clock, stop, found.retry);
        found.lake(store).await
    }

    /// The URL of the lake, and the pipeline file that names it.
    fn find(&self, clock: &Clock) -> Result<Found> {
        let given = |place: &&String| !place.is_empty();
        let place = match (&self.place, self.lake.as_ref().filter(given)) {
            (Some(place), _) if given(&place) => place,
            (None, Some(lake)) => {
                check_given_lake(lake)?;
                return Ok(Found::without_file(lake));
            }
            _ => {
                let hint = "pass LAKE or a pipeline file, or set BACKLAKE_LAKE";
                return Err(Error::usage("no lake was given").with_hint(hint));
            }
        };
        let is_file = Path::new(place)
            .extension()
            .is_some_and(|ending| ending == "toml");
        if !is_file || Path::new(place).is_dir() {
            return Ok(Found::without_file(place));
        }
        let overrides = Overrides {
            lake: self.lake.clone(),
            ..Overrides::default()
        };
        let pipeline = Pipeline::load(place, overrides, clock)?;
        Ok(Found {
            url: pipeline.lake.url,
            file: Some(place.clone()),
            alerts: Some(pipeline.alerts),
            retry: pipeline.lake.retry,
        })
    }
}

/// Where a lake is.
struct Found {
    url: String,
    file: Option<String>,
    alerts: Option<AlertSettings>,
    /// How long to try again what fails in the lake.
    retry: Duration,
}

impl Found {
    fn without_file(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            file: None,
            alerts: None,
            retry: RETRY,
        }
    }

    fn open(&self) -> Result<Store> {
        Store::open(&self.url).map_err(|error| error.with_hint(self.advice()))
    }

    /// The lake that `store` reads, if it is one.
    async fn lake(self, store: Store) -> Result<Lake> {
        let dates = dates(&store).await;
        if dates.map_err(|error| store.in_words(error))?.is_empty() {
            let message = format!("{} is not a lake, or no run has started in it", self.url);
            return Err(Error::usage(message).with_hint(self.advice()));
        }
        Ok(Lake {
            store,
            url: self.url,
            file: self.file,
            alerts: self.alerts,
        })
    }

    /// What to do about a place that is not a lake.
    fn advice(&self) -> String {
        match &self.file {
            Some(file) => format!(
                "if nothing has run yet, start with `backlake run {file}`; otherwise correct [lake] url or BACKLAKE_LAKE"
            ),
            None => "pass the folder or URL (s3://, gs://, az://) of a lake, or a pipeline file (.toml) that names it; `backlake run FILE` makes a lake".to_owned(),
        }
    }
}

/// Parses a whole number, such as a number of days.
pub(super) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| "not a whole number from 0 up, or too large; write it as 30".to_owned())
}

/// Parses a number of nights.
pub(super) fn nights(text: &str) -> Result<NonZeroU32, String> {
    let read = text.parse().ok().filter(|nights| *nights <= MOST_NIGHTS);
    read.ok_or_else(|| format!("not a number of nights from 1 to {MOST_NIGHTS}"))
}

/// More than two centuries. A report has a line per night, so the number is limited.
const MOST_NIGHTS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

fn minutes(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_| "not a number of minutes; write it as 240".to_owned())
}

fn usd(text: &str) -> Result<Usd, String> {
    text.parse()
        .map_err(|_| "not an amount of dollars; write it as 25.00".to_owned())
}

/// Parses an age: `26h`, `90m`, `2d`.
pub(super) fn age(text: &str) -> Result<TimeDelta, String> {
    let minutes = |unit: char, minutes: i64| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        TimeDelta::try_minutes(i64::from(number) * minutes)
    };
    let read = minutes('m', 1)
        .or_else(|| minutes('h', 60))
        .or_else(|| minutes('d', 24 * 60));
    read.ok_or_else(|| "not an age; write it as 26h, 90m or 2d".to_owned())
}
