//! What a metric says over the pages that both snapshots have.

use polars::prelude::DataFrame;

use super::groups::MetricChange;
use super::metric::{Metric, Values};
use super::pages::metric_column;
use super::tables::{FAILED, Side};
use crate::error::{Context, Result};

/// Adds up one metric, page by page.
pub(super) struct Tally {
    metric: Metric,
    columns: [String; 2],
    values: [Values; 2],
    pages: i64,
    risen: i64,
    fallen: i64,
}

impl Tally {
    pub(super) fn of(metric: &Metric) -> Self {
        Self {
            metric: metric.clone(),
            columns: Side::BOTH.map(|side| metric_column(metric, side)),
            values: Side::BOTH.map(|_| Values::of(metric.statistic)),
            pages: 0,
            risen: 0,
            fallen: 0,
        }
    }

    /// Adds the pages of a batch that have both values.
    pub(super) fn add(&mut self, batch: &DataFrame) -> Result<()> {
        let column = |name: &str| batch.column(name).and_then(|column| column.i64());
        let [before, after] = &self.columns;
        let before = column(before).context(|| FAILED)?;
        let after = column(after).context(|| FAILED)?;
        for (before, after) in before.iter().zip(after.iter()) {
            let (Some(before), Some(after)) = (before, after) else {
                continue;
            };
            self.pages += 1;
            self.risen += i64::from(after > before);
            self.fallen += i64::from(after < before);
            let [values_before, values_after] = &mut self.values;
            values_before.add(before);
            values_after.add(after);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> MetricChange {
        let [before, after] = self.values.map(|values| values.result());
        let change = before
            .zip(after)
            .and_then(|(before, after)| after.checked_sub(before));
        MetricChange {
            metric: self.metric.name,
            statistic: self.metric.statistic,
            pages: self.pages,
            before,
            after,
            change,
            risen: self.risen,
            fallen: self.fallen,
        }
    }
}
