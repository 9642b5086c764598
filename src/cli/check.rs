//! `check`: everything a run needs is there, and nothing is paid to find out.

use std::fmt::Write as _;

use super::output::{self, Output};
use crate::clock::Clock;
use crate::error::Result;
use crate::pipeline::{self, CheckReport, Pipeline, Surroundings};

pub(super) async fn check(pipeline: &Pipeline, clock: &Clock, output: Output) -> Result<()> {
    let around = Surroundings {
        clock: clock.clone(),
        seed: 0,
        variable: &|name| std::env::var(name).ok(),
        hear: &|_| {},
    };
    let report = pipeline::check(pipeline, &around).await?;
    output::report(&report, || text(&report), output)
}

fn text(report: &CheckReport) -> String {
    let mut text = format!("pipeline {} is ready to run\n\n", report.pipeline);
    let known = |amount: Option<crate::money::Usd>| {
        amount.map_or_else(|| "not told".to_owned(), |usd| format!("${usd}"))
    };
    let _ = writeln!(text, "  {:<22}{}", "asks", report.base_url);
    let _ = writeln!(text, "  {:<22}{}", "writes to", report.lake);
    let _ = writeln!(text, "  {:<22}{}", "balance", known(report.balance_usd));
    let _ = writeln!(text, "  {:<22}{}", "price of a request", known(report.price_per_request_usd));
    let _ = writeln!(text, "  {:<22}{}", "price of a row", known(report.price_per_row_usd));
    let limit =
        report.requests_per_minute.map_or_else(|| "not told".to_owned(), |limit| output::count(limit.into()));
    let _ = writeln!(text, "  {:<22}{limit}", "requests a minute");
    text
}
