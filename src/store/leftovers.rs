//! Temporary files that a killed process leaves in a lake on a local disk: how they are recognised, and who deletes them.
//!
//! A temporary file is named `.backlake-DATE-…`, or after the object that it becomes, with `#` and a number. Whoever holds
//! the lock on a date deletes those of the date: no other process writes them then. Those of locks, of no date and of
//! probes are deleted by whoever holds any lock, once they are old.

use std::path::{Path as FsPath, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDate, Utc};
use tracing::info;

use super::delete::below;
use super::lock::Lock;
use super::objects::Store;
use super::probe::PROBE;
use crate::contract::Table;
use crate::error::{Context, Result};

/// A file that was not written for this long belongs to no process that runs.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// The same for a file that belongs to no date, so that no lock decides, and for a lock: whoever wants it writes it
/// without having it.
const SURELY_ABANDONED_AFTER: Duration = Duration::from_secs(3600);

impl Lock {
    /// Deletes what killed processes have left of the lock's date.
    ///
    /// # Errors
    /// A lock that is lost; a disk that fails.
    pub(super) async fn clear_leftovers(&self, now: DateTime<Utc>) -> Result<()> {
        for file in files(self.store())? {
            let is_abandoned = match file.may_be_in_use() {
                true => file.is_older(now, SURELY_ABANDONED_AFTER),
                false => file.is_of(self.snapshot()),
            };
            if is_abandoned {
                self.delete_file(file.path).await?;
                info!(
                    file = file.name,
                    "deleted what an interrupted process has left"
                );
            }
        }
        Ok(())
    }
}

impl Store {
    /// Whether a temporary file of a date exists: of the process that holds its lock, or of one that was interrupted.
    ///
    /// # Errors
    /// A disk that fails.
    pub(crate) fn has_leftovers_of(&self, snapshot: NaiveDate) -> Result<bool> {
        let found = files(self)?;
        Ok(found.iter().any(|file| file.is_of(snapshot)))
    }

    /// Temporary files that an interrupted process has left, each with what to do about it.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn leftovers(&self, now: DateTime<Utc>) -> Result<Vec<String>> {
        let found = files(self)?;
        let found = found
            .into_iter()
            .filter(|file| file.is_older(now, ABANDONED_AFTER))
            .map(|file| {
                let when = match file.may_be_in_use() {
                    true => "the next start in an hour or later",
                    false => "the next start of its date",
                };
                format!(
                    "{} is left over from an interrupted process; {when} deletes it",
                    file.name
                )
            });
        Ok(found.collect())
    }
}

/// The name of a temporary file of a date, without its random end.
pub(super) fn prefix(snapshot: NaiveDate) -> String {
    format!(".backlake-{snapshot}-")
}

fn is_temporary(name: &str) -> bool {
    name.starts_with(".backlake-")
        || name.starts_with(PROBE)
        || name.rsplit_once('#').is_some_and(|(_, number)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

struct File {
    path: PathBuf,
    /// The path in the lake.
    name: String,
}

impl File {
    /// The date whose lock the process that writes it has; `None` if it belongs to no date.
    fn date(&self) -> Option<NaiveDate> {
        let mut parts = self.name.rsplit('/');
        let name = parts.next().unwrap_or_default();
        let of_folder = parts.find_map(|part| {
            let part = part.strip_prefix("snapshot_date=").unwrap_or(part);
            part.parse().ok()
        });
        let name = name.strip_prefix(".backlake-").unwrap_or(name);
        of_folder.or_else(|| name.get(..10)?.parse().ok())
    }

    /// Whether only the process that holds the lock on this date writes it.
    fn is_of(&self, snapshot: NaiveDate) -> bool {
        self.date() == Some(snapshot) && !self.may_be_in_use()
    }

    /// Whether another process may be writing it, whatever lock this one has.
    fn may_be_in_use(&self) -> bool {
        self.date().is_none() || self.name.contains("/locks/")
    }

    fn is_older(&self, now: DateTime<Utc>, age: Duration) -> bool {
        let modified = std::fs::symlink_metadata(&self.path).and_then(|found| found.modified());
        let age_now = modified.map(|modified| SystemTime::from(now).duration_since(modified));
        age_now.is_ok_and(|age_now| age_now.is_ok_and(|age_now| age_now >= age))
    }
}

/// The temporary files of a lake on a local disk. Links are not followed.
fn files(store: &Store) -> Result<Vec<File>> {
    let Some(root) = store.root() else {
        return Ok(Vec::new());
    };
    let failed = || format!("failed to list {}", root.display());
    let folders = [
        "_runs",
        "_archive",
        "_snapshots",
        "_contracts",
        "_reports",
        "_alerts",
    ]
    .map(FsPath::new);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).context(failed)? {
        found.push(entry.context(failed)?.path());
    }
    for folder in folders
        .into_iter()
        .chain(Table::ALL.iter().map(|table| FsPath::new(table.name())))
    {
        let entries = below(&root.join(folder)).context(failed)?;
        found.extend(entries.into_iter().map(|entry| entry.path));
    }
    found.retain(|path| {
        path.file_name()
            .is_some_and(|name| is_temporary(&name.to_string_lossy()))
    });
    found.sort();
    Ok(found
        .into_iter()
        .map(|path| File {
            name: path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned(),
            path,
        })
        .collect())
}
