//! Where a run writes its tables before they are audited and published.

use std::path::PathBuf;

use chrono::NaiveDate;
use tracing::warn;

use super::manifest::ManifestFile;
use super::writer::TableWriter;
use crate::contract::{Contracts, Table};
use crate::error::{Context, Error, Result};
use crate::store::{Layout, Lock, Scratch, Store};

/// Where a run writes its tables before they are published.
#[derive(Debug, Clone)]
pub struct Staging {
    pub(super) store: Store,
    pub(super) layout: Layout,
    pub(super) run: String,
    pub(super) generation: u32,
    pub(super) contracts: Contracts,
    file_bytes: u64,
    scratch: Scratch,
}

/// The name that files of a publication begin with: that of the run, and from the second publication on its number.
pub(super) fn prefix(run: &str, generation: u32) -> String {
    if generation <= 1 {
        run.to_owned()
    } else {
        format!("{run}.{generation}")
    }
}

impl Staging {
    /// An empty staging place for the nth publication of a date; what an earlier start left there is cleared. Files are
    /// about `file_bytes` long at the most.
    ///
    /// # Errors
    /// A lake that fails, or a lock that is lost.
    pub async fn begin(
        store: &Store,
        snapshot: NaiveDate,
        (run, generation): (&str, u32),
        contracts: &Contracts,
        file_bytes: u64,
        lock: &Lock,
    ) -> Result<Self> {
        let layout = Layout { snapshot };
        lock.renew().await?;
        store.clear(&layout.staging_root()).await?;
        let scratch = store.staging(&layout.staging_root().join(run))?;
        for table in Table::ALL {
            let folder = scratch.path().join(table.name());
            std::fs::create_dir_all(&folder)
                .context(|| format!("failed to create {}", folder.display()))?;
        }
        let (run, contracts) = (run.to_owned(), contracts.clone());
        Ok(Self {
            store: store.clone(),
            layout,
            run,
            generation,
            contracts,
            file_bytes,
            scratch,
        })
    }

    /// A writer for a table.
    #[must_use]
    pub fn writer(&self, table: Table) -> TableWriter {
        TableWriter::new(
            self.contracts.of(table),
            self.folder(table),
            self.layout.partition(table).to_string(),
            (&prefix(&self.run, self.generation), &self.run),
            self.file_bytes,
        )
    }

    /// Where a file of a table is staged.
    #[must_use]
    pub fn file(&self, table: Table, file: &ManifestFile) -> PathBuf {
        self.folder(table).join(file.name())
    }

    /// The folder in which the files of a table are staged.
    pub(super) fn folder(&self, table: Table) -> PathBuf {
        self.scratch.path().join(table.name())
    }

    /// Keeps what was staged for inspection and says where.
    pub(super) async fn keep(&self) -> String {
        if !self.scratch.is_temporary() {
            return format!("{} in the lake", self.layout.staging_root());
        }
        let kept = async {
            for table in Table::ALL {
                let folder = self.folder(table);
                for entry in
                    std::fs::read_dir(&folder).context(|| "failed to list what was staged")?
                {
                    let path = entry.context(|| "failed to list what was staged")?.path();
                    let name = path
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned());
                    let place = self
                        .layout
                        .staging(&self.run, table)
                        .join(name.unwrap_or_default());
                    self.store.deliver(&path, &place).await?.complete().await?;
                }
            }
            Ok::<_, Error>(())
        };
        match kept.await {
            Ok(()) => format!("{} in the lake", self.layout.staging_root()),
            Err(error) => {
                warn!(%error, "what was staged could not be kept");
                "the log".to_owned()
            }
        }
    }
}
