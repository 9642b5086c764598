//! Manifests and manifest lists: Avro files that list data files, and the manifests that do.

use std::collections::HashMap;

use apache_avro::types::Value as AvroValue;
use apache_avro::{Codec, DeflateSettings, Reader, Schema as Avro, Writer};
use bytes::Bytes;
use chrono::NaiveDate;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::manifest_schema;
use super::schema::{Schema, partition_spec};
use crate::error::{Context, Error, Result};

/// What a snapshot did to a file. A file of an earlier snapshot stays in the manifest that added it.
pub(super) const ADDED: i32 = 1;
/// See [`ADDED`].
pub(super) const DELETED: i32 = 2;

/// A file in a manifest, and what the manifest's snapshot did to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ManifestEntry {
    pub(super) status: i32,
    /// None for an added file: it takes this and the numbers from the manifest list.
    pub(super) snapshot_id: Option<i64>,
    pub(super) sequence_number: Option<i64>,
    pub(super) file_sequence_number: Option<i64>,
    pub(super) data_file: DataFile,
}

/// A data file, with the statistics that let readers skip it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct DataFile {
    pub(super) content: i32,
    pub(super) file_path: String,
    pub(super) file_format: String,
    pub(super) partition: Partition,
    pub(super) record_count: i64,
    pub(super) file_size_in_bytes: i64,
    pub(super) column_sizes: Option<Vec<Count>>,
    pub(super) value_counts: Option<Vec<Count>>,
    pub(super) null_value_counts: Option<Vec<Count>>,
    pub(super) lower_bounds: Option<Vec<Bound>>,
    pub(super) upper_bounds: Option<Vec<Bound>>,
    pub(super) split_offsets: Option<Vec<i64>>,
    pub(super) sort_order_id: Option<i32>,
}

/// The partition of a file: days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partition {
    pub(super) snapshot_date: Option<i32>,
}

/// A number of a column, by the column's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) key: i32,
    pub(super) value: i64,
}

/// The least or the greatest value of a column, by the column's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bound {
    pub(super) key: i32,
    #[serde(with = "apache_avro::serde::bytes")]
    pub(super) value: Vec<u8>,
}

/// A manifest in a manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestFile {
    pub(super) manifest_path: String,
    pub(super) manifest_length: i64,
    pub(super) partition_spec_id: i32,
    pub(super) content: i32,
    pub(super) sequence_number: i64,
    pub(super) min_sequence_number: i64,
    pub(super) added_snapshot_id: i64,
    pub(super) added_files_count: i32,
    pub(super) existing_files_count: i32,
    pub(super) deleted_files_count: i32,
    pub(super) added_rows_count: i64,
    pub(super) existing_rows_count: i64,
    pub(super) deleted_rows_count: i64,
    pub(super) partitions: Option<Vec<PartitionSummary>>,
}

/// The range of a partition field in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartitionSummary {
    pub(super) contains_null: bool,
    pub(super) contains_nan: Option<bool>,
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub(super) lower_bound: Option<Vec<u8>>,
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub(super) upper_bound: Option<Vec<u8>>,
}

/// Days since 1970.
pub(super) fn days(date: NaiveDate) -> i32 {
    let epoch = NaiveDate::default();
    i32::try_from((date - epoch).num_days()).unwrap_or_default()
}

impl ManifestFile {
    /// A manifest of one date, made of its entries, which all have the same status.
    pub(super) fn of(
        path: String,
        bytes: usize,
        date: NaiveDate,
        snapshot: (i64, i64),
        entries: &[ManifestEntry],
    ) -> Self {
        let (snapshot_id, sequence_number) = snapshot;
        let day = days(date).to_le_bytes().to_vec();
        let files = |status| entries.iter().filter(move |entry| entry.status == status);
        let count = |status| i32::try_from(files(status).count()).unwrap_or(i32::MAX);
        let rows = |status| {
            files(status)
                .map(|entry| entry.data_file.record_count)
                .sum()
        };
        let earlier = entries.iter().filter_map(|entry| entry.sequence_number);
        Self {
            manifest_path: path,
            manifest_length: bytes as i64,
            partition_spec_id: 0,
            content: 0,
            sequence_number,
            min_sequence_number: earlier.min().unwrap_or(sequence_number),
            added_snapshot_id: snapshot_id,
            added_files_count: count(ADDED),
            existing_files_count: 0,
            deleted_files_count: count(DELETED),
            added_rows_count: rows(ADDED),
            existing_rows_count: 0,
            deleted_rows_count: rows(DELETED),
            partitions: Some(vec![PartitionSummary {
                contains_null: false,
                contains_nan: None,
                lower_bound: Some(day.clone()),
                upper_bound: Some(day),
            }]),
        }
    }

    /// Whether the manifest lists files that are not deleted.
    pub(super) fn is_live(&self) -> bool {
        self.added_files_count + self.existing_files_count > 0
    }

    /// Whether the manifest lists files of a date.
    pub(super) fn is_of(&self, date: NaiveDate) -> bool {
        let day = days(date).to_le_bytes();
        let ranges = self.partitions.iter().flatten();
        ranges
            .filter_map(|range| range.lower_bound.as_ref())
            .any(|bound| bound[..] == day)
    }
}

/// The bytes of a manifest. `schema` is that of its files.
pub(super) fn write_manifest(entries: &[ManifestEntry], schema: &Schema) -> Result<Bytes> {
    let json = |value: serde_json::Result<String>| value.context(|| "failed to write a schema");
    let metadata = [
        ("schema", json(serde_json::to_string(schema))?),
        ("schema-id", schema.schema_id.to_string()),
        ("partition-spec", partition_spec()["fields"].to_string()),
        ("partition-spec-id", "0".to_owned()),
        ("format-version", "2".to_owned()),
        ("content", "data".to_owned()),
    ];
    write(&manifest_schema::manifest()?, &metadata, entries)
}

/// The bytes of the manifest list of a snapshot.
pub(super) fn write_list(
    manifests: &[ManifestFile],
    snapshot: (i64, i64),
    parent: Option<i64>,
) -> Result<Bytes> {
    let (snapshot_id, sequence_number) = snapshot;
    let metadata = [
        ("snapshot-id", snapshot_id.to_string()),
        (
            "parent-snapshot-id",
            parent.map_or_else(|| "null".to_owned(), |id| id.to_string()),
        ),
        ("sequence-number", sequence_number.to_string()),
        ("format-version", "2".to_owned()),
    ];
    write(&manifest_schema::manifest_list()?, &metadata, manifests)
}

/// The entries of a manifest, with the numbers of those that were added by it.
pub(super) fn read_manifest(bytes: &[u8], manifest: &ManifestFile) -> Result<Vec<ManifestEntry>> {
    let mut entries: Vec<ManifestEntry> = read(bytes, &manifest.manifest_path)?;
    for entry in &mut entries {
        entry.snapshot_id.get_or_insert(manifest.added_snapshot_id);
        for number in [&mut entry.sequence_number, &mut entry.file_sequence_number] {
            number.get_or_insert(manifest.sequence_number);
        }
    }
    Ok(entries)
}

/// The manifests of a snapshot; `path` is named in errors.
pub(super) fn read_list(bytes: &[u8], path: &str) -> Result<Vec<ManifestFile>> {
    read(bytes, path)
}

/// The paths of the manifests in a list that any program may have written; `path` is named in errors.
pub(super) fn read_paths(bytes: &[u8], path: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Listed {
        manifest_path: String,
    }
    let listed: Vec<Listed> = read(bytes, path)?;
    Ok(listed
        .into_iter()
        .map(|manifest| manifest.manifest_path)
        .collect())
}

fn write<T: Serialize>(schema: &Avro, metadata: &[(&str, String)], rows: &[T]) -> Result<Bytes> {
    let failed = || "failed to write Iceberg metadata as Avro";
    let metadata = metadata.iter().map(|(key, value)| {
        let value = AvroValue::Bytes(value.clone().into_bytes());
        ((*key).to_owned(), value)
    });
    let mut writer = Writer::builder()
        .schema(schema)
        .writer(Vec::new())
        .user_metadata(metadata.collect::<HashMap<_, _>>())
        // Without a codec the crate names none, and pyiceberg takes that for gzip.
        .codec(Codec::Deflate(DeflateSettings::default()))
        // A mark between blocks that would otherwise be random. A reader takes it from the header.
        .marker(*b"backlake iceberg")
        .human_readable(false)
        .build()
        .context(failed)?;
    writer.extend_ser(rows).context(failed)?;
    Ok(writer.into_inner().context(failed)?.into())
}

fn read<T: DeserializeOwned>(bytes: &[u8], path: &str) -> Result<Vec<T>> {
    let failed = || format!("failed to read {path}");
    let rows = Reader::new(bytes).and_then(|reader| {
        let rows = reader.map(|row| apache_avro::from_value(&row?));
        rows.collect()
    });
    let rows: Result<Vec<T>, apache_avro::Error> = rows;
    rows.map_err(|error| Error::unexpected(failed()).caused_by(error))
}
