//! Makes the logs name what the manifests name, by one commit a table; and says where they do not.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use deltalake::kernel::{Add, Remove, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use serde::Deserialize;

use super::super::manifest::{Manifest, ManifestFile};
use super::log::Log;
use super::schema::{PARTITION, new_metadata, widened};
use crate::contract::{Contract, Table};
use crate::error::{Error, Result};
use crate::lake::delta::log::Change;
use crate::lake::delta::stats;
use crate::store::{Layout, Store};

/// Commits that are tried before others, which were quicker each time, are too many.
const ATTEMPTS: usize = 20;
/// Footers that are read at once.
const FOOTERS_AT_ONCE: usize = 8;

/// How the lake's tables are told to readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFormat {
    /// Folders of Parquet files, a partition a snapshot.
    #[default]
    Parquet,
    /// The same, and a Delta log of them.
    Delta,
}

/// Makes the Delta log of every table name exactly the files of these snapshots, by one commit a snapshot and table,
/// and none where it does already; returns the number of commits. Files are neither written nor moved, and a log is
/// read once for all snapshots: with the manifests of the whole lake this brings a lake without logs up to date.
/// `contract_of` is what the tables are to have at least; a log that has more columns keeps them.
///
/// # Errors
/// A lake that fails, files that are not as the manifest says, a log that is not the table's, or others who commit all
/// the time. Repeated, it goes on where it stopped.
pub(in crate::lake) async fn commit<'a>(
    store: &Store,
    manifests: &[Manifest],
    contract_of: impl Fn(Table) -> &'a Contract,
) -> Result<usize> {
    let mut commits = 0;
    for table in Table::ALL {
        let contract = contract_of(table);
        let mut log = Log::open(store, table).await?;
        for manifest in manifests {
            let Some(entry) = manifest.tables.get(table.name()) else {
                continue;
            };
            let mut publication = Publication {
                contract,
                manifest,
                files: BTreeMap::new(),
            };
            for file in &entry.files {
                publication.files.insert(within(table, &file.path)?, file);
            }
            commits += usize::from(attempt(&mut log, &Goal::Published(publication)).await?);
        }
        log.sync().await?;
    }
    Ok(commits)
}

/// Whether any table has a log.
///
/// # Errors
/// A lake that fails.
pub(in crate::lake) async fn exists(store: &Store) -> Result<bool> {
    for table in Table::ALL {
        if !store.list_here(&Layout::delta_log(table)).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Those of these snapshots of which the log of some table knows nothing, in their order: all of them where a lake has
/// no logs yet.
///
/// # Errors
/// A lake that fails, or a log that cannot be read.
pub(in crate::lake) async fn missing(
    store: &Store,
    snapshots: &[NaiveDate],
) -> Result<Vec<NaiveDate>> {
    let mut missing: BTreeSet<NaiveDate> = BTreeSet::new();
    for table in Table::ALL {
        let log = Log::open(store, table).await?;
        missing.extend(
            snapshots
                .iter()
                .filter(|date| log.partition(&date.to_string()).next().is_none()),
        );
    }
    Ok(snapshots
        .iter()
        .filter(|date| missing.contains(date))
        .copied()
        .collect())
}

/// Takes snapshots out of the logs, by one commit a table, and none where it names none of their files; returns the
/// number of commits. `at` is the time from which a reader's VACUUM counts.
///
/// # Errors
/// As [`commit`].
pub(crate) async fn remove(
    store: &Store,
    snapshots: &[NaiveDate],
    at: DateTime<Utc>,
) -> Result<usize> {
    let mut commits = 0;
    for table in Table::ALL {
        let mut log = Log::open(store, table).await?;
        commits += usize::from(attempt(&mut log, &Goal::Removed(snapshots, at)).await?);
        log.sync().await?;
    }
    Ok(commits)
}

/// What in the logs differs from the manifests, in words; nothing where no table has a log.
///
/// # Errors
/// A lake that fails, or a log that cannot be read.
pub(in crate::lake) async fn differences(
    store: &Store,
    manifests: &[Manifest],
) -> Result<Vec<String>> {
    let (mut found, mut without, mut any) = (Vec::new(), Vec::new(), false);
    for table in Table::ALL {
        let log = Log::open(store, table).await?;
        let named = manifests.iter().flat_map(|manifest| {
            let files = manifest
                .tables
                .get(table.name())
                .into_iter()
                .flat_map(|entry| &entry.files);
            files.map(|file| (file.path.as_str(), file))
        });
        let mut named: BTreeMap<&str, &ManifestFile> = named.collect();
        if log.metadata().is_none() {
            if !named.is_empty() {
                without.push(format!(
                    "{} has no Delta log, other tables have",
                    table.name()
                ));
            }
            continue;
        }
        any = true;
        for (partition, files) in log.partitions() {
            for (path, active) in files {
                let path = format!("{}/{path}", Layout::table(table));
                let Some(file) = named.remove(path.as_str()) else {
                    found.push(format!(
                        "the Delta log names {path}, which no manifest does"
                    ));
                    continue;
                };
                let at_home =
                    partition.is_some_and(|date| path.contains(&format!("/{PARTITION}={date}/")));
                let as_told = file.bytes == active.bytes as u64
                    && active.rows.is_none_or(|rows| rows as u64 == file.rows)
                    && active.is_whole();
                if !(at_home && as_told) {
                    found.push(format!(
                        "the Delta log has {path} otherwise than the manifest"
                    ));
                }
            }
        }
        found.extend(
            named
                .into_keys()
                .map(|path| format!("the Delta log does not name {path}")),
        );
    }
    if any {
        found.append(&mut without);
    }
    Ok(found)
}

/// What a log is to say.
enum Goal<'a> {
    Published(Publication<'a>),
    Removed(&'a [NaiveDate], DateTime<Utc>),
}

/// One table of a snapshot that is to be in its log.
struct Publication<'a> {
    contract: &'a Contract,
    manifest: &'a Manifest,
    /// By path relative to the table.
    files: BTreeMap<String, &'a ManifestFile>,
}

/// Reads, compares and commits, again and again until none was quicker; false if there is nothing to commit.
async fn attempt(log: &mut Log, goal: &Goal<'_>) -> Result<bool> {
    for _ in 0..ATTEMPTS {
        let change = match goal {
            Goal::Published(publication) => publication.change(log).await?,
            Goal::Removed(snapshots, at) => removal(log, snapshots, *at),
        };
        let Some(change) = change else {
            return Ok(false);
        };
        if log.put(change).await? {
            return Ok(true);
        }
        log.reload().await?;
    }
    let table = log.table.name();
    let message =
        format!("others have committed to the Delta table {table} {ATTEMPTS} times meanwhile");
    Err(Error::unexpected(message).with_hint(format!(
        "nothing is lost, and what is committed is not committed again; run the same command again when whoever writes to {table} is done"
    )))
}

impl Publication<'_> {
    /// What is to be committed for the log to name exactly this; nothing if it does.
    async fn change(&self, log: &Log) -> Result<Option<Change>> {
        let Self {
            contract,
            manifest,
            files,
        } = self;
        let date = manifest.snapshot.to_string();
        let at = manifest.published_at;
        let (mut removes, mut stand): (Vec<Remove>, BTreeSet<&str>) = (Vec::new(), BTreeSet::new());
        for (path, active) in log.partition(&date) {
            match files.get(path) {
                Some(file) if file.bytes == active.bytes as u64 && active.is_whole() => {
                    stand.insert(path);
                }
                // The same path is added anew, which replaces what the log says of it.
                Some(_) if active.is_whole() => {}
                _ => removes.push(Log::remove(&date, path, active, at)),
            }
        }
        let application = format!("backlake/{}/{date}", manifest.question.pipeline);
        let generation = i64::from(manifest.generation);
        if removes.is_empty() && stand.len() == files.len() {
            // Files come with a transaction of generation 1 or later; only a later one must be looked for.
            if generation <= 1
                || log
                    .transaction(&application)
                    .await?
                    .is_some_and(|last| last >= generation)
            {
                return Ok(None);
            }
        }
        let mut new = Vec::new();
        for (path, file) in files {
            if !stand.contains(path.as_str()) {
                new.push(self.add(log, path, file, &date));
            }
        }
        let adds = futures::stream::iter(new)
            .buffered(FOOTERS_AT_ONCE)
            .try_collect()
            .await?;
        let metadata = match log.metadata() {
            None => Some(new_metadata(contract, &manifest.run, at)?),
            Some(metadata) => widened(metadata, contract)?,
        };
        let (mode, predicate) = if removes.is_empty() {
            (SaveMode::Append, None)
        } else {
            (SaveMode::Overwrite, Some(format!("{PARTITION} = '{date}'")))
        };
        Ok(Some(Change {
            operation: DeltaOperation::Write {
                mode,
                partition_by: Some(vec![PARTITION.to_owned()]),
                predicate,
            },
            at,
            note: format!(
                "snapshot {date}, generation {generation}, run {}",
                manifest.run
            ),
            metadata,
            transaction: Some(Transaction::new_with_last_update(
                application,
                generation,
                Some(at.timestamp_millis()),
            )),
            removes,
            adds,
        }))
    }

    async fn add(&self, log: &Log, path: &str, file: &ManifestFile, date: &str) -> Result<Add> {
        let (rows, stats) = stats::read(
            log.store(),
            &Path::from(file.path.as_str()),
            file.bytes,
            self.contract,
        )
        .await?;
        if rows as u64 != file.rows {
            let message = format!(
                "{} has {rows} rows, the manifest says {}",
                file.path, file.rows
            );
            return Err(Error::unexpected(message).with_hint(
                "nothing was committed for it; `backlake verify` says what else is wrong with the snapshot",
            ));
        }
        Ok(Add {
            path: path.to_owned(),
            partition_values: [(PARTITION.to_owned(), Some(date.to_owned()))].into(),
            size: file.bytes as i64,
            modification_time: self.manifest.published_at.timestamp_millis(),
            data_change: true,
            stats: Some(stats),
            ..Add::default()
        })
    }
}

fn removal(log: &Log, snapshots: &[NaiveDate], at: DateTime<Utc>) -> Option<Change> {
    let mut removes = Vec::new();
    let mut dates = Vec::new();
    for date in snapshots.iter().map(NaiveDate::to_string) {
        let before = removes.len();
        removes.extend(
            log.partition(&date)
                .map(|(path, active)| Log::remove(&date, path, active, at)),
        );
        if removes.len() > before {
            dates.push(format!("'{date}'"));
        }
    }
    if removes.is_empty() {
        return None;
    }
    let predicate = format!("{PARTITION} IN ({})", dates.join(", "));
    Some(Change {
        operation: DeltaOperation::Delete {
            predicate: Some(predicate),
        },
        at,
        note: format!("{} snapshots taken out", dates.len()),
        metadata: None,
        transaction: None,
        removes,
        adds: Vec::new(),
    })
}

/// A file's path relative to its table, from one relative to the lake.
fn within(table: Table, path: &str) -> Result<String> {
    let relative = path
        .strip_prefix(table.name())
        .and_then(|rest| rest.strip_prefix('/'));
    relative.map(str::to_owned).ok_or_else(|| {
        Error::unexpected(format!(
            "the manifest names {path}, which is no file of {}",
            table.name()
        ))
    })
}
