//! Makes the rows of the `targets` and `requests` tables.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::builder::{
    Decimal128Builder, MapBuilder, MapFieldNames, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};

use crate::contract::Table;
use crate::error::{Context, Result};
use crate::fate::Fate;
use crate::ledger::Attempt;
use crate::targets::{Line, LineEnd, TargetList};

/// The fate of an input line, with what the target list does not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineFate<'a> {
    /// The fate.
    pub fate: Fate,
    /// The reason, if the fate alone does not explain it.
    pub reason: Option<&'a str>,
    /// The batch that requested the line's target.
    pub batch: Option<u32>,
    /// The id of the provider's task for that batch.
    pub request_id: Option<&'a str>,
}

/// The rows of the targets table for the lines with these indexes.
///
/// # Errors
/// Columns that do not match the contract: a defect.
pub fn targets_batch<'a>(
    list: &'a TargetList,
    lines: &[usize],
    fate_of: impl Fn(LineEnd<'a>) -> LineFate<'a>,
) -> Result<RecordBatch> {
    let target_texts = list.texts_of_lines(lines.iter().copied());
    let read = list.lines_with(lines.iter().copied(), &target_texts);
    // The fates borrow from the list, because the lines live only as long as their texts.
    let fates = lines.iter().map(|&index| fate_of(list.line_end(index)));
    let rows: Vec<(Line<'_>, LineFate<'a>)> = read.zip(fates).collect();
    // A duplicate names the line that it repeats.
    let reason = |line: &Line<'_>, fate: &LineFate<'a>| match (fate.reason, line.end) {
        (None, LineEnd::Duplicate { first, .. }) => {
            let first = list.line_place(first);
            Some(format!("the same as {} line {}", first.source, first.number).into())
        }
        (given, _) => given.map(Cow::Borrowed),
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&rows, |(line, _)| Some(line.place.source)),
        counts(&rows, |(line, _)| Some(line.place.number as i64)),
        texts(&rows, |(line, _)| Some(line.input())),
        texts(&rows, |(line, _)| Some(&line.target.as_ref()?.text)),
        texts(&rows, |(line, _)| Some(line.target.as_ref()?.kind.name())),
        texts(&rows, |(line, _)| Some(line.target.as_ref()?.root_domain)),
        texts(&rows, |(_, fate)| Some(fate.fate.name())),
        texts(&rows, |(line, fate)| reason(line, fate)),
        counts(&rows, |(_, fate)| fate.batch.map(i64::from)),
        texts(&rows, |(_, fate)| fate.request_id),
        labels(list, lines)?,
    ];
    RecordBatch::try_new(Table::Targets.contract().schema(), columns)
        .context(|| "failed to make rows of the targets table")
}

/// The column of labels; null for a line without labels.
fn labels(list: &TargetList, lines: &[usize]) -> Result<ArrayRef> {
    let mut labels = labels_builder();
    for &index in lines {
        let mut any = false;
        for (name, value) in list.labels(index) {
            labels.keys().append_value(name);
            labels.values().append_value(value);
            any = true;
        }
        labels.append(any).context(|| "failed to write labels")?;
    }
    Ok(Arc::new(labels.finish()))
}

/// A column of strings.
fn texts<'r, Row, Text: AsRef<str>>(
    rows: &'r [Row],
    value: impl Fn(&'r Row) -> Option<Text>,
) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<StringArray>())
}

/// A column of integers.
fn counts<'r, Row>(rows: &'r [Row], value: impl Fn(&'r Row) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Int64Array>())
}

fn labels_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames {
        entry: "key_value".into(),
        key: "key".into(),
        value: "value".into(),
    };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

/// The rows of the requests table for these attempts.
///
/// # Errors
/// Columns that do not match the contract: a defect.
pub fn requests_batch(attempts: &[Attempt]) -> Result<RecordBatch> {
    let time = |value: fn(&Attempt) -> DateTime<Utc>| -> ArrayRef {
        let mut builder = TimestampMicrosecondBuilder::with_capacity(attempts.len());
        attempts
            .iter()
            .for_each(|attempt| builder.append_value(value(attempt).timestamp_micros()));
        Arc::new(builder.finish().with_timezone("UTC"))
    };
    let mut cost = Decimal128Builder::with_capacity(attempts.len())
        .with_data_type(DataType::Decimal128(18, 6));
    attempts
        .iter()
        .for_each(|attempt| cost.append_option(attempt.cost_usd.map(|cost| cost.micros())));
    let columns: Vec<ArrayRef> = vec![
        counts(attempts, |attempt| Some(i64::from(attempt.id.batch))),
        counts(attempts, |attempt| Some(i64::from(attempt.id.attempt))),
        texts(attempts, |attempt| Some(&attempt.tag)),
        texts(attempts, |attempt| attempt.request_id.as_deref()),
        time(|attempt| attempt.sent_at),
        counts(attempts, |attempt| {
            attempt.duration_ms.map(|duration| duration as i64)
        }),
        counts(attempts, |attempt| Some(i64::from(attempt.targets))),
        counts(attempts, |attempt| Some(i64::from(attempt.root_domains))),
        counts(attempts, |attempt| attempt.http_status.map(i64::from)),
        counts(attempts, |attempt| attempt.status_code.map(i64::from)),
        texts(attempts, |attempt| attempt.status_message.as_deref()),
        texts(attempts, |attempt| Some(attempt.outcome.name())),
        counts(attempts, |attempt| attempt.items.map(|items| items as i64)),
        Arc::new(cost.finish()),
        texts(attempts, |attempt| Some(attempt.charged.name())),
        counts(attempts, |attempt| {
            attempt.body_bytes.map(|bytes| bytes as i64)
        }),
    ];
    RecordBatch::try_new(Table::Requests.contract().schema(), columns)
        .context(|| "failed to make rows of the requests table")
}
