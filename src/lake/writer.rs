//! Writes a table's sorted rows as Parquet files into the staging folder, and hashes them while writing.
//!
//! The files are laid out for look-ups: the files of a table have disjoint ranges of its sort key, statistics are not
//! truncated, and columns by which rows are looked up have Bloom filters. The columns of a batch are encoded on all
//! cores.
//!
//! # Memory
//! The encoded columns of one row group.

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
use super::manifest::{ManifestFile, PublicationId};
use crate::contract::{ColumnType, Contract, bloom_filter};
use crate::error::{Context, Error, Result};
use crate::store::hexadecimal;

/// Rows per row group: the unit that DuckDB and other engines read and skip.
pub const ROW_GROUP_ROWS: usize = 122_880;
/// The zstd level of data pages.
const LEVEL: i32 = 3;

/// Writes one table into as many files as it needs. For use on a thread that may block.
pub struct TableWriter {
    contract: Arc<Contract>,
    folder: PathBuf,
    /// The folder in the lake to which the files will be published.
    partition: String,
    /// What the names of the files begin with.
    prefix: String,
    /// The size at which a file is closed and the next one is started.
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

/// A leaf column of the current row group.
struct GroupColumn {
    writer: ArrowColumnWriter,
    filter: Option<Filter>,
}

/// The Bloom filter of a column. A value that repeats from row to row is added once. The encoder's own filter would hash
/// it for every row, and in breakdowns most values repeat.
struct Filter {
    values: Sbbf,
    false_positives: f64,
}

impl TableWriter {
    /// A writer for a table of this publication. `folder` must exist; `partition` is the place in the lake.
    pub(super) fn new(
        contract: &Arc<Contract>,
        folder: PathBuf,
        partition: String,
        id: &PublicationId,
        file_bytes: u64,
    ) -> Self {
        Self {
            contract: Arc::clone(contract),
            folder,
            partition,
            prefix: id.prefix(),
            file_bytes,
            properties: properties(contract, &id.run),
            open: None,
            done: Vec::new(),
        }
    }

    /// Appends rows, which must be sorted and follow the rows before them. A column may be a dictionary of the
    /// contract's type, in all batches or in none.
    ///
    /// # Errors
    /// A disk that fails, or rows that do not match the contract.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let defect = || {
            Error::unexpected(format!(
                "the rows of {} lack a sort column or have another type in it",
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
            // Rows with the same key stay in one file, so that the ranges of files are disjoint.
            from = (0..rows)
                .find(|&row| !keys.is(row, &file.last))
                .unwrap_or(rows);
            self.append(&mut file, &batch.slice(0, from))?;
            if from == rows {
                self.open = Some(file);
                return Ok(());
            }
            self.finish(file)?;
        }
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.start(batch)?,
        };
        self.append(&mut file, &batch.slice(from, rows - from))?;
        file.last = keys.owned(rows - 1);
        self.open = Some(file);
        Ok(())
    }

    /// Closes the last file, and lists all files. A table without rows has one empty file, so that readers find its
    /// columns.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn close(mut self) -> Result<Vec<ManifestFile>> {
        match self.open.take() {
            Some(file) => self.finish(file)?,
            None if self.done.is_empty() => {
                let file = self.start(&RecordBatch::new_empty(self.contract.schema()))?;
                self.finish(file)?;
            }
            None => {}
        }
        Ok(self.done)
    }

    fn start(&self, batch: &RecordBatch) -> Result<OpenFile> {
        let name = format!("{}-{:05}.parquet", self.prefix, self.done.len());
        let failed = || format!("failed to create {}", self.folder.join(&name).display());
        let file = Hashing::new(BufWriter::new(
            File::create(self.folder.join(&name)).context(failed)?,
        ));
        // Parquet's types tell readers everything. Arrow's schema would only add backlake's in-memory types.
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
        let failed = || format!("failed to write rows of {}", self.contract.table);
        let mut from = 0;
        while from < batch.num_rows() {
            if file.group.is_empty() {
                file.start_group().context(failed)?;
            }
            let rows = (batch.num_rows() - from).min(ROW_GROUP_ROWS - file.group_rows);
            encode(&mut file.group, &batch.slice(from, rows)).context(failed)?;
            (file.group_rows, from) = (file.group_rows + rows, from + rows);
            file.rows += rows as u64;
            if file.group_rows == ROW_GROUP_ROWS {
                file.finish_group().context(failed)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, mut file: OpenFile) -> Result<()> {
        let name = file.name.clone();
        let failed = || format!("failed to write {}", self.folder.join(&name).display());
        file.finish_group().context(failed)?;
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
    fn start_group(&mut self) -> parquet::errors::Result<()> {
        let number = self.writer.flushed_row_groups().len();
        let writers = self.groups.create_column_writers(number)?;
        let columns = self.writer.schema_descr().columns();
        let filters = columns.iter().map(|column| {
            let false_positives = bloom_filter(&column.path().string());
            // Sized for a row group of distinct values; `close` folds it to the number of values found.
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

    /// Finishes the current row group, if there is one.
    fn finish_group(&mut self) -> parquet::errors::Result<()> {
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

/// Encodes the columns of a batch in parallel, each with its own writers.
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

/// The Parquet properties of a table's files.
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
        if !column.dictionary {
            properties = properties.set_column_dictionary_enabled(path(), false);
            let encoding = match column.kind {
                // Strings with a long common prefix follow each other in sorted rows.
                ColumnType::Utf8 => Some(Encoding::DELTA_BYTE_ARRAY),
                // The differences between times need fewer than 64 bits.
                ColumnType::Timestamp => Some(Encoding::DELTA_BINARY_PACKED),
                _ => None,
            };
            if let Some(encoding) = encoding {
                properties = properties.set_column_encoding(path(), encoding);
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
                // No reader skips by statistics of map entries, and computing them costs as much as encoding.
                for part in ["key", "value"] {
                    let path = [column.name.as_str(), "key_value", part].map(str::to_owned);
                    let path = ColumnPath::new(path.to_vec());
                    properties = properties
                        .set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
                    // Counts vary so much that a dictionary makes them larger, and costs a hash per value.
                    if column.kind == ColumnType::CountsByKey && part == "value" {
                        properties = properties.set_column_dictionary_enabled(path, false);
                    }
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

/// Counts and hashes the bytes that are written through it.
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

    /// The number of bytes written, and their SHA-256.
    fn finish(mut self) -> io::Result<(u64, String)> {
        self.inner.flush()?;
        Ok((self.bytes, hexadecimal(self.hash)))
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
