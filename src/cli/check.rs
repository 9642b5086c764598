//! `check`: what a run needs besides its target lists is there, and nothing is paid to find out.

use std::fmt::Write as _;

use clap::Args;

use super::PipelineArgs;
use super::output::{self, Output};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::pipeline::{self, CheckReport, CheckScope, Pipeline, Reconciled, Surroundings};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,
    /// Hold the books of the snapshot to the provider's list of tasks, request by request
    #[arg(long)]
    pub(super) reconcile: bool,
}

pub(super) async fn check(
    pipeline: &Pipeline,
    scope: CheckScope,
    clock: &Clock,
    output: Output,
) -> Result<()> {
    let report = pipeline::check(pipeline, scope, &Surroundings::of_process(clock, 0)).await?;
    output::report(&report, || text(&report), output)?;
    match &report.reconciled {
        Some(books) if books.different > 0 => {
            let Reconciled {
                snapshot,
                different,
                ..
            } = books;
            let message = format!(
                "the books of snapshot {snapshot} differ from the provider's in {different} requests"
            );
            let hint = "a run that was broken off settles them when it is continued; otherwise ask the provider, with the tags above";
            Err(Error::unexpected(message).with_hint(hint).mark_reported())
        }
        _ => Ok(()),
    }
}

fn text(report: &CheckReport) -> String {
    let mut text = format!(
        "pipeline {}: configuration, credentials and lake are in order (target lists: see `backlake plan`)\n\n",
        report.pipeline
    );
    let known = |amount: Option<crate::money::Usd>| {
        amount.map_or_else(|| "not told".to_owned(), |usd| format!("${usd}"))
    };
    let _ = writeln!(text, "  {:<22}{}", "asks", report.base_url);
    let _ = writeln!(text, "  {:<22}{}", "writes to", report.lake);
    let _ = writeln!(text, "  {:<22}{}", "balance", known(report.balance_usd));
    let _ = writeln!(
        text,
        "  {:<22}{}",
        "price of a request",
        known(report.price_per_request_usd)
    );
    let _ = writeln!(
        text,
        "  {:<22}{}",
        "price of a row",
        known(report.price_per_row_usd)
    );
    let limit = report.requests_per_minute.map_or_else(
        || "not told".to_owned(),
        |limit| output::count(limit.into()),
    );
    let _ = writeln!(text, "  {:<22}{limit}", "requests a minute");
    if let Some(books) = &report.reconciled {
        let _ = writeln!(text, "\nbooks of snapshot {}\n", books.snapshot);
        let _ = writeln!(
            text,
            "  {:<22}{}",
            "requests",
            output::count(books.requests)
        );
        let _ = writeln!(text, "  {:<22}${}", "cost by the books", books.recorded_usd);
        let _ = writeln!(text, "  {:<22}${}", "by the provider", books.charged_usd);
        let _ = writeln!(
            text,
            "  {:<22}{}",
            "different",
            output::count(books.different)
        );
        for difference in &books.first_differences {
            let _ = writeln!(text, "    {difference}");
        }
    }
    text
}
