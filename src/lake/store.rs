//! Where the lake stands: `object_store`, and on a local disk what makes a write durable and a move atomic.

use std::io::Write as _;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use url::Url;

use crate::error::{Context, Error, Result};

/// The lake's storage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The lake's place, for people.
    name: Arc<str>,
    /// The folder, if it is on a local disk.
    disk: Option<Arc<PathBuf>>,
}

impl Store {
    /// Opens the lake at a path or URL; a local folder is created if it is not there.
    ///
    /// # Errors
    /// A URL of a kind that is not supported, or a path that cannot be created.
    pub fn create(url: &str) -> Result<Self> {
        if let Some(folder) = local(url) {
            std::fs::create_dir_all(folder).usage(|| format!("[lake] url: failed to create {url}"))?;
        }
        Self::open(url)
    }

    /// Opens the lake at a path or URL. Credentials for `s3://`, `gs://` and `az://` come the standard way of each
    /// cloud: environment, workload identity, instance role.
    ///
    /// # Errors
    /// A URL of a kind that is not supported, or a path that is no directory.
    pub fn open(url: &str) -> Result<Self> {
        let failed = || format!("failed to open the lake at {url}");
        if let Some(folder) = local(url) {
            let root = folder.canonicalize().usage(failed)?;
            let objects = LocalFileSystem::new_with_prefix(&root).usage(failed)?;
            let name = root.display().to_string().into();
            return Ok(Self { objects: Arc::new(objects), name, disk: Some(Arc::new(root)) });
        }
        let parsed: Url = url.parse().usage(failed)?;
        let objects: Arc<dyn ObjectStore> = match parsed.scheme() {
            "s3" | "s3a" => Arc::new(AmazonS3Builder::from_env().with_url(url).build().usage(failed)?),
            "gs" => Arc::new(GoogleCloudStorageBuilder::from_env().with_url(url).build().usage(failed)?),
            "az" | "abfs" | "abfss" => {
                Arc::new(MicrosoftAzureBuilder::from_env().with_url(url).build().usage(failed)?)
            }
            scheme => {
                return Err(Error::usage(format!("[lake] url: {scheme}:// is not supported"))
                    .with_hint("use a local path, s3://, gs:// or az://"));
            }
        };
        let folder = Path::from_url_path(parsed.path()).usage(failed)?;
        Ok(Self::over(Arc::new(PrefixStore::new(objects, folder)), url))
    }

    /// A lake in any object store; `name` is for people.
    #[must_use]
    pub fn over(objects: Arc<dyn ObjectStore>, name: &str) -> Self {
        Self { objects, name: name.into(), disk: None }
    }

    /// Tries whether the lake can be written, by writing.
    ///
    /// # Errors
    /// A lake that may not be written, which its owner must settle; one that fails now.
    pub async fn probe(&self) -> Result<()> {
        let path = Path::from(format!("_runs/.writable-{}", std::process::id()));
        let failed = || format!("[lake] url: failed to write to {}", self.name);
        match self.objects.put(&path, Bytes::new().into()).await {
            Ok(_) => self.delete(&path).await,
            Err(error) if is_lasting(&error) => Err(error).usage(failed),
            Err(error) => Err(error).context(failed),
        }
    }

    /// A directory for temporary files: beside the lake, or the system's.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.disk.as_deref().cloned().unwrap_or_else(std::env::temp_dir)
    }

    /// The lake's place, for people.
    #[must_use]
    pub fn display(&self) -> String {
        self.name.to_string()
    }

    pub(super) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Writes an object; returns when it is durable. Readers see all of it or none.
    pub(super) async fn put(&self, path: &Path, bytes: Bytes) -> Result<()> {
        let failed = || format!("failed to write {path} to the lake");
        match self.on_disk(path) {
            None => self.objects.put(path, bytes.into()).await.map(|_| ()).context(failed),
            Some(file) => blocking(move || write_durably(&file, &bytes)).await.context(failed),
        }
    }

    /// Writes an object that must not be there yet; false if it is.
    pub(super) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool> {
        let options = PutOptions::from(PutMode::Create);
        let ours = bytes.clone();
        match self.objects.put_opts(path, bytes.into(), options).await {
            Ok(_) => self.sync(path).await.map(|()| true),
            // A put that was repeated after its answer was lost finds itself.
            Err(object_store::Error::AlreadyExists { .. }) => {
                Ok(self.get(path).await?.is_some_and(|there| there == ours))
            }
            Err(error) => Err(error).context(|| format!("failed to write {path} to the lake")),
        }
    }

    /// Deletes an object, if it is there.
    pub(super) async fn delete(&self, path: &Path) -> Result<()> {
        match self.objects.delete(path).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error).context(|| format!("failed to delete {path} in the lake")),
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
        let Some(directory) = self.on_disk(folder) else {
            return Ok(());
        };
        blocking(move || match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
        .context(failed)
    }

    /// Moves a folder to its new place, which must be free. On a local disk its files are made durable first and it
    /// appears there whole, by one rename; in an object store its objects appear one by one, each if `may` says so.
    pub(super) async fn move_folder(
        &self,
        from: &Path,
        to: &Path,
        may: impl AsyncFn() -> Result<()>,
    ) -> Result<()> {
        may().await?;
        let failed = || format!("failed to move {from} to {to} in the lake");
        if let (Some(source), Some(target)) = (self.on_disk(from), self.on_disk(to)) {
            let moved = blocking(move || {
                for entry in std::fs::read_dir(&source)? {
                    std::fs::File::open(entry?.path())?.sync_all()?;
                }
                sync_directory(&source)?;
                let parent = target.parent().unwrap_or(&target).to_owned();
                std::fs::create_dir_all(&parent)?;
                std::fs::rename(&source, &target)?;
                sync_directory(&parent)
            });
            return moved.await.context(failed);
        }
        for object in self.list(from).await? {
            let name = object.location.filename().unwrap_or_default();
            may().await?;
            self.objects.copy(&object.location, &to.clone().join(name)).await.context(failed)?;
        }
        self.clear(from).await
    }

    /// Returns when an object just written is on the disk, not only in its cache.
    async fn sync(&self, path: &Path) -> Result<()> {
        let Some(file) = self.on_disk(path) else {
            return Ok(());
        };
        blocking(move || {
            std::fs::File::open(&file)?.sync_all()?;
            file.parent().map_or(Ok(()), sync_directory)
        })
        .await
        .context(|| format!("failed to make {path} durable"))
    }

    fn on_disk(&self, path: &Path) -> Option<PathBuf> {
        self.disk.as_ref().map(|root| root.join(path.as_ref()))
    }
}

/// Whether trying again later would fail in the same way.
fn is_lasting(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind as K;
            return matches!(io.kind(), K::PermissionDenied | K::ReadOnlyFilesystem | K::NotADirectory);
        }
        cause = error.source();
    }
    matches!(
        error,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } | E::NotFound { .. } | E::NotSupported { .. }
    )
}

/// The folder that a URL means on a local disk.
fn local(url: &str) -> Option<&FsPath> {
    match url.split_once("://") {
        None => Some(FsPath::new(url)),
        Some(("file", path)) => Some(FsPath::new(path)),
        Some(_) => None,
    }
}

/// Writes a file beside its place, makes it durable, and moves it there: whatever happens, a file under its own name is
/// whole.
fn write_durably(file: &FsPath, bytes: &[u8]) -> std::io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder)?;
    // Names that end like this are what `object_store` leaves out of its listings.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = file.as_os_str().to_owned();
    name.push(format!("#{}{number:06}", std::process::id()));
    let written = std::fs::File::create(&name)
        .and_then(|mut open| open.write_all(bytes).and_then(|()| open.sync_all()))
        .and_then(|()| std::fs::rename(&name, file));
    if written.is_err() {
        // What is half written takes room that may be short.
        let _ = std::fs::remove_file(&name);
    }
    written.and_then(|()| sync_directory(folder))
}

/// A directory's entries, made durable; where the system has no such thing, nothing.
fn sync_directory(directory: &FsPath) -> std::io::Result<()> {
    if cfg!(unix) { std::fs::File::open(directory)?.sync_all() } else { Ok(()) }
}

async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> std::io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
