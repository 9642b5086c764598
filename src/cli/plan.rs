//! `plan`: show what a first run would send and cost; send no paid request.

use std::fmt::Write as _;

use clap::Args;

use super::args::{BudgetArgs, PipelineArgs};
use super::console::{Console, Failure};
use super::format::{count, duration, rounded, rounded_up};
use super::run_text::{columns, provider};
use crate::counted::counted;
use crate::pipeline::{self, Pipeline, PlanReport, PricesFrom, RefusedBefore, Surroundings};
use crate::visible::escaped;

const EXAMPLES: &str = "\
Examples:
  backlake plan pipelines/demo.toml
  backlake plan pipelines/nightly.toml --output json
  zcat pages.txt.gz | backlake plan from-stdin.toml        (with paths = [\"-\"])

The plan is for a first run: it also counts targets that are already archived.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    budget: BudgetArgs,
}

impl PlanArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let pipeline = self.pipeline.load(self.budget, console)?;
        let env = Surroundings::of_process(&console.clock, 0);
        let report = pipeline::plan(&pipeline, &env).await?;
        Ok(console.report(&report, || text(&report, &pipeline))?)
    }
}

fn text(report: &PlanReport, pipeline: &Pipeline) -> String {
    let mut text = format!(
        "plan of {} for {}: nothing is paid\n\n",
        report.pipeline, report.snapshot
    );
    let asked = provider(&report.provider, report.invented);
    let _ = writeln!(text, "  {:<14}{asked}", "provider");
    let domains = format!("in {}", counted(report.root_domains, "root domain"));
    for (name, number, note) in [
        ("lines", report.lines, ""),
        ("targets", report.targets, domains.as_str()),
        ("duplicates", report.duplicates, ""),
        ("invalid", report.invalid, ""),
    ] {
        let line = format!("  {name:<14}{:>12}  {note}", count(number));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    invalid(report, &mut text);
    text += &columns(&report.lists);
    if report.unescaped > 0 {
        let lines = counted(report.unescaped, "line");
        let _ = writeln!(text, "      `&amp;` is read as `&` in {lines}");
    }
    costs(report, pipeline, &mut text);
    cover(report, &mut text);
    if let Some(before) = &report.refused_before {
        refused_before(before, &mut text);
    }
    text
}

/// The first invalid lines, escaped: they come from a file.
pub(super) fn invalid(report: &PlanReport, text: &mut String) {
    for line in &report.first_invalid {
        let _ = writeln!(
            text,
            "      {} line {}: `{}`: {}",
            escaped(&line.source),
            line.line,
            escaped(&line.input),
            escaped(&line.reason)
        );
    }
    let more = report.invalid - report.first_invalid.len() as u64;
    if more > 0 {
        let _ = writeln!(text, "      and {} more", count(more));
    }
}

fn costs(report: &PlanReport, pipeline: &Pipeline, text: &mut String) {
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
        let _ = writeln!(
            text,
            "  {name:<14}{:>12}{:>14}{:>14}",
            count(requests),
            rounded_up(cost),
            duration(pace.seconds(requests))
        );
    }
    let prices = match (report.means.prices_from, report.invented) {
        (PricesFrom::File, _) => "prices of the pipeline file",
        (PricesFrom::Account, true) => "the simulator's prices",
        (PricesFrom::Account, false) => "the account's prices",
        (PricesFrom::List, _) => "list prices",
    };
    let _ = writeln!(
        text,
        "\n  ${} per request and ${} per row ({prices}); {} in flight, {} requests per minute, {} s per response",
        report.means.price_per_request_usd,
        report.means.price_per_row_usd,
        pace.max_in_flight,
        count(u64::from(pace.requests_per_minute)),
        pace.latency.as_secs_f64(),
    );
}

/// Whether balance and budget cover the plan.
fn cover(report: &PlanReport, text: &mut String) {
    if let (Some(balance), Some(covers)) = (report.means.balance_usd, report.balance_covers) {
        let verdict = if covers {
            "covers the plan"
        } else {
            "does not cover the plan: the run will not start"
        };
        let _ = writeln!(text, "  the balance of {} {verdict}", rounded(balance));
    }
    if let Some(ceiling) = report.max_cost_usd {
        let verdict = if report.cost_usd > ceiling {
            "does not cover the plan: the run will stop there"
        } else {
            "covers the plan"
        };
        let _ = writeln!(text, "  the budget of {} {verdict}", rounded(ceiling));
    }
}

/// The targets that the provider refused in earlier runs.
fn refused_before(before: &RefusedBefore, text: &mut String) {
    if let Some(until) = before.skipped_until {
        let skipped = counted(before.skipped, "target");
        let _ = writeln!(
            text,
            "  not asked for: {skipped} that the provider refused before; the last one not before {until}"
        );
    }
    if before.asked_again > 0 {
        let _ = writeln!(
            text,
            "  asked for again: {} that the provider refused before; if it still does, about {} more and ${}",
            counted(before.asked_again, "target"),
            counted(before.requests, "request"),
            before.cost_usd
        );
    }
}
