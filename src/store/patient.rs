//! An object store that tries again what its store refuses for a while, and that tells a conflict from an object that
//! exists.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, UploadPart,
};

use super::patience::Patience;

/// How often a conflict with another writer is tried again.
const CONFLICTS: usize = 16;

/// An object store with patience.
///
/// # What this guarantees
/// A conditional write succeeds or says why it cannot: [`Error::AlreadyExists`] if the object exists with other content,
/// [`Error::Precondition`] if it has changed. A write that was tried again because its response was lost finds its own
/// object, which counts as success. A conflict with another write at the same moment is tried again.
#[derive(Debug, Clone)]
pub(super) struct Patient {
    inner: Arc<dyn ObjectStore>,
    patience: Patience,
}

impl Patient {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, patience: Patience) -> Self {
        Self { inner, patience }
    }

    /// The object if it has exactly these bytes.
    async fn own(&self, location: &Path, payload: &PutPayload) -> Result<Found> {
        let read = || async {
            let object = self.inner.get(location).await?;
            let put = PutResult {
                e_tag: object.meta.e_tag.clone(),
                version: object.meta.version.clone(),
            };
            Ok((put, object.bytes().await?))
        };
        match self.patience.persist(read).await {
            Ok((put, bytes)) if bytes == Bytes::from(payload.clone()) => Ok(Found::Ours(put)),
            Ok((put, _)) => Ok(Found::Other(put)),
            Err(Error::NotFound { .. }) => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }
}

/// What is at the place of a conditional write that was refused.
enum Found {
    Nothing,
    Ours(PutResult),
    Other(PutResult),
}

impl fmt::Display for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Patient {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let mut conflicts = 0;
        loop {
            let put = || {
                self.inner
                    .put_opts(location, payload.clone(), options.clone())
            };
            let refused = match self.patience.persist(put).await {
                Err(refused @ (Error::AlreadyExists { .. } | Error::Precondition { .. })) => {
                    refused
                }
                end => return end,
            };
            // Object stores answer 409 if another write or deletion of the object is under way, and `object_store` calls
            // that `AlreadyExists`. What is there decides.
            let conflict = match (&options.mode, self.own(location, &payload).await?) {
                (_, Found::Ours(put)) => return Ok(put),
                (PutMode::Create, Found::Nothing) => true,
                (PutMode::Update(version), Found::Other(put)) => version.e_tag == put.e_tag,
                (PutMode::Overwrite, _) => true,
                _ => false,
            };
            conflicts += 1;
            if !conflict || conflicts > CONFLICTS {
                return Err(refused);
            }
            self.patience.pause(conflicts).await;
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let put = || self.inner.put_multipart_opts(location, options.clone());
        let upload = self.patience.persist(put).await?;
        Ok(Box::new(PatientUpload {
            upload,
            store: self.clone(),
            location: location.clone(),
            bytes: 0,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let get = || self.inner.get_opts(location, options.clone());
        self.patience.persist(get).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = || self.inner.get_ranges(location, ranges);
        self.patience.persist(get).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = async move {
            let paths: Vec<Path> = locations.try_collect().await?;
            let delete = || {
                let paths = stream::iter(paths.clone()).map(Ok).boxed();
                let deleted = store.inner.delete_stream(paths);
                // An object that an earlier try has deleted.
                let deleted = deleted.or_else(async |error| match error {
                    Error::NotFound { path, .. } => Ok(Path::from(path)),
                    error => Err(error),
                });
                deleted.try_collect::<Vec<_>>()
            };
            let deleted = store.patience.persist(delete).await?;
            Ok::<_, Error>(stream::iter(deleted.into_iter().map(Ok)))
        };
        stream::once(deleted).try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let list = || store.inner.list(prefix.as_ref()).try_collect::<Vec<_>>();
            let listed = store.patience.persist(list).await?;
            Ok::<_, Error>(stream::iter(listed.into_iter().map(Ok)))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let list = || self.inner.list_with_delimiter(prefix);
        self.patience.persist(list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copy = || self.inner.copy_opts(from, to, options.clone());
        self.patience.persist(copy).await
    }
}

/// An upload whose parts are sent again.
#[derive(Debug)]
struct PatientUpload {
    upload: Box<dyn MultipartUpload>,
    store: Patient,
    location: Path,
    bytes: u64,
}

#[async_trait]
impl MultipartUpload for PatientUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        // A part that is sent again would be another part, so the parts rely on the retries of the client.
        self.bytes += data.content_length() as u64;
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let refused = match self.upload.complete().await {
            Ok(put) => return Ok(put),
            Err(refused) => refused,
        };
        // It may have happened, and only the response was lost.
        let head = || self.store.inner.head(&self.location);
        let found = self.store.patience.persist(head).await;
        match found {
            Ok(found) if found.size == self.bytes => Ok(PutResult {
                e_tag: found.e_tag,
                version: found.version,
            }),
            _ => Err(refused),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
