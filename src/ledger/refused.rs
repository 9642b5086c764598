//! Remembers refused targets across snapshots, so that they are not asked for again every night.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use object_store::path::Path;
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

/// A target that the provider refused before, and that has a response since then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnedTarget {
    /// The target in canonical form.
    pub target: String,
    /// When the request with the response was sent.
    pub returned_at: DateTime<Utc>,
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
    /// Targets whose earlier refusals, in any list, no longer count.
    #[serde(default)]
    returned: Vec<ReturnedTarget>,
}

impl RefusedTargets {
    fn answers(&self, question: &Question) -> bool {
        self.asked_of == question.asked_of && self.endpoint == question.endpoint
    }
}

/// All lists of refused targets, combined.
#[derive(Debug, Default)]
struct Memory {
    /// The latest refusal of each target.
    refused: BTreeMap<String, RefusedTarget>,
    /// When each target had its last response.
    returned: BTreeMap<String, DateTime<Utc>>,
    /// When the last of the lists is no longer needed.
    until: DateTime<Utc>,
}

impl Memory {
    fn add(&mut self, list: RefusedTargets) {
        self.until = self.until.max(list.until);
        for refused in list.targets {
            let other = self.refused.get(&refused.target);
            if other.is_none_or(|other| other.refused_at < refused.refused_at) {
                self.refused.insert(refused.target.clone(), refused);
            }
        }
        for ReturnedTarget {
            target,
            returned_at,
        } in list.returned
        {
            let last = self.returned.entry(target).or_insert(returned_at);
            *last = returned_at.max(*last);
        }
    }

    /// The targets whose last request was refused.
    fn still_refused(self) -> Vec<RefusedTarget> {
        let Self {
            refused, returned, ..
        } = self;
        let counts = |refused: &RefusedTarget| {
            let returned_at = returned.get(&refused.target);
            returned_at.is_none_or(|returned_at| *returned_at < refused.refused_at)
        };
        refused.into_values().filter(counts).collect()
    }
}

/// The date until which the refused targets of a snapshot are not asked for again, or `None` if there is no list of them
/// that can be read.
pub(crate) async fn refused_until(store: &Store, snapshot: NaiveDate) -> Result<Option<NaiveDate>> {
    let list = read(store, Layout { snapshot }.refused()).await?;
    Ok(list.map(|list| list.until.date_naive()))
}

/// The targets that this host and endpoint have refused and not returned since then, over all
/// snapshots. Each target has its latest refusal.
///
/// # Errors
/// A lake that fails. A damaged object is logged, and its targets are asked for again.
pub async fn refused_before(store: &Store, question: &Question) -> Result<Vec<RefusedTarget>> {
    Ok(memory(store, question).await?.still_refused())
}

async fn memory(store: &Store, question: &Question) -> Result<Memory> {
    let mut memory = Memory::default();
    for object in store.list(&Layout::all_refused()).await? {
        if let Some(list) = read(store, object.location).await?
            && list.answers(question)
        {
            memory.add(list);
        }
    }
    Ok(memory)
}

/// The list at this path, if there is one that can be read.
async fn read(store: &Store, path: Path) -> Result<Option<RefusedTargets>> {
    let bytes = store.get(&path).await?;
    Ok(match parse(path, bytes).await {
        Stored::Whole(list) => Some(list),
        Stored::Damaged(error) => {
            warn!(%error, "a list of refused targets cannot be read; runs ignore it and ask for its targets again");
            None
        }
        Stored::Missing => None,
    })
}

/// Stores the targets that were `refused` while this snapshot was fetched, so that later runs do not ask for them again
/// within `pause`, and the `returned` targets, whose earlier refusals no longer count. What an earlier run of the same
/// snapshot stored is kept.
///
/// # Errors
/// A lake that fails.
pub async fn remember_refused(
    store: &Store,
    snapshot: NaiveDate,
    refused: Vec<RefusedTarget>,
    returned: Vec<ReturnedTarget>,
    pause: chrono::Duration,
    question: &Question,
) -> Result<()> {
    if refused.is_empty() && returned.is_empty() {
        return Ok(());
    }
    let path = Layout { snapshot }.refused();
    // A response counts for as long as a list may contain an earlier refusal.
    let longest = if returned.is_empty() {
        DateTime::default()
    } else {
        memory(store, question).await?.until
    };
    let last = refused.iter().map(|refused| refused.refused_at).max();
    let until = last.map_or(longest, |last| longest.max(last + pause));
    let mut list = RefusedTargets {
        asked_of: question.asked_of.clone(),
        endpoint: question.endpoint,
        until,
        targets: refused,
        returned,
    };
    if let Some(earlier) = read(store, path.clone()).await?
        && earlier.answers(question)
    {
        list = merged(earlier, list);
    }
    let json = serde_json::to_vec(&list).context(|| "failed to write the refused targets")?;
    store.put(&path, pack(json.into()).await?).await
}

/// Both lists as one, of the question of the later one.
fn merged(earlier: RefusedTargets, later: RefusedTargets) -> RefusedTargets {
    let (asked_of, endpoint) = (later.asked_of.clone(), later.endpoint);
    let mut both = Memory::default();
    both.add(earlier);
    both.add(later);
    let returned = both.returned.clone().into_iter();
    RefusedTargets {
        asked_of,
        endpoint,
        until: both.until,
        returned: returned
            .map(|(target, returned_at)| ReturnedTarget {
                target,
                returned_at,
            })
            .collect(),
        targets: both.still_refused(),
    }
}
