//! Makes the rows of the `targets` and `requests` tables.

use std::sync::Arc;

use arrow::array::builder::{
    Decimal128Builder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};

use crate::contract::Table;
use crate::error::{Context, Result};
use crate::fate::Fate;
use crate::ledger::Attempt;
use crate::targets::{LineEnd, TargetList};

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
    fate_of: impl Fn(usize) -> LineFate<'a>,
) -> Result<RecordBatch> {
    let mut text: [StringBuilder; 8] = Default::default();
    let [
        source,
        input,
        target,
        kind,
        root_domain,
        fate,
        reason,
        request_id,
    ] = &mut text;
    let (mut number, mut batch) = (Int64Builder::new(), Int64Builder::new());
    let mut labels = labels_builder();
    for &index in lines {
        let line = list.line(index);
        let end = fate_of(index);
        source.append_value(line.source);
        number.append_value(line.number as i64);
        input.append_value(line.input);
        let target_of = match line.end {
            LineEnd::Target(id) | LineEnd::Duplicate { of: id, .. } => Some(list.target(id)),
            LineEnd::Invalid(_) => None,
        };
        target.append_option(target_of.map(|target| target.text));
        kind.append_option(target_of.map(|target| target.kind.name()));
        root_domain.append_option(target_of.map(|target| target.root_domain));
        fate.append_value(end.fate.name());
        match (end.reason, line.end) {
            (None, LineEnd::Duplicate { first, .. }) => {
                let first = list.line(first);
                reason.append_value(format!(
                    "the same as {} line {}",
                    first.source, first.number
                ));
            }
            (given, _) => reason.append_option(given),
        }
        batch.append_option(end.batch.map(i64::from));
        request_id.append_option(end.request_id);
        let mut any = false;
        for (name, value) in list.labels(index) {
            labels.keys().append_value(name);
            labels.values().append_value(value);
            any = true;
        }
        labels.append(any).context(|| "failed to write labels")?;
    }
    let [
        source,
        input,
        target,
        kind,
        root_domain,
        fate,
        reason,
        request_id,
    ] = text
        .each_mut()
        .map(|builder| -> ArrayRef { Arc::new(builder.finish()) });
    let columns: Vec<ArrayRef> = vec![
        source,
        Arc::new(number.finish()),
        input,
        target,
        kind,
        root_domain,
        fate,
        reason,
        Arc::new(batch.finish()),
        request_id,
        Arc::new(labels.finish()),
    ];
    RecordBatch::try_new(Table::Targets.contract().schema(), columns)
        .context(|| "failed to make rows of the targets table")
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
    let count = |value: fn(&Attempt) -> Option<i64>| -> ArrayRef {
        let mut builder = Int64Builder::with_capacity(attempts.len());
        attempts
            .iter()
            .for_each(|attempt| builder.append_option(value(attempt)));
        Arc::new(builder.finish())
    };
    let text = |value: fn(&Attempt) -> Option<&str>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        attempts
            .iter()
            .for_each(|attempt| builder.append_option(value(attempt)));
        Arc::new(builder.finish())
    };
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
        count(|attempt| Some(i64::from(attempt.id.batch))),
        count(|attempt| Some(i64::from(attempt.id.attempt))),
        text(|attempt| Some(&attempt.tag)),
        text(|attempt| attempt.request_id.as_deref()),
        time(|attempt| attempt.sent_at),
        count(|attempt| attempt.duration_ms.map(|duration| duration as i64)),
        count(|attempt| Some(i64::from(attempt.targets))),
        count(|attempt| Some(i64::from(attempt.root_domains))),
        count(|attempt| attempt.http_status.map(i64::from)),
        count(|attempt| attempt.status_code.map(i64::from)),
        text(|attempt| attempt.status_message.as_deref()),
        text(|attempt| Some(attempt.outcome.name())),
        count(|attempt| attempt.items.map(|items| items as i64)),
        Arc::new(cost.finish()),
        text(|attempt| Some(attempt.charged.name())),
        count(|attempt| attempt.body_bytes.map(|bytes| bytes as i64)),
    ];
    RecordBatch::try_new(Table::Requests.contract().schema(), columns)
        .context(|| "failed to make rows of the requests table")
}
