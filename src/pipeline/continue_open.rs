//! Whether yesterday's snapshot is continued before today's.

use tracing::warn;

use super::file::ContinueOpen;
use super::gates::{Existing, same_question};
use super::ready::Pipeline;
use super::surroundings::Surroundings;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::upkeep::open_snapshots;

/// The pipeline for yesterday's snapshot, if that is open and the pipeline file wants it continued
/// before today's. Older ones are only reported: their rows would be of very different days. So is one that was started
/// with different settings, because this pipeline cannot continue it.
///
/// # Errors
/// A lake that fails.
pub async fn open_yesterday(
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
) -> Result<Option<Pipeline>> {
    // Someone who asks for another date wants that one.
    if pipeline.continue_open != ContinueOpen::First || pipeline.snapshot != pipeline.today {
        return Ok(None);
    }
    let Some(yesterday) = pipeline.today.pred_opt() else {
        return Ok(None);
    };
    let store = env.lake(pipeline)?;
    if !open_snapshots(&store).await?.contains(&yesterday) {
        return Ok(None);
    }
    let pipeline = Pipeline {
        snapshot: yesterday,
        ..pipeline.clone()
    };
    let records = Ledger::new(store, yesterday).run_records().await?;
    let same = records.last().map_or(Ok(()), |record| {
        same_question(&pipeline, &record.question, Existing::Unfinished)
    });
    if let Err(error) = same {
        warn!("yesterday's snapshot is open and not continued: {error}");
        return Ok(None);
    }
    Ok(Some(pipeline))
}
