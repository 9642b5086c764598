//! Writes rows as they come.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};

use polars::io::csv::write::BatchedWriter as CsvBatches;
use polars::io::json::BatchedWriter as JsonBatches;
use polars::io::parquet::write::BatchedWriter as ParquetBatches;
use polars::prelude::{
    CsvWriter, DataFrame, ParquetWriter, PolarsError, PolarsResult, Schema, SerWriter as _,
};

use crate::error::{Context, Result};

/// Rows of a row group, as in the lake's own files.
const ROW_GROUP_ROWS: usize = 122_880;

/// The form of a written list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header, and a line for each row; null is empty.
    Csv,
    /// A JSON object a line.
    Json,
    /// Parquet, zstd.
    Parquet,
}

/// Rows on their way into a file, or to a reader.
pub(super) struct Writer<W: Write> {
    form: Form<Shared<W>>,
    out: Shared<W>,
    /// Rows that do not fill a row group yet.
    waiting: DataFrame,
    deserted: bool,
}

enum Form<W: Write> {
    Csv(CsvBatches<W>),
    Json(JsonBatches<W>),
    Parquet(Box<ParquetBatches<W>>),
}

fn failed() -> &'static str {
    "failed to write what has changed"
}

impl<W: Write + Send> Writer<W> {
    pub(super) fn new(format: Format, out: W, schema: &Schema) -> Result<Self> {
        let out = Shared(Arc::new(Mutex::new(out)));
        let form = match format {
            Format::Csv => Form::Csv(
                CsvWriter::new(out.clone())
                    .batched(schema)
                    .context(failed)?,
            ),
            Format::Json => Form::Json(JsonBatches::new(out.clone())),
            Format::Parquet => Form::Parquet(Box::new(
                ParquetWriter::new(out.clone())
                    .batched(schema)
                    .context(failed)?,
            )),
        };
        Ok(Self {
            form,
            out,
            waiting: DataFrame::empty_with_schema(schema),
            deserted: false,
        })
    }

    pub(super) fn write(&mut self, rows: DataFrame) -> Result<()> {
        if !matches!(self.form, Form::Parquet(_)) {
            return self.put(rows);
        }
        self.waiting.vstack_mut_owned(rows).context(failed)?;
        if self.waiting.height() < ROW_GROUP_ROWS {
            return Ok(());
        }
        let none = self.waiting.clear();
        let rows = std::mem::replace(&mut self.waiting, none);
        self.put(rows)
    }

    /// Ends the file, and returns when all is written.
    pub(super) fn finish(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        if rows.height() > 0 {
            self.put(rows)?;
        }
        let ended = match &mut self.form {
            Form::Csv(writer) => writer.finish(),
            Form::Json(_) => Ok(()),
            Form::Parquet(writer) => writer.finish().map(drop),
        };
        let flushed = ended.and_then(|()| self.out.flush().map_err(PolarsError::from));
        self.told(flushed)
    }

    /// Whether the reader has gone away.
    pub(super) fn is_deserted(&self) -> bool {
        self.deserted
    }

    fn put(&mut self, mut rows: DataFrame) -> Result<()> {
        rows.rechunk_mut();
        let put = match &mut self.form {
            Form::Csv(writer) => writer.write_batch(&rows),
            Form::Json(writer) => writer.write_batch(&rows),
            Form::Parquet(writer) => writer.write_batch(&rows),
        };
        self.told(put)
    }

    fn told(&mut self, written: PolarsResult<()>) -> Result<()> {
        if let Err(PolarsError::IO { error, .. }) = &written {
            self.deserted |= error.kind() == ErrorKind::BrokenPipe;
        }
        written.context(failed)
    }
}

/// Where to, kept by us as well: polars' writers own what they write to, and do not flush it.
struct Shared<W>(Arc<Mutex<W>>);

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> Write for Shared<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush()
    }
}
