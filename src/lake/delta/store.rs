//! The lake's store as deltalake expects an object store: listings are sorted and writes are durable.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::store::Store;

/// An object store for deltalake, on top of the lake's store.
#[derive(Debug, Clone)]
pub(super) struct DeltaStore(pub(super) Store);

impl fmt::Display for DeltaStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.display())
    }
}

#[async_trait]
impl ObjectStore for DeltaStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let put = self.0.objects().put_opts(location, payload, opts).await?;
        // A checkpoint must be on the disk before `_last_checkpoint` points to it.
        let durable = self.0.sync(location).await;
        durable.map_err(|error| object_store::Error::Generic {
            store: "lake",
            source: error.into(),
        })?;
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.objects().put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.objects().get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.objects().get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        _locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        // Only a lock deletes. deltalake deletes nothing by itself, unless it is asked to clean up a log.
        let refused = object_store::Error::NotSupported {
            source: "deltalake may not delete in the lake".into(),
        };
        stream::iter([Err(refused)]).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.objects().list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.0.objects().list_with_offset(prefix, offset);
        let sorted = async move {
            let mut objects = listed.try_collect::<Vec<_>>().await?;
            objects.sort_by(|left, right| left.location.cmp(&right.location));
            Ok::<_, object_store::Error>(stream::iter(objects.into_iter().map(Ok)))
        };
        stream::once(sorted).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.objects().list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.objects().copy_opts(from, to, options).await
    }
}
