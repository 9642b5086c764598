//! The spill folder: where paid responses wait on the local disk if the lake cannot take them for long.
//!
//! It is the last resort. A response that is spilled is put into the archive by the next start of the same run on this
//! machine, before anything is asked again. Its file is named after the tag of its attempt, because attempt numbers
//! repeat from run to run. A response whose run the lake does not know, for example because the disk is not mounted, is
//! never deleted.

use std::path::{Path as FsPath, PathBuf};

use bytes::Bytes;
use tracing::{info, warn};

use super::attempt::{Attempt, Intent};
use super::handle::Ledger;
use super::stored::Stored;
use crate::error::{Context, Error, Result, advice};
use crate::store::{AttemptId, Layout, write_whole};

impl Ledger {
    /// Keeps a packed response in the spill folder, and returns the error that says where.
    pub(super) async fn spill(&self, attempt: &Attempt, packed: Bytes, cause: Error) -> Error {
        let Some(folder) = self.spill_folder() else {
            return cause;
        };
        let id = attempt.id;
        let file = folder.join(name(&attempt.tag));
        let written = write(folder, file.clone(), packed).await;
        let message = format!("the lake does not take the response to attempt {id}");
        let advice = advice(&cause).unwrap_or("resolve what the lake says");
        match written {
            Ok(()) => {
                let file = file.display();
                warn!(%file, "the lake does not take a response; it is kept on the local disk");
                let hint = format!(
                    "nothing is lost: the response is kept in {file}; {advice}, then run the same command on this machine: it puts the response into the archive and continues"
                );
                Error::unexpected(message).caused_by(cause).with_hint(hint)
            }
            Err(error) => {
                warn!(%error, "failed to keep a response on the local disk");
                let hint = format!(
                    "its targets are asked for again, which costs money; {advice}, then run the same command"
                );
                let message = format!("{message}, and it could not be kept in {}", file.display());
                Error::unexpected(message).caused_by(cause).with_hint(hint)
            }
        }
    }

    /// Puts the spilled responses of this snapshot into the archive.
    pub(super) async fn take_spilled(&self) -> Result<()> {
        let (Some(folder), Some(_)) = (self.spill_folder(), &self.lock) else {
            return Ok(());
        };
        let files = match std::fs::read_dir(&folder) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).context(|| unreadable(&folder)),
        };
        private(&folder).context(|| unreadable(&folder))?;
        for file in files {
            let file = file.context(|| unreadable(&folder))?.path();
            let Some(spilled) = file
                .file_name()
                .and_then(|name| Spilled::parse(name.to_str()?))
            else {
                continue;
            };
            let path = self.layout.response(spilled.id);
            match self.need(&spilled).await? {
                Need::Wanted => {
                    let packed = std::fs::read(&file).context(|| unreadable(&folder))?;
                    self.store.put(&path, packed.into()).await?;
                    info!(attempt = %spilled.id, "put a response that was kept on the local disk into the archive");
                }
                Need::Unneeded => {
                    warn!(file = %file.display(), "a response that was kept on the local disk is not needed; deleting it");
                }
                Need::Unknown => {
                    warn!(file = %file.display(), "a paid response of run {} is kept on the local disk, but this lake does not know that run: check that the lake is mounted; if that lake is gone for good, delete the file", spilled.run);
                    continue;
                }
            }
            std::fs::remove_file(&file).context(|| unreadable(&folder))?;
        }
        // Only empty folders go: that of the date, and that of the lake if no other date has responses here.
        for folder in folder.ancestors().take(2) {
            let _ = std::fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Whether the lake needs a spilled response.
    async fn need(&self, spilled: &Spilled<'_>) -> Result<Need> {
        let records = self.all_runs().await?;
        let is_known = records.iter().any(|record| record.run == spilled.run);
        let intent = self.read::<Intent>(self.layout.intent(spilled.id)).await?;
        let is_asked_for = match intent {
            Stored::Whole(intent) => name(&intent.tag) == spilled.name,
            // A damaged intent still proves that a request was sent.
            Stored::Damaged(_) => is_known,
            Stored::Missing => false,
        };
        if is_asked_for {
            let arrived = self.store.get(&self.layout.response(spilled.id)).await?;
            return Ok(if arrived.is_none() {
                Need::Wanted
            } else {
                Need::Unneeded
            });
        }
        // Pruning deletes the intents of a run, and then its record.
        Ok(if is_known || self.is_pruned().await? {
            Need::Unneeded
        } else {
            Need::Unknown
        })
    }

    /// Whether the response to an attempt is in the spill folder. One of another run may have the same id.
    ///
    /// # Errors
    /// A lake that fails.
    pub(super) async fn is_spilled(&self, id: AttemptId) -> Result<bool> {
        let files = self
            .spill_folder()
            .and_then(|folder| std::fs::read_dir(folder).ok());
        for file in files.into_iter().flatten().flatten() {
            let name = file.file_name();
            if let Some(spilled) = name.to_str().and_then(Spilled::parse)
                && spilled.id == id
                && matches!(self.need(&spilled).await?, Need::Wanted)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn spill_folder(&self) -> Option<PathBuf> {
        let folder = self.store.spill()?;
        Some(folder.join(self.layout.snapshot.to_string()))
    }
}

fn unreadable(folder: &FsPath) -> String {
    format!(
        "failed to read the responses that are kept in {}",
        folder.display()
    )
}

/// The name of the file of the response to an attempt with this tag.
fn name(tag: &str) -> String {
    format!("{}.json.zst", tag.replace('/', "."))
}

/// A response in the spill folder.
struct Spilled<'a> {
    name: &'a str,
    run: &'a str,
    id: AttemptId,
}

impl<'a> Spilled<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (run, id) = name.split_once('.')?;
        let id = Layout::attempt_of(id)?;
        Some(Self { name, run, id })
    }
}

/// What a spilled response is to the lake.
enum Need {
    /// The attempt has no other response.
    Wanted,
    /// Not needed: the response has arrived after all, or its run was pruned.
    Unneeded,
    /// The lake does not know the run.
    Unknown,
}

async fn write(folder: PathBuf, file: PathBuf, packed: Bytes) -> Result<()> {
    let failed = format!("failed to write {}", file.display());
    let written = tokio::task::spawn_blocking(move || {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // A start for another date may delete the lake's empty folder in between.
        if builder.create(&folder).is_err() {
            builder.create(&folder)?;
        }
        private(&folder)?;
        write_whole(&file, &packed)
    });
    written
        .await
        .context(|| "writing a response panicked")?
        .context(|| failed)
}

/// Refuses a folder that someone else may have prepared.
fn private(folder: &FsPath) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        for folder in [Some(folder), folder.parent()].into_iter().flatten() {
            let found = std::fs::symlink_metadata(folder)?;
            if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
                let message = format!("{} belongs to someone else", folder.display());
                return Err(std::io::Error::other(message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;
    use object_store::memory::InMemory;

    use super::super::pack::pack;
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn a_spilled_response_of_another_run_is_not_taken_for_that_of_an_attempt() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::over(Arc::new(InMemory::new()), "memory");
        let store = store.with_spill(place.path().to_str().unwrap());
        let sent_at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let ledger = Ledger::new(store, sent_at.date_naive());
        let id = AttemptId {
            batch: 5,
            attempt: 1,
        };
        let intent = Intent {
            id,
            tag: format!("ours/{id}"),
            sent_at,
            reserved: "0.06".parse().unwrap(),
            root_domains: 1,
            targets: ["example.com"].into_iter().collect(),
        };
        let json = serde_json::to_vec(&intent).unwrap();
        let packed = pack(json.into()).await.unwrap();
        let path = ledger.layout.intent(id);
        ledger.store.put(&path, packed).await.unwrap();
        let folder = ledger.spill_folder().unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        for (run, is_spilled) in [("another", false), ("ours", true)] {
            let file = folder.join(name(&format!("{run}/{id}")));
            std::fs::write(file, "").unwrap();
            assert_eq!(ledger.is_spilled(id).await.unwrap(), is_spilled, "{run}");
        }
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
}
