//! The record of a run, the numbers of its batches, the summary of its last start, and the size of
//! the index that it asked.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::handle::Ledger;
use super::stored::Stored;
use crate::error::{Context, Error, Result};
use crate::provider::IndexSize;
use crate::question::Question;
use crate::store::Layout;

/// Names the run that fills a snapshot. All starts that work on one generation of a snapshot are
/// one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's name: the prefix of its files' names and of the tags it sends.
    pub run: String,
    /// When the run was started for the first time.
    pub started_at: DateTime<Utc>,
    /// What the run asks. A start that asks something else does not continue it.
    pub question: Question,
    /// The generation of the snapshot: 1, and one more for each replacement.
    #[serde(default = "first_generation")]
    pub generation: u32,
    /// The number of the run's first batch. Lower numbers belong to the runs that it replaces.
    #[serde(default)]
    pub first_batch: u32,
}

fn first_generation() -> u32 {
    1
}

impl Ledger {
    /// The record of the run that fills this generation of the snapshot, or `None` if it was never
    /// started.
    ///
    /// # Errors
    /// A lake that fails, or a record that is damaged.
    pub async fn run_record(&self, generation: u32) -> Result<Option<RunRecord>> {
        self.read(self.layout.run(generation)).await?.undamaged()
    }

    /// The records of all runs of this snapshot, oldest first.
    ///
    /// # Errors
    /// A lake that fails, or a record that is damaged.
    pub async fn run_records(&self) -> Result<Vec<RunRecord>> {
        let is_record = |path: &Path| Layout::generation_of(path).is_some();
        let mut records = self.records(is_record).await?;
        records.sort_by_key(|record| record.generation);
        Ok(records)
    }

    /// The records among the objects of this snapshot's runs.
    pub(super) async fn records(&self, is_record: fn(&Path) -> bool) -> Result<Vec<RunRecord>> {
        let objects = self.store.list_here(&self.layout.run_root()).await?;
        let mut records = Vec::new();
        for path in objects.into_iter().map(|object| object.location) {
            if is_record(&path) {
                records.extend(self.read(path).await?.undamaged()?);
            }
        }
        Ok(records)
    }

    /// Whether the snapshot was deleted, and no run has begun since then.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn is_pruned(&self) -> Result<bool> {
        let marker = self.store.get(&self.layout.pruned()).await?;
        Ok(marker.is_some())
    }

    /// Deletes the marker that the snapshot was deleted: a run is about to fill it, and pruning must not take its responses
    /// for old ones. Deletes what an interrupted `abandon` has left of the run, too.
    ///
    /// # Errors
    /// A lock that is lost, or a lake that fails.
    pub async fn reopen(&self, record: &RunRecord) -> Result<()> {
        let lock = self.lock()?;
        lock.delete(&self.layout.abandoned(&record.run)).await?;
        lock.delete(&self.layout.pruned()).await
    }

    /// Starts a run. Returns its record: the existing one if the run was started before, else
    /// `new`.
    ///
    /// # Errors
    /// A lake that fails, or a record that is damaged.
    pub async fn begin_run(&self, new: RunRecord) -> Result<RunRecord> {
        let path = self.layout.run(new.generation);
        let json =
            serde_json::to_vec_pretty(&new).context(|| "failed to write the run's record")?;
        if self.store.put_new(&path, json.into()).await? {
            return Ok(new);
        }
        let existing = self.read(path.clone()).await?.undamaged()?;
        existing.ok_or_else(|| Error::unexpected(format!("{path} has vanished from the lake")))
    }

    /// Marks a run as one that a start was told to replace the snapshot with. The mark stays until such a start has come
    /// to its end: see [`Ledger::unmark_at_the_end`].
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn mark_replacing(&self, run: &str) -> Result<()> {
        self.store
            .put(&self.layout.replacing(run), Bytes::new())
            .await
    }

    /// Whether a start was told to replace the snapshot with this run, and none has come to its end since then.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn is_marked_replacing(&self, run: &str) -> Result<bool> {
        let marker = self.store.get(&self.layout.replacing(run)).await?;
        Ok(marker.is_some())
    }

    /// Deletes the mark as the very last thing, after the lock is released.
    ///
    /// # Errors
    /// A ledger that was opened without the lock.
    pub fn unmark_at_the_end(&self, run: &str) -> Result<()> {
        self.lock()?.delete_last(self.layout.replacing(run));
        Ok(())
    }

    /// The number of the next batch. No number is used twice.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn next_batch(&self) -> Result<u32> {
        let mut next = 0;
        for folder in [
            self.layout.intents(),
            self.layout.attempts(),
            self.layout.archive(),
        ] {
            for object in self.objects_below(&folder).await?.keys() {
                next = next.max(Layout::batch_of(object) + 1);
            }
        }
        Ok(next)
    }

    /// How the last start that could say so ended, or `None` if there was none.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn summary<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        Ok(match self.read(self.layout.summary()).await? {
            Stored::Whole(summary) => Some(summary),
            Stored::Damaged(error) => {
                warn!(%error, "the summary of a run is unreadable");
                None
            }
            Stored::Missing => None,
        })
    }

    /// Writes how the last start of the run ended, for people and monitoring.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn write_summary(&self, summary: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec_pretty(summary).context(|| "failed to write the summary")?;
        self.store.put(&self.layout.summary(), json.into()).await
    }

    /// The size of the provider's index when the snapshot was fetched, or `None` if it is not known.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn index(&self) -> Result<Option<IndexSize>> {
        Ok(match self.read(self.layout.index()).await? {
            Stored::Whole(index) => Some(index),
            Stored::Damaged(error) => {
                warn!(%error, "the recorded size of the provider's index is unreadable");
                None
            }
            Stored::Missing => None,
        })
    }

    /// Records the size of the provider's index.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn record_index(&self, index: IndexSize) -> Result<()> {
        let json =
            serde_json::to_vec(&index).context(|| "failed to write the size of the index")?;
        self.store.put(&self.layout.index(), json.into()).await
    }
}
