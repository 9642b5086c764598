//! Where the lake stands: `object_store`, and on a local disk what makes a write durable and a move atomic.

use std::io::Write as _;
use std::ops::Range;
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
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion,
};
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
            std::fs::create_dir_all(folder)
                .usage(|| format!("[lake] url: failed to create {url}"))?;
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
            return Ok(Self {
                objects: Arc::new(objects),
                name,
                disk: Some(Arc::new(root)),
            });
        }
        let parsed: Url = url.parse().usage(failed)?;
        let objects: Arc<dyn ObjectStore> = match parsed.scheme() {
            "s3" | "s3a" => Arc::new(
                AmazonS3Builder::from_env()
                    .with_url(url)
                    .build()
                    .usage(failed)?,
            ),
            "gs" => Arc::new(
                GoogleCloudStorageBuilder::from_env()
                    .with_url(url)
                    .build()
                    .usage(failed)?,
            ),
            "az" | "abfs" | "abfss" => Arc::new(
                MicrosoftAzureBuilder::from_env()
                    .with_url(url)
                    .build()
                    .usage(failed)?,
            ),
            scheme => {
                return Err(
                    Error::usage(format!("[lake] url: {scheme}:// is not supported"))
                        .with_hint("use a local path, s3://, gs:// or az://"),
                );
            }
        };
        let folder = Path::from_url_path(parsed.path()).usage(failed)?;
        Ok(Self::over(Arc::new(PrefixStore::new(objects, folder)), url))
    }

    /// A lake in any object store; `name` is for people.
    #[must_use]
    pub fn over(objects: Arc<dyn ObjectStore>, name: &str) -> Self {
        Self {
            objects,
            name: name.into(),
            disk: None,
        }
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
        self.disk
            .as_deref()
            .cloned()
            .unwrap_or_else(std::env::temp_dir)
    }

    /// A file in that directory that is gone with its handle, or becomes an object by [`Store::deliver`]; whoever may read
    /// the lake's other objects may then read it, too.
    pub(crate) fn temporary(&self) -> Result<tempfile::NamedTempFile> {
        let scratch = self.scratch();
        let mut file = tempfile::Builder::new();
        file.prefix(".backlake-");
        #[cfg(unix)]
        file.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        file.tempfile_in(&scratch)
            .context(|| format!("failed to create a temporary file in {}", scratch.display()))
    }

    /// The lake's place, for people.
    #[must_use]
    pub fn display(&self) -> String {
        self.name.to_string()
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Writes an object; returns when it is durable. Readers see all of it or none.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<()> {
        let failed = || format!("failed to write {path} to the lake");
        match self.on_disk(path) {
            None => self
                .objects
                .put(path, bytes.into())
                .await
                .map(|_| ())
                .context(failed),
            Some(file) => blocking(move || write_durably(&file, &bytes))
                .await
                .context(failed),
        }
    }

    /// Writes an object that must not be there yet; false if it is.
    pub(crate) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool> {
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

    /// An object's bytes, and by what to tell whether it has changed since; none if it is not there.
    pub(crate) async fn get_version(&self, path: &Path) -> Result<Option<(Bytes, UpdateVersion)>> {
        let failed = || format!("failed to read {path} from the lake");
        let object = match self.objects.get(path).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error).context(failed),
        };
        let version = UpdateVersion {
            e_tag: object.meta.e_tag.clone(),
            version: object.meta.version.clone(),
        };
        Ok(Some((object.bytes().await.context(failed)?, version)))
    }

    /// Writes an object in the place of the one of this version; false if it has changed. On a local disk, which knows
    /// no such condition, the lock on the snapshot must do.
    pub(crate) async fn replace(
        &self,
        path: &Path,
        bytes: Bytes,
        version: UpdateVersion,
    ) -> Result<bool> {
        let failed = || format!("failed to write {path} to the lake");
        if self.disk.is_some() {
            return self.put(path, bytes).await.map(|()| true);
        }
        let ours = bytes.clone();
        match self
            .objects
            .put_opts(path, bytes.into(), PutMode::Update(version).into())
            .await
        {
            Ok(_) => Ok(true),
            // A put that was repeated after its answer was lost finds itself.
            Err(object_store::Error::Precondition { .. }) => {
                Ok(self.get(path).await?.is_some_and(|there| there == ours))
            }
            Err(error) => Err(error).context(failed),
        }
    }

    /// Deletes an object, if it is there.
    pub(crate) async fn delete(&self, path: &Path) -> Result<()> {
        match self.objects.delete(path).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error).context(|| format!("failed to delete {path} in the lake")),
        }
    }

    /// An object's bytes; none if it is not there.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        let failed = || format!("failed to read {path} from the lake");
        match self.objects.get(path).await {
            Ok(object) => object.bytes().await.map(Some).context(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).context(failed),
        }
    }

    /// A stretch of an object; none if the object is not there.
    pub(crate) async fn get_range(&self, path: &Path, bytes: Range<u64>) -> Result<Option<Bytes>> {
        // Object stores refuse to read nothing.
        if bytes.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        match self.objects.get_range(path, bytes).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).context(|| format!("failed to read {path} from the lake")),
        }
    }

    /// The objects below a folder, by name.
    pub(crate) async fn list(&self, folder: &Path) -> Result<Vec<ObjectMeta>> {
        let listed = self
            .objects
            .list(Some(folder))
            .try_collect::<Vec<_>>()
            .await;
        let mut objects = listed.context(|| format!("failed to list {folder} in the lake"))?;
        objects.sort_by(|left, right| left.location.cmp(&right.location));
        Ok(objects)
    }

    /// The objects right in a folder, by name.
    pub(crate) async fn list_here(&self, folder: &Path) -> Result<Vec<ObjectMeta>> {
        let listed = self.objects.list_with_delimiter(Some(folder)).await;
        let mut objects = listed
            .context(|| format!("failed to list {folder} in the lake"))?
            .objects;
        objects.sort_by(|left, right| left.location.cmp(&right.location));
        Ok(objects)
    }

    /// The folders right below a folder, by name.
    pub(crate) async fn folders(&self, folder: &Path) -> Result<Vec<Path>> {
        let listed = self.objects.list_with_delimiter(Some(folder)).await;
        let mut folders = listed
            .context(|| format!("failed to list {folder} in the lake"))?
            .common_prefixes;
        folders.sort();
        Ok(folders)
    }

    /// Deletes objects, many in one request where the store can.
    pub(crate) async fn delete_all(&self, paths: Vec<Path>) -> Result<()> {
        let paths = futures::stream::iter(paths).map(Ok).boxed();
        let deleted = self
            .objects
            .delete_stream(paths)
            .filter_map(async |deleted| match deleted {
                Err(object_store::Error::NotFound { .. }) | Ok(_) => None,
                Err(error) => Some(error),
            });
        let failed = std::pin::pin!(deleted).next().await;
        failed.map_or(Ok(()), |error| {
            Err(error).context(|| "failed to delete objects in the lake")
        })
    }

    /// Deletes everything below a folder.
    pub(crate) async fn clear(&self, folder: &Path) -> Result<()> {
        let failed = || format!("failed to clear {folder} in the lake");
        let found = self
            .objects
            .list(Some(folder))
            .map_ok(|object| object.location)
            .boxed();
        self.objects
            .delete_stream(found)
            .try_collect::<Vec<_>>()
            .await
            .context(failed)?;
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

    /// Takes a folder away with all that is below it: at once on a local disk, where it is first renamed to `aside`.
    pub(crate) async fn take_away(&self, folder: &Path, aside: &Path) -> Result<()> {
        if let (Some(from), Some(to)) = (self.on_disk(folder), self.on_disk(aside)) {
            self.clear(aside).await?;
            let renamed = blocking(move || {
                std::fs::create_dir_all(to.parent().unwrap_or(&to))?;
                match std::fs::rename(&from, &to) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            });
            renamed
                .await
                .context(|| format!("failed to take {folder} away"))?;
            return self.clear(aside).await;
        }
        self.clear(folder).await
    }

    /// Where the lake's files can be staged on a local disk: a folder of the lake if that is on one, which is then moved
    /// and not copied, or else a temporary one.
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

    /// An object as a local file: as it stands if the lake is on a local disk, or else a copy of it. None if it is not
    /// there.
    pub(crate) async fn as_file(&self, path: &Path) -> Result<Option<LocalFile>> {
        let failed = || format!("failed to read {path} from the lake");
        if let Some(file) = self.on_disk(path) {
            return Ok(file.is_file().then_some(LocalFile {
                path: file,
                _temporary: None,
            }));
        }
        let mut bytes = match self.objects.get(path).await {
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

    /// Whether nothing stands below a folder of a local lake, so that a staged one can be renamed to it.
    pub(crate) fn is_free(&self, folder: &Path) -> bool {
        self.on_disk(folder).is_some_and(|folder| !folder.exists())
    }

    /// Moves a staged folder to its place in a local lake, which must be free: it appears there whole, by one rename.
    pub(crate) async fn move_folder(&self, staged: &FsPath, to: &Path) -> Result<()> {
        let failed = || format!("failed to move {} to {to} in the lake", staged.display());
        let Some(target) = self.on_disk(to) else {
            return Err(Error::unexpected(failed()));
        };
        let source = staged.to_owned();
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
        moved.await.context(failed)
    }

    /// Returns when an object just written is on the disk, not only in its cache.
    pub(crate) async fn sync(&self, path: &Path) -> Result<()> {
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

    pub(crate) fn on_disk(&self, path: &Path) -> Option<PathBuf> {
        self.disk.as_ref().map(|root| root.join(path.as_ref()))
    }
}

/// A folder on a local disk in which files are staged; a temporary one goes with the last of its owners.
#[derive(Debug, Clone)]
pub(crate) struct Scratch {
    path: PathBuf,
    temporary: Option<Arc<tempfile::TempDir>>,
}

impl Scratch {
    pub(crate) fn path(&self) -> &FsPath {
        &self.path
    }

    /// Whether it is not part of the lake.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }
}

/// An object of the lake on a local disk.
#[derive(Debug)]
pub(crate) struct LocalFile {
    pub(crate) path: PathBuf,
    _temporary: Option<tempfile::TempPath>,
}

/// Whether trying again later would fail in the same way.
fn is_lasting(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind as K;
            return matches!(
                io.kind(),
                K::PermissionDenied | K::ReadOnlyFilesystem | K::NotADirectory
            );
        }
        cause = error.source();
    }
    matches!(
        error,
        E::PermissionDenied { .. }
            | E::Unauthenticated { .. }
            | E::NotFound { .. }
            | E::NotSupported { .. }
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
pub(crate) fn sync_directory(directory: &FsPath) -> std::io::Result<()> {
    if cfg!(unix) {
        std::fs::File::open(directory)?.sync_all()
    } else {
        Ok(())
    }
}

pub(crate) async fn blocking(
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> std::io::Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
