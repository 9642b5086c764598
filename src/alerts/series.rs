//! What the pages were on each of the last nights.
//!
//! # Memory
//! Per target: its text, some 60 bytes, 4 bytes for each night, and 33 bytes for each of the last
//! eight. With the default of 28 nights that is about 530 bytes: 53 MB for 100,000 targets.

use std::collections::{HashMap, VecDeque};

use chrono::NaiveDate;
use xxhash_rust::xxh3::xxh3_128;

use super::robust::{median, spread};
use super::state::ShiftCheck;

/// The columns of `pages` that the rules need, in the order of [`Figures`].
pub const COLUMNS: &[&str] = &[
    "referring_main_domains",
    "backlinks",
    "broken_backlinks",
    "referring_pages",
    "referring_pages_nofollow",
    "backlinks_spam_score",
];

/// The numbers of a page on a night, in the order of [`COLUMNS`]. `None` is null.
pub type Figures = [Option<i64>; 6];

/// The nights before tonight that its details are compared with.
pub(super) const RECENT: usize = 7;

/// A number of referring main domains that is not known.
const UNKNOWN: u32 = u32::MAX;
/// A detail that is not known. Details need more than 32 bits: a domain may have 10 billion backlinks.
const UNKNOWN_DETAIL: i64 = -1;

/// The smallest number of referring main domains of a page that tells whether the index moved: in
/// smaller numbers, a move of a few percent is lost to rounding.
const TELLING: f64 = 20.0;
/// The fewest pages that tell whether the index moved.
const FEWEST: usize = 20;

/// The pages of the last nights.
#[derive(Debug, Default)]
pub struct Series {
    /// The nights that are kept, tonight included.
    kept: usize,
    /// The row of each target, by the hash of its text.
    rows: HashMap<u128, u32>,
    targets: Vec<Box<str>>,
    /// The root domain of each row, as an index.
    domain_of: Vec<u32>,
    domains: Vec<Box<str>>,
    domain_ids: HashMap<Box<str>, u32>,
    /// The row at which the next target is expected.
    next: usize,
    nights: VecDeque<SeriesNight>,
}

/// The pages of one night, by row. A row beyond the end is not known.
#[derive(Debug)]
struct SeriesNight {
    date: NaiveDate,
    main_domains: Vec<u32>,
    details: Option<Details>,
    shift: Shift,
    /// The sum of all shifts up to this night.
    shifted: f64,
}

#[derive(Debug, Default)]
struct Details {
    backlinks: Vec<i64>,
    broken: Vec<i64>,
    pages: Vec<i64>,
    nofollow: Vec<i64>,
    spam: Vec<u8>,
}

/// How all pages moved together since the night before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Shift {
    /// The median of the changes of log(1 + referring main domains).
    pub(super) log: f64,
    /// Its standard error.
    pub(super) error: f64,
    /// The pages that it is the median of. With too few, the other two are zero.
    pub(super) pages: usize,
}

/// A share of a page's links, or a number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Backlinks,
    Broken,
    Pages,
    Nofollow,
    Spam,
}

impl Series {
    /// A series that looks back so many nights.
    #[must_use]
    pub fn looking_back(nights: u32) -> Self {
        Self {
            kept: nights as usize + 1,
            ..Self::default()
        }
    }

    /// Begins a night, which must be later than those before.
    pub fn begin(&mut self, date: NaiveDate) {
        if self.nights.len() == self.kept {
            self.nights.pop_front();
        }
        let old = self.nights.len().saturating_sub(RECENT);
        for night in self.nights.iter_mut().take(old) {
            night.details = None;
        }
        self.next = 0;
        self.nights.push_back(SeriesNight {
            date,
            main_domains: Vec::new(),
            details: Some(Details::default()),
            shift: Shift::default(),
            shifted: 0.0,
        });
    }

    /// Adds a page to the night that was begun last.
    pub fn add(&mut self, root_domain: &str, target: &str, figures: &Figures) {
        let row = self.row_for(root_domain, target);
        let Some(night) = self.nights.back_mut() else {
            return;
        };
        let [main_domains, backlinks, broken, pages, nofollow, spam] = *figures;
        put(&mut night.main_domains, row, number(main_domains), UNKNOWN);
        if let Some(details) = &mut night.details {
            for (column, value) in [
                (&mut details.backlinks, backlinks),
                (&mut details.broken, broken),
                (&mut details.pages, pages),
                (&mut details.nofollow, nofollow),
            ] {
                let value = value.map_or(UNKNOWN_DETAIL, |value| value.max(0));
                put(column, row, value, UNKNOWN_DETAIL);
            }
            let spam = spam.and_then(|score| u8::try_from(score).ok());
            put(&mut details.spam, row, spam.unwrap_or(u8::MAX), u8::MAX);
        }
    }

    /// Ends a night: finds out how all pages moved together.
    pub fn end(&mut self) {
        let last = self.nights.len().saturating_sub(1);
        let shift = match last.checked_sub(1) {
            Some(before) => shift(
                &self.nights[before].main_domains,
                &self.nights[last].main_domains,
            ),
            None => Shift::default(),
        };
        let shifted = match last.checked_sub(1) {
            Some(before) => self.nights[before].shifted + shift.log,
            None => 0.0,
        };
        if let Some(night) = self.nights.back_mut() {
            night.shift = shift;
            night.shifted = shifted;
        }
    }

    fn row_for(&mut self, root_domain: &str, target: &str) -> usize {
        // A night mostly has the targets of the first one, in the same order. Looking each one up took longer than
        // everything else together.
        let expected = self.next;
        if self.targets.get(expected).is_some_and(|it| **it == *target) {
            self.next = expected + 1;
            return expected;
        }
        let hash = xxh3_128(target.as_bytes());
        if let Some(row) = self.rows.get(&hash) {
            self.next = *row as usize + 1;
            return *row as usize;
        }
        let row = self.targets.len();
        self.rows.insert(hash, row as u32);
        self.targets.push(target.into());
        let id = if let Some(id) = self.domain_ids.get(root_domain) {
            *id
        } else {
            let id = self.domains.len() as u32;
            self.domains.push(root_domain.into());
            self.domain_ids.insert(root_domain.into(), id);
            id
        };
        self.domain_of.push(id);
        row
    }

    /// The row of a target.
    pub(super) fn row(&self, target: &str) -> Option<usize> {
        let row = self.rows.get(&xxh3_128(target.as_bytes()))?;
        Some(*row as usize)
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.targets.len()
    }

    /// How many nights there are, tonight included.
    pub(super) fn nights(&self) -> usize {
        self.nights.len()
    }

    /// The target of a row.
    pub(super) fn target(&self, row: usize) -> &str {
        &self.targets[row]
    }

    /// The root domain of a row, as an index.
    pub(super) fn domain_of(&self, row: usize) -> usize {
        self.domain_of[row] as usize
    }

    /// The names of all root domains, by index.
    pub(super) fn domains(&self) -> &[Box<str>] {
        &self.domains
    }

    /// The date of a night; 0 is the oldest.
    pub(super) fn date(&self, night: usize) -> Option<NaiveDate> {
        self.nights.get(night).map(|night| night.date)
    }

    /// How all pages moved tonight.
    pub(super) fn shift(&self) -> Shift {
        self.nights
            .back()
            .map(|night| night.shift)
            .unwrap_or_default()
    }

    /// Whether enough pages tell how all pages moved tonight.
    pub(super) fn shift_check(&self) -> ShiftCheck {
        match self.shift().pages {
            FEWEST.. => ShiftCheck::Checked,
            _ => ShiftCheck::FewPages,
        }
    }

    /// By how much the log of all pages moved from the first night to this one.
    pub(super) fn shifted(&self, night: usize) -> f64 {
        self.nights.get(night).map_or(0.0, |night| night.shifted)
    }

    /// The referring main domains of a row on a night.
    pub(super) fn main_domains(&self, row: usize, night: usize) -> Option<f64> {
        known(&self.nights.get(night)?.main_domains, row)
    }

    /// A detail of a row, on one of the last nights.
    pub(super) fn detail(&self, detail: Detail, row: usize, night: usize) -> Option<f64> {
        let details = self.nights.get(night)?.details.as_ref()?;
        match detail {
            Detail::Backlinks => known_detail(&details.backlinks, row),
            Detail::Broken => known_detail(&details.broken, row),
            Detail::Pages => known_detail(&details.pages, row),
            Detail::Nofollow => known_detail(&details.nofollow, row),
            Detail::Spam => {
                let score = details.spam.get(row).filter(|score| **score != u8::MAX)?;
                Some(f64::from(*score))
            }
        }
    }

    /// The nights before tonight that its details are compared with.
    pub(super) fn recent(&self) -> std::ops::Range<usize> {
        let tonight = self.nights.len().saturating_sub(1);
        tonight.saturating_sub(RECENT)..tonight
    }
}

fn put<T: Copy>(column: &mut Vec<T>, row: usize, value: T, unknown: T) {
    if column.len() <= row {
        column.resize(row + 1, unknown);
    }
    column[row] = value;
}

/// The stored form of a number of referring main domains. It is capped at four billion, more than exist.
fn number(value: Option<i64>) -> u32 {
    value.map_or(UNKNOWN, |value| {
        u32::try_from(value.max(0))
            .unwrap_or(UNKNOWN - 1)
            .min(UNKNOWN - 1)
    })
}

fn known(column: &[u32], row: usize) -> Option<f64> {
    let value = column.get(row).filter(|value| **value != UNKNOWN)?;
    Some(f64::from(*value))
}

fn known_detail(column: &[i64], row: usize) -> Option<f64> {
    let value = column.get(row).filter(|value| **value != UNKNOWN_DETAIL)?;
    Some(*value as f64)
}

fn shift(before: &[u32], now: &[u32]) -> Shift {
    let mut changes: Vec<f64> = (0..before.len().min(now.len()))
        .filter_map(|row| {
            let (was, is) = (known(before, row)?, known(now, row)?);
            (was >= TELLING).then(|| (1.0 + is).ln() - (1.0 + was).ln())
        })
        .collect();
    let pages = changes.len();
    if pages < FEWEST {
        return Shift {
            pages,
            ..Shift::default()
        };
    }
    let log = median(&mut changes).unwrap_or_default();
    // The standard error of a median is a quarter larger than that of a mean.
    let error = 1.2533 * spread(&mut changes) / (pages as f64).sqrt();
    Shift { log, error, pages }
}

#[cfg(test)]
mod tests {
    use chrono::Days;

    use super::*;

    #[test]
    fn a_target_keeps_its_row_whatever_comes_before_it() {
        let nights = ["abcd", "acd", "abxcd", "dcbax", "xabycd", "abcd"];
        let first = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        let mut series = Series::looking_back(28);
        for (night, targets) in nights.iter().enumerate() {
            series.begin(first + Days::new(night as u64));
            for target in targets.chars() {
                // The number tells the night and the target.
                let number = 1000 * (night as i64 + 1) + i64::from(u32::from(target));
                let mut figures = Figures::default();
                figures[0] = Some(number);
                series.add("example.com", &target.to_string(), &figures);
            }
            series.end();
        }
        assert_eq!(series.rows(), 6);
        for target in "abcdxy".chars() {
            let row = series.row(&target.to_string()).unwrap();
            for (night, targets) in nights.iter().enumerate() {
                let number = 1000 * (night as u32 + 1) + u32::from(target);
                let expected = targets.contains(target).then(|| f64::from(number));
                assert_eq!(
                    series.main_domains(row, night),
                    expected,
                    "{target} {night}"
                );
            }
        }
    }
}
