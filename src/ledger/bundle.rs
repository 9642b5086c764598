//! Bundles: the small objects that a run leaves, packed into one tar per date, and how to read them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::store::{Layout, Store};

/// Where an object stands in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    bundle: Path,
    bytes: Range<u64>,
}

/// What was bundled of a snapshot's run.
#[derive(Debug, Default)]
pub(crate) struct Bundles(BTreeMap<Path, Place>);

/// What stands in a bundle, as it is kept beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The version of this format.
    pub(crate) format: u32,
    /// Bytes of the tar.
    pub(crate) bytes: u64,
    /// Its SHA-256.
    pub(crate) sha256: String,
    /// By path in the lake: where it begins in the tar, and how many bytes it has.
    pub(crate) objects: BTreeMap<String, [u64; 2]>,
}

pub(crate) const FORMAT: u32 = 1;

impl Bundles {
    /// Reads the indexes of a snapshot's bundles, given the objects of its archive. Of an object that is in several bundles
    /// the last counts.
    pub(crate) async fn read(
        store: &Store,
        layout: Layout,
        archive: &[ObjectMeta],
    ) -> Result<Self> {
        let mut bundles = Self::default();
        for number in indexes(archive) {
            let path = layout.bundle_index(number);
            let hint = "extract the tar beside it at the lake's root, then delete both";
            let json = store.get(&path).await?.unwrap_or_default();
            let read: serde_json::Result<Index> = serde_json::from_slice(&json);
            let index = read
                .context(|| format!("{path} is damaged"))
                .map_err(|error| error.with_hint(hint))?;
            if index.format != FORMAT {
                let message = format!(
                    "{path} is of format {}, this version reads {FORMAT}",
                    index.format
                );
                return Err(Error::unexpected(message).with_hint("use a later version of backlake"));
            }
            for (object, [start, bytes]) in index.objects {
                let place = Place {
                    bundle: layout.bundle(number),
                    bytes: start..start + bytes,
                };
                bundles.0.insert(Path::from(object), place);
            }
        }
        Ok(bundles)
    }

    /// Leaves out what stands alone, too.
    pub(crate) fn without(mut self, loose: &[ObjectMeta]) -> Self {
        for object in loose {
            self.0.remove(&object.location);
        }
        self
    }

    /// Where an object stands, if it is bundled.
    pub(crate) fn place(&self, object: &Path) -> Option<&Place> {
        self.0.get(object)
    }

    /// The bundled objects below a folder, by path.
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
    /// The object.
    pub(crate) async fn read(&self, store: &Store) -> Result<Option<Bytes>> {
        store.get_range(&self.bundle, self.bytes.clone()).await
    }
}

/// The numbers of the indexes among the objects of an archive, the oldest first.
pub(crate) fn indexes(objects: &[ObjectMeta]) -> Vec<u32> {
    let mut numbers: Vec<u32> = objects
        .iter()
        .filter_map(|object| Layout::bundle_number(&object.location, "json"))
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Makes bundles unseen, so that nobody takes what is left of them for an archive.
pub(crate) async fn forget_bundles(store: &Store, layout: Layout) -> Result<()> {
    for number in indexes(&store.list_here(&layout.archive()).await?) {
        store.delete(&layout.bundle_index(number)).await?;
    }
    Ok(())
}
