//! What readers of an Iceberg table do not need: objects of expired snapshots and of failed commits.
//!
//! A commit writes its manifests and their list before the metadata that names them. It fails if another writer commits
//! first, or if the process is killed in between. Then no metadata ever names them.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::Deserialize;

use super::avro::read_paths;
use super::metadata::VERSIONS_KEPT;
use super::table::{AT_ONCE, IcebergTable};
use crate::error::{Context as _, Result};
use crate::store::Layout;

impl IcebergTable {
    /// The objects that only expired snapshots need, and old versions of the metadata.
    pub(super) async fn expired(&self) -> Result<Vec<Path>> {
        let Some(metadata) = &self.metadata else {
            return Ok(Vec::new());
        };
        let oldest = self.version.saturating_sub(VERSIONS_KEPT as u64);
        let old = self.versions.iter().filter(|version| **version < oldest);
        let mut found: Vec<Path> = old
            .map(|version| Layout::iceberg_metadata(self.table, *version))
            .collect();
        let mut all = self.seen.clone();
        all.sort_by_key(|snapshot| snapshot.sequence_number);
        let is_kept: Vec<bool> = all
            .iter()
            .map(|seen| {
                let mut kept = metadata.snapshots.iter();
                kept.any(|snapshot| snapshot.snapshot_id == seen.snapshot_id)
            })
            .collect();
        // A manifest is in all snapshots from one on until another: if one that is kept needs what an expired one lists,
        // the kept one next to the expired ones does.
        let (mut listed, mut needed) = (Vec::new(), Vec::new());
        for (at, snapshot) in all.iter().enumerate() {
            let beside = [at.checked_sub(1), Some(at + 1)];
            let beside_expired = beside
                .iter()
                .flatten()
                .any(|at| is_kept.get(*at) == Some(&false));
            if is_kept[at] && !beside_expired {
                continue;
            }
            let Some(list) = self.path(&snapshot.manifest_list) else {
                continue;
            };
            let Some(bytes) = self.store().get(&list).await? else {
                continue;
            };
            let manifests = read_paths(&bytes, &snapshot.manifest_list)?;
            if is_kept[at] {
                needed.extend(manifests);
            } else {
                listed.extend(manifests);
                found.push(list);
            }
        }
        listed.retain(|manifest| !needed.contains(manifest));
        listed.sort();
        listed.dedup();
        found.extend(listed.iter().filter_map(|manifest| self.path(manifest)));
        Ok(found)
    }

    /// The manifests and lists of failed commits by backlake that existed when the table was last read. `expired` is what
    /// [`IcebergTable::expired`] finds.
    ///
    /// Once this process has committed, no other process can complete such a commit: it was prepared on top of an earlier
    /// version, so its writer must prepare it again.
    pub(super) async fn left_by_failed_commits(
        &self,
        expired: &[Path],
    ) -> Result<Vec<&ObjectMeta>> {
        let snapshots = self.metadata.iter().flat_map(|found| &found.snapshots);
        let current: BTreeSet<i64> = snapshots.map(|snapshot| snapshot.snapshot_id).collect();
        let live = self.manifests.iter();
        let live: BTreeSet<&str> = live.map(|found| name_of(&found.manifest_path)).collect();
        let mut found: Vec<&ObjectMeta> = self.objects.iter().collect();
        found.retain(|object| {
            let path = &object.location;
            Layout::iceberg_snapshot(path).is_some_and(|snapshot| !current.contains(&snapshot))
                && !live.contains(path.filename().unwrap_or_default())
                && !expired.contains(path)
        });
        // Nearly always, nothing is left, and nothing has to be read.
        if !found.is_empty() {
            let named = self.named().await?;
            found.retain(|object| !named.contains(object.location.filename().unwrap_or_default()));
        }
        Ok(found)
    }

    /// The names of the lists and manifests that any metadata in the folder names, also that of other programs. They may
    /// write the scheme of a URI in another way, so only names are compared.
    async fn named(&self) -> Result<BTreeSet<String>> {
        let objects = self.objects.iter().map(|object| &object.location);
        let metadata = objects.filter(|path| Layout::is_iceberg_metadata(path));
        let read = metadata.map(|path| self.lists_of(path));
        let lists: BTreeSet<String> = stream::iter(read.collect::<Vec<_>>())
            .buffered(AT_ONCE)
            .try_concat()
            .await?;
        let read = lists.iter().map(|list| self.manifests_of(list));
        let manifests: BTreeSet<String> = stream::iter(read.collect::<Vec<_>>())
            .buffered(AT_ONCE)
            .try_concat()
            .await?;
        Ok(lists.into_iter().chain(manifests).collect())
    }

    /// The names of the lists that metadata names; none if it is gone.
    async fn lists_of(&self, metadata: &Path) -> Result<BTreeSet<String>> {
        #[derive(Deserialize)]
        struct Metadata {
            #[serde(default)]
            snapshots: Vec<Snapshot>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Snapshot {
            manifest_list: Option<String>,
        }
        let Some(json) = self.store().get(metadata).await? else {
            return Ok(BTreeSet::new());
        };
        let read: serde_json::Result<Metadata> = serde_json::from_slice(&json);
        let read = read.context(|| format!("failed to read {metadata}"))?;
        let lists = read.snapshots.into_iter();
        let lists = lists.filter_map(|snapshot| snapshot.manifest_list);
        Ok(lists.map(|list| name_of(&list).to_owned()).collect())
    }

    /// The names of the manifests in a list; none if it is gone, as those of expired snapshots are.
    async fn manifests_of(&self, list: &str) -> Result<BTreeSet<String>> {
        let path = Layout::iceberg_object(self.table, list);
        let Some(bytes) = self.store().get(&path).await? else {
            return Ok(BTreeSet::new());
        };
        let manifests = read_paths(&bytes, path.as_ref())?.into_iter();
        Ok(manifests
            .map(|manifest| name_of(&manifest).to_owned())
            .collect())
    }
}

/// The last part of a URI.
fn name_of(uri: &str) -> &str {
    uri.rsplit_once('/').map_or(uri, |(_, name)| name)
}
