//! Writes lists as csv, ndjson or Parquet while they are computed.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use polars::io::csv::write::BatchedWriter as CsvBatches;
use polars::io::json::BatchedWriter as JsonBatches;
use polars::io::parquet::write::BatchedWriter as ParquetBatches;
use polars::prelude::{
    ChunkApply as _, CsvWriter, DataFrame, DataType, IntoColumn as _, ParquetWriter, PolarsError,
    PolarsResult, Schema, SerWriter as _,
};

use crate::error::{Context, Result};
use crate::lake::ROW_GROUP_ROWS;

/// The format of a written list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// Comma-separated values with a header; null is empty. A text that a spreadsheet would take for a
    /// formula begins with an apostrophe.
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
            Encoder::Csv(writer) => {
                without_formulas(&mut rows).and_then(|()| writer.write_batch(&rows))
            }
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

/// Puts an apostrophe before every text that a spreadsheet would take for a formula. Numbers stay
/// numbers.
fn without_formulas(rows: &mut DataFrame) -> PolarsResult<()> {
    for at in 0..rows.width() {
        let column = &rows.columns()[at];
        if *column.dtype() != DataType::String {
            continue;
        }
        let texts = column.str()?;
        if texts.iter().flatten().any(is_formula) {
            let texts = texts.apply_values(|text| {
                if is_formula(text) {
                    format!("'{text}").into()
                } else {
                    text.into()
                }
            });
            rows.replace_column(at, texts.into_column())?;
        }
    }
    Ok(())
}

/// Whether a spreadsheet would take a text for a formula, or for the end of its cell.
fn is_formula(text: &str) -> bool {
    text.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ])
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

#[cfg(test)]
mod tests {
    use polars::prelude::{IntoColumn as _, NamedFrom as _, Series};

    use super::*;

    /// A list with these texts and a negative number, in a format.
    fn written(format: ListFormat, texts: &[Option<&str>]) -> String {
        let key = Series::new("key".into(), texts).into_column();
        let change = Series::new("change".into(), vec![-1_i64; texts.len()]).into_column();
        let rows = DataFrame::new(texts.len(), vec![key, change]).unwrap();
        let mut out = Vec::new();
        let mut list = ListWriter::new(format, &mut out, rows.schema()).unwrap();
        list.write(rows).unwrap();
        list.finish().unwrap();
        drop(list);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_text_of_a_csv_is_a_formula_and_a_number_stays_a_number() {
        let texts = [
            "=1+1",
            "+1",
            "-1",
            "@A1",
            "\tx",
            "\u{ff1d}1",
            "a=1",
            "",
            "'=1",
        ];
        let shown = [
            "'=1+1",
            "'+1",
            "'-1",
            "'@A1",
            "'\tx",
            "'\u{ff1d}1",
            "a=1",
            "\"\"",
            "'=1",
        ];
        let rows: Vec<_> = texts.iter().copied().map(Some).chain([None]).collect();
        let lines = shown.iter().chain([&""]).map(|text| format!("{text},-1\n"));
        let expected = format!("key,change\n{}", lines.collect::<String>());
        assert_eq!(written(ListFormat::Csv, &rows), expected);
        for (text, cell) in [
            ("\r=1", "\"'\r=1\""),
            ("\n=1", "\"'\n=1\""),
            ("=A1,\"x\"", "\"'=A1,\"\"x\"\"\""),
        ] {
            assert_eq!(
                written(ListFormat::Csv, &[Some(text)]),
                format!("key,change\n{cell},-1\n")
            );
        }
    }

    #[test]
    fn json_is_exact() {
        for text in ["=1+1", "\u{1b}[31m\r\n\u{0}\u{202e}", "\"\\"] {
            let line = written(ListFormat::Json, &[Some(text)]);
            let row: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(
                (row["key"].as_str(), row["change"].as_i64()),
                (Some(text), Some(-1))
            );
        }
    }
}
