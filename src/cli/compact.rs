//! `compact`: bundle the small objects of published snapshots; without --yes, say which would be.

use clap::Args;
use serde_json::json;

use super::output::{self, Output};
use super::prune::objects;
use crate::clock::Clock;
use crate::error::Result;
use crate::store::{Owner, Store};
use crate::upkeep::{compact, to_compact};

#[derive(Debug, Args)]
pub(super) struct CompactArgs {
    /// The lake: a path, s3://, gs:// or az://
    lake: String,
    /// Leave the snapshots of the last DAYS days as they are
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Do it; without this nothing is changed
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(args: &CompactArgs, clock: &Clock, output: Output) -> Result<()> {
    let store = Store::open(&args.lake)?;
    let found = to_compact(&store, args.keep_days, clock.today()).await?;
    if args.yes {
        let dates: Vec<_> = found.iter().map(|found| found.snapshot).collect();
        compact(
            &store,
            &dates,
            &Owner::this_process(),
            clock,
            &crate::stop::Stop::default(),
        )
        .await?;
    }
    let text = || {
        if found.is_empty() {
            return "nothing is left to bundle\n".to_owned();
        }
        let mut text = String::from(if args.yes {
            "bundled:\n"
        } else {
            "would be bundled:\n"
        });
        text.push_str(&objects("archive", &found));
        if !args.yes {
            text.push_str("nothing was changed; add --yes to do it\n");
        }
        text
    };
    output::report(
        &json!({ "bundled": args.yes, "archives": found }),
        text,
        output,
    )
}
