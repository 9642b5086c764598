//! The only place that deletes objects of the lake: while the lock on their snapshot is held, and never outside the lake.
//!
//! # What this guarantees
//! - Before every deletion [`Lock::ensure`] makes sure that this process still holds the lock. A process that was stopped
//!   and taken over deletes nothing of its successor. The one exception is a marker that only this process writes: it is
//!   deleted when the lock is released.
//! - A lock deletes nothing that belongs to another date. Expired metadata of a table format belongs to all dates.
//! - On a local disk, links are never followed. A link is deleted like a file, and nothing below a link is deleted.
//! - An object that does not exist counts as deleted, so each caller can repeat its deletions. Deletions are not synced:
//!   after a crash a deleted object can exist again.

use std::io;
use std::path::{Path as FsPath, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use tracing::warn;

use super::layout::Layout;
use super::lock::Lock;
use super::objects::Store;
use super::whole::blocking;
use crate::error::{Context, Error, Result};

/// Objects that are deleted by one request, if the store supports it.
const AT_ONCE: usize = 1000;

impl Lock {
    /// Deletes an object if it exists.
    ///
    /// # Errors
    /// A lock that is lost; a path behind a link; a lake that fails.
    pub(crate) async fn delete(&self, path: &Path) -> Result<()> {
        self.covers(path)?;
        self.ensure().await?;
        self.store().remove(path).await
    }

    /// Deletes objects, many per request if the store supports it.
    ///
    /// # Errors
    /// As [`Lock::delete`].
    pub(crate) async fn delete_all(&self, paths: Vec<Path>) -> Result<()> {
        for path in &paths {
            self.covers(path)?;
        }
        if self.store().root().is_some() {
            for path in &paths {
                self.delete(path).await?;
            }
            return Ok(());
        }
        for some in paths.chunks(AT_ONCE) {
            self.ensure().await?;
            self.store().remove_all(some.to_vec()).await?;
        }
        Ok(())
    }

    /// Deletes everything below a folder.
    ///
    /// # Errors
    /// As [`Lock::delete`].
    pub(crate) async fn clear(&self, folder: &Path) -> Result<()> {
        self.covers(folder)?;
        let store = self.store();
        let Some(directory) = store.on_disk(folder) else {
            let found = store.list(folder).await?;
            let found = found.into_iter().map(|object| object.location);
            return self.delete_all(found.collect()).await;
        };
        store.refuse_links(folder)?;
        let failed = || format!("failed to delete {folder} in the lake");
        for entry in below(&directory).context(failed)? {
            self.ensure().await?;
            blocking(move || entry.remove()).await.context(failed)?;
        }
        Ok(())
    }

    /// Deletes a folder with everything in it. On a local disk it disappears at once, because it is first renamed to
    /// `aside`.
    ///
    /// # Errors
    /// As [`Lock::delete`].
    pub(crate) async fn remove_folder(&self, folder: &Path, aside: &Path) -> Result<()> {
        self.covers(folder)?;
        let store = self.store();
        if let (Some(from), Some(to)) = (store.on_disk(folder), store.on_disk(aside)) {
            store.refuse_links(folder)?;
            self.clear(aside).await?;
            self.ensure().await?;
            let renamed = blocking(move || {
                std::fs::create_dir_all(to.parent().unwrap_or(&to))?;
                ignore_missing(std::fs::rename(&from, &to))
            });
            renamed
                .await
                .context(|| format!("failed to delete {folder} in the lake"))?;
            return self.clear(aside).await;
        }
        self.clear(folder).await
    }

    /// Deletes a marker as the very last thing that this process does, after the lock is released: as long as it exists,
    /// the process has not come to its end. No other process may write a marker of this name.
    pub(crate) fn delete_last(&self, marker: Path) {
        self.markers.lock().push(marker);
    }

    /// Deletes these markers. The lock is released.
    pub(super) async fn delete_markers(&self) {
        let markers = std::mem::take(&mut *self.markers.lock());
        for marker in markers {
            if let Err(error) = self.store().remove(&marker).await {
                warn!(%error, "failed to delete a marker of this start");
            }
        }
    }

    /// Deletes a temporary file or empty folder of a lake on a local disk, which was found without following a link.
    pub(super) async fn delete_file(&self, file: PathBuf) -> Result<()> {
        self.ensure().await?;
        let failed = format!("failed to delete {}", file.display());
        let entry = Entry {
            is_folder: std::fs::symlink_metadata(&file).is_ok_and(|found| found.is_dir()),
            path: file,
        };
        blocking(move || entry.remove()).await.context(|| failed)
    }

    /// Refuses a path that does not belong to the lock's date. Metadata of a table format belongs to all dates.
    fn covers(&self, path: &Path) -> Result<()> {
        let date = self.snapshot().to_string();
        if path.as_ref().contains(&date) || Layout::is_table_metadata(path) {
            return Ok(());
        }
        let message = format!("the lock on snapshot {date} does not cover {path}");
        Err(Error::unexpected(message).with_hint("nothing was deleted; please report this defect"))
    }
}

impl Store {
    /// Deletes an object. Only [`Lock`] calls this.
    pub(super) async fn remove(&self, path: &Path) -> Result<()> {
        let failed = || format!("failed to delete {path} in the lake");
        let Some(file) = self.on_disk(path) else {
            return match self.objects().delete(path).await {
                Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
                Err(error) => Err(error).context(failed),
            };
        };
        self.refuse_links(path)?;
        blocking(move || ignore_missing(std::fs::remove_file(file)))
            .await
            .context(failed)
    }

    async fn remove_all(&self, paths: Vec<Path>) -> Result<()> {
        let paths = futures::stream::iter(paths).map(Ok).boxed();
        let deleted = self.objects().delete_stream(paths);
        let deleted = deleted.or_else(async |error| match error {
            object_store::Error::NotFound { path, .. } => Ok(Path::from(path)),
            error => Err(error),
        });
        deleted
            .try_for_each(async |_| Ok(()))
            .await
            .context(|| "failed to delete objects in the lake")
    }

    /// Refuses a path that a link leads to: what is there may be outside the lake. The path itself may be a link.
    ///
    /// # Errors
    /// A usage error that names the link. Without a local disk there are no links.
    pub(crate) fn refuse_links(&self, path: &Path) -> Result<()> {
        let Some(root) = self.root() else {
            return Ok(());
        };
        let mut folder = root.to_path_buf();
        let parts: Vec<_> = path.parts().collect();
        for part in &parts[..parts.len().saturating_sub(1)] {
            folder.push(part.as_ref());
            let found = std::fs::symlink_metadata(&folder);
            if found.is_ok_and(|found| found.file_type().is_symlink()) {
                let link = folder.display();
                let message = format!("{link} is a link: {path} may be outside the lake");
                let hint = "nothing was deleted there; delete the link, or replace it with the folder that it points to, then run the same command again";
                return Err(Error::unexpected(message).with_hint(hint));
            }
        }
        Ok(())
    }
}

/// A file, link or folder on a local disk.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    is_folder: bool,
}

impl Entry {
    /// Deletes it. A folder must be empty.
    pub(super) fn remove(&self) -> io::Result<()> {
        ignore_missing(if self.is_folder {
            std::fs::remove_dir(&self.path)
        } else {
            std::fs::remove_file(&self.path)
        })
    }
}

/// A folder and everything in it, in an order in which it can be deleted. Links are not followed.
pub(super) fn below(folder: &FsPath) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let is_folder = match std::fs::symlink_metadata(&path) {
            Ok(entry) => entry.is_dir(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if is_folder {
            for entry in std::fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
        found.push(Entry { path, is_folder });
    }
    // A folder was found before its entries.
    found.reverse();
    Ok(found)
}

fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use chrono::DateTime;
    use object_store::memory::InMemory;

    use super::super::owner::Owner;
    use super::*;
    use crate::clock::Clock;
    use crate::error::ErrorKind;

    fn owner(pid: u32) -> Owner {
        Owner {
            host: "pod".to_owned(),
            pid,
            started: None,
            place: None,
        }
    }

    fn clock() -> Clock {
        Clock::simulated(DateTime::from_timestamp(1_790_000_000, 0).unwrap())
    }

    /// The four ways to delete.
    #[derive(Debug, Clone, Copy)]
    enum Way {
        Delete,
        DeleteAll,
        Clear,
        RemoveFolder,
    }

    impl Way {
        const ALL: [Self; 4] = [
            Self::Delete,
            Self::DeleteAll,
            Self::Clear,
            Self::RemoveFolder,
        ];

        /// Deletes the object `folder/object` in this way.
        async fn delete(self, lock: &Lock, folder: &Path) -> Result<()> {
            let object = folder.clone().join("object");
            let layout = Layout {
                snapshot: lock.snapshot(),
            };
            match self {
                Self::Delete => lock.delete(&object).await,
                Self::DeleteAll => lock.delete_all(vec![object]).await,
                Self::Clear => lock.clear(folder).await,
                Self::RemoveFolder => {
                    let aside = layout.staging_root().join("aside");
                    lock.remove_folder(folder, &aside).await
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_taken_over_deletes_nothing() {
        let disk = tempfile::tempdir().unwrap();
        let on_disk = Store::open(disk.path().to_str().unwrap()).unwrap();
        let in_memory = Store::over(Arc::new(InMemory::new()), "memory");
        for (store, way) in [on_disk, in_memory]
            .iter()
            .flat_map(|store| Way::ALL.map(|way| (store, way)))
        {
            let clock = clock();
            let snapshot = clock.today();
            let folder = Layout { snapshot }.archive();
            let object = folder.clone().join("object");
            store.put(&object, Bytes::new()).await.unwrap();
            let stopped = Lock::take(store, snapshot, owner(1), &clock).await.unwrap();
            clock.sleep(Duration::from_secs(120)).await;
            let successor = Lock::take(store, snapshot, owner(2), &clock).await.unwrap();
            let error = way.delete(&stopped, &folder).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Locked, "{way:?}");
            assert!(store.get(&object).await.unwrap().is_some(), "{way:?}");
            // The successor deletes it, and can repeat that.
            for _ in 0..2 {
                way.delete(&successor, &folder).await.unwrap();
                assert!(store.get(&object).await.unwrap().is_none(), "{way:?}");
            }
            successor.release().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_deletes_nothing_of_another_date() {
        let store = Store::over(Arc::new(InMemory::new()), "memory");
        let clock = clock();
        let lock = Lock::take(&store, clock.today(), owner(1), &clock)
            .await
            .unwrap();
        for folder in ["_archive/2020-01-01", "_contracts", ""] {
            for way in Way::ALL {
                let error = way.delete(&lock, &Path::from(folder)).await.unwrap_err();
                assert!(error.to_string().contains("does not cover"), "{error}");
            }
        }
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn links_are_never_followed() {
        for way in Way::ALL {
            let (lake, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let object = outside.path().join("object");
            std::fs::write(&object, "outside").unwrap();
            let store = Store::open(lake.path().to_str().unwrap()).unwrap();
            let clock = clock();
            let snapshot = clock.today();
            let lock = Lock::take(&store, snapshot, owner(1), &clock)
                .await
                .unwrap();
            let archive = Layout { snapshot }.archive();
            let folder = lake.path().join(archive.as_ref());
            let link = |at: &FsPath| {
                std::fs::create_dir_all(at.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink(outside.path(), at).unwrap();
            };
            // A folder above the object is a link, at any depth.
            for at in [lake.path().join("_archive"), folder.clone()] {
                link(&at);
                let below = archive.clone().join("folder");
                let error = way.delete(&lock, &below).await.unwrap_err();
                let name = at.canonicalize().unwrap();
                assert_eq!(name, outside.path().canonicalize().unwrap());
                assert!(error.to_string().contains("is a link"), "{way:?}: {error}");
                std::fs::remove_file(at).unwrap();
                let _ = std::fs::remove_dir(lake.path().join("_archive"));
            }
            // What is deleted is a link itself, or holds one: only the link goes.
            match way {
                Way::Delete | Way::DeleteAll => link(&folder.join("object")),
                Way::Clear => link(&folder),
                Way::RemoveFolder => link(&folder.join("child")),
            }
            way.delete(&lock, &archive).await.unwrap();
            assert!(std::fs::symlink_metadata(folder.join("object")).is_err());
            if let Way::Clear | Way::RemoveFolder = way {
                assert!(std::fs::symlink_metadata(&folder).is_err());
            }
            // The place that a folder is moved to before it is deleted is a link.
            let _ = std::fs::remove_dir_all(lake.path().join("_staging"));
            link(&lake.path().join("_staging").join(snapshot.to_string()));
            let moved = Way::RemoveFolder.delete(&lock, &archive).await;
            assert!(moved.unwrap_err().to_string().contains("is a link"));
            let kept = std::fs::read_dir(outside.path()).unwrap().count();
            assert_eq!(
                (std::fs::read_to_string(&object).unwrap(), kept),
                ("outside".to_owned(), 1)
            );
        }
    }
}
