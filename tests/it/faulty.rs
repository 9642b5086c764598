//! An object store whose reads and writes fail, are slow, or run out of space.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backlake::clock::Clock;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, UploadPart,
};
use serde::Deserialize;

/// Which reads and writes fail, by their number.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Troubles {
    /// The first write that fails.
    pub(crate) fails_from: u64,
    /// The first one after that which succeeds.
    pub(crate) fails_until: u64,
    /// One write in this many fails; 0 for none.
    pub(crate) fails_every: u64,
    /// The first read that fails.
    pub(crate) reads_fail_from: u64,
    /// The first one after that which succeeds.
    pub(crate) reads_fail_until: u64,
    /// How many bytes can be written before the disk is full.
    pub(crate) room: u64,
    /// Milliseconds that each small write takes.
    pub(crate) takes_ms: u64,
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            fails_from: u64::MAX,
            fails_until: u64::MAX,
            fails_every: 0,
            reads_fail_from: u64::MAX,
            reads_fail_until: u64::MAX,
            room: u64::MAX,
            takes_ms: 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    clock: Clock,
    troubles: Troubles,
    writes: AtomicU64,
    reads: AtomicU64,
    bytes: Arc<AtomicU64>,
    /// Bytes that fit; a scenario makes room by raising it.
    pub(crate) room: AtomicU64,
}

/// Counts the bytes of a multipart upload.
#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    room: u64,
    bytes: Arc<AtomicU64>,
}

fn no_room() -> Error {
    Error::Generic {
        store: "faulty",
        source: std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()).into(),
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let length = data.content_length() as u64;
        if self.bytes.fetch_add(length, Ordering::Relaxed) + length > self.room {
            return Box::pin(async { Err(no_room()) });
        }
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, clock: &Clock, troubles: Troubles) -> Self {
        Self {
            inner,
            clock: clock.clone(),
            troubles,
            writes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            bytes: Arc::default(),
            room: AtomicU64::new(troubles.room),
        }
    }

    fn write(&self, bytes: usize) -> Result<()> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let Troubles {
            fails_from,
            fails_until,
            fails_every,
            ..
        } = self.troubles;
        let every = fails_every > 0 && number % fails_every == fails_every - 1;
        if every || (fails_from..fails_until).contains(&number) {
            return Err(Error::Generic {
                store: "faulty",
                source: "503 Slow Down".into(),
            });
        }
        let taken = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if taken > self.room.load(Ordering::Relaxed) {
            Err(no_room())
        } else {
            Ok(())
        }
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        // Only small writes take time: simulated time stands still while a thread reads or writes.
        self.clock
            .sleep(Duration::from_millis(self.troubles.takes_ms))
            .await;
        self.write(payload.content_length())?;
        // A local disk has no conditional write, so it is done here.
        if let PutMode::Update(expected) = &options.mode {
            let found = self.inner.head(location).await;
            if found.is_ok_and(|found| found.e_tag == expected.e_tag) {
                return self.inner.put(location, payload).await;
            }
            return Err(Error::Precondition {
                path: location.to_string(),
                source: "the object has changed".into(),
            });
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.write(0)?;
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(Upload {
            inner,
            room: self.room.load(Ordering::Relaxed),
            bytes: Arc::clone(&self.bytes),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        if (self.troubles.reads_fail_from..self.troubles.reads_fail_until).contains(&number) {
            return Err(Error::Generic {
                store: "faulty",
                source: "500 Internal Error".into(),
            });
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.write(0)?;
        self.inner.copy_opts(from, to, options).await
    }
}
