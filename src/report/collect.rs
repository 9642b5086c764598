//! Reads what a report shows: the snapshot, the nights before it, and what changed between them.
//!
//! The memory does not depend on the number of nights: each is read on its own and leaves only what
//! the page shows.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use tracing::warn;

use crate::alerts::{self, Alert, AlertOptions, AlertSettings, Alerts};
use crate::error::{Error, Result};
use crate::history::{
    Bounds, BreakdownChange, Label, Lines, NightPages, Opened, Pair, Pick, Summary, TopPages,
    chosen, compare, lines, manifest_of, night_pages, shifts, targets_with,
};
use crate::lake::{Manifest, snapshots};
use crate::provider::{RankScale, SPAM_BANDS};
use crate::store::{Owner, Store};
use crate::upkeep::{NightState, nights};
use crate::visible::escaped;

/// How many nights a report looks back by default.
pub const NIGHTS: NonZeroU32 = NonZeroU32::new(28).unwrap();

/// What a report is about.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// The snapshot; `None` for the newest.
    pub snapshot: Option<NaiveDate>,
    /// How many nights it looks back.
    pub nights: NonZeroU32,
    /// The label whose pages it shows: a column of the target list and a value; `None` for all pages.
    pub label: Option<Label>,
    /// The rules for alerts, if none were written when the snapshot was published.
    pub alerts: AlertSettings,
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
    /// The label whose pages it shows; `None` for all pages.
    pub(super) label: Option<Label>,
    /// What the list of the snapshot says about its lines.
    pub(super) lines: Lines,
    /// Since the published night before, if there is one.
    pub(super) since_last: Option<Summary>,
    /// Since the first published night, if that is another one.
    pub(super) since_first: Option<Summary>,
    /// The links by dimension and key since the first published night.
    pub(super) shifts: Vec<BreakdownChange>,
    /// What needs attention.
    pub(super) attention: Attention,
    /// The nights on which all pages moved together, as their alerts say.
    pub(super) index_shifts: Vec<NaiveDate>,
}

/// The alerts of the snapshot.
#[derive(Debug)]
pub(super) enum Attention {
    /// As they were told. They are in the lake, where a query finds them.
    Told(Alerts),
    /// As they are found now, because the lake has none, or because what it has cannot be read.
    Found(Alerts, Option<String>),
    /// The lake has none, and the pipeline file switches them off.
    Off,
    /// Why they cannot be found.
    Failed(String),
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
    let newest = Arc::new(Opened::new(manifest.clone()));
    let lines = lines(store, &newest).await?;
    if let Some(label) = &options.label {
        check_label(store, &newest, label, &lines).await?;
    }
    let mut days = days(store, &manifest, &published, &options).await?;
    let label = options.label.clone();
    let nights = Nights::open(&days, newest);
    let (mut since_last, mut since_first, mut links) = (None, None, Vec::new());
    if let (Some(first), Some(last)) = (&nights.first, &nights.last) {
        let top = NonZeroU32::new(TOP).unwrap_or(NonZeroU32::MIN);
        let pair = |from| Arc::new(Pair::of(from, &nights.newest, label.clone()));
        let from_last = pair(last);
        since_last = Some(compare(&from_last, store, BY, top).await?);
        if Arc::ptr_eq(first, last) {
            links = shifts(&from_last, store).await?;
        } else {
            let from_first = pair(first);
            since_first = Some(compare(&from_first, store, BY, top).await?);
            links = shifts(&from_first, store).await?;
        }
    }
    let targets = since_last.iter().chain(&since_first).flat_map(shown);
    let rank_bounds = (1..RANK_BARS).map(|part| part * most_rank(&manifest) / RANK_BARS);
    let wanted = Wanted {
        label: label.clone(),
        targets: targets.collect(),
        bounds: Bounds {
            ranks: rank_bounds.collect(),
            spam_scores: SPAM_BANDS.to_vec(),
        },
    };
    read_figures(store, &mut days, &nights, &wanted).await?;
    let attention = attention(store, date, &options).await;
    let index_shifts = index_shifts(store, &days, &attention).await;
    Ok(Report {
        lake: store.display(),
        made_at: options.now,
        days,
        manifest,
        label,
        lines,
        since_last,
        since_first,
        shifts: links,
        attention,
        index_shifts,
    })
}

/// The snapshots that are read more than once. Their files are opened, or copied from a bucket, once.
struct Nights {
    newest: Arc<Opened>,
    /// The first comparable night, and the last one before the newest.
    first: Option<Arc<Opened>>,
    last: Option<Arc<Opened>>,
}

impl Nights {
    fn open(days: &[Day], newest: Arc<Opened>) -> Self {
        let mut before: Vec<_> = days.iter().filter_map(Day::manifest).collect();
        before.pop();
        let open = |manifest: &Manifest| Arc::new(Opened::new(manifest.clone()));
        let first = before.first().copied().map(open);
        let last = match before.len() {
            0 | 1 => first.clone(),
            _ => before.last().copied().map(open),
        };
        Self {
            newest,
            first,
            last,
        }
    }

    /// A night: one of these, or another one that is opened for this and closed after it.
    fn of(&self, manifest: &Manifest) -> Arc<Opened> {
        let own = [Some(&self.newest), self.first.as_ref(), self.last.as_ref()];
        let is_it = |night: &&Arc<Opened>| night.manifest().snapshot == manifest.snapshot;
        let known = own.into_iter().flatten().find(is_it).cloned();
        known.unwrap_or_else(|| Arc::new(Opened::new(manifest.clone())))
    }
}

/// A label that was mistyped would look like one without pages.
async fn check_label(store: &Store, newest: &Opened, label: &Label, lines: &Lines) -> Result<()> {
    /// The labels that the hint names.
    const NAMED: usize = 20;
    if targets_with(store, newest, label).await? > 0 {
        return Ok(());
    }
    let name = |label: &Label| format!("{}={}", escaped(&label.0), escaped(&label.1));
    let (known, date) = (&lines.labels, newest.manifest().snapshot);
    let named: Vec<_> = known
        .iter()
        .take(NAMED)
        .map(|(label, _)| name(label))
        .collect();
    let hint = match known.len() {
        0 => "its lines have no labels; `[targets] keep` names the columns that become labels"
            .to_owned(),
        all if all > NAMED => format!("{} and {} others are there", named.join(", "), all - NAMED),
        _ => format!("these are there: {}", named.join(", ")),
    };
    let message = format!("--label: no line of {date} has the label {}", name(label));
    Err(Error::usage(message).with_hint(hint))
}

/// The alerts as they were told, or as they would be if they were not. A report does not fail because
/// of them.
async fn attention(store: &Store, date: NaiveDate, options: &ReportOptions) -> Attention {
    let damaged = match alerts::read(store, date).await {
        Ok(Some(alerts)) => return Attention::Told(alerts),
        Ok(None) if !options.alerts.enabled => return Attention::Off,
        Ok(None) => None,
        Err(error) => {
            warn!(%error, "failed to read what was told of the snapshot; the report looks for alerts again");
            Some(error.to_string())
        }
    };
    let options = AlertOptions {
        snapshot: Some(date),
        settings: options.alerts.clone(),
        now: options.now,
    };
    match alerts::find(store, &options).await {
        Ok(alerts) => Attention::Found(alerts, damaged),
        Err(error) => {
            warn!(%error, "failed to find the alerts for the report");
            Attention::Failed(error.to_string())
        }
    }
}

/// The nights on which the provider's index changed: it explains a step in a plot. A night whose alerts were not written
/// or cannot be read is not known to be one.
async fn index_shifts(store: &Store, days: &[Day], tonight: &Attention) -> Vec<NaiveDate> {
    const READ_AT_ONCE: usize = 8;
    let is_shift = |alerts: &Alerts| alerts.alerts.iter().any(Alert::is_index_shift);
    let Some((last, before)) = days.split_last() else {
        return Vec::new();
    };
    let dates = before.iter().filter(|day| day.pages().is_some());
    let dates: Vec<_> = dates.map(|day| day.date).collect();
    let mut found: Vec<_> = futures::stream::iter(dates)
        .map(async |date| match alerts::read(store, date).await {
            Ok(alerts) => alerts.filter(is_shift).map(|_| date),
            Err(error) => {
                warn!(%error, "the plots do not show whether the index changed on {date}");
                None
            }
        })
        .buffered(READ_AT_ONCE)
        .filter_map(async |date| date)
        .collect()
        .await;
    if let Attention::Told(alerts) | Attention::Found(alerts, _) = tonight
        && is_shift(alerts)
    {
        found.push(last.date);
    }
    found
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
    options: &ReportOptions,
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

/// What is read of each night.
struct Wanted {
    label: Option<Label>,
    targets: HashSet<String>,
    bounds: Bounds,
}

/// Nights that are read at the same time: reading one keeps one core busy.
const NIGHTS_AT_ONCE: usize = 2;

/// Reads the figures of all nights, the newest first: it decides which root domains and labels are
/// shown.
async fn read_figures(
    store: &Store,
    days: &mut [Day],
    nights: &Nights,
    wanted: &Wanted,
) -> Result<()> {
    let Wanted {
        label,
        targets,
        bounds,
    } = wanted;
    let read = async |night: Arc<Opened>, pick: Pick| {
        night_pages(store, &night, label.clone(), pick, bounds.clone()).await
    };
    let largest = Pick::Largest(DOMAINS, targets.clone());
    let newest = read(Arc::clone(&nights.newest), largest).await?;
    let pick = Pick::Only {
        domains: newest
            .domains
            .iter()
            .map(|domain| domain.0.clone())
            .collect(),
        labels: newest.labels.iter().map(|label| label.0.clone()).collect(),
        targets: targets.clone(),
    };
    let mut others = days.iter().rev().skip(1).filter_map(Day::manifest);
    let others: Vec<_> = others
        .by_ref()
        .map(|manifest| nights.of(manifest))
        .collect();
    let others = futures::stream::iter(others).map(|night| read(night, pick.clone()));
    let others: Vec<_> = others.buffered(NIGHTS_AT_ONCE).try_collect().await?;
    let mut figures = std::iter::once(newest).chain(others);
    for day in days.iter_mut().rev() {
        if let Settled::Published(_, pages) = &mut day.settled {
            **pages = figures.next().unwrap_or_default();
        }
    }
    Ok(())
}

/// The targets that are shown with a sparkline.
fn shown(summary: &Summary) -> impl Iterator<Item = String> + '_ {
    let TopPages { risen, fallen, .. } = &summary.top;
    let pages = risen.iter().chain(fallen);
    pages.filter_map(|page| page.target.clone())
}
