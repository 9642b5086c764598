//! The pages of a night by label.
//!
//! A label counts a page once, however many lines with it name the page's target; a duplicate line
//! counts as the line that it repeats, so that a page shared by two clients counts for both.

use std::collections::{BTreeMap, HashMap, HashSet};

use polars::prelude::{ChunkExplode as _, DataFrame, LazyFrame, col, lit};

use super::local_files::LocalFiles;
use super::tables::{FAILED, KEY, scan};
use super::totals::{Adder, PageNumbers, PageTotals};
use crate::error::{Context as _, Result};
use crate::fate::Fate;

/// A column of the target list and its value: `client` and `Acme`.
pub type Label = (String, String);

/// The most values of a column that are counted.
const MOST_VALUES: usize = 200;

/// The lines that have labels and a target.
pub(super) fn labelled(targets: &LocalFiles) -> Result<LazyFrame> {
    let valid = col("fate").neq(lit(Fate::Invalid.name()));
    Ok(scan(targets, None)?.filter(col("labels").is_not_null().and(valid)))
}

/// Counts pages by label.
pub(super) struct Labels {
    columns: BTreeMap<String, Column>,
    /// Whether only the labels that are there from the start count.
    closed: bool,
    /// The target that the rows are at, and its number: other lines can repeat it.
    current: (Option<String>, u64),
}

/// The values of a column, or that it has too many of them.
enum Column {
    Counted(HashMap<String, Group>),
    TooMany,
}

struct Group {
    adder: Adder,
    /// The number of the last target that was added.
    last: u64,
}

impl Group {
    fn new() -> Self {
        Self {
            adder: Adder::new(),
            last: 0,
        }
    }
}

impl Labels {
    /// Every label counts, unless its column has too many values.
    pub(super) fn all() -> Self {
        Self {
            columns: BTreeMap::new(),
            closed: false,
            current: (None, 0),
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

    /// Adds rows of `target` and `labels`, and the numbers of their pages.
    pub(super) fn add(&mut self, mut rows: DataFrame, pages: &[PageNumbers]) -> Result<()> {
        rows.rechunk_mut();
        let targets = rows.column(KEY[1]).and_then(|column| column.str());
        let targets = targets.context(|| FAILED)?;
        let lists = rows.column("labels").and_then(|column| column.list());
        let lists = lists.context(|| FAILED)?;
        let entries = lists.get_inner();
        let entries = entries.struct_().context(|| FAILED)?;
        let field = |name: &str| entries.field_by_name(name).context(|| FAILED);
        let (keys, values) = (field("key")?, field("value")?);
        let keys = keys.str().context(|| FAILED)?;
        let values = values.str().context(|| FAILED)?;
        let ends = lists.offsets().context(|| FAILED)?;
        let ends = ends.as_slice().windows(2);
        for ((target, ends), page) in targets.iter().zip(ends).zip(pages) {
            if self.current.0.as_deref() != target {
                self.current = (target.map(str::to_owned), self.current.1 + 1);
            }
            for entry in (ends[0] as usize)..(ends[1] as usize) {
                let number = self.current.1;
                // A null value is not a label.
                let (Some(key), Some(value)) = (keys.get(entry), values.get(entry)) else {
                    continue;
                };
                let Some(group) = self.group(key, value) else {
                    continue;
                };
                if group.last != number {
                    group.last = number;
                    group.adder.add(page);
                }
            }
        }
        Ok(())
    }

    /// The group of a label, if it counts.
    fn group(&mut self, key: &str, value: &str) -> Option<&mut Group> {
        if !self.columns.contains_key(key) {
            if self.closed {
                return None;
            }
            let column = Column::Counted(HashMap::new());
            self.columns.insert(key.to_owned(), column);
        }
        let column = self.columns.get_mut(key)?;
        let is_full = match column {
            Column::Counted(values) => {
                values.len() == MOST_VALUES && !values.contains_key(value) && !self.closed
            }
            Column::TooMany => return None,
        };
        if is_full {
            *column = Column::TooMany;
        }
        let Column::Counted(values) = column else {
            return None;
        };
        if !values.contains_key(value) && !self.closed {
            values.insert(value.to_owned(), Group::new());
        }
        values.get_mut(value)
    }

    /// The labels that have pages, by column, most pages first, and the columns that have too many
    /// values.
    pub(super) fn finish(self) -> (Vec<(Label, PageTotals)>, Vec<String>) {
        let (mut labels, mut too_many) = (Vec::new(), Vec::new());
        for (key, column) in self.columns {
            let Column::Counted(values) = column else {
                too_many.push(key);
                continue;
            };
            let groups = values.into_iter();
            let groups = groups.map(|(value, group)| ((key.clone(), value), group.adder.finish()));
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
