//! `abandon`: give up an unfinished run or replacement, so that another can begin (dry run unless --yes).

use chrono::NaiveDate;
use clap::Args;
use serde_json::json;

use super::args::LakeArg;
use super::console::{Console, Failure};
use super::format::{exact, rounded_up};
use super::signals;
use crate::clock::date;
use crate::counted::counted;
use crate::money::Usd;
use crate::stop::Stop;
use crate::store::Owner;
use crate::upkeep::{Unfinished, abandon, to_abandon};
use crate::visible::escaped;

const EXAMPLES: &str = "\
Examples:
  backlake abandon lake --snapshot 2026-11-23                                 dry run
  backlake abandon pipelines/nightly.toml --snapshot 2026-11-23 --yes

Use it for a run that was started with the wrong settings or the wrong list. An abandoned run is
never published. Its responses stay in the archive until `prune` deletes them, and its cost still
counts. A published snapshot stays as it is. The next `run` starts the date again, and pays again.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct AbandonArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// The date of the snapshot
    #[arg(long, value_name = "DATE", value_parser = date)]
    snapshot: NaiveDate,
    /// Abandon; without this, only show what would be abandoned
    #[arg(long)]
    yes: bool,
}

impl AbandonArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let clock = &console.clock;
        let stop = Stop::default();
        if self.yes {
            signals::listen(&stop)?;
        }
        let lake = self.lake.open_patiently(clock, &stop).await?;
        let found = if self.yes {
            let owner = Owner::this_process();
            abandon(&lake.store, self.snapshot, &owner, clock, &stop).await?
        } else {
            to_abandon(&lake.store, self.snapshot).await?
        };
        let file = lake.file.as_deref().unwrap_or("FILE");
        let report = json!({ "abandoned": self.yes, "run": found });
        let text = || match &found {
            Some(found) => text(found, file, self.yes, clock.today()),
            None => format!(
                "nothing to abandon: the unfinished run of {} was abandoned before\n",
                self.snapshot
            ),
        };
        Ok(console.report(&report, text)?)
    }
}

fn text(found: &Unfinished, file: &str, done: bool, today: NaiveDate) -> String {
    let Unfinished {
        snapshot, question, ..
    } = found;
    let verb = if done { "abandoned" } else { "would abandon" };
    let (what, replace) = if found.replaces {
        ("replacement", " --replace")
    } else {
        ("run", "")
    };
    let started = found.started_at.format("%Y-%m-%d %H:%M:%S UTC");
    let unknown = if found.cost_unknown_usd == Usd::ZERO {
        String::new()
    } else {
        let most = rounded_up(found.cost_unknown_usd);
        format!(", and up to {most} that may have been charged in addition")
    };
    let paid = if found.requests == 0 {
        "it has sent nothing".to_owned()
    } else {
        format!(
            "paid: {} in {}{unknown}; the responses for {} stay in the archive until `prune` deletes them",
            exact(found.cost_usd),
            counted(found.requests, "request"),
            counted(found.answered, "target"),
        )
    };
    let end = if done {
        let backfill = if *snapshot == today {
            ""
        } else {
            " --backfill"
        };
        format!(
            "to start the date again: backlake run {file} --snapshot {snapshot}{replace}{backfill}\n"
        )
    } else {
        "nothing was changed; pass --yes to abandon it\n".to_owned()
    };
    let stays = if found.replaces {
        "  the published snapshot stays as it is\n"
    } else {
        ""
    };
    format!(
        "{verb}: the {what} of {snapshot} that was started on {started} ({}, by pipeline {} of {})\n  \
         {paid}\n{stays}{end}",
        found.run,
        escaped(&question.pipeline),
        escaped(&question.asked_of),
    )
}
