//! Reads the last nights and applies the rules to them.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Days, NaiveDate, Utc};
use tracing::warn;

use super::alert::{Finding, Subject, shown};
use super::bursts::{Links, bursts, grown};
use super::groups::{Group, group_findings};
use super::night::{manifest_findings, night_findings, shift_finding};
use super::pages::page_findings;
use super::rule::Rule;
use super::series::{COLUMNS, Figures, Series};
use super::settings::AlertSettings;
use super::sql::sql;
use super::state::{Alerts, ShiftCheck, stored, stored_before};
use super::tell::{Patience, Telling, tell};
use crate::error::{Context as _, Result};
use crate::fate::Fate;
use crate::history::{MOST_VALUES, chosen, each_label, each_link, each_page, each_target_with};
use crate::lake::{Manifest, snapshots};
use crate::ledger::Ledger;
use crate::provider::IndexSize;
use crate::store::{Owner, Store};
use crate::upkeep::nights;

/// The most alerts that are kept and told. A night with more has one cause.
const MOST: usize = 1_000;

/// Which alerts to look for.
#[derive(Debug, Clone)]
pub struct AlertOptions {
    /// The snapshot; `None` for the newest.
    pub snapshot: Option<NaiveDate>,
    /// What the rules take for worth telling.
    pub settings: AlertSettings,
    /// What time it is.
    pub now: DateTime<Utc>,
}

/// The alerts of a snapshot as they were written when it was published; none if they were not.
///
/// # Errors
/// The lake fails, or the file is damaged.
pub async fn read(store: &Store, snapshot: NaiveDate) -> Result<Option<Alerts>> {
    stored(store, snapshot).await
}

/// Looks for the alerts of a snapshot. Nothing is sent, locked or changed.
///
/// # Errors
/// No snapshot is published, or not on this date; a file of the snapshot is missing or damaged; the
/// lake fails.
pub async fn find(store: &Store, options: &AlertOptions) -> Result<Alerts> {
    let mut published = snapshots(store).await?;
    if options.snapshot.is_none() {
        leave_out_damaged(store, &mut published).await?;
    }
    let manifest = chosen(store, &published, options.snapshot).await?;
    let snapshot = manifest.snapshot;
    let settings = &options.settings;
    let (earlier, mut not_read) = earlier(store, &published, &manifest, settings).await?;
    let mut findings = manifest_findings(&manifest, earlier.last(), settings);
    if published.last() == Some(&snapshot) {
        // A date whose manifest cannot be read is not published.
        published.retain(|date| !not_read.contains(date));
        let open = not_published(store, &published, snapshot, options.now).await?;
        findings.extend(night_findings(&open, &manifest, options.now, settings));
    }
    let (mut nights, mut labels) = (1, HashMap::new());
    let mut index_shift = match settings.applies(Rule::IndexShift) {
        true => ShiftCheck::OneNight,
        false => ShiftCheck::Off,
    };
    if !earlier.is_empty() && settings.enabled {
        let mut data = Data::read(store, &earlier, &manifest, settings).await?;
        not_read.append(&mut data.not_read);
        nights = data.manifests.len();
        if nights > 1 && index_shift == ShiftCheck::OneNight {
            index_shift = data.series.shift_check();
        }
        let found = data.findings(store, settings).await?;
        findings.extend(found.0);
        labels = found.1;
    }
    let before = stored_before(store, snapshot)
        .await
        .unwrap_or_else(|error| {
            warn!(%error, "failed to read what was told before; everything is told again");
            None
        });
    let before = before.map(|before| (before.snapshot, before.memory));
    let (last, memory) = before.unzip();
    let patience = Patience {
        quiet_nights: settings.quiet_nights,
        nights: settings.nights,
    };
    let before = (last, memory.unwrap_or_default());
    let (tellings, memory) = tell(findings, before, snapshot, patience);
    let from = earlier.first().map_or(snapshot, |first| first.snapshot);
    Ok(alerts_of(
        tellings,
        memory,
        &labels,
        [from, snapshot],
        (nights, index_shift, not_read),
    ))
}

/// Drops the newest dates whose manifests are damaged, so that the alert `unpublished` can name them. If all are damaged,
/// nothing is dropped. If the lake fails or a manifest has a newer format, the newest snapshot is not known.
async fn leave_out_damaged(store: &Store, published: &mut Vec<NaiveDate>) -> Result<()> {
    for newest in (0..published.len()).rev() {
        match Manifest::read(store, published[newest]).await {
            Ok(_) => {
                published.truncate(newest + 1);
                return Ok(());
            }
            Err(error) if Manifest::is_damage(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The alerts as they are kept: those that are told before those that are quiet.
fn alerts_of(
    mut tellings: Vec<Telling>,
    memory: Vec<super::tell::Memory>,
    labels: &HashMap<String, Vec<String>>,
    [from, snapshot]: [NaiveDate; 2],
    (nights, index_shift, not_read): (usize, ShiftCheck, Vec<NaiveDate>),
) -> Alerts {
    // Stable: worst first, as before.
    tellings.sort_by_key(|telling| telling.told < snapshot);
    let more = tellings.len().saturating_sub(MOST) as u64;
    tellings.truncate(MOST);
    let alerts = tellings.into_iter().map(|telling| {
        let sql = sql(&telling.finding, from, snapshot);
        let labels = match &telling.finding.subject {
            Subject::Target { target, .. } => labels.get(target).cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        let dates = [telling.since, telling.told, snapshot];
        telling.finding.alert(labels, dates, sql)
    });
    Alerts {
        format: Alerts::FORMAT,
        snapshot,
        nights: nights as u32,
        index_shift,
        alerts: alerts.collect(),
        more,
        not_read,
        memory,
    }
}

/// The manifests of the nights before a snapshot that its numbers can be compared with, oldest
/// first, and the dates of those that cannot be read.
async fn earlier(
    store: &Store,
    published: &[NaiveDate],
    manifest: &Manifest,
    settings: &AlertSettings,
) -> Result<(Vec<Manifest>, Vec<NaiveDate>)> {
    let snapshot = manifest.snapshot;
    let first = snapshot.checked_sub_days(Days::new(settings.nights.into()));
    let first = first.unwrap_or(NaiveDate::MIN);
    let (mut found, mut not_read) = (Vec::new(), Vec::new());
    for date in published
        .iter()
        .filter(|date| (first..snapshot).contains(*date))
    {
        match Manifest::read(store, *date).await {
            Ok(Some(earlier)) if earlier.question.difference(&manifest.question).is_none() => {
                found.push(earlier);
            }
            Ok(_) => {}
            Err(_) => not_read.push(*date),
        }
    }
    Ok((found, not_read))
}

/// What became of the dates after the snapshot before this one that are not published.
async fn not_published(
    store: &Store,
    published: &[NaiveDate],
    snapshot: NaiveDate,
    now: DateTime<Utc>,
) -> Result<Vec<crate::upkeep::Night>> {
    /// The most dates that are looked at. Whatever is older is no news.
    const MOST: usize = 31;
    let before = published.iter().rev().nth(1).copied().unwrap_or(snapshot);
    let dates = before
        .iter_days()
        .skip(1)
        .take_while(|date| *date <= now.date_naive());
    let mut dates: Vec<_> = dates.filter(|date| !published.contains(date)).collect();
    let old = dates.len().saturating_sub(MOST);
    nights(store, dates.split_off(old), &Owner::this_process(), now).await
}

/// The numbers of the last nights.
struct Data {
    series: Series,
    /// Of each night of the series.
    manifests: Vec<Manifest>,
    not_read: Vec<NaiveDate>,
}

impl Data {
    async fn read(
        store: &Store,
        earlier: &[Manifest],
        manifest: &Manifest,
        settings: &AlertSettings,
    ) -> Result<Self> {
        let mut data = Self {
            series: Series::looking_back(settings.nights),
            manifests: Vec::new(),
            not_read: Vec::new(),
        };
        for night in earlier.iter().chain([manifest]) {
            let is_tonight = night.snapshot == manifest.snapshot;
            let rows = each_page(store, night, COLUMNS, Rows::default(), Rows::add).await;
            match rows {
                Ok(rows) => {
                    data.series = rows.into_series(data.series, night.snapshot).await?;
                    data.manifests.push(night.clone());
                }
                Err(error) if is_tonight => return Err(error),
                Err(error) => {
                    warn!(%error, snapshot = %night.snapshot, "alerts leave out a night that cannot be read");
                    data.not_read.push(night.snapshot);
                }
            }
        }
        Ok(data)
    }

    /// What the rules find, and the labels of the targets that they find something about.
    async fn findings(
        mut self,
        store: &Store,
        settings: &AlertSettings,
    ) -> Result<(Vec<Finding>, HashMap<String, Vec<String>>)> {
        let last = self.manifests.len() - 1;
        let tonight = self.manifests[last].clone();
        let absent = self.absent(store).await?;
        let bursts = self.bursts(store, settings).await?;
        let by_label = each_label(store, &tonight, ByLabel::default(), ByLabel::add).await?;
        let index = match last.checked_sub(1) {
            Some(before) => [
                index(store, self.manifests[before].snapshot).await,
                index(store, tonight.snapshot).await,
            ],
            None => [None, None],
        };
        let settings = settings.clone();
        let series = std::mem::take(&mut self.series);
        let work = move || {
            let labels = by_label.groups(&series);
            let mut findings = page_findings(&series, &absent, &settings);
            findings.extend(bursts);
            group_findings(&series, &labels, &settings, &mut findings);
            findings.extend(shift_finding(&series, index, &settings));
            let told = findings
                .iter()
                .filter_map(|finding| match &finding.subject {
                    Subject::Target { target, .. } => Some(target.as_str()),
                    _ => None,
                });
            let labels = by_label.of(&told.collect());
            (findings, labels)
        };
        let found = tokio::task::spawn_blocking(work).await;
        found.context(|| "looking for alerts panicked")
    }

    /// The targets that were absent tonight and on the night before.
    async fn absent(&self, store: &Store) -> Result<HashSet<String>> {
        let add = |absent: &mut HashSet<String>, target: &str| {
            absent.insert(target.to_owned());
        };
        let mut sets = Vec::new();
        if self.manifests.len() > 2 {
            for night in self.manifests.iter().rev().take(2) {
                let none = HashSet::new();
                sets.push(each_target_with(store, night, Fate::Absent, none, add).await?);
            }
        }
        let both = match sets.as_slice() {
            [tonight, before] => tonight.intersection(before).cloned().collect(),
            _ => HashSet::new(),
        };
        Ok(both)
    }

    async fn bursts(&self, store: &Store, settings: &AlertSettings) -> Result<Vec<Finding>> {
        const DIMENSIONS: &[&str] = &["tld", "country"];
        let grown = grown(&self.series, settings);
        if grown.is_empty() {
            return Ok(Vec::new());
        }
        let base = self.series.recent().start;
        let mut links = Vec::new();
        for night in [
            &self.manifests[base],
            &self.manifests[self.manifests.len() - 1],
        ] {
            let state = (grown.clone(), BTreeMap::<String, Links>::new());
            let add = |state: &mut (HashSet<String>, BTreeMap<String, Links>),
                       row: &crate::history::LinkRow<'_>| {
                if state.0.contains(row.target) {
                    let links = state.1.entry(row.dimension.to_owned()).or_default();
                    links.insert((row.target.to_owned(), row.key.to_owned()), row.links);
                }
            };
            links.push(each_link(store, night, DIMENSIONS, state, add).await?.1);
        }
        let none = Links::new();
        let of = |side: usize, dimension: &str| links[side].get(dimension).unwrap_or(&none);
        let found = DIMENSIONS.iter().flat_map(|dimension| {
            let sides = [of(0, dimension), of(1, dimension)];
            bursts(&self.series, dimension, sides, settings)
        });
        let mut found: Vec<_> = found.collect();
        // Links from one top-level domain often come from one country, too. One alert per page is enough: the first,
        // which is the top-level domain's.
        let mut told = HashSet::new();
        found.retain(|finding| told.insert(finding.subject.clone()));
        Ok(found)
    }
}

/// The size of the provider's index as it was recorded on a date. What cannot be read is not known.
async fn index(store: &Store, date: NaiveDate) -> Option<IndexSize> {
    Ledger::new(store.clone(), date).index().await.ok()?
}

/// The pages of a night on their way into the series: a night that turns out to be damaged leaves
/// nothing behind.
#[derive(Default)]
struct Rows {
    texts: String,
    rows: Vec<([usize; 2], Figures)>,
}

impl Rows {
    fn add(&mut self, page: &crate::history::PageRow<'_>) {
        let mut figures = Figures::default();
        for (figure, value) in figures.iter_mut().zip(page.values) {
            *figure = *value;
        }
        self.texts.push_str(page.root_domain);
        let middle = self.texts.len();
        self.texts.push_str(page.target);
        self.rows.push(([middle, self.texts.len()], figures));
    }

    async fn into_series(self, mut series: Series, date: NaiveDate) -> Result<Series> {
        let work = move || {
            series.begin(date);
            let mut start = 0;
            for ([middle, end], figures) in &self.rows {
                let (domain, target) = (&self.texts[start..*middle], &self.texts[*middle..*end]);
                series.add(domain, target, figures);
                start = *end;
            }
            series.end();
            series
        };
        let added = tokio::task::spawn_blocking(work).await;
        added.context(|| "reading a night panicked")
    }
}

/// The targets of each label; `None` for a column with so many values that it groups nothing.
#[derive(Default)]
struct ByLabel(BTreeMap<String, Option<BTreeMap<String, Vec<String>>>>);

impl ByLabel {
    fn add(&mut self, row: &crate::history::LabelRow<'_>) {
        if !self.0.contains_key(row.column) {
            self.0.insert(row.column.to_owned(), Some(BTreeMap::new()));
        }
        let Some(column) = self.0.get_mut(row.column) else {
            return;
        };
        let Some(values) = column else { return };
        if !values.contains_key(row.value) {
            if values.len() == MOST_VALUES {
                *column = None;
                return;
            }
            values.insert(row.value.to_owned(), Vec::new());
        }
        // Lines with the same target come one after another.
        if let Some(targets) = values.get_mut(row.value)
            && targets.last().is_none_or(|last| last != row.target)
        {
            targets.push(row.target.to_owned());
        }
    }

    fn labels(&self) -> impl Iterator<Item = (&str, &str, &[String])> {
        let counted = self
            .0
            .iter()
            .filter_map(|(column, values)| Some((column, values.as_ref()?)));
        counted.flat_map(|(column, values)| {
            let values = values.iter();
            values.map(|(value, targets)| (column.as_str(), value.as_str(), targets.as_slice()))
        })
    }

    fn groups(&self, series: &Series) -> Vec<Group> {
        let labels = self.labels().map(|(column, value, targets)| {
            Group::of_label(series, column, value, targets.iter().map(String::as_str))
        });
        labels.collect()
    }

    /// The labels of these targets.
    fn of(&self, targets: &HashSet<&str>) -> HashMap<String, Vec<String>> {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for (column, value, labelled) in self.labels() {
            for target in labelled
                .iter()
                .filter(|target| targets.contains(target.as_str()))
            {
                let label = shown(&(column.to_owned(), value.to_owned()));
                found.entry(target.clone()).or_default().push(label);
            }
        }
        found
    }
}
