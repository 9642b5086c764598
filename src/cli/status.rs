//! `status`: say whether the last nights are published, and what continues those that are not.

use std::num::NonZeroU32;

use chrono::TimeDelta;
use clap::Args;
use serde_json::json;

use super::args::{LakeArg, age, nights};
use super::console::{Console, Failure};
use super::status_text::text;
use crate::counted::counted;
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

/// A week.
const NIGHTS: NonZeroU32 = NonZeroU32::new(7).unwrap();
/// How many problems the last line names; the report names all of them.
const NAMED: usize = 5;

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// How many nights to look at; older ones are shown if they are not published
    #[arg(long, value_name = "N", default_value_t = NIGHTS, value_parser = nights)]
    nights: NonZeroU32,
    /// How old the newest snapshot may be: 26h, 90m, 2d
    #[arg(long, value_name = "AGE", default_value = "26h", value_parser = age, allow_hyphen_values = true)]
    max_age: TimeDelta,
}

impl StatusArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let clock = &console.clock;
        let lake = self.lake.open(clock).await?;
        let expected = Expected {
            nights: self.nights.get(),
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

fn damaged_hint(found: &Status) -> Option<String> {
    let mut nights = found.nights.iter();
    let damaged = nights.find(|night| night.state == NightState::Damaged)?;
    damaged.hint.clone()
}

fn error(found: &Status, file: &str) -> Option<Error> {
    if found.problems.is_empty() {
        return None;
    }
    let mut problems: Vec<_> = found.problems.iter().map(Problem::to_string).collect();
    let more = problems.len().saturating_sub(NAMED);
    if more > 0 {
        // The last ones are the newest.
        problems.drain(..more);
        problems.push(format!("and {}", counted(more as u64, "earlier problem")));
    }
    let hint = found.nights.iter().find_map(|night| night.command(file));
    let hint = match (hint, damaged_hint(found)) {
        (Some(command), _) => format!("continue the oldest one: {command}"),
        (None, Some(hint)) => hint,
        (None, None) if found.nights.iter().any(is_running) => {
            "a run is at work: look again when it has ended".to_owned()
        }
        (None, None) => format!(
            "nothing can be continued: find out why the scheduler did not start `backlake run {file}`"
        ),
    };
    Some(Error::new(ErrorKind::FoundProblems, problems.join("; ")).with_hint(hint))
}
