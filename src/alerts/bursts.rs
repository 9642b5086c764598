//! The rule about bursts: most of the links that a page gained come from one top-level domain or
//! country.

use std::collections::{HashMap, HashSet};

use indicatif::HumanCount;

use super::alert::{Finding, Subject};
use super::robust::median;
use super::rule::Rule;
use super::series::{Detail, RECENT, Series};
use super::settings::AlertSettings;
use super::words::percent;

/// How many nights before tonight the links are compared with.
pub const BASE_NIGHTS: usize = RECENT;

/// The fewest links that a burst adds, and referring pages that a page gains.
const FEWEST: f64 = 10.0;

/// Links by target and key of one dimension.
pub type Links = HashMap<(String, String), i64>;

/// The targets whose referring pages grew so much that their breakdowns are worth reading.
#[must_use]
pub fn grown(series: &Series, settings: &AlertSettings) -> HashSet<String> {
    let Some(tonight) = series.nights().checked_sub(1) else {
        return HashSet::new();
    };
    if !settings.applies(Rule::Burst) {
        return HashSet::new();
    }
    let base = series.recent().start;
    // With the whole index, the pages of all targets grow.
    let shift = (series.shifted(tonight) - series.shifted(base))
        .exp()
        .max(1.0);
    let grew = |row: &usize| {
        let usual = |night| series.detail(Detail::Pages, *row, night);
        let then = median(&mut series.recent().filter_map(usual).collect::<Vec<_>>());
        let (Some(then), Some(now)) = (then, usual(tonight)) else {
            return false;
        };
        // A page that is new has nothing to be compared with.
        usual(base).is_some() && now - then * shift >= FEWEST.max(0.1 * then * shift)
    };
    let rows = (0..series.rows()).filter(grew);
    rows.map(|row| series.target(row).to_owned()).collect()
}

/// What the rule finds: at most one finding per target and dimension. `then` and `now` are the links
/// of the targets that [`grown`] names, on the first of the nights before and tonight.
#[must_use]
pub fn bursts(
    series: &Series,
    dimension: &str,
    [then, now]: [&Links; 2],
    settings: &AlertSettings,
) -> Vec<Finding> {
    let mut sums: HashMap<&str, [i64; 2]> = HashMap::new();
    for (side, links) in [then, now].into_iter().enumerate() {
        for ((target, _), links) in links {
            sums.entry(target).or_default()[side] += links;
        }
    }
    let mut largest: HashMap<&str, (i64, &str)> = HashMap::new();
    for (key, is) in now {
        let (target, name) = (key.0.as_str(), key.1.as_str());
        let gained = is - then.get(key).copied().unwrap_or_default();
        // An unknown country, and links from everywhere, are no burst.
        let is_place = !name.is_empty() && name != "WW";
        let best = largest.entry(target).or_insert((0, ""));
        if is_place && (gained, std::cmp::Reverse(name)) > (best.0, std::cmp::Reverse(best.1)) {
            *best = (gained, name);
        }
    }
    let mut found = Vec::new();
    for (target, (gained, name)) in largest {
        let [was, is] = sums.get(target).copied().unwrap_or_default();
        let key = (target.to_owned(), name.to_owned());
        let of = |links: &Links| links.get(&key).copied().unwrap_or_default() as f64;
        let (before, after, gained) = (of(then), of(now), gained as f64);
        let share = |part: f64, whole: i64| part / (whole as f64).max(1.0);
        let moved = share(after, is) - share(before, was);
        let all = (is - was) as f64;
        let is_burst = gained >= FEWEST
            && gained >= all / 2.0
            && all > 0.0
            && moved >= settings.min_share_change;
        let Some(row) = series.row(target).filter(|_| is_burst) else {
            continue;
        };
        let place = if dimension == "tld" {
            "the top-level domain"
        } else {
            "the country"
        };
        found.push(Finding {
            rule: Rule::Burst,
            subject: Subject::Target {
                root_domain: series.domains()[series.domain_of(row)].to_string(),
                target: target.to_owned(),
            },
            detail: Some(format!("{dimension} {name}")),
            before: Some(before),
            after: Some(after),
            magnitude: gained,
            weight: gained,
            pages: 0,
            what: format!(
                "gained {} links from {place} {name}, which is {} of its links now",
                HumanCount(gained as u64),
                percent(share(after, is))
            ),
        });
    }
    found
}
