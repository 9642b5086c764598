//! Targets that the provider has refused, remembered over all snapshots, so that they are not asked in vain each night.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::archive::{pack, parsed};
use crate::error::{Context, Result};
use crate::provider::Endpoint;
use crate::question::Question;
use crate::store::{Layout, Store};

/// A target that the provider refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedTarget {
    /// In canonical form.
    pub target: String,
    /// The code and the text to it.
    pub reason: String,
    /// When.
    pub refused_at: DateTime<Utc>,
}

/// Refused targets as they are kept.
#[derive(Debug, Serialize, Deserialize)]
struct RefusedTargets {
    asked_of: String,
    endpoint: Endpoint,
    targets: Vec<RefusedTarget>,
}

/// The targets that the account's runs have found refused since a moment, over all snapshots: the latest refusal of
/// each.
///
/// # Errors
/// A lake that fails. What cannot be read is named in the log; its targets are asked again.
pub async fn refused_since(
    store: &Store,
    since: DateTime<Utc>,
    question: &Question,
) -> Result<Vec<RefusedTarget>> {
    let mut found: BTreeMap<String, RefusedTarget> = BTreeMap::new();
    for object in store.list(&Layout::all_refused()).await? {
        let path = object.location;
        match parsed::<RefusedTargets>(&path, store.get(&path).await?).await {
            Ok(refused)
                if refused.asked_of == question.asked_of
                    && refused.endpoint == question.endpoint =>
            {
                let recent = refused
                    .targets
                    .into_iter()
                    .filter(|refused| refused.refused_at >= since);
                for refused in recent {
                    let known = found.get(&refused.target);
                    if known.is_none_or(|known| known.refused_at < refused.refused_at) {
                        found.insert(refused.target.clone(), refused);
                    }
                }
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "what was refused before is unreadable; it is asked again"),
        }
    }
    Ok(found.into_values().collect())
}

/// Remembers the targets that were refused while this snapshot was fetched, for the account's next runs.
///
/// # Errors
/// A lake that fails.
pub async fn remember_refused(
    store: &Store,
    snapshot: NaiveDate,
    targets: Vec<RefusedTarget>,
    question: &Question,
) -> Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    let (asked_of, endpoint) = (question.asked_of.clone(), question.endpoint);
    let json = serde_json::to_vec(&RefusedTargets {
        asked_of,
        endpoint,
        targets,
    })
    .context(|| "failed to write what was refused")?;
    store
        .put(&Layout { snapshot }.refused(), pack(json.into()).await?)
        .await
}
