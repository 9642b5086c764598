//! Hashes bytes and files with SHA-256.

use std::fs::File;
use std::io::Read as _;
use std::path::Path as FsPath;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

/// The SHA-256 of all bytes that a hash was updated with, in hexadecimal.
pub(crate) fn hexadecimal(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}

/// The size of a file in bytes, and its SHA-256 in hexadecimal.
pub(crate) fn hash(path: &FsPath) -> std::io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hexadecimal(hash))),
            read => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}
