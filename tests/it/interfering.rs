//! An object store whose operations a test interferes with: it lets them happen, fail, wait, or never end.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backlake::clock::Clock;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Put,
    Create,
    Update,
    /// Begins an upload in parts.
    Upload,
    Part,
    Complete,
    Get,
    List,
    Delete,
    /// Copies or renames an object. Only Delta logs may need it, on stores without conditional writes.
    Copy,
}

/// The operations that commands need of a store with conditional writes.
pub(crate) const OPERATIONS: [Operation; 9] = [
    Operation::Put,
    Operation::Create,
    Operation::Update,
    Operation::Upload,
    Operation::Part,
    Operation::Complete,
    Operation::Get,
    Operation::List,
    Operation::Delete,
];

impl Operation {
    pub(crate) fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }
}

/// What a test does to the operations of a store.
#[async_trait]
pub(crate) trait Interference: fmt::Debug + Send + Sync + 'static {
    /// Does `work`, or fails, or waits. It must not succeed without the work.
    async fn around(
        &self,
        operation: Operation,
        path: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()>;
}

/// An object store with interference.
#[derive(Debug)]
pub(crate) struct Interfered<I> {
    inner: Arc<dyn ObjectStore>,
    by: Arc<I>,
}

impl<I> Clone for Interfered<I> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            by: Arc::clone(&self.by),
        }
    }
}

impl<I: Interference> Interfered<I> {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, by: &Arc<I>) -> Self {
        Self {
            inner,
            by: Arc::clone(by),
        }
    }

    async fn with<T: Send>(
        &self,
        operation: Operation,
        path: &Path,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let mut done = None;
        let work = async {
            done = Some(work.await?);
            Ok(())
        };
        self.by.around(operation, path, Box::pin(work)).await?;
        Ok(done.unwrap())
    }
}

impl<I> fmt::Display for Interfered<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interfered")
    }
}

#[async_trait]
impl<I: Interference> ObjectStore for Interfered<I> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let operation = match options.mode {
            PutMode::Overwrite => Operation::Put,
            PutMode::Create => Operation::Create,
            PutMode::Update(_) => Operation::Update,
        };
        let put = self.inner.put_opts(location, payload, options);
        self.with(operation, location, put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begin = self.inner.put_multipart_opts(location, options);
        let inner = self.with(Operation::Upload, location, begin).await?;
        Ok(Box::new(InterferedUpload {
            inner,
            store: self.clone(),
            location: location.clone(),
            on_the_way: Arc::default(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let get = self.inner.get_opts(location, options);
        self.with(Operation::Get, location, get).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = self.inner.get_ranges(location, ranges);
        self.with(Operation::Get, location, get).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = async move {
            let paths: Vec<Path> = locations.try_collect().await?;
            let first = paths.first().cloned().unwrap_or_default();
            let paths = stream::iter(paths).map(Ok).boxed();
            let delete = store.inner.delete_stream(paths).try_collect::<Vec<_>>();
            let deleted = store.with(Operation::Delete, &first, delete).await?;
            Ok::<_, object_store::Error>(stream::iter(deleted.into_iter().map(Ok)))
        };
        stream::once(deleted).try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let listed = async move {
            let list = store.inner.list(Some(&prefix)).try_collect::<Vec<_>>();
            let listed = store.with(Operation::List, &prefix, list).await?;
            Ok::<_, object_store::Error>(stream::iter(listed.into_iter().map(Ok)))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let list = self.inner.list_with_delimiter(prefix);
        let path = prefix.cloned().unwrap_or_default();
        self.with(Operation::List, &path, list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copy = self.inner.copy_opts(from, to, options);
        self.with(Operation::Copy, to, copy).await
    }
}

/// An upload with interference.
#[derive(Debug)]
struct InterferedUpload<I> {
    inner: Box<dyn MultipartUpload>,
    store: Interfered<I>,
    location: Path,
    /// Parts that have not arrived. An object store cannot complete an upload without them.
    on_the_way: Arc<AtomicUsize>,
}

#[async_trait]
impl<I: Interference> MultipartUpload for InterferedUpload<I> {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (store, location) = (self.store.clone(), self.location.clone());
        let put = self.inner.put_part(data);
        let on_the_way = Arc::clone(&self.on_the_way);
        on_the_way.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            store.with(Operation::Part, &location, put).await?;
            on_the_way.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.on_the_way.load(Ordering::Relaxed) > 0 {
            return Err(object_store::Error::Generic {
                store: "interfered",
                source: "missing part".into(),
            });
        }
        let complete = self.inner.complete();
        self.store
            .with(Operation::Complete, &self.location, complete)
            .await
    }

    async fn abort(&mut self) -> Result<()> {
        let abort = self.inner.abort();
        self.store
            .with(Operation::Delete, &self.location, abort)
            .await
    }
}

/// From a write on, no operation ever ends, as if the process were gone.
#[derive(Debug)]
pub(crate) struct Death {
    /// The number of the write that does not happen any more.
    at: u64,
    writes: AtomicU64,
    died: Notify,
}

impl Death {
    pub(crate) fn at(at: u64) -> Arc<Self> {
        Arc::new(Self {
            at,
            writes: AtomicU64::new(0),
            died: Notify::new(),
        })
    }

    /// How many writes were begun.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Plays something until the process dies, and waits until its lock is stale. Meanwhile, what is in flight arrives
    /// at a process that is gone.
    pub(crate) async fn during<T: fmt::Debug>(
        &self,
        work: impl Future<Output = T>,
        clock: &Clock,
        what: &str,
    ) {
        tokio::select! {
            biased;
            () = self.died.notified() => {}
            end = work => panic!("{what}: not killed, {end:?}"),
        }
        clock.sleep(Duration::from_secs(100)).await;
    }
}

#[async_trait]
impl Interference for Death {
    async fn around(
        &self,
        operation: Operation,
        _: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        let writes = match operation.is_write() {
            true => self.writes.fetch_add(1, Ordering::Relaxed),
            false => self.writes.load(Ordering::Relaxed),
        };
        if writes < self.at || (writes == self.at && !operation.is_write()) {
            return work.await;
        }
        self.died.notify_one();
        std::future::pending().await
    }
}
