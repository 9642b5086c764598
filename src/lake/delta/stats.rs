//! The statistics of a file in the Delta log, which let readers skip files: counts, and the least and greatest values.
//!
//! They are read from the Parquet footer alone, and each bound is exact or wider than the values. A string longer than
//! [`TEXT_CHARS`] is truncated for the least and raised for the greatest value. A time is rounded outward to Delta's
//! milliseconds. A column without complete Parquet statistics gets no bounds.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Utc};
use object_store::path::Path;
use parquet::DecodeResult;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder,
};
use parquet::file::statistics::Statistics;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::contract::{ColumnType, Contract};
use crate::error::{Context, Error, Result};
use crate::store::Store;

/// The bytes at the end of a file that are read first. They contain most footers completely.
const FOOTER_BYTES: u64 = 64 << 10;
/// The characters of a string that are kept, as in Spark and delta-rs.
const TEXT_CHARS: usize = 32;
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

/// The number of rows in a file, and its statistics as JSON.
///
/// # Errors
/// A lake that fails, or a file that is not Parquet.
pub(super) async fn read(
    store: &Store,
    path: &Path,
    bytes: u64,
    contract: &Contract,
) -> Result<(i64, String)> {
    let footer = footer(store, path, bytes).await?;
    let stats = of_footer(&footer, contract);
    let json = serde_json::to_string(&stats)
        .context(|| format!("failed to write statistics of {path}"))?;
    Ok((stats.num_records, json))
}

async fn footer(store: &Store, path: &Path, bytes: u64) -> Result<ParquetMetaData> {
    let failed = || format!("failed to read the footer of {path}");
    let mut decoder = ParquetMetaDataPushDecoder::try_new(bytes)
        .context(failed)?
        .with_page_index_policy(PageIndexPolicy::Skip);
    let end = bytes.saturating_sub(FOOTER_BYTES)..bytes;
    let mut wanted = Vec::from([end]);
    loop {
        let read = store
            .objects()
            .get_ranges(path, &wanted)
            .await
            .context(failed)?;
        decoder.push_ranges(wanted, read).context(failed)?;
        match decoder.try_decode().context(failed)? {
            DecodeResult::Data(footer) => return Ok(footer),
            DecodeResult::NeedsData(more) => wanted = more,
            DecodeResult::Finished => return Err(Error::unexpected(failed())),
        }
    }
}

fn of_footer(footer: &ParquetMetaData, contract: &Contract) -> Stats {
    let mut stats = Stats {
        num_records: footer.file_metadata().num_rows(),
        ..Stats::default()
    };
    for column in &contract.columns {
        let chunks = footer.row_groups().iter().flat_map(|group| {
            group
                .columns()
                .iter()
                .filter(|chunk| chunk.column_path().parts() == [column.name.as_str()])
        });
        let chunks: Vec<&ColumnChunkMetaData> = chunks.collect();
        // A file without rows may have no row group. A file of an earlier contract may lack the column.
        if chunks.len() != footer.num_row_groups() || chunks.is_empty() {
            continue;
        }
        let nulls = chunks.iter().map(|chunk| nulls(chunk)).sum::<Option<i64>>();
        if let Some(nulls) = nulls {
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

fn nulls(chunk: &ColumnChunkMetaData) -> Option<i64> {
    chunk.statistics()?.null_count_opt()?.try_into().ok()
}

/// A value in Parquet statistics. Decimals are millionths, times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Number(i64),
    Text(Vec<u8>),
}

type Json = Option<Box<RawValue>>;

/// The least and the greatest value of all row groups, as JSON; none if a row group has no statistics.
fn bounds(chunks: &[&ColumnChunkMetaData], kind: ColumnType) -> Option<(Json, Json)> {
    let mut range: Option<(Bound, Bound)> = None;
    for chunk in chunks {
        if nulls(chunk) == Some(chunk.num_values()) {
            continue;
        }
        let (low, high) = match chunk.statistics()? {
            Statistics::Int64(values) => (
                Bound::Number(*values.min_opt()?),
                Bound::Number(*values.max_opt()?),
            ),
            Statistics::ByteArray(values) => (
                Bound::Text(values.min_opt()?.data().to_vec()),
                Bound::Text(values.max_opt()?.data().to_vec()),
            ),
            _ => return None,
        };
        range = Some(match range {
            None => (low, high),
            Some((least, greatest)) => (least.min(low), greatest.max(high)),
        });
    }
    let (least, greatest) = range?;
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

/// A bound as JSON; none if Delta has no statistics for the type or the value is out of range.
fn written(bound: Bound, kind: ColumnType, end: End) -> Json {
    match (kind, bound) {
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
            let four_digits = (0..=9999).contains(&time.year());
            four_digits
                .then(|| to_raw_value(&time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).ok())?
        }
        (ColumnType::Utf8, Bound::Text(bytes)) => {
            let text = String::from_utf8(bytes).ok()?;
            match end {
                End::Least => to_raw_value(shortened(&text)).ok(),
                End::Greatest => to_raw_value(&raised(&text)?).ok(),
            }
        }
        _ => None,
    }
}

/// The first [`TEXT_CHARS`] characters of a string.
fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(TEXT_CHARS)
        .map_or(text, |(at, _)| &text[..at])
}

/// The string itself if it is short. Otherwise a short string that is not less, as in Spark: its beginning, and a
/// character that sorts after the next one. None if there is no such character.
fn raised(text: &str) -> Option<String> {
    let start = shortened(text);
    let Some(next) = text[start.len()..].chars().next() else {
        return Some(text.to_owned());
    };
    let after = match next {
        ..'\u{7f}' => '\u{7f}',
        '\u{7f}'..char::MAX => char::MAX,
        char::MAX => return None,
    };
    Some(format!("{start}{after}"))
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
            // Out of the range that other readers accept.
            (i64::MAX, Timestamp, "", ""),
            (1, Bool, "", ""),
        ] {
            assert_eq!(json(Bound::Number(number), kind, End::Least), least);
            assert_eq!(json(Bound::Number(number), kind, End::Greatest), greatest);
        }
    }

    #[test]
    fn a_long_string_is_truncated_and_raised() {
        let thirty_two = "ä".repeat(TEXT_CHARS);
        for (rest, greatest) in [
            ("", Some(thirty_two.clone())),
            ("z and more", Some(format!("{thirty_two}\u{7f}"))),
            ("\u{7f}", Some(format!("{thirty_two}{}", char::MAX))),
            ("ö", Some(format!("{thirty_two}{}", char::MAX))),
            ("\u{10ffff}\u{10ffff}", None),
        ] {
            let text = format!("{thirty_two}{rest}");
            assert_eq!(shortened(&text), thirty_two);
            let raised = raised(&text);
            assert_eq!(raised, greatest);
            assert!(
                shortened(&text) <= text.as_str() && raised.is_none_or(|raised| raised >= text)
            );
        }
    }
}
