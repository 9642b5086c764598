//! A data file as an Iceberg manifest lists it: its partition, its rows and the statistics of its Parquet footer.
//!
//! Each bound is exact or wider than the values: a long string is truncated for the least and raised for the greatest
//! value, or kept whole if it cannot be raised. A column without complete Parquet statistics gets no bounds.

use chrono::NaiveDate;
use parquet::file::metadata::ParquetMetaData;

use super::super::footer::{self, chunks, nulls, raised, range, read_footer, shortened};
use super::super::manifest::ManifestFile;
use super::avro::{Bound, Count, DataFile, Partition, days};
use super::schema::{SORT_ORDER_ID, columns};
use crate::contract::{ColumnType, Contract};
use crate::error::Result;
use crate::store::Store;

/// Describes a published file; `uri` is its place.
///
/// # Errors
/// A lake that fails, or a file that differs from the lake's manifest.
pub(super) async fn data_file(
    store: &Store,
    file: &ManifestFile,
    uri: String,
    date: NaiveDate,
    contract: &Contract,
) -> Result<DataFile> {
    let footer = read_footer(store, file, "Iceberg").await?;
    Ok(described(&footer, file, uri, date, contract))
}

fn described(
    footer: &ParquetMetaData,
    file: &ManifestFile,
    uri: String,
    date: NaiveDate,
    contract: &Contract,
) -> DataFile {
    let (mut sizes, mut values, mut null_values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    for (key, column) in columns(contract) {
        let Some(chunks) = chunks(footer, &column.name) else {
            continue;
        };
        let count = |counts: &mut Vec<Count>, value| counts.push(Count { key, value });
        count(
            &mut sizes,
            chunks.iter().map(|chunk| chunk.compressed_size()).sum(),
        );
        count(
            &mut values,
            chunks.iter().map(|chunk| chunk.num_values()).sum(),
        );
        if let Some(nulls) = nulls(&chunks) {
            count(&mut null_values, nulls);
        }
        let Some((least, greatest)) = range(&chunks) else {
            continue;
        };
        for (bounds, bound) in [
            (
                &mut lower,
                written(least, column.kind, |text| shortened(text).to_owned()),
            ),
            (&mut upper, written(greatest, column.kind, raised)),
        ] {
            bounds.extend(bound.map(|value| Bound { key, value }));
        }
    }
    let groups = footer.row_groups().iter();
    let offsets =
        groups.filter_map(|group| group.columns().first()?.byte_range().0.try_into().ok());
    DataFile {
        content: 0,
        file_path: uri,
        file_format: "PARQUET".to_owned(),
        partition: Partition {
            snapshot_date: Some(days(date)),
        },
        record_count: file.rows as i64,
        file_size_in_bytes: file.bytes as i64,
        column_sizes: Some(sizes),
        value_counts: Some(values),
        null_value_counts: Some(null_values),
        lower_bounds: Some(lower),
        upper_bounds: Some(upper),
        split_offsets: Some(offsets.collect()),
        sort_order_id: Some(SORT_ORDER_ID),
    }
}

/// A bound in Iceberg's serialisation of a single value; none if there is none for the type.
fn written(
    bound: footer::Bound,
    kind: ColumnType,
    text: impl Fn(&str) -> String,
) -> Option<Vec<u8>> {
    match (kind, bound) {
        (ColumnType::Bool, footer::Bound::Truth(truth)) => Some(vec![truth.into()]),
        (ColumnType::Int64 | ColumnType::Timestamp, footer::Bound::Number(number)) => {
            Some(number.to_le_bytes().to_vec())
        }
        // The fewest bytes that hold the number and its sign, highest first.
        (ColumnType::Decimal, footer::Bound::Number(unscaled)) => {
            let bytes = unscaled.to_be_bytes();
            let sign = if unscaled < 0 { 0xff } else { 0 };
            let spare = |at: usize| bytes[at] == sign && (bytes[at + 1] ^ sign) & 0x80 == 0;
            let start = (0..bytes.len() - 1).find(|&at| !spare(at));
            Some(bytes[start.unwrap_or(bytes.len() - 1)..].to_vec())
        }
        (ColumnType::Utf8, footer::Bound::Text(bytes)) => {
            Some(text(std::str::from_utf8(&bytes).ok()?).into_bytes())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_written_as_the_specification_says() {
        use ColumnType::{Bool, Decimal, Int64, Timestamp, Utf8};
        let number = footer::Bound::Number;
        let text = |text: &str| footer::Bound::Text(text.as_bytes().to_vec());
        for (bound, kind, expected) in [
            (number(-2), Int64, Some((-2_i64).to_le_bytes().to_vec())),
            (number(1), Timestamp, Some(1_i64.to_le_bytes().to_vec())),
            (number(0), Decimal, Some(vec![0])),
            (number(127), Decimal, Some(vec![0x7f])),
            (number(128), Decimal, Some(vec![0, 0x80])),
            (number(20_000), Decimal, Some(vec![0x4e, 0x20])),
            (number(-1), Decimal, Some(vec![0xff])),
            (number(-128), Decimal, Some(vec![0x80])),
            (number(-129), Decimal, Some(vec![0xff, 0x7f])),
            (
                number(i64::MIN),
                Decimal,
                Some(i64::MIN.to_be_bytes().to_vec()),
            ),
            (text("ä"), Utf8, Some("ä".as_bytes().to_vec())),
            (footer::Bound::Truth(true), Bool, Some(vec![1])),
        ] {
            assert_eq!(
                written(bound.clone(), kind, str::to_owned),
                expected,
                "{bound:?}"
            );
        }
        let long = "x".repeat(40);
        let greatest = written(text(&long), Utf8, raised).unwrap();
        assert!(greatest.len() == 33 && greatest.as_slice() > long.as_bytes());
    }
}
