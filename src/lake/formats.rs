//! The table formats beside plain Parquet: each lists the published files for its readers. Files are never copied.
//!
//! A table's metadata is kept up to date as long as it is in the lake, also if the pipeline no longer asks for its format:
//! clean-up commands of other programs delete files that a table's metadata does not list.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use strum::{IntoStaticStr, VariantArray};
use tracing::{info, warn};

use super::contracts::contracts_of;
use super::delta;
use super::iceberg;
use super::manifest::{Manifest, snapshots};
use crate::clock::{Stage, Stopwatch};
use crate::contract::{Contracts, Table};
use crate::error::{Error, Result};
use crate::store::{Layout, Lock, Store};

/// A table format for readers, beside folders of Parquet files with one partition per snapshot.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "lowercase")]
pub enum TableFormat {
    /// A Delta log per table.
    Delta,
    /// An Iceberg table per table.
    Iceberg,
}

impl TableFormat {
    /// The format's own name.
    fn name(self) -> &'static str {
        self.into()
    }

    fn stage(self) -> Stage {
        match self {
            Self::Delta => Stage::CommitToDelta,
            Self::Iceberg => Stage::CommitToIceberg,
        }
    }

    /// Whether any table of the lake has metadata of this format.
    pub(super) async fn exists(self, store: &Store) -> Result<bool> {
        for table in Table::ALL {
            let folder = match self {
                Self::Delta => Layout::delta_log(table),
                Self::Iceberg => Layout::iceberg_folder(table),
            };
            if !store.list_here(&folder).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the metadata of every table list exactly the files of these snapshots; returns the number of commits.
    async fn commit(
        self,
        store: &Store,
        lock: &Lock,
        manifests: &[Manifest],
        contracts: &Contracts,
    ) -> Result<usize> {
        let contract_of = |table| contracts.of(table).as_ref();
        match self {
            Self::Delta => delta::commit(store, manifests, contract_of).await,
            Self::Iceberg => iceberg::commit(store, lock, manifests, contract_of).await,
        }
    }

    /// Reads the tables that exist and checks that these contracts fit them.
    async fn check(self, store: &Store, contracts: &Contracts) -> Result<()> {
        let contract_of = |table| contracts.of(table).as_ref();
        match self {
            Self::Delta => delta::check(store, contract_of).await,
            Self::Iceberg => iceberg::check(store, contract_of).await,
        }
    }

    /// Those of these snapshots that at least one table does not list.
    async fn missing(self, store: &Store, dates: &[NaiveDate]) -> Result<Vec<NaiveDate>> {
        match self {
            Self::Delta => delta::missing(store, dates).await,
            Self::Iceberg => iceberg::missing(store, dates).await,
        }
    }
}

/// Commits a snapshot to the tables of these formats, and to those that exist in the lake. Returns the warnings: what went
/// wrong with tables of a format that `formats` does not name.
///
/// # Errors
/// A lock that is lost, a lake that fails, a table that does not match the contract.
pub(super) async fn commit(
    store: &Store,
    formats: &[TableFormat],
    manifest: &Manifest,
    contracts: &Contracts,
    lock: &Lock,
    stages: &Stopwatch,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for format in TableFormat::VARIANTS {
        let (name, wanted) = (format.name(), formats.contains(format));
        if !wanted && !format.exists(store).await? {
            continue;
        }
        let committing = async {
            // A problem with an earlier snapshot must not hold this one back.
            if let Err(error) =
                commit_earlier(store, lock, *format, manifest.snapshot, contracts).await
            {
                warn!(%error, "failed to add earlier snapshots to the {name} tables");
            }
            lock.ensure().await?;
            format
                .commit(store, lock, std::slice::from_ref(manifest), contracts)
                .await
        };
        let committed = stages.time_async(format.stage(), committing).await;
        match committed {
            Ok(commits) => {
                info!(snapshot = %manifest.snapshot, commits, "committed to the {name} tables");
            }
            Err(error) if !wanted => warnings.push(not_kept_up(*format, &error)),
            Err(error) => return Err(error),
        }
    }
    Ok(warnings)
}

/// Warns of tables whose format is switched off. They never stop a run: no reader is promised them, and what the run has
/// paid for must be published. `verify` names them.
fn not_kept_up(format: TableFormat, error: &Error) -> String {
    let name = format.name();
    let warning = format!(
        "the lake has {name} tables, although `[lake] table_formats` does not name them; they could not be kept up to date"
    );
    warn!(%error, "{warning}");
    format!("{warning}: {error}")
}

/// Reads the tables of these formats as a commit does, so that a run finds out what it cannot commit to before it pays.
///
/// # Errors
/// A lake that fails; a table that cannot be read, that does not match the contract or that another program has written.
pub async fn check_tables(
    store: &Store,
    formats: &[TableFormat],
    contracts: &Contracts,
) -> Result<()> {
    for format in formats {
        format.check(store, contracts).await?;
    }
    Ok(())
}

/// Commits the other published snapshots that the tables of a format lack.
async fn commit_earlier(
    store: &Store,
    lock: &Lock,
    format: TableFormat,
    snapshot: NaiveDate,
    contracts: &Contracts,
) -> Result<()> {
    let name = format.name();
    let mut others = snapshots(store).await?;
    others.retain(|other| *other != snapshot);
    let mut manifests = Vec::new();
    for date in format.missing(store, &others).await? {
        match Manifest::read(store, date).await {
            Ok(manifest) => manifests.extend(manifest),
            Err(error) => warn!(%error, "snapshot {date} is not added to the {name} tables"),
        }
    }
    if !manifests.is_empty() {
        let commits = format.commit(store, lock, &manifests, contracts).await?;
        info!(
            snapshots = manifests.len(),
            commits, "committed earlier snapshots to the {name} tables"
        );
    }
    Ok(())
}

/// Makes all tables that exist match the manifest of a snapshot whose publication was interrupted, also
/// those of a format that `formats` does not name. Returns the warnings.
///
/// # Errors
/// As [`commit`].
pub(super) async fn heal(
    store: &Store,
    formats: &[TableFormat],
    lock: &Lock,
    manifest: &Manifest,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for format in TableFormat::VARIANTS {
        if !format.exists(store).await? {
            continue;
        }
        let contracts = contracts_of(store, manifest).await?;
        let committed = format.commit(store, lock, std::slice::from_ref(manifest), &contracts);
        match committed.await {
            Ok(_) => {}
            Err(error) if !formats.contains(format) => warnings.push(not_kept_up(*format, &error)),
            Err(error) => return Err(error),
        }
    }
    Ok(warnings)
}

/// Reads all tables: one that cannot be used must be found before snapshots are removed from another one.
///
/// # Errors
/// A lake that fails, or metadata that cannot be read.
pub(crate) async fn ensure_readable(store: &Store) -> Result<()> {
    for format in TableFormat::VARIANTS {
        // To find out what is missing, it reads every table.
        format.missing(store, &[]).await?;
    }
    Ok(())
}

/// Removes snapshots from all tables that list them. `at` is the time of deletion.
///
/// # Errors
/// A lake that fails, or metadata that cannot be read.
pub(crate) async fn remove_from_tables(
    store: &Store,
    lock: &Lock,
    snapshots: &[NaiveDate],
    at: DateTime<Utc>,
) -> Result<()> {
    delta::remove(store, snapshots, at).await?;
    iceberg::remove(store, lock, snapshots, at).await?;
    Ok(())
}

/// The differences between the tables' metadata and the manifests, and what interrupted commits have left; empty if there is
/// none.
///
/// # Errors
/// A lake that fails, or metadata that cannot be read.
pub async fn table_differences(store: &Store, now: DateTime<Utc>) -> Result<Vec<String>> {
    let mut manifests = Vec::new();
    for snapshot in snapshots(store).await? {
        // The audit reports a manifest that cannot be read.
        manifests.extend(Manifest::read(store, snapshot).await.ok().flatten());
    }
    let mut found = delta::differences(store, &manifests).await?;
    found.extend(iceberg::differences(store, &manifests, now).await?);
    Ok(found)
}
