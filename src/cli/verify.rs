//! `verify`: audit published snapshots.

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;
use serde::Serialize;

use super::args::{Lake, LakeArg};
use super::console::{Console, Failure};
use super::format::bytes;
use crate::clock::date;
use crate::counted::counted;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{Audit, audit, snapshots, strays, table_differences};
use crate::ledger::{ArchiveAudit, Ledger};
use crate::store::Store;
use crate::upkeep::dates;

const EXAMPLES: &str = "\
Examples:
  backlake verify lake
  backlake verify lake --snapshot 2026-11-23 --output json
  backlake verify lake --archive

Exits with 7 if it finds problems.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// Only this snapshot
    #[arg(long, value_name = "DATE", value_parser = date)]
    snapshot: Option<NaiveDate>,
    /// Also read every archived response and bundle, and compare them with what was received
    #[arg(long)]
    archive: bool,
}

/// The result of an audit.
#[derive(Serialize)]
struct Report {
    snapshots: Vec<Audit>,
    /// The archives, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    archives: Vec<ArchiveAudit>,
    /// Files that no manifest names or that a killed process has left, and differences between table metadata and manifests.
    strays: Vec<String>,
}

impl VerifyArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let lake = self.lake.open(&console.clock).await?;
        let report = self.audit(&lake, console.clock.now()).await?;
        let problems = report.problems();
        let error = (problems > 0).then(|| found(problems, &lake.url));
        console.end(&report, || text(&report), error)
    }

    async fn audit(&self, lake: &Lake, now: DateTime<Utc>) -> Result<Report> {
        let store = &lake.store;
        let dates = match self.snapshot {
            Some(date) => vec![date],
            None => snapshots(store).await?,
        };
        let mut report = Report {
            snapshots: Vec::new(),
            archives: self.audit_archives(store).await?,
            strays: Vec::new(),
        };
        for date in dates {
            match audit(store, date).await? {
                Some(audit) => report.snapshots.push(audit),
                // An open snapshot has an archive, too.
                None if !report.archives.is_empty() => {}
                None => {
                    let lake = &lake.url;
                    let message = format!("snapshot {date} is not published in {lake}");
                    let hint = "`backlake snapshots` lists the published snapshots";
                    return Err(Error::usage(message).with_hint(hint));
                }
            }
        }
        if self.snapshot.is_none() {
            report.strays.extend(strays(store, now).await?);
            report.strays.extend(store.leftovers(now)?);
            report.strays.extend(table_differences(store, now).await?);
        }
        Ok(report)
    }

    async fn audit_archives(&self, store: &Store) -> Result<Vec<ArchiveAudit>> {
        let mut archives = Vec::new();
        if !self.archive {
            return Ok(archives);
        }
        let dates = match self.snapshot {
            Some(date) => [date].into(),
            None => dates(store).await?,
        };
        for date in dates {
            let ledger = Ledger::new(store.clone(), date);
            archives.extend(ledger.audit_archive().await?);
        }
        Ok(archives)
    }
}

fn found(problems: u64, lake: &str) -> Error {
    let message = format!("{} in {lake}", counted(problems, "problem"));
    let hint = "`backlake replay FILE --snapshot DATE` restores lost and damaged files of a snapshot from its archive, for free; damaged files in _archive and _runs can only be restored from a backup; a file that no manifest names can be deleted if no run is active and every manifest can be read";
    Error::new(ErrorKind::FoundProblems, message).with_hint(hint)
}

impl Report {
    fn problems(&self) -> u64 {
        let snapshots = self.snapshots.iter().map(|audit| audit.problems.len());
        let archives = self.archives.iter().map(|audit| audit.problems.len());
        (snapshots.chain(archives).sum::<usize>() + self.strays.len()) as u64
    }
}

/// What was audited of a date, and what was found.
fn entry(text: &mut String, date: NaiveDate, audited: &str, problems: &[String]) {
    let verdict = if problems.is_empty() { "ok" } else { "BROKEN" };
    let _ = writeln!(text, "{date}  {verdict:<6}  {audited}");
    for problem in problems {
        let _ = writeln!(text, "    {problem}");
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for audit in &report.snapshots {
        let (files, rows) = (counted(audit.files, "file"), counted(audit.rows, "row"));
        let audited = format!("{files}, {rows}, {}", bytes(audit.bytes));
        entry(&mut text, audit.snapshot, &audited, &audit.problems);
    }
    for archive in &report.archives {
        let responses = counted(archive.responses, "response");
        let audited = format!("archive: {responses}, {}", bytes(archive.bytes));
        entry(&mut text, archive.snapshot, &audited, &archive.problems);
    }
    for stray in &report.strays {
        let _ = writeln!(text, "{stray}");
    }
    if report.snapshots.is_empty() {
        text.push_str("no snapshot is published\n");
    }
    text
}
