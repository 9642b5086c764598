//! `snapshots`: list published snapshots, and name those that are not published yet.

use std::fmt::Write as _;

use chrono::NaiveDate;
use clap::Args;
use tracing::warn;

use super::args::{LakeArg, date};
use super::console::{Console, Failure};
use super::format::{bytes, count};
use crate::lake::{Manifest, snapshots};
use crate::store::Store;
use crate::upkeep::open_snapshots;

const EXAMPLES: &str = "\
Examples:
  backlake snapshots lake
  backlake snapshots lake --output json";

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
        let store = Store::open(&self.lake.lake)?;
        let mut dates = snapshots(&store).await?;
        let mut open = open_snapshots(&store).await?;
        for dates in [&mut dates, &mut open] {
            dates.retain(|date| self.snapshot.is_none_or(|only| only == *date));
        }
        // A manifest that cannot be read does not hide the others.
        let (mut manifests, mut damaged) = (Vec::new(), None);
        for date in dates {
            match Manifest::read(&store, date).await {
                Ok(manifest) => manifests.extend(manifest),
                Err(error) => {
                    warn!(%error, "snapshot {date} is not listed");
                    damaged.get_or_insert(error);
                }
            }
        }
        console.report(&manifests, || text(&manifests, &open))?;
        damaged.map_or(Ok(()), |error| Err(Failure::Reported(error)))
    }
}

fn text(manifests: &[Manifest], open: &[NaiveDate]) -> String {
    let mut text = if manifests.is_empty() {
        "no snapshot is published\n".to_owned()
    } else {
        table(manifests)
    };
    for date in open {
        let _ = writeln!(
            text,
            "{date}  not published yet: `backlake run FILE --snapshot {date}` continues it"
        );
    }
    text
}

fn table(manifests: &[Manifest]) -> String {
    let mut text = format!(
        "{:<12}{:>12}{:>12}{:>10}{:>10}{:>14}{:>12}  {}\n",
        "snapshot", "lines", "returned", "absent", "requests", "cost", "size", "pipeline"
    );
    for manifest in manifests {
        let tally = &manifest.tally;
        let invented = if manifest.question.invented {
            " (invented data)"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "{:<12}{:>12}{:>12}{:>10}{:>10}{:>14}{:>12}  {}{invented}",
            manifest.snapshot.to_string(),
            count(tally.lines),
            count(tally.fates.returned),
            count(tally.fates.absent),
            count(tally.requests.sent),
            format!("${}", tally.requests.cost_usd),
            bytes(manifest.bytes()),
            manifest.question.pipeline,
        );
    }
    text
}
