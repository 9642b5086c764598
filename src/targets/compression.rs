//! Opens lists, plain or compressed, as streams of plain bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};

use flate2::bufread::MultiGzDecoder;

use super::archive::{Member, only_member};
use super::encoding::{Encoding, Peek, from_utf16};
use super::list_file::ListFile;
use super::reading::Format;
use crate::error::{Context, Error, Result};
use crate::files::open_to_read;

/// Bytes in the buffer of a file or a decoder.
const BUFFER: usize = 1 << 18;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// How a list is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    /// An archive with one file.
    Zip,
}

impl Compression {
    /// Splits a path into the name of the plain list and the compression that its extension names.
    pub(super) fn split(path: &str) -> (&str, Self) {
        match path.rsplit_once('.') {
            Some((name, extension)) if extension.eq_ignore_ascii_case("gz") => (name, Self::Gzip),
            Some((name, extension)) if extension.eq_ignore_ascii_case("zst") => (name, Self::Zstd),
            Some((name, extension)) if extension.eq_ignore_ascii_case("zip") => (name, Self::Zip),
            _ => (path, Self::None),
        }
    }

    fn reader(self, raw: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
        Ok(match self {
            // An archive is opened by its directory, not by its bytes in order.
            Self::None | Self::Zip => Box::new(raw),
            Self::Gzip => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw))),
            Self::Zstd => Box::new(BufReader::with_capacity(
                BUFFER,
                zstd::Decoder::with_buffer(raw)?,
            )),
        })
    }
}

/// A list that is open: its plain bytes, and a name whose extension tells the format.
pub(super) struct Opened {
    /// The name without the extension of the compression; in an archive, that of the file in it.
    /// Standard input has none.
    pub(super) name: Option<String>,
    plain: Plain,
}

enum Plain {
    /// A file that is not compressed.
    File(File),
    Stream(Box<dyn BufRead>),
}

/// Opens a list: a file by its extension, standard input by its first bytes.
pub(super) fn open(list: &ListFile<'_>) -> Result<Opened> {
    let failed = || list.failed();
    if list.path == "-" {
        return open_standard_input(list);
    }
    let file = open_to_read(list.file).map_err(|error| {
        Error::usage(failed()).caused_by(error).with_hint(
            "nothing was sent; a list is a file; `-` is standard input, also of a FIFO: `< FIFO`",
        )
    })?;
    let (name, compression) = Compression::split(list.path);
    let name = Some(name.to_owned());
    let stream = match compression {
        Compression::None => {
            return Ok(Opened {
                name,
                plain: Plain::File(file),
            });
        }
        Compression::Zip => return Ok(only_member(list, file)?.into()),
        Compression::Gzip | Compression::Zstd => {
            by_extension(compression, BufReader::with_capacity(BUFFER, file))
        }
    };
    let stream = stream.map_err(|error| {
        Error::usage(failed()).caused_by(error).with_hint(
            "the file extension says that it is compressed; rename it if it is not, or recreate it if it is truncated",
        )
    })?;
    let plain = Plain::Stream(stream);
    Ok(Opened { name, plain })
}

/// Decompresses standard input, which has no name, as its first bytes say.
fn open_standard_input(list: &ListFile<'_>) -> Result<Opened> {
    let failed = || list.failed();
    let mut raw = BufReader::new(io::stdin());
    let start = raw.fill_buf().usage(failed)?;
    let compression = if start.starts_with(&GZIP_MAGIC) {
        Compression::Gzip
    } else if start.starts_with(&ZSTD_MAGIC) {
        Compression::Zstd
    } else if start.starts_with(ZIP_MAGIC) && list.reading.format != Some(Format::Xlsx) {
        return Ok(only_member(list, spool(&mut raw).context(failed)?)?.into());
    } else {
        Compression::None
    };
    let plain = Plain::Stream(compression.reader(raw).usage(failed)?);
    Ok(Opened { name: None, plain })
}

impl From<Member> for Opened {
    fn from(member: Member) -> Self {
        Self {
            name: Some(member.name),
            plain: Plain::Stream(member.content),
        }
    }
}

impl Opened {
    /// The plain bytes as UTF-8 text.
    pub(super) fn text(self, list: &ListFile<'_>) -> Result<Peek> {
        let failed = || list.failed();
        let plain = match self.plain {
            Plain::File(file) => Box::new(BufReader::with_capacity(BUFFER, file)),
            Plain::Stream(stream) => stream,
        };
        let mut text = Peek::new(plain);
        let refuse = |what: &str| {
            Error::usage(format!("{} {what}", list.named()))
                .with_hint("nothing was sent; save the list as UTF-8")
        };
        match Encoding::of(text.look().usage(failed)?) {
            Encoding::Utf8 { mark } => text.consume(mark),
            Encoding::Utf16Le => text = Peek::new(from_utf16(Box::new(text), true)),
            Encoding::Utf16Be => text = Peek::new(from_utf16(Box::new(text), false)),
            Encoding::Unmarked => {
                return Err(refuse(
                    "looks like UTF-16 without a byte order mark, which cannot be read",
                ));
            }
            Encoding::Utf32 => return Err(refuse("is UTF-32, which cannot be read")),
        }
        Ok(text)
    }

    /// The plain bytes as a file, for formats that need random access.
    pub(super) fn file(self, list: &ListFile<'_>) -> Result<File> {
        match self.plain {
            Plain::File(file) => Ok(file),
            Plain::Stream(mut stream) => {
                spool(&mut stream).usage(|| format!("failed to decompress {}", list.named()))
            }
        }
    }
}

/// Decompresses a file. A file that is not gzip fails here and not in the middle of a line.
fn by_extension(
    compression: Compression,
    mut raw: impl BufRead + 'static,
) -> io::Result<Box<dyn BufRead>> {
    if compression == Compression::Gzip && !raw.fill_buf()?.starts_with(&GZIP_MAGIC) {
        return Err(io::Error::other("not a gzip file"));
    }
    compression.reader(raw)
}

/// Copies a stream to a temporary file.
fn spool(reader: &mut dyn Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(reader, &mut file)?;
    file.rewind()?;
    Ok(file)
}
