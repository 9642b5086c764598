//! Reads and writes the lake's objects, in an object store or on a local disk.

use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig, UpdateVersion,
};
use url::Url;

use super::bucket::connect;
use super::whole::{blocking, sync_directory, write_whole};
use crate::error::{Context, Error, Result};

/// The lake's storage. Cheap to clone.
///
/// # What this guarantees
/// An object store does what the provider promises: a write is durable when it returns, and readers see an object
/// completely or not at all. On a local disk this type adds what `object_store` lacks:
/// - `put`, `put_new` and `replace` return when content and name are on the disk. Readers see an object completely or
///   not at all.
/// - `put_new` is atomic everywhere: if several processes create the same object, exactly one succeeds.
/// - `replace` is atomic in an object store. A local disk has no conditional write, so there the caller must hold the
///   lock on the snapshot.
/// - `deliver` and then `complete` make a file appear completely and durably, `move_folder` a whole folder.
/// - `delete`, `delete_all` and `clear` are not synced: after a crash a deleted object can exist again, so each caller
///   can repeat its deletions. They succeed if an object does not exist.
/// - A listing shows every object whose write returned before the listing began, sorted by path.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The lake's path or URL, for messages.
    name: Arc<str>,
    /// The lake's folder if it is on a local disk.
    disk: Option<Arc<PathBuf>>,
}

impl Store {
    /// Opens the lake at a path or URL, and creates a local folder if it does not exist.
    ///
    /// # Errors
    /// A URL scheme that is not supported, or a folder that cannot be created.
    pub fn create(url: &str) -> Result<Self> {
        if let Some(folder) = local(url) {
            std::fs::create_dir_all(folder)
                .usage(|| format!("[lake] url: failed to create {url}"))?;
        }
        Self::open(url)
    }

    /// Opens the lake at a path or URL. Credentials for `s3://`, `gs://` and `az://` are found in each cloud's standard
    /// way: environment, workload identity, instance role.
    ///
    /// # Errors
    /// A URL scheme that is not supported, or a path that is not a directory.
    pub fn open(url: &str) -> Result<Self> {
        let failed = || format!("failed to open the lake at {url}");
        if let Some(folder) = local(url) {
            let root = folder.canonicalize().usage(failed)?;
            if !root.is_dir() {
                let message = format!("the lake {url} is a file, not a folder");
                return Err(Error::usage(message).with_hint("pass the folder of the lake"));
            }
            let objects = LocalFileSystem::new_with_prefix(&root).usage(failed)?;
            let name = root.display().to_string().into();
            return Ok(Self {
                objects: Arc::new(objects),
                name,
                disk: Some(Arc::new(root)),
            });
        }
        let parsed: Url = url.parse().usage(failed)?;
        let objects = match connect(&parsed, &RetryConfig::default()) {
            Some(connected) => connected.usage(failed)?,
            None => {
                let scheme = parsed.scheme();
                return Err(
                    Error::usage(format!("[lake] url: {scheme}:// is not supported"))
                        .with_hint("use a local path, s3://, gs:// or az://"),
                );
            }
        };
        let folder = Path::from_url_path(parsed.path()).usage(failed)?;
        Ok(Self::over(Arc::new(PrefixStore::new(objects, folder)), url))
    }

    /// A lake in any object store; `name` is what messages call it.
    #[must_use]
    pub fn over(objects: Arc<dyn ObjectStore>, name: &str) -> Self {
        Self {
            objects,
            name: name.into(),
            disk: None,
        }
    }

    /// Checks that the lake is writable by writing an object.
    ///
    /// # Errors
    /// A usage error if the lake does not permit writes; an unexpected error if the write fails for another reason.
    pub async fn probe(&self) -> Result<()> {
        let path = Path::from(format!("_runs/.writable-{}", std::process::id()));
        let failed = || format!("[lake] url: failed to write to {}", self.name);
        match self.objects.put(&path, Bytes::new().into()).await {
            Ok(_) => self.delete(&path).await,
            Err(error) if is_lasting(&error) => Err(error).usage(failed),
            Err(error) => Err(error).context(failed),
        }
    }

    /// The lake's path or URL, for messages.
    #[must_use]
    pub fn display(&self) -> String {
        self.name.to_string()
    }

    /// The underlying object store. Its writes to a local disk are not durable: see [`Store::sync`].
    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Writes or overwrites an object, durably and atomically.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<()> {
        let failed = || format!("failed to write {path} to the lake");
        match self.on_disk(path) {
            None => self
                .objects
                .put(path, bytes.into())
                .await
                .map(|_| ())
                .context(failed),
            Some(file) => {
                let written = blocking(move || {
                    if let Some(folder) = file.parent() {
                        std::fs::create_dir_all(folder)?;
                    }
                    write_whole(&file, &bytes)
                });
                written.await.context(failed)
            }
        }
    }

    /// Writes an object that must not exist yet, durably and atomically; false if it exists with other content.
    pub(crate) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool> {
        let options = PutOptions::from(PutMode::Create);
        let ours = bytes.clone();
        match self.objects.put_opts(path, bytes.into(), options).await {
            Ok(_) => self.sync(path).await.map(|()| true),
            // A put that was retried because its response was lost finds its own object.
            Err(object_store::Error::AlreadyExists { .. }) => {
                Ok(self.get(path).await?.is_some_and(|found| found == ours))
            }
            Err(error) => Err(error).context(|| format!("failed to write {path} to the lake")),
        }
    }

    /// An object's bytes and its version, for [`Store::replace`]; none if it does not exist.
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

    /// Overwrites an object if it still has this version; false if it has changed. A local disk has no conditional
    /// write: there, the caller must hold the lock on the snapshot, and this always overwrites.
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
            // A put that was retried because its response was lost finds its own object.
            Err(object_store::Error::Precondition { .. }) => {
                Ok(self.get(path).await?.is_some_and(|found| found == ours))
            }
            Err(error) => Err(error).context(failed),
        }
    }

    /// Deletes an object if it exists.
    pub(crate) async fn delete(&self, path: &Path) -> Result<()> {
        match self.objects.delete(path).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error).context(|| format!("failed to delete {path} in the lake")),
        }
    }

    /// An object's bytes; none if it does not exist.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        let failed = || format!("failed to read {path} from the lake");
        match self.objects.get(path).await {
            Ok(object) => object.bytes().await.map(Some).context(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).context(failed),
        }
    }

    /// A range of an object's bytes; none if the object does not exist.
    pub(crate) async fn get_range(&self, path: &Path, bytes: Range<u64>) -> Result<Option<Bytes>> {
        // Object stores reject an empty range.
        if bytes.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        match self.objects.get_range(path, bytes).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).context(|| format!("failed to read {path} from the lake")),
        }
    }

    /// All objects below a folder, sorted by path.
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

    /// The objects directly in a folder, sorted by path.
    pub(crate) async fn list_here(&self, folder: &Path) -> Result<Vec<ObjectMeta>> {
        let listed = self.objects.list_with_delimiter(Some(folder)).await;
        let mut objects = listed
            .context(|| format!("failed to list {folder} in the lake"))?
            .objects;
        objects.sort_by(|left, right| left.location.cmp(&right.location));
        Ok(objects)
    }

    /// The folders directly in a folder, sorted by path.
    pub(crate) async fn folders(&self, folder: &Path) -> Result<Vec<Path>> {
        let listed = self.objects.list_with_delimiter(Some(folder)).await;
        let mut folders = listed
            .context(|| format!("failed to list {folder} in the lake"))?
            .common_prefixes;
        folders.sort();
        Ok(folders)
    }

    /// Deletes objects, many per request if the store supports it.
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

    /// Makes an object that `object_store` has written durable. Has no effect in an object store.
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

    /// The lake's folder if it is on a local disk.
    pub(super) fn root(&self) -> Option<&FsPath> {
        self.disk.as_deref().map(PathBuf::as_path)
    }

    /// The file of an object if the lake is on a local disk.
    pub(super) fn on_disk(&self, path: &Path) -> Option<PathBuf> {
        self.disk.as_ref().map(|root| root.join(path.as_ref()))
    }
}

/// Whether a retry would fail in the same way.
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

/// The folder that a path or `file://` URL names; none for other URLs.
fn local(url: &str) -> Option<&FsPath> {
    match url.split_once("://") {
        None => Some(FsPath::new(url)),
        Some(("file", path)) => Some(FsPath::new(path)),
        Some(_) => None,
    }
}
