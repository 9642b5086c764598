//! The profile of a snapshot: sums and null counts of its columns, to detect unusual changes between snapshots.

use std::collections::BTreeMap;

use arrow::array::AsArray as _;
use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::Int64Type;
use serde::{Deserialize, Serialize};

/// The row count of a table, and the nulls and totals of its columns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// The number of rows.
    pub rows: u64,
    /// The columns by name.
    pub columns: BTreeMap<String, ColumnProfile>,
}

/// The nulls and the total of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ColumnProfile {
    /// The number of nulls.
    pub nulls: u64,
    /// The sum of an integer column; none for other types.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "decimal_string"
    )]
    pub total: Option<i128>,
}

/// Writes sums as strings, because they exceed the integers that JSON readers represent exactly.
mod decimal_string {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(total: &Option<i128>, to: S) -> Result<S::Ok, S::Error> {
        match total {
            Some(total) => to.collect_str(total),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<i128>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

impl Profile {
    /// Adds rows.
    pub fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let profile = self.columns.entry(field.name().clone()).or_default();
            profile.nulls += column.null_count() as u64;
            if let Some(counts) = column.as_primitive_opt::<Int64Type>() {
                let sum: i128 = counts.iter().flatten().map(i128::from).sum();
                profile.total = Some(profile.total.unwrap_or_default() + sum);
            }
        }
    }

    /// The figures that differ from the previous snapshot by more than these bounds; empty if that one has no rows.
    #[must_use]
    pub fn changes(&self, before: &Self, bounds: &ChangeBounds) -> Vec<ProfileChange> {
        if before.rows == 0 {
            return Vec::new();
        }
        let (rows_before, rows_now) = (before.rows as f64, self.rows as f64);
        let share = |nulls: u64, rows: f64| {
            if rows == 0.0 {
                0.0
            } else {
                nulls as f64 / rows
            }
        };
        let rows = ProfileChange::relative("rows".to_owned(), rows_before, rows_now, bounds.rows);
        let mut found = vec![rows];
        for (name, column) in &self.columns {
            let Some(earlier) = before.columns.get(name) else {
                continue;
            };
            // `extra` is null for every regular item, so its null share says nothing about missing values.
            if name != "extra" {
                let figure = format!("null share of {name}");
                let then = share(earlier.nulls, rows_before);
                let now = share(column.nulls, rows_now);
                found.push(ProfileChange::absolute(figure, then, now, bounds.nulls));
            }
            if let (Some(then), Some(now)) = (earlier.total, column.total) {
                let figure = format!("total of {name}");
                let (then, now) = (then as f64, now as f64);
                found.push(ProfileChange::relative(figure, then, now, bounds.totals));
            }
        }
        found.retain(|change| change.change.abs() > change.bound);
        found
    }
}

/// How far a snapshot may differ from the previous one without a finding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangeBounds {
    /// The change in the number of rows, as a share of the previous number.
    pub rows: f64,
    /// The change in the null share of a column, as the difference between the two shares.
    pub nulls: f64,
    /// The change in the total of an integer column, as a share of the previous total.
    pub totals: f64,
}

/// A figure that differs from the previous snapshot by more than its bound.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileChange {
    /// What the figure is: rows, the null share of a column or the total of a column.
    pub figure: String,
    /// Its value in the previous snapshot.
    pub before: f64,
    /// Its value in this snapshot.
    pub now: f64,
    /// The difference: a share of the previous value, or for null shares the difference between the two.
    pub change: f64,
    /// The bound that it exceeds.
    pub bound: f64,
}

impl ProfileChange {
    /// The difference of two values.
    fn absolute(figure: String, before: f64, now: f64, bound: f64) -> Self {
        let change = now - before;
        Self {
            figure,
            before,
            now,
            change,
            bound,
        }
    }

    /// The difference of two values as a share of the first one; zero if that is zero.
    fn relative(figure: String, before: f64, now: f64, bound: f64) -> Self {
        let mut found = Self::absolute(figure, before, now, bound);
        found.change = if before == 0.0 {
            0.0
        } else {
            found.change / before.abs()
        };
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(rows: u64, nulls: u64, total: i128) -> Profile {
        let column = ColumnProfile {
            nulls,
            total: Some(total),
        };
        Profile {
            rows,
            columns: [("backlinks".to_owned(), column)].into(),
        }
    }

    #[test]
    fn only_figures_that_differ_by_more_than_their_bound_are_reported() {
        let bounds = ChangeBounds {
            rows: 0.5,
            nulls: 0.1,
            totals: 0.2,
        };
        let before = profile(100, 0, 1000);
        let named = |now: &Profile| {
            now.changes(&before, &bounds)
                .into_iter()
                .map(|change| change.figure)
                .collect::<Vec<_>>()
        };
        assert_eq!(named(&profile(100, 10, 1200)), [""; 0]);
        assert_eq!(named(&profile(49, 0, 1000)), ["rows"]);
        assert_eq!(named(&profile(100, 11, 1000)), ["null share of backlinks"]);
        assert_eq!(named(&profile(100, 0, 799)), ["total of backlinks"]);
        assert_eq!(before.changes(&Profile::default(), &bounds), []);
    }

    #[test]
    fn totals_of_any_size_survive_json() {
        let large = profile(1, 0, i128::from(i64::MAX) * 7);
        let json = serde_json::to_string(&large).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), large);
    }
}
