//! Makes the Iceberg tables match the manifests, by one Iceberg snapshot per published snapshot and table.
//!
//! All four tables are prepared first. Then one small object per table makes the commit visible, and the four are written
//! together, so that readers see the tables change at nearly the same time.

use chrono::{DateTime, NaiveDate, Utc};
use futures::future::{join_all, try_join_all};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use tracing::warn;

use super::super::conflicts::{self, Versioned, reach};
use super::super::manifest::{Manifest, ManifestFile};
use super::avro::ManifestEntry;
use super::stats;
use super::table::{AT_ONCE, Change, IcebergTable, Prepared};
use crate::contract::{Contract, Table};
use crate::error::Result;
use crate::store::{Lock, Store};

/// Makes the Iceberg table of every table list exactly the files of these snapshots, and returns the number of commits: one
/// per snapshot and table, or none if the table matches already.
///
/// `contract_of` has the columns that a table must have; a table with more columns keeps them.
///
/// # Errors
/// A lake that fails, a file that differs from the manifest, a table that does not match the contract or that another
/// program has written, or too many conflicting commits. A repeated call continues where this one stopped.
pub(in crate::lake) async fn commit<'a>(
    store: &Store,
    lock: &Lock,
    manifests: &[Manifest],
    contract_of: impl Fn(Table) -> &'a Contract,
) -> Result<usize> {
    let mut tables = open_all(store).await?;
    let mut commits = 0;
    for manifest in manifests {
        let goal = |table| Ok(Some(Goal::Published(manifest, contract_of(table))));
        commits += reach(&mut tables, goal).await?;
    }
    finish(&tables, lock).await?;
    Ok(commits)
}

/// Removes snapshots from the tables that list them, and returns the number of commits. `at` is the time of deletion.
///
/// # Errors
/// As [`commit`].
pub(in crate::lake) async fn remove(
    store: &Store,
    lock: &Lock,
    snapshots: &[NaiveDate],
    at: DateTime<Utc>,
) -> Result<usize> {
    let mut tables = open_all(store).await?;
    let goal = |table: Table| Ok(Some(Goal::Removed(snapshots, at, table.contract())));
    let commits = reach(&mut tables, goal).await?;
    finish(&tables, lock).await?;
    Ok(commits)
}

/// The snapshots that at least one Iceberg table does not list, in the given order.
///
/// # Errors
/// A lake that fails, or a table that cannot be read.
pub(in crate::lake) async fn missing(
    store: &Store,
    snapshots: &[NaiveDate],
) -> Result<Vec<NaiveDate>> {
    let tables = open_all(store).await?;
    let lacks = |date: &&NaiveDate| tables.iter().any(|table| !table.has(**date));
    Ok(snapshots.iter().filter(lacks).copied().collect())
}

/// Reads the tables that exist and checks that these contracts fit them.
///
/// # Errors
/// As [`commit`].
pub(in crate::lake) async fn check<'a>(
    store: &Store,
    contract_of: impl Fn(Table) -> &'a Contract,
) -> Result<()> {
    for mut table in open_all(store).await? {
        if let Some(metadata) = &mut table.metadata {
            metadata.widen(contract_of(table.table))?;
        }
    }
    Ok(())
}

async fn open_all(store: &Store) -> Result<Vec<IcebergTable>> {
    try_join_all(Table::ALL.map(|table| IcebergTable::open(store, table))).await
}

/// The state that a table should have.
enum Goal<'a> {
    /// It lists exactly the files of a snapshot.
    Published(&'a Manifest, &'a Contract),
    /// It lists no file of these snapshots, which are deleted at this time.
    Removed(&'a [NaiveDate], DateTime<Utc>, &'a Contract),
}

/// Points readers to the newest versions, and deletes what no reader needs.
async fn finish(tables: &[IcebergTable], lock: &Lock) -> Result<()> {
    let hints = tables.iter().map(IcebergTable::publish_hint);
    let hints = join_all(hints.collect::<Vec<_>>()).await;
    hints.into_iter().collect::<Result<()>>()?;
    for table in tables {
        if let Err(error) = clear(table, lock).await {
            let table = table.table.name();
            warn!(%error, table, "failed to delete Iceberg metadata that is not needed (harmless)");
        }
    }
    Ok(())
}

/// Deletes what only expired snapshots need, and what failed commits have written.
async fn clear(table: &IcebergTable, lock: &Lock) -> Result<()> {
    let expired = table.expired().await?;
    lock.delete_all(expired.clone()).await?;
    // Only a commit proves that no other process can complete one that it has prepared.
    if table.has_committed {
        let left = table.left_by_failed_commits(&expired).await?.into_iter();
        let left = left.map(|object| object.location.clone());
        lock.delete_all(left.collect()).await?;
    }
    Ok(())
}

impl Versioned for IcebergTable {
    type Change = Prepared;

    const FORMAT: &'static str = "Iceberg";

    fn table(&self) -> Table {
        self.table
    }

    async fn put(&mut self, prepared: Prepared) -> Result<bool> {
        self.commit(prepared).await
    }

    async fn reload(&mut self) -> Result<()> {
        Self::reload(self).await
    }
}

impl conflicts::Goal<IcebergTable> for Goal<'_> {
    async fn change(&self, table: &IcebergTable) -> Result<Option<Prepared>> {
        let change = match self {
            Self::Published(manifest, contract) => published(table, manifest, contract).await?,
            Self::Removed(dates, at, contract) => removed(table, dates, *at, contract),
        };
        match change {
            Some(change) => table.prepare(&change).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The change that makes a table list exactly the files of a snapshot; none if it does already.
async fn published<'a>(
    table: &IcebergTable,
    manifest: &'a Manifest,
    contract: &'a Contract,
) -> Result<Option<Change<'a>>> {
    let Some(entry) = manifest.tables.get(table.table.name()) else {
        return Ok(None);
    };
    let date = manifest.snapshot;
    let listed = table.entries_of(date).await?;
    let uri = |file: &ManifestFile| table.uri(&Path::from(file.path.as_str()));
    let is_listed = |file: &ManifestFile| {
        let uri = uri(file);
        listed.iter().any(|entry| is(entry, &uri, file))
    };
    if listed.len() == entry.files.len() && entry.files.iter().all(is_listed) {
        return Ok(None);
    }
    let described = entry
        .files
        .iter()
        .map(|file| stats::data_file(table.store(), file, uri(file), date, contract));
    let files = futures::stream::iter(described.collect::<Vec<_>>())
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let generation = manifest.generation.to_string();
    Ok(Some(Change {
        what: format!("{date} {generation} {}", manifest.run),
        at: manifest.published_at.timestamp_millis(),
        contract,
        seed: &manifest.run,
        added: Some((date, files)),
        removed: if listed.is_empty() {
            Vec::new()
        } else {
            vec![date]
        },
        summary: vec![
            ("backlake.pipeline", manifest.question.pipeline.clone()),
            ("backlake.date", date.to_string()),
            ("backlake.run", manifest.run.clone()),
            ("backlake.generation", generation),
        ],
    }))
}

/// Whether an entry of an Iceberg table is this file.
pub(super) fn is(entry: &ManifestEntry, uri: &str, file: &ManifestFile) -> bool {
    let found = &entry.data_file;
    found.file_path == uri
        && found.file_size_in_bytes as u64 == file.bytes
        && found.record_count as u64 == file.rows
}

/// The change that removes snapshots; none if the table lists none of them.
fn removed<'a>(
    table: &IcebergTable,
    dates: &[NaiveDate],
    at: DateTime<Utc>,
    contract: &'a Contract,
) -> Option<Change<'a>> {
    let listed = dates.iter().filter(|date| table.has(**date));
    let removed: Vec<NaiveDate> = listed.copied().collect();
    if removed.is_empty() {
        return None;
    }
    let names: Vec<String> = removed.iter().map(NaiveDate::to_string).collect();
    let names = names.join(", ");
    Some(Change {
        what: format!("without {names}"),
        at: at.timestamp_millis(),
        contract,
        seed: "",
        added: None,
        removed,
        summary: vec![("backlake.pruned", names)],
    })
}
