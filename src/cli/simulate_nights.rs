//! `simulate --nights`: publish the last nights of a pipeline file that asks the simulator.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;

use chrono::{Days, NaiveDate};

use super::console::{Console, Failure};
use super::format::{count, exact};
use super::progress::Watcher;
use super::signals;
use crate::counted::counted;
use crate::error::{Error, Result};
use crate::money::Usd;
use crate::pipeline::{
    self, Begins, Overrides, Pipeline, Progress, Provider, RunMode, RunReport, Surroundings,
};
use crate::visible::escaped;

/// Which nights to publish.
#[derive(Debug)]
pub(super) struct Nights {
    /// The pipeline file.
    pub(super) file: String,
    /// The lake, instead of the file's.
    pub(super) lake: Option<String>,
    /// The last date.
    pub(super) last: NaiveDate,
    /// How many nights.
    pub(super) nights: NonZeroU32,
    /// Whether something happens in the data, also if the file does not say so.
    pub(super) stories: bool,
}

impl Nights {
    /// Publishes them, the oldest first. What is published already stays, so the same command continues.
    pub(super) async fn publish(&self, console: &Console) -> Result<(), Failure> {
        let watcher = Watcher::new(&console.screen);
        let on_progress = |progress: Progress| watcher.observe(progress);
        let seed = RandomState::new().hash_one(std::process::id());
        let env = Surroundings {
            on_progress: &on_progress,
            ..Surroundings::of_process(&console.clock, seed)
        };
        signals::listen(&env.stop)?;
        let published = self.run(&env, console).await;
        watcher.close();
        let (reports, lake) = published?;
        Ok(console.report(&reports, || text(&reports, &lake))?)
    }

    /// The reports of the nights, and the lake.
    async fn run(
        &self,
        env: &Surroundings<'_>,
        console: &Console,
    ) -> Result<(Vec<RunReport>, String)> {
        let mode = RunMode {
            begins: Begins::AnyDate,
            ..RunMode::default()
        };
        let before = u64::from(self.nights.get() - 1);
        let first = self.last.checked_sub_days(Days::new(before));
        let dates = first.unwrap_or(NaiveDate::MIN).iter_days();
        let (mut reports, mut lake) = (Vec::new(), String::new());
        for date in dates.take_while(|date| *date <= self.last) {
            let pipeline = self.pipeline(date, console)?;
            let end = Box::pin(pipeline::run(&pipeline, mode, env)).await?;
            if let Some(error) = end.error {
                return Err(error);
            }
            reports.push(end.report);
            lake = pipeline.lake.url;
        }
        Ok((reports, lake))
    }

    /// The pipeline for one of the nights. A real provider is never asked, and no invented night goes into its lake.
    fn pipeline(&self, date: NaiveDate, console: &Console) -> Result<Pipeline> {
        let overrides = Overrides {
            lake: self.lake.clone(),
            snapshot: Some(date),
            ..Overrides::default()
        };
        let mut pipeline = Pipeline::load(&self.file, overrides, &console.clock)?;
        match &mut pipeline.api.provider {
            Provider::Simulator(options) => options.stories |= self.stories,
            Provider::Remote(url) => {
                let message = format!("--nights: {} asks {}", escaped(&self.file), escaped(url));
                return Err(Error::usage(message).with_hint(
                    "nothing was sent; --nights publishes only invented data: set [api] base_url to \"simulator\", or let `backlake init LIST` write a pipeline file that asks the simulator",
                ));
            }
        }
        Ok(pipeline)
    }
}

fn text(reports: &[RunReport], lake: &str) -> String {
    let (Some(first), Some(last)) = (reports.first(), reports.last()) else {
        return String::new();
    };
    let lake = escaped(lake);
    let nights = counted(reports.len() as u64, "night");
    let requests = reports.iter().map(|report| report.requests).sum();
    let cost: Usd = reports.iter().map(|report| report.cost_usd).sum();
    format!(
        "published {nights} of invented data in {lake}, {} to {}\n\n  lines       {}  each night\n  requests    {}\n  cost        {}  nothing was paid\n\nLook at it: backlake report {lake} --out report.html\n",
        first.snapshot,
        last.snapshot,
        count(last.lines),
        count(requests),
        exact(cost),
    )
}
