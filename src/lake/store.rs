//! Where the lake stands: `object_store`, and on a local disk what makes a write durable and a move atomic.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};

use crate::error::{Context, Error, Result};

/// The lake's storage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    root: Arc<PathBuf>,
}

impl Store {
    /// Opens the lake at a local path; it is created if it is not there.
    ///
    /// # Errors
    /// A URL of a kind that is not supported, or a path that cannot be created.
    pub fn create(url: &str) -> Result<Self> {
        let root = Self::local(url)?;
        std::fs::create_dir_all(root).usage(|| format!("[lake] url: failed to create {url}"))?;
        Self::open(url)
    }

    /// Opens the lake at a local path.
    ///
    /// # Errors
    /// A URL of a kind that is not supported, or a path that is no directory.
    pub fn open(url: &str) -> Result<Self> {
        let root = Self::local(url)?;
        let failed = || format!("failed to open the lake at {url}");
        let root = root.canonicalize().usage(failed)?;
        let objects = LocalFileSystem::new_with_prefix(&root).usage(failed)?;
        Ok(Self { objects: Arc::new(objects), root: Arc::new(root) })
    }

    fn local(url: &str) -> Result<&FsPath> {
        match url.split_once("://") {
            None => Ok(FsPath::new(url)),
            Some(("file", path)) => Ok(FsPath::new(path)),
            Some((scheme, _)) => Err(Error::usage(format!("[lake] url: {scheme}:// is not supported yet"))
                .with_hint("use a local path")),
        }
    }

    /// Tries whether the lake can be written, by writing.
    ///
    /// # Errors
    /// A lake that cannot be written, with the reason.
    pub async fn probe(&self) -> Result<()> {
        let path = Path::from("_runs/.writable");
        let failed = || format!("[lake] url: failed to write to {}", self.root.display());
        self.objects.put(&path, Bytes::new().into()).await.usage(failed)?;
        self.objects.delete(&path).await.usage(failed)
    }

    /// A directory for temporary files beside the lake.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.root.as_ref().clone()
    }

    /// The lake's place, for people.
    #[must_use]
    pub fn display(&self) -> String {
        self.root.display().to_string()
    }

    pub(super) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Writes an object; returns when it is durable.
    pub(super) async fn put(&self, path: &Path, bytes: Bytes) -> Result<()> {
        let failed = || format!("failed to write {path} to the lake");
        self.objects.put(path, bytes.into()).await.context(failed)?;
        self.sync(path).await
    }

    /// Writes an object that must not be there yet; false if it is.
    pub(super) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool> {
        let options = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(path, bytes.into(), options).await {
            Ok(_) => self.sync(path).await.map(|()| true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error).context(|| format!("failed to write {path} to the lake")),
        }
    }

    /// An object's bytes; none if it is not there.
    pub(super) async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        let failed = || format!("failed to read {path} from the lake");
        match self.objects.get(path).await {
            Ok(object) => object.bytes().await.map(Some).context(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).context(failed),
        }
    }

    /// The objects below a folder, by name.
    pub(super) async fn list(&self, folder: &Path) -> Result<Vec<ObjectMeta>> {
        let listed = self.objects.list(Some(folder)).try_collect::<Vec<_>>().await;
        let mut objects = listed.context(|| format!("failed to list {folder} in the lake"))?;
        objects.sort_by(|left, right| left.location.cmp(&right.location));
        Ok(objects)
    }

    /// The folders right below a folder, by name.
    pub(super) async fn folders(&self, folder: &Path) -> Result<Vec<Path>> {
        let listed = self.objects.list_with_delimiter(Some(folder)).await;
        let mut folders = listed.context(|| format!("failed to list {folder} in the lake"))?.common_prefixes;
        folders.sort();
        Ok(folders)
    }

    /// Deletes everything below a folder.
    pub(super) async fn clear(&self, folder: &Path) -> Result<()> {
        let failed = || format!("failed to clear {folder} in the lake");
        let found = self.objects.list(Some(folder)).map_ok(|object| object.location).boxed();
        self.objects.delete_stream(found).try_collect::<Vec<_>>().await.context(failed)?;
        let directory = self.on_disk(folder);
        blocking(move || match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
        .context(failed)
    }

    /// Makes the files of a folder durable and moves the folder whole to its new place, which must be free.
    pub(super) async fn move_folder(&self, from: &Path, to: &Path) -> Result<()> {
        let (source, target) = (self.on_disk(from), self.on_disk(to));
        blocking(move || {
            for entry in std::fs::read_dir(&source)? {
                std::fs::File::open(entry?.path())?.sync_all()?;
            }
            sync_directory(&source)?;
            let parent = target.parent().unwrap_or(&target).to_owned();
            std::fs::create_dir_all(&parent)?;
            std::fs::rename(&source, &target)?;
            sync_directory(&parent)
        })
        .await
        .context(|| format!("failed to move {from} to {to} in the lake"))
    }

    /// Returns when an object just written is on the disk, not only in its cache.
    async fn sync(&self, path: &Path) -> Result<()> {
        let file = self.on_disk(path);
        blocking(move || {
            std::fs::File::open(&file)?.sync_all()?;
            file.parent().map_or(Ok(()), sync_directory)
        })
        .await
        .context(|| format!("failed to make {path} durable"))
    }

    fn on_disk(&self, path: &Path) -> PathBuf {
        self.root.join(path.as_ref())
    }
}

/// A directory's entries, made durable; where the system has no such thing, nothing.
fn sync_directory(directory: &FsPath) -> std::io::Result<()> {
    if cfg!(unix) { std::fs::File::open(directory)?.sync_all() } else { Ok(()) }
}

async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> std::io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
