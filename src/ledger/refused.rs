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
    /// When the pipeline asks for the last of them again.
    #[serde(default)]
    until: DateTime<Utc>,
    targets: Vec<RefusedTarget>,
}

/// The date until which the refused targets of a snapshot are not asked for again, or `None` if there is no list of them
/// that can be read.
pub(crate) async fn refused_until(store: &Store, snapshot: NaiveDate) -> Result<Option<NaiveDate>> {
    let path = Layout { snapshot }.refused();
    let bytes = store.get(&path).await?;
    Ok(match parse::<RefusedTargets>(path, bytes).await {
        Stored::Whole(refused) => Some(refused.until.date_naive()),
        Stored::Damaged(_) | Stored::Missing => None,
    })
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

/// Remembers the targets that were refused while this snapshot was fetched, for later runs, which do not ask for them
/// again for the time `pause`.
///
/// # Errors
/// A lake that fails.
pub async fn remember_refused(
    store: &Store,
    snapshot: NaiveDate,
    targets: Vec<RefusedTarget>,
    pause: chrono::Duration,
    question: &Question,
) -> Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    let last = targets.iter().map(|refused| refused.refused_at).max();
    let until = last.unwrap_or_default() + pause;
    let (asked_of, endpoint) = (question.asked_of.clone(), question.endpoint);
    let json = serde_json::to_vec(&RefusedTargets {
        asked_of,
        endpoint,
        until,
        targets,
    })
    .context(|| "failed to write the refused targets")?;
    let packed = pack(json.into()).await?;
    store.put(&Layout { snapshot }.refused(), packed).await
}
