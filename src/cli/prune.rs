//! `prune`: take away old snapshots and archives; without --yes, say what would go.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::output::{self, Output, bytes, count};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::store::{Owner, Store};
use crate::upkeep::{Keep, Objects, Pruning, prune, to_prune};

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// The lake: a path, s3://, gs:// or az://
    lake: String,
    /// Keep the newest N snapshots
    #[arg(long, value_name = "N")]
    keep_snapshots: Option<u32>,
    /// Keep the snapshots of the last DAYS days
    #[arg(long, value_name = "DAYS")]
    keep_snapshots_days: Option<u32>,
    /// Keep the newest N archives; a snapshot without its archive cannot be replayed
    #[arg(long, value_name = "N")]
    keep_archives: Option<u32>,
    /// Keep the archives of the last DAYS days
    #[arg(long, value_name = "DAYS")]
    keep_archives_days: Option<u32>,
    /// Do it; without this nothing is taken away
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(args: &PruneArgs, clock: &Clock, output: Output) -> Result<()> {
    let snapshots = Keep {
        newest: args.keep_snapshots,
        days: args.keep_snapshots_days,
    };
    let archives = Keep {
        newest: args.keep_archives,
        days: args.keep_archives_days,
    };
    if snapshots == Keep::default() && archives == Keep::default() {
        return Err(Error::usage("nothing says what to keep").with_hint(
            "pass --keep-snapshots or --keep-snapshots-days, --keep-archives or --keep-archives-days",
        ));
    }
    let store = Store::open(&args.lake)?;
    let pruning = to_prune(&store, snapshots, archives, clock.today()).await?;
    if args.yes {
        prune(
            &store,
            &pruning,
            &Owner::this_process(),
            clock,
            &crate::stop::Stop::default(),
        )
        .await?;
    }
    let report =
        json!({ "pruned": args.yes, "snapshots": pruning.snapshots, "archives": pruning.archives });
    output::report(&report, || text(&pruning, args.yes), output)
}

fn text(pruning: &Pruning, done: bool) -> String {
    if pruning.snapshots.is_empty() && pruning.archives.is_empty() {
        return "nothing is old enough to go\n".to_owned();
    }
    let mut text = String::from(if done {
        "taken away:\n"
    } else {
        "would be taken away:\n"
    });
    for (what, dropped) in [
        ("snapshot", &pruning.snapshots),
        ("archive", &pruning.archives),
    ] {
        text.push_str(&objects(what, dropped));
    }
    if !done {
        text.push_str("nothing was taken away; add --yes to do it\n");
    }
    text
}

/// A line for the objects of each date.
pub(super) fn objects(what: &str, dates: &[Objects]) -> String {
    let mut text = String::new();
    for Objects {
        snapshot,
        objects,
        bytes: size,
    } in dates
    {
        let _ = writeln!(
            text,
            "  {what:<10}{snapshot}{:>10} objects{:>12}",
            count(*objects),
            bytes(*size)
        );
    }
    text
}
