//! Publishes a snapshot: tables are staged whole on a local disk, audited, put in their places whole, and the manifest
//! comes last.
//!
//! On a local disk each table of a new snapshot appears by one rename, so a reader's glob sees all of a table's files or
//! none; in an object store every file appears whole, those of a table in one burst. A replacement's files are put beside
//! those they replace, under other names; then the manifest (and before it the Delta logs) names them in one step, and
//! the replaced files go. A publication that was broken off is finished by the next start of the run: what it puts in
//! place again is the same.

use std::path::PathBuf;

use bytes::Bytes;
use chrono::NaiveDate;
use futures::{StreamExt as _, TryStreamExt as _};
use tracing::{info, warn};

use super::audit::audit_staged;
use super::contracts::{contracts_of, keep_contracts};
use super::delta::{self, TableFormat};
use super::manifest::{Manifest, snapshots};
use super::staging::{Staging, prefix};
use crate::clock::{Stage, Stopwatch};
use crate::contract::{Contracts, Table};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::store::{Delivery, Layout, Lock, Store};

/// Files that are shown at once.
const AT_ONCE: usize = 16;

/// How to publish what is staged.
pub struct Publishing<'a> {
    /// The lock on the snapshot.
    pub lock: &'a Lock,
    /// What is published of this date now; nothing else may have been published when the manifest is written.
    pub over: Option<Manifest>,
    /// Whether the tables have Delta logs.
    pub format: TableFormat,
    /// Whether to put `_SUCCESS` into the partitions.
    pub success_file: bool,
    /// Times the audit.
    pub stages: &'a Stopwatch,
    /// Is told of each table that stands in its place.
    pub moved: &'a (dyn Fn() + Sync),
}

/// Puts all tables in place and writes the manifest. Returns it as published: over a snapshot whose files are the same,
/// that one's, with its files put back in place.
///
/// # Errors
/// Books that do not balance, staged files that are not sound, a lock that is lost, or a lake that fails; the snapshot
/// is not published then.
pub async fn publish(
    staging: &Staging,
    manifest: Manifest,
    how: &Publishing<'_>,
) -> Result<Manifest> {
    let imbalances = manifest.imbalances();
    if !imbalances.is_empty() {
        return Err(Error::unexpected(format!(
            "the books do not balance: {}",
            imbalances.join("; ")
        ))
        .with_hint("nothing was published; the answers are archived: report this as a defect"));
    }
    let Staging {
        store,
        layout,
        contracts,
        ..
    } = staging;
    let audit = audit_staged(&manifest, contracts, |table| staging.folder(table));
    let audit = how.stages.time_async(Stage::Audit, audit).await?;
    if let Some(problem) = audit.problems.first() {
        let more = audit.problems.len() - 1;
        let message = format!(
            "what was staged for snapshot {} is not sound: {problem}",
            layout.snapshot
        );
        let message = if more > 0 {
            format!("{message}; and {more} problems more")
        } else {
            message
        };
        return Err(Error::unexpected(message).with_hint(format!(
            "nothing was published; look at {}. The next start stages anew from the archive, for nothing",
            staging.keep().await
        )));
    }
    keep_contracts(store, contracts).await?;
    let manifest = following(manifest, how.over.as_ref())?;
    unchanged(staging, how).await?;
    place(staging, &manifest, how).await?;
    if how.format == TableFormat::Delta {
        commit(store, &manifest, contracts, how.lock).await?;
    }
    how.lock.ensure().await?;
    if !write_manifest(store, *layout, &manifest, how.over.as_ref()).await? {
        return Err(published_meanwhile(*layout));
    }
    // Published it is; what is left over is cleared by the next start.
    if let Err(error) = tidy(store, &manifest).await {
        warn!(%error, "failed to clear what the publication has left over");
    }
    info!(snapshot = %layout.snapshot, run = staging.run, generation = manifest.generation, "published");
    Ok(manifest)
}

/// Commits a snapshot to the Delta logs.
async fn commit(
    store: &Store,
    manifest: &Manifest,
    contracts: &Contracts,
    lock: &Lock,
) -> Result<()> {
    // What is wrong with an earlier snapshot is no reason to hold this one back.
    if let Err(error) = commit_earlier(store, manifest.snapshot, contracts).await {
        warn!(%error, "snapshots that were published before there were Delta logs are not in them");
    }
    lock.ensure().await?;
    let commits = delta::commit(store, std::slice::from_ref(manifest), |table| {
        contracts.of(table)
    })
    .await?;
    info!(snapshot = %manifest.snapshot, commits, "committed to the Delta logs");
    Ok(())
}

/// Commits the other published snapshots that a Delta log lacks.
async fn commit_earlier(store: &Store, snapshot: NaiveDate, contracts: &Contracts) -> Result<()> {
    let mut others = snapshots(store).await?;
    others.retain(|other| *other != snapshot);
    let mut manifests = Vec::new();
    for date in delta::missing(store, &others).await? {
        manifests.extend(Manifest::read(store, date).await?);
    }
    if !manifests.is_empty() {
        let commits = delta::commit(store, &manifests, |table| contracts.of(table)).await?;
        info!(
            snapshots = manifests.len(),
            commits, "committed earlier snapshots to the Delta logs"
        );
    }
    Ok(())
}

/// The manifest as it follows the one that is published.
fn following(mut manifest: Manifest, over: Option<&Manifest>) -> Result<Manifest> {
    let Some(over) = over else {
        return Ok(manifest);
    };
    if manifest.generation == over.generation {
        if manifest.tables == over.tables {
            manifest.published_at = over.published_at;
            return Ok(manifest);
        }
        // Other files under the same names would not be what earlier readers of the manifest were told.
        let (before, after) = (
            prefix(&manifest.run, manifest.generation),
            prefix(&manifest.run, over.generation + 1),
        );
        for file in manifest
            .tables
            .values_mut()
            .flat_map(|table| &mut table.files)
        {
            file.path = file
                .path
                .replacen(&format!("/{before}-"), &format!("/{after}-"), 1);
        }
        manifest.generation += 1;
    }
    if manifest.generation == over.generation + 1 {
        return Ok(manifest);
    }
    Err(Error::unexpected(format!(
        "publication {} of snapshot {} cannot follow publication {}",
        manifest.generation, manifest.snapshot, over.generation
    )))
}

fn published_meanwhile(layout: Layout) -> Error {
    let message = format!(
        "snapshot {} was published by another run meanwhile",
        layout.snapshot
    );
    Error::new(ErrorKind::Locked, message)
}

/// Whoever has taken the snapshot over may have published: that is not to be touched.
async fn unchanged(staging: &Staging, how: &Publishing<'_>) -> Result<()> {
    how.lock.renew().await?;
    let there = Manifest::read(&staging.store, staging.layout.snapshot).await?;
    let same = |manifest: &Manifest| (manifest.run.clone(), manifest.generation);
    if there.as_ref().map(same) == how.over.as_ref().map(same) {
        return Ok(());
    }
    Err(published_meanwhile(staging.layout))
}

/// Puts all tables in their places.
async fn place(staging: &Staging, manifest: &Manifest, how: &Publishing<'_>) -> Result<()> {
    let Staging { store, layout, .. } = staging;
    store.put(&layout.placing(), Bytes::new()).await?;
    let mut ready = Vec::new();
    for table in Table::ALL {
        how.lock.ensure().await?;
        let folder = staging.folder(table);
        if store.is_free(&layout.partition(table)) {
            ready.push((table, Ready::Folder(folder)));
            continue;
        }
        let mut deliveries = Vec::new();
        for (number, file) in manifest
            .tables
            .get(table.name())
            .into_iter()
            .flat_map(|t| &t.files)
            .enumerate()
        {
            let staged = folder.join(format!(
                "{}-{number:05}.parquet",
                prefix(&staging.run, staging.generation)
            ));
            deliveries.push(
                store
                    .deliver(&staged, &object_store::path::Path::from(file.path.as_str()))
                    .await?,
            );
        }
        ready.push((table, Ready::Files(deliveries)));
    }
    let mut failed = None;
    for (table, ready) in ready {
        let shown = match (ready, &failed) {
            (Ready::Files(deliveries), Some(_)) => {
                for delivery in deliveries {
                    delivery.abandon().await;
                }
                continue;
            }
            (Ready::Folder(_), Some(_)) => continue,
            (ready, None) => show(staging, table, ready, how).await,
        };
        failed = shown.err();
    }
    failed.map_or(Ok(()), Err)
}

/// A table whose files are as near to their places as can be.
enum Ready {
    Folder(PathBuf),
    Files(Vec<Delivery>),
}

async fn show(staging: &Staging, table: Table, ready: Ready, how: &Publishing<'_>) -> Result<()> {
    let Staging { store, layout, .. } = staging;
    unchanged(staging, how).await?;
    match ready {
        Ready::Folder(folder) => store.move_folder(&folder, &layout.partition(table)).await?,
        Ready::Files(deliveries) => {
            let all = futures::stream::iter(deliveries).map(Delivery::complete);
            all.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
    }
    if how.success_file {
        store.put(&layout.success(table), Bytes::new()).await?;
    }
    (how.moved)();
    Ok(())
}

/// Writes the manifest, if what is published is still what it replaces; false if not.
async fn write_manifest(
    store: &Store,
    layout: Layout,
    manifest: &Manifest,
    over: Option<&Manifest>,
) -> Result<bool> {
    let path = layout.manifest();
    let json = manifest.to_json()?;
    let Some(over) = over else {
        return store.put_new(&path, json).await;
    };
    let Some((bytes, version)) = store.get_version(&path).await? else {
        return Ok(false);
    };
    let there: Manifest =
        serde_json::from_slice(&bytes).context(|| format!("failed to read {path}"))?;
    if (there.generation, &there.run) != (over.generation, &over.run) {
        return Ok(false);
    }
    store.replace(&path, json, version).await
}

/// Whether a publication of this snapshot was broken off after its manifest was written, or before.
///
/// # Errors
/// A lake that fails.
pub async fn is_untidy(store: &Store, snapshot: NaiveDate) -> Result<bool> {
    Ok(store.get(&Layout { snapshot }.placing()).await?.is_some())
}

/// Mends what a publication that was broken off has left: the Delta logs, if there are any, name what the manifest names,
/// before the files go that it does not name. For the one who holds the lock.
///
/// # Errors
/// A lake that fails.
pub async fn heal(store: &Store, manifest: &Manifest) -> Result<()> {
    if delta::exists(store).await? {
        let contracts = contracts_of(store, manifest).await?;
        delta::commit(store, std::slice::from_ref(manifest), |table| {
            contracts.of(table)
        })
        .await?;
    }
    tidy(store, manifest).await
}

/// Clears what a publication has left over: files in the snapshot's partitions that its manifest does not name, and what
/// was staged. For the one who holds the lock.
///
/// # Errors
/// A lake that fails.
async fn tidy(store: &Store, manifest: &Manifest) -> Result<()> {
    let layout = Layout {
        snapshot: manifest.snapshot,
    };
    for table in Table::ALL {
        let Some(entry) = manifest.tables.get(table.name()) else {
            continue;
        };
        for object in store.list(&layout.partition(table)).await? {
            let named = entry
                .files
                .iter()
                .any(|file| file.path == object.location.as_ref());
            if !named && object.location != layout.success(table) {
                store.delete(&object.location).await?;
            }
        }
    }
    store.delete(&layout.pruned()).await?;
    store.clear(&layout.staging_root()).await
}
