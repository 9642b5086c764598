//! The path of every object in the lake. No other file contains a path.

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

    /// A glob pattern that matches all manifests in DuckDB, and nothing else in their folder.
    pub(crate) fn manifests_pattern() -> &'static str {
        "_snapshots/[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].json"
    }

    /// Glob patterns for DuckDB: the records of all runs, the marks of deleted snapshots, and the summaries of last starts.
    pub(crate) fn run_records_pattern() -> &'static str {
        "_runs/[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/run*.json"
    }

    pub(crate) fn pruned_pattern() -> &'static str {
        "_runs/[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/pruned"
    }

    pub(crate) fn summaries_pattern() -> &'static str {
        "_runs/[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/summary.json"
    }

    /// The manifest. It is written last: the snapshot is published if and only if it exists.
    pub(crate) fn manifest(self) -> Path {
        Path::from(format!("_snapshots/{}.json", self.snapshot))
    }

    /// The snapshot's partition of a table.
    pub(crate) fn partition(self, table: Table) -> Path {
        Path::from(format!("{}/snapshot_date={}", table.name(), self.snapshot))
    }

    /// The folder of a table, which is also the path of its Delta table.
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

    /// The folder of the Iceberg table of a table, for readers that take a folder.
    pub(crate) fn iceberg(table: Table) -> Path {
        Path::from(format!("{}/_iceberg", table.name()))
    }

    /// The folder of all metadata of the Iceberg table of a table.
    pub(crate) fn iceberg_folder(table: Table) -> Path {
        Self::iceberg(table).join("metadata")
    }

    /// An object of this name among the metadata of the Iceberg table of a table.
    pub(crate) fn iceberg_object(table: Table, name: &str) -> Path {
        Self::iceberg_folder(table).join(name)
    }

    /// A manifest of an Iceberg table: the one of this number that a snapshot of the table adds.
    pub(crate) fn iceberg_manifest(table: Table, snapshot: i64, number: usize) -> Path {
        Self::iceberg_object(table, &format!("{snapshot}-m{number}.avro"))
    }

    /// The list of the manifests of a snapshot of an Iceberg table.
    pub(crate) fn iceberg_list(table: Table, snapshot: i64) -> Path {
        Self::iceberg_object(table, &format!("snap-{snapshot}.avro"))
    }

    /// The snapshot in the name of a manifest or of a list of manifests; none for other objects. Other programs put more
    /// into these names, so an object with a snapshot is one of backlake's.
    pub(crate) fn iceberg_snapshot(path: &Path) -> Option<i64> {
        let name = path.filename()?.strip_suffix(".avro")?;
        let (snapshot, manifest) = match name.strip_prefix("snap-") {
            Some(snapshot) => (snapshot, "0"),
            None => name.split_once("-m")?,
        };
        let number = |text: &str| {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<i64>().ok()).flatten()
        };
        number(manifest).and(number(snapshot))
    }

    /// A version of the metadata of the Iceberg table of a table.
    pub(crate) fn iceberg_metadata(table: Table, version: u64) -> Path {
        Self::iceberg_object(table, &format!("v{version}.metadata.json"))
    }

    /// The version in the name of Iceberg metadata; none for other objects.
    pub(crate) fn iceberg_version(path: &Path) -> Option<u64> {
        let name = path.filename()?.strip_suffix(".metadata.json")?;
        name.strip_prefix('v')?.parse().ok()
    }

    /// Whether an object is metadata of an Iceberg table, of backlake or of another program.
    pub(crate) fn is_iceberg_metadata(path: &Path) -> bool {
        let name = path.filename();
        name.is_some_and(|name| name.ends_with(".metadata.json"))
    }

    /// The object that names the newest version of the Iceberg table of a table.
    pub(crate) fn iceberg_hint(table: Table) -> Path {
        Self::iceberg_object(table, "version-hint.text")
    }

    /// The folder for files of a DuckLake catalog that is not a file itself. None is written there.
    pub(crate) fn ducklake() -> &'static str {
        "_ducklake"
    }

    /// Where a run writes the files of a table before they are published.
    pub(crate) fn staging(self, run: &str, table: Table) -> Path {
        Path::from(format!("_staging/{}/{run}/{}", self.snapshot, table.name()))
    }

    /// The folder of everything that is staged, for any snapshot.
    pub(crate) fn all_staged() -> Path {
        Path::from("_staging")
    }

    /// The folders that a run must be able to write to. A lake has those of formats only if it has tables of them. Reports
    /// and alerts are not among them: without them, a snapshot is published all the same.
    pub(super) fn written() -> impl Iterator<Item = Path> {
        let folders = [
            Self::archives(),
            Self::runs(),
            Self::manifests(),
            Self::all_staged(),
            Path::from("_contracts"),
        ];
        let of_tables = [Self::table, Self::delta_log, Self::iceberg_folder];
        let of_tables = of_tables
            .into_iter()
            .flat_map(|folder| Table::ALL.map(folder));
        folders.into_iter().chain(of_tables)
    }

    /// The folder of everything a run stages.
    pub(crate) fn staging_root(self) -> Path {
        Path::from(format!("_staging/{}", self.snapshot))
    }

    /// A marker that exists while files are moved to their places: if publishing is interrupted, some may be left over.
    pub(crate) fn placing(self) -> Path {
        Path::from(format!("_staging/{}/placing", self.snapshot))
    }

    /// The response to an attempt, as received.
    pub(crate) fn response(self, id: AttemptId) -> Path {
        Path::from(format!("_archive/{}/{id}.json.zst", self.snapshot))
    }

    /// The folder of what runs need to continue, with one folder per date.
    pub(crate) fn runs() -> Path {
        Path::from("_runs")
    }

    /// The folder of what runs of this snapshot need to continue.
    pub(crate) fn run_root(self) -> Path {
        Path::from(format!("_runs/{}", self.snapshot))
    }

    /// The record of the run that fills this generation of the snapshot.
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

    /// The input lines of a run, as it has read them.
    pub(crate) fn lines(self, run: &str) -> Path {
        Path::from(format!("_runs/{}/{run}.lines.ndjson.zst", self.snapshot))
    }

    /// The fates of a run's targets that have no response.
    pub(crate) fn unanswered(self, run: &str) -> Path {
        Path::from(format!("_runs/{}/{run}.unanswered.json.zst", self.snapshot))
    }

    /// A marker that a start of this run was told to replace what is published. It goes when such a start has come to
    /// its end.
    pub(crate) fn replacing(self, run: &str) -> Path {
        Path::from(format!("_runs/{}/{run}.replacing", self.snapshot))
    }

    /// The record of a run that was abandoned.
    pub(crate) fn abandoned(self, run: &str) -> Path {
        Path::from(format!("_runs/{}/{run}.abandoned.json", self.snapshot))
    }

    /// Whether an object is the record of a run that was abandoned.
    pub(crate) fn is_abandoned(path: &Path) -> bool {
        let name = path.filename().unwrap_or_default();
        name.ends_with(".abandoned.json")
    }

    /// Whether an object of the folder of a date's runs is of one run: its record, its target list, the fates of its
    /// targets, or the marker of a replacement.
    pub(crate) fn is_of_run(path: &Path) -> bool {
        let name = path.filename().unwrap_or_default();
        let endings = [".lines.ndjson.zst", ".unanswered.json.zst", ".replacing"];
        Self::generation_of(path).is_some()
            || Self::is_abandoned(path)
            || endings.iter().any(|ending| name.ends_with(ending))
    }

    /// The date of an object below [`Layout::runs`] that outlives a snapshot only if its pruning was interrupted or if
    /// something still needs it: all but the marker of pruning, the summary and locks. `None` for other objects.
    pub(crate) fn date_of_record(path: &Path) -> Option<NaiveDate> {
        let parts: Vec<_> = path.parts().collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        match parts.as_slice() {
            ["_runs", "refused", name] => name.split('.').next()?.parse().ok(),
            ["_runs", date, "intents" | "attempts", ..] => date.parse().ok(),
            ["_runs", date, _] if Self::is_of_run(path) => date.parse().ok(),
            _ => None,
        }
    }

    /// The date in the name of a partition.
    pub(crate) fn date_of_partition(path: &Path) -> Option<NaiveDate> {
        path.filename()?
            .strip_prefix("snapshot_date=")?
            .parse()
            .ok()
    }

    /// The date of the partition that a file is in.
    pub(crate) fn date_of_file(path: &Path) -> Option<NaiveDate> {
        let partition = path.parts().nth(1)?;
        let date = partition.as_ref().strip_prefix("snapshot_date=")?;
        date.parse().ok()
    }

    /// A marker that nothing of this date waits to be published: its snapshot was deleted, or its run was abandoned.
    pub(crate) fn pruned(self) -> Path {
        Path::from(format!("_runs/{}/pruned", self.snapshot))
    }

    /// The folder of the archived responses.
    pub(crate) fn archive(self) -> Path {
        Path::from(format!("_archive/{}", self.snapshot))
    }

    /// A bundle of this snapshot's responses, intents and attempts.
    pub(crate) fn bundle(self, number: u32) -> Path {
        self.archive().join(format!("bundle-{number:05}.tar"))
    }

    /// The index of a bundle: where each object begins.
    pub(crate) fn bundle_index(self, number: u32) -> Path {
        self.archive().join(format!("bundle-{number:05}.json"))
    }

    /// The number in the name of a bundle (ending `tar`) or of its index (ending `json`).
    pub(crate) fn bundle_number(path: &Path, ending: &str) -> Option<u32> {
        let name = path
            .filename()?
            .strip_prefix("bundle-")?
            .strip_suffix(ending)?;
        name.strip_suffix('.')?.parse().ok()
    }

    /// Whether an object is a bundle or a bundle's index.
    pub(crate) fn is_bundle(path: &Path) -> bool {
        ["tar", "json"]
            .iter()
            .any(|ending| Self::bundle_number(path, ending).is_some())
    }

    /// The folder of all archives, with one folder per date.
    pub(crate) fn archives() -> Path {
        Path::from("_archive")
    }

    /// A contract that files of the lake follow.
    pub(crate) fn contract(id: &str) -> Path {
        Path::from(format!("_contracts/{id}.toml"))
    }

    /// Whether an object is metadata of a table format: part of a Delta log or of an Iceberg table.
    pub(crate) fn is_table_metadata(path: &Path) -> bool {
        path.parts()
            .nth(1)
            .is_some_and(|part| ["_delta_log", "_iceberg"].contains(&part.as_ref()))
    }

    /// The marker that tells readers that a partition is complete.
    pub(crate) fn success(self, table: Table) -> Path {
        self.partition(table).join("_SUCCESS")
    }

    /// The report of this snapshot as a page.
    pub(crate) fn report(self) -> Path {
        Path::from(format!("_reports/{}.html", self.snapshot))
    }

    /// The folder of the alerts, with one object per snapshot.
    pub(crate) fn all_alerts() -> Path {
        Path::from("_alerts")
    }

    /// A glob pattern that matches the alerts of all snapshots in DuckDB, and nothing else in their folder.
    pub(crate) fn alerts_pattern() -> &'static str {
        "_alerts/[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].json"
    }

    /// The alerts of this snapshot, and what was told before.
    pub(crate) fn alerts(self) -> Path {
        Path::from(format!("_alerts/{}.json", self.snapshot))
    }

    /// The size of the provider's index when this snapshot was fetched.
    pub(crate) fn index(self) -> Path {
        Path::from(format!("_runs/{}/index.json", self.snapshot))
    }

    /// The folder of the locks on this snapshot.
    pub(crate) fn locks(self) -> Path {
        Path::from(format!("_runs/{}/locks", self.snapshot))
    }

    /// A lock on this snapshot. The highest number holds it.
    pub(crate) fn lock(self, number: u32) -> Path {
        Path::from(format!("_runs/{}/locks/{number:06}.json", self.snapshot))
    }

    /// The number in the name of a lock.
    pub(crate) fn lock_number(path: &Path) -> Option<u32> {
        path.filename()?.strip_suffix(".json")?.parse().ok()
    }

    /// How the last start of the run ended.
    pub(crate) fn summary(self) -> Path {
        Path::from(format!("_runs/{}/summary.json", self.snapshot))
    }

    /// The folder of the refused targets, with one object per snapshot.
    pub(crate) fn all_refused() -> Path {
        Path::from("_runs/refused")
    }

    /// The targets that the provider refused while this snapshot was fetched.
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

    /// The batch in the name of an intent or attempt; 0 if the name has none.
    pub(crate) fn batch_of(path: &Path) -> u32 {
        let name = path.filename().unwrap_or_default();
        name.split_once('-')
            .and_then(|(batch, _)| batch.parse().ok())
            .unwrap_or_default()
    }

    /// The attempt in the name of its response or intent.
    pub(crate) fn attempt_of(name: &str) -> Option<AttemptId> {
        let (batch, attempt) = name.strip_suffix(".json.zst")?.split_once('-')?;
        Some(AttemptId {
            batch: batch.parse().ok()?,
            attempt: attempt.parse().ok()?,
        })
    }

    /// The date in the name of a manifest; none for other objects.
    pub(crate) fn date_of(path: &Path) -> Option<NaiveDate> {
        path.filename()?.strip_suffix(".json")?.parse().ok()
    }
}

/// Identifies an attempt within a run: the batch, from 0, and the number of its attempt, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The batch.
    pub batch: u32,
    /// The number of the attempt at this batch.
    pub attempt: u32,
}

impl fmt::Display for AttemptId {
    /// `00012-1`: sorts in numeric order, and is the name of the attempt's objects.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}-{}", self.batch, self.attempt)
    }
}
