//! Reads what a report shows: the snapshot, the nights before it, and what changed between them.
//!
//! The memory does not depend on the number of nights: each is read on its own and leaves only what
//! the page shows.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, Utc};
use tracing::warn;

use crate::alerts::{self, AlertOptions, AlertSettings, Alerts};
use crate::error::Result;
use crate::history::{
    Bounds, BreakdownChange, NightPages, Pair, Pick, Summary, TopPages, chosen, compare,
    manifest_of, night_pages, shifts,
};
use crate::lake::{Manifest, snapshots};
use crate::provider::RankScale;
use crate::store::{Owner, Store};
use crate::upkeep::{NightState, nights};

/// How many nights a report looks back by default.
pub const NIGHTS: NonZeroU32 = NonZeroU32::new(28).unwrap();

/// What a report is about.
#[derive(Debug, Clone, Copy)]
pub struct ReportOptions {
    /// The snapshot; `None` for the newest.
    pub snapshot: Option<NaiveDate>,
    /// How many nights it looks back.
    pub nights: NonZeroU32,
    /// When it is made.
    pub now: DateTime<Utc>,
}

/// The metric that movers are ranked by.
pub(super) const BY: &str = "referring_main_domains";
/// The rows of a list of pages.
pub(super) const TOP: u32 = 10;
/// The rows of the table of root domains.
pub(super) const DOMAINS: usize = 100;
/// The bars of the rank histogram.
pub(super) const RANK_BARS: i64 = 20;
/// The spam scores at which the provider's next band begins.
pub(super) const SPAM_BANDS: [i64; 2] = [31, 61];

/// Everything that a report shows.
#[derive(Debug)]
pub struct Report {
    /// The lake.
    pub(super) lake: String,
    /// When the report was made.
    pub(super) made_at: DateTime<Utc>,
    /// The dates it looks at, oldest first; the last one is the snapshot's.
    pub(super) days: Vec<Day>,
    /// The manifest of the snapshot.
    pub(super) manifest: Manifest,
    /// Since the published night before, if there is one.
    pub(super) since_last: Option<Summary>,
    /// Since the first published night, if that is another one.
    pub(super) since_first: Option<Summary>,
    /// The links by dimension and key since the first published night.
    pub(super) shifts: Vec<BreakdownChange>,
    /// What needs attention; `None` if that cannot be read.
    pub(super) attention: Option<Attention>,
}

/// The alerts of the snapshot.
#[derive(Debug)]
pub(super) struct Attention {
    /// The alerts.
    pub alerts: Alerts,
    /// Whether they are in the lake, where a query finds them.
    pub is_stored: bool,
}

/// A date of a report.
#[derive(Debug)]
pub(super) struct Day {
    /// The date.
    pub date: NaiveDate,
    /// What became of it.
    pub settled: Settled,
}

/// What became of a date.
#[derive(Debug)]
pub(super) enum Settled {
    /// It is published, with the same settings as the snapshot.
    Published(Box<Manifest>, Box<NightPages>),
    /// It is published with other settings, so that its numbers cannot be compared.
    Different(String),
    /// It is not published.
    Unpublished(NightState),
}

impl Day {
    /// The figures, if there are any.
    pub(super) fn pages(&self) -> Option<&NightPages> {
        match &self.settled {
            Settled::Published(_, pages) => Some(pages),
            _ => None,
        }
    }

    /// The manifest, if the numbers can be compared.
    pub(super) fn manifest(&self) -> Option<&Manifest> {
        match &self.settled {
            Settled::Published(manifest, _) => Some(manifest),
            _ => None,
        }
    }
}

impl Report {
    /// The date of the snapshot.
    pub(super) fn date(&self) -> NaiveDate {
        self.manifest.snapshot
    }

    /// The figures of the snapshot.
    pub(super) fn newest(&self) -> Option<&NightPages> {
        self.days.last().and_then(Day::pages)
    }

    /// The dates whose numbers can be compared, oldest first.
    pub(super) fn dates(&self) -> Vec<NaiveDate> {
        let published = self.days.iter().filter(|day| day.pages().is_some());
        published.map(|day| day.date).collect()
    }

    /// The figures so many days before the snapshot, if that night is published.
    pub(super) fn before(&self, days: u64) -> Option<&Day> {
        let date = self.date().checked_sub_days(Days::new(days))?;
        let day = self.days.iter().find(|day| day.date == date)?;
        day.pages().is_some().then_some(day)
    }

    /// The comparisons, newest first, and what each is called in the names of its queries.
    pub(super) fn comparisons(&self) -> impl Iterator<Item = (&'static str, &Summary)> {
        let night = self.since_last.iter().map(|summary| ("night", summary));
        night.chain(self.since_first.iter().map(|summary| ("window", summary)))
    }
}

/// Reads what the report shows. Nothing is sent, locked or changed.
///
/// # Errors
/// No snapshot is published, or not on this date; a file of a snapshot is missing or damaged; the
/// lake fails.
pub async fn collect(store: &Store, options: ReportOptions) -> Result<Report> {
    let published = snapshots(store).await?;
    let manifest = chosen(store, &published, options.snapshot).await?;
    let date = manifest.snapshot;
    let mut days = days(store, &manifest, &published, options).await?;
    let dates: Vec<_> = days
        .iter()
        .filter(|day| day.pages().is_some())
        .map(|day| day.date)
        .collect();
    let (first, last) = (dates.first().copied(), dates.iter().rev().nth(1).copied());
    let top = NonZeroU32::new(TOP).unwrap_or(NonZeroU32::MIN);
    let since = async |from: NaiveDate| {
        let pair = Pair::choose(store, Some(from), Some(date), None).await;
        pair.map(Arc::new)
    };
    let (mut since_last, mut since_first, mut links) = (None, None, Vec::new());
    if let (Some(first), Some(last)) = (first, last) {
        // Each pair opens its files once.
        let pair = since(last).await?;
        since_last = Some(compare(&pair, store, BY, top).await?);
        if first == last {
            links = shifts(&pair, store).await?;
        } else {
            let pair = since(first).await?;
            since_first = Some(compare(&pair, store, BY, top).await?);
            links = shifts(&pair, store).await?;
        }
    }
    let targets = since_last.iter().chain(&since_first);
    let targets = targets.flat_map(|summary| shown(&summary.top)).collect();
    let rank_bounds = (1..RANK_BARS).map(|part| part * most_rank(&manifest) / RANK_BARS);
    let bounds = Bounds {
        ranks: rank_bounds.collect(),
        spam_scores: SPAM_BANDS.to_vec(),
    };
    read_figures(store, &mut days, targets, &bounds).await?;
    Ok(Report {
        lake: store.display(),
        made_at: options.now,
        days,
        manifest,
        since_last,
        since_first,
        shifts: links,
        attention: attention(store, date, options.now).await,
    })
}

/// The alerts as they were told, or as they would be if they were not. A report does not fail because
/// of them.
async fn attention(store: &Store, date: NaiveDate, now: DateTime<Utc>) -> Option<Attention> {
    let options = AlertOptions {
        snapshot: Some(date),
        settings: AlertSettings::default(),
        now,
    };
    let found = match alerts::read(store, date).await {
        Ok(Some(alerts)) => Ok((alerts, true)),
        _ => alerts::find(store, &options)
            .await
            .map(|alerts| (alerts, false)),
    };
    match found {
        Ok((alerts, is_stored)) => Some(Attention { alerts, is_stored }),
        Err(error) => {
            warn!(%error, "failed to read the alerts for the report");
            None
        }
    }
}

/// The largest rank on the scale of a snapshot.
pub(super) fn most_rank(manifest: &Manifest) -> i64 {
    match manifest.question.rank_scale {
        RankScale::OneHundred => 100,
        RankScale::OneThousand => 1000,
    }
}

/// The dates of the report. The figures are still empty.
async fn days(
    store: &Store,
    newest: &Manifest,
    published: &[NaiveDate],
    options: ReportOptions,
) -> Result<Vec<Day>> {
    let last = newest.snapshot;
    let back = Days::new(u64::from(options.nights.get()));
    let first = last.checked_sub_days(back).unwrap_or(NaiveDate::MIN);
    // Before the first snapshot there is nothing to show.
    let first = published
        .iter()
        .copied()
        .find(|date| *date >= first)
        .unwrap_or(last);
    let mut days = Vec::new();
    for date in first.iter_days().take_while(|date| *date <= last) {
        let settled = if published.binary_search(&date).is_ok() {
            let manifest = manifest_of(store, date).await?;
            match manifest.question.difference(&newest.question) {
                Some(difference) => Settled::Different(difference),
                None => Settled::Published(Box::new(manifest), Box::default()),
            }
        } else {
            let here = Owner::this_process();
            let night = nights(store, [date], &here, options.now).await?;
            Settled::Unpublished(
                night
                    .first()
                    .map_or(NightState::Missing, |night| night.state),
            )
        };
        days.push(Day { date, settled });
    }
    Ok(days)
}

/// Reads the figures of all nights, the newest first: it decides which root domains and labels are
/// shown.
async fn read_figures(
    store: &Store,
    days: &mut [Day],
    targets: HashSet<String>,
    bounds: &Bounds,
) -> Result<()> {
    let mut pick = Pick::Largest(DOMAINS, targets.clone());
    for day in days.iter_mut().rev() {
        let Settled::Published(manifest, pages) = &mut day.settled else {
            continue;
        };
        **pages = night_pages(store, manifest, pick.clone(), bounds.clone()).await?;
        if matches!(pick, Pick::Largest(..)) {
            pick = Pick::Only {
                domains: pages
                    .domains
                    .iter()
                    .map(|domain| domain.0.clone())
                    .collect(),
                labels: pages.labels.iter().map(|label| label.0.clone()).collect(),
                targets: targets.clone(),
            };
        }
    }
    Ok(())
}

/// The targets that are shown with a sparkline.
fn shown(top: &TopPages) -> impl Iterator<Item = String> + '_ {
    let pages = top.risen.iter().chain(&top.fallen);
    pages.filter_map(|page| page.target.clone())
}
