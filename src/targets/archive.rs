//! Zip archives: a list in an archive of its own, and limits against archives that are built to
//! fill memory or disk.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::column::listed;
use super::list_file::ListFile;
use crate::error::{Context, Error, Result};
use crate::visible::escaped;

/// The largest list in an archive in bytes: tens of millions of lines.
const MAX_MEMBER: u64 = 4 << 30;
/// How many times smaller than its content an archive may be. Lists of URLs compress five to
/// twenty times.
const MAX_RATIO: u64 = 250;
/// Bytes up to which any ratio is harmless.
const SMALL: u64 = 16 << 20;
/// Bytes in the buffers of an archive.
const BUFFER: usize = 1 << 18;

/// The only file of an archive.
pub(super) struct Member {
    /// Its name.
    pub(super) name: String,
    /// Its content, checked against the directory of the archive as it is read.
    pub(super) content: Box<dyn BufRead>,
}

/// Opens the only file of an archive. Folders and the files that macOS adds do not count.
pub(super) fn only_member(list: &ListFile<'_>, mut file: File) -> Result<Member> {
    let failed = || format!("{} as a zip archive", list.failed());
    let mut archive = ZipArchive::new(BufReader::new(&file)).usage(failed)?;
    let mut found = Vec::new();
    for at in 0..archive.len() {
        let member = archive.by_index_raw(at).usage(failed)?;
        let name = String::from_utf8_lossy(member.name_raw()).into_owned();
        if !member.is_dir() && !is_clutter(&name) {
            found.push((at, name));
        }
    }
    let (at, name) = match found.len() {
        1 => found.remove(0),
        0 => {
            return Err(Error::usage(format!("{} contains no file", list.named()))
                .with_hint("nothing was sent; put the list into the archive"));
        }
        _ if found.iter().any(|(_, name)| name == "[Content_Types].xml") => {
            return Err(
                Error::usage(format!("{} is an Excel workbook", list.named())).with_hint(
                    "nothing was sent; name it .xlsx, or set [targets] format = \"xlsx\"",
                ),
            );
        }
        number => {
            let names = listed(found.iter().map(|(_, name)| name));
            return Err(
                Error::usage(format!("{} contains {number} files: {names}", list.named()))
                    .with_hint(
                        "nothing was sent; unpack it, and name the lists in [targets] paths",
                    ),
            );
        }
    };
    let member = archive.by_index_raw(at).usage(failed)?;
    let refuse = |what: &str| {
        let message = format!("{}: {} {what}", list.named(), escaped(&name));
        Error::usage(message).with_hint("nothing was sent; unpack it, and name the list itself")
    };
    let (packed, size) = (member.compressed_size(), member.size());
    let (method, crc) = (member.compression(), member.crc32());
    if member.encrypted() {
        return Err(refuse("is encrypted"));
    }
    if is_excessive(packed, size) {
        return Err(refuse(&format!(
            "would unpack {packed} bytes to {size}, which no list does"
        )));
    }
    let start = member
        .data_start()
        .ok_or_else(|| refuse("has no content"))?;
    drop(member);
    drop(archive);
    file.seek(SeekFrom::Start(start)).usage(failed)?;
    let packed = BufReader::with_capacity(BUFFER, file.take(packed));
    let content: Box<dyn Read> = match method {
        CompressionMethod::Stored => Box::new(packed),
        CompressionMethod::Deflated => Box::new(DeflateDecoder::new(packed)),
        other => return Err(refuse(&format!("is packed with {other}, not deflate"))),
    };
    let content = Checked {
        content,
        left: size,
        crc: Crc::new(),
        expected: crc,
    };
    Ok(Member {
        name,
        content: Box::new(BufReader::with_capacity(BUFFER, content)),
    })
}

/// Whether a member is too large, or so well compressed that it was built to be.
fn is_excessive(packed: u64, size: u64) -> bool {
    size > MAX_MEMBER || (size > SMALL && size / packed.max(1) > MAX_RATIO)
}

/// What archivers add to an archive.
fn is_clutter(name: &str) -> bool {
    let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
    name.starts_with("__MACOSX/") || matches!(file, "" | ".DS_Store" | "Thumbs.db" | "desktop.ini")
}

/// Refuses an archive whose members unpack to more than `most` bytes, or to more than they say.
pub(super) fn check_sizes(list: &ListFile<'_>, file: &File, most: u64) -> Result<()> {
    let failed = || format!("{} as a zip archive", list.failed());
    let mut archive = ZipArchive::new(BufReader::new(file)).usage(failed)?;
    let mut total = 0;
    for at in 0..archive.len() {
        let mut member = archive.by_index(at).usage(failed)?;
        let (packed, size) = (member.compressed_size(), member.size());
        total += size;
        let read = if total > most || is_excessive(packed, size) {
            None
        } else {
            let mut bounded = (&mut member).take(size + 1);
            Some(io::copy(&mut bounded, &mut io::sink()).usage(failed)?)
        };
        if read != Some(size) {
            let message = format!("{} unpacks to too many bytes", list.named());
            let hint = format!(
                "nothing was sent; save the list as csv (the limit is {} MiB)",
                most >> 20
            );
            return Err(Error::usage(message).with_hint(hint));
        }
    }
    Ok(())
}

/// The content of a member, which must be what the directory says.
struct Checked {
    content: Box<dyn Read>,
    left: u64,
    crc: Crc,
    expected: u32,
}

impl Read for Checked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(into)?;
        self.crc.update(&into[..read]);
        let Some(left) = self.left.checked_sub(read as u64) else {
            return Err(io::Error::other(
                "the archive is damaged: the file is longer than the directory says",
            ));
        };
        self.left = left;
        let is_end = read == 0 && !into.is_empty();
        if is_end && (left > 0 || self.crc.sum() != self.expected) {
            return Err(io::Error::other(
                "the archive is damaged: the file is not what the directory says",
            ));
        }
        Ok(read)
    }
}
