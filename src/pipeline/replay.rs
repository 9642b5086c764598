//! Rebuilds a snapshot from its ledger after a contract has changed, a bug is fixed or a table is
//! lost. Nothing is sent and nothing is paid.
//!
//! A published snapshot is rebuilt as the run that filled it left it: from its responses, its
//! attempts and the target list as it was read then. If the result equals the published files, they
//! are put back in place; otherwise the new files replace them. An open snapshot is published if
//! nothing holds it any more.

use std::sync::Arc;

use tracing::warn;

use super::attempts::RunAttempts;
use super::gates::{
    Existing, incomplete, same_kind_of_data, same_question, too_many_failed, with_date,
};
use super::gathered::Gathered;
use super::plan::read_targets;
use super::publish::{Publication, WhenDamaged};
use super::ready::Pipeline;
use super::report::{Progress, RunEnd, write_summary};
use super::run_mode::{FindingsMode, RunMode};
use super::start::Start;
use super::surroundings::{Surroundings, locked};
use super::target_states::TargetStates;
use crate::error::{Error, Result};
use crate::lake::Manifest;
use crate::ledger::{Ledger, RunRecord};
use crate::store::Store;
use crate::targets::{Rules, TargetList};
use crate::upkeep::open_snapshots;

/// Rebuilds the snapshot of the pipeline.
///
/// # Errors
/// A snapshot without an archive; a snapshot whose targets were not all asked for, unless
/// `findings` accepts that; whatever keeps a run from publishing.
pub async fn replay(
    pipeline: &Pipeline,
    findings: FindingsMode,
    env: &Surroundings<'_>,
) -> Result<RunEnd> {
    let store = env.lake(pipeline)?;
    store.probe(&env.owner).await?;
    same_kind_of_data(pipeline, &store, &open_snapshots(&store).await?).await?;
    // Before the lock, which would leave a folder for a date that was never started.
    let ledger = Ledger::new(store.clone(), pipeline.snapshot);
    if ledger.run_records().await?.is_empty() {
        return Err(nothing_archived(pipeline, &store));
    }
    let mode = RunMode {
        findings,
        ..RunMode::default()
    };
    locked(&store, pipeline, env, async |lock| {
        let ledger = Ledger::locked(store.clone(), pipeline.snapshot, Arc::clone(&lock));
        let start = Start {
            pipeline,
            mode,
            env,
            store: &store,
            ledger: &ledger,
            lock: &lock,
            started_at: env.clock.now(),
        };
        Box::pin(rebuild(&start)).await
    })
    .await
}

async fn rebuild(start: &Start<'_>) -> Result<RunEnd> {
    let Start {
        pipeline,
        env,
        ledger,
        ..
    } = *start;
    let published = Manifest::read(start.store, pipeline.snapshot).await?;
    let record = archived_run(start, published.as_ref()).await?;
    let which = match published {
        Some(_) => Existing::Published,
        None => Existing::Unfinished,
    };
    same_question(pipeline, &record.question, which)?;
    let gathered = gather(start, record).await?;

    let fates = gathered.fates();
    match &published {
        Some(published) => refuse_holes(published, &gathered.attempts, fates.absent)?,
        None if gathered.attempts.archived.is_empty() => {
            return Err(nothing_archived(pipeline, start.store));
        }
        None if start.mode.findings == FindingsMode::Hold => {
            let example = gathered.states.failure();
            let held =
                incomplete(&fates, pipeline).or_else(|| too_many_failed(&fates, example, pipeline));
            if let Some(error) = held {
                return Err(with_date(error, pipeline));
            }
        }
        None => {}
    }
    (env.on_progress)(Progress::Publishing {
        responses: gathered.attempts.archived.len() as u64,
        flattened: 0,
        written: 0,
    });
    let publication = Publication::new(start, gathered, published, WhenDamaged::Refuse, None);
    let end = Box::pin(publication.publish(None)).await?;
    write_summary(ledger, &end.report, end.error.as_ref()).await;
    Ok(end)
}

/// What the ledger and the kept target list say about a run.
async fn gather(start: &Start<'_>, record: RunRecord) -> Result<Gathered> {
    let Start { env, ledger, .. } = *start;
    let (kept, earlier) = tokio::join!(
        kept_list(ledger, &record, start),
        ledger.attempts_of(&record)
    );
    let KeptList { list, rules } = kept?;
    let earlier = earlier?;
    let mut states = TargetStates::new(list.target_count());
    let mut attempts = RunAttempts {
        next_batch: earlier.next_batch,
        ..RunAttempts::default()
    };
    attempts.add_earlier(earlier.attempts, &list, &mut states, &env.clock);
    states.restore(&ledger.unanswered(&record.run).await?, &list);
    let list = Arc::new(list);
    Ok(Gathered {
        record,
        list,
        rules,
        states,
        attempts,
    })
}

/// The run that has filled the snapshot or fills it.
async fn archived_run(start: &Start<'_>, published: Option<&Manifest>) -> Result<RunRecord> {
    let mut records = start.ledger.run_records().await?;
    if let Some(published) = published {
        records.retain(|record| record.run == published.run);
    }
    let record = records.pop();
    record.ok_or_else(|| nothing_archived(start.pipeline, start.store))
}

fn nothing_archived(pipeline: &Pipeline, store: &Store) -> Error {
    let message = format!(
        "there is no archive of snapshot {} in {}",
        pipeline.snapshot,
        store.display()
    );
    Error::usage(message)
        .with_hint("pass --snapshot with a date that was fetched and whose archive was not pruned")
}

/// A target list and the rules by which it was read.
struct KeptList {
    list: TargetList,
    rules: Rules,
}

/// The target list as the run has read it. Runs of earlier versions kept none: then it is read as
/// it is now.
async fn kept_list(ledger: &Ledger, record: &RunRecord, start: &Start<'_>) -> Result<KeptList> {
    if let Some((list, rules)) = ledger.target_list(&record.run).await? {
        return Ok(KeptList { list, rules });
    }
    warn!(
        "the run has not kept its target list; reading the current list: responses for targets that are no longer in it count as unmatched"
    );
    let settings = &start.pipeline.targets;
    Ok(KeptList {
        list: read_targets(settings, &start.env.clock, &start.env.stop).await?,
        rules: settings.rules,
    })
}

/// Checks the archive against what was published from it: a published snapshot is never replaced by
/// less.
///
/// `with_response` counts the targets that have a response, before any row is found: a lost intent leaves rows without
/// targets.
fn refuse_holes(published: &Manifest, attempts: &RunAttempts, with_response: u64) -> Result<()> {
    let fates = &published.tally.fates;
    let sent = attempts.entries.len() as u64;
    for (things, archived, expected) in [
        ("items", attempts.items(), published.tally.items),
        ("requests", sent, published.tally.requests.sent),
        (
            "targets with a response",
            with_response,
            fates.returned + fates.absent,
        ),
    ] {
        if archived < expected {
            let message = format!(
                "the archive of snapshot {} is incomplete: it has {archived} {things}, but {expected} are published",
                published.snapshot
            );
            let hint = "nothing was changed; check whether files in _archive and _runs were pruned or lost";
            return Err(Error::unexpected(message).with_hint(hint));
        }
    }
    Ok(())
}
