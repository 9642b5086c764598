//! Compresses and decompresses the objects of the ledger, and parses them.

use bytes::Bytes;
use object_store::path::Path;
use serde::de::DeserializeOwned;

use super::stored::Stored;
use crate::error::{Context, Result};

/// The zstd level of the archive: responses shrink to about an eighth, faster than they arrive.
pub(super) const LEVEL: i32 = 3;
/// The largest decompressed size, in bytes, that is allocated at once because an object states it.
/// A larger object may be damaged, so its buffer grows as the data comes.
const MAX_PREALLOCATED: u64 = 64 << 20;

/// Compresses bytes on a blocking thread.
pub(super) async fn pack(bytes: Bytes) -> Result<Bytes> {
    let packed = tokio::task::spawn_blocking(move || zstd::bulk::compress(&bytes, LEVEL)).await;
    let packed = packed.context(|| "compressing panicked")?;
    packed
        .map(Bytes::from)
        .context(|| "failed to compress for the ledger")
}

/// Decompresses an object on a blocking thread.
pub(super) async fn unpack(packed: Packed) -> Result<Bytes> {
    tokio::task::spawn_blocking(move || packed.unpack())
        .await
        .context(|| "decompressing panicked")?
}

/// Parses the JSON of an object, which is compressed if its name ends in `.zst`.
pub(super) async fn parse<T: DeserializeOwned>(path: Path, bytes: Option<Bytes>) -> Stored<T> {
    let Some(bytes) = bytes else {
        return Stored::Missing;
    };
    match parse_bytes(path, bytes).await {
        Ok(object) => Stored::Whole(object),
        Err(error) => Stored::Damaged(error),
    }
}

async fn parse_bytes<T: DeserializeOwned>(path: Path, bytes: Bytes) -> Result<T> {
    let failed = format!("failed to read {path} from the lake");
    let json = if path.as_ref().ends_with(".zst") {
        unpack(Packed { path, bytes }).await?
    } else {
        bytes
    };
    serde_json::from_slice(&json).context(|| failed)
}

/// An object that is still compressed.
#[derive(Debug)]
pub struct Packed {
    pub(super) path: Path,
    pub(super) bytes: Bytes,
}

impl Packed {
    /// Decompresses the object. Takes CPU time, so call it on a blocking thread.
    ///
    /// # Errors
    /// The object is damaged.
    pub fn unpack(&self) -> Result<Bytes> {
        let unpacked = match zstd::zstd_safe::get_frame_content_size(&self.bytes) {
            Ok(Some(size)) if size <= MAX_PREALLOCATED => {
                zstd::bulk::decompress(&self.bytes, size as usize)
            }
            _ => zstd::decode_all(self.bytes.as_ref()),
        };
        unpacked
            .map(Bytes::from)
            .context(|| format!("failed to decompress {}", self.path))
    }
}
