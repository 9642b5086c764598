//! `check`: check everything that a run needs besides its target lists, for free.

use std::fmt::Write as _;

use clap::Args;

use super::args::{BudgetArgs, PipelineArgs};
use super::console::{Console, Failure};
use super::format::{count, rounded};
use super::run_text::provider;
use crate::counted::counted;
use crate::error::{Error, ErrorKind};
use crate::money::Usd;
use crate::pipeline::{self, CheckReport, CheckScope, Reconciled, Surroundings};

const EXAMPLES: &str = "\
Examples:
  backlake check pipelines/demo.toml
  backlake check pipelines/nightly.toml --reconcile --snapshot 2026-11-23
  DATAFORSEO_LOGIN=… DATAFORSEO_PASSWORD_FILE=… backlake check pipelines/nightly.toml

`backlake plan` checks the target lists. --reconcile exits with 7 if it finds differences.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Compare the recorded requests and costs with the provider's task list
    #[arg(long)]
    reconcile: bool,
}

impl CheckArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let pipeline = self.pipeline.load(BudgetArgs::default(), console)?;
        let scope = if self.reconcile {
            CheckScope::Reconcile
        } else {
            CheckScope::Setup
        };
        let env = Surroundings::of_process(&console.clock, 0);
        let report = pipeline::check(&pipeline, scope, &env).await?;
        let found = report.reconciled.as_ref();
        let error = found.filter(|found| found.different > 0).map(differences);
        console.end(&report, || text(&report), error)
    }
}

fn differences(found: &Reconciled) -> Error {
    let message = format!(
        "the ledger of snapshot {} and the provider's task list differ in {}",
        found.snapshot,
        counted(found.different, "request")
    );
    let hint = "if the run was interrupted, continue it: that settles unknown charges; otherwise ask the provider, with the tags above";
    Error::new(ErrorKind::FoundProblems, message).with_hint(hint)
}

fn text(report: &CheckReport) -> String {
    let mut text = format!(
        "pipeline {}: configuration, credentials and lake are in order\n\n",
        report.pipeline
    );
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<22}{value}");
    };
    let known = |amount: Option<Usd>| {
        amount.map_or_else(|| "not reported".to_owned(), |usd| format!("${usd}"))
    };
    let limit = report.requests_per_minute;
    row("provider", provider(&report.provider, report.invented));
    row("lake", report.lake.clone());
    row(
        "balance",
        report
            .balance_usd
            .map_or_else(|| "not reported".to_owned(), rounded),
    );
    row("price per request", known(report.price_per_request_usd));
    row("price per row", known(report.price_per_row_usd));
    row(
        "requests per minute",
        limit.map_or_else(|| "not reported".to_owned(), |limit| count(limit.into())),
    );
    if let Some(found) = &report.reconciled {
        text.push_str(&reconciled(found));
    }
    text
}

fn reconciled(found: &Reconciled) -> String {
    let mut text = format!("\nledger of snapshot {}\n\n", found.snapshot);
    for (name, value) in [
        ("requests", count(found.requests)),
        ("cost in the ledger", format!("${}", found.recorded_usd)),
        ("cost at the provider", format!("${}", found.charged_usd)),
        ("differences", count(found.different)),
    ] {
        let _ = writeln!(text, "  {name:<22}{value}");
    }
    for difference in &found.first_differences {
        let _ = writeln!(text, "    {difference}");
    }
    text
}
