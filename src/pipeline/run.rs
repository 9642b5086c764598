//! Fetches what a snapshot lacks and publishes it: lists → plan → fetch → flatten → lake.
//!
//! A run reads only the target lists and the lake. Started again, it finds in the ledger what its
//! earlier starts have paid for, plans what is missing, and publishes from the archive.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::{debug, info, warn};

use super::ahead::flatten_during;
use super::attempts::RunAttempts;
use super::connect::{connect, credentials_for};
use super::gates::{
    Existing, begins_today, same_kind_of_data, same_question, too_many_failed, with_date,
};
use super::gathered::Gathered;
use super::invalid::{described, reasons, refuse_mistaken};
use super::lineage::with_events;
use super::means::Means;
use super::notify::with_notice;
use super::page_tables::PageTables;
use super::plan::read_targets;
use super::publish::{Publication, WhenDamaged};
use super::ready::Pipeline;
use super::refusals::{EarlierRefusals, skip_refused};
use super::repeated::{done_already, not_finished};
use super::report::{
    Findings, Progress, Refusals, RunEnd, RunReport, RunState, renew_summary, summary_is_outdated,
    write_summary,
};
use super::run_mode::{RunMode, StartMode};
use super::session::Session;
use super::start::Start;
use super::surroundings::{Surroundings, locked};
use super::target_states::TargetStates;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::Credentials;
use crate::lake::{Manifest, Staging, Tally, check_tables, heal, is_untidy};
use crate::ledger::{Ledger, RunRecord, refused_before, remember_refused};
use crate::store::Store;
use crate::targets::TargetList;
use crate::upkeep::open_snapshots;

/// What a target may need on the disk at most: its share of the archive, of the sorted rows, and of the staged tables.
const BYTES_PER_TARGET: u64 = 4 << 10;

/// Fetches what is missing and publishes the snapshot. A snapshot that is already published is left
/// alone, unless
/// `mode` replaces it.
///
/// # Errors
/// Whatever stops a run before there is anything to report. Whatever stops it later is in
/// [`RunEnd::error`].
pub async fn run(pipeline: &Pipeline, mode: RunMode, env: &Surroundings<'_>) -> Result<RunEnd> {
    let work = Box::pin(run_without_events(pipeline, mode, env));
    with_events(pipeline, env, with_notice(pipeline, env, work)).await
}

async fn run_without_events(
    pipeline: &Pipeline,
    mode: RunMode,
    env: &Surroundings<'_>,
) -> Result<RunEnd> {
    let (snapshot, started_at) = (pipeline.snapshot, env.clock.now());
    let store = env.lake(pipeline)?;
    store.probe(&env.owner).await?;
    let mut open = open_snapshots(&store).await?;
    same_kind_of_data(pipeline, &store, &open).await?;
    open.retain(|date| *date != snapshot);
    for date in &open {
        warn!("snapshot {date} was started and is not published; `--snapshot {date}` continues it");
    }
    // Without the lock and without credentials: to say that nothing is to do needs neither.
    let published = Manifest::read(&store, snapshot).await?;
    if mode.start == StartMode::Continue
        && let Some(manifest) = &published
    {
        let mut end = published_already(pipeline, env, &store, manifest, started_at).await?;
        end.report.also_open = open;
        return Ok(end);
    }
    check_tables(
        &store,
        &pipeline.lake.table_formats,
        &pipeline.lake.contracts,
    )
    .await?;
    let ledger = Ledger::new(store.clone(), snapshot);
    begins_today(pipeline, mode.begins, &ledger, published.as_ref()).await?;
    let credentials = credentials_for(pipeline, env)?;
    let list = read_targets(&pipeline.targets, &env.clock, &env.stop).await?;
    refuse_mistaken(&list, &pipeline.targets)?;
    let invalid_reasons = reasons(&list);
    if !invalid_reasons.is_empty() {
        let (invalid, lines) = (list.invalid_count(), list.line_count());
        let described = described(&invalid_reasons);
        warn!("{invalid} of {lines} lines are invalid and not asked for: {described}");
    }
    let lists = list.read_as().to_vec();
    if list.unescaped_count() > 0 {
        let lines = list.unescaped_count();
        warn!(
            lines,
            "`&amp;` in a query is read as `&`: these lines were copied from HTML"
        );
    }
    let mut end = locked(&store, pipeline, env, async |lock| {
        let ledger = Ledger::locked(store.clone(), snapshot, Arc::clone(&lock));
        let start = Start {
            pipeline,
            mode,
            env,
            store: &store,
            ledger: &ledger,
            lock: &lock,
            started_at,
        };
        // Boxed, because the futures of all stages together are large.
        Box::pin(work(&start, published.as_ref(), list, &credentials)).await
    })
    .await?;
    end.report.also_open = open;
    end.report.lists = lists;
    end.report.invalid_reasons = invalid_reasons;
    Ok(end)
}

/// The end of a run that finds its snapshot published.
async fn published_already(
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
    store: &Store,
    manifest: &Manifest,
    started_at: DateTime<Utc>,
) -> Result<RunEnd> {
    same_question(pipeline, &manifest.question, Existing::Published)?;
    let ledger = Ledger::new(store.clone(), pipeline.snapshot);
    let next = ledger.run_record(manifest.generation + 1).await?;
    let is_replaced = next.is_some();
    if let Some(next) = next {
        warn!(
            run = next.run,
            "a replacement of this snapshot was started and is not published; `--replace` continues it"
        );
    }
    let mut warnings = Vec::new();
    if is_untidy(store, pipeline.snapshot).await?
        || store.has_leftovers_of(pipeline.snapshot)?
        || (!is_replaced && summary_is_outdated(&ledger, &manifest.run).await)
    {
        warnings = finish_interrupted(pipeline, env, store, is_replaced).await;
    }
    let mut report = RunReport::already_published(store, manifest).await;
    report.warnings = warnings;
    report.seconds = (env.clock.now() - started_at).num_milliseconds() as f64 / 1000.0;
    Ok(RunEnd {
        report,
        error: None,
    })
}

/// Deletes what a publication left that was interrupted after its manifest was written. Returns the warnings.
async fn finish_interrupted(
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
    store: &Store,
    is_replaced: bool,
) -> Vec<String> {
    let finished = locked(store, pipeline, env, async |lock| {
        match Manifest::read(store, pipeline.snapshot).await? {
            Some(manifest) => {
                let formats = &pipeline.lake.table_formats;
                let warnings = heal(store, formats, &lock, &manifest).await?;
                // The summary of an open replacement says why it is open.
                if !is_replaced {
                    renew_summary(&Ledger::new(store.clone(), pipeline.snapshot), &manifest).await;
                }
                Ok(warnings)
            }
            None => Ok(Vec::new()),
        }
    });
    match finished.await {
        Ok(warnings) => {
            info!("finished an interrupted publication");
            warnings
        }
        // It was not interrupted: that process is at its end.
        Err(error) if error.kind() == ErrorKind::Locked => {
            debug!(%error, "not finished yet");
            Vec::new()
        }
        Err(error) => vec![not_finished(&error)],
    }
}

/// Everything that a start does while it holds the lock. `seen` is what was published before.
async fn work(
    start: &Start<'_>,
    seen: Option<&Manifest>,
    list: TargetList,
    credentials: &Credentials,
) -> Result<RunEnd> {
    let Start {
        pipeline,
        env,
        store,
        ledger,
        ..
    } = *start;
    let published = Manifest::read(store, pipeline.snapshot).await?;
    if let Some(published) = &published
        && let Some(end) = done_already(start, seen, published, &list).await?
    {
        return Ok(end);
    }
    let record = record(start, published.as_ref()).await?;
    same_question(pipeline, &record.question, Existing::Unfinished)?;
    if start.mode.start == StartMode::Replace {
        ledger.mark_replacing(&record.run).await?;
    }

    // What earlier starts paid for is never asked for again.
    let (mut gathered, before) = gather(start, record, list).await?;
    let run = gathered.record.run.clone();
    let fetched = fetch_missing(start, &mut gathered, published.as_ref(), credentials).await?;
    let refusals = remember(start, &gathered, before, fetched.means.as_ref()).await;
    // A replay needs the fates of targets that have no response.
    let unanswered = gathered.states.unanswered(&gathered.list);
    let written = ledger.write_unanswered(&run, &unanswered).await;
    match (written, &fetched.stopped) {
        // What stopped the run says more, for example where responses are kept.
        (Err(error), Some(_)) => warn!(%error, "failed to write the fates of this start"),
        (written, _) => written?,
    }

    let fates = gathered.fates();
    let example = gathered.states.failure();
    let stopped = fetched.stopped;
    if let Some(error) = stopped.or_else(|| too_many_failed(&fates, example, pipeline)) {
        let report = RunReport {
            refusals,
            ..open_report(start, &gathered, fetched.means)
        };
        write_summary(ledger, &report, Some(&error)).await;
        drop(fetched.ahead);
        if let Err(error) = Staging::discard(store, pipeline.snapshot, &run, start.lock).await {
            warn!(%error, "failed to delete what was staged; the next start does it");
        }
        return Ok(RunEnd {
            report,
            error: Some(with_date(error, pipeline)),
        });
    }
    if fates.failed > 0 {
        let failed = fates.failed;
        warn!(
            failed,
            "published despite failures: within [publish] max_failed_ratio"
        );
    }
    let ahead = fetched.ahead.as_ref();
    (env.on_progress)(Progress::Publishing {
        responses: gathered.attempts.archived.len() as u64,
        flattened: ahead.map_or(0, |ahead| ahead.found.responses()),
        written: ahead.map_or(0, PageTables::written),
    });
    let publication = Publication::new(
        start,
        gathered,
        published,
        WhenDamaged::AskAgain,
        fetched.ahead,
    );
    let ended = Box::pin(publication.publish(fetched.means)).await;
    let mut end = ended.map_err(|error| with_date(error, pipeline))?;
    end.report.refusals = refusals;
    write_summary(ledger, &end.report, end.error.as_ref()).await;
    // If something is left to clear, the next start does that first.
    let is_tidy = is_untidy(store, pipeline.snapshot)
        .await
        .is_ok_and(|untidy| !untidy);
    if end.error.is_none() && is_tidy {
        ledger.unmark_at_the_end(&run)?;
    }
    end.error = end.error.map(|error| with_date(error, pipeline));
    Ok(end)
}

/// The record of the run that this start continues or begins.
async fn record(start: &Start<'_>, published: Option<&Manifest>) -> Result<RunRecord> {
    let ledger = start.ledger;
    let generation = published.map_or(1, |published| published.generation + 1);
    let record = match ledger.run_record(generation).await? {
        Some(record) => record,
        None => {
            let random = fastrand::Rng::with_seed(start.env.seed).u32(..) >> 8;
            let time = start.started_at.format("%Y%m%dT%H%M%SZ");
            // Responses to a run that is replaced, or was pruned, do not count for this one.
            let first_batch = match published.is_some() || ledger.is_pruned().await? {
                true => ledger.next_batch().await?,
                false => 0,
            };
            let new = RunRecord {
                run: format!("{time}-{random:06x}"),
                started_at: start.started_at,
                question: start.pipeline.question(),
                generation,
                first_batch,
            };
            ledger.begin_run(new).await?
        }
    };
    // Only now, because until there is a record, what is left of a pruned run counts as pruned.
    ledger.reopen(&record).await?;
    Ok(record)
}

/// Collects what earlier starts of the run, and earlier runs, have found out.
async fn gather(
    start: &Start<'_>,
    record: RunRecord,
    list: TargetList,
) -> Result<(Gathered, EarlierRefusals)> {
    let Start {
        pipeline,
        env,
        ledger,
        ..
    } = *start;
    let mut states = TargetStates::new(list.target_count());
    let earlier = ledger.attempts_of(&record).await?;
    let mut attempts = RunAttempts {
        next_batch: earlier.next_batch,
        ..RunAttempts::default()
    };
    attempts.add_earlier(earlier.attempts, &list, &mut states, &env.clock);
    let before = refused_before(start.store, &record.question).await?;
    let found = list.find_all(before.iter().map(|refused| refused.target.as_str()));
    let before = found.into_iter().zip(before);
    let before = before.filter_map(|(id, refused)| Some((id?, refused)));
    let before: EarlierRefusals = before.collect();
    let pause = pipeline.targets.retry_refused_after;
    skip_refused(&before, pause, start.started_at, &mut states);
    let (list, rules) = (Arc::new(list), pipeline.targets.rules);
    ledger.write_target_list(&record.run, &list, rules).await?;
    let gathered = Gathered {
        record,
        list,
        rules,
        states,
        attempts,
    };
    Ok((gathered, before))
}

/// Remembers the refused targets for later runs, and which of those before have a response now. Returns what it took to
/// find them.
async fn remember(
    start: &Start<'_>,
    gathered: &Gathered,
    before: EarlierRefusals,
    means: Option<&Means>,
) -> Option<Refusals> {
    let (question, refused) = (&gathered.record.question, gathered.refused());
    let pause = start.pipeline.targets.retry_refused_after;
    let refusals = Refusals::of(gathered, &refused, pause, means);
    let snapshot = start.pipeline.snapshot;
    let returned = gathered.returned(before);
    let remembered = remember_refused(start.store, snapshot, refused, returned, pause, question);
    if let Err(error) = remembered.await {
        warn!(%error, "failed to remember refused targets; the next run asks for them again");
    }
    refusals
}

/// What fetching found out besides the responses.
#[derive(Default)]
struct Fetched<'a> {
    /// `None` if nothing was to be asked, or the account could not be read.
    means: Option<Means>,
    /// Why sending stopped early.
    stopped: Option<Error>,
    /// The tables of the responses that are flattened already.
    ahead: Option<PageTables<'a>>,
}

/// Sends what is missing, and settles what it cost.
async fn fetch_missing<'a>(
    start: &Start<'a>,
    gathered: &mut Gathered,
    published: Option<&Manifest>,
    credentials: &Credentials,
) -> Result<Fetched<'a>> {
    let plan = gathered.plan_unsent().await?;
    if plan.requests() == 0 && !gathered.attempts.has_unknown_charges() {
        return Ok(Fetched::default());
    }
    let targets = plan.targets();
    start.store.ensure_room(targets * BYTES_PER_TARGET)?;
    let connection = connect(start.pipeline, credentials, start.env).await?;
    let session = match Session::open(*start, connection).await {
        Ok(session) => session,
        // Nothing is left to ask: a complete snapshot is published even if its exact cost stays
        // unknown.
        Err(error) if plan.requests() == 0 && start.env.stop.reason().is_none() => {
            warn!(%error, "failed to settle charges; they stay unknown");
            return Ok(Fetched::default());
        }
        Err(error) => {
            return Ok(Fetched {
                stopped: Some(error),
                ..Fetched::default()
            });
        }
    };
    let fetching =
        async |gathered: &mut Gathered, ended| session.fetch(gathered, plan, &ended).await;
    let (stopped, ahead) = flatten_during(start, gathered, published, fetching).await?;
    Ok(Fetched {
        means: Some(session.means),
        stopped: stopped?,
        ahead: Some(ahead),
    })
}

/// The report of a run whose snapshot stays open before anything is flattened.
fn open_report(start: &Start<'_>, gathered: &Gathered, means: Option<Means>) -> RunReport {
    let mut fates = gathered.fates();
    // Until responses are flattened, only the number of their items is known, not which targets
    // they belong to.
    let items = gathered.attempts.items();
    let with_response = fates.absent;
    fates.returned = items.min(with_response);
    fates.absent = with_response - fates.returned;
    let tally = Tally {
        lines: gathered.list.line_count() as u64,
        fates,
        items,
        unmatched: items - fates.returned,
        requests: gathered.requests(),
    };
    let (record, snapshot) = (&gathered.record, start.pipeline.snapshot);
    RunReport {
        seconds: start.seconds(),
        vanished: gathered.attempts.vanished,
        means,
        findings: Findings::default(),
        ..RunReport::new(
            &record.run,
            &record.question,
            snapshot,
            RunState::Open,
            tally,
        )
    }
}
