//! A published snapshot, and its tables as local files: they are opened, or copied from a bucket,
//! once, whatever is computed from them.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::local_files::LocalFiles;
use crate::contract::Table;
use crate::error::Result;
use crate::lake::Manifest;
use crate::store::Store;

/// A snapshot and its files. Copies from a bucket are deleted with it.
#[derive(Debug)]
pub struct Opened {
    manifest: Manifest,
    files: [OnceCell<Arc<LocalFiles>>; Table::ALL.len()],
}

impl Opened {
    /// The snapshot of a manifest. Nothing is opened yet.
    #[must_use]
    pub fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            files: Default::default(),
        }
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The files of a table.
    pub(super) async fn files(&self, store: &Store, table: Table) -> Result<Arc<LocalFiles>> {
        let open = || async {
            LocalFiles::open(store, &self.manifest, table)
                .await
                .map(Arc::new)
        };
        let opened = &self.files[table as usize];
        opened.get_or_try_init(open).await.cloned()
    }
}
