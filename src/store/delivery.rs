//! Moves a local file to its place in the lake, where it appears completely or not at all.
//!
//! A delivery has two steps, so that many files can appear at nearly the same time: [`Store::deliver`] transfers the
//! bytes, and [`Delivery::complete`] makes the file visible.

use std::io::{self, Read as _};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _};
use tracing::warn;

use super::objects::Store;
use super::whole::{blocking, sync_directory};
use crate::error::{Context, Result};

/// Parts that are uploaded at the same time.
const PARTS: usize = 4;

/// A file whose bytes are transferred and which is not visible yet.
pub(crate) struct Delivery {
    to: Path,
    by: By,
}

enum By {
    Rename(PathBuf, PathBuf),
    Put(Arc<dyn ObjectStore>, Bytes),
    /// The staged file is uploaded again if the upload cannot be completed.
    Upload(Box<dyn MultipartUpload>, Box<Store>, PathBuf),
}

impl Delivery {
    /// Makes the file visible, completely and durably.
    pub(crate) async fn complete(self) -> Result<()> {
        let Self { to, by } = self;
        let failed = || format!("failed to write {to} to the lake");
        match by {
            By::Rename(from, target) => {
                let moved = blocking(move || {
                    std::fs::rename(&from, &target)?;
                    target.parent().map_or(Ok(()), sync_directory)
                });
                moved.await.context(failed)
            }
            By::Put(objects, bytes) => objects
                .put(&to, bytes.into())
                .await
                .map(drop)
                .context(failed),
            By::Upload(mut upload, store, staged) => {
                let Err(error) = upload.complete().await else {
                    return Ok(());
                };
                warn!(%error, "failed to complete an upload; uploading the file again");
                let _ = upload.abort().await;
                let again = || async {
                    let mut upload = store.upload(&staged, &to).await?;
                    let Err(error) = upload.complete().await else {
                        return Ok(());
                    };
                    // The provider bills for parts until they are deleted.
                    let _ = upload.abort().await;
                    Err(io::Error::other(error))
                };
                store.patience().persist(again).await.context(failed)
            }
        }
    }

    /// Discards the uploaded parts: the provider bills for them until they are deleted.
    pub(crate) async fn abandon(self) {
        if let By::Upload(mut upload, ..) = self.by {
            let _ = upload.abort().await;
        }
    }
}

impl Store {
    /// Transfers a staged file without making it visible; [`Delivery::complete`] does that.
    ///
    /// The staged file must exist until then: on a local disk nothing is copied, and in an object store a large file is
    /// uploaded again if its upload cannot be completed. A small file is kept in memory.
    pub(crate) async fn deliver(&self, staged: &FsPath, to: &Path) -> Result<Delivery> {
        let failed = || format!("failed to write {to} to the lake");
        // On a local disk, the content is made durable now, so that only a rename is left.
        if let Some(target) = self.on_disk(to) {
            let source = staged.to_owned();
            let (file, parent) = (
                source.clone(),
                target.parent().unwrap_or(&target).to_owned(),
            );
            let ready = blocking(move || {
                std::fs::File::open(&file)?.sync_all()?;
                std::fs::create_dir_all(parent)
            });
            ready.await.context(failed)?;
            return Ok(Delivery {
                to: to.clone(),
                by: By::Rename(source, target),
            });
        }
        // A small file needs a single request, which also makes it visible, so it is sent on completion.
        let mut file = std::fs::File::open(staged).context(failed)?;
        if file.metadata().context(failed)?.len() <= self.part_bytes() as u64 {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).context(failed)?;
            return Ok(Delivery {
                to: to.clone(),
                by: By::Put(Arc::clone(self.objects()), bytes.into()),
            });
        }
        // The parts of an upload stay invisible until it is completed. A part that failed cannot be sent again.
        drop(file);
        let send = || self.upload(staged, to);
        let upload = self.patience().persist(send).await.context(failed)?;
        let by = By::Upload(upload, Box::new(self.clone()), staged.to_owned());
        Ok(Delivery { to: to.clone(), by })
    }

    /// Uploads the parts of a file.
    async fn upload(&self, staged: &FsPath, to: &Path) -> io::Result<Box<dyn MultipartUpload>> {
        let mut file = std::fs::File::open(staged)?;
        let upload = self.objects().put_multipart(to).await;
        let mut upload = upload.map_err(io::Error::other)?;
        match send_parts(&mut file, upload.as_mut(), self.part_bytes()).await {
            Ok(()) => Ok(upload),
            Err(error) => {
                // The provider bills for uploaded parts until they are deleted.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }
}

async fn send_parts(
    file: &mut std::fs::File,
    upload: &mut dyn MultipartUpload,
    part_bytes: usize,
) -> io::Result<()> {
    let mut parts = FuturesUnordered::new();
    loop {
        let mut part = Vec::with_capacity(part_bytes);
        let length = file
            .by_ref()
            .take(part_bytes as u64)
            .read_to_end(&mut part)?;
        if length > 0 {
            parts.push(upload.put_part(part.into()));
        }
        // At the end, every part must have arrived.
        let is_last = length < part_bytes;
        while parts.len() >= if is_last { 1 } else { PARTS } {
            parts.next().await.transpose().map_err(io::Error::other)?;
        }
        if is_last {
            return Ok(());
        }
    }
}
