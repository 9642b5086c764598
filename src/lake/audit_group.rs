//! Audits one row group: the order of its rows, and that readers who skip by its statistics and Bloom filters miss
//! nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Decimal128Type;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use super::key::{Keys, OwnedPart, changes};
use super::writer::{has_dictionary, is_looked_up};
use crate::contract::{Contract, Table};
use crate::error::{Context, Error, Result};

/// Rows that are read at once.
const BATCH_ROWS: usize = 8192;

/// What was found of a row group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The keys of its first and last row.
    pub(super) ends: Option<(Vec<OwnedPart>, Vec<OwnedPart>)>,
    pub(super) counts: Counts,
    pub(super) problems: Vec<String>,
}

/// A file's metadata, read once: as it stands there, and as it is read here.
pub(super) struct Opened {
    read: ArrowReaderMetadata,
    columns: Arc<Schema>,
}

impl Opened {
    pub(super) fn metadata(&self) -> &ParquetMetaData {
        self.read.metadata()
    }

    /// The columns of the file, by its Parquet types.
    pub(super) fn parquet_columns(&self) -> &Schema {
        &self.columns
    }
}

/// Opens a file by its metadata.
pub(super) fn open(path: &Path, contract: &Contract) -> Result<(File, Opened)> {
    let file = File::open(path).context(|| "failed to open it")?;
    let found = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
        .context(|| "failed to open it")?;
    let columns = Arc::clone(found.schema());
    // Texts that repeat are read by their numbers: few need to be compared.
    let fields = columns.fields().iter().map(|field| {
        let repeats = contract.columns.iter().any(|column| {
            column.name == *field.name()
                && has_dictionary(column)
                && contract.sort.contains(&column.name)
        });
        if repeats && *field.data_type() == DataType::Utf8 {
            let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(Field::new(field.name(), kind, field.is_nullable()))
        } else {
            Arc::clone(field)
        }
    });
    let options =
        ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
    let read = ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options);
    Ok((
        file,
        Opened {
            read: read.context(|| "failed to open it")?,
            columns,
        },
    ))
}

/// Audits a row group of a file whose columns are those of the contract.
pub(super) fn audit_group(
    table: Table,
    contract: &Contract,
    path: &Path,
    opened: &Opened,
    number: usize,
) -> Result<Group> {
    let file = File::open(path).context(|| "failed to open it")?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, opened.read.clone());
    let mut found = Group::default();
    let mut looked_up = BTreeMap::new();
    let group = builder.metadata().row_group(number);
    for column in group.columns() {
        let name = column.column_path().string();
        if !is_looked_up(&name) && !contract.sort.contains(&name) {
            continue;
        }
        let Some(statistics) = column.statistics() else {
            found
                .problems
                .push(format!("column {name} has no statistics"));
            continue;
        };
        let all_null = statistics.null_count_opt() == Some(column.num_values() as u64);
        let is_whole = statistics.min_is_exact() && statistics.max_is_exact();
        if !(all_null || is_whole) {
            found
                .problems
                .push(format!("the statistics of column {name} are cut short"));
        }
        let filter = if is_looked_up(&name) {
            let at = group
                .columns()
                .iter()
                .position(|other| std::ptr::eq(other, column))
                .unwrap_or_default();
            let filter = builder.get_row_group_column_bloom_filter(number, at);
            let filter =
                filter.context(|| format!("failed to read the Bloom filter of column {name}"))?;
            if filter.is_none() && !all_null {
                found
                    .problems
                    .push(format!("column {name} has no Bloom filter"));
            }
            filter
        } else {
            None
        };
        looked_up.insert(name, Bounds::of(statistics, filter));
    }
    let wanted = |name: &str| {
        contract.sort.iter().any(|key| key == name)
            || is_looked_up(name)
            || matches!(name, "fate" | "cost_usd" | "matched")
    };
    let roots = contract
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| wanted(&column.name))
        .map(|(at, _)| at);
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let rows = builder
        .with_row_groups(vec![number])
        .with_batch_size(BATCH_ROWS)
        .with_projection(mask);
    let mut sorted = true;
    for batch in rows.build().context(|| "failed to open it")? {
        let batch = batch.context(|| "failed to decode it")?;
        sorted &= found.in_order(contract, &batch)?;
        found.counts.add_rows(table, &batch);
        for (name, bounds) in &mut looked_up {
            if let Some(column) = batch.column_by_name(name) {
                bounds.see(column);
            }
        }
    }
    if !sorted {
        found
            .problems
            .push(format!("is not sorted by {}", contract.sort.join(", ")));
    }
    for (name, bounds) in looked_up {
        found.problems.extend(
            bounds
                .complaint()
                .map(|complaint| format!("column {name}: {complaint}")),
        );
    }
    Ok(found)
}

impl Group {
    /// Whether the rows of a batch, and the row before them, are in order.
    fn in_order(&mut self, contract: &Contract, batch: &RecordBatch) -> Result<bool> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(true);
        }
        let keys = Keys::of(batch, &contract.sort)
            .ok_or_else(|| Error::unexpected("its sort columns are of other types"))?;
        let (first, last) = (keys.owned(0), keys.owned(rows - 1));
        let follows = self
            .ends
            .as_ref()
            .is_none_or(|(_, end)| super::key::compare_owned(end, &first).is_le());
        let start = self.ends.take().map_or(first, |(start, _)| start);
        self.ends = Some((start, last));
        Ok(follows && keys.ascend())
    }
}

/// What a column's statistics and Bloom filter say, and what stands there.
struct Bounds {
    told: Option<(String, String)>,
    found: Option<(String, String)>,
    filter: Option<Sbbf>,
    not_in_filter: Option<String>,
}

impl Bounds {
    fn of(statistics: &Statistics, filter: Option<Sbbf>) -> Self {
        let told = match statistics {
            Statistics::ByteArray(bounds) => {
                bounds
                    .min_opt()
                    .zip(bounds.max_opt())
                    .and_then(|(min, max)| {
                        Some((
                            min.as_utf8().ok()?.to_owned(),
                            max.as_utf8().ok()?.to_owned(),
                        ))
                    })
            }
            _ => None,
        };
        Self {
            told,
            found: None,
            filter,
            not_in_filter: None,
        }
    }

    fn see(&mut self, column: &ArrayRef) {
        let mut found: Option<(&str, &str)> = None;
        changes(column, |text| {
            found = match found {
                None => Some((text, text)),
                Some((min, max)) => Some((min.min(text), max.max(text))),
            };
            if self.not_in_filter.is_none()
                && self
                    .filter
                    .as_ref()
                    .is_some_and(|filter| !filter.check(&text))
            {
                self.not_in_filter = Some(text.to_owned());
            }
        });
        if let Some((min, max)) = found {
            self.found = Some(match self.found.take() {
                None => (min.to_owned(), max.to_owned()),
                Some((least, most)) => (least.min(min.to_owned()), most.max(max.to_owned())),
            });
        }
    }

    fn complaint(self) -> Option<String> {
        if let Some(text) = self.not_in_filter {
            return Some(format!(
                "its Bloom filter does not find `{text}`, which is there"
            ));
        }
        let (min, max) = self.found?;
        match self.told {
            Some((told_min, told_max)) if told_min == min && told_max == max => None,
            _ => Some(format!(
                "its statistics do not say that it spans `{min}` to `{max}`"
            )),
        }
    }
}

/// What rows add up to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) fates: BTreeMap<String, u64>,
    pub(super) cost_micros: i128,
    pub(super) matched: u64,
}

impl Counts {
    /// Adds rows of a table.
    pub(super) fn add_rows(&mut self, table: Table, batch: &RecordBatch) {
        match table {
            Table::Targets => {
                let fates = batch
                    .column_by_name("fate")
                    .and_then(|column| column.as_string_opt::<i32>());
                for fate in fates.into_iter().flatten().flatten() {
                    if let Some(count) = self.fates.get_mut(fate) {
                        *count += 1;
                    } else {
                        self.fates.insert(fate.to_owned(), 1);
                    }
                }
            }
            Table::Requests => {
                let costs = batch.column_by_name("cost_usd");
                let costs = costs.and_then(|column| column.as_primitive_opt::<Decimal128Type>());
                self.cost_micros += costs.into_iter().flatten().flatten().sum::<i128>();
            }
            Table::Pages => {
                let matched = batch
                    .column_by_name("matched")
                    .and_then(|column| column.as_boolean_opt());
                self.matched += matched.map_or(0, |matched| matched.true_count() as u64);
            }
            Table::Breakdowns => {}
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        for (fate, count) in other.fates {
            *self.fates.entry(fate).or_default() += count;
        }
        self.cost_micros += other.cost_micros;
        self.matched += other.matched;
    }
}
