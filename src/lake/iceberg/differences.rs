//! Finds where the Iceberg tables and the manifests of the lake differ.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::super::manifest::{Manifest, ManifestFile};
use super::avro::{ManifestEntry, days};
use super::commit::is;
use super::table::{AT_ONCE, IcebergTable};
use crate::contract::Table;
use crate::error::{Error, Result};
use crate::store::{Layout, Store};

/// Objects that a commit wrote longer ago than this belong to no commit that is under way.
const FAILED_AFTER: TimeDelta = TimeDelta::minutes(1);

/// The differences between the Iceberg tables and the manifests, and what failed commits have left, each as a sentence;
/// empty if there is no table.
///
/// # Errors
/// A lake that fails. A table that cannot be read is a difference.
pub(in crate::lake) async fn differences(
    store: &Store,
    manifests: &[Manifest],
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    let (mut found, mut without, mut any) = (Vec::new(), Vec::new(), false);
    for table in Table::ALL {
        let name = table.name();
        let opened = IcebergTable::open(store, table).await;
        let iceberg = match opened {
            Ok(iceberg) => iceberg,
            Err(error) => {
                any = true;
                found.push(sentence(name, &error));
                continue;
            }
        };
        match left_over(&iceberg, now).await {
            Ok(left_over) => found.extend(left_over),
            Err(error) => found.push(sentence(name, &error)),
        }
        let entries = manifests.iter().filter_map(|manifest| {
            let entry = manifest.tables.get(name)?;
            Some((manifest.snapshot, &entry.files))
        });
        let entries = entries.flat_map(|(date, files)| files.iter().map(move |file| (date, file)));
        let published: BTreeMap<String, (NaiveDate, &ManifestFile)> = entries
            .map(|(date, file)| (iceberg.uri(&Path::from(file.path.as_str())), (date, file)))
            .collect();
        if iceberg.metadata.is_none() {
            if !published.is_empty() {
                without.push(format!(
                    "{name} has no Iceberg table, but other tables have one"
                ));
            }
            continue;
        }
        any = true;
        match of_table(&iceberg, published).await {
            Ok(differences) => found.extend(differences),
            Err(error) => found.push(sentence(name, &error)),
        }
    }
    if any {
        found.append(&mut without);
    }
    Ok(found)
}

fn sentence(table: &str, error: &Error) -> String {
    format!("the Iceberg table of {table}: {error}")
}

/// What failed commits have left.
async fn left_over(iceberg: &IcebergTable, now: DateTime<Utc>) -> Result<Vec<String>> {
    let mut left = iceberg.left_by_failed_commits(&[]).await?;
    left.retain(|object| now - object.last_modified >= FAILED_AFTER);
    let sentence = |object: &ObjectMeta| {
        format!(
            "{} is left over from a commit that was interrupted or overtaken by another one; the next commit to the table deletes it",
            object.location
        )
    };
    Ok(left.into_iter().map(sentence).collect())
}

/// The differences of one table; `published` are its files in the manifests, by URI.
async fn of_table(
    iceberg: &IcebergTable,
    mut published: BTreeMap<String, (NaiveDate, &ManifestFile)>,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let hint = Layout::iceberg_hint(iceberg.table);
    match iceberg.hinted().await? {
        Some(version) if version == iceberg.version => {}
        Some(version) => found.push(format!(
            "{hint} names version {version}, and the newest version is {}",
            iceberg.version
        )),
        None => found.push(format!("{hint} is missing or names no version")),
    }
    let read = iceberg.manifests.iter().map(|manifest| async move {
        let entries = iceberg.entries(manifest).await?;
        let listed = manifest.added_files_count + manifest.existing_files_count;
        let differs = entries.len() as i64 != i64::from(listed);
        let differs = differs.then(|| {
            let path = &manifest.manifest_path;
            format!(
                "{path} has {} files, the manifest list says {listed}",
                entries.len()
            )
        });
        Ok::<_, Error>((differs, entries))
    });
    let read: Vec<(Option<String>, Vec<ManifestEntry>)> =
        futures::stream::iter(read.collect::<Vec<_>>())
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
    let (mut files, mut rows) = (0, 0);
    for (differs, entries) in read {
        found.extend(differs);
        for entry in entries {
            let file = &entry.data_file;
            (files, rows) = (files + 1, rows + file.record_count);
            let uri = &file.file_path;
            match published.remove(uri) {
                None => found.push(format!(
                    "the Iceberg table lists {uri}, but no manifest does"
                )),
                Some((date, expected)) => {
                    let same_day = file.partition.snapshot_date == Some(days(date));
                    if !(same_day && is(&entry, uri, expected)) {
                        found.push(format!(
                            "the Iceberg table disagrees with the manifest about {uri}"
                        ));
                    }
                }
            }
        }
    }
    found.extend(
        published
            .into_keys()
            .map(|uri| format!("the Iceberg table does not list {uri}")),
    );
    let summary = iceberg.metadata.as_ref().and_then(|found| found.current());
    for (name, counted) in [("total-data-files", files), ("total-records", rows)] {
        let said = summary.and_then(|snapshot| snapshot.summary.get(name));
        if said.is_some_and(|said| *said != counted.to_string()) {
            let said = said.map_or("", String::as_str);
            found.push(format!(
                "the Iceberg table of {} has {counted} as {name}, and its snapshot says {said}",
                iceberg.table.name()
            ));
        }
    }
    Ok(found)
}
