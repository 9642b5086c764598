//! What readers of an Iceberg table no longer need.

use object_store::path::Path;

use super::avro::read_list;
use super::metadata::VERSIONS_KEPT;
use super::table::IcebergTable;
use crate::error::Result;
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
            let manifests = read_list(&bytes, &snapshot.manifest_list)?.into_iter();
            let manifests = manifests.map(|manifest| manifest.manifest_path);
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
}
