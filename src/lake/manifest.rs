//! The manifest of a snapshot: what is in it, and the books that must balance.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::profile::Profile;
use crate::error::{Context, Error, Result};
use crate::fate::Fates;
use crate::flatten::Irregularities;
use crate::money::Usd;
use crate::question::Question;
use crate::store::{Layout, Store};

/// What a published snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this file's form.
    pub format: u32,
    /// The snapshot's date.
    pub snapshot: NaiveDate,
    /// What was asked, and of whom.
    pub question: Question,
    /// The run that filled it.
    pub run: String,
    /// The program that wrote it.
    pub written_by: String,
    /// When the run was first started.
    pub started_at: DateTime<Utc>,
    /// When it was published.
    pub published_at: DateTime<Utc>,
    /// How many times this date has been published by now: 1, and one more with each replacement.
    #[serde(default = "first")]
    pub generation: u32,
    /// The tables by name.
    pub tables: BTreeMap<String, TableManifest>,
    /// Input lines.
    pub lines: u64,
    /// What became of them; adds up to `lines`.
    pub fates: Fates,
    /// Items in the answers; `fates.returned` and `unmatched` add up to it.
    pub items: u64,
    /// Items that answer no asked target.
    pub unmatched: u64,
    /// What was sent and what it cost.
    pub requests: RequestTotals,
    /// Values and fields that did not fit the contract.
    pub irregularities: Irregularities,
    /// What the columns of pages add up to, for the next snapshot to be compared with.
    #[serde(default)]
    pub profile: Profile,
}

fn first() -> u32 {
    1
}

/// What was sent and what it cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestTotals {
    /// Requests sent.
    pub sent: u64,
    /// Those of them that failed and were repeated, or broke off.
    pub retries: u64,
    /// The fewest requests that could do.
    pub lower_bound: u64,
    /// What the answers say was charged.
    pub cost_usd: Usd,
    /// What may have been charged besides, at the most: attempts of which no answer tells.
    pub cost_unknown_usd: Usd,
}

/// A table of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableManifest {
    /// Its contract: name and version.
    pub contract: String,
    /// Rows in all files.
    pub rows: u64,
    /// Its files, in the order of the rows.
    pub files: Vec<ManifestFile>,
}

/// A file of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the lake.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl ManifestFile {
    /// Its name without the folder.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

const CHECKSUM: &str = "\"checksum\"";

impl Manifest {
    /// The version of the form that this program writes.
    pub const FORMAT: u32 = 1;

    /// The manifest of a snapshot; none if it is not published.
    ///
    /// # Errors
    /// A lake that fails, or a manifest that is broken.
    pub async fn read(store: &Store, snapshot: NaiveDate) -> Result<Option<Self>> {
        let path = Layout { snapshot }.manifest();
        let Some(json) = store.get(&path).await? else {
            return Ok(None);
        };
        let manifest: Self =
            serde_json::from_slice(&json).context(|| format!("failed to read {path}"))?;
        if manifest.format > Self::FORMAT {
            return Err(Error::usage(format!(
                "{path} has format {}, newer than this program",
                manifest.format
            ))
            .with_hint("use a newer backlake"));
        }
        Ok(Some(manifest))
    }

    /// The manifest as it is written: its last line is the SHA-256 of all text before it, so that an edit shows.
    ///
    /// # Errors
    /// A defect.
    pub(super) fn to_json(&self) -> Result<Bytes> {
        let mut json =
            serde_json::to_string_pretty(self).context(|| "failed to write the manifest")?;
        json.truncate(json.strip_suffix("\n}").unwrap_or(&json).len());
        json.push_str(",\n  ");
        let checksum = Sha256::digest(json.as_bytes());
        let _ = write!(json, "{CHECKSUM}: \"{checksum:x}\"\n}}\n");
        Ok(json.into())
    }

    /// Whether a manifest's text is as it was written.
    pub(super) fn is_as_written(json: &[u8]) -> bool {
        let json = std::str::from_utf8(json).unwrap_or_default();
        let Some((text, checksum)) = json.rsplit_once(CHECKSUM) else {
            return false;
        };
        checksum.trim_end() == format!(": \"{:x}\"\n}}", Sha256::digest(text.as_bytes()))
    }

    /// All files of all tables.
    pub fn files(&self) -> impl Iterator<Item = &ManifestFile> {
        self.tables.values().flat_map(|table| &table.files)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }

    /// What in the books does not balance, in words; nothing if they do.
    #[must_use]
    pub fn imbalances(&self) -> Vec<String> {
        let rows = |table: &str| self.tables.get(table).map_or(0, |table| table.rows);
        let mut found = Vec::new();
        let mut hold = |name: &str, left: u64, right: u64| {
            if left != right {
                found.push(format!("{name}: {left} is not {right}"));
            }
        };
        hold(
            "lines and the sum of their fates",
            self.lines,
            self.fates.total(),
        );
        hold("lines and rows of targets", self.lines, rows("targets"));
        hold(
            "items and returned targets plus unmatched items",
            self.items,
            self.fates.returned + self.unmatched,
        );
        hold("items and rows of pages", self.items, rows("pages"));
        hold(
            "requests sent and rows of requests",
            self.requests.sent,
            rows("requests"),
        );
        for (name, table) in &self.tables {
            hold(
                &format!("rows of {name} and those of its files"),
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
    let objects = store.list(&Layout::manifests()).await?;
    Ok(objects
        .iter()
        .filter_map(|object| Layout::date_of(&object.location))
        .collect())
}
