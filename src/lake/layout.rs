//! Every path in the lake, and nothing else knows one.

use chrono::NaiveDate;
use object_store::path::Path;

use crate::contract::Table;
use crate::fetch::AttemptId;

/// The paths of one snapshot, relative to the lake's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The snapshot's date.
    pub snapshot: NaiveDate,
}

impl Layout {
    /// The folder of all manifests.
    pub(super) fn manifests() -> Path {
        Path::from("_snapshots")
    }

    /// The manifest: written last, so the snapshot is published if and only if it is there.
    pub(super) fn manifest(self) -> Path {
        Path::from(format!("_snapshots/{}.json", self.snapshot))
    }

    /// The snapshot's partition of a table.
    pub(super) fn partition(self, table: Table) -> Path {
        Path::from(format!("{}/snapshot_date={}", table.name(), self.snapshot))
    }

    /// Where a run writes the files of a table before they are published.
    pub(super) fn staging(self, run: &str, table: Table) -> Path {
        Path::from(format!("_staging/{}/{run}/{}", self.snapshot, table.name()))
    }

    /// The folder of everything a run stages.
    pub(super) fn staging_root(self) -> Path {
        Path::from(format!("_staging/{}", self.snapshot))
    }

    /// The answer to an attempt as received.
    pub(super) fn answer(self, id: AttemptId) -> Path {
        Path::from(format!("_archive/{}/{id}.json.zst", self.snapshot))
    }

    /// The folder of what all runs need to continue, a folder a date.
    pub(super) fn runs() -> Path {
        Path::from("_runs")
    }

    /// What names the run that fills this snapshot.
    pub(super) fn run(self) -> Path {
        Path::from(format!("_runs/{}/run.json", self.snapshot))
    }

    /// The folder of the locks on this snapshot.
    pub(super) fn locks(self) -> Path {
        Path::from(format!("_runs/{}/locks", self.snapshot))
    }

    /// A lock on this snapshot: the one with the highest number holds.
    pub(super) fn lock(self, number: u32) -> Path {
        Path::from(format!("_runs/{}/locks/{number:06}.json", self.snapshot))
    }

    /// The number in the name of a lock.
    pub(super) fn lock_number(path: &Path) -> Option<u32> {
        path.filename()?.strip_suffix(".json")?.parse().ok()
    }

    /// What the last start of the run came to.
    pub(super) fn summary(self) -> Path {
        Path::from(format!("_runs/{}/summary.json", self.snapshot))
    }

    /// The same beside the manifest, once the snapshot is published.
    pub(super) fn published_summary(self) -> Path {
        Path::from(format!("_snapshots/{}.summary.json", self.snapshot))
    }

    /// The folder of the targets that were refused, an object a snapshot.
    pub(super) fn all_refused() -> Path {
        Path::from("_runs/refused")
    }

    /// The targets that were refused while this snapshot was fetched.
    pub(super) fn refused(self) -> Path {
        Path::from(format!("_runs/refused/{}.json.zst", self.snapshot))
    }

    /// The folder of the intents.
    pub(super) fn intents(self) -> Path {
        Path::from(format!("_runs/{}/intents", self.snapshot))
    }

    /// The intent of an attempt.
    pub(super) fn intent(self, id: AttemptId) -> Path {
        Path::from(format!("_runs/{}/intents/{id}.json.zst", self.snapshot))
    }

    /// The folder of the attempts that have ended.
    pub(super) fn attempts(self) -> Path {
        Path::from(format!("_runs/{}/attempts", self.snapshot))
    }

    /// How an attempt ended.
    pub(super) fn attempt(self, id: AttemptId) -> Path {
        Path::from(format!("_runs/{}/attempts/{id}.json", self.snapshot))
    }

    /// The batch that the name of an intent's or an attempt's file begins with; 0 for a stranger.
    pub(super) fn batch_of(path: &Path) -> u32 {
        let name = path.filename().unwrap_or_default();
        name.split_once('-').and_then(|(batch, _)| batch.parse().ok()).unwrap_or_default()
    }

    /// The date that a manifest's path names.
    pub(super) fn date_of(path: &Path) -> Option<NaiveDate> {
        path.filename()?.strip_suffix(".json")?.parse().ok()
    }
}
