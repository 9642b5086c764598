//! Time and memory of comparing two snapshots: `cargo bench --bench diff [-- ROWS]`, by default with
//! 10,000,000 pages each.
//!
//! Both snapshots have the layout of a lake. A third of the pages share one root domain, and each
//! page has six rows of breakdowns. Each comparison runs in its own process, so that its peak
//! memory can be measured.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, and ends where it fails"
)]

mod peak;

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::builder::{BooleanBuilder, Int64Builder, StringBuilder};
use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use backlake::contract::{Column, ColumnType, DIMENSIONS, Table};
use backlake::history::{ListFormat, Pages, Pair, summary};
use backlake::lake::{Manifest, ManifestFile, ROW_GROUP_ROWS, TableManifest};
use backlake::store::Store;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use peak::{measure_in_a_child, peak_megabytes};

/// Rows per file, as in a lake: about 256 MiB at 65 bytes per row.
const FILE_ROWS: usize = 34 * ROW_GROUP_ROWS;
const DATES: [&str; 2] = ["2026-11-22", "2026-11-23"];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--measure") {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        return runtime.block_on(measure(&args[at + 1], &args[at + 2]));
    }
    let pages = args
        .iter()
        .skip(1)
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(10_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let start = Instant::now();
    std::thread::scope(|scope| {
        for second in [false, true] {
            let folder = folder.path();
            scope.spawn(move || write_snapshot(folder, pages, second));
        }
    });
    let lake = folder.path().display().to_string();
    println!(
        "2 snapshots of {pages} pages written in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    for what in [
        "summary",
        "movers top",
        "movers parquet",
        "movers csv",
        "new json",
        "lost csv",
        "unanswered csv",
        "breakdowns",
    ] {
        print!("{what:>16}: ");
        measure_in_a_child([&lake, what]);
    }
}

async fn measure(lake: &str, what: &str) {
    let start = Instant::now();
    let store = Store::open(lake).expect("a lake");
    let pair = Pair::choose(&store, None, None, None)
        .await
        .expect("a pair");
    let pages = pair.pages(&store, "backlinks").await.expect("pages");
    let breakdowns = pair.breakdowns(&store).await.expect("breakdowns");
    let top = NonZeroU32::new(20).expect("no zero");
    let written = tempfile::NamedTempFile::new().expect("a file");
    let out = written.reopen().expect("a file");
    let what = what.to_owned();
    let found = tokio::task::spawn_blocking(move || match what.split_once(' ') {
        Some((list, form)) => {
            write_list(&pages, list, form, top, out);
            String::new()
        }
        None if what == "breakdowns" => {
            breakdowns
                .shifts()
                .and_then(|list| list.write(None, ListFormat::Csv, out))
                .expect("shifts");
            String::new()
        }
        None => {
            let groups = summary(&pair, &pages, &breakdowns, top)
                .expect("a summary")
                .pages;
            format!(
                "{} up, {} down, {} new, {} lost, {} added, {} removed, {} unanswered",
                groups.in_both.risen,
                groups.in_both.fallen,
                groups.new.pages,
                groups.lost.pages,
                groups.added.pages,
                groups.removed.pages,
                groups.unanswered.pages
            )
        }
    });
    let found = found.await.expect("a comparison");
    let bytes = written.as_file().metadata().expect("a file").len();
    println!(
        "{:.1} s, peak {} MB, {:.0} MB written  {found}",
        start.elapsed().as_secs_f64(),
        peak_megabytes(),
        bytes as f64 / 1e6
    );
}

/// Writes a list of pages, in a format or only its largest rows.
fn write_list(pages: &Pages, list: &str, form: &str, top: NonZeroU32, out: File) {
    let list = match list {
        "movers" => pages.movers(),
        "new" => pages.new_pages(),
        "lost" => pages.lost(),
        _ => pages.unanswered(),
    };
    let (limit, form) = match form {
        "parquet" => (None, ListFormat::Parquet),
        "json" => (None, ListFormat::Json),
        "csv" => (None, ListFormat::Csv),
        _ => (Some(top), ListFormat::Csv),
    };
    list.and_then(|list| list.write(limit, form, out))
        .expect("a list");
}

/// Whether a snapshot has this page; one in fifty is missing.
fn returned(number: usize, second: bool) -> bool {
    number % 50 != if second { 13 } else { 31 }
}

/// The pages of a snapshot in sort order.
fn numbers(pages: usize, second: bool) -> impl Iterator<Item = usize> {
    (0..)
        .filter(move |number| returned(*number, second))
        .take(pages)
}

/// The lines of a snapshot in sort order. Of the pages that it does not have, a third are absent, a
/// third failed, and a third are not in its list.
fn lines(pages: usize, second: bool) -> impl Iterator<Item = usize> {
    let last = numbers(pages, second).last().unwrap_or_default();
    (0..=last).filter(move |number| returned(*number, second) || number % 3 < 2)
}

fn fate(number: usize, second: bool) -> &'static str {
    match number % 3 {
        _ if returned(number, second) => "returned",
        0 => "absent",
        _ => "failed",
    }
}

/// A third of all pages share one root domain.
fn domain(number: usize, pages: usize) -> usize {
    let giant = pages / 3..2 * pages / 3;
    if giant.contains(&number) {
        giant.start / 20
    } else {
        number / 20
    }
}

fn target(number: usize, pages: usize) -> (String, String) {
    let domain = format!("site{:08}.com", domain(number, pages));
    let target = format!("https://{domain}/articles/{number:010}-what-changed");
    (domain, target)
}

/// A number that looks random.
fn mixed(number: usize, salt: usize) -> i64 {
    let mixed = (number as u64 ^ (salt as u64) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 50) as i64
}

fn write_snapshot(lake: &Path, pages: usize, second: bool) {
    let date = DATES[usize::from(second)];
    let mut tables = BTreeMap::new();
    let batch_of = |rows: &[usize]| pages_batch(rows, pages, second);
    tables.insert(
        "pages".to_owned(),
        write_table(lake, date, Table::Pages, numbers(pages, second), batch_of),
    );
    let batch_of = |rows: &[usize]| breakdowns_batch(rows, pages, second);
    tables.insert(
        "breakdowns".to_owned(),
        write_table(
            lake,
            date,
            Table::Breakdowns,
            numbers(pages, second),
            batch_of,
        ),
    );
    let batch_of = |rows: &[usize]| targets_batch(rows, pages, second);
    tables.insert(
        "targets".to_owned(),
        write_table(lake, date, Table::Targets, lines(pages, second), batch_of),
    );
    let manifest = serde_json::json!({
        "format": Manifest::FORMAT, "snapshot": date, "run": "bench", "written_by": "bench",
        "question": {
            "pipeline": "bench", "endpoint": "backlinks/bulk_pages_summary", "asked_of": "bench",
            "include_subdomains": true, "rank_scale": "one_thousand",
        },
        "started_at": "2026-11-22T02:00:00Z", "published_at": "2026-11-22T04:00:00Z",
        "tables": tables, "lines": pages, "items": pages, "unmatched": 0,
        "fates": {
            "returned": pages, "absent": 0, "duplicate": 0, "invalid": 0, "refused": 0, "failed": 0, "unsent": 0,
        },
        "requests": {
            "sent": 0, "retries": 0, "lower_bound": 0, "cost_usd": "0", "cost_unknown_usd": "0",
        },
        "irregularities": backlake::flatten::Irregularities::default(),
    });
    std::fs::create_dir_all(lake.join("_snapshots")).expect("a folder");
    std::fs::write(
        lake.join(format!("_snapshots/{date}.json")),
        manifest.to_string(),
    )
    .expect("a manifest");
}

fn write_table(
    lake: &Path,
    date: &str,
    table: Table,
    numbers: impl Iterator<Item = usize>,
    batch_of: impl Fn(&[usize]) -> RecordBatch,
) -> TableManifest {
    let contract = table.contract();
    let folder = format!("{}/snapshot_date={}", table.name(), date);
    std::fs::create_dir_all(lake.join(&folder)).expect("a folder");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("a level")))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for column in contract.columns.iter().filter(|column| !column.dictionary) {
        properties = properties.set_column_dictionary_enabled(column.name.as_str().into(), false);
    }
    let properties = properties.build();
    let mut written = TableManifest {
        contract: contract.id(),
        ..TableManifest::default()
    };
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        let path = format!("{folder}/{date}-{:05}.parquet", written.files.len());
        let file = File::create(lake.join(&path)).expect("a file");
        let mut writer = ArrowWriter::try_new(&file, contract.schema(), Some(properties.clone()))
            .expect("a writer");
        let mut rows = 0;
        while rows < FILE_ROWS && numbers.peek().is_some() {
            let batch = batch_of(&numbers.by_ref().take(8192).collect::<Vec<_>>());
            rows += batch.num_rows();
            writer.write(&batch).expect("rows written");
        }
        writer.close().expect("a file closed");
        let bytes = file.metadata().expect("a file").len();
        written.rows += rows as u64;
        written.files.push(ManifestFile {
            path,
            rows: rows as u64,
            bytes,
            sha256: String::new(),
        });
    }
    written
}

fn pages_batch(rows: &[usize], pages: usize, second: bool) -> RecordBatch {
    let contract = Table::Pages.contract();
    let (mut domains, mut targets, mut urls) = (
        StringBuilder::new(),
        StringBuilder::new(),
        StringBuilder::new(),
    );
    for &row in rows {
        let (domain, target) = target(row, pages);
        domains.append_value(domain);
        targets.append_value(&target);
        urls.append_value(target);
    }
    let texts: BTreeMap<&str, ArrayRef> = BTreeMap::from([
        ("root_domain", Arc::new(domains.finish()) as ArrayRef),
        ("target", Arc::new(targets.finish())),
        ("url", Arc::new(urls.finish())),
    ]);
    let column = |(at, column): (usize, &Column)| -> ArrayRef {
        match column.kind {
            ColumnType::Int64 => {
                let mut values = Int64Builder::new();
                for &row in rows {
                    // A third of the values change between the snapshots, and some are null.
                    let moved = second && row % 3 == 0;
                    values.append_option(
                        (row % 997 != 0)
                            .then(|| mixed(row, at) + i64::from(moved) * mixed(row, at + 50) / 16),
                    );
                }
                Arc::new(values.finish())
            }
            ColumnType::Bool => {
                let mut values = BooleanBuilder::new();
                values.append_n(rows.len(), true);
                Arc::new(values.finish())
            }
            ColumnType::Timestamp => {
                let times =
                    TimestampMicrosecondArray::from_value(1_795_000_000_000_000, rows.len());
                Arc::new(times.with_timezone("UTC"))
            }
            _ => texts
                .get(column.name.as_str())
                .cloned()
                .unwrap_or_else(|| new_null_array(&column.kind.arrow(), rows.len())),
        }
    };
    let columns = contract.columns.iter().enumerate().map(column).collect();
    RecordBatch::try_new(contract.schema(), columns).expect("rows of the contract")
}

fn breakdowns_batch(rows: &[usize], pages: usize, second: bool) -> RecordBatch {
    let (mut targets, mut domains) = (StringBuilder::new(), StringBuilder::new());
    let (mut dimensions, mut keys) = (StringBuilder::new(), StringBuilder::new());
    let mut links = Int64Builder::new();
    for &row in rows {
        let (domain, target) = target(row, pages);
        for (at, (dimension, _)) in DIMENSIONS.iter().enumerate() {
            targets.append_value(&target);
            domains.append_value(&domain);
            dimensions.append_value(dimension);
            keys.append_value(format!("key{}", mixed(row, at + 100) % 300));
            links.append_value(mixed(row, at + 200 + usize::from(second)));
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(targets.finish()),
        Arc::new(domains.finish()),
        Arc::new(dimensions.finish()),
        Arc::new(keys.finish()),
        Arc::new(links.finish()),
    ];
    RecordBatch::try_new(Table::Breakdowns.contract().schema(), columns)
        .expect("rows of the contract")
}

fn targets_batch(rows: &[usize], pages: usize, second: bool) -> RecordBatch {
    let contract = Table::Targets.contract();
    let (mut domains, mut targets) = (StringBuilder::new(), StringBuilder::new());
    let (mut sources, mut fates) = (StringBuilder::new(), StringBuilder::new());
    let mut lines = Int64Builder::new();
    for &row in rows {
        let (domain, target) = target(row, pages);
        domains.append_value(domain);
        targets.append_value(target);
        sources.append_value("targets.csv");
        fates.append_value(fate(row, second));
        lines.append_value(row as i64);
    }
    let targets: ArrayRef = Arc::new(targets.finish());
    let columns: BTreeMap<&str, ArrayRef> = BTreeMap::from([
        ("root_domain", Arc::new(domains.finish()) as ArrayRef),
        ("target", Arc::clone(&targets)),
        ("input", targets),
        ("source", Arc::new(sources.finish())),
        ("fate", Arc::new(fates.finish())),
        ("line", Arc::new(lines.finish())),
    ]);
    let column = |column: &Column| {
        let values = columns.get(column.name.as_str()).cloned();
        values.unwrap_or_else(|| new_null_array(&column.kind.arrow(), rows.len()))
    };
    let columns = contract.columns.iter().map(column).collect();
    RecordBatch::try_new(contract.schema(), columns).expect("rows of the contract")
}
