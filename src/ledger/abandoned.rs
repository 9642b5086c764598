//! Runs that were abandoned: their records have a name of their own, so that no start continues them.

use super::handle::Ledger;
use super::run::RunRecord;
use crate::error::{Context, Result};
use crate::store::Layout;

impl Ledger {
    /// The records of all runs of this snapshot, those that were abandoned included, in the order of their batches.
    ///
    /// # Errors
    /// A lake that fails, or a record that is damaged.
    pub async fn all_runs(&self) -> Result<Vec<RunRecord>> {
        let current = self.run_records().await?;
        let mut all = self.abandoned_runs().await?;
        // A run that is being abandoned has both records.
        all.retain(|abandoned| current.iter().all(|record| record.run != abandoned.run));
        all.extend(current);
        // The sort is stable, so abandoned runs come before the current run of the same generation.
        all.sort_by_key(|record| (record.first_batch, record.generation));
        Ok(all)
    }

    /// The records of the runs of this snapshot that were abandoned, or are being abandoned.
    ///
    /// # Errors
    /// A lake that fails, or a record that is damaged.
    pub async fn abandoned_runs(&self) -> Result<Vec<RunRecord>> {
        self.records(Layout::is_abandoned).await
    }

    /// Whether a run of this snapshot was abandoned.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn has_abandoned(&self) -> Result<bool> {
        let objects = self.store.list_here(&self.layout.run_root()).await?;
        let mut paths = objects.iter().map(|object| &object.location);
        Ok(paths.any(Layout::is_abandoned))
    }

    /// Whether there were runs of this snapshot, and all of them were abandoned.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn is_abandoned(&self) -> Result<bool> {
        let objects = self.store.list_here(&self.layout.run_root()).await?;
        let paths = || objects.iter().map(|object| &object.location);
        let is_current = |path| Layout::generation_of(path).is_some();
        Ok(paths().any(Layout::is_abandoned) && !paths().any(is_current))
    }

    /// Keeps the record of a run that is about to be abandoned.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn keep_abandoned(&self, record: &RunRecord) -> Result<()> {
        let json = serde_json::to_vec_pretty(record);
        let json = json.context(|| "failed to write the record of an abandoned run")?;
        self.lock()?.ensure().await?;
        let path = self.layout.abandoned(&record.run);
        self.store.put(&path, json.into()).await
    }

    /// Deletes what makes a start continue a run, its record last. The record under the name of an abandoned run stays.
    ///
    /// # Errors
    /// A lock that is lost, or a lake that fails.
    pub async fn close_abandoned(&self, record: &RunRecord) -> Result<()> {
        self.unmark_replacing(&record.run).await?;
        let lock = self.lock()?;
        lock.delete(&self.layout.summary()).await?;
        lock.delete(&self.layout.run(record.generation)).await
    }

    /// Deletes the marker of a replacement while the lock is held. A start deletes its own marker at its end; an abandoned
    /// replacement has no such start.
    ///
    /// # Errors
    /// A lock that is lost, or a lake that fails.
    pub async fn unmark_replacing(&self, run: &str) -> Result<()> {
        self.lock()?.delete(&self.layout.replacing(run)).await
    }
}
