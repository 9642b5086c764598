//! `snapshots`: what is published.

use std::fmt::Write as _;

use super::LakeArgs;
use super::output::{self, Output, bytes, count};
use crate::error::Result;
use crate::lake::{Manifest, snapshots};
use crate::store::Store;

pub(super) async fn list(args: &LakeArgs, output: Output) -> Result<()> {
    let store = Store::open(&args.lake)?;
    let mut manifests = Vec::new();
    for date in snapshots(&store)
        .await?
        .into_iter()
        .filter(|date| args.snapshot.is_none_or(|only| only == *date))
    {
        manifests.extend(Manifest::read(&store, date).await?);
    }
    output::report(&manifests, || text(&manifests), output)
}

fn text(manifests: &[Manifest]) -> String {
    if manifests.is_empty() {
        return "no snapshot is published\n".to_owned();
    }
    let mut text = format!(
        "{:<12}{:>12}{:>12}{:>10}{:>10}{:>14}{:>12}  {}\n",
        "snapshot", "lines", "returned", "absent", "requests", "cost", "size", "pipeline"
    );
    for manifest in manifests {
        let _ = writeln!(
            text,
            "{:<12}{:>12}{:>12}{:>10}{:>10}{:>14}{:>12}  {}",
            manifest.snapshot.to_string(),
            count(manifest.tally.lines),
            count(manifest.tally.fates.returned),
            count(manifest.tally.fates.absent),
            count(manifest.tally.requests.sent),
            format!("${}", manifest.tally.requests.cost_usd),
            bytes(manifest.bytes()),
            manifest.question.pipeline,
        );
    }
    text
}
