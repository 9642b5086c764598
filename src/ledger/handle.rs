//! The handle on one snapshot's ledger, and how its objects are read, bundled or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use object_store::path::Path;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::bundle::{Bundles, Place};
use super::pack::parse;
use super::stored::Stored;
use crate::error::{Error, Result};
use crate::store::{Layout, Lock, Store};

/// The ledger of one snapshot.
///
/// A response is here before anything else happens to it. So an interrupted run continues from the
/// ledger, and publishing reads from nothing else.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(super) store: Store,
    pub(super) layout: Layout,
    /// The lock on the snapshot. Without it the ledger is only read.
    pub(super) lock: Option<Arc<Lock>>,
    /// The indexes of the bundles. They are read once, because no process bundles while the lock is
    /// held.
    bundles: Arc<OnceCell<Bundles>>,
}

impl Ledger {
    /// The ledger of this snapshot, to read it.
    #[must_use]
    pub fn new(store: Store, snapshot: NaiveDate) -> Self {
        Self {
            store,
            layout: Layout { snapshot },
            lock: None,
            bundles: Arc::default(),
        }
    }

    /// The ledger of this snapshot, for the owner of the lock on it.
    #[must_use]
    pub fn locked(store: Store, snapshot: NaiveDate, lock: Arc<Lock>) -> Self {
        Self {
            lock: Some(lock),
            ..Self::new(store, snapshot)
        }
    }

    /// The date of the snapshot.
    #[must_use]
    pub fn snapshot(&self) -> NaiveDate {
        self.layout.snapshot
    }

    /// The lock, which everything that deletes needs.
    pub(super) fn lock(&self) -> Result<&Lock> {
        let missing = || Error::unexpected("this ledger was opened only to read it");
        self.lock.as_deref().ok_or_else(missing)
    }

    /// The bundled objects. An object that also exists outside a bundle was put back later, so it
    /// replaces the bundled one.
    pub(super) async fn bundles(&self) -> Result<&Bundles> {
        let read = async || {
            let archive = self.store.list_here(&self.layout.archive()).await?;
            Ok(Bundles::read(&self.store, self.layout, &archive)
                .await?
                .without(&archive))
        };
        self.bundles.get_or_try_init(read).await
    }

    /// The objects in a folder by path, each with its place if it is bundled. An object that also
    /// exists outside a bundle is the later version.
    pub(super) async fn objects_below(
        &self,
        folder: &Path,
    ) -> Result<BTreeMap<Path, Option<Place>>> {
        let bundled = self.bundles().await?.below(folder);
        let mut objects: BTreeMap<_, _> = bundled
            .map(|(path, place)| (path.clone(), Some(place.clone())))
            .collect();
        let unbundled = self.store.list(folder).await?;
        objects.extend(
            unbundled
                .into_iter()
                .map(|object| object.location)
                .filter(|path| !Layout::is_bundle(path))
                .map(|path| (path, None)),
        );
        Ok(objects)
    }

    /// The bytes of an object at its path or in a bundle, or `None` if there is no such object.
    pub(super) async fn bytes(&self, path: &Path, place: Option<&Place>) -> Result<Option<Bytes>> {
        match place {
            Some(place) => place.read(&self.store).await,
            None => self.store.get(path).await,
        }
    }

    /// Reads and parses an object that is never bundled.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: Path) -> Result<Stored<T>> {
        let bytes = self.store.get(&path).await?;
        Ok(parse(path, bytes).await)
    }
}
