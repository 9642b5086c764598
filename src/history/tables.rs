//! The tables as polars reads them.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use polars::prelude::{
    DataFrame, DataType, Engine, HiveOptions, IntoColumn as _, LazyFrame, NULL,
    NewChunkedArray as _, PlRefPath, PlanCallback, PolarsResult, ScanArgsParquet, StringChunked,
    UnionArgs, col, concat, lit, when,
};

use super::local_files::LocalFiles;
use crate::error::{Context, Error, Result};

/// What a query that fails has failed to do.
pub(super) const FAILED: &str = "failed to compare the snapshots";

/// A table, read when a query runs: one file after the other, so that however many cores there are, no more is read
/// ahead than one file.
pub(super) fn scan(files: &LocalFiles, root_domain: Option<&str>) -> Result<LazyFrame> {
    let failed = || "failed to open the snapshot's files";
    let args = ScanArgsParquet {
        glob: false,
        cache: false,
        hive_options: HiveOptions::new_disabled(),
        ..ScanArgsParquet::default()
    };
    let scan = |path: &PathBuf| {
        let rows = LazyFrame::scan_parquet(PlRefPath::try_from_path(path)?, args.clone())?;
        Ok(match root_domain {
            // The statistics of row groups spare reading those of other domains.
            Some(domain) => rows.filter(col("root_domain").eq(lit(domain))),
            None => rows,
        })
    };
    let scans = files
        .paths()
        .iter()
        .map(scan)
        .collect::<PolarsResult<Vec<_>>>()
        .context(failed)?;
    concat(
        scans,
        UnionArgs {
            parallel: false,
            ..UnionArgs::default()
        },
    )
    .context(failed)
}

/// Runs a query whose result is small, and which never holds all rows to come by it.
pub(super) fn run(query: LazyFrame) -> Result<DataFrame> {
    let ran = in_file_order(query)
        .collect_with_engine(Engine::Streaming)
        .context(|| FAILED)?;
    Ok(ran.unwrap_single())
}

/// Runs a query and hands over its rows as they arise.
pub(super) fn batches(
    query: LazyFrame,
    mut see: impl FnMut(DataFrame) -> Result<()>,
) -> Result<()> {
    let (send, receive) = sync_channel(1);
    // That nobody listens any more ends the query.
    let hand_over = PlanCallback::new(move |rows: DataFrame| Ok(send.send(rows).is_err()));
    let query = in_file_order(query)
        .sink_batches(hand_over, true, None)
        .context(|| FAILED)?;
    std::thread::scope(|scope| {
        let query = scope.spawn(move || query.collect_with_engine(Engine::Streaming).map(drop));
        let seen = receive
            .into_iter()
            .filter(|rows| rows.height() > 0)
            .try_for_each(&mut see);
        let ended = query.join().map_err(|_| Error::unexpected(FAILED))?;
        seen.and(ended.context(|| FAILED))
    })
}

/// The same query, reading one file after the other also where their order does not matter: polars would else read all
/// of them at once.
fn in_file_order(query: LazyFrame) -> LazyFrame {
    query.with_check_order(false)
}

/// How a number changed: `change`, and `relative_change` to what was before.
pub(super) fn with_change(rows: LazyFrame) -> LazyFrame {
    let change = (col("after") - col("before")).alias("change");
    let relative = col("change").cast(DataType::Float64) / col("before").cast(DataType::Float64);
    let relative = when(col("before").neq(lit(0)))
        .then(relative)
        .otherwise(lit(NULL));
    rows.with_column(change)
        .with_column(relative.cast(DataType::Float64).alias("relative_change"))
}

/// Does what blocks on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context(|| FAILED)?
}

/// The same rows in one piece, and with no text but theirs: polars lets a few rows share the texts of all that they
/// were picked from, which then stay in memory, too.
pub(super) fn compact(rows: &DataFrame) -> Result<DataFrame> {
    let mut columns = Vec::with_capacity(rows.width());
    for column in rows.columns() {
        columns.push(match column.str() {
            Ok(texts) => {
                StringChunked::from_iter_options(column.name().clone(), texts.iter()).into_column()
            }
            Err(_) => column.rechunk(),
        });
    }
    DataFrame::new(rows.height(), columns).context(|| FAILED)
}

pub(super) fn texts(rows: &DataFrame, name: &str) -> Result<Vec<Option<String>>> {
    let column = rows
        .column(name)
        .and_then(|column| column.str())
        .context(unread)?;
    Ok(column.iter().map(|text| text.map(str::to_owned)).collect())
}

/// A column of numbers; of a list that has no such column all are none.
pub(super) fn counts(rows: &DataFrame, name: &str) -> Result<Vec<Option<i64>>> {
    let Ok(column) = rows.column(name) else {
        return Ok(vec![None; rows.height()]);
    };
    Ok(column.i64().context(unread)?.iter().collect())
}

pub(super) fn ratios(rows: &DataFrame, name: &str) -> Result<Vec<Option<f64>>> {
    let Ok(column) = rows.column(name) else {
        return Ok(vec![None; rows.height()]);
    };
    Ok(column.f64().context(unread)?.iter().collect())
}

/// The number in the only row of a table.
pub(super) fn only(rows: &DataFrame, name: &str) -> Result<i64> {
    let number = counts(rows, name)?.first().copied().flatten();
    number.ok_or_else(|| Error::unexpected(format!("the comparison has no {name}")))
}

fn unread() -> &'static str {
    "failed to read what the comparison has found"
}
