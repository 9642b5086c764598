//! The statistics of a file in the Delta log, which let readers skip files: counts, and the least and greatest values.
//!
//! They are read from the Parquet footer alone, and each bound is exact or wider than the values. A long string is truncated
//! for the least and raised for the greatest value, or kept whole if it cannot be raised. A time is rounded outward to Delta's
//! milliseconds. A column without complete Parquet statistics gets no bounds.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Utc};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::super::footer::{Bound, chunks, nulls, raised, range, read_footer, shortened};
use super::super::manifest::ManifestFile;
use crate::contract::{ColumnType, Contract};
use crate::error::{Context, Result};
use crate::store::Store;

/// The fractional digits of a decimal, and the matching power of ten.
const SCALE: (usize, u64) = (6, 1_000_000);

/// Statistics in the format of the Delta log.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: i64,
    min_values: BTreeMap<String, Box<RawValue>>,
    max_values: BTreeMap<String, Box<RawValue>>,
    null_count: BTreeMap<String, i64>,
}

/// The statistics of a published file as JSON.
///
/// # Errors
/// A lake that fails, or a file that differs from the lake's manifest.
pub(super) async fn read(
    store: &Store,
    file: &ManifestFile,
    contract: &Contract,
) -> Result<String> {
    let footer = read_footer(store, file, "Delta").await?;
    serde_json::to_string(&of_footer(&footer, contract))
        .context(|| format!("failed to write statistics of {}", file.path))
}

fn of_footer(footer: &ParquetMetaData, contract: &Contract) -> Stats {
    let mut stats = Stats {
        num_records: footer.file_metadata().num_rows(),
        ..Stats::default()
    };
    for column in &contract.columns {
        let Some(chunks) = chunks(footer, &column.name) else {
            continue;
        };
        if let Some(nulls) = nulls(&chunks) {
            stats.null_count.insert(column.name.clone(), nulls);
        }
        if let Some((least, greatest)) = bounds(&chunks, column.kind) {
            for (values, bound) in [
                (&mut stats.min_values, least),
                (&mut stats.max_values, greatest),
            ] {
                if let Some(bound) = bound {
                    values.insert(column.name.clone(), bound);
                }
            }
        }
    }
    stats
}

type Json = Option<Box<RawValue>>;

/// The least and the greatest value of all row groups, as JSON; none if a row group has no statistics.
fn bounds(chunks: &[&ColumnChunkMetaData], kind: ColumnType) -> Option<(Json, Json)> {
    let (least, greatest) = range(chunks)?;
    Some((
        written(least, kind, End::Least),
        written(greatest, kind, End::Greatest),
    ))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Least,
    Greatest,
}

/// A bound as JSON; none for a time whose year readers cannot represent. Spark ignores the bounds of booleans. delta-rs needs
/// them: where a bound is missing, it finds no row.
fn written(bound: Bound, kind: ColumnType, end: End) -> Json {
    match (kind, bound) {
        (ColumnType::Bool, Bound::Truth(truth)) => to_raw_value(&truth).ok(),
        (ColumnType::Int64, Bound::Number(number)) => to_raw_value(&number).ok(),
        (ColumnType::Decimal, Bound::Number(millionths)) => {
            let (digits, one) = SCALE;
            let sign = if millionths < 0 { "-" } else { "" };
            let (whole, rest) = (
                millionths.unsigned_abs() / one,
                millionths.unsigned_abs() % one,
            );
            RawValue::from_string(format!("{sign}{whole}.{rest:0digits$}")).ok()
        }
        (ColumnType::Timestamp, Bound::Number(micros)) => {
            let up = end == End::Greatest && micros.rem_euclid(1000) != 0;
            let millis = micros.div_euclid(1000) + i64::from(up);
            let time = DateTime::<Utc>::from_timestamp_millis(millis)?;
            let four_digits = (1..=9999).contains(&time.year());
            four_digits
                .then(|| to_raw_value(&time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).ok())?
        }
        (ColumnType::Utf8, Bound::Text(bytes)) => {
            let text = String::from_utf8(bytes).ok()?;
            match end {
                End::Least => to_raw_value(shortened(&text)).ok(),
                End::Greatest => to_raw_value(&raised(&text)).ok(),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bound: Bound, kind: ColumnType, end: End) -> String {
        written(bound, kind, end).map_or_else(String::new, |json| json.get().to_owned())
    }

    #[test]
    fn bounds_are_exact_or_wider() {
        use ColumnType::{Bool, Decimal, Int64, Timestamp};
        assert_eq!(json(Bound::Truth(true), Bool, End::Least), "true");
        for (number, kind, least, greatest) in [
            (
                i64::MAX,
                Int64,
                "9223372036854775807",
                "9223372036854775807",
            ),
            (20_000, Decimal, "0.020000", "0.020000"),
            (-1, Decimal, "-0.000001", "-0.000001"),
            (
                i64::MIN,
                Decimal,
                "-9223372036854.775808",
                "-9223372036854.775808",
            ),
            (
                1_000,
                Timestamp,
                r#""1970-01-01T00:00:00.001Z""#,
                r#""1970-01-01T00:00:00.001Z""#,
            ),
            (
                1_001,
                Timestamp,
                r#""1970-01-01T00:00:00.001Z""#,
                r#""1970-01-01T00:00:00.002Z""#,
            ),
            (
                -1,
                Timestamp,
                r#""1969-12-31T23:59:59.999Z""#,
                r#""1970-01-01T00:00:00.000Z""#,
            ),
            (
                -62_135_596_800_000_000,
                Timestamp,
                r#""0001-01-01T00:00:00.000Z""#,
                r#""0001-01-01T00:00:00.000Z""#,
            ),
            // Out of the range that other readers accept.
            (-62_135_596_800_001_000, Timestamp, "", ""),
            (253_402_300_800_000_000, Timestamp, "", ""),
            (i64::MAX, Timestamp, "", ""),
        ] {
            assert_eq!(json(Bound::Number(number), kind, End::Least), least);
            assert_eq!(json(Bound::Number(number), kind, End::Greatest), greatest);
        }
    }
}
