//! `status`: say whether the last nights are published, and what continues those that are not.

use chrono::TimeDelta;
use clap::Args;
use serde_json::json;

use super::args::{LakeArg, age};
use super::console::{Console, Failure};
use super::status_text::text;
use crate::error::{Error, ErrorKind};
use crate::store::Owner;
use crate::upkeep::{Expected, Night, NightState, Problem, Status, status};

const EXAMPLES: &str = "\
Examples:
  backlake status pipelines/nightly.toml
  backlake status lake --nights 2 --max-age 26h          the check of a scheduler at 07:00
  backlake status s3://team-lake/links --output json

Reads only the lake: nothing is sent, locked or changed. Exits with 0 if the newest snapshot is
young enough and each of the nights is published, and with 7 otherwise. A run that is at work is not
a problem.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// How many nights to look at; older ones are shown if they are not published
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    nights: u32,
    /// How old the newest snapshot may be: 26h, 90m, 2d
    #[arg(long, value_name = "AGE", default_value = "26h", value_parser = age)]
    max_age: TimeDelta,
}

impl StatusArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let clock = &console.clock;
        let lake = self.lake.open(clock).await?;
        let expected = Expected {
            nights: self.nights,
            max_age: self.max_age,
        };
        let found = status(&lake.store, expected, &Owner::this_process(), clock.now()).await?;
        let file = lake.file.as_deref().unwrap_or("FILE");
        let mut report = serde_json::to_value(&found)
            .map_err(|error| Error::unexpected("failed to write the report").caused_by(error))?;
        report["ok"] = found.problems.is_empty().into();
        for (json, night) in report["nights"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .zip(&found.nights)
        {
            json["command"] = json!(night.command(file));
        }
        console.end(&report, || text(&found, file), error(&found, file))
    }
}

fn is_running(night: &Night) -> bool {
    night.state == NightState::Running
}

fn error(found: &Status, file: &str) -> Option<Error> {
    if found.problems.is_empty() {
        return None;
    }
    let problems: Vec<_> = found.problems.iter().map(Problem::to_string).collect();
    let hint = found.nights.iter().find_map(|night| night.command(file));
    let hint = match hint {
        Some(command) => format!("continue the oldest one: {command}"),
        None if found.nights.iter().any(is_running) => {
            "a run is at work: look again when it has ended".to_owned()
        }
        None => format!(
            "nothing can be continued: find out why the scheduler did not start `backlake run {file}`"
        ),
    };
    Some(Error::new(ErrorKind::FoundProblems, problems.join("; ")).with_hint(hint))
}
