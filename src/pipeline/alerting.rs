//! The alerts of a snapshot that was just published. Whatever fails here is a warning and changes
//! nothing.

use tracing::warn;

use super::report::RunReport;
use super::start::Start;
use crate::alerts::{Alert, AlertOptions, Alerts, find, read, write};
use crate::error::Result;

/// Looks for alerts, keeps them in the lake and adds them to the report. Returns what went wrong.
pub(super) async fn alert(start: &Start<'_>, report: &mut RunReport) -> Option<String> {
    if !start.pipeline.alerts.enabled {
        return None;
    }
    match Box::pin(try_to_alert(start)).await {
        Ok((alerts, before)) => {
            report.take_alerts(&alerts);
            // A replacement reports only new alerts.
            let found = report.alerts.len();
            let is_new = |alert: &Alert| before.as_ref().is_none_or(|it| !it.have_told(alert));
            report.alerts.retain(is_new);
            report.quiet_alerts += (found - report.alerts.len()) as u64;
            let not_read: Vec<_> = alerts.not_read.iter().map(ToString::to_string).collect();
            (!not_read.is_empty()).then(|| {
                let dates = not_read.join(", ");
                format!("the alerts leave out {dates}, which cannot be read; run `backlake verify`")
            })
        }
        Err(error) => {
            let (date, lake) = (start.pipeline.snapshot, start.store.display());
            warn!(%error, "the snapshot is published, but its alerts were not found; list them with `backlake alerts {lake} --snapshot {date}`");
            Some(format!("failed to look for alerts: {error}"))
        }
    }
}

/// The alerts of the snapshot, and those that it had before it was replaced.
async fn try_to_alert(start: &Start<'_>) -> Result<(Alerts, Option<Alerts>)> {
    let options = AlertOptions {
        snapshot: Some(start.pipeline.snapshot),
        settings: start.pipeline.alerts.clone(),
        now: start.env.clock.now(),
    };
    let alerts = find(start.store, &options).await?;
    let before = read(start.store, alerts.snapshot).await;
    let before = before.unwrap_or_else(|error| {
        warn!(%error, "failed to read the earlier alerts of this snapshot; all alerts are reported again");
        None
    });
    write(start.store, start.lock, &alerts).await?;
    Ok((alerts, before))
}
