//! Publishes a staged snapshot: audits it, moves its files to the tables' folders, and writes the manifest last.
//!
//! On a local disk each table of a new snapshot appears by one rename, so a glob sees all of the table's files or none.
//! In an object store every file appears completely. What takes long is done before the first table appears: files are
//! made durable, and large ones are uploaded. Then all tables are made visible together. A replacement's files are placed
//! next to the files they replace, under different names. Then the tables of other formats, if there are any, and the
//! manifest switch to the new files atomically, and the replaced files are deleted, at once or after a grace period. If
//! publishing is interrupted, the next start of the run finishes it: it places the same files again.

use std::path::PathBuf;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures::StreamExt as _;
use futures::future::join_all;
use tracing::{info, warn};

use super::audit::audit_staged;
use super::contracts::store_contracts;
use super::formats::{self, TableFormat};
use super::grace::keep_until;
use super::manifest::{Manifest, PublicationId};
use super::staging::Staging;
use crate::clock::{Stage, Stopwatch};
use crate::contract::Table;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::store::{Delivery, Layout, Lock, Store};

/// Files of a table that are made visible at the same time.
const AT_ONCE: usize = 16;

/// How to publish a staged snapshot.
pub struct Publishing<'a> {
    /// The lock on the snapshot.
    pub lock: &'a Lock,
    /// The manifest that is published for this date now. Publishing fails if another one has replaced it.
    pub published: Option<Manifest>,
    /// The table formats to commit to.
    pub formats: &'a [TableFormat],
    /// Whether to write `_SUCCESS` into each partition.
    pub success_file: bool,
    /// Measures the time of the audit and of the commits.
    pub stages: &'a Stopwatch,
    /// How long the files that are replaced are kept.
    pub grace: TimeDelta,
    /// The current time.
    pub now: &'a (dyn Fn() -> DateTime<Utc> + Sync),
    /// Called when a table is in its place.
    pub moved: &'a (dyn Fn() + Sync),
}

/// A snapshot that is published.
pub struct Published {
    /// The manifest. If the date was published with the same files before, it is that one, and the files are placed again.
    pub manifest: Manifest,
    /// What went wrong with tables of a format that the pipeline does not name.
    pub warnings: Vec<String>,
    /// Until when the replaced files are kept. Then [`tidy`] deletes them. `None` if nothing is left to delete.
    pub kept_until: Option<DateTime<Utc>>,
}

/// Audits the staged tables, moves them to their places and writes the manifest.
///
/// # Errors
/// Counts that do not add up, staged files that fail the audit, a lock that is lost, or a lake that fails. In all these
/// cases the snapshot is not published.
pub async fn publish(
    staging: &Staging,
    manifest: Manifest,
    how: &Publishing<'_>,
) -> Result<Published> {
    let imbalances = manifest.imbalances();
    if !imbalances.is_empty() {
        return Err(Error::unexpected(format!(
            "the counts do not add up: {}",
            imbalances.join("; ")
        ))
        .with_hint(
            "nothing was published, and the responses are archived; please report this defect",
        ));
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
            "the staged files of snapshot {} failed the audit: {problem}",
            layout.snapshot
        );
        let message = if more > 0 {
            format!("{message}; and {more} more problems")
        } else {
            message
        };
        return Err(Error::unexpected(message).with_hint(format!(
            "nothing was published; inspect {}. The next start stages the snapshot again from the archive, for free",
            staging.keep().await
        )));
    }
    store_contracts(store, contracts).await?;
    let manifest = following(manifest, how.published.as_ref())?;
    if let Some(published) = &how.published
        && published.run == manifest.run
        && published.generation != manifest.generation
        && store.get(&layout.run(manifest.generation)).await?.is_some()
    {
        return Err(Error::usage(format!(
            "snapshot {} cannot be rebuilt with different files: a replacement of it was started and is not published yet",
            layout.snapshot
        ))
        .with_hint("nothing was changed; finish the replacement first: repeat `run` with --replace, then rebuild"));
    }
    ensure_unchanged(staging, how).await?;
    place(staging, &manifest, how).await?;
    let warnings = formats::commit(
        store,
        how.formats,
        &manifest,
        contracts,
        how.lock,
        how.stages,
    )
    .await?;
    how.lock.ensure().await?;
    if !write_manifest(store, *layout, &manifest, how.published.as_ref()).await? {
        return Err(published_by_another(*layout));
    }
    // The snapshot is published. If this fails, the next start clears the leftovers.
    let replaces = |published: &Manifest| published.tables != manifest.tables;
    let is_kept = how.published.as_ref().is_some_and(replaces) && how.grace > TimeDelta::zero();
    let kept_until = is_kept.then(|| (how.now)() + how.grace);
    let tidied = match kept_until {
        Some(until) => keep_until(store, how.lock, *layout, until).await,
        None => tidy(store, how.lock, &manifest).await,
    };
    if let Err(error) = tidied {
        warn!(%error, "failed to clear leftovers of the publication");
    }
    info!(snapshot = %layout.snapshot, run = staging.id.run, generation = manifest.generation, "published");
    Ok(Published {
        manifest,
        warnings,
        kept_until,
    })
}

/// The manifest to publish, given the one that is published now.
fn following(mut manifest: Manifest, published: Option<&Manifest>) -> Result<Manifest> {
    let Some(published) = published else {
        return Ok(manifest);
    };
    if manifest.generation == published.generation {
        if manifest.tables == published.tables {
            manifest.published_at = published.published_at;
            return Ok(manifest);
        }
        // The files differ, so they need different names: a reader may have read the published manifest already.
        let mut id = manifest.publication();
        let before = id.prefix();
        id.generation = published.generation + 1;
        let after = id.prefix();
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
    if manifest.generation == published.generation + 1 {
        return Ok(manifest);
    }
    Err(Error::unexpected(format!(
        "generation {} of snapshot {} cannot follow generation {}",
        manifest.generation, manifest.snapshot, published.generation
    )))
}

fn published_by_another(layout: Layout) -> Error {
    let message = format!("another process has published snapshot {}", layout.snapshot);
    Error::new(ErrorKind::Locked, message)
}

/// Renews the lock, and checks that no other process has published the date: its publication must not be touched.
async fn ensure_unchanged(staging: &Staging, how: &Publishing<'_>) -> Result<()> {
    how.lock.renew().await?;
    let found = Manifest::read(&staging.store, staging.layout.snapshot).await?;
    let id = |manifest: &Option<Manifest>| -> Option<PublicationId> {
        manifest.as_ref().map(Manifest::publication)
    };
    if id(&found) == id(&how.published) {
        return Ok(());
    }
    Err(published_by_another(staging.layout))
}

/// Moves all tables to their places.
async fn place(staging: &Staging, manifest: &Manifest, how: &Publishing<'_>) -> Result<()> {
    let Staging { store, layout, .. } = staging;
    // If this process ends before the manifest is written, the marker tells the next start to clear leftovers.
    store.put(&layout.placing(), Bytes::new()).await?;
    // Transfer the bytes of all tables first, so that the tables then appear at nearly the same time.
    let mut ready = Vec::new();
    let transferred = async {
        for table in Table::ALL {
            how.lock.ensure().await?;
            ready.push((table, transfer(staging, manifest, table).await?));
        }
        ensure_unchanged(staging, how).await
    };
    if let Err(error) = transferred.await {
        for (_, ready) in ready {
            ready.abandon().await;
        }
        return Err(error);
    }
    let shown = ready
        .into_iter()
        .map(|(table, ready)| show(staging, table, ready, how));
    let shown = join_all(shown.collect::<Vec<_>>()).await;
    shown.into_iter().collect()
}

/// Brings the files of a table to the place where they only need to be made visible.
async fn transfer(staging: &Staging, manifest: &Manifest, table: Table) -> Result<Ready> {
    let Staging { store, layout, .. } = staging;
    let folder = staging.folder(table);
    // A folder keeps the names of its files, so they must be those in the manifest.
    let keeps_names = staging.id == manifest.publication();
    if keeps_names && store.is_free(&layout.partition(table)) {
        store.sync_folder(&folder, &layout.partition(table)).await?;
        return Ok(Ready::Folder(folder));
    }
    let mut deliveries = Vec::new();
    let files = manifest.tables.get(table.name());
    for (number, file) in files.into_iter().flat_map(|t| &t.files).enumerate() {
        let staged = folder.join(format!("{}-{number:05}.parquet", staging.id.prefix()));
        let place = object_store::path::Path::from(file.path.as_str());
        match store.deliver(&staged, &place).await {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => {
                Ready::Files(deliveries).abandon().await;
                return Err(error);
            }
        }
    }
    Ok(Ready::Files(deliveries))
}

/// A table whose files only need to be made visible.
enum Ready {
    Folder(PathBuf),
    Files(Vec<Delivery>),
}

impl Ready {
    /// Discards the uploads: the provider bills for them.
    async fn abandon(self) {
        if let Self::Files(deliveries) = self {
            for delivery in deliveries {
                delivery.abandon().await;
            }
        }
    }
}

/// Makes a table visible.
async fn show(staging: &Staging, table: Table, ready: Ready, how: &Publishing<'_>) -> Result<()> {
    let Staging { store, layout, .. } = staging;
    // Right before each write: a process that was stopped since then must not add files to those of its successor.
    match ready {
        Ready::Folder(folder) => {
            how.lock.ensure().await?;
            store.move_folder(&folder, &layout.partition(table)).await?;
        }
        Ready::Files(deliveries) => {
            let complete = async |delivery: Delivery| match how.lock.ensure().await {
                Ok(()) => delivery.complete().await,
                Err(error) => {
                    delivery.abandon().await;
                    Err(error)
                }
            };
            let all = futures::stream::iter(deliveries).map(complete);
            let all: Vec<Result<()>> = all.buffer_unordered(AT_ONCE).collect().await;
            all.into_iter().collect::<Result<()>>()?;
        }
    }
    if how.success_file {
        how.lock.ensure().await?;
        store.put(&layout.success(table), Bytes::new()).await?;
    }
    (how.moved)();
    Ok(())
}

/// Writes the manifest if the one that it replaces is still published; false if not.
async fn write_manifest(
    store: &Store,
    layout: Layout,
    manifest: &Manifest,
    published: Option<&Manifest>,
) -> Result<bool> {
    let path = layout.manifest();
    let json = manifest.to_json()?;
    let Some(published) = published else {
        return store.put_new(&path, json).await;
    };
    let Some((bytes, version)) = store.get_version(&path).await? else {
        return Ok(false);
    };
    let found: Manifest =
        serde_json::from_slice(&bytes).context(|| format!("failed to read {path}"))?;
    if found.publication() != published.publication() {
        return Ok(false);
    }
    store.replace(&path, json, version).await
}

/// Whether a publication of this snapshot was interrupted and may have left files.
///
/// # Errors
/// A lake that fails.
pub async fn is_untidy(store: &Store, snapshot: NaiveDate) -> Result<bool> {
    let layout = Layout { snapshot };
    // The folder outlives the marker in it for a moment.
    Ok(store.has_folder(&layout.staging_root()) || store.get(&layout.placing()).await?.is_some())
}

/// Repairs a snapshot whose publication was interrupted: makes the Delta and Iceberg tables that exist match the manifest,
/// then deletes the files that the manifest does not list. Returns the warnings: tables of a format that is not among
/// `formats` and that could not be repaired.
///
/// # Errors
/// A lake that fails, or tables of these formats that cannot be repaired.
pub async fn heal(
    store: &Store,
    formats: &[TableFormat],
    lock: &Lock,
    manifest: &Manifest,
) -> Result<Vec<String>> {
    let warnings = formats::heal(store, formats, lock, manifest).await?;
    tidy(store, lock, manifest).await?;
    Ok(warnings)
}

/// Deletes what a publication no longer needs: files in the snapshot's partitions that its manifest does not list, and
/// staged files.
///
/// # Errors
/// A lock that is lost, or a lake that fails.
pub async fn tidy(store: &Store, lock: &Lock, manifest: &Manifest) -> Result<()> {
    let layout = Layout {
        snapshot: manifest.snapshot,
    };
    for table in Table::ALL {
        let Some(entry) = manifest.tables.get(table.name()) else {
            continue;
        };
        for object in store.list(&layout.partition(table)).await? {
            let listed = entry
                .files
                .iter()
                .any(|file| file.path == object.location.as_ref());
            if !listed && object.location != layout.success(table) {
                lock.delete(&object.location).await?;
            }
        }
    }
    lock.delete(&layout.pruned()).await?;
    lock.clear(&layout.staging_root()).await
}
