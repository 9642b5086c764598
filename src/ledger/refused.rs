//! Remembers refused targets across snapshots, so that they are not asked for again every night.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::pack::{pack, parse};
use super::stored::Stored;
use crate::error::{Context, Result};
use crate::provider::Endpoint;
use crate::question::Question;
use crate::store::{Layout, Store};

/// A target that the provider refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedTarget {
    /// The target in canonical form.
    pub target: String,
    /// The provider's status code and its text.
    pub reason: String,
    /// When the provider refused it.
    pub refused_at: DateTime<Utc>,
}

/// The refused targets of one snapshot, as stored.
#[derive(Debug, Serialize, Deserialize)]
struct RefusedTargets {
    asked_of: String,
    endpoint: Endpoint,
    targets: Vec<RefusedTarget>,
}

/// The targets that this host and endpoint have refused since a moment, over all snapshots. Each
/// target has its latest refusal.
///
/// # Errors
/// A lake that fails. A damaged object is logged, and its targets are asked for again.
pub async fn refused_since(
    store: &Store,
    since: DateTime<Utc>,
    question: &Question,
) -> Result<Vec<RefusedTarget>> {
    let mut latest: BTreeMap<String, RefusedTarget> = BTreeMap::new();
    for object in store.list(&Layout::all_refused()).await? {
        let path = object.location;
        let bytes = store.get(&path).await?;
        let refused: RefusedTargets = match parse(path, bytes).await {
            Stored::Whole(refused) => refused,
            Stored::Damaged(error) => {
                warn!(%error, "a list of refused targets is unreadable; they are asked for again");
                continue;
            }
            Stored::Missing => continue,
        };
        if refused.asked_of != question.asked_of || refused.endpoint != question.endpoint {
            continue;
        }
        let recent = refused.targets.into_iter();
        for refused in recent.filter(|refused| refused.refused_at >= since) {
            let other = latest.get(&refused.target);
            if other.is_none_or(|other| other.refused_at < refused.refused_at) {
                latest.insert(refused.target.clone(), refused);
            }
        }
    }
    Ok(latest.into_values().collect())
}

/// Remembers the targets that were refused while this snapshot was fetched, for later runs.
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
    .context(|| "failed to write the refused targets")?;
    let packed = pack(json.into()).await?;
    store.put(&Layout { snapshot }.refused(), packed).await
}
