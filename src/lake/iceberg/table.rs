//! The Iceberg table of one table of the lake, as of the last time it was read, and how it is changed.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::NaiveDate;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectMeta;
use object_store::path::Path;
use tracing::info;

use super::super::conflicts::{ATTEMPTS, gave_up};
use super::avro::{
    ADDED, DELETED, DataFile, ManifestEntry, ManifestFile, read_list, read_manifest, write_list,
    write_manifest,
};
use super::metadata::{Snapshot, TableMetadata};
use super::schema::Schema;
use crate::contract::{Contract, Table};
use crate::error::{Context, Error, Result};
use crate::store::{Layout, Store};

/// Objects that are read at the same time.
pub(super) const AT_ONCE: usize = 8;

/// An Iceberg table.
pub(super) struct IcebergTable {
    store: Store,
    pub(super) table: Table,
    /// The lake as a URI.
    lake: String,
    /// The newest version; 0 if there is no table.
    pub(super) version: u64,
    /// The versions whose metadata exists.
    pub(super) versions: Vec<u64>,
    /// All objects of the metadata when the table was read last.
    pub(super) objects: Vec<ObjectMeta>,
    /// Whether this process has committed since then.
    pub(super) has_committed: bool,
    pub(super) metadata: Option<TableMetadata>,
    /// The manifests that list files.
    pub(super) manifests: Vec<ManifestFile>,
    /// All snapshots that this process has found or made.
    pub(super) seen: Vec<Snapshot>,
}

/// A commit.
pub(super) struct Change<'a> {
    /// What is done, for the id of the snapshot.
    pub(super) what: String,
    /// In milliseconds since 1970.
    pub(super) at: i64,
    pub(super) contract: &'a Contract,
    /// Determines the id of a new table.
    pub(super) seed: &'a str,
    pub(super) added: Option<(NaiveDate, Vec<DataFile>)>,
    /// All files of these dates are removed.
    pub(super) removed: Vec<NaiveDate>,
    /// Entries of the snapshot's summary.
    pub(super) summary: Vec<(&'static str, String)>,
}

/// A commit of which only the last object is not written yet.
pub(super) struct Prepared {
    metadata: TableMetadata,
    json: Bytes,
    manifests: Vec<ManifestFile>,
}

impl IcebergTable {
    /// Reads the Iceberg table of a table, if it has one.
    pub(super) async fn open(store: &Store, table: Table) -> Result<Self> {
        let place = store.display();
        let place = place.trim_end_matches('/');
        let lake = if place.contains("://") {
            place.to_owned()
        } else {
            format!("file://{place}")
        };
        let mut found = Self {
            store: store.clone(),
            table,
            lake,
            version: 0,
            versions: Vec::new(),
            objects: Vec::new(),
            has_committed: false,
            metadata: None,
            manifests: Vec::new(),
            seen: Vec::new(),
        };
        found.reload().await?;
        Ok(found)
    }

    /// Reads the table again, because another writer may have changed it.
    pub(super) async fn reload(&mut self) -> Result<()> {
        let folder = Layout::iceberg_folder(self.table);
        self.objects = self.store.list_here(&folder).await?;
        self.has_committed = false;
        let objects = self.objects.iter();
        let versions = objects.filter_map(|object| Layout::iceberg_version(&object.location));
        self.versions = versions.collect();
        self.version = self.versions.iter().copied().max().unwrap_or_default();
        if self.version == 0 {
            return Ok(());
        }
        let path = Layout::iceberg_metadata(self.table, self.version);
        let json = self.read(&path).await?;
        let metadata: TableMetadata = serde_json::from_slice(&json).map_err(|error| {
            self.unusable(format!("{path} cannot be read"))
                .caused_by(error)
        })?;
        if !metadata.is_own() {
            return Err(self.unusable(format!("{path} was not written by backlake")));
        }
        if metadata.location != self.uri(&Layout::table(self.table)) {
            return Err(self.unusable(format!(
                "{path} is of {}, but the lake is now at {}",
                metadata.location, self.lake
            )));
        }
        if !metadata.is_whole() {
            return Err(self.unusable(format!(
                "{path} lacks its current snapshot or its current schema"
            )));
        }
        self.manifests = match metadata.current() {
            Some(snapshot) => self.list(snapshot).await?,
            None => Vec::new(),
        };
        self.manifests.retain(ManifestFile::is_live);
        self.see(&metadata);
        self.metadata = Some(metadata);
        Ok(())
    }

    fn see(&mut self, metadata: &TableMetadata) {
        for snapshot in &metadata.snapshots {
            let known = |seen: &Snapshot| seen.snapshot_id == snapshot.snapshot_id;
            if !self.seen.iter().any(known) {
                self.seen.push(snapshot.clone());
            }
        }
    }

    /// The error of a table that backlake cannot use.
    fn unusable(&self, what: String) -> Error {
        let folder = Layout::iceberg(self.table);
        Error::usage(what).with_hint(format!(
            "the snapshots do not need this Iceberg table: move {folder} out of the lake, and the next publication creates a new one"
        ))
    }

    /// The lake's store.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The URI of an object in the lake.
    pub(super) fn uri(&self, path: &Path) -> String {
        format!("{}/{path}", self.lake)
    }

    /// The object with this URI; none if it is not in the lake.
    pub(super) fn path(&self, uri: &str) -> Option<Path> {
        let path = uri.strip_prefix(&self.lake)?.strip_prefix('/')?;
        Some(Path::from(path))
    }

    async fn read(&self, path: &Path) -> Result<Bytes> {
        let found = self.store.get(path).await?;
        found.ok_or_else(|| self.unusable(format!("{path} is missing")))
    }

    async fn read_uri(&self, uri: &str) -> Result<Bytes> {
        match self.path(uri) {
            Some(path) => self.read(&path).await,
            None => Err(self.unusable(format!("{uri} is not in the lake {}", self.lake))),
        }
    }

    async fn list(&self, snapshot: &Snapshot) -> Result<Vec<ManifestFile>> {
        let list = &snapshot.manifest_list;
        read_list(&self.read_uri(list).await?, list)
    }

    /// The files in a manifest that are not deleted.
    pub(super) async fn entries(&self, manifest: &ManifestFile) -> Result<Vec<ManifestEntry>> {
        let bytes = self.read_uri(&manifest.manifest_path).await?;
        let mut entries = read_manifest(&bytes, manifest)?;
        entries.retain(|entry| entry.status != DELETED);
        Ok(entries)
    }

    /// The files of a date.
    pub(super) async fn entries_of(&self, date: NaiveDate) -> Result<Vec<ManifestEntry>> {
        let manifests = self.manifests.iter().filter(|found| found.is_of(date));
        let read = manifests.map(|manifest| self.entries(manifest));
        let found: Vec<Vec<ManifestEntry>> = futures::stream::iter(read.collect::<Vec<_>>())
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.concat())
    }

    /// Whether files of a date are listed.
    pub(super) fn has(&self, date: NaiveDate) -> bool {
        self.manifests.iter().any(|manifest| manifest.is_of(date))
    }

    /// Writes everything of a commit but its last object, which makes it visible.
    pub(super) async fn prepare(&self, change: &Change<'_>) -> Result<Prepared> {
        let mut metadata = self.metadata.clone().unwrap_or_else(|| {
            let location = self.uri(&Layout::table(self.table));
            let folder = self.uri(&Layout::iceberg_folder(self.table));
            TableMetadata::new(change.contract, &location, &folder, change.seed)
        });
        metadata
            .widen(change.contract)
            .map_err(|error| self.unusable(error.to_string()))?;
        let id = (
            metadata.next_id(&change.what),
            metadata.last_sequence_number + 1,
        );
        let mut removed = Vec::new();
        for date in &change.removed {
            removed.push((*date, deleted(self.entries_of(*date).await?, id.0)));
        }
        let added = change.added.iter().map(|(date, files)| {
            let files = files.iter().cloned().map(added);
            (*date, files.collect::<Vec<_>>())
        });
        let mut manifests = self.manifests.clone();
        manifests.retain(|manifest| !change.removed.iter().any(|date| manifest.is_of(*date)));
        let schema = metadata.schema().cloned();
        let schema = schema.unwrap_or_else(|| Schema::of(change.contract));
        let entries: Vec<_> = removed.iter().cloned().chain(added).collect();
        for (number, (date, entries)) in entries.iter().enumerate() {
            let bytes = write_manifest(entries, &schema)?;
            let path = Layout::iceberg_manifest(self.table, id.0, number);
            let manifest = ManifestFile::of(self.uri(&path), bytes.len(), *date, id, entries);
            self.store.put(&path, bytes).await?;
            manifests.push(manifest);
        }
        let parent = metadata.current().map(|snapshot| snapshot.snapshot_id);
        let list = Layout::iceberg_list(self.table, id.0);
        let bytes = write_list(&manifests, id, parent)?;
        self.store.put(&list, bytes).await?;
        let snapshot = Snapshot {
            sequence_number: id.1,
            snapshot_id: id.0,
            parent_snapshot_id: parent,
            timestamp_ms: metadata.next_ms(change.at),
            manifest_list: self.uri(&list),
            summary: summary(&metadata, change, &entries),
            schema_id: Some(metadata.schema_id()),
        };
        let numbers = removed.iter().flat_map(|(_, entries)| entries);
        let unreadable = numbers.filter_map(|entry| entry.sequence_number).min();
        let before = (self.version > 0)
            .then(|| self.uri(&Layout::iceberg_metadata(self.table, self.version)));
        metadata.advance(snapshot, unreadable, before);
        manifests.retain(ManifestFile::is_live);
        let json = serde_json::to_vec(&metadata);
        let json = json.context(|| "failed to write Iceberg metadata")?;
        Ok(Prepared {
            metadata,
            json: json.into(),
            manifests,
        })
    }

    /// Commits durably as the next version. False if another writer has committed that version: then nothing is changed, and
    /// the caller must reload the table.
    pub(super) async fn commit(&mut self, prepared: Prepared) -> Result<bool> {
        let path = Layout::iceberg_metadata(self.table, self.version + 1);
        if !self.store.put_new(&path, prepared.json).await? {
            return Ok(false);
        }
        self.version += 1;
        self.versions.push(self.version);
        self.has_committed = true;
        info!(
            table = self.table.name(),
            version = self.version,
            "committed to the Iceberg table"
        );
        self.see(&prepared.metadata);
        self.manifests = prepared.manifests;
        self.metadata = Some(prepared.metadata);
        Ok(true)
    }

    /// The version that `version-hint.text` names; none if there is none that can be read.
    pub(super) async fn hinted(&self) -> Result<Option<u64>> {
        let text = self.store.get(&Layout::iceberg_hint(self.table)).await?;
        Ok(text.as_deref().and_then(version_in))
    }

    /// Makes `version-hint.text` name the newest version.
    pub(super) async fn publish_hint(&self) -> Result<()> {
        let path = Layout::iceberg_hint(self.table);
        let mut newest = self.version;
        for _ in 0..ATTEMPTS {
            if newest == 0 {
                return Ok(());
            }
            let found = self.store.get_version(&path).await?;
            let hinted = found.as_ref().and_then(|(text, _)| version_in(text));
            let is_current = match hinted {
                Some(hinted) if hinted > newest => self.is_version(hinted).await?,
                hinted => hinted == Some(newest),
            };
            if is_current {
                return Ok(());
            }
            let text = Bytes::from(newest.to_string());
            let written = match found {
                None => self.store.put_new(&path, text).await?,
                Some((_, version)) => self.store.replace(&path, text, version).await?,
            };
            // A writer that commits later may have written its hint earlier.
            if written && !self.is_version(newest + 1).await? {
                return Ok(());
            }
            newest += u64::from(written);
        }
        Err(gave_up("Iceberg", self.table))
    }

    async fn is_version(&self, version: u64) -> Result<bool> {
        let path = Layout::iceberg_metadata(self.table, version);
        Ok(self.store.get(&path).await?.is_some())
    }
}

fn version_in(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn added(data_file: DataFile) -> ManifestEntry {
    ManifestEntry {
        status: ADDED,
        snapshot_id: None,
        sequence_number: None,
        file_sequence_number: None,
        data_file,
    }
}

fn deleted(entries: Vec<ManifestEntry>, snapshot_id: i64) -> Vec<ManifestEntry> {
    let deleted = entries.into_iter().map(|entry| ManifestEntry {
        status: DELETED,
        snapshot_id: Some(snapshot_id),
        ..entry
    });
    deleted.collect()
}

/// The summary of a snapshot: what it does, and what the table then has.
fn summary(
    metadata: &TableMetadata,
    change: &Change<'_>,
    entries: &[(NaiveDate, Vec<ManifestEntry>)],
) -> BTreeMap<String, String> {
    let sums = |status: i32| {
        let all = entries.iter().flat_map(|(_, entries)| entries);
        let of_it = all.filter(|entry| entry.status == status);
        of_it.fold([0; 3], |[files, rows, bytes], entry| {
            let file = &entry.data_file;
            [
                files + 1,
                rows + file.record_count,
                bytes + file.file_size_in_bytes,
            ]
        })
    };
    let (added, removed) = (sums(ADDED), sums(DELETED));
    let operation = match (added[0], removed[0]) {
        (_, 0) => "append",
        (0, _) => "delete",
        _ => "overwrite",
    };
    let mut dates: Vec<NaiveDate> = entries.iter().map(|(date, _)| *date).collect();
    dates.dedup();
    let mut summary = BTreeMap::new();
    let mut set = |key: &str, value: String| summary.insert(key.to_owned(), value);
    set("operation", operation.to_owned());
    set("changed-partition-count", dates.len().to_string());
    for (names, numbers) in [
        (
            ["added-data-files", "added-records", "added-files-size"],
            added,
        ),
        (
            [
                "deleted-data-files",
                "deleted-records",
                "removed-files-size",
            ],
            removed,
        ),
    ] {
        if numbers[0] > 0 {
            for (name, number) in names.iter().zip(numbers) {
                set(name, number.to_string());
            }
        }
    }
    let before = metadata.current().map(|snapshot| &snapshot.summary);
    for (at, name) in ["total-data-files", "total-records", "total-files-size"]
        .iter()
        .enumerate()
    {
        let before = before.and_then(|summary| summary.get(*name)?.parse::<i64>().ok());
        set(
            name,
            (before.unwrap_or_default() + added[at] - removed[at]).to_string(),
        );
    }
    for name in [
        "total-delete-files",
        "total-position-deletes",
        "total-equality-deletes",
    ] {
        set(name, "0".to_owned());
    }
    for (key, value) in &change.summary {
        set(key, value.clone());
    }
    summary
}
