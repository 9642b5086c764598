//! Holds a snapshot's files to its manifest and contract: before anyone sees them, and again whenever it is asked for.
//!
//! Of every file: rows, bytes, hash, columns, order, whole and true statistics, Bloom filters that find what is there; of
//! a table: disjoint ranges; of the snapshot: fates and money. What is wrong is no error but a finding that names the
//! file.
//!
//! # Memory
//! A batch of a few columns for each core; the files are read from disk.

use std::collections::BTreeSet;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use arrow::datatypes::DataType;
use chrono::NaiveDate;
use object_store::path::Path;

use super::audit_group::{Counts, Group, audit_group, open};
use super::contracts::contracts_of;
use super::key::compare_owned;
use super::manifest::{Manifest, ManifestFile, snapshots};
use crate::contract::{Contract, Contracts, Table};
use crate::error::{Context, Result};
use crate::fate::Fate;
use crate::store::{Layout, Store, hash};

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Audit {
    /// The snapshot.
    pub snapshot: NaiveDate,
    /// Files that were read.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is wrong, each with the file or figure it is about; nothing if all is well.
    pub problems: Vec<String>,
}

/// Audits a published snapshot; none if there is no such snapshot.
///
/// # Errors
/// A lake that fails. What is wrong with the snapshot is no error but a finding.
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
    let mut found = Findings::of(&manifest);
    if !store
        .get(&layout.manifest())
        .await?
        .is_some_and(|json| Manifest::is_as_written(&json))
    {
        found.problems.push(format!(
            "{} was changed after it was written",
            layout.manifest()
        ));
    }
    let contracts = match contracts_of(store, &manifest).await {
        Ok(contracts) => contracts,
        Err(error) => {
            found.problems.push(error.to_string());
            return Ok(Some(found.end(&manifest)));
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
                    "the manifest names {}, which is no file of {}",
                    file.path,
                    table.name()
                ));
            }
            let Some(local) = store.as_file(&Path::from(file.path.as_str())).await? else {
                found.problems.push(format!("{} is missing", file.path));
                continue;
            };
            found.take(
                file_of(table, file, local.path.clone(), contracts.of(table)).await?,
                &mut last,
            );
        }
    }
    if manifest.snapshot != snapshot {
        found.problems.push(format!(
            "the manifest of {snapshot} is that of {}",
            manifest.snapshot
        ));
    }
    Ok(Some(found.end(&manifest)))
}

/// Audits what is staged in a folder for each table.
///
/// # Errors
/// A defect. What is wrong with the files is no error but a finding.
pub(super) async fn audit_staged(
    manifest: &Manifest,
    contracts: &Contracts,
    folder: impl Fn(Table) -> PathBuf,
) -> Result<Audit> {
    let mut found = Findings::of(manifest);
    for (table, files) in found.tables(manifest) {
        let mut last = None;
        let mut named = BTreeSet::new();
        for file in files {
            let path = folder(table).join(file.name());
            named.insert(path.clone());
            if !path.is_file() {
                found
                    .problems
                    .push(format!("{} is missing", path.display()));
                continue;
            }
            found.take(
                file_of(table, file, path, contracts.of(table)).await?,
                &mut last,
            );
        }
        for entry in std::fs::read_dir(folder(table))
            .into_iter()
            .flatten()
            .flatten()
        {
            if !named.contains(&entry.path()) {
                found.problems.push(format!(
                    "{} was not written by this run",
                    entry.path().display()
                ));
            }
        }
    }
    Ok(found.end(manifest))
}

/// Files under the tables' paths that no manifest vouches for: what a broken-off publication has left, or a stranger's.
///
/// # Errors
/// A lake that fails.
pub async fn strays(store: &Store) -> Result<Vec<String>> {
    let mut named = BTreeSet::new();
    for snapshot in snapshots(store).await? {
        // A manifest that cannot be read is the audit's to name.
        let Ok(Some(manifest)) = Manifest::read(store, snapshot).await else {
            continue;
        };
        named.extend(manifest.files().map(|file| file.path.clone()));
        named.extend(Table::ALL.map(|table| Layout { snapshot }.success(table).to_string()));
    }
    let mut found = Vec::new();
    for table in Table::ALL {
        for object in store.list(&Path::from(table.name())).await? {
            let path = object.location.to_string();
            if !named.contains(&path) && !Layout::is_log(&object.location) {
                found.push(format!("{path} is named by no manifest"));
            }
        }
    }
    Ok(found)
}

/// In what the Delta logs differ from the manifests; nothing where there are no logs.
///
/// # Errors
/// A lake that fails, or a log that cannot be read.
pub async fn log_differences(store: &Store) -> Result<Vec<String>> {
    let mut manifests = Vec::new();
    for snapshot in snapshots(store).await? {
        // A manifest that cannot be read is the audit's to name.
        manifests.extend(Manifest::read(store, snapshot).await.ok().flatten());
    }
    super::delta::differences(store, &manifests).await
}

/// What was found of one file.
struct FileFindings {
    rows: u64,
    bytes: u64,
    groups: Vec<Group>,
    name: String,
    problems: Vec<String>,
}

/// Audits one file, its hash beside its row groups.
async fn file_of(
    table: Table,
    file: &ManifestFile,
    path: PathBuf,
    contract: &Arc<Contract>,
) -> Result<FileFindings> {
    let (file, contract) = (file.clone(), Arc::clone(contract));
    let work = tokio::task::spawn_blocking(move || {
        let (hashed, read) =
            rayon::join(|| hash(&path), || rows_of(table, &file, &path, &contract));
        let mut found = FileFindings {
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
                    let told = file.bytes;
                    found.problems.push(format!(
                        "{} has {bytes} bytes, the manifest says {told}",
                        file.path
                    ));
                }
                if sha256 != file.sha256 {
                    found.problems.push(format!(
                        "{} has another SHA-256 than the manifest says",
                        file.path
                    ));
                }
            }
            Err(error) => found
                .problems
                .push(format!("{} cannot be read: {error}", file.path)),
        }
        match read {
            Ok((rows, groups, problems)) => {
                (found.rows, found.groups) = (rows, groups);
                found.problems.extend(problems);
            }
            Err(error) => found
                .problems
                .push(format!("{} cannot be read: {error}", file.path)),
        }
        found
    });
    work.await.context(|| "auditing panicked")
}

fn rows_of(
    table: Table,
    file: &ManifestFile,
    path: &FsPath,
    contract: &Contract,
) -> Result<(u64, Vec<Group>, Vec<String>)> {
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
            "{} has other columns than {}",
            file.path,
            contract.id()
        ));
        return Ok((rows, Vec::new(), problems));
    }
    let groups = (0..metadata.metadata().num_row_groups()).into_par_iter();
    let groups = groups.map(|number| {
        audit_group(table, contract, path, &metadata, number)
            .context(|| format!("row group {number}"))
    });
    let groups = groups.collect::<Result<Vec<_>>>()?;
    Ok((rows, groups, problems))
}

/// Whether a file's columns are those of a contract.
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

/// Whether two types are the same but for the names of a map's inner fields, which readers differ in.
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

/// What was found of a snapshot so far.
struct Findings {
    files: u64,
    rows: u64,
    bytes: u64,
    counts: Counts,
    problems: Vec<String>,
}

impl Findings {
    fn of(manifest: &Manifest) -> Self {
        Self {
            files: 0,
            rows: 0,
            bytes: 0,
            counts: Counts::default(),
            problems: manifest.imbalances(),
        }
    }

    /// The tables and their files, by the manifest.
    fn tables<'m>(&mut self, manifest: &'m Manifest) -> Vec<(Table, &'m [ManifestFile])> {
        let mut tables = Vec::new();
        for table in Table::ALL {
            match manifest.tables.get(table.name()) {
                Some(entry) => tables.push((table, entry.files.as_slice())),
                None => self
                    .problems
                    .push(format!("the manifest names no table {}", table.name())),
            }
        }
        tables
    }

    /// Takes what was found of a file, and holds it to the end of the one before it.
    fn take(&mut self, file: FileFindings, last: &mut Option<Vec<super::key::OwnedPart>>) {
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
                    // Files cover disjoint ranges; within one, equal keys may stand in two row groups.
                    if number == 0 {
                        order.is_lt()
                    } else {
                        order.is_le()
                    }
                });
                if !follows {
                    self.problems.push(format!(
                        "{}: does not follow what stands before it",
                        place()
                    ));
                }
                *last = Some(end);
            }
            self.counts.add(group.counts);
        }
    }

    /// Holds fates and money to the manifest.
    fn end(mut self, manifest: &Manifest) -> Audit {
        for fate in Fate::ALL {
            let read = self.counts.fates.get(fate.name()).copied().unwrap_or(0);
            let told = manifest.fates.of(fate);
            if told != read {
                self.problems.push(format!(
                    "{read} targets are {}, the manifest says {told}",
                    fate.name()
                ));
            }
        }
        if self.counts.cost_micros != manifest.requests.cost_usd.micros() {
            let (read, told) = (self.counts.cost_micros, manifest.requests.cost_usd);
            self.problems.push(format!(
                "requests add up to {read} millionths of a dollar, the manifest says ${told}"
            ));
        }
        if self.counts.matched != manifest.fates.returned {
            let (read, told) = (self.counts.matched, manifest.fates.returned);
            self.problems.push(format!(
                "{read} rows of pages are matched, the manifest says {told}"
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
