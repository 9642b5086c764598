//! Writes a table's sorted rows as Parquet files under the staging path, hashed as they are written.
//!
//! # Memory
//! One row group's encoded columns, and the parts of a file that are on their way to the store.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use object_store::ObjectStoreExt as _;
use object_store::WriteMultipart;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::manifest::ManifestFile;
use super::store::Store;
use crate::contract::{ColumnType, Contract};
use crate::error::{Context, Result};

/// Rows of a row group: what DuckDB and others read in one go.
const ROW_GROUP_ROWS: usize = 122_880;
/// Bytes of a file after which the next is begun.
const FILE_BYTES: u64 = 256 << 20;
/// The zstd level of the files' pages.
const LEVEL: i32 = 3;
/// The share of row groups that a Bloom filter makes a look-up read in vain.
const FALSE_POSITIVES: f64 = 0.01;
/// Parts of a file on their way to the store at once.
const PARTS: usize = 4;

/// Writes one table, or a stretch of one, into as many files as it takes.
///
/// For use on a blocking thread: it waits for the store.
pub struct TableWriter {
    store: Store,
    contract: &'static Contract,
    staging: Path,
    partition: Path,
    run: String,
    /// The number of the next file.
    next: u32,
    properties: WriterProperties,
    open: Option<OpenFile>,
    done: Vec<ManifestFile>,
}

struct OpenFile {
    name: String,
    writer: ArrowWriter<Upload>,
    rows: u64,
}

impl TableWriter {
    /// A writer whose files are numbered from `first`, staged under one path and published under another.
    pub(super) fn new(
        store: Store,
        contract: &'static Contract,
        paths: (Path, Path),
        run: &str,
        first: u32,
    ) -> Self {
        let properties = properties(contract, run);
        let (staging, partition) = paths;
        let run = run.to_owned();
        Self {
            store,
            contract,
            staging,
            partition,
            run,
            next: first,
            properties,
            open: None,
            done: Vec::new(),
        }
    }

    /// Appends rows, which must follow those before in the table's order. Columns may be dictionaries of what the
    /// contract says.
    ///
    /// # Errors
    /// A store that fails, or rows that do not keep the contract.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let failed = || format!("failed to write to table {}", self.contract.table);
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.begin(batch)?,
        };
        file.rows += batch.num_rows() as u64;
        file.writer.write(batch).context(failed)?;
        if file.writer.inner().bytes >= FILE_BYTES {
            return self.end(file);
        }
        self.open = Some(file);
        Ok(())
    }

    /// Ends the last file, and names all that were written. A table without rows has one empty file, so that readers
    /// find its columns.
    ///
    /// # Errors
    /// A store that fails.
    pub fn close(mut self, even_if_empty: bool) -> Result<Vec<ManifestFile>> {
        if let Some(file) = self.open.take() {
            self.end(file)?;
        } else if self.done.is_empty() && even_if_empty {
            let file = self.begin(&RecordBatch::new_empty(self.contract.schema()))?;
            self.end(file)?;
        }
        Ok(self.done)
    }

    fn begin(&mut self, batch: &RecordBatch) -> Result<OpenFile> {
        let name = format!("{}-{:05}.parquet", self.run, self.next);
        self.next += 1;
        let upload = Upload::begin(&self.store, &self.staging.clone().join(name.as_str()))?;
        // Plain Parquet types say all that readers need; Arrow's own schema would only name our in-memory choices.
        let options =
            ArrowWriterOptions::new().with_properties(self.properties.clone()).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(upload, batch.schema(), options)
            .context(|| format!("failed to begin {name}"))?;
        Ok(OpenFile { name, writer, rows: 0 })
    }

    fn end(&mut self, file: OpenFile) -> Result<()> {
        let OpenFile { name, writer, rows } = file;
        let failed = || format!("failed to write {name}");
        let (bytes, sha256) = writer.into_inner().context(failed)?.finish().context(failed)?;
        let path = self.partition.clone().join(name.as_str()).to_string();
        self.done.push(ManifestFile { path, rows, bytes, sha256 });
        Ok(())
    }
}

/// Whether rows are looked up by this column, so that a Bloom filter spares reading row groups.
pub(super) fn is_looked_up(column: &str) -> bool {
    matches!(column, "target" | "url")
}

/// How the files of a table are written, by its contract.
fn properties(contract: &Contract, run: &str) -> WriterProperties {
    let mut leaf = 0;
    let mut sorting = vec![None; contract.sort.len()];
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("backlake {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(None)
        .set_column_index_truncate_length(None)
        .set_key_value_metadata(Some(vec![
            KeyValue::new("backlake.contract".to_owned(), contract.id()),
            KeyValue::new("backlake.run".to_owned(), run.to_owned()),
        ]));
    for column in &contract.columns {
        if !column.dictionary {
            properties =
                properties.set_column_dictionary_enabled(ColumnPath::from(column.name.as_str()), false);
        }
        if is_looked_up(&column.name) {
            let path = || ColumnPath::from(column.name.as_str());
            // Sized for a row group of distinct values, and folded to what there is.
            properties = properties
                .set_column_bloom_filter_enabled(path(), true)
                .set_column_bloom_filter_max_ndv(path(), ROW_GROUP_ROWS as u64)
                .set_column_bloom_filter_fpp(path(), FALSE_POSITIVES);
        }
        if let Some(at) = contract.sort.iter().position(|key| *key == column.name) {
            sorting[at] = Some(SortingColumn { column_idx: leaf, descending: false, nulls_first: true });
        }
        leaf += match column.kind {
            ColumnType::CountsByKey | ColumnType::TextsByKey => 2,
            _ => 1,
        };
    }
    properties.set_sorting_columns(Some(sorting.into_iter().flatten().collect())).build()
}

/// A file on its way to the store; counts and hashes what passes.
struct Upload {
    parts: WriteMultipart,
    handle: Handle,
    hash: Sha256,
    bytes: u64,
}

impl Upload {
    fn begin(store: &Store, path: &Path) -> Result<Self> {
        let handle = Handle::try_current().context(|| "the writer needs the runtime")?;
        let objects = Arc::clone(store.objects());
        let upload =
            handle.block_on(objects.put_multipart(path)).context(|| format!("failed to begin {path}"))?;
        Ok(Self { parts: WriteMultipart::new(upload), handle, hash: Sha256::new(), bytes: 0 })
    }

    fn finish(self) -> io::Result<(u64, String)> {
        self.handle.block_on(self.parts.finish())?;
        let hash = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((self.bytes, hash))
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _runtime = self.handle.enter();
        self.handle.block_on(self.parts.wait_for_capacity(PARTS))?;
        self.parts.write(bytes);
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
