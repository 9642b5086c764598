//! The one file that knows every stage: lists → plan → fetch → flatten → lake.
//!
//! A run reads nothing but the target lists and the lake. Started again it finds what its earlier starts have paid
//! for in the archive, plans what is missing, and publishes from the archive alone.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::account::{connect, credentials_for};
use super::books::{Books, TargetStates};
use super::publication::publish_snapshot;
use super::report::{InvalidLine, PlanReport, Progress, RunEnd, RunReport, RunState, seconds};
use super::spec::Pipeline;
use crate::clock::Clock;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fate::{Fate, Fates};
use crate::fetch::{Fetcher, Outcome, Pacer, Purse, Stopping, fetch};
use crate::flatten::Irregularities;
use crate::lake::{Archive, Manifest, Question, RunRecord, Store, open_snapshots};
use crate::plan::{Estimate, Plan, lower_bound, requests_in_input_order, sorted};
use crate::target::{LineEnd, TargetList};

/// What a run takes from outside, so that a test can set it.
pub struct Surroundings<'a> {
    /// Tells the time and waits.
    pub clock: Clock,
    /// Names the run and draws the jitter.
    pub seed: u64,
    /// The value of an environment variable.
    pub variable: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Hears how it goes.
    pub hear: &'a (dyn Fn(Progress) + Sync),
}

/// Invalid lines that reports show.
const FIRST_INVALID: usize = 5;

/// Reads the target lists and plans; nothing is sent.
///
/// # Errors
/// Target lists that are missing, broken or empty, or that hold no valid target.
pub fn plan(pipeline: &Pipeline) -> Result<PlanReport> {
    let list = read_targets(pipeline)?;
    let plan = Plan::of(&list);
    let targets = list.target_count() as u64;
    let estimate = |requests| Estimate::of(requests, targets, &pipeline.prices, &pipeline.pace());
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
        price_per_request_usd: pipeline.prices.per_request,
        price_per_row_usd: pipeline.prices.per_row,
        seconds: planned.seconds,
        max_cost_usd: pipeline.max_cost_usd,
    })
}

fn read_targets(pipeline: &Pipeline) -> Result<TargetList> {
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
    if list.invalid_count() == 0 { Vec::new() } else { invalid.take(FIRST_INVALID).collect() }
}

/// Why a snapshot is held open, if it is.
fn too_many_failed(fates: &Fates, pipeline: &Pipeline) -> Option<Error> {
    let targets = fates.total() - fates.duplicate - fates.invalid;
    let ratio = fates.failed as f64 / targets as f64;
    let message = if ratio > pipeline.max_failed_ratio {
        let allowed = pipeline.max_failed_ratio;
        format!(
            "{} of {targets} targets failed, more than [publish] max_failed_ratio = {allowed} allows",
            fates.failed
        )
    } else if fates.refused == targets {
        format!("the provider refuses every one of {targets} targets")
    } else {
        return None;
    };
    Some(Error::new(ErrorKind::TargetsFailed, message))
}

/// Says in the hint which snapshot it is that the next start continues: the date may be another by then.
fn with_date(error: Error, pipeline: &Pipeline) -> Error {
    let hint = format!("{} (after midnight UTC with --snapshot {})", error.hint(), pipeline.snapshot);
    error.with_hint(hint)
}

/// Refuses to mix answers to different questions in one snapshot.
fn same_question(pipeline: &Pipeline, there: &Question) -> Result<()> {
    match there.difference(&pipeline.question()) {
        None => Ok(()),
        Some(difference) => Err(Error::usage(format!(
            "snapshot {} in {} is of another question: {difference}",
            pipeline.snapshot, pipeline.lake
        ))
        .with_hint("nothing was sent; use another [lake] url for it, another --snapshot, or the options it was begun with")),
    }
}

/// Fetches what is missing and publishes. Published already: says so.
///
/// # Errors
/// What stops a run before it has anything to report. What stops it later stands in [`RunEnd::error`].
pub async fn run(pipeline: &Pipeline, around: &Surroundings<'_>) -> Result<RunEnd> {
    let Surroundings { clock, seed, hear, .. } = around;
    let start = clock.now();
    let store = Store::create(&pipeline.lake)?;
    store.probe().await?;
    if let Some(manifest) = Manifest::read(&store, pipeline.snapshot).await? {
        same_question(pipeline, &manifest.question)?;
        return Ok(RunEnd {
            report: RunReport::of_manifest(&manifest, RunState::AlreadyPublished, start, clock),
            error: None,
        });
    }
    let credentials = credentials_for(pipeline, around)?;
    let reader = pipeline.clone();
    let list = tokio::task::spawn_blocking(move || read_targets(&reader)).await;
    for date in open_snapshots(&store).await?.into_iter().filter(|date| *date != pipeline.snapshot) {
        warn!("snapshot {date} was begun and is not published; `--snapshot {date}` continues it");
    }
    let mut list = list.context(|| "reading the target lists panicked")??;
    let archive = Archive::new(store.clone(), pipeline.snapshot);
    let name =
        format!("{}-{:06x}", start.format("%Y%m%dT%H%M%SZ"), fastrand::Rng::with_seed(*seed).u32(..) >> 8);
    let record =
        archive.run_record(RunRecord { run: name, started_at: start, question: pipeline.question() }).await?;
    same_question(pipeline, &record.question)?;

    let mut books = Books::default();
    let mut states = TargetStates::new(list.target_count());
    books.take_earlier(&archive, pipeline.endpoint, &list, &mut states).await?;
    list.seal();
    let list = Arc::new(list);
    let planner = Arc::clone(&list);
    let unasked: Vec<bool> = list.targets().map(|target| states.of(target.id).0 == Fate::Unsent).collect();
    let planned = tokio::task::spawn_blocking(move || {
        let mut order = sorted(&planner);
        order.retain(|id| unasked[id.0 as usize]);
        Plan::of_some(&planner, order)
    });
    let plan = planned.await.context(|| "planning panicked")?;
    info!(
        run = record.run,
        snapshot = %pipeline.snapshot,
        targets = list.target_count(),
        to_ask = plan.order().len(),
        requests = plan.requests(),
        "planned"
    );
    hear(Progress::Planned {
        targets: plan.order().len() as u64,
        requests: plan.requests(),
        max_cost: pipeline.prices.cost(plan.requests(), plan.order().len() as u64),
    });
    let stopped = if plan.requests() > 0 {
        let (client, _simulator) = connect(pipeline, &credentials, around).await?;
        let pacer = Pacer::new(pipeline.max_in_flight, pipeline.requests_per_minute, clock);
        let purse = Purse::new(pipeline.max_cost_usd, books.cost + books.cost_unknown);
        let fetcher = Fetcher {
            list: &list,
            run: &record.run,
            endpoint: pipeline.endpoint,
            options: pipeline.options,
            client: &client,
            pacer: &pacer,
            max_open: pipeline.max_in_flight.get() as usize + 4,
            purse: &purse,
            prices: pipeline.prices,
            retry: pipeline.retry,
            journal: &archive,
            clock,
            random: Mutex::new(fastrand::Rng::with_seed(*seed)),
            entered: Mutex::default(),
            events: &|event| hear(Progress::Fetch(event)),
            stopping: Stopping::default(),
        };
        let first = books.next_batch;
        let batches = plan.batches().map(|mut batch| {
            batch.number += first;
            batch
        });
        let fetched = fetch(&fetcher, batches, first + plan.requests() as u32).await;
        let entered = fetcher.entered.into_inner().unwrap_or_else(PoisonError::into_inner);
        books.take(fetched, entered, &mut states, pipeline)
    } else {
        None
    };

    let mut fates = states.fates(&list);
    let held = stopped.or_else(|| too_many_failed(&fates, pipeline));
    books.answered.sort_by_key(|answered| answered.id);
    books.attempts.sort_by_key(|attempt| attempt.id);
    let requests = books.totals(lower_bound(&list.root_domain_sizes()));
    if let Some(error) = held {
        // Until the answers are flattened, it is known how many items came, not which targets they answer.
        let items: u64 = books
            .attempts
            .iter()
            .filter(|attempt| attempt.outcome == Outcome::Ok)
            .filter_map(|attempt| attempt.items)
            .sum();
        let answered = fates.absent;
        fates.returned = items.min(answered);
        fates.absent = answered - fates.returned;
        let report = RunReport {
            run: record.run,
            pipeline: pipeline.name.clone(),
            snapshot: pipeline.snapshot,
            state: RunState::Open,
            lines: list.line_count() as u64,
            fates,
            requests: requests.sent,
            retries: requests.retries,
            lower_bound: requests.lower_bound,
            items,
            unmatched: items - fates.returned,
            cost_usd: requests.cost_usd,
            cost_unknown_usd: requests.cost_unknown_usd,
            files: 0,
            bytes: 0,
            seconds: seconds(start, clock),
            irregularities: Irregularities::default(),
        };
        return Ok(RunEnd { report, error: Some(with_date(error, pipeline)) });
    }
    drop(plan);
    hear(Progress::Publishing { answers: books.answered.len() as u64 });
    let Books { attempts, answered, .. } = books;
    let manifest = publish_snapshot(
        pipeline, clock, &store, &archive, record, list, states, attempts, answered, requests, hear,
    );
    let manifest = manifest.await.map_err(|error| with_date(error, pipeline))?;
    Ok(RunEnd { report: RunReport::of_manifest(&manifest, RunState::Published, start, clock), error: None })
}
