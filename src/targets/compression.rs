//! Opens lists, plain or compressed, as streams of plain bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Context, Error, Result};

/// Bytes in the buffer of a file or a decoder.
const BUFFER: usize = 1 << 18;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How a list is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Splits a path into the name of the plain list and the compression that its extension names.
    pub(super) fn split(path: &str) -> (&str, Self) {
        match path.rsplit_once('.') {
            Some((name, extension)) if extension.eq_ignore_ascii_case("gz") => (name, Self::Gzip),
            Some((name, extension)) if extension.eq_ignore_ascii_case("zst") => (name, Self::Zstd),
            _ => (path, Self::None),
        }
    }

    fn reader(self, raw: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
        Ok(match self {
            Self::None => Box::new(raw),
            Self::Gzip => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw))),
            Self::Zstd => Box::new(BufReader::with_capacity(
                BUFFER,
                zstd::Decoder::with_buffer(raw)?,
            )),
        })
    }
}

/// Opens a text list: a file by the extension of its name, standard input by its first bytes.
pub(super) fn open_text(path: &str, file: &Path) -> Result<Box<dyn BufRead>> {
    let failed = || format!("failed to read target list {path}");
    let opened = if path == "-" {
        sniffed(BufReader::new(io::stdin()))
    } else {
        let file = File::open(file).usage(failed)?;
        by_extension(path, BufReader::with_capacity(BUFFER, file))
    };
    let mut plain = opened.map_err(|error| {
        Error::usage(failed()).caused_by(error).with_hint(
            "the file extension says that it is compressed; rename it if it is not, or recreate it if it is truncated",
        )
    })?;
    skip_byte_order_mark(&mut plain, path)?;
    Ok(plain)
}

/// Opens a list whose format needs random access: a compressed list or standard input becomes a
/// temporary file.
pub(super) fn open_seekable(path: &str, file: &Path) -> Result<File> {
    let failed = || format!("failed to read target list {path}");
    if path == "-" {
        return spool(&mut io::stdin().lock()).context(failed);
    }
    let file = File::open(file).usage(failed)?;
    let (_, compression) = Compression::split(path);
    if compression == Compression::None {
        return Ok(file);
    }
    let mut plain = compression.reader(BufReader::new(file)).usage(failed)?;
    spool(&mut plain).usage(|| format!("failed to decompress target list {path}"))
}

/// Decompresses a file as its extension says. A file that is not gzip fails here and not in the
/// middle of a line.
fn by_extension(path: &str, mut raw: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    let (_, compression) = Compression::split(path);
    if compression == Compression::Gzip && !raw.fill_buf()?.starts_with(&GZIP_MAGIC) {
        return Err(io::Error::other("not a gzip file"));
    }
    compression.reader(raw)
}

/// Decompresses standard input, which has no name, as its first bytes say.
fn sniffed(mut raw: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    let start = raw.fill_buf()?;
    let compression = if start.starts_with(&GZIP_MAGIC) {
        Compression::Gzip
    } else if start.starts_with(&ZSTD_MAGIC) {
        Compression::Zstd
    } else {
        Compression::None
    };
    compression.reader(raw)
}

fn skip_byte_order_mark(reader: &mut Box<dyn BufRead>, path: &str) -> Result<()> {
    let start = reader
        .fill_buf()
        .usage(|| format!("failed to read target list {path}"))?;
    if start.starts_with(&[0xFF, 0xFE]) || start.starts_with(&[0xFE, 0xFF]) {
        return Err(Error::usage(format!(
            "target list {path} is not UTF-8: it starts with a UTF-16 byte order mark"
        ))
        .with_hint("save the list as UTF-8"));
    }
    if start.starts_with(&[0xEF, 0xBB, 0xBF]) {
        reader.consume(3);
    }
    Ok(())
}

/// Copies a stream to a temporary file.
fn spool(reader: &mut dyn Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(reader, &mut file)?;
    file.rewind()?;
    Ok(file)
}
