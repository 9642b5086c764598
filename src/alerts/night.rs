//! The rules about the night itself.

use chrono::{DateTime, NaiveDate, Utc};
use indicatif::HumanCount;

use super::alert::{Finding, Subject};
use super::rule::Rule;
use super::series::Series;
use super::settings::AlertSettings;
use super::words::{percent, signed};
use crate::contract::Table;
use crate::counted::counted;
use crate::fate::Fate;
use crate::flatten::Drift;
use crate::lake::Manifest;
use crate::provider::IndexSize;
use crate::upkeep::{Night, NightState};

/// The rise of the share of lines without data that is told, and the fewest lines.
const FATES: (f64, f64) = (0.02, 10.0);
/// How far the requests may be above the lower bound, as a factor and a number.
const REQUESTS: (f64, u64) = (1.1, 3);
/// The smallest shift of all pages; the smallest one that a move of the provider's own totals
/// confirms; and the smallest such move.
const SHIFT: f64 = 0.02;
const CONFIRMED_SHIFT: f64 = 0.01;
const INDEX_MOVE: f64 = 0.02;
/// How many standard errors a shift must have.
const ERRORS: f64 = 5.0;

fn finding(
    rule: Rule,
    date: NaiveDate,
    numbers: [f64; 2],
    magnitude: f64,
    what: String,
) -> Finding {
    Finding {
        rule,
        subject: Subject::Night(date),
        detail: None,
        before: Some(numbers[0]),
        after: Some(numbers[1]),
        magnitude,
        weight: magnitude,
        pages: 0,
        what,
    }
}

/// What the manifest of a snapshot shows, compared with the one before.
pub(super) fn manifest_findings(
    manifest: &Manifest,
    before: Option<&Manifest>,
    settings: &AlertSettings,
) -> Vec<Finding> {
    let date = manifest.snapshot;
    let mut found = Vec::new();
    let contract = Table::Pages.contract();
    let drift = Drift::of(&manifest.irregularities, contract, manifest.tally.items).len() as f64;
    if drift > 0.0 {
        let fields = if drift > 1.0 {
            "fields differ"
        } else {
            "field differs"
        };
        let what = format!("{drift:.0} {fields} from the contract");
        found.push(finding(Rule::Drift, date, [0.0, drift], drift, what));
    }
    let requests = manifest.tally.requests;
    let (sent, bound) = (requests.sent, requests.lower_bound);
    if sent as f64 >= REQUESTS.0 * bound as f64 && sent >= bound + REQUESTS.1 {
        let numbers = [bound as f64, sent as f64];
        let (sent, bound) = (HumanCount(sent), HumanCount(bound));
        let what = format!("{sent} requests were sent; the lower bound is {bound}");
        found.push(finding(
            Rule::Cost,
            date,
            numbers,
            numbers[1] / numbers[0].max(1.0),
            what,
        ));
    }
    for fate in [Fate::Absent, Fate::Refused, Fate::Failed] {
        let Some(before) = before else { continue };
        let share =
            |of: &Manifest| of.tally.fates.of(fate) as f64 / (of.tally.lines as f64).max(1.0);
        let (was, is) = (share(before), share(manifest));
        let rise = is - was;
        if rise >= FATES.0 && rise * manifest.tally.lines as f64 >= FATES.1 {
            let name = fate.name();
            let what = format!(
                "{} of the lines are {name}, up from {}",
                percent(is),
                percent(was)
            );
            let lines = [before.tally.fates.of(fate), manifest.tally.fates.of(fate)];
            let numbers = lines.map(|lines| lines as f64);
            found.push(Finding {
                detail: Some(name.to_owned()),
                ..finding(Rule::Fates, date, numbers, rise, what)
            });
        }
    }
    found.retain(|finding| settings.applies(finding.rule));
    found
}

/// What became of dates that are not published, and whether the newest snapshot is old.
pub(super) fn night_findings(
    nights: &[Night],
    newest: &Manifest,
    now: DateTime<Utc>,
    settings: &AlertSettings,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for night in nights {
        let is_open = matches!(
            night.state,
            NightState::Held | NightState::Open | NightState::Damaged
        );
        if is_open {
            let (date, state) = (night.snapshot, night.state.name());
            let why = night.why.as_deref().map(|why| format!(": {why}"));
            let what = format!("{date} is {state}{}", why.unwrap_or_default());
            found.push(Finding {
                before: None,
                after: None,
                ..finding(Rule::Unpublished, date, [0.0; 2], 1.0, what)
            });
        }
    }
    let age = now - newest.published_at;
    if age > settings.max_age {
        let (hours, most) = (age.num_hours() as f64, settings.max_age.num_hours() as f64);
        let what = format!("the newest snapshot is {hours:.0} hours old, more than {most:.0}");
        found.push(finding(
            Rule::Stale,
            newest.snapshot,
            [most, hours],
            hours,
            what,
        ));
    }
    found.retain(|finding| settings.applies(finding.rule));
    found
}

/// Whether all pages moved together tonight: the provider's index has changed, not the web.
/// `index` is the size of that index on the night before and tonight, as far as it was recorded.
#[must_use]
pub fn shift_finding(
    series: &Series,
    index: [Option<IndexSize>; 2],
    settings: &AlertSettings,
) -> Option<Finding> {
    let tonight = series.nights().checked_sub(1)?;
    let (date, shift) = (series.date(tonight)?, series.shift());
    let totals = index.map(|index| index?.backlinks.filter(|links| *links > 0));
    let moved = match totals {
        [Some(was), Some(is)] => Some((is as f64 / was as f64).ln()),
        _ => None,
    };
    let size = shift.log.abs();
    let confirmed = moved.is_some_and(|moved| moved.abs() >= INDEX_MOVE && size >= CONFIRMED_SHIFT);
    let alone = size >= SHIFT.max(ERRORS * shift.error);
    if !settings.applies(Rule::IndexShift) || !(confirmed || alone) {
        return None;
    }
    let by = signed(shift.log.exp() - 1.0);
    let totals_moved = match moved {
        Some(moved) if moved.abs() >= INDEX_MOVE => {
            format!(
                "; the totals of the provider's index moved by {}",
                signed(moved.exp() - 1.0)
            )
        }
        Some(_) => "; the totals of the provider's index did not".to_owned(),
        None => String::new(),
    };
    let what = format!(
        "all pages moved by {by} (median over {}){totals_moved}; the other alerts leave this out",
        counted(shift.pages as u64, "page")
    );
    let links = totals.map(|links| links.map(|links| links as f64));
    Some(Finding {
        rule: Rule::IndexShift,
        subject: Subject::Night(date),
        detail: None,
        before: links[0],
        after: links[1],
        magnitude: size,
        weight: f64::MAX,
        pages: 0,
        what,
    })
}
