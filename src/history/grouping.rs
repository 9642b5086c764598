//! Counts the groups and metrics of pages, and finds the largest pages of each group, in a few
//! passes over both snapshots.

use std::cmp::Reverse;
use std::num::NonZeroU32;

use polars::prelude::{DataFrame, DataType, IntoLazy as _, JoinType, LazyFrame, col, len, lit};

use super::groups::{
    Group, InBoth, ListChange, MetricChange, PageGroups, Targets, TopPages, Unanswered,
    UnansweredFates,
};
use super::metric::{Metric, Values};
use super::pages::{Missing, PageChange, Pages, falls, name, read, rises};
use super::tables::{FAILED, KEY, Side, batches, counts, keyed, merged, only, run, texts};
use super::tally::Tally;
use super::top::Top;
use crate::error::{Context, Error, Result};
use crate::fate::Fate;

/// What the passes find.
pub(super) struct Grouped {
    pub(super) pages: PageGroups,
    pub(super) metrics: Vec<MetricChange>,
    pub(super) top: TopPages,
}

impl Pages {
    /// The targets of both lists. Blocks for as long as the tables take to read.
    pub(super) fn lists(&self) -> Result<ListChange> {
        let [before, after] = Side::BOTH.map(|side| targets(self.listed(side)));
        let (before, after) = (before?, after?);
        let [left, right] = Side::BOTH.map(|side| keyed(self.listed(side).clone(), []));
        let common = count(merged(left?, right?, JoinType::Inner))?;
        Ok(ListChange {
            before,
            after,
            added: after.targets - common,
            removed: before.targets - common,
        })
    }

    /// All groups and metrics, and the largest pages of each group, at most `top`. Blocks for as
    /// long as the tables take to read.
    pub(super) fn grouped(&self, top: NonZeroU32) -> Result<Grouped> {
        let (in_both, metrics, [risen, fallen]) = self.group_in_both(top)?;
        let lost = self.group_only_in(Side::Before, top)?;
        let new = self.group_only_in(Side::After, top)?;
        let (later, earlier) = (&lost.unanswered, &new.unanswered);
        let pages = PageGroups {
            in_both,
            new: new.absent.group(),
            lost: lost.absent.group(),
            added: new.not_listed.group(),
            removed: lost.not_listed.group(),
            unanswered: Unanswered {
                pages: later.pages + earlier.pages,
                before: later.values.result(),
                after: earlier.values.result(),
                fates_before: earlier.fates,
                fates_after: later.fates,
            },
        };
        let top = TopPages {
            risen,
            fallen,
            new: largest(new.absent.top)?,
            lost: largest(lost.absent.top)?,
            added: largest(new.not_listed.top)?,
            removed: largest(lost.not_listed.top)?,
            unanswered: largest_of_both(lost.unanswered.top, new.unanswered.top, top)?,
        };
        Ok(Grouped {
            pages,
            metrics,
            top,
        })
    }

    fn group_in_both(
        &self,
        top: NonZeroU32,
    ) -> Result<(InBoth, Vec<MetricChange>, [Vec<PageChange>; 2])> {
        let mut tallies: Vec<_> = self.metrics().iter().map(Tally::of).collect();
        let mut pages = 0;
        let mut risen = Top::new(col("change"), KEY, top);
        let mut fallen = Top::new(lit(0) - col("change"), KEY, top);
        batches(self.in_both(self.metrics())?, |batch| {
            pages += height(&batch);
            for tally in &mut tallies {
                tally.add(&batch)?;
            }
            let changes = self.with_change(batch.lazy()).collect();
            let changes = changes.context(|| FAILED)?.lazy();
            risen.add(collect(changes.clone().filter(rises()))?)?;
            fallen.add(collect(changes.filter(falls()))?)
        })?;
        let metrics: Vec<_> = tallies.into_iter().map(Tally::finish).collect();
        // `by` is one of the metrics.
        let by = metrics
            .iter()
            .find(|metric| metric.metric == self.by().name)
            .ok_or_else(|| Error::unexpected(FAILED))?;
        let in_both = InBoth {
            pages,
            risen: by.risen,
            fallen: by.fallen,
            unchanged: by.pages - by.risen - by.fallen,
            unknown: pages - by.pages,
            before: by.before,
            after: by.after,
            change: by.change,
        };
        Ok((in_both, metrics, [largest(risen)?, largest(fallen)?]))
    }

    fn group_only_in(&self, side: Side, top: NonZeroU32) -> Result<OneSided> {
        let part = |why| Part::new(why, side, self.by(), top);
        let mut found = OneSided {
            absent: part(Missing::Absent),
            not_listed: part(Missing::NotListed),
            unanswered: part(Missing::Unanswered),
        };
        batches(self.only_in(side)?, |batch| {
            found.absent.add(&batch)?;
            found.not_listed.add(&batch)?;
            found.unanswered.add(&batch)
        })?;
        Ok(found)
    }
}

/// The pages that only one snapshot has, by the reason.
struct OneSided {
    absent: Part,
    not_listed: Part,
    unanswered: Part,
}

/// The pages that only one snapshot has for one reason.
struct Part {
    why: Missing,
    side: Side,
    pages: i64,
    values: Values,
    fates: UnansweredFates,
    top: Top,
}

impl Part {
    fn new(why: Missing, side: Side, by: &Metric, top: NonZeroU32) -> Self {
        Self {
            why,
            side,
            pages: 0,
            values: Values::of(by.statistic),
            fates: UnansweredFates::default(),
            top: Top::new(col(side.name()), KEY, top),
        }
    }

    /// Adds the rows of a batch of [`Pages::only_in`] that are missing for this reason.
    fn add(&mut self, batch: &DataFrame) -> Result<()> {
        let fate = col("fate");
        let rows = batch.clone().lazy().filter(self.why.is(&fate));
        let mut columns = vec![col(KEY[0]), col(KEY[1]), col(self.side.name())];
        if self.why == Missing::Unanswered {
            columns.push(name(Fate::Returned).alias(self.side.fate()));
            columns.push(fate.alias(self.side.other().fate()));
        }
        let rows = collect(rows.select(columns))?;
        if rows.height() == 0 {
            return Ok(());
        }
        self.pages += height(&rows);
        for value in counts(&rows, self.side.name())?.into_iter().flatten() {
            self.values.add(value);
        }
        if self.why == Missing::Unanswered {
            self.fates.add(&rows, self.side.other().fate())?;
        }
        self.top.add(rows)
    }

    fn group(&self) -> Group {
        let value = self.values.result();
        Group {
            pages: self.pages,
            before: value.filter(|_| self.side == Side::Before),
            after: value.filter(|_| self.side == Side::After),
        }
    }
}

/// The largest unanswered pages of both snapshots.
fn largest_of_both(before: Top, after: Top, top: NonZeroU32) -> Result<Vec<PageChange>> {
    let mut pages = largest(before)?;
    pages.extend(largest(after)?);
    // In the order of `Top`: nulls are last among values, and first among keys.
    pages.sort_by(|left, right| {
        let order = |page: &PageChange| Reverse(page.before.or(page.after));
        let key = |page: &PageChange| (page.root_domain.clone(), page.target.clone());
        order(left)
            .cmp(&order(right))
            .then_with(|| key(left).cmp(&key(right)))
    });
    pages.truncate(top.get() as usize);
    Ok(pages)
}

fn largest(top: Top) -> Result<Vec<PageChange>> {
    let rows = top.finish()?;
    Ok(rows.as_ref().map(read).transpose()?.unwrap_or_default())
}

impl UnansweredFates {
    fn add(&mut self, rows: &DataFrame, column: &str) -> Result<()> {
        let fates = texts(rows, column)?;
        let times = |fate: Fate| {
            let these = fates
                .iter()
                .filter(|other| other.as_deref() == Some(fate.name()));
            these.count() as i64
        };
        self.failed += times(Fate::Failed);
        self.refused += times(Fate::Refused);
        self.unsent += times(Fate::Unsent);
        Ok(())
    }
}

/// The targets of a list, by fate.
fn targets(listed: &LazyFrame) -> Result<Targets> {
    let fates = [
        Fate::Returned,
        Fate::Absent,
        Fate::Failed,
        Fate::Refused,
        Fate::Unsent,
    ];
    let is = |fate: Fate| {
        let is = col("fate").eq(name(fate)).sum();
        is.cast(DataType::Int64).alias(fate.name())
    };
    let found = run(listed.clone().select(fates.map(is)))?;
    let of = |fate: Fate| only(&found, fate.name());
    Ok(Targets {
        targets: count(listed.clone())?,
        returned: of(Fate::Returned)?,
        absent: of(Fate::Absent)?,
        failed: of(Fate::Failed)?,
        refused: of(Fate::Refused)?,
        unsent: of(Fate::Unsent)?,
    })
}

/// The number of rows. It reads no more than that needs.
fn count(rows: LazyFrame) -> Result<i64> {
    let count = len().cast(DataType::Int64).alias("rows");
    only(&run(rows.select([count]))?, "rows")
}

fn collect(rows: LazyFrame) -> Result<DataFrame> {
    rows.collect().context(|| FAILED)
}

fn height(rows: &DataFrame) -> i64 {
    rows.height() as i64
}
