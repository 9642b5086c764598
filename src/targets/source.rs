//! Where targets come from: files by path and glob, or standard input; txt, csv, ndjson or Parquet, plain or compressed.
//!
//! Everything is read as a stream, in [`Block`]s of a few thousand lines; only Parquet in a compressed file or on
//! standard input is first copied to a temporary file, because its index stands at its end.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use arrow::array::AsArray;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use flate2::bufread::MultiGzDecoder;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};

use super::canonical::Invalid;
use super::csv::csv;
use crate::error::{Context, Error, Result};

/// The longest target that is looked at; a longer one is invalid.
pub(super) const MAX_LINE: usize = 1 << 16;
/// The longest row of ndjson, which may hold more than a target.
const MAX_ROW: usize = 1 << 24;
/// Lines in one block at the most.
const BLOCK_LINES: usize = 8192;
/// Bytes of text after which a block is handed on.
const BLOCK_BYTES: usize = 1 << 20;

/// The format of a target list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One target a line; lines that begin with `#` are comments.
    Txt,
    /// Comma-separated with a header.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// Parquet.
    Parquet,
}

/// Which lists to read and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Paths and globs, relative to the working directory; `-` is standard input.
    pub paths: Vec<String>,
    /// The format of all of them; by default each file's own, by its name.
    pub format: Option<Format>,
    /// The column that holds the target, in csv, ndjson and Parquet.
    pub column: String,
    /// Columns to carry along as labels.
    pub keep: Vec<String>,
}

/// Some lines of one source, as read.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) source: usize,
    pub(super) lines: Vec<RawLine>,
    /// The labels of each line in turn, as many a line as columns are kept.
    pub(super) labels: Vec<Option<Box<str>>>,
    text: String,
}

/// One line as read: where it stood, and its text or why there is none.
#[derive(Debug)]
pub(super) struct RawLine {
    pub(super) number: u64,
    pub(super) problem: Option<Invalid>,
    start: usize,
    end: usize,
}

impl Block {
    /// An empty block of this source.
    pub(super) fn of(source: usize) -> Self {
        Self {
            source,
            ..Self::default()
        }
    }

    pub(super) fn text(&self, line: &RawLine) -> &str {
        &self.text[line.start..line.end]
    }

    /// A target as written, unless it is too long to be one.
    pub(super) fn push_target(&mut self, number: u64, text: &[u8]) {
        if text.len() > MAX_LINE {
            self.push(number, cut(text), Some(Invalid::TooLong { max: MAX_LINE }));
        } else {
            self.push(number, text, None);
        }
    }

    pub(super) fn push(&mut self, number: u64, bytes: &[u8], problem: Option<Invalid>) {
        let start = self.text.len();
        let problem = match std::str::from_utf8(bytes) {
            Ok(text) => {
                self.text.push_str(text);
                problem
            }
            Err(error) => {
                self.text.push_str(&String::from_utf8_lossy(bytes));
                problem.or(Some(Invalid::NotUtf8 {
                    at: error.valid_up_to() + 1,
                }))
            }
        };
        self.lines.push(RawLine {
            number,
            problem,
            start,
            end: self.text.len(),
        });
    }
}

/// Receives the blocks; an error ends the reading.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Block) -> Result<()>;

impl Sources {
    /// The files behind paths and globs, in order, each once.
    ///
    /// # Errors
    /// A path that is missing, a directory or no pattern; a glob that matches nothing.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        for path in &self.paths {
            if path == "-" {
                files.push(path.clone());
            } else if Path::new(path).is_dir() {
                return Err(
                    Error::usage(format!("target list {path} is a directory")).with_hint(format!(
                        "name its files, for example \"{}/*.txt\"",
                        path.trim_end_matches('/')
                    )),
                );
            } else if Path::new(path).exists() {
                files.push(path.clone());
            } else if path.contains(['*', '?', '[']) {
                let pattern =
                    glob::glob(path).usage(|| format!("[targets] paths: `{path}` is no glob"))?;
                let before = files.len();
                for found in pattern {
                    let found = found.usage(|| format!("failed to read what matches {path}"))?;
                    if found.is_file() {
                        files.push(found.to_string_lossy().into_owned());
                    }
                }
                if files.len() == before {
                    return Err(Error::usage(format!("[targets] paths: {path} matches no file")).with_hint(
                        "globs are relative to the working directory; correct it or create the list",
                    ));
                }
            } else {
                return Err(Error::usage(format!("target list {path} does not exist")).with_hint(
                    "paths are relative to the working directory; correct it or create the list",
                ));
            }
        }
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        Ok(files)
    }

    /// Reads one of [`Sources::files`] from its beginning to its end.
    pub(super) fn read(&self, source: usize, path: &str, sink: Sink<'_>) -> Result<()> {
        let failed = || format!("failed to read target list {path}");
        let (name, compression) = match path.rsplit_once('.') {
            Some((name, ending)) if ending.eq_ignore_ascii_case("gz") => (name, Compression::Gzip),
            Some((name, ending)) if ending.eq_ignore_ascii_case("zst") => (name, Compression::Zstd),
            _ => (path, Compression::None),
        };
        let format = match self.format {
            Some(format) => format,
            None if path == "-" => Format::Txt,
            None => format_of(name)?,
        };
        if format == Format::Parquet {
            let file = if path == "-" {
                spool(&mut io::stdin().lock()).context(failed)?
            } else if compression == Compression::None {
                File::open(path).usage(failed)?
            } else {
                let mut plain = compression
                    .reader(BufReader::new(File::open(path).usage(failed)?))
                    .usage(failed)?;
                spool(&mut plain).usage(|| format!("failed to decompress target list {path}"))?
            };
            return self.parquet(source, path, file, sink);
        }
        let raw: Box<dyn BufRead> = if path == "-" {
            Box::new(BufReader::new(io::stdin()))
        } else {
            Box::new(BufReader::with_capacity(
                1 << 18,
                File::open(path).usage(failed)?,
            ))
        };
        let mut plain = sniffed(raw, path == "-", compression).map_err(|error| {
            let error = Error::usage(failed()).caused_by(error);
            error.with_hint("its ending says that it is compressed; if it is not, rename it, and if it is cut off, make it anew")
        })?;
        skip_byte_order_mark(&mut plain, path)?;
        match format {
            Format::Txt => self.text(source, path, plain, sink),
            Format::Ndjson => self.ndjson(source, path, plain, sink),
            Format::Csv => csv(self, source, path, plain, sink),
            Format::Parquet => Ok(()),
        }
    }

    fn text(
        &self,
        source: usize,
        path: &str,
        reader: Box<dyn BufRead>,
        sink: Sink<'_>,
    ) -> Result<()> {
        let mut blocks = Blocks::new(source, sink);
        each_line(reader, path, MAX_LINE, |number, line, problem| {
            let bare = line.trim_ascii();
            if bare.is_empty() || bare.starts_with(b"#") {
                return Ok(());
            }
            blocks.block.push(number, bare, problem);
            blocks.block.labels.extend(self.keep.iter().map(|_| None));
            blocks.flush_if_full()
        })?;
        blocks.finish()
    }

    fn ndjson(
        &self,
        source: usize,
        path: &str,
        reader: Box<dyn BufRead>,
        sink: Sink<'_>,
    ) -> Result<()> {
        let mut blocks = Blocks::new(source, sink);
        each_line(reader, path, MAX_ROW, |number, line, problem| {
            if line.trim_ascii().is_empty() {
                return Ok(());
            }
            let row = match (
                problem,
                serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line),
            ) {
                (Some(problem), _) => Err(problem),
                (None, Err(error)) => Err(Invalid::NotJson {
                    detail: error.to_string(),
                }),
                (None, Ok(row)) => Ok(row),
            };
            let label = |value: Option<&serde_json::Value>| match value {
                None | Some(serde_json::Value::Null) => None,
                Some(serde_json::Value::String(text)) => Some(text.as_str().into()),
                Some(other) => Some(other.to_string().into()),
            };
            match row {
                Err(problem) => {
                    blocks.block.push(number, cut(line), Some(problem));
                    blocks.block.labels.extend(self.keep.iter().map(|_| None));
                }
                Ok(row) => {
                    match row.get(&self.column) {
                        Some(serde_json::Value::String(text)) => {
                            blocks.block.push(number, text.as_bytes(), None)
                        }
                        Some(_) | None => {
                            let problem = Invalid::NoColumn {
                                column: self.column.clone(),
                            };
                            blocks.block.push(number, cut(line), Some(problem));
                        }
                    }
                    blocks
                        .block
                        .labels
                        .extend(self.keep.iter().map(|name| label(row.get(name))));
                }
            }
            blocks.flush_if_full()
        })?;
        blocks.finish()
    }

    fn parquet(&self, source: usize, path: &str, file: File, sink: Sink<'_>) -> Result<()> {
        let failed = || format!("failed to read target list {path} as Parquet");
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).usage(failed)?;
        let names: Vec<String> = builder
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        for name in std::iter::once(&self.column).chain(&self.keep) {
            if !names.contains(name) {
                return Err(missing_column(path, name, &names));
            }
        }
        let wanted = |name: &String| *name == self.column || self.keep.contains(name);
        let roots = names
            .iter()
            .enumerate()
            .filter(|(_, name)| wanted(name))
            .map(|(at, _)| at);
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let rows = builder
            .with_projection(mask)
            .with_batch_size(BLOCK_LINES)
            .build()
            .usage(failed)?;
        let mut blocks = Blocks::new(source, sink);
        let mut number = 0;
        for batch in rows {
            let batch = batch.usage(failed)?;
            let targets = self.column_as_text(&batch, &self.column, path)?;
            let targets = targets.as_string::<i32>();
            let kept = self
                .keep
                .iter()
                .map(|name| as_text(&batch, name, path))
                .collect::<Result<Vec<_>>>()?;
            for row in 0..batch.num_rows() {
                number += 1;
                let text = if targets.is_valid(row) {
                    targets.value(row)
                } else {
                    ""
                };
                blocks.block.push_target(number, text.as_bytes());
                let label = |column: &ArrayRef| {
                    let column = column.as_string::<i32>();
                    column.is_valid(row).then(|| column.value(row).into())
                };
                blocks.block.labels.extend(kept.iter().map(label));
                blocks.flush_if_full()?;
            }
        }
        blocks.finish()
    }

    fn column_as_text(&self, batch: &RecordBatch, name: &str, path: &str) -> Result<ArrayRef> {
        let kind = batch
            .column_by_name(name)
            .map(|column| column.data_type().clone());
        let inner = match &kind {
            Some(DataType::Dictionary(_, value)) => Some(value.as_ref()),
            other => other.as_ref(),
        };
        match inner {
            Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => {
                as_text(batch, name, path)
            }
            _ => Err(Error::usage(format!(
                "target list {path}: column `{name}` holds {}, not text",
                inner.map(ToString::to_string).unwrap_or_default()
            ))),
        }
    }
}

fn as_text(batch: &RecordBatch, name: &str, path: &str) -> Result<ArrayRef> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| Error::unexpected(format!("column `{name}` of {path} was not read")))?;
    let column = match column.data_type() {
        // The same moments under the one name of UTC that can be written without a database of zones.
        DataType::Timestamp(unit, Some(_)) => {
            let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
            &arrow::compute::cast(column, &utc)
                .usage(|| format!("target list {path}: column `{name}`"))?
        }
        _ => column,
    };
    arrow::compute::cast(column, &DataType::Utf8)
        .usage(|| format!("target list {path}: column `{name}` cannot be carried along as text"))
}

/// The first bytes of a text that is too long, as the targets table will show it.
pub(super) fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(256)]
}

pub(super) fn missing_column(path: &str, name: &str, names: &[String]) -> Error {
    Error::usage(format!(
        "target list {path} has no column `{name}`; it has: {}",
        names.join(", ")
    ))
    .with_hint("set [targets] column (or keep) to one of them")
}

fn format_of(name: &str) -> Result<Format> {
    let ending = Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str())
        .map(str::to_ascii_lowercase);
    match ending.as_deref() {
        Some("txt") => Ok(Format::Txt),
        Some("csv") => Ok(Format::Csv),
        Some("ndjson" | "jsonl") => Ok(Format::Ndjson),
        Some("parquet") => Ok(Format::Parquet),
        _ => Err(Error::usage(format!(
            "target list {name}: its format cannot be told from its name"
        ))
        .with_hint(
            "name it .txt, .csv, .ndjson or .parquet (then .gz or .zst), or set [targets] format",
        )),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn reader(self, raw: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
        Ok(match self {
            Self::None => Box::new(raw),
            Self::Gzip => Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(raw))),
            Self::Zstd => Box::new(BufReader::with_capacity(
                1 << 18,
                zstd::Decoder::with_buffer(raw)?,
            )),
        })
    }
}

/// Decompresses by the file's name; standard input has none, so by its first bytes.
fn sniffed(
    mut raw: Box<dyn BufRead>,
    nameless: bool,
    compression: Compression,
) -> io::Result<Box<dyn BufRead>> {
    let compression = match raw.fill_buf()? {
        start if compression == Compression::Gzip && !start.starts_with(&[0x1f, 0x8b]) => {
            return Err(io::Error::other("it is no gzip"));
        }
        _ if !nameless => compression,
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    };
    compression.reader(raw)
}

fn skip_byte_order_mark(reader: &mut Box<dyn BufRead>, path: &str) -> Result<()> {
    let start = reader
        .fill_buf()
        .usage(|| format!("failed to read target list {path}"))?;
    if start.starts_with(&[0xFF, 0xFE]) || start.starts_with(&[0xFE, 0xFF]) {
        return Err(Error::usage(format!(
            "target list {path} is not UTF-8: it begins as UTF-16 does"
        ))
        .with_hint("save the list as UTF-8"));
    }
    if start.starts_with(&[0xEF, 0xBB, 0xBF]) {
        reader.consume(3);
    }
    Ok(())
}

/// Copies a stream to a temporary file, because Parquet is read from its end.
fn spool(reader: &mut dyn Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(reader, &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// Calls `take` with number, text without its line end, and what is wrong with each line already.
fn each_line(
    mut reader: Box<dyn BufRead>,
    path: &str,
    max: usize,
    mut take: impl FnMut(u64, &[u8], Option<Invalid>) -> Result<()>,
) -> Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let failed = || format!("failed to read target list {path}, line {number}");
        if reader
            .by_ref()
            .take(max as u64 + 2)
            .read_until(b'\n', &mut line)
            .usage(failed)?
            == 0
        {
            break;
        }
        let ended = line.pop_if(|last| *last == b'\n').is_some();
        if ended {
            line.pop_if(|last| *last == b'\r');
        }
        if line.len() > max {
            if !ended {
                skip_line(&mut reader).usage(failed)?;
            }
            take(number, cut(&line), Some(Invalid::TooLong { max }))?;
        } else {
            take(number, &line, None)?;
        }
    }
    Ok(())
}

/// Skips what remains of a line, however long.
fn skip_line(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// Gathers lines and hands them on a block at a time.
pub(super) struct Blocks<'a> {
    pub(super) block: Block,
    sink: Sink<'a>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(source: usize, sink: Sink<'a>) -> Self {
        Self {
            block: Block {
                source,
                ..Block::default()
            },
            sink,
        }
    }

    pub(super) fn flush_if_full(&mut self) -> Result<()> {
        if self.block.lines.len() < BLOCK_LINES && self.block.text.len() < BLOCK_BYTES {
            return Ok(());
        }
        let next = Block {
            source: self.block.source,
            ..Block::default()
        };
        (self.sink)(std::mem::replace(&mut self.block, next))
    }

    pub(super) fn finish(self) -> Result<()> {
        (self.sink)(self.block)
    }
}
