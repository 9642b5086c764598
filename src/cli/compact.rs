//! `compact`: pack the small objects of published snapshots, one tar per date (dry run unless
//! --yes).

use clap::Args;
use serde_json::json;

use super::args::{LakeArg, whole};
use super::console::{Console, Failure};
use super::prune::objects;
use super::signals;
use crate::stop::Stop;
use crate::store::Owner;
use crate::upkeep::{compact, to_compact};

const EXAMPLES: &str = "\
Examples:
  backlake compact lake                          dry run
  backlake compact lake --keep-days 7 --yes

The tar holds responses, intents and attempts under their paths in the lake: `tar -x` at its root
restores them. `replay` reads the tar directly.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CompactArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// Do not pack the snapshots of the last DAYS days
    #[arg(long, value_name = "DAYS", value_parser = whole::<u32>, allow_negative_numbers = true)]
    keep_days: Option<u32>,
    /// Pack; without this, only show what would be packed
    #[arg(long)]
    yes: bool,
}

impl CompactArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let clock = &console.clock;
        let stop = Stop::default();
        if self.yes {
            signals::listen(&stop)?;
        }
        let store = self.lake.open_patiently(clock, &stop).await?.store;
        let found = to_compact(&store, self.keep_days, clock.today()).await?;
        if self.yes {
            let dates: Vec<_> = found.iter().map(|found| found.snapshot).collect();
            compact(&store, &dates, &Owner::this_process(), clock, &stop).await?;
        }
        let text = || {
            if found.is_empty() {
                return "nothing to pack\n".to_owned();
            }
            let heading = if self.yes { "packed" } else { "would pack" };
            let end = if self.yes {
                ""
            } else {
                "nothing was changed; pass --yes to pack\n"
            };
            format!("{heading}:\n{}{end}", objects(&[("archive", &found)]))
        };
        let report = json!({ "packed": self.yes, "archives": found });
        Ok(console.report(&report, text)?)
    }
}
