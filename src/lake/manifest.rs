//! The manifest: the file that makes a snapshot visible. It lists the files, and the counts that must add up.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::profile::Profile;
use crate::error::{Context, Error, Result};
use crate::fate::{Fates, count};
use crate::flatten::Irregularities;
use crate::money::Usd;
use crate::question::Question;
use crate::store::{Layout, Store, sha256};

/// The content of a published snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the manifest's format.
    pub format: u32,
    /// The snapshot's date.
    pub snapshot: NaiveDate,
    /// What was requested, and from which provider.
    pub question: Question,
    /// The run that fetched it.
    pub run: String,
    /// The program and version that wrote it.
    pub written_by: String,
    /// When the run was first started.
    pub started_at: DateTime<Utc>,
    /// When this generation was published.
    pub published_at: DateTime<Utc>,
    /// How often this date has been published, this time included.
    #[serde(default = "first_generation")]
    pub generation: u32,
    /// The tables, by name.
    pub tables: BTreeMap<String, TableManifest>,
    /// What the run counted; its fields are in the manifest's top level.
    #[serde(flatten)]
    pub tally: Tally,
    /// Values and fields that do not fit the contract.
    pub irregularities: Irregularities,
    /// The sums of the columns of `pages`, to compare the next snapshot with.
    #[serde(default)]
    pub profile: Profile,
    /// The most that the snapshot was allowed to cost; `None` without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<Usd>,
}

fn first_generation() -> u32 {
    1
}

/// What a run counted: lines, fates, items and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Input lines.
    #[serde(deserialize_with = "count")]
    pub lines: u64,
    /// How many lines ended in each fate. The fates add up to `lines`.
    pub fates: Fates,
    /// Items in all responses. `fates.returned` and `unmatched` add up to it.
    #[serde(deserialize_with = "count")]
    pub items: u64,
    /// Items that match no requested target.
    #[serde(deserialize_with = "count")]
    pub unmatched: u64,
    /// The requests that were sent, and their cost.
    pub requests: RequestTotals,
}

/// Names one publication of a date: the run, and how often the date has been published with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationId {
    /// The run that fetched the snapshot.
    pub run: String,
    /// The generation, from 1.
    pub generation: u32,
}

impl PublicationId {
    /// What the names of the publication's files begin with: the run, and from the second generation on its number.
    pub(super) fn prefix(&self) -> String {
        if self.generation <= 1 {
            self.run.clone()
        } else {
            format!("{}.{}", self.run, self.generation)
        }
    }
}

/// The requests that were sent, and their cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestTotals {
    /// Requests sent.
    #[serde(deserialize_with = "count")]
    pub sent: u64,
    /// Requests that failed and were sent again, or were interrupted.
    #[serde(deserialize_with = "count")]
    pub retries: u64,
    /// The fewest requests that any packing can reach.
    #[serde(deserialize_with = "count")]
    pub lower_bound: u64,
    /// The cost that the responses report.
    pub cost_usd: Usd,
    /// The most that may have been charged in addition: the price of attempts whose charge is unknown.
    pub cost_unknown_usd: Usd,
}

/// A table of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableManifest {
    /// The name and version of its contract.
    pub contract: String,
    /// Rows in all files.
    #[serde(deserialize_with = "count")]
    pub rows: u64,
    /// Its files, in the order of their rows.
    pub files: Vec<ManifestFile>,
}

/// A file of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// The path relative to the lake.
    pub path: String,
    /// The number of rows.
    #[serde(deserialize_with = "count")]
    pub rows: u64,
    /// The size in bytes.
    #[serde(deserialize_with = "count")]
    pub bytes: u64,
    /// The SHA-256 of the content, in hexadecimal.
    pub sha256: String,
}

impl ManifestFile {
    /// The file's name without the folder.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

const CHECKSUM: &str = "\"checksum\"";

impl Manifest {
    /// The version of the format that this program writes.
    pub const FORMAT: u32 = 1;

    /// Reads the manifest of a snapshot; none if it is not published.
    ///
    /// # Errors
    /// A lake that fails, or a manifest that is damaged or has a newer format.
    pub async fn read(store: &Store, snapshot: NaiveDate) -> Result<Option<Self>> {
        let path = Layout { snapshot }.manifest();
        let Some(json) = store.get(&path).await? else {
            return Ok(None);
        };
        let manifest: Self = serde_json::from_slice(&json).map_err(|error| {
            Error::unexpected(format!("failed to read {path}"))
                .caused_by(error)
                .with_hint(format!("the manifest is damaged: restore it from a backup, or move it out of the lake and run `backlake replay FILE --snapshot {snapshot}`, which rebuilds the snapshot from its archive, for free"))
        })?;
        if manifest.format > Self::FORMAT {
            return Err(Error::usage(format!(
                "{path} has format {}, which is newer than this version of backlake reads",
                manifest.format
            ))
            .with_hint("use a newer version of backlake"));
        }
        Ok(Some(manifest))
    }

    /// Whether [`Manifest::read`] failed because the manifest is damaged, and not because the lake failed or the format
    /// is newer.
    #[must_use]
    pub fn is_damage(error: &Error) -> bool {
        let cause = std::error::Error::source(error);
        cause.is_some_and(|cause| cause.is::<serde_json::Error>())
    }

    /// The manifest's text. Its last entry is the SHA-256 of all text before it, so that a later edit is detected.
    ///
    /// # Errors
    /// A defect.
    pub(super) fn to_json(&self) -> Result<Bytes> {
        let mut json =
            serde_json::to_string_pretty(self).context(|| "failed to write the manifest")?;
        json.truncate(json.strip_suffix("\n}").unwrap_or(&json).len());
        json.push_str(",\n  ");
        let checksum = sha256(json.as_bytes());
        let _ = write!(json, "{CHECKSUM}: \"{checksum}\"\n}}\n");
        Ok(json.into())
    }

    /// Whether a manifest's text is unchanged since it was written.
    pub(super) fn is_unchanged(json: &[u8]) -> bool {
        let json = std::str::from_utf8(json).unwrap_or_default();
        let Some((text, checksum)) = json.rsplit_once(CHECKSUM) else {
            return false;
        };
        checksum.trim_end() == format!(": \"{}\"\n}}", sha256(text.as_bytes()))
    }

    /// The publication that this manifest describes.
    #[must_use]
    pub fn publication(&self) -> PublicationId {
        PublicationId {
            run: self.run.clone(),
            generation: self.generation,
        }
    }

    /// The files of all tables.
    pub fn files(&self) -> impl Iterator<Item = &ManifestFile> {
        self.tables.values().flat_map(|table| &table.files)
    }

    /// The size of all files in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }

    /// The counts that do not add up, each as a sentence; empty if all do.
    #[must_use]
    pub fn imbalances(&self) -> Vec<String> {
        let rows = |table: &str| self.tables.get(table).map_or(0, |table| table.rows);
        let mut found = Vec::new();
        let Tally {
            lines,
            fates,
            items,
            unmatched,
            requests,
        } = self.tally;
        let mut check = |name: &str, left: u64, right: u64| {
            if left != right {
                found.push(format!("{name}: {left} is not {right}"));
            }
        };
        check("lines and the sum of their fates", lines, fates.total());
        check("lines and rows of targets", lines, rows("targets"));
        check(
            "items and returned targets plus unmatched items",
            items,
            fates.returned + unmatched,
        );
        check("items and rows of pages", items, rows("pages"));
        check(
            "requests sent and rows of requests",
            requests.sent,
            rows("requests"),
        );
        for (name, table) in &self.tables {
            check(
                &format!("rows of {name} and rows of its files"),
                table.rows,
                table.files.iter().map(|file| file.rows).sum(),
            );
        }
        found
    }
}

/// The dates of all published snapshots, oldest first.
///
/// # Errors
/// A lake that fails.
pub async fn snapshots(store: &Store) -> Result<Vec<NaiveDate>> {
    let objects = store.list_here(&Layout::manifests()).await?;
    Ok(objects
        .iter()
        .filter_map(|object| Layout::date_of(&object.location))
        .collect())
}
