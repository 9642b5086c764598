//! Every path in the lake, and nothing else knows one.

use std::fmt;

use chrono::NaiveDate;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::contract::Table;

/// The paths of one snapshot, relative to the lake's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The snapshot's date.
    pub snapshot: NaiveDate,
}

impl Layout {
    /// The folder of all manifests.
    pub(crate) fn manifests() -> Path {
        Path::from("_snapshots")
    }

    /// What matches all manifests in DuckDB, and not the reports beside them.
    pub(crate) fn manifests_pattern() -> &'static str {
        "_snapshots/[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].json"
    }

    /// The manifest: written last, so the snapshot is published if and only if it is there.
    pub(crate) fn manifest(self) -> Path {
        Path::from(format!("_snapshots/{}.json", self.snapshot))
    }

    /// The snapshot's partition of a table.
    pub(crate) fn partition(self, table: Table) -> Path {
        Path::from(format!("{}/snapshot_date={}", table.name(), self.snapshot))
    }

    /// The folder of a table, which a Delta reader opens.
    pub(crate) fn table(table: Table) -> Path {
        Path::from(table.name())
    }

    /// The folder of the Delta log of a table.
    pub(crate) fn delta_log(table: Table) -> Path {
        Path::from(format!("{}/_delta_log", table.name()))
    }

    /// A commit in the Delta log of a table.
    pub(crate) fn delta_commit(table: Table, version: u64) -> Path {
        Path::from(format!("{}/_delta_log/{version:020}.json", table.name()))
    }

    /// A checkpoint of the Delta log of a table.
    pub(crate) fn delta_checkpoint(table: Table, version: u64) -> Path {
        Path::from(format!(
            "{}/_delta_log/{version:020}.checkpoint.parquet",
            table.name()
        ))
    }

    /// Where a run writes the files of a table before they are published.
    pub(crate) fn staging(self, run: &str, table: Table) -> Path {
        Path::from(format!("_staging/{}/{run}/{}", self.snapshot, table.name()))
    }

    /// The folder of everything a run stages.
    pub(crate) fn staging_root(self) -> Path {
        Path::from(format!("_staging/{}", self.snapshot))
    }

    /// Says that files are being put in place, and that some may be left over.
    pub(crate) fn placing(self) -> Path {
        Path::from(format!("_staging/{}/placing", self.snapshot))
    }

    /// The answer to an attempt as received.
    pub(crate) fn response(self, id: AttemptId) -> Path {
        Path::from(format!("_archive/{}/{id}.json.zst", self.snapshot))
    }

    /// The folder of what all runs need to continue, a folder a date.
    pub(crate) fn runs() -> Path {
        Path::from("_runs")
    }

    /// The folder of what the runs of this snapshot need to continue.
    pub(crate) fn run_root(self) -> Path {
        Path::from(format!("_runs/{}", self.snapshot))
    }

    /// What names the run that fills this snapshot for the first time, or replaces it for the nth.
    pub(crate) fn run(self, generation: u32) -> Path {
        let number = if generation <= 1 {
            String::new()
        } else {
            format!(".{generation}")
        };
        Path::from(format!("_runs/{}/run{number}.json", self.snapshot))
    }

    /// The generation in the name of a run's record.
    pub(crate) fn generation_of(path: &Path) -> Option<u32> {
        let name = path
            .filename()?
            .strip_prefix("run")?
            .strip_suffix(".json")?;
        if name.is_empty() {
            Some(1)
        } else {
            name.strip_prefix('.')?.parse().ok()
        }
    }

    /// The input lines of a run as it has read them.
    pub(crate) fn lines(self, run: &str) -> Path {
        Path::from(format!("_runs/{}/{run}.lines.ndjson.zst", self.snapshot))
    }

    /// What became of the targets of a run that were not answered.
    pub(crate) fn unanswered(self, run: &str) -> Path {
        Path::from(format!("_runs/{}/{run}.unanswered.json.zst", self.snapshot))
    }

    /// Says that this snapshot was taken away, and is not one that was begun and never published.
    pub(crate) fn pruned(self) -> Path {
        Path::from(format!("_runs/{}/pruned", self.snapshot))
    }

    /// The folder of the answers.
    pub(crate) fn archive(self) -> Path {
        Path::from(format!("_archive/{}", self.snapshot))
    }

    /// Answers and books of this snapshot, bundled.
    pub(crate) fn bundle(self, number: u32) -> Path {
        self.archive().join(format!("bundle-{number:05}.tar"))
    }

    /// Where in a bundle each object stands.
    pub(crate) fn bundle_index(self, number: u32) -> Path {
        self.archive().join(format!("bundle-{number:05}.json"))
    }

    /// The number in the name of a bundle, or of its index, by how the name ends.
    pub(crate) fn bundle_number(path: &Path, ending: &str) -> Option<u32> {
        let name = path
            .filename()?
            .strip_prefix("bundle-")?
            .strip_suffix(ending)?;
        name.strip_suffix('.')?.parse().ok()
    }

    /// Whether it is a bundle or the index of one.
    pub(crate) fn is_bundle(path: &Path) -> bool {
        ["tar", "json"]
            .iter()
            .any(|ending| Self::bundle_number(path, ending).is_some())
    }

    /// The folder of all answers, a folder a date.
    pub(crate) fn archives() -> Path {
        Path::from("_archive")
    }

    /// A contract that files of the lake keep.
    pub(crate) fn contract(id: &str) -> Path {
        Path::from(format!("_contracts/{id}.toml"))
    }

    /// Whether it is part of a table's Delta log.
    pub(crate) fn is_log(path: &Path) -> bool {
        path.parts()
            .nth(1)
            .is_some_and(|part| part.as_ref() == "_delta_log")
    }

    /// Says to readers of a partition that it is whole.
    pub(crate) fn success(self, table: Table) -> Path {
        self.partition(table).join("_SUCCESS")
    }

    /// The folder of the locks on this snapshot.
    pub(crate) fn locks(self) -> Path {
        Path::from(format!("_runs/{}/locks", self.snapshot))
    }

    /// A lock on this snapshot: the one with the highest number holds.
    pub(crate) fn lock(self, number: u32) -> Path {
        Path::from(format!("_runs/{}/locks/{number:06}.json", self.snapshot))
    }

    /// The number in the name of a lock.
    pub(crate) fn lock_number(path: &Path) -> Option<u32> {
        path.filename()?.strip_suffix(".json")?.parse().ok()
    }

    /// What the last start of the run came to.
    pub(crate) fn summary(self) -> Path {
        Path::from(format!("_runs/{}/summary.json", self.snapshot))
    }

    /// The same beside the manifest, once the snapshot is published.
    pub(crate) fn published_summary(self) -> Path {
        Path::from(format!("_snapshots/{}.summary.json", self.snapshot))
    }

    /// The folder of the targets that were refused, an object a snapshot.
    pub(crate) fn all_refused() -> Path {
        Path::from("_runs/refused")
    }

    /// The targets that were refused while this snapshot was fetched.
    pub(crate) fn refused(self) -> Path {
        Path::from(format!("_runs/refused/{}.json.zst", self.snapshot))
    }

    /// The folder of the intents.
    pub(crate) fn intents(self) -> Path {
        Path::from(format!("_runs/{}/intents", self.snapshot))
    }

    /// The intent of an attempt.
    pub(crate) fn intent(self, id: AttemptId) -> Path {
        Path::from(format!("_runs/{}/intents/{id}.json.zst", self.snapshot))
    }

    /// The folder of the attempts that have ended.
    pub(crate) fn attempts(self) -> Path {
        Path::from(format!("_runs/{}/attempts", self.snapshot))
    }

    /// How an attempt ended.
    pub(crate) fn attempt(self, id: AttemptId) -> Path {
        Path::from(format!("_runs/{}/attempts/{id}.json", self.snapshot))
    }

    /// The batch that the name of an intent's or an attempt's file begins with; 0 for a stranger.
    pub(crate) fn batch_of(path: &Path) -> u32 {
        let name = path.filename().unwrap_or_default();
        name.split_once('-')
            .and_then(|(batch, _)| batch.parse().ok())
            .unwrap_or_default()
    }

    /// The date that a manifest's path names.
    pub(crate) fn date_of(path: &Path) -> Option<NaiveDate> {
        path.filename()?.strip_suffix(".json")?.parse().ok()
    }
}

/// Names an attempt within a run: the batch, from 0, and the attempt at it, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The batch.
    pub batch: u32,
    /// The attempt at it.
    pub attempt: u32,
}

impl fmt::Display for AttemptId {
    /// `00012-1`: sorts as it counts, and is the name of the attempt's files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}-{}", self.batch, self.attempt)
    }
}
