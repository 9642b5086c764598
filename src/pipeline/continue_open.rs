//! Whether yesterday's snapshot is continued before today's.

use super::file::ContinueOpen;
use super::ready::Pipeline;
use super::surroundings::Surroundings;
use crate::error::Result;
use crate::upkeep::open_snapshots;

/// The pipeline for yesterday's snapshot, if that is open and the pipeline file wants it continued
/// before today's. Older ones are only reported: their rows would be of very different days.
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
    let open = open_snapshots(&env.lake(pipeline)?).await?;
    Ok(open.contains(&yesterday).then(|| Pipeline {
        snapshot: yesterday,
        ..pipeline.clone()
    }))
}
