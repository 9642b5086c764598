//! Reads the target lists, and estimates what a first run would send and cost.

use std::sync::Arc;

use super::connect::{connect, credentials_for};
use super::invalid::{described, first_invalid, reasons, refuse_mistaken};
use super::lists::{Lists, find_lists};
use super::means::Means;
use super::ready::{Pipeline, TargetSettings};
use super::refusals::refused_before;
use super::report::PlanReport;
use super::surroundings::Surroundings;
use crate::clock::Clock;
use crate::error::{Context, Error, Result};
use crate::fetch::fetch_account;
use crate::plan::{Estimate, Plan, requests_in_input_order};
use crate::secret::shown;
use crate::stop::Stop;
use crate::store::Store;
use crate::targets::TargetList;

/// Reads the target lists and plans. Nothing is sent; if there are credentials, the account is read
/// for its prices, which is free.
///
/// # Errors
/// Target lists that are missing, damaged or empty, or that have no valid target or too many invalid
/// lines.
pub async fn plan(pipeline: &Pipeline, env: &Surroundings<'_>) -> Result<PlanReport> {
    // Refuse a lake that `run` would refuse.
    if env.store.is_none() {
        Store::check(&pipeline.lake.url)?;
    }
    let list = read_targets(&pipeline.targets, &env.clock, &env.stop).await?;
    refuse_mistaken(&list, &pipeline.targets)?;
    let means = read_means(pipeline, env).await?;
    let refused_before = refused_before(pipeline, &list, &means, env).await;
    let report = planned(pipeline, list, means).await?;
    Ok(PlanReport {
        refused_before,
        ..report
    })
}

/// What a first run for these targets would send, and what it would cost with these means.
pub(super) async fn planned(
    pipeline: &Pipeline,
    list: TargetList,
    means: Means,
) -> Result<PlanReport> {
    let planned = tokio::task::spawn_blocking(move || {
        let plan = Plan::of(&list);
        (list, plan)
    });
    let (list, plan) = planned.await.context(|| "planning panicked")?;
    let targets = list.target_count() as u64;
    let estimate = |requests| Estimate::of(requests, targets, &means.prices(), &pipeline.pace());
    let (planned, bound) = (estimate(plan.requests()), estimate(plan.lower_bound()));
    let in_input_order = estimate(requests_in_input_order(&list));
    Ok(PlanReport {
        pipeline: pipeline.name.clone(),
        provider: pipeline.api.provider.name(),
        invented: pipeline.api.provider.is_invented(),
        snapshot: pipeline.snapshot,
        lines: list.line_count() as u64,
        targets,
        root_domains: list.root_domain_count() as u64,
        duplicates: list.duplicate_count() as u64,
        invalid: list.invalid_count() as u64,
        unescaped: list.unescaped_count() as u64,
        first_invalid: first_invalid(&list),
        invalid_reasons: reasons(&list),
        lists: list.read_as().to_vec(),
        requests: planned.requests,
        lower_bound: bound.requests,
        requests_in_input_order: in_input_order.requests,
        cost_usd: planned.cost,
        cost_usd_lower_bound: bound.cost,
        cost_usd_in_input_order: in_input_order.cost,
        means,
        balance_covers: means.balance_usd.map(|balance| balance >= planned.cost),
        seconds: planned.seconds,
        max_cost_usd: pipeline.budget.max_cost_usd,
        refused_before: None,
    })
}

/// Reads the account for its prices. Without credentials, or if that fails, the list prices apply.
async fn read_means(pipeline: &Pipeline, env: &Surroundings<'_>) -> Result<Means> {
    let Ok(credentials) = credentials_for(pipeline, env) else {
        return Means::of(pipeline, None);
    };
    let connection = connect(pipeline, &credentials, env).await?;
    let account = fetch_account(&connection.client, &env.clock).await;
    let account = account.unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to read the account; using the provider's list prices");
        None
    });
    Means::of(pipeline, account.as_ref())
}

/// Finds and reads the target lists.
///
/// # Errors
/// Target lists that are missing, damaged or empty, or that have no valid target. A requested stop:
/// whoever writes to standard input may never end.
pub(super) async fn read_targets(
    settings: &TargetSettings,
    clock: &Clock,
    stop: &Stop,
) -> Result<TargetList> {
    tokio::select! {
        biased;
        reason = stop.requested() => Err(reason.error().with_hint("nothing was sent; run the same command again")),
        read = read_to_the_end(settings, clock) => read,
    }
}

async fn read_to_the_end(settings: &TargetSettings, clock: &Clock) -> Result<TargetList> {
    let lists = find_lists(settings, clock).await?;
    read_found(settings, &Arc::new(lists)).await
}

/// Reads the target lists that were found.
///
/// # Errors
/// As [`read_targets`].
pub(super) async fn read_found(
    settings: &TargetSettings,
    lists: &Arc<Lists>,
) -> Result<TargetList> {
    let (settings, lists) = (settings.clone(), Arc::clone(lists));
    let read = tokio::task::spawn_blocking(move || {
        let list = TargetList::read_places(&settings.sources, &lists.places, &settings.rules)?;
        refuse_empty(&list, &settings).map_or(Ok(list), Err)
    });
    read.await.context(|| "reading the target lists panicked")?
}

fn refuse_empty(list: &TargetList, settings: &TargetSettings) -> Option<Error> {
    if list.line_count() == 0 {
        let message = format!(
            "the target list is empty: {}",
            settings
                .sources
                .paths
                .iter()
                .map(|path| shown(path))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let hint = "nothing was sent; write one target per line";
        return Some(Error::usage(message).with_hint(hint));
    }
    if list.target_count() > 0 {
        return None;
    }
    let message = format!(
        "none of {} lines is a valid target: {}",
        list.line_count(),
        described(&reasons(list))
    );
    let hint = "nothing was sent; check the format of the list and [targets] column";
    Some(Error::usage(message).with_hint(hint))
}
