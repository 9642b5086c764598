//! Counts the groups and metrics of pages, and finds the largest pages of each group, in a few
//! passes over both snapshots.

use std::num::NonZeroU32;

use polars::prelude::{DataFrame, DataType, IntoLazy as _, JoinType, LazyFrame, NULL, col, lit};

use super::groups::{
    Group, InBoth, ListChange, MetricChange, PageGroups, Targets, TopPages, Unanswered,
    UnansweredFates,
};
use super::metric::{Metric, Values};
use super::pages::{Missing, PageChange, Pages, change_of, falls, known_value, name, read, rises};
use super::tables::{FAILED, KEY, Side, batches, count, counts, keyed, merged, only, run, texts};
use super::tally::Tally;
use super::top::Top;
use crate::error::{Context, Error, Result};
use crate::fate::Fate;

/// The metric of the pages whose backlinks became worse.
const SPAM_SCORE: &str = "backlinks_spam_score";

/// What the passes find.
pub(super) struct Grouped {
    pub(super) pages: PageGroups,
    pub(super) metrics: Vec<MetricChange>,
    pub(super) top: TopPages,
    pub(super) spam: Vec<PageChange>,
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
        let (in_both, metrics, [risen, fallen, spam]) = self.group_in_both(top)?;
        let only_before = self.group_only_in(Side::Before, top)?;
        let only_after = self.group_only_in(Side::After, top)?;
        let unanswered = [&only_before.unanswered, &only_after.unanswered];
        let pages = PageGroups {
            in_both,
            new: only_after.absent.group(),
            lost: only_before.absent.group(),
            added: only_after.not_listed.group(),
            removed: only_before.not_listed.group(),
            unanswered: Unanswered {
                pages: unanswered.iter().map(|part| part.pages).sum(),
                before: unanswered[0].values.result(),
                after: unanswered[1].values.result(),
                fates_before: unanswered[1].fates,
                fates_after: unanswered[0].fates,
            },
        };
        let top = TopPages {
            risen,
            fallen,
            new: largest(only_after.absent.top)?,
            lost: largest(only_before.absent.top)?,
            added: largest(only_after.not_listed.top)?,
            removed: largest(only_before.not_listed.top)?,
            unanswered: largest(only_before.unanswered.top.and(only_after.unanswered.top)?)?,
        };
        Ok(Grouped {
            pages,
            metrics,
            top,
            spam,
        })
    }

    fn group_in_both(
        &self,
        top: NonZeroU32,
    ) -> Result<(InBoth, Vec<MetricChange>, [Vec<PageChange>; 3])> {
        let mut tallies: Vec<_> = self.metrics().iter().map(Tally::of).collect();
        let mut pages = 0;
        let mut risen = Top::new(col("change"), KEY, top);
        let mut fallen = Top::new(lit(0) - col("change"), KEY, top);
        let mut spam = Top::new(col("change"), KEY, top);
        let spam_score = self
            .metrics()
            .iter()
            .find(|metric| metric.name == SPAM_SCORE);
        batches(self.in_both(self.metrics())?, |batch| {
            pages += height(&batch);
            for tally in &mut tallies {
                tally.add(&batch)?;
            }
            let rows = batch.lazy();
            if let Some(metric) = spam_score {
                spam.add(collect(change_of(metric, rows.clone()).filter(rises()))?)?;
            }
            let changes = collect(change_of(self.by(), rows))?.lazy();
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
        let top = [largest(risen)?, largest(fallen)?, largest(spam)?];
        Ok((in_both, metrics, top))
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
            top: Top::new(known_value(), KEY, top),
        }
    }

    /// Adds the rows of a batch of [`Pages::only_in`] that are missing for this reason.
    fn add(&mut self, batch: &DataFrame) -> Result<()> {
        let mut columns = KEY.map(col).to_vec();
        let null = || lit(NULL).cast(DataType::Int64);
        let value = |side: Side| {
            if side == self.side {
                col(side.name())
            } else {
                null()
            }
        };
        columns.extend(Side::BOTH.map(|side| value(side).alias(side.name())));
        if self.why == Missing::Unanswered {
            let fate = |side| {
                if side == self.side {
                    name(Fate::Returned)
                } else {
                    col("fate")
                }
            };
            columns.extend(Side::BOTH.map(|side| fate(side).alias(side.fate())));
        }
        let rows = batch.clone().lazy().filter(self.why.is(&col("fate")));
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
    let times = |fate: Fate| {
        let is = col("fate").eq(name(fate)).sum();
        is.cast(DataType::Int64).alias(fate.name())
    };
    let found = run(listed.clone().select(fates.map(times)))?;
    let [returned, absent, failed, refused, unsent] = fates.map(|fate| only(&found, fate.name()));
    let (returned, absent) = (returned?, absent?);
    let (failed, refused, unsent) = (failed?, refused?, unsent?);
    Ok(Targets {
        targets: returned + absent + failed + refused + unsent,
        returned,
        absent,
        failed,
        refused,
        unsent,
    })
}

fn collect(rows: LazyFrame) -> Result<DataFrame> {
    rows.collect().context(|| FAILED)
}

fn height(rows: &DataFrame) -> i64 {
    rows.height() as i64
}
