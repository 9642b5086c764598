//! The metrics of pages, and what can be said about one over many pages.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::contract::Table;

/// An int64 column of the pages table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) statistic: Statistic,
}

impl Metric {
    /// Links of different pages are different links, so they can be added. Nothing else can: ranks
    /// and scores have no sum, and the sites, addresses and pages that link to two pages can be the
    /// same.
    pub(super) fn named(name: &str) -> Self {
        let columns = &Table::Pages.contract().columns;
        let column = columns.iter().find(|column| column.name == name);
        let is_sum = column.is_some_and(|column| column.unit.as_deref() == Some("links"));
        Self {
            name: name.to_owned(),
            statistic: if is_sum {
                Statistic::Sum
            } else {
                Statistic::Median
            },
        }
    }
}

/// What a value over many pages is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// The sum over the pages.
    Sum,
    /// The value of the page in the middle; of two in the middle, the smaller one.
    Median,
}

impl Statistic {
    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Median => "median",
        }
    }
}

/// Values from 0 to this are counted in an array, others in a map.
const SMALL: usize = 16_384;

/// The values of a metric over many pages. The memory depends on how many different values there
/// are, not on the number of pages.
#[derive(Debug)]
pub(super) enum Values {
    /// For a sum.
    Added {
        sum: i128,
        /// Whether there is any value.
        any: bool,
    },
    /// For a median: how often each value occurs.
    Counted {
        /// As long as the largest small value needs.
        small: Vec<u64>,
        other: BTreeMap<i64, u64>,
        values: u64,
    },
}

impl Values {
    pub(super) fn of(statistic: Statistic) -> Self {
        match statistic {
            Statistic::Sum => Self::Added { sum: 0, any: false },
            Statistic::Median => Self::Counted {
                small: Vec::new(),
                other: BTreeMap::new(),
                values: 0,
            },
        }
    }

    pub(super) fn add(&mut self, value: i64) {
        match self {
            Self::Added { sum, any } => {
                *sum += i128::from(value);
                *any = true;
            }
            Self::Counted {
                small,
                other,
                values,
            } => {
                *values += 1;
                let index = usize::try_from(value).unwrap_or(SMALL);
                if index < SMALL {
                    if index >= small.len() {
                        small.resize(index + 1, 0);
                    }
                    small[index] += 1;
                } else {
                    *other.entry(value).or_default() += 1;
                }
            }
        }
    }

    /// The sum or the median; `None` without a value. A sum beyond the range of the type stops at
    /// its end.
    pub(super) fn result(&self) -> Option<i64> {
        match self {
            Self::Added { sum, any } => any.then(|| {
                let end = if *sum < 0 { i64::MIN } else { i64::MAX };
                i64::try_from(*sum).unwrap_or(end)
            }),
            Self::Counted { .. } => self.quartile(2),
        }
    }

    /// The value below or at which so many quarters of the values are, as `quantile_disc` of DuckDB
    /// says; `None` without a value, or for a sum.
    pub(super) fn quartile(&self, quarters: u64) -> Option<i64> {
        let Self::Counted { values, .. } = self else {
            return None;
        };
        let place = (values * quarters).div_ceil(4).checked_sub(1)?;
        let mut seen = 0;
        let at = self.counted().find(|(_, times)| {
            seen += times;
            seen > place
        });
        at.map(|(value, _)| value)
    }

    /// Each value and how often it occurs, in ascending order; none for a sum. Some occur 0 times.
    pub(super) fn counted(&self) -> impl Iterator<Item = (i64, u64)> {
        let (small, other) = match self {
            Self::Added { .. } => (&[][..], None),
            Self::Counted { small, other, .. } => (&small[..], Some(other)),
        };
        let own = |(value, times): (&i64, &u64)| (*value, *times);
        let negative = other.into_iter().flat_map(|other| other.range(..0));
        let large = other.into_iter().flat_map(|other| other.range(0..));
        let small = (0_i64..).zip(small.iter().copied());
        negative.map(own).chain(small).chain(large.map(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(statistic: Statistic, values: &[i64]) -> Option<i64> {
        let mut found = Values::of(statistic);
        values.iter().for_each(|value| found.add(*value));
        found.result()
    }

    #[test]
    fn a_median_is_a_value_of_a_page_and_a_sum_does_not_wrap() {
        for (values, sum, median) in [
            (&[][..], None, None),
            (&[7], Some(7), Some(7)),
            (&[9, 1], Some(10), Some(1)),
            (&[3, 1, 2], Some(6), Some(2)),
            (&[-5, 0, 100_000, 100_001], Some(199_996), Some(0)),
            (&[-5, -7, 1], Some(-11), Some(-5)),
            (&[200_000, 300_000, 1], Some(500_001), Some(200_000)),
            (&[i64::MAX, i64::MAX], Some(i64::MAX), Some(i64::MAX)),
            (&[i64::MIN, i64::MIN], Some(i64::MIN), Some(i64::MIN)),
        ] {
            assert_eq!(result(Statistic::Sum, values), sum, "{values:?}");
            assert_eq!(result(Statistic::Median, values), median, "{values:?}");
        }
    }

    #[test]
    fn only_links_are_added_up() {
        let contract = Table::Pages.contract();
        let added: Vec<_> = contract
            .columns
            .iter()
            .map(|column| Metric::named(&column.name))
            .filter(|metric| metric.statistic == Statistic::Sum)
            .map(|metric| metric.name)
            .filter(|name| !name.starts_with("referring_links_"))
            .collect();
        assert_eq!(added, ["backlinks", "broken_backlinks"]);
    }
}
