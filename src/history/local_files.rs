//! Provides the files of a table as local files, because polars is used without its object store
//! readers.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;

use crate::contract::Table;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::lake::{Manifest, ManifestFile};
use crate::store::{LocalFile, Store};

/// A table's files on the local disk, in the order of their rows. Temporary copies are deleted with
/// this.
#[derive(Debug)]
pub(super) struct LocalFiles {
    paths: Vec<PathBuf>,
    _files: Vec<LocalFile>,
}

/// The files of several tables, kept for as long as a query may read them.
pub(super) type SharedFiles = Arc<[Arc<LocalFiles>]>;

impl LocalFiles {
    /// The paths of the files.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// A published table's files as local files: the files themselves if the lake is on a local
    /// disk, else copies in the system's folder for temporary files, which must have room for them.
    ///
    /// Sizes are checked against the manifest. Contents are not: an audit does that.
    ///
    /// # Errors
    /// A lake or a disk that fails; a file that is missing or has another size than in the
    /// manifest.
    pub(super) async fn open(store: &Store, manifest: &Manifest, table: Table) -> Result<Self> {
        let name = table.name();
        let entry = manifest
            .tables
            .get(name)
            .filter(|entry| !entry.files.is_empty())
            .ok_or_else(|| {
                let message = format!(
                    "the manifest of {} lists no files of {name}",
                    manifest.snapshot
                );
                Error::new(ErrorKind::FoundProblems, message)
                    .with_hint("run `backlake verify` to audit the snapshot")
            })?;
        let (mut paths, mut files) = (Vec::new(), Vec::new());
        for file in &entry.files {
            let path = &file.path;
            let local = store.as_file(&Path::from(path.as_str())).await?;
            let local = local.ok_or_else(|| {
                Error::new(ErrorKind::FoundProblems, format!("{path} is missing"))
                    .with_hint("run `backlake verify` to audit the snapshot")
            })?;
            let bytes = std::fs::metadata(&local.path)
                .context(|| format!("failed to read {path}"))?
                .len();
            check_size(file, bytes)?;
            paths.push(local.path.clone());
            files.push(local);
        }
        Ok(Self {
            paths,
            _files: files,
        })
    }
}

fn check_size(file: &ManifestFile, bytes: u64) -> Result<()> {
    if bytes == file.bytes {
        return Ok(());
    }
    let ManifestFile {
        path,
        bytes: expected,
        ..
    } = file;
    let message = format!("{path} has {bytes} bytes, the manifest says {expected}");
    Err(Error::new(ErrorKind::FoundProblems, message)
        .with_hint("do not use this snapshot before `backlake verify` has audited it"))
}
