//! Recognises that what a start was told to do is done already, so that nothing is paid for twice.
//!
//! A start that replaces a snapshot marks its run. The mark goes as the very last thing, after the lock is released. So
//! if the published run is marked, the start that published it was interrupted before its end, and the same command is a
//! repetition of it. The mark is taken up once: after that, the same command replaces the snapshot once more.

use tracing::warn;

use super::gates::{Existing, same_question};
use super::report::{RunEnd, RunReport, renew_summary};
use super::run_mode::StartMode;
use super::start::Start;
use crate::error::{Error, Result};
use crate::lake::{Manifest, heal, is_untidy};
use crate::targets::TargetList;

/// The end of a start that finds its work done, or `None` if there is work. `seen` is what was published before this
/// start had the lock.
pub(super) async fn done_already(
    start: &Start<'_>,
    seen: Option<&Manifest>,
    published: &Manifest,
    list: &TargetList,
) -> Result<Option<RunEnd>> {
    let (ledger, run) = (start.ledger, published.run.as_str());
    if start.mode.start == StartMode::Continue {
        // The previous holder of the lock has published the snapshot.
        same_question(start.pipeline, &published.question, Existing::Published)?;
        return Ok(Some(already_published(start, published).await));
    }
    // A replay publishes the same run again, and replaces nothing. A time that has not come yet is that of a wrong clock.
    let (began, now) = (start.started_at, start.env.clock.now());
    let at = published.published_at;
    let began_since = published.started_at >= began && at > began && at <= now;
    let raced = began_since || seen.is_none_or(|seen| seen.run != run);
    let cut_off = ledger.is_marked_replacing(run).await?
        && ledger.run_record(published.generation + 1).await?.is_none();
    if !(raced || cut_off) || !asks_the_same(start, published, list).await {
        return Ok(None);
    }
    let formats = &start.pipeline.lake.table_formats;
    let tidied = match is_untidy(start.store, published.snapshot).await? {
        true => heal(start.store, formats, start.lock, published).await,
        false => Ok(Vec::new()),
    };
    let mut end = already_published(start, published).await;
    match tidied {
        Ok(warnings) => {
            ledger.unmark_at_the_end(run)?;
            end.report.warnings = warnings;
        }
        Err(error) => end.report.warnings.push(not_finished(&error)),
    }
    renew_summary(ledger, published).await;
    let by = if raced {
        "another start has replaced the snapshot since this one began"
    } else {
        "the replacement is published already, by a start that was interrupted before its end"
    };
    warn!(
        run,
        "{by}; nothing is asked again. To replace the snapshot once more, run the same command again"
    );
    Ok(Some(end))
}

/// Warns that an interrupted publication could not be finished.
pub(super) fn not_finished(error: &Error) -> String {
    let warning = "failed to finish an interrupted publication; the next start tries again";
    warn!(%error, "{warning}");
    format!("{warning}: {error}")
}

async fn already_published(start: &Start<'_>, published: &Manifest) -> RunEnd {
    let mut report = RunReport::already_published(start.store, published).await;
    report.seconds = start.seconds();
    RunEnd {
        report,
        error: None,
    }
}

/// Whether the published run was told to ask what this start is told to ask: the same question about the same targets.
/// A list that was not kept or cannot be read counts as the same, because a repetition costs less than a second bill.
async fn asks_the_same(start: &Start<'_>, published: &Manifest, list: &TargetList) -> bool {
    let pipeline = start.pipeline;
    if published
        .question
        .difference(&pipeline.question())
        .is_some()
    {
        return false;
    }
    let Ok(Some((kept, rules))) = start.ledger.target_list(&published.run).await else {
        return true;
    };
    rules == pipeline.targets.rules && list.has_the_targets_of(&kept)
}
