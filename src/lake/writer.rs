//! Writes a table's sorted rows as Parquet files into a local staging folder, hashed as they are written.
//!
//! Laid out for look-ups: files of a table cover disjoint ranges of its sort key, statistics are whole, and Bloom
//! filters stand on what rows are looked up by. A batch's columns are encoded on all cores.
//!
//! # Memory
//! One row group's encoded columns.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory,
    ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::key::{Keys, OwnedPart, changes};
use super::manifest::ManifestFile;
use crate::contract::{Column, ColumnType, Contract};
use crate::error::{Context, Error, Result};

/// Rows in one row group: the unit that DuckDB and other engines read at a time.
pub const ROW_GROUP_ROWS: usize = 122_880;
/// The zstd level of the files' pages.
const LEVEL: i32 = 3;

/// Writes one table into as many files as it takes. For use on a blocking thread.
pub struct TableWriter {
    contract: Arc<Contract>,
    folder: PathBuf,
    /// Where the files will stand in the lake.
    partition: String,
    /// What their names begin with.
    prefix: String,
    /// Bytes of a file after which the next is begun.
    file_bytes: u64,
    properties: WriterProperties,
    open: Option<OpenFile>,
    done: Vec<ManifestFile>,
}

struct OpenFile {
    name: String,
    writer: SerializedFileWriter<Hashing<BufWriter<File>>>,
    groups: ArrowRowGroupWriterFactory,
    group: Vec<GroupColumn>,
    group_rows: usize,
    rows: u64,
    /// The key of the last row.
    last: Vec<OwnedPart>,
}

/// A leaf column of the row group that is being written.
struct GroupColumn {
    writer: ArrowColumnWriter,
    filter: Option<Filter>,
}

/// The Bloom filter of a column. Values that repeat from row to row enter it once, where the encoder's own would hash
/// each of them: in breakdowns most do.
struct Filter {
    values: Sbbf,
    false_positives: f64,
}

impl TableWriter {
    /// A writer of files that begin with `prefix`, staged in a folder that is there.
    pub(super) fn new(
        contract: &Arc<Contract>,
        folder: PathBuf,
        partition: String,
        (prefix, run): (&str, &str),
        file_bytes: u64,
    ) -> Self {
        Self {
            contract: Arc::clone(contract),
            folder,
            partition,
            prefix: prefix.to_owned(),
            file_bytes,
            properties: properties(contract, run),
            open: None,
            done: Vec::new(),
        }
    }

    /// Appends rows, which must follow those before in the table's order. Columns may be dictionaries of what the
    /// contract says, the same ones in each batch.
    ///
    /// # Errors
    /// A disk that fails, or rows that do not keep the contract.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let defect = || {
            Error::unexpected(format!(
                "{} are not sorted by columns they have",
                self.contract.table
            ))
        };
        let contract = Arc::clone(&self.contract);
        let keys = Keys::of(batch, &contract.sort).ok_or_else(defect)?;
        let mut from = 0;
        if let Some(mut file) = self
            .open
            .take_if(|file| file.writer.bytes_written() as u64 >= self.file_bytes)
        {
            // A key that goes on here stays in one file, so that files cover disjoint ranges.
            from = (0..rows)
                .find(|&row| !keys.is(row, &file.last))
                .unwrap_or(rows);
            self.append(&mut file, &batch.slice(0, from))?;
            if from == rows {
                self.open = Some(file);
                return Ok(());
            }
            self.end(file)?;
        }
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.begin(batch)?,
        };
        self.append(&mut file, &batch.slice(from, rows - from))?;
        file.last = keys.owned(rows - 1);
        self.open = Some(file);
        Ok(())
    }

    /// Ends the last file, and names all that were written. A table without rows has one empty file, so that readers
    /// find its columns.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn close(mut self) -> Result<Vec<ManifestFile>> {
        match self.open.take() {
            Some(file) => self.end(file)?,
            None if self.done.is_empty() => {
                let file = self.begin(&RecordBatch::new_empty(self.contract.schema()))?;
                self.end(file)?;
            }
            None => {}
        }
        Ok(self.done)
    }

    fn begin(&self, batch: &RecordBatch) -> Result<OpenFile> {
        let name = format!("{}-{:05}.parquet", self.prefix, self.done.len());
        let failed = || format!("failed to begin {}", self.folder.join(&name).display());
        let file = Hashing::new(BufWriter::new(
            File::create(self.folder.join(&name)).context(failed)?,
        ));
        // Plain Parquet types say all that readers need; Arrow's own schema would only name our in-memory choices.
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties.clone())
            .with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(file, batch.schema(), options).context(failed)?;
        let (writer, groups) = writer.into_serialized_writer().context(failed)?;
        Ok(OpenFile {
            name,
            writer,
            groups,
            group: Vec::new(),
            group_rows: 0,
            rows: 0,
            last: Vec::new(),
        })
    }

    fn append(&self, file: &mut OpenFile, batch: &RecordBatch) -> Result<()> {
        let failed = || format!("failed to write to table {}", self.contract.table);
        let mut from = 0;
        while from < batch.num_rows() {
            if file.group.is_empty() {
                file.begin_group().context(failed)?;
            }
            let rows = (batch.num_rows() - from).min(ROW_GROUP_ROWS - file.group_rows);
            encode(&mut file.group, &batch.slice(from, rows)).context(failed)?;
            (file.group_rows, from) = (file.group_rows + rows, from + rows);
            file.rows += rows as u64;
            if file.group_rows == ROW_GROUP_ROWS {
                file.end_group().context(failed)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, mut file: OpenFile) -> Result<()> {
        let name = file.name.clone();
        let failed = || format!("failed to write {}", self.folder.join(&name).display());
        file.end_group().context(failed)?;
        let OpenFile { writer, rows, .. } = file;
        let (bytes, sha256) = writer
            .into_inner()
            .context(failed)?
            .finish()
            .context(failed)?;
        self.done.push(ManifestFile {
            path: format!("{}/{name}", self.partition),
            rows,
            bytes,
            sha256,
        });
        Ok(())
    }
}

impl OpenFile {
    fn begin_group(&mut self) -> parquet::errors::Result<()> {
        let number = self.writer.flushed_row_groups().len();
        let writers = self.groups.create_column_writers(number)?;
        let columns = self.writer.schema_descr().columns();
        let filters = columns.iter().map(|column| {
            let false_positives = false_positives(&column.path().string());
            // Sized for a row group of distinct values, and folded to what there is.
            let sized = |false_positives| {
                let values = Sbbf::new_with_ndv_fpp(ROW_GROUP_ROWS as u64, false_positives)?;
                Ok::<_, ParquetError>(Filter {
                    values,
                    false_positives,
                })
            };
            false_positives.map(sized).transpose()
        });
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        self.group = writers
            .into_iter()
            .zip(filters)
            .map(|(writer, filter)| GroupColumn { writer, filter })
            .collect();
        Ok(())
    }

    /// Ends the row group, if one is begun.
    fn end_group(&mut self) -> parquet::errors::Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        let columns = std::mem::take(&mut self.group);
        let chunks = columns
            .into_par_iter()
            .map(GroupColumn::close)
            .collect::<Result<Vec<_>, _>>()?;
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.group_rows = 0;
        Ok(())
    }
}

impl GroupColumn {
    fn write(&mut self, leaf: &ArrowLeafColumn, column: &ArrayRef) -> parquet::errors::Result<()> {
        if let Some(filter) = &mut self.filter {
            changes(column, |text| filter.values.insert(text));
        }
        self.writer.write(leaf)
    }

    fn close(self) -> parquet::errors::Result<ArrowColumnChunk> {
        let mut chunk = self.writer.close()?;
        if let Some(Filter {
            mut values,
            false_positives,
        }) = self.filter
        {
            values.fold_to_target_fpp(false_positives);
            chunk.close_mut().bloom_filter = Some(values);
        }
        Ok(chunk)
    }
}

/// Encodes a batch's columns, each into its own writers.
fn encode(group: &mut [GroupColumn], batch: &RecordBatch) -> parquet::errors::Result<()> {
    let schema = batch.schema();
    let mut work = Vec::with_capacity(batch.num_columns());
    let mut rest = group;
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let leaves = if matches!(field.data_type(), DataType::Map(..)) {
            2
        } else {
            1
        };
        let (own, others) = rest.split_at_mut(leaves);
        work.push((field, column, own));
        rest = others;
    }
    work.into_par_iter().try_for_each(|(field, column, own)| {
        let leaves: Vec<ArrowLeafColumn> = compute_leaves(field, column)?;
        own.iter_mut()
            .zip(&leaves)
            .try_for_each(|(writer, leaf)| writer.write(leaf, column))
    })
}

/// The share of row groups that a look-up by this column reads in vain; none if rows are not looked up by it.
///
/// A filter for a whole row group of distinct targets takes 512 KiB at one in ten thousand: then a look-up over a
/// month of snapshots reads no second row group in any of them but for one time in some hundred. It takes 256 KiB at
/// one in a thousand.
fn false_positives(column: &str) -> Option<f64> {
    match column {
        "target" => Some(0.0001),
        "url" => Some(0.001),
        _ => None,
    }
}

/// Whether rows are looked up by this column, so that a Bloom filter spares reading row groups.
pub(super) fn is_looked_up(column: &str) -> bool {
    false_positives(column).is_some()
}

/// Whether a column's values stand in a dictionary: where they repeat, but for targets. Those repeat only next to each
/// other, where prefixes say as much, take an eighth less of a file, and need no hashing.
pub(super) fn has_dictionary(column: &Column) -> bool {
    column.dictionary && !is_looked_up(&column.name)
}

/// How the files of a table are written, by its contract.
fn properties(contract: &Contract, run: &str) -> WriterProperties {
    let mut leaf = 0;
    let mut sorting = vec![None; contract.sort.len()];
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("backlake {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(
            ZstdLevel::try_new(LEVEL).unwrap_or_default(),
        ))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(None)
        .set_column_index_truncate_length(None)
        .set_key_value_metadata(Some(vec![
            KeyValue::new("backlake.contract".to_owned(), contract.id()),
            KeyValue::new("backlake.run".to_owned(), run.to_owned()),
        ]));
    for column in &contract.columns {
        let path = || ColumnPath::from(column.name.as_str());
        if !has_dictionary(column) {
            properties = properties.set_column_dictionary_enabled(path(), false);
            // Sorted as they are, most of a text stands in the one before it.
            if column.kind == ColumnType::Utf8 {
                properties = properties.set_column_encoding(path(), Encoding::DELTA_BYTE_ARRAY);
            }
        }
        if let Some(at) = contract.sort.iter().position(|key| *key == column.name) {
            sorting[at] = Some(SortingColumn {
                column_idx: leaf,
                descending: false,
                nulls_first: true,
            });
        }
        leaf += match column.kind {
            ColumnType::CountsByKey | ColumnType::TextsByKey => {
                // No reader skips by what is in a map; to compare each of its keys costs as much as to encode it.
                for part in ["key", "value"] {
                    let path = [column.name.as_str(), "key_value", part]
                        .map(str::to_owned)
                        .to_vec();
                    let path = ColumnPath::new(path);
                    properties =
                        properties.set_column_statistics_enabled(path, EnabledStatistics::None);
                }
                2
            }
            _ => 1,
        };
    }
    properties
        .set_sorting_columns(Some(sorting.into_iter().flatten().collect()))
        .build()
}

/// Counts and hashes what passes.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// How many bytes have passed, and their SHA-256.
    fn finish(mut self) -> io::Result<(u64, String)> {
        self.inner.flush()?;
        Ok((self.bytes, format!("{:x}", self.hash.finalize())))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
