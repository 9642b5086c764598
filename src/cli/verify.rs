//! `verify`: audit what is published.

use std::fmt::Write as _;

use serde::Serialize;

use super::LakeArgs;
use super::output::{self, Output, bytes, counted};
use crate::error::{Error, Result};
use crate::lake::{Audit, audit, log_differences, snapshots, strays};
use crate::store::Store;

pub(super) async fn verify(args: &LakeArgs, output: Output) -> Result<()> {
    let store = Store::open(&args.lake)?;
    let dates = match args.snapshot {
        Some(date) => vec![date],
        None => snapshots(&store).await?,
    };
    let mut audits = Vec::new();
    for date in dates {
        let audit = audit(&store, date).await?;
        audits.push(audit.ok_or_else(|| {
            Error::usage(format!("snapshot {date} is not published in {}", args.lake))
                .with_hint("`backlake snapshots` lists what is")
        })?);
    }
    let mut beside = Vec::new();
    if args.snapshot.is_none() {
        beside.extend(strays(&store).await?);
        beside.extend(log_differences(&store).await?);
    }
    let problems = audits
        .iter()
        .map(|audit| audit.problems.len())
        .sum::<usize>()
        + beside.len();
    let report = Report {
        snapshots: &audits,
        strays: &beside,
    };
    output::report(&report, || text(&report), output)?;
    if problems == 0 {
        return Ok(());
    }
    let error = Error::unexpected(format!(
        "{} in {}",
        counted(problems as u64, "problem"),
        args.lake
    ));
    Err(error
        .with_hint("do not trust what is named above; restore its files from a copy, or run its pipeline again where there is no manifest")
        .mark_reported())
}

/// What `verify` finds.
#[derive(Serialize)]
struct Report<'a> {
    snapshots: &'a [Audit],
    /// Files that no manifest names, and what the Delta logs say otherwise than the manifests.
    strays: &'a [String],
}

fn text(
    Report {
        snapshots: audits,
        strays,
    }: &Report<'_>,
) -> String {
    let mut text = String::new();
    for audit in *audits {
        let verdict = if audit.problems.is_empty() {
            "ok"
        } else {
            "BROKEN"
        };
        let _ = writeln!(
            text,
            "{}  {verdict:<6}  {}, {}, {}",
            audit.snapshot,
            counted(audit.files, "file"),
            counted(audit.rows, "row"),
            bytes(audit.bytes)
        );
        for problem in &audit.problems {
            let _ = writeln!(text, "    {problem}");
        }
    }
    for stray in *strays {
        let _ = writeln!(text, "{stray}");
    }
    if audits.is_empty() {
        text.push_str("no snapshot is published\n");
    }
    text
}
