//! Reads the tables of the lake with polars, in bounded memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use polars::prelude::{
    DataFrame, DataType, Engine, Expr, HiveOptions, IntoColumn as _, IntoLazy as _, JoinType,
    LazyFrame, MaintainOrderJoin, NULL, NewChunkedArray as _, PlRefPath, PlanCallback, PolarsError,
    PolarsResult, ScanArgsParquet, StringChunked, UnionArgs, col, concat, len, lit, when,
};
use polars_plan::plans::{HintIR, Sorted};

use super::local_files::LocalFiles;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fate::Fate;

/// The key of a page, by which the lake sorts pages and targets.
pub(super) const KEY: [&str; 2] = ["root_domain", "target"];

/// One of the two snapshots, as an index into what there is of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Before, Self::After];

    pub(super) fn other(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
        }
    }

    /// The column of the metric in this snapshot.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }

    /// The column of the fate in this snapshot.
    pub(super) fn fate(self) -> &'static str {
        match self {
            Self::Before => "fate_before",
            Self::After => "fate_after",
        }
    }
}

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

/// The targets of a list, each once: the key and `fate`.
pub(super) fn listed(files: &LocalFiles, root_domain: Option<&str>) -> Result<LazyFrame> {
    let is_not = |fate: Fate| col("fate").neq(lit(fate.name()));
    let lines = scan(files, root_domain)?;
    let targets = lines.filter(is_not(Fate::Duplicate).and(is_not(Fate::Invalid)));
    Ok(targets.select([col(KEY[0]), col(KEY[1]), col("fate")]))
}

/// The key and more columns. The hint that the key is sorted makes polars merge instead of hash.
pub(super) fn keyed(rows: LazyFrame, columns: impl IntoIterator<Item = Expr>) -> Result<LazyFrame> {
    let sorted = KEY.map(|key| Sorted {
        column: key.into(),
        descending: Some(false),
        nulls_last: Some(false),
    });
    let columns: Vec<_> = KEY.map(col).into_iter().chain(columns).collect();
    rows.select(columns)
        .hint(HintIR::Sorted(Arc::new(sorted)))
        .context(|| FAILED)
}

/// Joins two tables by the key, in the order of the key.
pub(super) fn merged(left: LazyFrame, right: LazyFrame, how: JoinType) -> LazyFrame {
    left.join_builder()
        .with(right)
        .on(KEY.map(col))
        .how(how)
        .join_nulls(true)
        .maintain_order(MaintainOrderJoin::Left)
        .finish()
}

/// The rows with these keys; all rows without keys.
pub(super) fn with_keys(rows: LazyFrame, keys: Option<&DataFrame>) -> LazyFrame {
    match keys {
        None => rows,
        Some(keys) => merged(rows, keys.clone().lazy(), JoinType::Inner),
    }
}

/// Runs a query with a small result, without all rows in memory.
pub(super) fn run(query: LazyFrame) -> Result<DataFrame> {
    let ran = in_file_order(query)
        .collect_with_engine(Engine::Streaming)
        .map_err(unreadable)?;
    Ok(ran.unwrap_single())
}

/// The number of rows. It reads no more than that needs.
pub(super) fn count(rows: LazyFrame) -> Result<i64> {
    let count = len().cast(DataType::Int64).alias("rows");
    only(&run(rows.select([count]))?, "rows")
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
        seen.and(ended.map_err(unreadable))
    })
}

/// A query over files of the right size fails because of their content, or because of the disk.
fn unreadable(error: PolarsError) -> Error {
    let kind = match error {
        PolarsError::IO { .. } => ErrorKind::Unexpected,
        _ => ErrorKind::FoundProblems,
    };
    Error::new(kind, FAILED)
        .with_hint("run `backlake verify` to find the damaged file")
        .caused_by(error)
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

/// A column of texts. If the list does not have the column, all values are `None`.
pub(super) fn texts(rows: &DataFrame, name: &str) -> Result<Vec<Option<String>>> {
    let Ok(column) = rows.column(name) else {
        return Ok(vec![None; rows.height()]);
    };
    let column = column.str().context(unread)?;
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
