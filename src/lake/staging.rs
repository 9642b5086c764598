//! The staging folder: where a run writes its tables before they are audited and published.

use std::path::PathBuf;

use chrono::NaiveDate;
use tracing::warn;

use super::manifest::{ManifestFile, PublicationId};
use super::writer::TableWriter;
use crate::contract::{Contracts, Table};
use crate::error::{Context, Error, Result};
use crate::store::{Layout, Lock, Scratch, Store};

/// A publication's staging folder, on a local disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Staging {
    pub(super) store: Store,
    pub(super) layout: Layout,
    pub(super) id: PublicationId,
    pub(super) contracts: Contracts,
    file_bytes: u64,
    scratch: Scratch,
}

impl Staging {
    /// Creates an empty staging folder for a publication, and clears what an earlier start has left. A file is closed
    /// once it has `file_bytes` bytes.
    ///
    /// # Errors
    /// A lake that fails, or a lock that is lost.
    pub async fn begin(
        store: &Store,
        snapshot: NaiveDate,
        id: PublicationId,
        contracts: &Contracts,
        file_bytes: u64,
        lock: &Lock,
    ) -> Result<Self> {
        let layout = Layout { snapshot };
        lock.renew().await?;
        clear(store, layout, &id.run, lock).await?;
        let scratch = store.staging(&layout.staging_root().join(id.run.as_str()))?;
        for table in Table::ALL {
            let folder = scratch.path().join(table.name());
            std::fs::create_dir_all(&folder)
                .context(|| format!("failed to create {}", folder.display()))?;
        }
        Ok(Self {
            store: store.clone(),
            layout,
            id,
            contracts: contracts.clone(),
            file_bytes,
            scratch,
        })
    }

    /// Deletes what a run has staged in a lake on a local disk and does not publish now. A temporary
    /// folder is deleted with its last clone.
    ///
    /// # Errors
    /// A lake that fails, or a lock that is lost.
    pub async fn discard(store: &Store, snapshot: NaiveDate, run: &str, lock: &Lock) -> Result<()> {
        let layout = Layout { snapshot };
        match store.has_folder(&layout.staging_root().join(run)) {
            true => clear(store, layout, run, lock).await,
            false => Ok(()),
        }
    }

    /// Deletes the staged files.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn empty(&self) -> Result<()> {
        let failed = || "failed to delete staged files";
        for table in Table::ALL {
            for entry in std::fs::read_dir(self.folder(table)).context(failed)? {
                std::fs::remove_file(entry.context(failed)?.path()).context(failed)?;
            }
        }
        Ok(())
    }

    /// A writer for a table.
    #[must_use]
    pub fn writer(&self, table: Table) -> TableWriter {
        TableWriter::new(
            self.contracts.of(table),
            self.folder(table),
            self.layout.partition(table).to_string(),
            &self.id,
            self.file_bytes,
        )
    }

    /// The staged file of a table.
    #[must_use]
    pub fn file(&self, table: Table, file: &ManifestFile) -> PathBuf {
        self.folder(table).join(file.name())
    }

    /// The folder in which the files of a table are staged.
    pub(super) fn folder(&self, table: Table) -> PathBuf {
        self.scratch.path().join(table.name())
    }

    /// Keeps the staged files for inspection, and returns where they are.
    pub(super) async fn keep(&self) -> String {
        if !self.scratch.is_temporary() {
            return format!("{} in the lake", self.layout.staging_root());
        }
        let kept = async {
            for table in Table::ALL {
                let folder = self.folder(table);
                for entry in
                    std::fs::read_dir(&folder).context(|| "failed to list the staged files")?
                {
                    let path = entry.context(|| "failed to list the staged files")?.path();
                    let name = path
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned());
                    let place = self
                        .layout
                        .staging(&self.id.run, table)
                        .join(name.unwrap_or_default());
                    self.store.deliver(&path, &place).await?.complete().await?;
                }
            }
            Ok::<_, Error>(())
        };
        match kept.await {
            Ok(()) => format!("{} in the lake", self.layout.staging_root()),
            Err(error) => {
                warn!(%error, "failed to keep the staged files");
                "the log".to_owned()
            }
        }
    }
}

/// Deletes everything staged; only what this run has staged if a publication was interrupted while
/// it placed files. The marker of that stays until those files are cleared.
async fn clear(store: &Store, layout: Layout, run: &str, lock: &Lock) -> Result<()> {
    let root = layout.staging_root();
    match store.get(&layout.placing()).await? {
        None => lock.clear(&root).await,
        Some(_) => lock.clear(&root.join(run)).await,
    }
}
