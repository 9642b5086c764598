//! What many pages of one night amount to.

use super::metric::{Statistic, Values};

/// The numbers of one page. `None` is null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the column of its name")]
pub struct PageNumbers {
    pub backlinks: Option<i64>,
    pub broken_backlinks: Option<i64>,
    pub referring_main_domains: Option<i64>,
    pub rank: Option<i64>,
    pub backlinks_spam_score: Option<i64>,
}

/// What the pages of a night, of a root domain or of a label amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageTotals {
    /// The number of pages.
    pub pages: i64,
    /// The sum of their backlinks.
    pub backlinks: i64,
    /// The sum of their broken backlinks.
    pub broken_backlinks: i64,
    /// The sum of their referring main domains: a domain that links to several pages counts for
    /// each of them.
    pub main_domains_of_pages: i64,
    /// The referring main domains of a page.
    pub referring_main_domains: Quartiles,
    /// The rank of a page.
    pub rank: Quartiles,
    /// The spam score of a page's backlinks.
    pub spam_score: Quartiles,
}

/// The values below or at which a quarter, half and three quarters of the pages are; `None` without
/// a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named")]
pub struct Quartiles {
    pub low: Option<i64>,
    pub median: Option<i64>,
    pub high: Option<i64>,
}

/// Adds up pages. The memory depends on how many different values there are.
#[derive(Debug)]
pub(super) struct Adder {
    totals: PageTotals,
    main_domains: Values,
    rank: Values,
    spam_score: Values,
}

impl Adder {
    pub(super) fn new() -> Self {
        let values = || Values::of(Statistic::Median);
        Self {
            totals: PageTotals::default(),
            main_domains: values(),
            rank: values(),
            spam_score: values(),
        }
    }

    pub(super) fn add(&mut self, page: &PageNumbers) {
        let totals = &mut self.totals;
        totals.pages += 1;
        for (sum, value) in [
            (&mut totals.backlinks, page.backlinks),
            (&mut totals.broken_backlinks, page.broken_backlinks),
            (
                &mut totals.main_domains_of_pages,
                page.referring_main_domains,
            ),
        ] {
            *sum = sum.saturating_add(value.unwrap_or_default());
        }
        for (values, value) in [
            (&mut self.main_domains, page.referring_main_domains),
            (&mut self.rank, page.rank),
            (&mut self.spam_score, page.backlinks_spam_score),
        ] {
            if let Some(value) = value {
                values.add(value);
            }
        }
    }

    /// How many pages have a rank, and how many a spam score, below each of these bounds and at or
    /// above the one before. The last part has no end.
    pub(super) fn spread(&self, rank: &[i64], spam_score: &[i64]) -> [Vec<u64>; 2] {
        [parts(&self.rank, rank), parts(&self.spam_score, spam_score)]
    }

    pub(super) fn finish(self) -> PageTotals {
        let quartiles = |values: &Values| Quartiles {
            low: values.quartile(1),
            median: values.quartile(2),
            high: values.quartile(3),
        };
        PageTotals {
            referring_main_domains: quartiles(&self.main_domains),
            rank: quartiles(&self.rank),
            spam_score: quartiles(&self.spam_score),
            ..self.totals
        }
    }
}

fn parts(values: &Values, bounds: &[i64]) -> Vec<u64> {
    let mut parts = vec![0; bounds.len() + 1];
    for (value, times) in values.counted() {
        parts[bounds.partition_point(|bound| *bound <= value)] += times;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_and_parts_are_of_the_pages_with_a_value() {
        let mut adder = Adder::new();
        for rank in [Some(5), None, Some(0), Some(99), Some(100), Some(100_000)] {
            adder.add(&PageNumbers {
                rank,
                backlinks: rank,
                ..PageNumbers::default()
            });
        }
        assert_eq!(adder.spread(&[1, 100], &[]), [vec![1, 2, 2], vec![0]]);
        let totals = adder.finish();
        assert_eq!((totals.pages, totals.backlinks), (6, 100_204));
        let quartiles = Quartiles {
            low: Some(5),
            median: Some(99),
            high: Some(100),
        };
        assert_eq!(totals.rank, quartiles);
        assert_eq!(totals.spam_score, Quartiles::default());
    }
}
