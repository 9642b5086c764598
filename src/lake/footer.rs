//! The footer of a published Parquet file: the statistics that table formats repeat, so that readers can skip files.

use object_store::path::Path;
use parquet::DecodeResult;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder,
};
use parquet::file::statistics::Statistics;

use super::manifest::ManifestFile;
use crate::error::{Context, Error, Result};
use crate::store::Store;

/// The bytes at the end of a file that are read first. They contain most footers completely.
const FOOTER_BYTES: u64 = 64 << 10;
/// The characters of a string that are kept, as in Spark and delta-rs.
const TEXT_CHARS: usize = 32;

/// The footer of a published file, for a table of this format.
///
/// # Errors
/// A lake that fails, or a file that is not Parquet or differs from the manifest.
pub(super) async fn read_footer(
    store: &Store,
    file: &ManifestFile,
    format: &str,
) -> Result<ParquetMetaData> {
    let path = Path::from(file.path.as_str());
    let footer = footer_of(store, &path, file.bytes).await?;
    let rows = footer.file_metadata().num_rows();
    if rows as u64 != file.rows {
        let message = format!("{path} has {rows} rows, the manifest says {}", file.rows);
        return Err(Error::unexpected(message).with_hint(format!(
            "the snapshot was not committed to the {format} table; run `backlake verify` to audit it"
        )));
    }
    Ok(footer)
}

/// The footer of a file of this size.
async fn footer_of(store: &Store, path: &Path, bytes: u64) -> Result<ParquetMetaData> {
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

/// The chunks of a column that is not nested, one per row group; none if a row group does not have it. A file without rows
/// may have no row group, and a file of an earlier contract may lack the column.
pub(super) fn chunks<'f>(
    footer: &'f ParquetMetaData,
    column: &str,
) -> Option<Vec<&'f ColumnChunkMetaData>> {
    let chunks = footer.row_groups().iter().flat_map(|group| {
        group
            .columns()
            .iter()
            .filter(|chunk| chunk.column_path().parts() == [column])
    });
    let chunks: Vec<_> = chunks.collect();
    (chunks.len() == footer.num_row_groups() && !chunks.is_empty()).then_some(chunks)
}

/// The nulls in chunks; none if the footer does not have their number.
pub(super) fn nulls(chunks: &[&ColumnChunkMetaData]) -> Option<i64> {
    chunks.iter().map(|chunk| nulls_of(chunk)).sum()
}

fn nulls_of(chunk: &ColumnChunkMetaData) -> Option<i64> {
    chunk.statistics()?.null_count_opt()?.try_into().ok()
}

/// A value in Parquet statistics. Decimals are millionths, times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bound {
    Truth(bool),
    Number(i64),
    Text(Vec<u8>),
}

/// The least and the greatest value of all row groups; none if a row group has no statistics.
pub(super) fn range(chunks: &[&ColumnChunkMetaData]) -> Option<(Bound, Bound)> {
    let mut range: Option<(Bound, Bound)> = None;
    for chunk in chunks {
        if nulls_of(chunk) == Some(chunk.num_values()) {
            continue;
        }
        let (low, high) = match chunk.statistics()? {
            Statistics::Boolean(values) => (
                Bound::Truth(*values.min_opt()?),
                Bound::Truth(*values.max_opt()?),
            ),
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
    range
}

/// The first [`TEXT_CHARS`] characters of a string.
pub(super) fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(TEXT_CHARS)
        .map_or(text, |(at, _)| &text[..at])
}

/// The string itself if it is short. Otherwise a short string that is not less, as in Spark: its beginning, and a
/// character that sorts after the next one. If there is no such character, the string itself: delta-rs finds no row where
/// a bound is missing.
pub(super) fn raised(text: &str) -> String {
    let start = shortened(text);
    let after = match text[start.len()..].chars().next() {
        Some(..'\u{7f}') => '\u{7f}',
        Some('\u{7f}'..char::MAX) => char::MAX,
        Some(char::MAX) | None => return text.to_owned(),
    };
    format!("{start}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_string_is_truncated_and_raised() {
        let thirty_two = "ä".repeat(TEXT_CHARS);
        for (rest, greatest) in [
            ("", ""),
            ("z and more", "\u{7f}"),
            ("\u{7f}", "\u{10ffff}"),
            ("ö", "\u{10ffff}"),
            ("\u{10ffff}a", "\u{10ffff}a"),
        ] {
            let text = format!("{thirty_two}{rest}");
            assert_eq!(shortened(&text), thirty_two);
            assert_eq!(raised(&text), format!("{thirty_two}{greatest}"));
            assert!(shortened(&text) <= text.as_str() && raised(&text) >= text);
        }
    }
}
