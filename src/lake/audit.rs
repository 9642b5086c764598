//! Reads a published snapshot again and holds it to its manifest: hashes, counts, schemas, fates, order.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use chrono::NaiveDate;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ColumnChunkMetaData;
use sha2::{Digest as _, Sha256};

use super::layout::Layout;
use super::manifest::{Manifest, ManifestFile, snapshots};
use super::store::Store;
use super::writer::is_looked_up;
use crate::contract::{Contract, Table};
use crate::error::{Context, Result};
use crate::fate::Fate;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Audit {
    /// The snapshot.
    pub snapshot: NaiveDate,
    /// Files that were read.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is wrong, each with the file or figure it is about; nothing if all is well.
    pub problems: Vec<String>,
}

/// Audits a published snapshot; none if there is no such snapshot.
///
/// # Errors
/// A lake that fails. What is wrong with the snapshot is no error but a finding.
pub async fn audit(store: &Store, snapshot: NaiveDate) -> Result<Option<Audit>> {
    let Some(manifest) = Manifest::read(store, snapshot).await? else {
        return Ok(None);
    };
    let layout = Layout { snapshot };
    let mut audit = audit_files(store, &manifest, |table| layout.partition(table)).await?;
    for table in Table::ALL {
        for file in manifest.tables.get(table.name()).into_iter().flat_map(|entry| &entry.files) {
            if !file.path.starts_with(&format!("{}/", layout.partition(table))) {
                audit.problems.push(format!(
                    "the manifest names {}, which is no file of {}",
                    file.path,
                    table.name()
                ));
            }
        }
    }
    if manifest.snapshot != snapshot {
        audit.problems.push(format!("the manifest of {snapshot} is that of {}", manifest.snapshot));
    }
    Ok(Some(audit))
}

/// Holds the files in a folder for each table to a manifest.
///
/// # Errors
/// A lake that fails.
pub(super) async fn audit_files(
    store: &Store,
    manifest: &Manifest,
    folder: impl Fn(Table) -> Path,
) -> Result<Audit> {
    let mut found = Findings { problems: manifest.imbalances(), ..Findings::default() };
    for table in Table::ALL {
        let Some(entry) = manifest.tables.get(table.name()) else {
            found.problems.push(format!("the manifest names no table {}", table.name()));
            continue;
        };
        found.last_key = None;
        let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        for file in &entry.files {
            let place = folder(table).join(name(&file.path).as_str());
            found.file(store, table, file, &place).await?;
        }
        for object in store.list(&folder(table)).await? {
            let stray = object.location.filename().unwrap_or_default();
            if !entry.files.iter().any(|file| name(&file.path) == stray) {
                found.problems.push(format!("{} is named by no manifest", object.location));
            }
        }
    }
    for fate in Fate::ALL {
        let (told, read) = (manifest.fates.of(fate), found.fates.get(fate.name()).copied().unwrap_or(0));
        if told != read {
            found.problems.push(format!("{} targets are {}, the manifest says {told}", read, fate.name()));
        }
    }
    if found.cost_micros != manifest.requests.cost_usd.micros() {
        let told = manifest.requests.cost_usd;
        found.problems.push(format!(
            "requests add up to {} millionths of a dollar, the manifest says ${told}",
            found.cost_micros
        ));
    }
    if found.returned != manifest.fates.returned {
        let told = manifest.fates.returned;
        found
            .problems
            .push(format!("{} rows of pages are matched, the manifest says {told}", found.returned));
    }
    let Findings { files, rows, bytes, problems, .. } = found;
    Ok(Audit { snapshot: manifest.snapshot, files, rows, bytes, problems })
}

/// Partitions that readers see and no manifest vouches for: what a broken-off publication has left, or a stranger.
///
/// # Errors
/// A lake that fails.
pub async fn unpublished(store: &Store) -> Result<Vec<String>> {
    let published: Vec<_> = snapshots(store).await?.into_iter().map(|snapshot| Layout { snapshot }).collect();
    let mut found = Vec::new();
    for table in Table::ALL {
        for folder in store.folders(&Path::from(table.name())).await? {
            if !published.iter().any(|layout| layout.partition(table) == folder) {
                found.push(format!("{folder} has no manifest"));
            }
        }
    }
    Ok(found)
}

#[derive(Default)]
struct Findings {
    files: u64,
    rows: u64,
    bytes: u64,
    problems: Vec<String>,
    fates: BTreeMap<String, u64>,
    cost_micros: i128,
    returned: u64,
    /// The sort key of the last row read of the table.
    last_key: Option<Vec<OwnedPart>>,
}

/// A value of a sort column; null comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum KeyPart<'a> {
    Null,
    Count(i64),
    Text(&'a str),
}

/// The same, kept from one batch to the next.
enum OwnedPart {
    Null,
    Count(i64),
    Text(String),
}

impl OwnedPart {
    fn of(part: KeyPart<'_>) -> Self {
        match part {
            KeyPart::Null => Self::Null,
            KeyPart::Count(count) => Self::Count(count),
            KeyPart::Text(text) => Self::Text(text.to_owned()),
        }
    }

    fn as_part(&self) -> KeyPart<'_> {
        match self {
            Self::Null => KeyPart::Null,
            Self::Count(count) => KeyPart::Count(*count),
            Self::Text(text) => KeyPart::Text(text),
        }
    }
}

fn part(column: &ArrayRef, row: usize) -> KeyPart<'_> {
    match column.as_string_opt::<i32>() {
        _ if column.is_null(row) => KeyPart::Null,
        Some(texts) => KeyPart::Text(texts.value(row)),
        None => KeyPart::Count(column.as_primitive::<Int64Type>().value(row)),
    }
}

impl Findings {
    async fn file(&mut self, store: &Store, table: Table, file: &ManifestFile, place: &Path) -> Result<()> {
        // By the name under which it stands now.
        let file = &ManifestFile { path: place.to_string(), ..file.clone() };
        let Some(bytes) = store.get(place).await? else {
            self.problems.push(format!("{} is missing", file.path));
            return Ok(());
        };
        self.files += 1;
        self.bytes += bytes.len() as u64;
        if bytes.len() as u64 != file.bytes {
            self.problems.push(format!(
                "{} has {} bytes, the manifest says {}",
                file.path,
                bytes.len(),
                file.bytes
            ));
        }
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if hash != file.sha256 {
            self.problems.push(format!("{} has another SHA-256 than the manifest says", file.path));
        }
        if let Err(error) = self.rows(table, file, bytes) {
            self.problems.push(format!("{} cannot be read: {error}", file.path));
        }
        Ok(())
    }

    fn rows(&mut self, table: Table, file: &ManifestFile, bytes: Bytes) -> Result<()> {
        let contract = table.contract();
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).context(|| "failed to open it")?;
        let rows = builder.metadata().file_metadata().num_rows() as u64;
        if rows != file.rows {
            self.problems.push(format!("{} has {rows} rows, the manifest says {}", file.path, file.rows));
        }
        self.rows += rows;
        self.schema(contract, file, builder.schema());
        for (number, group) in builder.metadata().row_groups().iter().enumerate() {
            for column in group.columns() {
                self.pruning(contract, file, number, column);
            }
        }
        let wanted = |name: &str| {
            contract.sort.iter().any(|key| key == name) || matches!(name, "fate" | "cost_usd" | "matched")
        };
        let columns = contract.columns.iter().enumerate();
        let roots: Vec<usize> =
            columns.filter(|(_, column)| wanted(&column.name)).map(|(at, _)| at).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let mut sorted = true;
        for batch in builder.with_projection(mask).build().context(|| "failed to open it")? {
            let batch = batch.context(|| "failed to decode it")?;
            sorted &= self.in_order(contract, &batch);
            self.count(table, &batch);
        }
        if !sorted {
            self.problems.push(format!("{} is not sorted by {}", file.path, contract.sort.join(", ")));
        }
        Ok(())
    }

    /// Whether what lets readers skip a row group is there: statistics that are whole, and Bloom filters.
    fn pruning(
        &mut self,
        contract: &Contract,
        file: &ManifestFile,
        group: usize,
        column: &ColumnChunkMetaData,
    ) {
        let name = column.column_path().string();
        if !is_looked_up(&name) && !contract.sort.contains(&name) {
            return;
        }
        let place = || format!("{}, row group {group}, column {name}", file.path);
        let Some(statistics) = column.statistics() else {
            self.problems.push(format!("{}: has no statistics", place()));
            return;
        };
        if statistics.null_count_opt() == Some(column.num_values() as u64) {
            return;
        }
        if !(statistics.min_is_exact() && statistics.max_is_exact()) {
            self.problems.push(format!("{}: the statistics are cut short", place()));
        }
        if is_looked_up(&name) && column.bloom_filter_offset().is_none() {
            self.problems.push(format!("{}: has no Bloom filter", place()));
        }
    }

    fn schema(&mut self, contract: &Contract, file: &ManifestFile, found: &arrow_schema::Schema) {
        let expected = contract.schema();
        let same = expected.fields().len() == found.fields().len()
            && expected.fields().iter().zip(found.fields()).all(|(expected, found)| {
                expected.name() == found.name()
                    && expected.is_nullable() == found.is_nullable()
                    && same_type(expected.data_type(), found.data_type())
            });
        if !same {
            self.problems.push(format!("{} has other columns than {}", file.path, contract.id()));
        }
    }

    /// Whether the rows of a batch, and the row before them, are in order.
    fn in_order(&mut self, contract: &Contract, batch: &RecordBatch) -> bool {
        let columns: Vec<&ArrayRef> =
            contract.sort.iter().filter_map(|key| batch.column_by_name(key)).collect();
        let rows = batch.num_rows();
        if rows == 0 {
            return true;
        }
        let key = |row: usize| columns.iter().map(move |column| part(column, row));
        let first: Vec<KeyPart<'_>> = key(0).collect();
        let follows = self.last_key.as_ref().is_none_or(|last| {
            let last: Vec<KeyPart<'_>> = last.iter().map(OwnedPart::as_part).collect();
            last <= first
        });
        self.last_key = Some(key(rows - 1).map(OwnedPart::of).collect());
        follows && (1..rows).all(|row| key(row - 1).le(key(row)))
    }

    fn count(&mut self, table: Table, batch: &RecordBatch) {
        match table {
            Table::Targets => {
                let fates = batch.column_by_name("fate").and_then(|column| column.as_string_opt::<i32>());
                for fate in fates.into_iter().flatten().flatten() {
                    *self.fates.entry(fate.to_owned()).or_default() += 1;
                }
            }
            Table::Requests => {
                let costs = batch.column_by_name("cost_usd");
                let costs = costs.and_then(|column| column.as_primitive_opt::<Decimal128Type>());
                self.cost_micros += costs.into_iter().flatten().flatten().sum::<i128>();
            }
            Table::Pages => {
                let matched = batch.column_by_name("matched").and_then(|column| column.as_boolean_opt());
                self.returned += matched.map_or(0, |matched| matched.true_count() as u64);
            }
            Table::Breakdowns => {}
        }
    }
}

/// Whether two types are the same but for the names of a map's inner fields, which readers differ in.
fn same_type(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::Map(left, _), DataType::Map(right, _)) => match (left.data_type(), right.data_type()) {
            (DataType::Struct(left), DataType::Struct(right)) => {
                left.iter().zip(right.iter()).all(|(left, right)| left.data_type() == right.data_type())
            }
            _ => false,
        },
        _ => left == right,
    }
}
