//! The report page of a published snapshot, if the pipeline asks for one. The snapshot is published
//! by then, so a page that fails is a warning and changes nothing.

use tracing::warn;

use super::start::Start;
use crate::error::Result;
use crate::report::{NIGHTS, ReportOptions, collect, html};
use crate::store::Layout;

/// Writes the page of the snapshot that was just published. Returns what went wrong.
pub(super) async fn write_page(start: &Start<'_>) -> Option<String> {
    if !start.pipeline.publish.report {
        return None;
    }
    let error = Box::pin(try_write(start)).await.err()?;
    let date = start.pipeline.snapshot;
    let lake = start.store.display();
    warn!(%error, "the snapshot is published, but its report page was not written; create it with `backlake report {lake} --snapshot {date} --out report.html`");
    Some(format!("failed to write the report page: {error}"))
}

async fn try_write(start: &Start<'_>) -> Result<()> {
    let snapshot = start.pipeline.snapshot;
    let options = ReportOptions {
        snapshot: Some(snapshot),
        nights: NIGHTS,
        label: None,
        alerts: start.pipeline.alerts.clone(),
        now: start.env.clock.now(),
    };
    let page = html(&collect(start.store, options).await?);
    let path = Layout { snapshot }.report();
    start.store.put(&path, page.into_bytes().into()).await
}
