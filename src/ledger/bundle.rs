//! Bundles: the small objects of a run, packed into one tar file per date, and how to read them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::store::{Layout, Lock, Store};

/// The bytes of a bundle that are one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    bundle: Path,
    bytes: Range<u64>,
}

/// The bundled objects of one snapshot, by path.
#[derive(Debug, Default)]
pub(crate) struct Bundles(BTreeMap<Path, Place>);

/// The index of a bundle, as stored next to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The version of this format.
    pub(crate) format: u32,
    /// The size of the tar file in bytes.
    pub(crate) bytes: u64,
    /// The SHA-256 of the tar file.
    pub(crate) sha256: String,
    /// Where each object begins in the tar file, and its size in bytes, by path in the lake.
    pub(crate) objects: BTreeMap<String, [u64; 2]>,
}

/// The version of the bundle format that this program writes and reads.
pub(crate) const FORMAT: u32 = 1;

impl Bundles {
    /// Reads the indexes of a snapshot's bundles. `archive` lists the objects of its archive
    /// folder. If an object is in several bundles, the last bundle counts.
    pub(crate) async fn read(
        store: &Store,
        layout: Layout,
        archive: &[ObjectMeta],
    ) -> Result<Self> {
        let mut bundles = Self::default();
        for number in indexes(archive) {
            let path = layout.bundle_index(number);
            let hint = "extract the tar next to it at the lake's root, then delete both";
            let json = store.get(&path).await?.unwrap_or_default();
            let read: serde_json::Result<Index> = serde_json::from_slice(&json);
            let index = read
                .context(|| format!("{path} is damaged"))
                .map_err(|error| error.with_hint(hint))?;
            if index.format != FORMAT {
                let message = format!(
                    "{path} has format {}, but this version reads format {FORMAT}",
                    index.format
                );
                return Err(Error::unexpected(message).with_hint("use a later version of backlake"));
            }
            for (object, [start, bytes]) in index.objects {
                let place = Place {
                    bundle: layout.bundle(number),
                    bytes: start..start.saturating_add(bytes),
                };
                bundles.0.insert(Path::from(object), place);
            }
        }
        Ok(bundles)
    }

    /// The bundled objects except those that also exist outside a bundle.
    pub(crate) fn without(mut self, unbundled: &[ObjectMeta]) -> Self {
        for object in unbundled {
            self.0.remove(&object.location);
        }
        self
    }

    /// The place of an object, or `None` if it is not bundled.
    pub(crate) fn place(&self, object: &Path) -> Option<&Place> {
        self.0.get(object)
    }

    /// The bundled objects in a folder, by path.
    pub(crate) fn below<'b>(
        &'b self,
        folder: &'b Path,
    ) -> impl Iterator<Item = (&'b Path, &'b Place)> {
        self.0
            .iter()
            .filter(|(object, _)| object.prefix_matches(folder))
    }
}

impl Place {
    /// Reads the object, or `None` if the bundle is missing.
    pub(crate) async fn read(&self, store: &Store) -> Result<Option<Bytes>> {
        store.get_range(&self.bundle, self.bytes.clone()).await
    }
}

/// The numbers of the bundles that have an index among these objects, oldest first.
pub(crate) fn indexes(objects: &[ObjectMeta]) -> Vec<u32> {
    let mut numbers: Vec<u32> = objects
        .iter()
        .filter_map(|object| Layout::bundle_number(&object.location, "json"))
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Deletes the indexes of a snapshot's bundles, so that no reader takes a half-deleted archive for
/// a whole one.
pub(crate) async fn forget_bundles(store: &Store, layout: Layout, lock: &Lock) -> Result<()> {
    for number in indexes(&store.list_here(&layout.archive()).await?) {
        lock.delete(&layout.bundle_index(number)).await?;
    }
    Ok(())
}
