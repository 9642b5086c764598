//! Rebuilds a snapshot from its ledger: after a contract has changed, a bug is mended or a table is lost. Nothing is
//! sent and nothing is paid.
//!
//! A published snapshot is rebuilt as the run left it that has filled it: from its answers, its books, and the target
//! list as it was read then. If that gives the files that are published, they are put back in place; otherwise they are
//! published in their stead. One that is held open is published, if nothing holds it any more.

use std::ops::Range;
use std::sync::Arc;

use tracing::warn;

use super::books::Books;
use super::gates::{same_question, too_many_failed, with_date};
use super::plan::read_targets;
use super::publish::{Publication, WhenDamaged};
use super::report::{Progress, RunEnd, write_summary};
use super::spec::Pipeline;
use super::surroundings::{Surroundings, locked};
use super::target_states::TargetStates;
use crate::clock::Stopwatch;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fate::Fates;
use crate::lake::Manifest;
use crate::ledger::{Ledger, RunRecord};
use crate::plan::lower_bound;
use crate::store::{Lock, Store};
use crate::targets::{Rules, TargetList};

/// Rebuilds the pipeline's snapshot.
///
/// # Errors
/// A snapshot of which nothing is archived; one whose targets are not all asked for, unless that is accepted; whatever
/// keeps a run from publishing.
pub async fn replay(pipeline: &Pipeline, env: &Surroundings<'_>) -> Result<RunEnd> {
    let store = env.lake(pipeline)?;
    store.probe().await?;
    locked(&store, pipeline, env, async |lock| {
        rebuild(pipeline, env, &store, lock).await
    })
    .await
}

async fn rebuild(
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
    store: &Store,
    lock: Arc<Lock>,
) -> Result<RunEnd> {
    let start = env.clock.now();
    let ledger = Ledger::locked(store.clone(), pipeline.snapshot, Arc::clone(&lock));
    let over = Manifest::read(store, pipeline.snapshot).await?;
    let (record, batches) = run_of(&ledger, over.as_ref(), pipeline, store).await?;
    same_question(pipeline, &record.question)?;
    let (kept, earlier) = tokio::join!(
        lines(&ledger, &record, pipeline),
        ledger.earlier_attempts(pipeline.endpoint, batches)
    );
    let (mut list, rules) = kept?;

    let mut books = Books::default();
    let mut states = TargetStates::new(list.target_count());
    books.take_earlier(earlier?, &list, &mut states, &env.clock);
    if over.is_none() && books.answered.is_empty() {
        return Err(nothing_archived(pipeline, store));
    }
    if let Some(over) = &over {
        complete(over, &books, states.fates(&list).absent)?;
    }
    states.take_unanswered(&ledger.unanswered(&record.run).await?, &list);
    list.seal();
    if over.is_none()
        && !pipeline.accept
        && let Some(error) = not_complete(&states.fates(&list), pipeline)
    {
        return Err(with_date(error, pipeline));
    }
    let requests = books.totals(lower_bound(&list.root_domain_sizes()));
    (env.on_progress)(Progress::Publishing {
        answers: books.answered.len() as u64,
    });
    let vanished = books.vanished;
    let list = Arc::new(list);
    let publication = Publication {
        pipeline,
        env,
        store,
        ledger: &ledger,
        lock: &lock,
        record,
        list,
        rules,
        states,
        books,
        requests,
        over,
        when_damaged: WhenDamaged::Refuse,
        stages: Stopwatch::default(),
    };
    let end = publication
        .publish()
        .await?
        .end(start, &env.clock, vanished, None);
    write_summary(&ledger, &end.report, end.error.as_ref()).await;
    Ok(end)
}

/// The run that has filled the snapshot, or fills it; and its batches.
async fn run_of(
    ledger: &Ledger,
    over: Option<&Manifest>,
    pipeline: &Pipeline,
    store: &Store,
) -> Result<(RunRecord, Range<u32>)> {
    let records = ledger.run_records().await?;
    let at = match over {
        Some(over) => records.iter().position(|record| record.run == over.run),
        None => records.len().checked_sub(1),
    };
    let at = at.ok_or_else(|| nothing_archived(pipeline, store))?;
    let end = records
        .get(at + 1)
        .map_or(u32::MAX, |next| next.first_batch);
    let record = records[at].clone();
    Ok((record.clone(), record.first_batch..end))
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

/// The target list as the run has read it; for runs of earlier versions, which kept none, as it stands now.
async fn lines(
    ledger: &Ledger,
    record: &RunRecord,
    pipeline: &Pipeline,
) -> Result<(TargetList, Rules)> {
    if let Some(kept) = ledger.target_list(&record.run).await? {
        return Ok(kept);
    }
    warn!(
        "the run has not kept its target list; it is read anew, and answers for targets that are no longer in it count as unmatched"
    );
    let reader = pipeline.clone();
    let list = tokio::task::spawn_blocking(move || read_targets(&reader)).await;
    Ok((
        list.context(|| "reading the target lists panicked")??,
        pipeline.rules,
    ))
}

/// Holds the archive to what was published from it: a published snapshot is never replaced by less.
///
/// Until they are flattened all targets that were answered count as `answered`: a lost intent leaves rows without them.
fn complete(over: &Manifest, books: &Books, answered: u64) -> Result<()> {
    for (what, archived, published) in [
        ("items", books.items(), over.tally.items),
        (
            "requests",
            books.entries.len() as u64,
            over.tally.requests.sent,
        ),
        (
            "answered targets",
            answered,
            over.tally.fates.returned + over.tally.fates.absent,
        ),
    ] {
        if archived < published {
            let message = format!(
                "the archive of snapshot {} is not complete: it has {archived} {what}, and {published} are published",
                over.snapshot
            );
            let hint = "what is published stays as it is; look at what was pruned or lost of _archive and _runs";
            return Err(Error::unexpected(message).with_hint(hint));
        }
    }
    Ok(())
}

/// Why a snapshot that was never published is not to be published as it is.
fn not_complete(fates: &Fates, pipeline: &Pipeline) -> Option<Error> {
    if fates.unsent == 0 {
        return too_many_failed(fates, pipeline);
    }
    let message = format!(
        "{} targets of snapshot {} were not asked for yet",
        fates.unsent, pipeline.snapshot
    );
    let hint = "`backlake run` asks for them; to publish what is there, for nothing, pass --accept";
    Some(Error::new(ErrorKind::Held, message).with_hint(hint))
}
