//! Answer bytes in, record batches out, by contract: no I/O, no async, no intermediate tree.
//!
//! What holds of a [`Flattened`]: a row for every item that is not null, in the order of the answer; every value
//! stands in its column, or its original in `extra`; every row that answers an asked target is matched to it by key.

mod breakdowns;
mod columns;
mod decode;
mod drift;
mod extra;
mod matching;

use std::sync::Arc;

use arrow::array::builder::{BooleanBuilder, StringBuilder};
use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use thiserror::Error;

pub use breakdowns::breakdowns;
pub use drift::{Drift, Drifted};
pub use extra::Irregularities;

use crate::contract::{Column, Contract};
use crate::targets::{Canonical, Rules, Target, canonical};

/// An answer and what was asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The contract of pages by which to flatten.
    pub contract: &'a Contract,
    /// The targets of the batch.
    pub targets: &'a [Target<'a>],
    /// By which the url of an item that matches none of them is brought to canonical form.
    pub rules: &'a Rules,
    /// The id of the provider's task.
    pub request_id: Option<&'a str>,
    /// When the answer had arrived, in microseconds since 1970.
    pub fetched_at: i64,
}

/// The rows of one answer.
#[derive(Debug, Clone)]
pub struct Flattened {
    /// By the contract of pages.
    pub pages: RecordBatch,
    /// For each asked target whether a row answers it.
    pub returned: Vec<bool>,
    /// Rows that answer no asked target.
    pub unmatched: u64,
    /// What did not fit the contract.
    pub irregularities: Irregularities,
}

/// Why an answer could not be flattened.
#[derive(Debug, Error)]
pub enum FlattenError {
    /// The body is no complete JSON, or is nested deeper than any answer.
    #[error("the answer cannot be read as JSON: {0}")]
    Json(#[from] sonic_rs::Error),
    /// The columns do not make up a batch: a defect.
    #[error("the columns do not fit the contract: {0}")]
    Contract(#[from] ArrowError),
}

/// Decodes an answer's items and matches them to the targets asked.
///
/// # Errors
/// A body that is no complete JSON or is nested too deep. Values that do not fit are no error: they are kept in `extra` and counted.
pub fn flatten(body: &[u8], asked: &Asked<'_>) -> Result<Flattened, FlattenError> {
    let contract = asked.contract;
    let items: Vec<&Column> = contract
        .columns
        .iter()
        .filter(|column| column.item.is_some())
        .collect();
    let decoded = decode::decode(body, &items)?;
    let rows = decoded.rows;
    let (extra, irregularities) = extra::collect(body, &items, &decoded)?;
    let url = items
        .iter()
        .position(|column| column.name == "url")
        .map(|at| Arc::clone(&decoded.columns[at]));
    let urls = url
        .as_ref()
        .and_then(|url| url.as_any().downcast_ref::<StringArray>());
    let matches = matching::match_rows(urls, rows, asked.targets, asked.rules);
    let keys = Keys::of(&matches, urls, asked);

    let mut decoded = decoded.columns.into_iter();
    let columns = contract.columns.iter().map(|column| -> ArrayRef {
        match column.name.as_str() {
            "target" => Arc::clone(&keys.target),
            "target_kind" => Arc::clone(&keys.kind),
            "root_domain" => Arc::clone(&keys.root_domain),
            "matched" => Arc::clone(&keys.matched),
            "fetched_at" => Arc::new(
                TimestampMicrosecondArray::from_value(asked.fetched_at, rows).with_timezone("UTC"),
            ),
            "request_id" => Arc::new(StringArray::from_iter(std::iter::repeat_n(
                asked.request_id,
                rows,
            ))),
            "extra" => Arc::clone(&extra),
            _ => decoded
                .next()
                .unwrap_or_else(|| arrow::array::new_null_array(&column.kind.arrow(), rows)),
        }
    });
    let pages = RecordBatch::try_new(contract.schema(), columns.collect())?;
    let mut returned = vec![false; asked.targets.len()];
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

/// The columns that say which target a row belongs to.
struct Keys {
    target: ArrayRef,
    kind: ArrayRef,
    root_domain: ArrayRef,
    matched: ArrayRef,
}

impl Keys {
    /// An item that matches no asked target stands under the canonical form of its own url.
    fn of(matches: &[Option<usize>], urls: Option<&StringArray>, asked: &Asked<'_>) -> Self {
        let (mut target, mut kind, mut root_domain) = (
            StringBuilder::new(),
            StringBuilder::new(),
            StringBuilder::new(),
        );
        let mut matched = BooleanBuilder::with_capacity(matches.len());
        for (row, found) in matches.iter().enumerate() {
            matched.append_value(found.is_some());
            if let Some(found) = found {
                let asked = &asked.targets[*found];
                target.append_value(asked.text);
                kind.append_value(asked.kind.name());
                root_domain.append_value(asked.root_domain);
                continue;
            }
            let url = urls
                .filter(|urls| urls.is_valid(row))
                .map(|urls| urls.value(row));
            let own = url.and_then(|url| canonical(url, asked.rules).ok());
            target.append_option(own.as_ref().map(Canonical::text).or(url));
            kind.append_option(own.as_ref().map(|own| own.kind().name()));
            root_domain.append_option(own.as_ref().map(Canonical::root_domain));
        }
        Self {
            target: Arc::new(target.finish()),
            kind: Arc::new(kind.finish()),
            root_domain: Arc::new(root_domain.finish()),
            matched: Arc::new(matched.finish()),
        }
    }
}
