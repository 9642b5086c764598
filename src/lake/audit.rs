//! Reads a published snapshot again and holds it to its manifest: hashes, counts, schemas, fates, order.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{Array as _, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use chrono::NaiveDate;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest as _, Sha256};

use super::layout::Layout;
use super::manifest::{Manifest, ManifestFile, snapshots};
use super::store::Store;
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
    let mut found = Findings { problems: manifest.imbalances(), ..Findings::default() };
    if manifest.snapshot != snapshot {
        found.problems.push(format!("the manifest of {snapshot} is that of {}", manifest.snapshot));
    }
    let layout = Layout { snapshot };
    for table in Table::ALL {
        let Some(entry) = manifest.tables.get(table.name()) else {
            found.problems.push(format!("the manifest names no table {}", table.name()));
            continue;
        };
        found.last_key = None;
        for file in &entry.files {
            found.file(store, table, file).await?;
        }
        for object in store.list(&layout.partition(table)).await? {
            let path = object.location.to_string();
            if !entry.files.iter().any(|file| file.path == path) {
                found.problems.push(format!("{path} is named by no manifest"));
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
    Ok(Some(Audit { snapshot, files, rows, bytes, problems }))
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
    last_key: Option<Vec<KeyPart>>,
}

/// A value of a sort column; null comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum KeyPart {
    Null,
    Count(i64),
    Text(String),
}

impl Findings {
    async fn file(&mut self, store: &Store, table: Table, file: &ManifestFile) -> Result<()> {
        let Some(bytes) = store.get(&Path::from(file.path.as_str())).await? else {
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
        let columns: Vec<_> = contract.sort.iter().filter_map(|key| batch.column_by_name(key)).collect();
        let mut sorted = true;
        for row in 0..batch.num_rows() {
            let key: Vec<KeyPart> = columns
                .iter()
                .map(|column| match column.as_string_opt::<i32>() {
                    _ if column.is_null(row) => KeyPart::Null,
                    Some(texts) => KeyPart::Text(texts.value(row).to_owned()),
                    None => KeyPart::Count(column.as_primitive::<Int64Type>().value(row)),
                })
                .collect();
            sorted &= self.last_key.as_ref().is_none_or(|last| *last <= key);
            self.last_key = Some(key);
        }
        sorted
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
