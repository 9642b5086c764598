//! Reads the target lists, and says what a first run would send and cost.

use super::means::means_for_plan;
use super::report::{InvalidLine, PlanReport};
use super::spec::Pipeline;
use super::surroundings::Surroundings;
use crate::error::{Context, Error, Result};
use crate::plan::{Estimate, Plan, requests_in_input_order};
use crate::targets::{LineEnd, TargetList};

/// Invalid lines that reports show.
const FIRST_INVALID: usize = 5;

/// Reads the target lists and plans. Nothing is sent, but that the account is asked for its prices, free of charge,
/// where credentials are there.
///
/// # Errors
/// Target lists that are missing, broken or empty, or that hold no valid target.
pub async fn plan(pipeline: &Pipeline, env: &Surroundings<'_>) -> Result<PlanReport> {
    let reader = pipeline.clone();
    let read = tokio::task::spawn_blocking(move || {
        let list = read_targets(&reader)?;
        let plan = Plan::of(&list);
        Ok::<_, Error>((list, plan))
    });
    let (list, plan) = read.await.context(|| "planning panicked")??;
    let means = means_for_plan(pipeline, env).await?;
    let targets = list.target_count() as u64;
    let estimate = |requests| Estimate::of(requests, targets, &means.prices(), &pipeline.pace());
    let (planned, bound) = (estimate(plan.requests()), estimate(plan.lower_bound()));
    let in_input_order = estimate(requests_in_input_order(&list));
    Ok(PlanReport {
        pipeline: pipeline.name.clone(),
        snapshot: pipeline.snapshot,
        lines: list.line_count() as u64,
        targets,
        root_domains: list.root_domain_count() as u64,
        duplicates: list.duplicate_count() as u64,
        invalid: list.invalid_count() as u64,
        first_invalid: first_invalid(&list),
        requests: planned.requests,
        lower_bound: bound.requests,
        requests_in_input_order: in_input_order.requests,
        cost_usd: planned.cost,
        cost_usd_lower_bound: bound.cost,
        cost_usd_in_input_order: in_input_order.cost,
        means,
        balance_covers: means.balance_usd.map(|balance| balance >= planned.cost),
        seconds: planned.seconds,
        max_cost_usd: pipeline.max_cost_usd,
    })
}

pub(super) fn read_targets(pipeline: &Pipeline) -> Result<TargetList> {
    let list = TargetList::read(&pipeline.sources, &pipeline.rules)?;
    let sources = pipeline.sources.paths.join(", ");
    if list.line_count() == 0 {
        return Err(Error::usage(format!("the target list is empty: {sources}"))
            .with_hint("nothing was sent; put one target a line into it"));
    }
    if list.target_count() == 0 {
        let first: Vec<String> = first_invalid(&list)
            .iter()
            .map(|line| {
                format!(
                    "{} line {}: `{}`: {}",
                    line.source,
                    line.line,
                    line.input.escape_debug(),
                    line.reason.escape_debug()
                )
            })
            .collect();
        return Err(Error::usage(format!(
            "none of {} lines is a valid target; the first: {}",
            list.line_count(),
            first.join("; ")
        ))
        .with_hint("nothing was sent; check the list's format and [targets] column"));
    }
    Ok(list)
}

fn first_invalid(list: &TargetList) -> Vec<InvalidLine> {
    let invalid = list.lines().filter_map(|line| match line.end {
        LineEnd::Invalid(reason) => Some(InvalidLine {
            source: line.source.to_owned(),
            line: line.number,
            input: line.input.chars().take(120).collect(),
            reason: reason.to_owned(),
        }),
        LineEnd::Target(_) | LineEnd::Duplicate { .. } => None,
    });
    if list.invalid_count() == 0 {
        Vec::new()
    } else {
        invalid.take(FIRST_INVALID).collect()
    }
}
