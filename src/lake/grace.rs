//! How long the files of a replaced snapshot are kept. The marker of a publication says so, for other processes that look
//! at the lake during that time.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::store::{Layout, Lock, Store};

/// What the marker says once the manifest is written. Until then it is empty.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    until: DateTime<Utc>,
}

/// Says until when the replaced files of a snapshot are kept.
pub(super) async fn keep_until(
    store: &Store,
    lock: &Lock,
    layout: Layout,
    until: DateTime<Utc>,
) -> Result<()> {
    let json = serde_json::to_vec(&Kept { until });
    let json = json.context(|| "failed to write the marker of a publication")?;
    lock.ensure().await?;
    store.put(&layout.placing(), json.into()).await
}

/// Until when the replaced files of a snapshot are kept; `None` if nothing says so.
pub(super) async fn kept_until(store: &Store, layout: Layout) -> Result<Option<DateTime<Utc>>> {
    let marker = store.get(&layout.placing()).await?;
    let kept = marker.and_then(|json| serde_json::from_slice(&json).ok());
    Ok(kept.map(|Kept { until }| until))
}
