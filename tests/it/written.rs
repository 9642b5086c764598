//! Writes snapshots for tests without a run: any rows, in row groups and files of any size.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema};
use backlake::contract::Table;
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
    pub(crate) dimension: String,
    pub(crate) key: String,
    pub(crate) links: Option<i64>,
}

/// Writes a snapshot; `cut` is the number of rows per row group and of row groups per file.
pub(crate) fn write_snapshot(
    lake: &Path,
    date: NaiveDate,
    pages: &[Page],
    links: &[Links],
    cut: (usize, usize),
) {
    write_snapshot_with(lake, date, pages, links, cut, None);
}

/// The same, with an additional integer column that the contract does not have.
pub(crate) fn write_snapshot_with(
    lake: &Path,
    date: NaiveDate,
    pages: &[Page],
    links: &[Links],
    cut: (usize, usize),
    more: Option<&str>,
) {
    let mut pages = pages.to_vec();
    pages.sort_by(|left, right| {
        (&left.root_domain, &left.target).cmp(&(&right.root_domain, &right.target))
    });
    let mut links = links.to_vec();
    links.sort_by(|left, right| left.dimension.cmp(&right.dimension));
    let tables = json!({
        "pages": write(lake, date, Table::Pages, &pages_batch(&pages, more), cut),
        "breakdowns": write(lake, date, Table::Breakdowns, &links_batch(&links), cut),
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
    let text = |of: fn(&Links) -> &str| -> ArrayRef {
        Arc::new(
            links
                .iter()
                .map(|row| Some(of(row)))
                .collect::<StringArray>(),
        )
    };
    let columns: Vec<ArrayRef> = vec![
        text(|_| "https://example.com/"),
        text(|_| "example.com"),
        text(|row| &row.dimension),
        text(|row| &row.key),
        Arc::new(links.iter().map(|row| row.links).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(Table::Breakdowns.contract().schema(), columns).unwrap()
}
