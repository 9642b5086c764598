//! Temporary files that a killed process leaves in a lake on a local disk: how they are recognised, and who deletes them.
//!
//! A temporary file is named `.backlake-DATE-…`, or after the object that it becomes, with `#` and a number. Whoever holds
//! the lock on a date deletes those of the date: no other process writes them then. Those of contracts and of table
//! metadata are written by whoever holds the lock on any date, so they are deleted at once only if no other process holds one.
//! Those of locks and of probes are written without a lock, and deleted once they are old.

use std::path::{Path as FsPath, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDate, Utc};
use tracing::info;

use super::delete::below;
use super::holder::may_go_on;
use super::layout::Layout;
use super::lock::Lock;
use super::objects::Store;
use super::probe::PROBE;
use crate::contract::Table;
use crate::error::{Context, Result};

/// A file that was not written for this long belongs to no process that runs. If its process resumes later, it fails to
/// take the lock, and the command can be repeated.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// The same for a file of a run that may already have paid, and for a probe, whose writes are retried for a long time.
const SURELY_ABANDONED_AFTER: Duration = Duration::from_secs(3600);

impl Lock {
    /// Deletes the temporary files of killed processes that no process can still be writing.
    ///
    /// # Errors
    /// A lock that is lost; a disk that fails.
    pub(super) async fn clear_leftovers(&self, now: DateTime<Utc>) -> Result<()> {
        let files = files(self.store())?;
        // After the files were listed: whoever wrote one of them held a lock at that time.
        let is_alone = files.iter().any(|file| file.writer() == Writer::AnyHolder)
            && self.is_the_only_one().await?;
        for file in files {
            let is_abandoned = match file.writer() {
                Writer::HolderOf(date) => date == self.snapshot(),
                Writer::AnyHolder => is_alone || file.is_older(now, SURELY_ABANDONED_AFTER),
                Writer::Taker => file.is_older(now, ABANDONED_AFTER),
                Writer::Prober => file.is_older(now, SURELY_ABANDONED_AFTER),
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

    /// Whether no other process holds a lock of the lake. A process that has ended holds no lock; one that is only late
    /// may resume.
    async fn is_the_only_one(&self) -> Result<bool> {
        let (store, here) = (self.store(), self.owner());
        for date in store.dates_below(&Layout::runs()).await? {
            if date != self.snapshot() && may_go_on(store, date, &here).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Store {
    /// Whether a temporary file of a date exists: of the process that holds its lock, or of one that was interrupted.
    ///
    /// # Errors
    /// A disk that fails.
    pub(crate) fn has_leftovers_of(&self, snapshot: NaiveDate) -> Result<bool> {
        let found = files(self)?;
        let of_date = Writer::HolderOf(snapshot);
        Ok(found.iter().any(|file| file.writer() == of_date))
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
                let when = match file.writer() {
                    Writer::HolderOf(_) => "the next start of its date",
                    Writer::AnyHolder => "the next start that is alone, or any in an hour,",
                    Writer::Taker => "the next start",
                    Writer::Prober => "the next start in an hour or later",
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

/// Who may be writing a temporary file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Only the process that holds the lock on this date.
    HolderOf(NaiveDate),
    /// A process that holds the lock on any date.
    AnyHolder,
    /// A process that takes or holds a lock.
    Taker,
    /// A process that tries out the lake.
    Prober,
}

struct File {
    path: PathBuf,
    /// The path in the lake.
    name: String,
}

impl File {
    fn writer(&self) -> Writer {
        let mut parts = self.name.rsplit('/');
        let name = parts.next().unwrap_or_default();
        if name.starts_with(PROBE) {
            return Writer::Prober;
        }
        if self.name.contains("/locks/") {
            return Writer::Taker;
        }
        let of_folder = parts.find_map(|part| {
            let part = part.strip_prefix("snapshot_date=").unwrap_or(part);
            part.parse().ok()
        });
        let name = name.strip_prefix(".backlake-").unwrap_or(name);
        let date = of_folder.or_else(|| name.get(..10)?.parse().ok());
        date.map_or(Writer::AnyHolder, Writer::HolderOf)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::Owner;

    /// Another process, which holds the lock on another date or has held it.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Other {
        Works,
        Released,
        Ended,
    }

    #[tokio::test(start_paused = true)]
    async fn a_temporary_file_is_deleted_once_no_process_can_be_writing_it() {
        use Other::{Ended, Released, Works};
        let here = Owner::this_process();
        // The file, its age in seconds, the other process, and whether the file is deleted.
        for (name, age, other, deleted) in [
            (".backlake-2026-11-23-x", 0, Works, true),
            (".backlake-2026-11-22-x", 9999, Released, false),
            ("_snapshots/2026-11-23.json#1", 0, Works, true),
            ("_snapshots/2026-11-22.json#1", 9999, Released, false),
            ("pages/snapshot_date=2026-11-23/a.parquet#1", 0, Works, true),
            ("_contracts/pages.v1.toml#1", 0, Works, false),
            ("_contracts/pages.v1.toml#1", 3599, Works, false),
            ("_contracts/pages.v1.toml#1", 3600, Works, true),
            ("_contracts/pages.v1.toml#1", 0, Released, true),
            ("pages/_delta_log/0.json#1", 0, Works, false),
            ("pages/_delta_log/0.json#1", 0, Ended, true),
            ("pages/_iceberg/metadata/v1.metadata.json#1", 0, Ended, true),
            ("_runs/2026-11-23/locks/000001#1", 59, Released, false),
            ("_runs/2026-11-23/locks/000001#1", 60, Works, true),
            ("_runs/.probe-0#1", 3599, Released, false),
            ("_runs/.probe-0#1", 3600, Works, true),
        ] {
            // Only on a machine that can tell.
            if other == Ended && (here.place.is_none() || here.started.is_none()) {
                continue;
            }
            let lake = tempfile::tempdir().unwrap();
            let store = Store::open(lake.path().to_str().unwrap()).unwrap();
            let clock = Clock::simulated("2026-11-23T12:00:00Z".parse().unwrap());
            let owner = Owner {
                started: Some("1".to_owned()),
                place: here.place.clone().filter(|_| other == Ended),
                ..here.clone()
            };
            let yesterday = clock.today().pred_opt().unwrap();
            let of_other = Lock::take(&store, yesterday, owner, &clock).await.unwrap();
            if other == Released {
                of_other.release().await;
            }
            let file = lake.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let modified = SystemTime::from(clock.now()) - Duration::from_secs(age);
            let opened = std::fs::File::create(&file).unwrap();
            opened.set_modified(modified).unwrap();
            let named = store.leftovers(clock.now()).unwrap();
            assert_eq!(named.len(), usize::from(age >= 60), "{name} {age}");
            let lock = Lock::take(&store, clock.today(), here.clone(), &clock);
            let lock = lock.await.unwrap();
            lock.clear_leftovers(clock.now()).await.unwrap();
            assert_eq!(!file.exists(), deleted, "{name} {age} {other:?}");
        }
    }
}
