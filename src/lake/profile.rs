//! What the columns of pages add up to, and whether a snapshot is of the same kind as the one before it.

use std::collections::BTreeMap;

use arrow::array::AsArray as _;
use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::Int64Type;
use serde::{Deserialize, Serialize};

/// Rows, nulls and totals of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// Rows.
    pub rows: u64,
    /// By column.
    pub columns: BTreeMap<String, ColumnProfile>,
}

/// What a column adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ColumnProfile {
    /// Rows in which it is null.
    pub nulls: u64,
    /// The sum of a column of counts.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "decimal_string"
    )]
    pub total: Option<i128>,
}

/// Sums outgrow what readers of JSON take for exact: they are written as strings.
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
            let known = self.columns.entry(field.name().clone()).or_default();
            known.nulls += column.null_count() as u64;
            if let Some(counts) = column.as_primitive_opt::<Int64Type>() {
                let sum: i128 = counts.iter().flatten().map(i128::from).sum();
                known.total = Some(known.total.unwrap_or_default() + sum);
            }
        }
    }

    /// In what this snapshot differs from the one before it by more than these bounds.
    #[must_use]
    pub fn changes(&self, before: &Self, bounds: &Bounds) -> Vec<Change> {
        let mut found = Vec::new();
        if before.rows == 0 {
            return found;
        }
        let relative = |before: f64, now: f64| {
            if before == 0.0 {
                0.0
            } else {
                (now - before) / before.abs()
            }
        };
        let mut hold = |figure: String, before: f64, now: f64, change: f64, bound: f64| {
            if change.abs() > bound {
                found.push(Change {
                    figure,
                    before,
                    now,
                    change,
                    bound,
                });
            }
        };
        let (rows_before, rows_now) = (before.rows as f64, self.rows as f64);
        hold(
            "rows".to_owned(),
            rows_before,
            rows_now,
            relative(rows_before, rows_now),
            bounds.rows,
        );
        for (name, column) in &self.columns {
            let Some(earlier) = before.columns.get(name) else {
                continue;
            };
            let share = |nulls: u64, rows: f64| {
                if rows == 0.0 {
                    0.0
                } else {
                    nulls as f64 / rows
                }
            };
            // What is noted only where something is wrong is no value that goes missing.
            if name != "extra" {
                let (then, now) = (
                    share(earlier.nulls, rows_before),
                    share(column.nulls, rows_now),
                );
                hold(
                    format!("null share of {name}"),
                    then,
                    now,
                    now - then,
                    bounds.nulls,
                );
            }
            if let (Some(then), Some(now)) = (earlier.total, column.total) {
                let (then, now) = (then as f64, now as f64);
                hold(
                    format!("total of {name}"),
                    then,
                    now,
                    relative(then, now),
                    bounds.totals,
                );
            }
        }
        found
    }
}

/// How far a snapshot may differ from the one before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The number of rows, as a share of those before.
    pub rows: f64,
    /// The share of nulls of each column, as a difference of the two.
    pub nulls: f64,
    /// The total of each column of counts, as a share of the one before.
    pub totals: f64,
}

/// A figure that differs from the snapshot before by more than its bound.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Which.
    pub figure: String,
    /// In the snapshot before.
    pub before: f64,
    /// In this one.
    pub now: f64,
    /// The difference, as the bound has it: a share of what was, or for null shares their difference.
    pub change: f64,
    /// The bound.
    pub bound: f64,
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
    fn only_what_differs_by_more_than_its_bound_is_named() {
        let bounds = Bounds {
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
    fn totals_survive_json_whatever_their_size() {
        let large = profile(1, 0, i128::from(i64::MAX) * 7);
        let json = serde_json::to_string(&large).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), large);
    }
}
