//! Tries what backlake relies on before anything is paid: what a store does not do is named, and nothing is left behind.

use std::io;
use std::path::Path as FsPath;

use bytes::Bytes;
use chrono::TimeDelta;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};

use super::diagnosis::{NO_CREDENTIALS, Reason, reason};
use super::digest::sha256;
use super::layout::Layout;
use super::objects::Store;
use super::owner::Owner;
use super::patience::{asks_metadata_service, is_denied};
use crate::error::{Error, Result};

/// How the names of probes begin.
pub(super) const PROBE: &str = ".probe-";
/// A probe that was not written for this long belongs to no process that runs.
const ABANDONED_AFTER: TimeDelta = TimeDelta::hours(1);
const NOT_DELETED: &str = "an object that was deleted can still be read";

impl Store {
    /// Tries what backlake relies on: write, write only if absent, replace only if unchanged, read, list, delete, and on
    /// a local disk to move files and folders. Leaves nothing behind. The probe is named after its process.
    ///
    /// # Errors
    /// A usage error that names what the lake does not do or permit; an unexpected error if it fails for another reason.
    pub async fn probe(&self, owner: &Owner) -> Result<()> {
        self.strict().try_everything(owner).await
    }

    async fn try_everything(&self, owner: &Owner) -> Result<()> {
        let owner = format!("{owner:?}");
        let owner = sha256(owner.as_bytes());
        let name = format!("{PROBE}{}", &owner[..16]);
        let path = Layout::runs().join(name.as_str());
        let tried = self.try_objects(&path).await;
        let deleted = self.remove(&path).await;
        tried.map_err(|error| self.not_usable(error))?;
        let found = match deleted {
            Ok(()) => self.get(&path).await,
            Err(error) => Err(error),
        };
        let found = found.map_err(|error| self.not_usable(Failure::Other(error)))?;
        if found.is_some() {
            return Err(self.lacks(NOT_DELETED));
        }
        let Some(root) = self.root() else {
            return Ok(());
        };
        for folder in Layout::written() {
            let folder = root.join(folder.as_ref());
            if folder.is_dir() {
                try_to_move(root, &folder, &name).map_err(|error| {
                    let message = format!(
                        "[lake] url: failed to move a folder from {} to {}",
                        root.display(),
                        folder.display()
                    );
                    let hint = match error.kind() {
                        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "nothing was sent; give the user of this process the right to write to both",
                        _ => "nothing was sent; the folders of a lake must be on one volume, and links or mounts in it must not lead to another one",
                    };
                    Error::usage(message).caused_by(error).with_hint(hint)
                })?;
            }
        }
        Ok(())
    }

    async fn try_objects(&self, path: &Path) -> Result<(), Failure> {
        // A probe that was killed may have left its object.
        self.remove(path).await.map_err(Failure::Other)?;
        if self.get(path).await.map_err(Failure::Other)?.is_some() {
            return Err(Failure::Lacks(NOT_DELETED));
        }
        let objects = self.objects();
        let create = || PutOptions::from(PutMode::Create);
        let put = |text: &'static str| Bytes::from_static(text.as_bytes()).into();
        objects.put_opts(path, put("first"), create()).await?;
        match objects.put_opts(path, put("second"), create()).await {
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Ok(_) => {
                return Err(Failure::Lacks(
                    "an object that exists is overwritten by a write that must only create it",
                ));
            }
            Err(error) => return Err(error.into()),
        }
        let found = objects.get(path).await?;
        let version = UpdateVersion {
            e_tag: found.meta.e_tag.clone(),
            version: found.meta.version.clone(),
        };
        if found.bytes().await? != "first" {
            return Err(Failure::Lacks(
                "an object has other bytes than were written",
            ));
        }
        let listed = self.list_here(&Layout::runs()).await;
        let listed = listed.map_err(Failure::Other)?;
        let Some(own) = listed.iter().find(|object| object.location == *path) else {
            return Err(Failure::Lacks("an object that was written is not listed"));
        };
        // Of processes that were killed. The clock of the store decides.
        for other in &listed {
            let is_probe = other
                .location
                .filename()
                .is_some_and(|name| name.starts_with(PROBE));
            if is_probe && own.last_modified - other.last_modified > ABANDONED_AFTER {
                self.remove(&other.location).await.map_err(Failure::Other)?;
            }
        }
        // A local disk has no conditional write; there, the lock is enough.
        if self.root().is_some() {
            return Ok(());
        }
        let update = || PutOptions::from(PutMode::Update(version.clone()));
        objects.put_opts(path, put("third"), update()).await?;
        match objects.put_opts(path, put("fourth"), update()).await {
            Err(
                object_store::Error::Precondition { .. }
                | object_store::Error::AlreadyExists { .. },
            ) => Ok(()),
            Ok(_) => Err(Failure::Lacks(
                "an object that has changed is overwritten by a write that must only replace an unchanged one",
            )),
            Err(error) => Err(error.into()),
        }
    }

    fn not_usable(&self, failure: Failure) -> Error {
        let message = || format!("[lake] url: failed to write to {}", self.display());
        let error = match failure {
            Failure::Lacks(what) => return self.lacks(what),
            Failure::Store(
                object_store::Error::NotImplemented { .. }
                | object_store::Error::NotSupported { .. },
            ) => return self.lacks("it does not support conditional writes"),
            Failure::Other(error) => error,
            Failure::Store(error) => Error::unexpected(message()).caused_by(error),
        };
        match self.explained(error) {
            Ok(error) => {
                let hint = format!("nothing was sent; {}", error.hint());
                error.with_hint(hint)
            }
            Err(error) if is_denied(&error) => Error::usage(message()).caused_by(error),
            Err(error) => error,
        }
    }

    /// Restates an error of the store in terms of its setup (bucket, credentials, region), if the setup is its cause.
    #[must_use]
    pub fn in_words(&self, error: Error) -> Error {
        match self.explained(error) {
            Err(error) if is_denied(&error) => {
                let message = format!("failed to read the lake {}", self.display());
                let hint = "run the command as a user who may read the lake";
                Error::usage(message).caused_by(error).with_hint(hint)
            }
            Ok(error) | Err(error) => error,
        }
    }

    /// The error in terms of the setup; `Err` with the error as it is if the setup is not its cause.
    fn explained(&self, error: Error) -> std::result::Result<Error, Error> {
        if self.root().is_some() {
            return Err(error);
        }
        if asks_metadata_service(&error) {
            let message = format!("[lake] url: no credentials for {}", self.display());
            return Ok(Error::usage(message).with_hint(NO_CREDENTIALS));
        }
        match reason(&error) {
            Some(Reason { kind, what, hint }) => {
                let message = format!("[lake] url: {}: {what}", self.display());
                Ok(Error::new(*kind, message).caused_by(error).with_hint(*hint))
            }
            None => Err(error),
        }
    }

    fn lacks(&self, what: &str) -> Error {
        let message = format!("[lake] url: {} cannot hold a lake: {what}", self.display());
        Error::usage(message).with_hint("nothing was sent; use a store that supports conditional writes (If-None-Match and If-Match), or a local disk")
    }
}

/// Why a probe failed.
enum Failure {
    Lacks(&'static str),
    Store(object_store::Error),
    Other(Error),
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

/// Moves an empty folder from the lake's root to a folder and deletes it.
fn try_to_move(root: &FsPath, folder: &FsPath, name: &str) -> io::Result<()> {
    let (from, to) = (root.join(name), folder.join(name));
    // A probe that was killed may have left them.
    let _ = std::fs::remove_dir(&to);
    let _ = std::fs::remove_dir(&from);
    std::fs::create_dir(&from)?;
    let moved = std::fs::rename(&from, &to);
    let deleted = std::fs::remove_dir(if moved.is_ok() { &to } else { &from });
    moved.and(deleted)
}
