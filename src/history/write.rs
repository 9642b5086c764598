//! Writes lists as csv, ndjson or Parquet while they are computed.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use polars::io::csv::write::BatchedWriter as CsvBatches;
use polars::io::json::BatchedWriter as JsonBatches;
use polars::io::parquet::write::BatchedWriter as ParquetBatches;
use polars::prelude::{
    CsvWriter, DataFrame, ParquetWriter, PolarsError, PolarsResult, Schema, SerWriter as _,
};

use crate::error::{Context, Result};
use crate::lake::ROW_GROUP_ROWS;

/// The format of a written list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// Comma-separated values with a header; null is empty.
    Csv,
    /// One JSON object per line.
    Json,
    /// Parquet, compressed with zstd.
    Parquet,
}

/// Writes the rows of one list.
pub(super) struct ListWriter<W: Write> {
    encoder: Encoder<Shared<W>>,
    out: Shared<W>,
    /// Rows that do not fill a row group of Parquet yet.
    waiting: DataFrame,
    /// Whether the reader has closed the pipe.
    closed_by_reader: bool,
}

/// The polars writer of a format.
enum Encoder<W: Write> {
    Csv(CsvBatches<W>),
    Json(JsonBatches<W>),
    Parquet(Box<ParquetBatches<W>>),
}

fn failed() -> &'static str {
    "failed to write the list of changes"
}

impl<W: Write + Send> ListWriter<W> {
    pub(super) fn new(format: ListFormat, out: W, schema: &Schema) -> Result<Self> {
        let out = Shared(Arc::new(Mutex::new(out)));
        let encoder = match format {
            ListFormat::Csv => Encoder::Csv(
                CsvWriter::new(out.clone())
                    .batched(schema)
                    .context(failed)?,
            ),
            ListFormat::Json => Encoder::Json(JsonBatches::new(out.clone())),
            ListFormat::Parquet => Encoder::Parquet(Box::new(
                ParquetWriter::new(out.clone())
                    .batched(schema)
                    .context(failed)?,
            )),
        };
        Ok(Self {
            encoder,
            out,
            waiting: DataFrame::empty_with_schema(schema),
            closed_by_reader: false,
        })
    }

    pub(super) fn write(&mut self, rows: DataFrame) -> Result<()> {
        if !matches!(self.encoder, Encoder::Parquet(_)) {
            return self.put(rows);
        }
        self.waiting.vstack_mut_owned(rows).context(failed)?;
        if self.waiting.height() < ROW_GROUP_ROWS {
            return Ok(());
        }
        let empty = self.waiting.clear();
        let rows = std::mem::replace(&mut self.waiting, empty);
        self.put(rows)
    }

    /// Writes the remaining rows and the end of the file.
    pub(super) fn finish(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        if rows.height() > 0 {
            self.put(rows)?;
        }
        let ended = match &mut self.encoder {
            Encoder::Csv(writer) => writer.finish(),
            Encoder::Json(_) => Ok(()),
            Encoder::Parquet(writer) => writer.finish().map(drop),
        };
        let flushed = ended.and_then(|()| self.out.flush().map_err(PolarsError::from));
        self.checked(flushed)
    }

    /// Whether the reader has closed the pipe.
    pub(super) fn is_closed_by_reader(&self) -> bool {
        self.closed_by_reader
    }

    fn put(&mut self, mut rows: DataFrame) -> Result<()> {
        rows.rechunk_mut();
        let put = match &mut self.encoder {
            Encoder::Csv(writer) => writer.write_batch(&rows),
            Encoder::Json(writer) => writer.write_batch(&rows),
            Encoder::Parquet(writer) => writer.write_batch(&rows),
        };
        self.checked(put)
    }

    /// Notes whether the reader has closed the pipe.
    fn checked(&mut self, written: PolarsResult<()>) -> Result<()> {
        if let Err(PolarsError::IO { error, .. }) = &written {
            self.closed_by_reader |= error.kind() == ErrorKind::BrokenPipe;
        }
        written.context(failed)
    }
}

/// The output, shared with a polars writer. That writer owns its output but does not flush it.
struct Shared<W>(Arc<Mutex<W>>);

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> Write for Shared<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().flush()
    }
}
