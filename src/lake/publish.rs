//! Publishes a snapshot: tables are staged whole, audited, moved into place whole, and the manifest comes last.
//!
//! On a local disk each table appears by one rename, so a reader's glob sees all of a table's files or none. A
//! publication that was broken off between two tables is finished by the next start of the run, which replaces
//! what stands there without a manifest.

use chrono::NaiveDate;
use tracing::{info, warn};

use super::audit::audit_files;
use super::layout::Layout;
use super::lock::Lock;
use super::manifest::Manifest;
use super::store::Store;
use super::writer::TableWriter;
use crate::contract::Table;
use crate::error::{Context, Error, ErrorKind, Result};

/// Where a run writes its tables before they are published.
#[derive(Debug, Clone)]
pub struct Staging {
    store: Store,
    layout: Layout,
    run: String,
}

impl Staging {
    /// An empty staging place; what an earlier start left there is cleared.
    ///
    /// # Errors
    /// A lake that fails, or a lock that is lost.
    pub async fn begin(store: &Store, snapshot: NaiveDate, run: &str, lock: &Lock) -> Result<Self> {
        let layout = Layout { snapshot };
        lock.renew().await?;
        store.clear(&layout.staging_root()).await?;
        Ok(Self { store: store.clone(), layout, run: run.to_owned() })
    }

    /// A writer for a table, or for a stretch of one whose files are numbered from `first`.
    #[must_use]
    pub fn writer(&self, table: Table, first: u32) -> TableWriter {
        let paths = (self.layout.staging(&self.run, table), self.layout.partition(table));
        TableWriter::new(self.store.clone(), table.contract(), paths, &self.run, first)
    }
}

/// Moves all tables into place and writes the manifest. `moved` is told of each table.
///
/// # Errors
/// Books that do not balance, staged files that are not sound, a lock that is lost, or a lake that fails; the snapshot is not published then.
pub async fn publish(
    staging: &Staging,
    manifest: &Manifest,
    lock: &Lock,
    moved: &(dyn Fn() + Sync),
) -> Result<()> {
    let imbalances = manifest.imbalances();
    if !imbalances.is_empty() {
        return Err(Error::unexpected(format!("the books do not balance: {}", imbalances.join("; ")))
            .with_hint("nothing was published; the answers are archived: report this as a defect"));
    }
    let Staging { store, layout, run } = staging;
    let audit = audit_files(store, manifest, |table| layout.staging(run, table)).await?;
    if let Some(problem) = audit.problems.first() {
        let more = audit.problems.len() - 1;
        let message = format!("what was staged for snapshot {} is not sound: {problem}", layout.snapshot);
        let message = if more > 0 { format!("{message}; and {more} problems more") } else { message };
        return Err(Error::unexpected(message).with_hint(format!(
            "nothing was published; look at {} in the lake. The next start stages anew from the archive, for nothing",
            layout.staging_root()
        )));
    }
    let published_meanwhile = || {
        let message = format!("snapshot {} was published by another run meanwhile", layout.snapshot);
        Error::new(ErrorKind::Locked, message)
    };
    for table in Table::ALL {
        let partition = layout.partition(table);
        // Whoever has taken the snapshot over may have published: that is not to be cleared.
        lock.renew().await?;
        if store.get(&layout.manifest()).await?.is_some() {
            return Err(published_meanwhile());
        }
        // Without a manifest this is what a broken-off publication left.
        store.clear(&partition).await?;
        store.move_folder(&layout.staging(run, table), &partition, || lock.ensure()).await?;
        moved();
    }
    let json = serde_json::to_vec_pretty(manifest).context(|| "failed to write the manifest")?;
    lock.ensure().await?;
    if !store.put_new(&layout.manifest(), json.into()).await? {
        return Err(published_meanwhile());
    }
    // Published it is; what is left over is cleared by the next run that stages.
    if let Err(error) = store.clear(&layout.staging_root()).await {
        warn!(%error, "failed to clear the staging place");
    }
    info!(snapshot = %layout.snapshot, run, "published");
    Ok(())
}
