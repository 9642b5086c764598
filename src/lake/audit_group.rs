//! Audits one row group: its rows are sorted, and its statistics and Bloom filters are correct, so that readers that skip
//! row groups miss nothing.

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

use super::key::{Keys, OwnedPart, changes, compare_owned};
use crate::contract::{Contract, Table, bloom_filter};
use crate::error::{Context, Error, Result};

/// Rows per batch that is read.
const BATCH_ROWS: usize = 8192;

/// The result of auditing a row group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The sort keys of its first and last row; none if it is empty.
    pub(super) ends: Option<(Vec<OwnedPart>, Vec<OwnedPart>)>,
    pub(super) counts: Counts,
    pub(super) problems: Vec<String>,
}

/// An open file: its metadata for reading, and its columns.
pub(super) struct Opened {
    read: ArrowReaderMetadata,
    columns: Arc<Schema>,
}

impl Opened {
    /// The file's Parquet metadata.
    pub(super) fn metadata(&self) -> &ParquetMetaData {
        self.read.metadata()
    }

    /// The columns that the file has, before any of them is read as a dictionary.
    pub(super) fn parquet_columns(&self) -> &Schema {
        &self.columns
    }
}

/// Opens a file and reads its metadata.
pub(super) fn open(path: &Path, contract: &Contract) -> Result<(File, Opened)> {
    let file = File::open(path).context(|| "failed to open the file")?;
    let found = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
        .context(|| "failed to open the file")?;
    let columns = Arc::clone(found.schema());
    // Repeating strings are read as dictionaries: comparing indexes is cheaper than comparing strings.
    let fields = columns.fields().iter().map(|field| {
        let repeats = contract.columns.iter().any(|column| {
            column.name == *field.name()
                && column.dictionary
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
            read: read.context(|| "failed to open the file")?,
            columns,
        },
    ))
}

/// Audits a row group of a file that has the contract's columns.
pub(super) fn audit_group(
    table: Table,
    contract: &Contract,
    path: &Path,
    opened: &Opened,
    number: usize,
) -> Result<Group> {
    let file = File::open(path).context(|| "failed to open the file")?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, opened.read.clone());
    let mut found = Group::default();
    let mut checks = found.read_statistics(contract, &builder, number)?;
    let wanted = |name: &str| {
        contract.sort.iter().any(|key| key == name)
            || bloom_filter(name).is_some()
            || table.audited_column() == Some(name)
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
    for batch in rows.build().context(|| "failed to open the file")? {
        let batch = batch.context(|| "failed to decode the row group")?;
        sorted &= found.is_sorted(contract, &batch)?;
        found.counts.add_rows(table, &batch);
        for (name, check) in &mut checks {
            if let Some(column) = batch.column_by_name(name) {
                check.add(column);
            }
        }
    }
    if !sorted {
        let key = contract.sort.join(", ");
        let problem = format!("the rows are not sorted by {key}");
        found.problems.push(problem);
    }
    for (name, check) in checks {
        let complaint = check.complaint();
        let problem = complaint.map(|complaint| format!("column {name}: {complaint}"));
        found.problems.extend(problem);
    }
    Ok(found)
}

impl Group {
    /// Reads the statistics and Bloom filters of the columns that readers skip by.
    fn read_statistics(
        &mut self,
        contract: &Contract,
        builder: &ParquetRecordBatchReaderBuilder<File>,
        number: usize,
    ) -> Result<BTreeMap<String, ColumnCheck>> {
        let mut checks = BTreeMap::new();
        let group = builder.metadata().row_group(number);
        for (at, column) in group.columns().iter().enumerate() {
            let name = column.column_path().string();
            let has_filter = bloom_filter(&name).is_some();
            if !has_filter && !contract.sort.contains(&name) {
                continue;
            }
            let Some(statistics) = column.statistics() else {
                let problem = format!("column {name} has no statistics");
                self.problems.push(problem);
                continue;
            };
            let all_null = statistics.null_count_opt() == Some(column.num_values() as u64);
            let is_whole = statistics.min_is_exact() && statistics.max_is_exact();
            if !(all_null || is_whole) {
                let problem = format!("the statistics of column {name} are truncated");
                self.problems.push(problem);
            }
            let filter = if has_filter {
                builder
                    .get_row_group_column_bloom_filter(number, at)
                    .context(|| format!("failed to read the Bloom filter of column {name}"))?
            } else {
                None
            };
            if has_filter && filter.is_none() && !all_null {
                let problem = format!("column {name} has no Bloom filter");
                self.problems.push(problem);
            }
            checks.insert(name, ColumnCheck::of(statistics, filter));
        }
        Ok(checks)
    }

    /// Whether the rows of a batch are sorted and follow the last row before them.
    fn is_sorted(&mut self, contract: &Contract, batch: &RecordBatch) -> Result<bool> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(true);
        }
        let keys = Keys::of(batch, &contract.sort)
            .ok_or_else(|| Error::unexpected("a sort column has another type"))?;
        let (first, last) = (keys.owned(0), keys.owned(rows - 1));
        let follows = self
            .ends
            .as_ref()
            .is_none_or(|(_, end)| compare_owned(end, &first).is_le());
        let start = self.ends.take().map_or(first, |(start, _)| start);
        self.ends = Some((start, last));
        Ok(follows && keys.ascend())
    }
}

/// Compares a column's statistics and Bloom filter with its values.
struct ColumnCheck {
    /// The least and greatest value according to the statistics.
    expected: Option<(String, String)>,
    /// The least and greatest value in the rows.
    found: Option<(String, String)>,
    filter: Option<Sbbf>,
    /// A value that the filter does not contain.
    not_in_filter: Option<String>,
}

impl ColumnCheck {
    fn of(statistics: &Statistics, filter: Option<Sbbf>) -> Self {
        let expected = match statistics {
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
            expected,
            found: None,
            filter,
            not_in_filter: None,
        }
    }

    fn add(&mut self, column: &ArrayRef) {
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

    /// What is wrong, if anything.
    fn complaint(self) -> Option<String> {
        if let Some(text) = self.not_in_filter {
            return Some(format!(
                "its Bloom filter does not contain the value `{text}`"
            ));
        }
        let (min, max) = self.found?;
        match self.expected {
            Some((least, greatest)) if least == min && greatest == max => None,
            _ => Some(format!(
                "its statistics do not match its values, which range from `{min}` to `{max}`"
            )),
        }
    }
}

/// The sums that the manifest also has.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Rows of targets by fate.
    pub(super) fates: BTreeMap<String, u64>,
    /// The cost of all requests in millionths of a US dollar.
    pub(super) cost_micros: i128,
    /// Rows of pages that match a requested target.
    pub(super) matched: u64,
}

impl Counts {
    /// Adds the rows of a table: its audited column.
    pub(super) fn add_rows(&mut self, table: Table, batch: &RecordBatch) {
        let column = table
            .audited_column()
            .and_then(|name| batch.column_by_name(name));
        let Some(column) = column else {
            return;
        };
        match table {
            Table::Targets => {
                let fates = column.as_string_opt::<i32>();
                for fate in fates.into_iter().flatten().flatten() {
                    if let Some(count) = self.fates.get_mut(fate) {
                        *count += 1;
                    } else {
                        self.fates.insert(fate.to_owned(), 1);
                    }
                }
            }
            Table::Requests => {
                let costs = column.as_primitive_opt::<Decimal128Type>();
                self.cost_micros += costs.into_iter().flatten().flatten().sum::<i128>();
            }
            Table::Pages => {
                let matched = column.as_boolean_opt();
                self.matched += matched.map_or(0, |matched| matched.true_count() as u64);
            }
            Table::Breakdowns => {}
        }
    }

    /// Adds the sums of other rows.
    pub(super) fn add(&mut self, other: Self) {
        for (fate, count) in other.fates {
            *self.fates.entry(fate).or_default() += count;
        }
        self.cost_micros += other.cost_micros;
        self.matched += other.matched;
    }
}
