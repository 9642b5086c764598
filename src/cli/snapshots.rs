//! `snapshots`: list all snapshots, including open ones.

use std::borrow::Cow;
use std::fmt::Write as _;

use chrono::NaiveDate;
use clap::Args;

use super::args::LakeArg;
use super::console::{Console, Failure};
use super::format::{bytes, count, exact};
use crate::clock::date;
use crate::error::{Context as _, Error};
use crate::lake::Manifest;
use crate::store::Owner;
use crate::upkeep::{Night, NightState, dates, nights};
use crate::visible::escaped;

const EXAMPLES: &str = "\
Examples:
  backlake snapshots lake
  backlake snapshots pipelines/nightly.toml --output json";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct SnapshotsArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// Only this snapshot
    #[arg(long, value_name = "DATE", value_parser = date)]
    snapshot: Option<NaiveDate>,
}

impl SnapshotsArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let clock = &console.clock;
        let lake = self.lake.open(clock).await?;
        let mut dates = dates(&lake.store).await?;
        dates.retain(|date| self.snapshot.is_none_or(|only| only == *date));
        let here = Owner::this_process();
        let mut found = nights(&lake.store, dates, &here, clock.now()).await?;
        // A command that only took the lock has started nothing.
        found.retain(|night| night.state != NightState::Missing);
        if found.is_empty()
            && let Some(date) = self.snapshot
        {
            let message = format!("snapshot {date} was never started in {}", lake.url);
            let hint = "`backlake snapshots` without --snapshot lists all of them";
            return Err(Error::usage(message).with_hint(hint).into());
        }
        let mut report = Vec::new();
        for night in &found {
            // The manifest says more than the night does.
            let manifest = match night.state {
                NightState::Published => Manifest::read(&lake.store, night.snapshot).await?,
                _ => None,
            };
            let mut json = match &manifest {
                Some(manifest) => serde_json::to_value(manifest),
                None => serde_json::to_value(night),
            }
            .context(|| "failed to write the report")?;
            json["state"] = night.state.name().into();
            report.push(json);
        }
        let file = lake.file.as_deref().unwrap_or("FILE");
        Ok(console.report(&report, || text(&found, file))?)
    }
}

fn text(nights: &[Night], file: &str) -> String {
    let mut text = format!(
        "{:<12}{:<11}{:>12}{:>12}{:>10}{:>9}{:>9}{:>10}{:>14}{:>12}  {}\n",
        "snapshot",
        "state",
        "lines",
        "returned",
        "absent",
        "refused",
        "failed",
        "requests",
        "cost",
        "size",
        "pipeline"
    );
    for night in nights {
        let known = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), count);
        let fates = night.fates;
        let (pipeline, invented) = match &night.question {
            None => (Cow::Borrowed(""), ""),
            Some(question) if question.invented => {
                (escaped(&question.pipeline), " (invented data)")
            }
            Some(question) => (escaped(&question.pipeline), ""),
        };
        let size = night.published_at.map(|_| bytes(night.bytes));
        let line = format!(
            "{:<12}{:<11}{:>12}{:>12}{:>10}{:>9}{:>9}{:>10}{:>14}{:>12}  {pipeline}{invented}",
            night.snapshot.to_string(),
            night.state.name(),
            known(night.lines),
            known(fates.map(|fates| fates.returned)),
            known(fates.map(|fates| fates.absent)),
            known(fates.map(|fates| fates.refused)),
            known(fates.map(|fates| fates.failed)),
            count(night.requests),
            exact(night.cost_usd),
            size.unwrap_or_else(|| "-".to_owned()),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for command in nights.iter().filter_map(|night| night.command(file)) {
        let _ = writeln!(text, "to continue: {command}");
    }
    text
}
