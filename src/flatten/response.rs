//! Flattens one response: decodes its items, matches them to targets, and builds the rows of the
//! pages table.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use strum::EnumString;

use super::decode::decode;
use super::error::FlattenError;
use super::extra::{self, Irregularities};
use super::matching::match_rows;
use super::target_columns::TargetColumns;
use crate::contract::{Contract, ItemField};
use crate::provider::Body;
use crate::targets::{Rules, Target};

/// The request that a response belongs to, and how to flatten it.
#[derive(Debug, Clone, Copy)]
pub struct Requested<'a> {
    /// The contract of the pages table.
    pub contract: &'a Contract,
    /// The targets of the batch.
    pub targets: &'a [Target<'a>],
    /// The rules by which the url of an unmatched item gets its canonical form.
    pub rules: &'a Rules,
    /// The id of the provider's task.
    pub request_id: Option<&'a str>,
    /// When the response was complete, in microseconds since 1970.
    pub fetched_at: i64,
}

/// The rows of one response.
#[derive(Debug, Clone)]
pub struct Flattened {
    /// The rows, by the contract of the pages table.
    pub pages: RecordBatch,
    /// For each requested target, whether a row matches it.
    pub returned: Vec<bool>,
    /// The number of rows that match no requested target.
    pub unmatched: u64,
    /// The values that do not fit the contract.
    pub irregularities: Irregularities,
}

/// A column that backlake computes. Every other column is decoded from a field of the item.
#[derive(Debug, Clone, Copy, EnumString)]
#[strum(serialize_all = "snake_case")]
enum Computed {
    Target,
    TargetKind,
    RootDomain,
    Matched,
    FetchedAt,
    RequestId,
    Extra,
}

/// Flattens a response.
///
/// # Errors
/// The body is not complete JSON, or the nesting around its items is too deep. A value that does not
/// fit its column is not an error: it is kept in `extra` and counted.
pub fn flatten(body: &[u8], requested: &Requested<'_>) -> Result<Flattened, FlattenError> {
    let contract = requested.contract;
    let items: Vec<&ItemField> = contract
        .columns
        .iter()
        .filter_map(|column| column.item.as_ref())
        .collect();
    let Body { json, .. } = Body::of(body);
    let decoded = decode(&json, &items)?;
    let rows = decoded.rows;
    let (extra, irregularities) = extra::collect(&json, &items, &decoded)?;
    let url = items.iter().position(|item| item.name == "url");
    let urls: Option<StringArray> =
        url.and_then(|at| decoded.columns[at].as_string_opt::<i32>().cloned());
    let matches = match_rows(urls.as_ref(), rows, requested.targets, requested.rules);
    let of_targets = TargetColumns::of(&matches, urls.as_ref(), requested.targets, requested.rules);

    let computed = |column: Computed| -> ArrayRef {
        match column {
            Computed::Target => Arc::clone(&of_targets.target),
            Computed::TargetKind => Arc::clone(&of_targets.kind),
            Computed::RootDomain => Arc::clone(&of_targets.root_domain),
            Computed::Matched => Arc::clone(&of_targets.matched),
            Computed::FetchedAt => Arc::new(
                TimestampMicrosecondArray::from_value(requested.fetched_at, rows)
                    .with_timezone("UTC"),
            ),
            Computed::RequestId => Arc::new(StringArray::from_iter(std::iter::repeat_n(
                requested.request_id,
                rows,
            ))),
            Computed::Extra => Arc::clone(&extra),
        }
    };
    // The decoded columns are in the order in which the contract names their fields.
    let mut decoded = decoded.columns.into_iter();
    let columns = contract.columns.iter().map(|column| {
        let array = match column.item {
            Some(_) => decoded.next(),
            None => column.name.parse().ok().map(computed),
        };
        let no_source = || format!("column `{}` of pages has no source", column.name);
        array.ok_or_else(|| ArrowError::SchemaError(no_source()))
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    let pages = RecordBatch::try_new(contract.schema(), columns)?;

    let mut returned = vec![false; requested.targets.len()];
    for &target in matches.iter().flatten() {
        returned[target] = true;
    }
    let unmatched = matches.iter().filter(|target| target.is_none()).count() as u64;
    Ok(Flattened {
        pages,
        returned,
        unmatched,
        irregularities,
    })
}
