//! The files of a table as local files, for readers that know no object store.

use std::path::PathBuf;

use object_store::path::Path;

use super::manifest::{Manifest, ManifestFile};
use crate::contract::Table;
use crate::error::{Context, Error, Result};
use crate::store::{LocalFile, Store};

/// A table's files on the local disk, in the order of its rows; copies are deleted with this.
#[derive(Debug)]
pub struct LocalFiles {
    paths: Vec<PathBuf>,
    _files: Vec<LocalFile>,
}

impl LocalFiles {
    /// Where the files are.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Store {
    /// A published table's files on the local disk: those of a local lake as they are, those of an object store as
    /// copies in the system's folder for temporary files, which must have room for them.
    ///
    /// Sizes are held to the manifest, contents are not: that is what an audit is for.
    ///
    /// # Errors
    /// A lake or a disk that fails, or files that are not those that the manifest names.
    pub async fn local_files(&self, manifest: &Manifest, table: Table) -> Result<LocalFiles> {
        let name = table.name();
        let entry = manifest
            .tables
            .get(name)
            .filter(|entry| !entry.files.is_empty())
            .ok_or_else(|| {
                Error::unexpected(format!(
                    "the manifest of {} names no files of {name}",
                    manifest.snapshot
                ))
                .with_hint("`backlake verify` audits the snapshot")
            })?;
        let (mut paths, mut files) = (Vec::new(), Vec::new());
        for file in &entry.files {
            let path = &file.path;
            let local = self.as_file(&Path::from(path.as_str())).await?;
            let local = local.ok_or_else(|| {
                Error::unexpected(format!("{path} is missing"))
                    .with_hint("`backlake verify` audits the snapshot")
            })?;
            let bytes = std::fs::metadata(&local.path)
                .context(|| format!("failed to read {path}"))?
                .len();
            held_to(file, bytes)?;
            paths.push(local.path.clone());
            files.push(local);
        }
        Ok(LocalFiles {
            paths,
            _files: files,
        })
    }
}

fn held_to(file: &ManifestFile, bytes: u64) -> Result<()> {
    if bytes == file.bytes {
        return Ok(());
    }
    let ManifestFile {
        path, bytes: told, ..
    } = file;
    Err(Error::unexpected(format!(
        "{path} has {bytes} bytes, the manifest says {told}"
    ))
    .with_hint("do not trust this snapshot; `backlake verify` audits it"))
}
