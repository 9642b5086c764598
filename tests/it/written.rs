//! Writes snapshots for tests without a run: any rows, in row groups and files of any size.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema};
use backlake::contract::Table;
use backlake::fate::Fate;
use backlake::flatten::Irregularities;
use backlake::lake::Manifest;
use chrono::NaiveDate;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

/// A row of `pages`; all other columns are null.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) root_domain: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) backlinks: Option<i64>,
    pub(crate) matched: bool,
}

/// A row of `breakdowns`.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    pub(crate) root_domain: Option<String>,
    pub(crate) target: String,
    pub(crate) dimension: String,
    pub(crate) key: String,
    pub(crate) links: Option<i64>,
}

/// A target without a page.
#[derive(Debug, Clone)]
pub(crate) struct Pageless {
    pub(crate) root_domain: Option<String>,
    pub(crate) target: String,
    pub(crate) fate: Fate,
}

/// The rows of a snapshot. `targets` has a line for each matched page and each target without a
/// page, and some duplicate and invalid lines.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rows<'a> {
    pub(crate) pages: &'a [Page],
    pub(crate) pageless: &'a [Pageless],
    pub(crate) links: &'a [Links],
    /// An additional integer column of `pages` that the contract does not have.
    pub(crate) more: Option<&'a str>,
}

/// Writes a snapshot; `cut` is the number of rows per row group and of row groups per file.
pub(crate) fn write_snapshot(lake: &Path, date: NaiveDate, rows: &Rows<'_>, cut: (usize, usize)) {
    let mut pages = rows.pages.to_vec();
    pages.sort_by(|left, right| {
        (&left.root_domain, &left.target).cmp(&(&right.root_domain, &right.target))
    });
    let mut links = rows.links.to_vec();
    links.sort_by(|left, right| {
        let key = |row: &Links| {
            (
                row.root_domain.clone(),
                row.target.clone(),
                row.dimension.clone(),
            )
        };
        key(left).cmp(&key(right))
    });
    let tables = json!({
        "pages": write(lake, date, Table::Pages, &pages_batch(&pages, rows.more), cut),
        "breakdowns": write(lake, date, Table::Breakdowns, &links_batch(&links), cut),
        "targets": write(lake, date, Table::Targets, &targets_batch(rows), cut),
    });
    let manifest = json!({
        "format": Manifest::FORMAT, "snapshot": date, "run": "test", "written_by": "test",
        "question": {
            "pipeline": "test", "endpoint": "backlinks/bulk_pages_summary", "asked_of": "test",
            "include_subdomains": true, "rank_scale": "one_thousand",
        },
        "started_at": "2026-11-22T02:00:00Z", "published_at": "2026-11-22T04:00:00Z",
        "tables": tables, "lines": 0, "items": 0, "unmatched": 0,
        "fates": {
            "returned": 0, "absent": 0, "duplicate": 0, "invalid": 0, "refused": 0, "failed": 0, "unsent": 0,
        },
        "requests": {
            "sent": 0, "retries": 0, "lower_bound": 0, "cost_usd": "0", "cost_unknown_usd": "0",
        },
        "irregularities": Irregularities::default(),
    });
    std::fs::create_dir_all(lake.join("_snapshots")).unwrap();
    std::fs::write(
        lake.join(format!("_snapshots/{date}.json")),
        manifest.to_string(),
    )
    .unwrap();
}

fn write(
    lake: &Path,
    date: NaiveDate,
    table: Table,
    rows: &RecordBatch,
    cut: (usize, usize),
) -> Value {
    let folder = format!("{}/snapshot_date={date}", table.name());
    std::fs::create_dir_all(lake.join(&folder)).unwrap();
    let (group, groups) = cut;
    let mut files = Vec::new();
    // A table without rows has one empty file.
    for start in (0..rows.num_rows().max(1)).step_by(group * groups) {
        let rows = rows.slice(start, (group * groups).min(rows.num_rows() - start));
        let path = format!("{folder}/test-{:05}.parquet", files.len());
        let file = std::fs::File::create(lake.join(&path)).unwrap();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(group))
            .build();
        let mut writer = ArrowWriter::try_new(&file, rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let bytes = file.metadata().unwrap().len();
        files.push(json!({ "path": path, "rows": rows.num_rows(), "bytes": bytes, "sha256": "" }));
    }
    json!({ "contract": table.contract().id(), "rows": rows.num_rows(), "files": files })
}

fn pages_batch(pages: &[Page], more: Option<&str>) -> RecordBatch {
    let schema = Table::Pages.contract().schema();
    let column = |field: &Arc<Field>| -> ArrayRef {
        match field.name().as_str() {
            "root_domain" => Arc::new(
                pages
                    .iter()
                    .map(|page| page.root_domain.clone())
                    .collect::<StringArray>(),
            ),
            "target" => Arc::new(
                pages
                    .iter()
                    .map(|page| page.target.clone())
                    .collect::<StringArray>(),
            ),
            "backlinks" => Arc::new(
                pages
                    .iter()
                    .map(|page| page.backlinks)
                    .collect::<Int64Array>(),
            ),
            "matched" => Arc::new(
                pages
                    .iter()
                    .map(|page| Some(page.matched))
                    .collect::<BooleanArray>(),
            ),
            "fetched_at" => {
                Arc::new(TimestampMicrosecondArray::from_value(0, pages.len()).with_timezone("UTC"))
            }
            _ => new_null_array(field.data_type(), pages.len()),
        }
    };
    let mut columns: Vec<ArrayRef> = schema.fields().iter().map(column).collect();
    let mut fields = schema.fields().to_vec();
    if let Some(more) = more {
        fields.push(Arc::new(Field::new(more, DataType::Int64, true)));
        columns.push(Arc::new(Int64Array::from_value(1, pages.len())));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn links_batch(links: &[Links]) -> RecordBatch {
    let text = |of: fn(&Links) -> Option<&str>| -> ArrayRef {
        Arc::new(links.iter().map(of).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        text(|row| Some(&row.target)),
        text(|row| row.root_domain.as_deref()),
        text(|row| Some(&row.dimension)),
        text(|row| Some(&row.key)),
        Arc::new(links.iter().map(|row| row.links).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(Table::Breakdowns.contract().schema(), columns).unwrap()
}

/// A line of `targets`: root domain, target and fate.
type Line<'a> = (Option<&'a str>, Option<&'a str>, Fate);

fn targets_batch(rows: &Rows<'_>) -> RecordBatch {
    let returned = rows
        .pages
        .iter()
        .filter(|page| page.matched && page.target.is_some())
        .map(|page| {
            let (domain, target) = (page.root_domain.as_deref(), page.target.as_deref());
            (domain, target, Fate::Returned)
        });
    let pageless = rows.pageless.iter().map(|row| {
        let (domain, target) = (row.root_domain.as_deref(), Some(row.target.as_str()));
        (domain, target, row.fate)
    });
    let mut lines: Vec<Line<'_>> = returned.chain(pageless).collect();
    let duplicates = lines.iter().step_by(5);
    let duplicates: Vec<_> = duplicates
        .map(|&(domain, target, _)| (domain, target, Fate::Duplicate))
        .collect();
    lines.extend(duplicates);
    lines.extend([(None, None, Fate::Invalid); 2]);
    // A duplicate can come before or after the line that it repeats.
    lines.sort_by_key(|&(domain, target, fate)| (domain, target, fate != Fate::Duplicate));
    let schema = Table::Targets.contract().schema();
    let text = |of: fn(&Line<'_>) -> Option<&'static str>| -> ArrayRef {
        Arc::new(lines.iter().map(of).collect::<StringArray>())
    };
    let column = |field: &Arc<Field>| -> ArrayRef {
        match field.name().as_str() {
            "root_domain" => Arc::new(lines.iter().map(|line| line.0).collect::<StringArray>()),
            "target" => Arc::new(lines.iter().map(|line| line.1).collect::<StringArray>()),
            "fate" => text(|line| Some(line.2.name())),
            "source" | "input" => text(|_| Some("")),
            "line" => Arc::new((1..=lines.len() as i64).collect::<Int64Array>()),
            _ => new_null_array(field.data_type(), lines.len()),
        }
    };
    RecordBatch::try_new(
        Arc::clone(&schema),
        schema.fields().iter().map(column).collect(),
    )
    .unwrap()
}
