//! Reads the tables of the lake with polars, in bounded memory.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use polars::prelude::{
    DataFrame, DataType, Engine, HiveOptions, IntoColumn as _, LazyFrame, NULL,
    NewChunkedArray as _, PlRefPath, PlanCallback, PolarsResult, ScanArgsParquet, StringChunked,
    UnionArgs, col, concat, lit, when,
};

use super::local_files::LocalFiles;
use crate::error::{Context, Error, Result};

/// The message of a query that fails.
pub(super) const FAILED: &str = "failed to compare the snapshots";

/// A table that is read when a query runs. It reads one file after another, so that it reads at
/// most one file ahead on any number of cores.
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
            // Statistics let the reader skip the row groups of other domains.
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

/// Runs a query with a small result, without all rows in memory.
pub(super) fn run(query: LazyFrame) -> Result<DataFrame> {
    let ran = in_file_order(query)
        .collect_with_engine(Engine::Streaming)
        .context(|| FAILED)?;
    Ok(ran.unwrap_single())
}

/// Runs a query, and calls `see` with batches of rows as they are computed.
pub(super) fn batches(
    query: LazyFrame,
    mut see: impl FnMut(DataFrame) -> Result<()>,
) -> Result<()> {
    let (send, receive) = sync_channel(1);
    // If the receiver has stopped, the query stops, too.
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

/// Makes a query read one file after another even if the order does not matter. polars would
/// otherwise read all files at the same time.
fn in_file_order(query: LazyFrame) -> LazyFrame {
    query.with_check_order(false)
}

/// Adds the columns `change` and `relative_change` to rows with `before` and `after`.
pub(super) fn with_change(rows: LazyFrame) -> LazyFrame {
    let change = (col("after") - col("before")).alias("change");
    let relative = col("change").cast(DataType::Float64) / col("before").cast(DataType::Float64);
    let relative = when(col("before").neq(lit(0)))
        .then(relative)
        .otherwise(lit(NULL));
    rows.with_column(change)
        .with_column(relative.cast(DataType::Float64).alias("relative_change"))
}

/// Does blocking work on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context(|| FAILED)?
}

/// Copies rows into one chunk with only their own texts. In polars, a few rows keep the texts of
/// the whole batch that they were picked from in memory.
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

/// A column of texts.
pub(super) fn texts(rows: &DataFrame, name: &str) -> Result<Vec<Option<String>>> {
    let column = rows
        .column(name)
        .and_then(|column| column.str())
        .context(unread)?;
    Ok(column.iter().map(|text| text.map(str::to_owned)).collect())
}

/// A column of integers. If the list does not have the column, all values are `None`.
pub(super) fn counts(rows: &DataFrame, name: &str) -> Result<Vec<Option<i64>>> {
    let Ok(column) = rows.column(name) else {
        return Ok(vec![None; rows.height()]);
    };
    Ok(column.i64().context(unread)?.iter().collect())
}

/// A column of floats. If the list does not have the column, all values are `None`.
pub(super) fn ratios(rows: &DataFrame, name: &str) -> Result<Vec<Option<f64>>> {
    let Ok(column) = rows.column(name) else {
        return Ok(vec![None; rows.height()]);
    };
    Ok(column.f64().context(unread)?.iter().collect())
}

/// The integer in the only row of a table.
pub(super) fn only(rows: &DataFrame, name: &str) -> Result<i64> {
    let number = counts(rows, name)?.first().copied().flatten();
    number.ok_or_else(|| Error::unexpected(format!("the comparison has no column {name}")))
}

fn unread() -> &'static str {
    "failed to read the result of the comparison"
}
