//! `alerts`: list what needs attention.

use chrono::NaiveDate;
use clap::Args;

use super::alert_text::text;
use super::args::LakeArg;
use super::console::{Console, Failure};
use crate::alerts::{AlertOptions, AlertSettings, find};
use crate::clock::date;
use crate::error::{Error, ErrorKind};

const EXAMPLES: &str = "\
Examples:
  backlake alerts lake
  backlake alerts pipelines/nightly.toml --fail          with the [alerts] of the pipeline file
  backlake alerts lake --snapshot 2026-11-23 --output json

Reads only the lake: nothing is sent, locked or changed. With a lake, the rules have their defaults.
docs/alerts.md has the rules and their formulas.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct AlertsArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// The snapshot to look at (default: the newest)
    #[arg(long, value_name = "DATE", value_parser = date)]
    snapshot: Option<NaiveDate>,
    /// Exit with 7 if at least one alert is not quiet
    #[arg(long)]
    fail: bool,
}

impl AlertsArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let lake = self.lake.open(&console.clock).await?;
        let settings = AlertSettings {
            enabled: true,
            ..lake.alerts.unwrap_or_default()
        };
        let options = AlertOptions {
            snapshot: self.snapshot,
            settings,
            now: console.clock.now(),
        };
        let alerts = find(&lake.store, &options).await?;
        let told = alerts.told().count();
        let error = (self.fail && told > 0).then(|| {
            let message = format!("{told} alerts for snapshot {}", alerts.snapshot);
            let hint = "look at them; they are quiet for `quiet_nights` once a run has told them";
            Error::new(ErrorKind::FoundProblems, message).with_hint(hint)
        });
        console.end(&alerts, || text(&alerts), error)
    }
}
