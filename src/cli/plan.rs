//! `plan`: what would be sent and what it would cost.

use std::fmt::Write as _;

use super::output::{self, Output, count, counted, duration};
use crate::clock::Clock;
use crate::error::Result;
use crate::pipeline::{self, Pipeline, PlanReport, PricesFrom, Surroundings};

pub(super) async fn plan(pipeline: &Pipeline, clock: &Clock, output: Output) -> Result<()> {
    let report = pipeline::plan(pipeline, &Surroundings::of_process(clock, 0)).await?;
    output::report(&report, || text(&report, pipeline), output)
}

fn text(report: &PlanReport, pipeline: &Pipeline) -> String {
    let mut text = format!(
        "plan of {} for {}: nothing is sent\n\n",
        report.pipeline, report.snapshot
    );
    let domains = format!("in {}", counted(report.root_domains, "root domain"));
    let _ = writeln!(text, "  {:<14}{:>12}", "lines", count(report.lines));
    let _ = writeln!(
        text,
        "  {:<14}{:>12}  {domains}",
        "targets",
        count(report.targets)
    );
    let _ = writeln!(
        text,
        "  {:<14}{:>12}",
        "duplicates",
        count(report.duplicates)
    );
    let _ = writeln!(text, "  {:<14}{:>12}", "invalid", count(report.invalid));
    for line in &report.first_invalid {
        let _ = writeln!(
            text,
            "      {} line {}: `{}`: {}",
            line.source,
            line.line,
            line.input.escape_debug(),
            line.reason.escape_debug()
        );
    }
    if report.invalid > report.first_invalid.len() as u64 {
        let _ = writeln!(
            text,
            "      and {} more",
            count(report.invalid - report.first_invalid.len() as u64)
        );
    }
    let _ = writeln!(
        text,
        "\n  {:<14}{:>12}{:>14}{:>14}",
        "", "requests", "cost", "time"
    );
    let pace = pipeline.pace();
    for (name, requests, cost) in [
        ("planned", report.requests, report.cost_usd),
        (
            "lower bound",
            report.lower_bound,
            report.cost_usd_lower_bound,
        ),
        (
            "in input order",
            report.requests_in_input_order,
            report.cost_usd_in_input_order,
        ),
    ] {
        let time = duration(pace.seconds(requests));
        let _ = writeln!(
            text,
            "  {name:<14}{:>12}{:>14}{time:>14}",
            count(requests),
            cost.rounded()
        );
    }
    let _ = writeln!(
        text,
        "\n  at ${} a request and ${} a row ({}), {} in flight and {} requests a minute, {} s an answer",
        report.means.price_per_request_usd,
        report.means.price_per_row_usd,
        match report.means.prices_from {
            PricesFrom::File => "[price]",
            PricesFrom::Account => "the account's prices",
            PricesFrom::List => "list prices",
        },
        pace.max_in_flight,
        count(u64::from(pace.requests_per_minute)),
        pace.latency.as_secs_f64(),
    );
    if let (Some(balance), Some(covers)) = (report.means.balance_usd, report.balance_covers) {
        let verdict = if covers {
            "covers it"
        } else {
            "does not cover it: the run will not start"
        };
        let _ = writeln!(text, "  the balance of {} {verdict}", balance.rounded());
    }
    if let Some(ceiling) = report.max_cost_usd {
        let verdict = if report.cost_usd > ceiling {
            "does not cover it: the run will stop there"
        } else {
            "covers it"
        };
        let _ = writeln!(text, "  the budget of {} {verdict}", ceiling.rounded());
    }
    text
}
