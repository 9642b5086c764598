//! Compresses and decompresses the objects of the ledger, and parses them.

use std::cell::RefCell;
use std::io::{self, Read as _};

use bytes::Bytes;
use object_store::path::Path;
use serde::de::DeserializeOwned;
use zstd::bulk::{Compressor, Decompressor};

use super::stored::Stored;
use crate::aside::{aside, unpacked};
use crate::error::{Context, Error, Result};

/// The zstd level of the archive: responses shrink to about an eighth, faster than they arrive.
pub(super) const LEVEL: i32 = 3;
/// The largest decompressed size, in bytes, that is allocated at once because an object states it.
/// A larger object may be damaged, so its buffer grows as the data comes.
const MAX_PREALLOCATED: u64 = 64 << 20;
/// The most bytes that any object of the ledger can have: those of the largest response that a pipeline file allows.
pub(super) const MOST_BYTES: u64 = 1 << 30;

/// Compresses bytes, with a checksum that is compared when they are decompressed.
pub(super) async fn pack(bytes: Bytes) -> Result<Bytes> {
    let packed = aside(bytes.len(), move || compress(&bytes)).await;
    let packed = packed.context(|| "compressing panicked")?;
    packed
        .map(Bytes::from)
        .context(|| "failed to compress for the ledger")
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(bytes)
}

/// Decompresses an object.
pub(super) async fn unpack(packed: Packed) -> Result<Bytes> {
    aside(unpacked(packed.bytes.len()), move || {
        packed.unpack(MOST_BYTES)
    })
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
    /// Decompresses the object. Takes CPU time, so call it on a blocking thread. A few bytes can stand for terabytes, so
    /// no more than `at_most` bytes are decompressed.
    ///
    /// # Errors
    /// The object is damaged, or has more bytes.
    pub fn unpack(&self, at_most: u64) -> Result<Bytes> {
        let failed = || format!("failed to decompress {}", self.path);
        let unpacked = match zstd::zstd_safe::get_frame_content_size(&self.bytes) {
            Ok(Some(size)) if size <= at_most.min(MAX_PREALLOCATED) => {
                decompress(&self.bytes, size as usize).context(failed)?
            }
            _ => {
                let mut unpacked = Vec::new();
                let decoder = zstd::Decoder::with_buffer(self.bytes.as_ref()).context(failed)?;
                let read = decoder
                    .take(at_most.saturating_add(1))
                    .read_to_end(&mut unpacked);
                read.context(failed)?;
                unpacked
            }
        };
        if unpacked.len() as u64 > at_most {
            let message = format!("{}: it has more than {at_most} bytes", failed());
            return Err(Error::unexpected(message));
        }
        Ok(unpacked.into())
    }
}

/// Decompresses an object of this size at once.
fn decompress(bytes: &[u8], size: usize) -> io::Result<Vec<u8>> {
    thread_local! {
        /// Making one takes longer than decompressing a small object, so each thread keeps its own (about 96 KB).
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor.decompress(bytes, size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_changes_what_an_object_says() {
        let mut random = fastrand::Rng::with_seed(15);
        let items = (0..60).map(|_| format!(r#"{{"rank":{},"backlinks":7}}"#, random.u16(..)));
        let json = items.collect::<Vec<_>>().join(",");
        let packed = compress(json.as_bytes()).unwrap();
        let unpacked = |bytes: Vec<u8>| {
            let path = Path::from("_archive/2026-11-23/0-1.json.zst");
            let bytes = bytes.into();
            Packed { path, bytes }.unpack(1 << 20)
        };
        assert_eq!(unpacked(packed.clone()).unwrap(), json);
        for bit in 0..8 * packed.len() {
            let mut flipped = packed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(unpacked) = unpacked(flipped) {
                assert_eq!(unpacked, json, "bit {bit}");
            }
        }
    }

    #[test]
    fn no_more_is_decompressed_than_an_object_may_have() {
        let text = vec![b'x'; 1 << 20];
        let stated = compress(&text).unwrap();
        // A frame that does not say how many bytes it has.
        let silent = zstd::encode_all(text.as_slice(), LEVEL).unwrap();
        let size = |packed: &[u8]| zstd::zstd_safe::get_frame_content_size(packed).unwrap();
        assert_eq!((size(&stated), size(&silent)), (Some(1 << 20), None));
        for bytes in [stated, silent] {
            let packed = Packed {
                path: Path::from("_archive/2026-11-23/0-1.json.zst"),
                bytes: bytes.into(),
            };
            assert_eq!(packed.unpack(1 << 20).unwrap(), text);
            for at_most in [0, 1000, (1 << 20) - 1] {
                let error = packed.unpack(at_most).unwrap_err().to_string();
                assert!(
                    error.contains(&format!("more than {at_most} bytes")),
                    "{error}"
                );
            }
        }
    }
}
