//! `prune`: delete old snapshots and archives (dry run unless --yes).

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::args::{LakeArg, whole};
use super::console::{Console, Failure};
use super::format::{bytes, count};
use super::signals;
use crate::error::Error;
use crate::stop::Stop;
use crate::store::Owner;
use crate::upkeep::{Keep, Objects, Pruning, prune, to_prune};

const EXAMPLES: &str = "\
Examples:
  backlake prune lake --keep-snapshots-days 400 --keep-archives-days 90       dry run
  backlake prune lake --keep-snapshots 30 --keep-archives 7 --yes

A date is kept if any of its rules keeps it. The newest snapshot, the newest archive that can be
replayed and everything that an unpublished snapshot or replacement needs are always kept. The
archive of an abandoned run is kept only by --keep-archives-days.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// Keep the newest N snapshots
    #[arg(long, value_name = "N", value_parser = whole::<u32>, allow_negative_numbers = true)]
    keep_snapshots: Option<u32>,
    /// Keep the snapshots of the last DAYS days
    #[arg(long, value_name = "DAYS", value_parser = whole::<u32>, allow_negative_numbers = true)]
    keep_snapshots_days: Option<u32>,
    /// Keep the newest N archives; a snapshot without its archive cannot be replayed
    #[arg(long, value_name = "N", value_parser = whole::<u32>, allow_negative_numbers = true)]
    keep_archives: Option<u32>,
    /// Keep the archives of the last DAYS days
    #[arg(long, value_name = "DAYS", value_parser = whole::<u32>, allow_negative_numbers = true)]
    keep_archives_days: Option<u32>,
    /// Delete; without this, only show what would be deleted
    #[arg(long)]
    yes: bool,
}

impl PruneArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let snapshots = Keep {
            newest: self.keep_snapshots,
            days: self.keep_snapshots_days,
        };
        let archives = Keep {
            newest: self.keep_archives,
            days: self.keep_archives_days,
        };
        if snapshots == Keep::default() && archives == Keep::default() {
            let hint = "pass --keep-snapshots or --keep-snapshots-days, --keep-archives or --keep-archives-days";
            return Err(Error::usage("no rule says what to keep")
                .with_hint(hint)
                .into());
        }
        let clock = &console.clock;
        let stop = Stop::default();
        if self.yes {
            signals::listen(&stop)?;
        }
        let store = self.lake.open_patiently(clock, &stop).await?.store;
        let pruning = to_prune(&store, snapshots, archives, clock.today()).await?;
        if self.yes {
            prune(&store, &pruning, &Owner::this_process(), clock, &stop).await?;
        }
        let report = json!({
            "pruned": self.yes,
            "snapshots": pruning.snapshots,
            "archives": pruning.archives,
        });
        Ok(console.report(&report, || text(&pruning, self.yes))?)
    }
}

fn text(pruning: &Pruning, done: bool) -> String {
    if pruning.snapshots.is_empty() && pruning.archives.is_empty() {
        return "nothing to delete\n".to_owned();
    }
    let mut text = String::from(if done {
        "deleted:\n"
    } else {
        "would delete:\n"
    });
    text.push_str(&objects(&[
        ("snapshot", &pruning.snapshots),
        ("archive", &pruning.archives),
    ]));
    if !done {
        text.push_str("nothing was deleted; pass --yes to delete\n");
    }
    text
}

/// One line per date, and their total.
pub(super) fn objects(groups: &[(&str, &[Objects])]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, date: &str, objects: u64, size: u64| {
        let _ = writeln!(
            text,
            "  {name:<10}{date:<10}{:>10} objects{:>14}",
            count(objects),
            bytes(size)
        );
    };
    let (mut objects, mut size) = (0, 0);
    for (name, dates) in groups {
        for date in *dates {
            line(name, &date.snapshot.to_string(), date.objects, date.bytes);
            objects += date.objects;
            size += date.bytes;
        }
    }
    line("total", "", objects, size);
    text
}
