//! The pages of a night by label.
//!
//! A label counts a page once, however many lines with it name the page's target; a duplicate line
//! counts as the line that it repeats, so that a page shared by two clients counts for both.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::label_lines::{Label, TargetLabels};
use super::totals::{Adder, PageNumbers, PageTotals};

/// The most values of a column that are counted. A column with more does not group anything.
pub const MOST_VALUES: usize = 200;

/// Counts pages by label.
pub(super) struct Labels {
    columns: BTreeMap<String, Column>,
    groups: Vec<Group>,
    /// Whether only the labels that are there from the start count.
    closed: bool,
    /// The number of pages so far.
    pages: u64,
    /// The labels of the last page and their groups: the pages of a site mostly have the same.
    last: (TargetLabels, Vec<usize>),
}

/// The groups of the values of a column, or that it has too many of them.
enum Column {
    Counted(HashMap<String, usize>),
    TooMany,
}

struct Group {
    adder: Adder,
    /// The number of the last page that was added.
    last: u64,
}

impl Labels {
    /// Every label counts, unless its column has too many values.
    pub(super) fn all() -> Self {
        Self {
            columns: BTreeMap::new(),
            groups: Vec::new(),
            closed: false,
            pages: 0,
            last: (TargetLabels::default(), Vec::new()),
        }
    }

    /// Only these labels count.
    pub(super) fn only(labels: &HashSet<Label>) -> Self {
        let mut only = Self::all();
        for (column, value) in labels {
            only.group(column, value);
        }
        only.closed = true;
        only
    }

    /// Adds a page with the labels of its target.
    pub(super) fn add(&mut self, labels: &TargetLabels, page: &PageNumbers) {
        self.pages += 1;
        if self.last.0 != *labels {
            let groups = labels
                .iter()
                .filter_map(|(name, value)| self.group(name, value));
            self.last = (labels.clone(), groups.collect());
        }
        for group in &self.last.1 {
            let group = &mut self.groups[*group];
            if group.last != self.pages {
                group.last = self.pages;
                group.adder.add(page);
            }
        }
    }

    /// The group of a label, if it counts.
    fn group(&mut self, key: &str, value: &str) -> Option<usize> {
        if !self.columns.contains_key(key) {
            if self.closed {
                return None;
            }
            let column = Column::Counted(HashMap::new());
            self.columns.insert(key.to_owned(), column);
        }
        let column = self.columns.get_mut(key)?;
        let Column::Counted(values) = column else {
            return None;
        };
        if let Some(group) = values.get(value) {
            return Some(*group);
        }
        if self.closed {
            return None;
        }
        if values.len() == MOST_VALUES {
            *column = Column::TooMany;
            return None;
        }
        values.insert(value.to_owned(), self.groups.len());
        self.groups.push(Group {
            adder: Adder::new(),
            last: 0,
        });
        Some(self.groups.len() - 1)
    }

    /// The labels that have pages, by column, most pages first, and the columns that have too many
    /// values.
    pub(super) fn finish(self) -> (Vec<(Label, PageTotals)>, Vec<String>) {
        let (mut labels, mut too_many) = (Vec::new(), Vec::new());
        let mut totals: Vec<_> = self
            .groups
            .into_iter()
            .map(|group| Some(group.adder.finish()))
            .collect();
        for (key, column) in self.columns {
            let Column::Counted(values) = column else {
                too_many.push(key);
                continue;
            };
            let groups = values.into_iter();
            let groups = groups
                .filter_map(|(value, group)| Some(((key.clone(), value), totals[group].take()?)));
            let mut groups: Vec<_> = groups.filter(|(_, totals)| totals.pages > 0).collect();
            groups.sort_by(|(left, one), (right, other)| {
                let order = other.pages.cmp(&one.pages);
                order.then_with(|| left.1.cmp(&right.1))
            });
            labels.extend(groups);
        }
        (labels, too_many)
    }
}
