//! Audits a snapshot: checks its files against its manifest and contracts, before publishing and on request.
//!
//! An audit checks rows, size, hash, columns, order, statistics and Bloom filters of every file, that the files of a
//! table have disjoint key ranges, and that fates and costs add up to the manifest's. A problem is not an error: it is
//! reported in [`Audit::problems`], with the file that has it.
//!
//! # Memory
//! A batch of a few columns per core. Files are read from disk.

use std::collections::BTreeSet;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use arrow::datatypes::DataType;
use chrono::{DateTime, NaiveDate, Utc};
use object_store::path::Path;

use super::audit_group::{Counts, Group, audit_group, open};
use super::contracts::contracts_of;
use super::grace::kept_until;
use super::key::{OwnedPart, compare_owned};
use super::manifest::{Manifest, ManifestFile, snapshots};
use crate::contract::{Contract, Contracts, Table};
use crate::error::{Context, Result};
use crate::fate::Fate;
use crate::store::{Layout, Store, hash};

/// The result of an audit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Audit {
    /// The snapshot's date.
    pub snapshot: NaiveDate,
    /// The number of files that were read.
    pub files: u64,
    /// The number of rows in them.
    pub rows: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The problems, each with its file or figure; empty if the snapshot is sound.
    pub problems: Vec<String>,
}

/// Audits a published snapshot; none if it is not published.
///
/// # Errors
/// A lake that fails. A problem with the snapshot is not an error: the result lists it.
pub async fn audit(store: &Store, snapshot: NaiveDate) -> Result<Option<Audit>> {
    let manifest = match Manifest::read(store, snapshot).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(None),
        Err(error) => {
            let problems = vec![error.to_string()];
            return Ok(Some(Audit {
                snapshot,
                files: 0,
                rows: 0,
                bytes: 0,
                problems,
            }));
        }
    };
    let layout = Layout { snapshot };
    let mut found = AuditProgress::of(&manifest);
    // The counts were checked; an edit that keeps them consistent only shows in the checksum.
    if !store
        .get(&layout.manifest())
        .await?
        .is_some_and(|json| Manifest::is_unchanged(&json))
    {
        found.problems.push(format!(
            "{} was changed after it was written",
            layout.manifest()
        ));
    }
    // Without its contracts, the snapshot's files cannot be checked.
    let contracts = match contracts_of(store, &manifest).await {
        Ok(contracts) => contracts,
        Err(error) => {
            found.problems.push(error.to_string());
            return Ok(Some(found.finish(&manifest)));
        }
    };
    for (table, files) in found.tables(&manifest) {
        let mut last = None;
        for file in files {
            if !file
                .path
                .starts_with(&format!("{}/", layout.partition(table)))
            {
                found.problems.push(format!(
                    "the manifest lists {}, which is not a file of {}",
                    file.path,
                    table.name()
                ));
            }
            let Some(local) = store.as_file(&Path::from(file.path.as_str())).await? else {
                found.problems.push(format!("{} is missing", file.path));
                continue;
            };
            found.add(
                audit_file(table, file, local.path.clone(), contracts.of(table)).await?,
                &mut last,
            );
        }
    }
    if manifest.snapshot != snapshot {
        found.problems.push(format!(
            "the manifest of {snapshot} has the date {}",
            manifest.snapshot
        ));
    }
    Ok(Some(found.finish(&manifest)))
}

/// Audits staged files; `folder` is the folder of each table.
///
/// # Errors
/// A defect. A problem with the files is not an error: the result lists it.
pub(super) async fn audit_staged(
    manifest: &Manifest,
    contracts: &Contracts,
    folder: impl Fn(Table) -> PathBuf,
) -> Result<Audit> {
    let mut found = AuditProgress::of(manifest);
    for (table, files) in found.tables(manifest) {
        let mut last = None;
        let mut listed = BTreeSet::new();
        for file in files {
            let path = folder(table).join(file.name());
            listed.insert(path.clone());
            if !path.is_file() {
                found
                    .problems
                    .push(format!("{} is missing", path.display()));
                continue;
            }
            found.add(
                audit_file(table, file, path, contracts.of(table)).await?,
                &mut last,
            );
        }
        for entry in std::fs::read_dir(folder(table))
            .into_iter()
            .flatten()
            .flatten()
        {
            if !listed.contains(&entry.path()) {
                found.problems.push(format!(
                    "{} was not written by this run",
                    entry.path().display()
                ));
            }
        }
    }
    Ok(found.finish(manifest))
}

/// The files in the tables' folders that no manifest lists: leftovers of an interrupted publication, or files of another
/// program. Files that were replaced and are still kept for their readers do not count.
///
/// # Errors
/// A lake that fails.
pub async fn strays(store: &Store, now: DateTime<Utc>) -> Result<Vec<String>> {
    let mut listed = BTreeSet::new();
    for snapshot in snapshots(store).await? {
        // The audit reports a manifest that cannot be read.
        let Ok(Some(manifest)) = Manifest::read(store, snapshot).await else {
            continue;
        };
        listed.extend(manifest.files().map(|file| file.path.clone()));
        listed.extend(Table::ALL.map(|table| Layout { snapshot }.success(table).to_string()));
    }
    let mut found = Vec::new();
    for table in Table::ALL {
        for object in store.list(&Path::from(table.name())).await? {
            if !listed.contains(object.location.as_ref())
                && !Layout::is_table_metadata(&object.location)
            {
                found.push(object.location);
            }
        }
    }
    let dates: BTreeSet<_> = found.iter().filter_map(Layout::date_of_file).collect();
    for snapshot in dates {
        let until = kept_until(store, Layout { snapshot }).await?;
        if until.is_some_and(|until| now < until) {
            found.retain(|path| Layout::date_of_file(path) != Some(snapshot));
        }
    }
    let named = |path: &Path| format!("{path} is not listed in any manifest");
    Ok(found.iter().map(named).collect())
}

/// The result of auditing one file.
struct FileAudit {
    rows: u64,
    bytes: u64,
    groups: Vec<Group>,
    name: String,
    problems: Vec<String>,
}

/// Audits one file: hashes it while its row groups are decoded.
async fn audit_file(
    table: Table,
    file: &ManifestFile,
    path: PathBuf,
    contract: &Arc<Contract>,
) -> Result<FileAudit> {
    let (file, contract) = (file.clone(), Arc::clone(contract));
    let work = tokio::task::spawn_blocking(move || {
        let (hashed, read) = rayon::join(
            || hash(&path),
            || audit_content(table, &file, &path, &contract),
        );
        let mut found = FileAudit {
            rows: 0,
            bytes: 0,
            groups: Vec::new(),
            name: file.path.clone(),
            problems: Vec::new(),
        };
        match hashed {
            Ok((bytes, sha256)) => {
                found.bytes = bytes;
                if bytes != file.bytes {
                    found.problems.push(format!(
                        "{} has {bytes} bytes, the manifest says {}",
                        file.path, file.bytes
                    ));
                }
                if sha256 != file.sha256 {
                    found.problems.push(format!(
                        "{} has a different SHA-256 than the manifest says",
                        file.path
                    ));
                }
            }
            Err(error) => found
                .problems
                .push(format!("{} cannot be read: {error}", file.path)),
        }
        match read {
            Ok(content) => {
                (found.rows, found.groups) = (content.rows, content.groups);
                found.problems.extend(content.problems);
            }
            Err(error) => found
                .problems
                .push(format!("{} cannot be read: {error}", file.path)),
        }
        found
    });
    work.await.context(|| "the audit panicked")
}

/// The rows of a file, and the result of auditing them.
struct Content {
    rows: u64,
    groups: Vec<Group>,
    problems: Vec<String>,
}

fn audit_content(
    table: Table,
    file: &ManifestFile,
    path: &FsPath,
    contract: &Contract,
) -> Result<Content> {
    use rayon::prelude::*;

    let (_, metadata) = open(path, contract)?;
    let mut problems = Vec::new();
    let rows = metadata.metadata().file_metadata().num_rows() as u64;
    if rows != file.rows {
        problems.push(format!(
            "{} has {rows} rows, the manifest says {}",
            file.path, file.rows
        ));
    }
    if !same_columns(contract, metadata.parquet_columns()) {
        problems.push(format!(
            "{} has different columns than {}",
            file.path,
            contract.id()
        ));
        return Ok(Content {
            rows,
            groups: Vec::new(),
            problems,
        });
    }
    let groups = (0..metadata.metadata().num_row_groups()).into_par_iter();
    let groups = groups.map(|number| {
        audit_group(table, contract, path, &metadata, number)
            .context(|| format!("row group {number}"))
    });
    let groups = groups.collect::<Result<Vec<_>>>()?;
    Ok(Content {
        rows,
        groups,
        problems,
    })
}

/// Whether a file has the columns of a contract.
fn same_columns(contract: &Contract, found: &arrow::datatypes::Schema) -> bool {
    let expected = contract.schema();
    expected.fields().len() == found.fields().len()
        && expected
            .fields()
            .iter()
            .zip(found.fields())
            .all(|(expected, found)| {
                expected.name() == found.name()
                    && expected.is_nullable() == found.is_nullable()
                    && same_type(expected.data_type(), found.data_type())
            })
}

/// Whether two types are the same, except for the names of a map's inner fields: readers differ in those.
fn same_type(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::Map(left, _), DataType::Map(right, _)) => {
            match (left.data_type(), right.data_type()) {
                (DataType::Struct(left), DataType::Struct(right)) => left
                    .iter()
                    .zip(right.iter())
                    .all(|(left, right)| left.data_type() == right.data_type()),
                _ => false,
            }
        }
        _ => left == right,
    }
}

/// The audit of a snapshot so far.
struct AuditProgress {
    files: u64,
    rows: u64,
    bytes: u64,
    counts: Counts,
    problems: Vec<String>,
}

impl AuditProgress {
    fn of(manifest: &Manifest) -> Self {
        Self {
            files: 0,
            rows: 0,
            bytes: 0,
            counts: Counts::default(),
            problems: manifest.imbalances(),
        }
    }

    /// The tables in the manifest, with their files.
    fn tables<'m>(&mut self, manifest: &'m Manifest) -> Vec<(Table, &'m [ManifestFile])> {
        let mut tables = Vec::new();
        for table in Table::ALL {
            match manifest.tables.get(table.name()) {
                Some(entry) => tables.push((table, entry.files.as_slice())),
                None => self
                    .problems
                    .push(format!("the manifest lacks the table {}", table.name())),
            }
        }
        tables
    }

    /// Adds the result of a file, and checks that its keys follow the last key before it.
    fn add(&mut self, file: FileAudit, last: &mut Option<Vec<OwnedPart>>) {
        self.files += 1;
        self.rows += file.rows;
        self.bytes += file.bytes;
        self.problems.extend(file.problems);
        for (number, group) in file.groups.into_iter().enumerate() {
            let place = || format!("{}, row group {number}", file.name);
            self.problems.extend(
                group
                    .problems
                    .iter()
                    .map(|problem| format!("{}: {problem}", place())),
            );
            if let Some((first, end)) = group.ends {
                let follows = last.as_ref().is_none_or(|last| {
                    let order = compare_owned(last, &first);
                    // Files have disjoint ranges; within a file, two row groups may share a key.
                    if number == 0 {
                        order.is_lt()
                    } else {
                        order.is_le()
                    }
                });
                if !follows {
                    self.problems.push(format!(
                        "{}: the rows do not follow the rows before them",
                        place()
                    ));
                }
                *last = Some(end);
            }
            self.counts.add(group.counts);
        }
    }

    /// Checks fates and costs against the manifest, and returns the result.
    fn finish(mut self, manifest: &Manifest) -> Audit {
        for fate in Fate::ALL {
            let read = self.counts.fates.get(fate.name()).copied().unwrap_or(0);
            let expected = manifest.tally.fates.of(fate);
            if expected != read {
                self.problems.push(format!(
                    "{read} targets are {}, the manifest says {expected}",
                    fate.name()
                ));
            }
        }
        let expected = manifest.tally.requests.cost_usd;
        if self.counts.cost_micros != expected.micros() {
            let read = self.counts.cost_micros;
            self.problems.push(format!(
                "the cost of all requests is {read} millionths of a US dollar, the manifest says ${expected}"
            ));
        }
        let (read, expected) = (self.counts.matched, manifest.tally.fates.returned);
        if read != expected {
            self.problems.push(format!(
                "{read} rows of pages are matched, the manifest says {expected}"
            ));
        }
        let Self {
            files,
            rows,
            bytes,
            problems,
            ..
        } = self;
        Audit {
            snapshot: manifest.snapshot,
            files,
            rows,
            bytes,
            problems,
        }
    }
}
