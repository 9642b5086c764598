//! Keeps the files of a replaced snapshot until queries that have read the old manifest are done.

use chrono::{DateTime, Utc};
use tracing::warn;

use super::report::Progress;
use super::start::Start;
use crate::lake::{Manifest, tidy};

/// Waits until the replaced files are no longer kept, and deletes them. Returns the warning if they are left: after a
/// stop, or if the lake fails. The next start deletes them.
pub(super) async fn outlive_queries(
    start: &Start<'_>,
    manifest: &Manifest,
    until: DateTime<Utc>,
) -> Option<String> {
    let env = start.env;
    (env.on_progress)(Progress::KeepsReplaced { until });
    let rest = (until - env.clock.now()).to_std().unwrap_or_default();
    let why = tokio::select! {
        biased;
        reason = env.stop.requested() => reason.error(),
        () = env.clock.sleep(rest) => {
            tidy(start.store, start.lock, manifest).await.err()?
        }
    };
    let warning =
        "the replaced files are not deleted yet; the next start of this date deletes them";
    warn!(error = %why, "{warning}");
    Some(format!("{warning}: {why}"))
}
