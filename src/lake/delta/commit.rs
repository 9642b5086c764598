//! Makes the Delta logs match the manifests, by one commit per table, and finds where they differ.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use deltalake::kernel::{Add, Remove, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::future::try_join_all;
use futures::{StreamExt as _, TryStreamExt as _};

use super::super::conflicts::{self, Versioned, reach};
use super::super::manifest::{Manifest, ManifestFile};
use super::log::{Log, LogChange};
use super::schema::{PARTITION, new_metadata, widened};
use super::stats;
use crate::contract::{Contract, Table};
use crate::error::{Error, Result};
use crate::store::{Layout, Store};

/// Parquet footers that are read at the same time.
const FOOTERS_AT_ONCE: usize = 8;

/// Makes the Delta log of every table list exactly the files of these snapshots, and returns the number of commits: one
/// per snapshot and table, or none if the log matches already.
///
/// No file is written or moved. Each log is read once for all snapshots, so with the manifests of the whole lake this
/// also creates the logs of a lake without logs. `contract_of` has the columns that a table must have; a log with more
/// columns keeps them.
///
/// # Errors
/// A lake that fails, a file that differs from the manifest, a log that does not match the contract, or too many
/// conflicting commits. A repeated call continues where this one stopped.
pub(in crate::lake) async fn commit<'a>(
    store: &Store,
    manifests: &[Manifest],
    contract_of: impl Fn(Table) -> &'a Contract,
) -> Result<usize> {
    let mut logs = open_all(store).await?;
    let mut commits = 0;
    for manifest in manifests {
        let goal = |table: Table| {
            let Some(entry) = manifest.tables.get(table.name()) else {
                return Ok(None);
            };
            let mut snapshot = SnapshotFiles {
                contract: contract_of(table),
                manifest,
                files: BTreeMap::new(),
            };
            for file in &entry.files {
                snapshot.files.insert(within(table, &file.path)?, file);
            }
            Ok(Some(Goal::Published(snapshot)))
        };
        commits += reach(&mut logs, goal).await?;
    }
    sync(&logs).await?;
    Ok(commits)
}

/// Reads the logs that exist and checks that these contracts fit them.
///
/// # Errors
/// As [`commit`].
pub(in crate::lake) async fn check<'a>(
    store: &Store,
    contract_of: impl Fn(Table) -> &'a Contract,
) -> Result<()> {
    for log in open_all(store).await? {
        if let Some(metadata) = log.metadata() {
            widened(metadata, contract_of(log.table))?;
        }
    }
    Ok(())
}

async fn open_all(store: &Store) -> Result<Vec<Log>> {
    try_join_all(Table::ALL.map(|table| Log::open(store, table))).await
}

async fn sync(logs: &[Log]) -> Result<()> {
    for log in logs {
        log.sync().await?;
    }
    Ok(())
}

/// The snapshots that are missing in the log of at least one table, in the given order; all of them if the lake has no
/// logs.
///
/// # Errors
/// A lake that fails, or a log that cannot be read.
pub(in crate::lake) async fn missing(
    store: &Store,
    snapshots: &[NaiveDate],
) -> Result<Vec<NaiveDate>> {
    let logs = open_all(store).await?;
    let lacks = |date: &&NaiveDate| {
        let date = date.to_string();
        logs.iter().any(|log| log.partition(&date).next().is_none())
    };
    Ok(snapshots.iter().filter(lacks).copied().collect())
}

/// Removes snapshots from the logs, and returns the number of commits: one per table, or none if its log lists none of
/// their files. `at` is the deletion time, from which the retention period of VACUUM counts.
///
/// # Errors
/// As [`commit`].
pub(in crate::lake) async fn remove(
    store: &Store,
    snapshots: &[NaiveDate],
    at: DateTime<Utc>,
) -> Result<usize> {
    let mut logs = open_all(store).await?;
    let goal = |_: Table| Ok(Some(Goal::Removed(snapshots, at)));
    let commits = reach(&mut logs, goal).await?;
    sync(&logs).await?;
    Ok(commits)
}

/// The differences between the logs and the manifests, each as a sentence; empty if no table has a log.
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
        // A lake without any log is fine, but with one, every table needs a log.
        if log.metadata().is_none() {
            if !named.is_empty() {
                without.push(format!(
                    "{} has no Delta log, but other tables have one",
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
                    found.push(format!("the Delta log lists {path}, but no manifest does"));
                    continue;
                };
                let in_partition =
                    partition.is_some_and(|date| path.contains(&format!("/{PARTITION}={date}/")));
                let same_content = file.bytes == active.bytes as u64
                    && active.rows.is_none_or(|rows| rows as u64 == file.rows)
                    && active.is_whole();
                if !(in_partition && same_content) {
                    found.push(format!(
                        "the Delta log disagrees with the manifest about {path}"
                    ));
                }
            }
        }
        found.extend(
            named
                .into_keys()
                .map(|path| format!("the Delta log does not list {path}")),
        );
    }
    if any {
        found.append(&mut without);
    }
    Ok(found)
}

/// The state that a log should have.
enum Goal<'a> {
    /// It lists exactly these files of a snapshot.
    Published(SnapshotFiles<'a>),
    /// It lists no file of these snapshots, which are deleted at this time.
    Removed(&'a [NaiveDate], DateTime<Utc>),
}

/// One table of a published snapshot.
struct SnapshotFiles<'a> {
    contract: &'a Contract,
    manifest: &'a Manifest,
    /// The files by path relative to the table.
    files: BTreeMap<String, &'a ManifestFile>,
}

impl Versioned for Log {
    type Change = LogChange;

    const FORMAT: &'static str = "Delta";

    fn table(&self) -> Table {
        self.table
    }

    async fn put(&mut self, change: LogChange) -> Result<bool> {
        self.commit(change).await
    }

    async fn reload(&mut self) -> Result<()> {
        Self::reload(self).await
    }
}

impl conflicts::Goal<Log> for Goal<'_> {
    async fn change(&self, log: &Log) -> Result<Option<LogChange>> {
        match self {
            Self::Published(snapshot) => snapshot.change(log).await,
            Self::Removed(snapshots, at) => Ok(removal(log, snapshots, *at)),
        }
    }
}

impl SnapshotFiles<'_> {
    /// The change that makes the log list exactly these files; none if it does already.
    async fn change(&self, log: &Log) -> Result<Option<LogChange>> {
        let Self {
            contract,
            manifest,
            files,
        } = self;
        let date = manifest.snapshot.to_string();
        let at = manifest.published_at;
        // Compare the files in the log with the snapshot's.
        let (mut removes, mut unchanged): (Vec<Remove>, BTreeSet<&str>) = Default::default();
        for (path, active) in log.partition(&date) {
            match files.get(path) {
                Some(file) if file.bytes == active.bytes as u64 && active.is_whole() => {
                    unchanged.insert(path);
                }
                // The file was rewritten: adding its path again replaces the log's entry.
                Some(_) if active.is_whole() => {}
                _ => removes.push(Log::remove(&date, path, active, at)),
            }
        }
        // A replacement with the same files still needs its transaction.
        let application = format!("backlake/{}/{date}", manifest.question.pipeline);
        let generation = i64::from(manifest.generation);
        if removes.is_empty() && unchanged.len() == files.len() {
            // Files were committed with a transaction, so generation 1 is there; only a later one may be missing.
            if generation <= 1
                || log
                    .transaction(&application)
                    .await?
                    .is_some_and(|last| last >= generation)
            {
                return Ok(None);
            }
        }
        // Only a new file's footer is read.
        let mut new = Vec::new();
        for (path, file) in files {
            if !unchanged.contains(path.as_str()) {
                new.push(self.add(log, path, file, &date));
            }
        }
        let adds = futures::stream::iter(new)
            .buffered(FOOTERS_AT_ONCE)
            .try_collect()
            .await?;
        // A later contract may have more columns than the table.
        let metadata = match log.metadata() {
            None => Some(new_metadata(contract, &manifest.run, at)?),
            Some(metadata) => widened(metadata, contract)?,
        };
        // Readers of the history see whether the commit replaces files.
        let (mode, predicate) = if removes.is_empty() {
            (SaveMode::Append, None)
        } else {
            (SaveMode::Overwrite, Some(format!("{PARTITION} = '{date}'")))
        };
        Ok(Some(LogChange {
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

    /// The action that adds a file, with its statistics.
    async fn add(&self, log: &Log, path: &str, file: &ManifestFile, date: &str) -> Result<Add> {
        let stats = stats::read(log.store(), file, self.contract).await?;
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

/// The change that removes snapshots; none if the log lists none of their files.
fn removal(log: &Log, snapshots: &[NaiveDate], at: DateTime<Utc>) -> Option<LogChange> {
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
    Some(LogChange {
        operation: DeltaOperation::Delete {
            predicate: Some(predicate),
        },
        at,
        note: format!("{} snapshots removed", dates.len()),
        metadata: None,
        transaction: None,
        removes,
        adds: Vec::new(),
    })
}

/// A path relative to its table, made from a path relative to the lake.
fn within(table: Table, path: &str) -> Result<String> {
    let relative = path
        .strip_prefix(table.name())
        .and_then(|rest| rest.strip_prefix('/'));
    relative.map(str::to_owned).ok_or_else(|| {
        Error::unexpected(format!(
            "the manifest lists {path}, which is not a file of {}",
            table.name()
        ))
    })
}
