//! What a lake on a local disk allows besides writing objects: staging folders, renames and temporary files.

use std::io::Write as _;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use futures::StreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::leftovers::prefix;
use super::objects::Store;
use super::whole::{blocking, sync_directory};
use crate::error::{Context, Error, Result};

impl Store {
    /// A directory for temporary files: the lake's folder if it is on a local disk, else the system's directory.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.root()
            .map_or_else(std::env::temp_dir, FsPath::to_path_buf)
    }

    /// A file in that directory that is deleted with its handle, or becomes an object by [`Store::deliver`]. It has the
    /// permissions of the lake's other files, not the private ones of a temporary file.
    pub(crate) fn temporary(&self, snapshot: NaiveDate) -> Result<tempfile::NamedTempFile> {
        let scratch = self.scratch();
        let mut file = tempfile::Builder::new();
        let prefix = prefix(snapshot);
        file.prefix(&prefix);
        #[cfg(unix)]
        file.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        file.tempfile_in(&scratch)
            .context(|| format!("failed to create a temporary file in {}", scratch.display()))
    }

    /// A folder on a local disk in which to stage the lake's files: a folder of the lake if it is on a local disk, so
    /// that files are moved instead of copied, else a temporary one.
    pub(crate) fn staging(&self, folder: &Path) -> Result<Scratch> {
        let failed = || format!("failed to create {folder} for staging");
        match self.on_disk(folder) {
            Some(path) => {
                std::fs::create_dir_all(&path).context(failed)?;
                Ok(Scratch {
                    path,
                    temporary: None,
                })
            }
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("backlake-staging-")
                    .tempdir_in(self.scratch());
                let temporary = temporary.context(failed)?;
                Ok(Scratch {
                    path: temporary.path().to_owned(),
                    temporary: Some(Arc::new(temporary)),
                })
            }
        }
    }

    /// An object as a local file: the object itself if the lake is on a local disk, else a temporary copy. None if the
    /// object does not exist.
    pub(crate) async fn as_file(&self, path: &Path) -> Result<Option<LocalFile>> {
        let failed = || format!("failed to read {path} from the lake");
        if let Some(file) = self.on_disk(path) {
            return Ok(file.is_file().then_some(LocalFile {
                path: file,
                _temporary: None,
            }));
        }
        let mut bytes = match self.objects().get(path).await {
            Ok(object) => object.into_stream(),
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error).context(failed),
        };
        let mut temporary = tempfile::NamedTempFile::new_in(self.scratch()).context(failed)?;
        while let Some(bytes) = bytes.next().await {
            temporary
                .write_all(&bytes.context(failed)?)
                .context(failed)?;
        }
        let temporary = temporary.into_temp_path();
        Ok(Some(LocalFile {
            path: temporary.to_path_buf(),
            _temporary: Some(temporary),
        }))
    }

    /// Whether a folder does not exist in a lake on a local disk, so that a staged folder can be renamed to it.
    pub(crate) fn is_free(&self, folder: &Path) -> bool {
        self.on_disk(folder).is_some_and(|folder| !folder.exists())
    }

    /// Whether a folder exists in a lake on a local disk. Object stores have no folders.
    pub(crate) fn has_folder(&self, folder: &Path) -> bool {
        self.on_disk(folder).is_some_and(|folder| folder.exists())
    }

    /// Makes the files of a staged folder durable, so that only [`Store::move_folder`] is left to bring it to its place.
    pub(crate) async fn sync_folder(&self, staged: &FsPath, to: &Path) -> Result<()> {
        let (source, target) = (staged.to_owned(), self.on_disk(to));
        let synced = blocking(move || {
            for entry in std::fs::read_dir(&source)? {
                std::fs::File::open(entry?.path())?.sync_all()?;
            }
            sync_directory(&source)?;
            let parent = target.as_deref().and_then(FsPath::parent);
            parent.map_or(Ok(()), std::fs::create_dir_all)
        });
        synced
            .await
            .context(|| format!("failed to write {} to the disk", staged.display()))
    }

    /// Moves a staged folder to its place in a lake on a local disk, by one rename. The place must be free, and
    /// [`Store::sync_folder`] must have made the folder durable.
    pub(crate) async fn move_folder(&self, staged: &FsPath, to: &Path) -> Result<()> {
        let failed = || format!("failed to move {} to {to} in the lake", staged.display());
        let Some(target) = self.on_disk(to) else {
            return Err(Error::unexpected(failed()));
        };
        let source = staged.to_owned();
        let moved = blocking(move || {
            std::fs::rename(&source, &target)?;
            target.parent().map_or(Ok(()), sync_directory)
        });
        moved.await.context(failed)
    }
}

/// A folder on a local disk in which files are staged. A temporary folder is deleted with its last clone.
#[derive(Debug, Clone)]
pub(crate) struct Scratch {
    path: PathBuf,
    temporary: Option<Arc<tempfile::TempDir>>,
}

impl Scratch {
    /// Where the folder is.
    pub(crate) fn path(&self) -> &FsPath {
        &self.path
    }

    /// Whether the folder is temporary, and not part of the lake.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }
}

/// An object of the lake as a local file. A temporary copy is deleted with this.
#[derive(Debug)]
pub(crate) struct LocalFile {
    pub(crate) path: PathBuf,
    _temporary: Option<tempfile::TempPath>,
}
