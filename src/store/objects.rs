//! Reads and writes the lake's objects, in an object store or on a local disk.

use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::NaiveDate;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig, UpdateVersion,
};
use url::Url;

use super::bucket::{SCHEMES, connect, unsupported};
use super::digest::sha256;
use super::patience::Patience;
use super::patient::Patient;
use super::regular::Regular;
use super::whole::{blocking, sync_directory, write_whole};
use crate::clock::Clock;
use crate::error::{Context, Error, Result};
use crate::secret::{has_login, shown};
use crate::stop::Stop;

const PART_BYTES: usize = 8 << 20;
/// Why a lake is refused whose URL has a login.
const LOGIN_IN_LAKE: &str = "credentials do not belong in the URL of a lake";

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
/// - Only [`Lock`](super::Lock) deletes.
/// - A listing shows every object whose write returned before the listing began, sorted by path.
#[derive(Debug, Clone)]
pub struct Store {
    /// The store itself, without patience.
    raw: Arc<dyn ObjectStore>,
    objects: Arc<dyn ObjectStore>,
    patience: Patience,
    /// The lake's path or URL, for messages.
    name: Arc<str>,
    /// The lake's folder if it is on a local disk.
    disk: Option<Arc<PathBuf>>,
    /// Where paid responses are kept that the lake does not take.
    spill: Option<Arc<FsPath>>,
    /// For tests: the free bytes, instead of what the disk says.
    free: Option<Arc<AtomicU64>>,
    /// Bytes per part of an upload to an object store. A file of at most this size is written by a single request.
    part_bytes: usize,
}

impl Store {
    /// Opens the lake at a path or URL, and creates a local folder if it does not exist.
    ///
    /// # Errors
    /// A URL scheme that is not supported, or a folder that cannot be created.
    pub fn create(url: &str) -> Result<Self> {
        if let Some(folder) = local(url) {
            if folder.exists() && !folder.is_dir() {
                return Err(not_a_folder(url));
            }
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
        if has_login(url) {
            return Err(Error::usage(LOGIN_IN_LAKE).with_hint(
                "the credentials of an object store are read from the environment, in each cloud's standard way",
            ));
        }
        let failed = || format!("failed to open the lake at {url}");
        if let Some(folder) = local(url) {
            if matches!(folder.try_exists(), Ok(false)) {
                let message = format!("there is no lake at {url}: the folder does not exist");
                return Err(Error::usage(message));
            }
            let root = folder.canonicalize().usage(failed)?;
            if !root.is_dir() {
                return Err(not_a_folder(url));
            }
            let objects = Regular::new(root.clone()).usage(failed)?;
            let name = root.display().to_string().into();
            return Ok(Self {
                disk: Some(Arc::new(root)),
                ..Self::named(Arc::new(objects), name)
            });
        }
        let parsed: Url = url.parse().usage(failed)?;
        let objects = match connect(&parsed, &retries()) {
            Some(connected) => connected.usage(failed)?,
            None => {
                let message = format!("[lake] url: {}", unsupported(parsed.scheme()));
                return Err(
                    Error::usage(message).with_hint("use a local path, s3://, gs:// or az://")
                );
            }
        };
        let folder = Path::from_url_path(parsed.path()).usage(failed)?;
        Ok(Self::over(Arc::new(PrefixStore::new(objects, folder)), url))
    }

    /// Checks a place without creating or asking for anything: a folder that does not exist yet is
    /// fine, a file is not, and an object store must be described by its URL and the environment.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn check(url: &str) -> Result<()> {
        if Self::is_missing(url) {
            return Ok(());
        }
        Self::open(url).map(drop)
    }

    /// Whether a place is a folder that does not exist yet.
    pub(crate) fn is_missing(url: &str) -> bool {
        local(url).is_some_and(|folder| !folder.exists())
    }

    /// A lake in any object store; `name` is what messages call it.
    #[must_use]
    pub fn over(objects: Arc<dyn ObjectStore>, name: &str) -> Self {
        Self::named(objects, name.into())
    }

    fn named(raw: Arc<dyn ObjectStore>, name: Arc<str>) -> Self {
        let patience = Patience::none();
        Self {
            objects: Arc::new(Patient::new(Arc::clone(&raw), patience.clone())),
            raw,
            patience,
            name,
            disk: None,
            spill: None,
            free: None,
            part_bytes: PART_BYTES,
        }
    }

    /// The same lake, with patience: what fails and may pass is tried again for up to `limit`, or until shortly after a
    /// stop was requested.
    #[must_use]
    pub fn patient(&self, clock: &Clock, stop: &Stop, limit: Duration) -> Self {
        self.with_patience(Patience::new(clock, stop, limit))
    }

    /// The same lake, without patience for what it does not permit.
    pub(super) fn strict(&self) -> Self {
        self.with_patience(self.patience.strict())
    }

    fn with_patience(&self, patience: Patience) -> Self {
        Self {
            objects: Arc::new(Patient::new(Arc::clone(&self.raw), patience.clone())),
            patience,
            ..self.clone()
        }
    }

    /// The same lake, with a folder on the local disk for paid responses that the lake does not take. Lakes with
    /// different names have different folders.
    #[must_use]
    pub fn with_spill(&self, name: &str) -> Self {
        let name = sha256(name.as_bytes());
        let folder = std::env::temp_dir().join(format!("backlake-spill-{}", &name[..16]));
        Self {
            spill: Some(folder.into()),
            ..self.clone()
        }
    }

    /// Where paid responses are kept that the lake does not take.
    pub(crate) fn spill(&self) -> Option<&FsPath> {
        self.spill.as_deref()
    }

    /// The same lake on a disk with this many free bytes, for tests.
    #[must_use]
    pub fn with_free_bytes(&self, free: Arc<AtomicU64>) -> Self {
        Self {
            free: Some(free),
            ..self.clone()
        }
    }

    /// The same lake with smaller parts of uploads, for tests.
    #[must_use]
    pub fn with_part_bytes(&self, part_bytes: usize) -> Self {
        Self {
            part_bytes,
            ..self.clone()
        }
    }

    pub(super) fn part_bytes(&self) -> usize {
        self.part_bytes
    }

    pub(super) fn told_free(&self) -> Option<u64> {
        self.free.as_ref().map(|free| free.load(Ordering::Relaxed))
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Tells whenever the lake begins to fail, with true, and when it works again. Never ends.
    pub(crate) async fn watch(&self, tell: impl FnMut(bool)) {
        self.patience.watch(tell).await;
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
        let size = bytes.len();
        let failed = || format!("failed to write {path} ({size} bytes) to the lake");
        match self.on_disk(path) {
            None => self
                .objects
                .put(path, bytes.into())
                .await
                .map(|_| ())
                .context(failed),
            Some(file) => {
                let write = || {
                    let (file, bytes) = (file.clone(), bytes.clone());
                    blocking(move || {
                        if let Some(folder) = file.parent() {
                            std::fs::create_dir_all(folder)?;
                        }
                        write_whole(&file, &bytes)
                    })
                };
                self.patience.persist(write).await.context(failed)
            }
        }
    }

    /// Writes an object that must not exist yet, durably and atomically; false if it exists with other content.
    pub(crate) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool> {
        let (options, size) = (PutOptions::from(PutMode::Create), bytes.len());
        let failed = || format!("failed to write {path} ({size} bytes) to the lake");
        match self.objects.put_opts(path, bytes.into(), options).await {
            Ok(_) => self.sync(path).await.map(|()| true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error).context(failed),
        }
    }

    /// An object's bytes and its version, for [`Store::replace`]; none if it does not exist.
    pub(crate) async fn get_version(&self, path: &Path) -> Result<Option<(Bytes, UpdateVersion)>> {
        let failed = || format!("failed to read {path} from the lake");
        let get = || async {
            let object = self.raw.get(path).await?;
            let version = UpdateVersion {
                e_tag: object.meta.e_tag.clone(),
                version: object.meta.version.clone(),
            };
            Ok((object.bytes().await?, version))
        };
        match self.patience.persist(get).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).context(failed),
        }
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
        match self
            .objects
            .put_opts(path, bytes.into(), PutMode::Update(version).into())
            .await
        {
            Ok(_) => Ok(true),
            Err(
                object_store::Error::Precondition { .. }
                | object_store::Error::AlreadyExists { .. },
            ) => Ok(false),
            Err(error) => Err(error).context(failed),
        }
    }

    /// An object's bytes; none if it does not exist.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        let found = self.get_version(path).await?;
        Ok(found.map(|(bytes, _)| bytes))
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

    /// The dates that name folders directly in a folder, oldest first. Other folders are not ours.
    ///
    /// # Errors
    /// A place that cannot be read.
    pub(crate) async fn dates_below(&self, folder: &Path) -> Result<Vec<NaiveDate>> {
        let folders = self.folders(folder).await?;
        let dates = folders
            .iter()
            .filter_map(|folder| folder.filename()?.parse().ok());
        Ok(dates.collect())
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

/// How the clients of object stores try again by themselves: briefly, because [`Patience`] tries for longer.
fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 4,
        retry_timeout: Duration::from_secs(30),
        ..RetryConfig::default()
    }
}

/// Refuses a place at which no lake can be, without looking for it: a scheme that is not supported, or
/// a bucket without a name.
///
/// # Errors
/// What is wrong with the URL.
pub fn check_place_of_lake(url: &str) -> Result<(), String> {
    if has_login(url) {
        return Err(LOGIN_IN_LAKE.to_owned());
    }
    if local(url).is_some() {
        return Ok(());
    }
    let parsed: Url = url
        .parse()
        .map_err(|error| format!("{} is not a URL: {error}", shown(url)))?;
    match parsed.scheme() {
        scheme if !SCHEMES.contains(&scheme) => Err(unsupported(scheme)),
        _ if parsed.host_str().is_none_or(str::is_empty) => {
            Err(format!("{} names no bucket", shown(url)))
        }
        _ => Ok(()),
    }
}

fn not_a_folder(url: &str) -> Error {
    Error::usage(format!("the lake {url} is a file, not a folder"))
        .with_hint("pass the folder of the lake")
}

/// The folder that a path or `file://` URL names; none for other URLs.
fn local(url: &str) -> Option<&FsPath> {
    match url.split_once("://") {
        None => Some(FsPath::new(url)),
        Some(("file", path)) => Some(FsPath::new(path)),
        Some(_) => None,
    }
}
