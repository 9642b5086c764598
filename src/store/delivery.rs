//! Brings a file that was written on a local disk to its place in the lake, where it appears whole.

use std::io::Read as _;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _};

use super::objects::{Store, blocking, sync_directory};
use crate::error::{Context, Result};

/// Bytes of a part of an upload; a smaller file is written at once.
const PART_BYTES: usize = 8 << 20;
/// Parts under way at once.
const PARTS: usize = 4;

/// A file that is about to appear in its place.
pub(crate) struct Delivery {
    to: Path,
    by: By,
}

enum By {
    Rename(PathBuf, PathBuf),
    Put(Arc<dyn ObjectStore>, Bytes),
    Upload(Box<dyn MultipartUpload>),
}

impl Delivery {
    /// Shows the file in its place, whole.
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
            By::Upload(mut upload) => upload.complete().await.map(drop).context(failed),
        }
    }

    /// Lets go of what was sent: it takes room that is paid for.
    pub(crate) async fn abandon(self) {
        if let By::Upload(mut upload) = self.by {
            let _ = upload.abort().await;
        }
    }
}

impl Store {
    /// Brings a staged file as near to its place as can be without showing it; [`Delivery::complete`] shows it, whole.
    pub(crate) async fn deliver(&self, staged: &FsPath, to: &Path) -> Result<Delivery> {
        let failed = || format!("failed to write {to} to the lake");
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
        let mut file = std::fs::File::open(staged).context(failed)?;
        if file.metadata().context(failed)?.len() <= PART_BYTES as u64 {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).context(failed)?;
            return Ok(Delivery {
                to: to.clone(),
                by: By::Put(Arc::clone(self.objects()), bytes.into()),
            });
        }
        let mut upload = self.objects().put_multipart(to).await.context(failed)?;
        let mut parts = FuturesUnordered::new();
        let sent = async {
            loop {
                let mut part = vec![0; PART_BYTES];
                let length = read_full(&mut file, &mut part)?;
                part.truncate(length);
                if length > 0 {
                    parts.push(upload.put_part(part.into()));
                }
                while parts.len() >= if length > 0 { PARTS } else { 1 } {
                    parts
                        .next()
                        .await
                        .transpose()
                        .map_err(std::io::Error::other)?;
                }
                if length < PART_BYTES {
                    return Ok::<_, std::io::Error>(());
                }
            }
        };
        if let Err(error) = sent.await {
            drop(parts);
            // What was sent takes room that is paid for.
            let _ = upload.abort().await;
            return Err(error).context(failed);
        }
        drop(parts);
        Ok(Delivery {
            to: to.clone(),
            by: By::Upload(upload),
        })
    }
}

fn read_full(file: &mut std::fs::File, part: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < part.len() {
        match file.read(&mut part[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
