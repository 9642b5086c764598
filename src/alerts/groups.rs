//! The rules about root domains and labels. A group is compared with itself: from night to night only
//! the pages count that have data on both, so that a change of the list is no change of the group.

use std::collections::HashMap;

use super::alert::{Finding, Subject};
use super::judge::{Change, Point, judge};
use super::robust::median;
use super::series::Series;
use super::settings::AlertSettings;

/// The fewest pages of a group. A smaller one says no more than its pages.
const FEWEST: usize = 3;

/// Pages that belong together.
#[derive(Debug, Clone)]
pub struct Group {
    /// What they have in common.
    pub subject: Subject,
    /// Their rows.
    pub(super) rows: Vec<usize>,
}

impl Group {
    /// The group of a label. Targets without data on any night do not count.
    #[must_use]
    pub fn of_label<'a>(
        series: &Series,
        column: &str,
        value: &str,
        targets: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let rows = targets.into_iter().filter_map(|target| series.row(target));
        Self {
            subject: Subject::Label((column.to_owned(), value.to_owned())),
            rows: rows.collect(),
        }
    }
}

/// The root domains of a series.
fn domains(series: &Series) -> Vec<Group> {
    let mut rows = vec![Vec::new(); series.domains().len()];
    for row in 0..series.rows() {
        rows[series.domain_of(row)].push(row);
    }
    let groups = series.domains().iter().zip(rows);
    let groups = groups.map(|(name, rows)| Group {
        subject: Subject::Domain(name.to_string()),
        rows,
    });
    groups.filter(|group| group.rows.len() >= FEWEST).collect()
}

/// Adds what the rules find about root domains and labels. What is found about a root domain stands
/// for what the same rule finds about its pages.
pub fn group_findings(
    series: &Series,
    labels: &[Group],
    settings: &AlertSettings,
    found: &mut Vec<Finding>,
) {
    let mut of_domains = Vec::new();
    for group in domains(series) {
        of_domains.extend(finding(series, &group, settings));
    }
    fold(found, &mut of_domains);
    found.extend(of_domains);
    for group in labels.iter().filter(|group| group.rows.len() >= FEWEST) {
        found.extend(finding(series, group, settings));
    }
}

/// Removes the findings about pages that a finding about their root domain stands for.
fn fold(found: &mut Vec<Finding>, of_domains: &mut [Finding]) {
    let mut at = HashMap::new();
    for (number, finding) in of_domains.iter().enumerate() {
        if let Subject::Domain(domain) = &finding.subject {
            at.insert((finding.rule, domain.clone()), number);
        }
    }
    if at.is_empty() {
        return;
    }
    found.retain(|finding| {
        let Subject::Target { root_domain, .. } = &finding.subject else {
            return true;
        };
        match at.get(&(finding.rule, root_domain.clone())) {
            Some(number) => {
                of_domains[*number].pages += 1;
                false
            }
            None => true,
        }
    });
}

fn finding(series: &Series, group: &Group, settings: &AlertSettings) -> Option<Finding> {
    let points = points(series, &group.rows);
    let tonight = points.len().checked_sub(1)?;
    let judged = judge(&points, series.shifted(tonight), settings)?;
    let from = match judged.is_sudden {
        true => series.recent(),
        false => 0..tonight,
    };
    let change = &judged.change;
    if !settings.applies(judged.rule) || has_one_cause(series, group, change, from) {
        return None;
    }
    Some(Finding {
        rule: judged.rule,
        subject: group.subject.clone(),
        detail: None,
        before: Some(change.then.round()),
        after: Some(change.now.round()),
        magnitude: change.log.abs(),
        weight: (change.now - change.expected).abs(),
        pages: 0,
        what: judged.words(&group.subject, tonight),
    })
}

/// The group's numbers as its pages of tonight had them. The chain of nights ends where two nights
/// have no page in common.
fn points(series: &Series, rows: &[usize]) -> Vec<Option<Point>> {
    let mut points = vec![None; series.nights()];
    let Some(tonight) = series.nights().checked_sub(1) else {
        return points;
    };
    let known = rows
        .iter()
        .filter_map(|row| series.main_domains(*row, tonight));
    let (mut pages, mut sum) = (0, 0.0);
    for value in known {
        pages += 1;
        sum += value;
    }
    if pages < FEWEST {
        return points;
    }
    let mut log = (1.0_f64 + sum).ln();
    for night in (0..=tonight).rev() {
        points[night] = Some(Point {
            value: log.exp() - 1.0,
            level: log - series.shifted(night),
        });
        let Some(before) = night.checked_sub(1) else {
            break;
        };
        let (mut both, mut was, mut is) = (0, 0.0, 0.0);
        for row in rows {
            if let (Some(left), Some(right)) = (
                series.main_domains(*row, before),
                series.main_domains(*row, night),
            ) {
                both += 1;
                was += left;
                is += right;
            }
        }
        if both < FEWEST {
            break;
        }
        log -= ((1.0_f64 + is) / (1.0 + was)).ln();
    }
    points
}

/// Whether a single page, or in a label a single root domain, makes up most of a change. Then that
/// one is told, and not the group.
fn has_one_cause(
    series: &Series,
    group: &Group,
    change: &Change,
    from: std::ops::Range<usize>,
) -> bool {
    let tonight = series.nights() - 1;
    let all = change.now - change.expected;
    let is_label = matches!(group.subject, Subject::Label(_));
    let mut by_domain: HashMap<usize, f64> = HashMap::new();
    for row in &group.rows {
        let Some(now) = series.main_domains(*row, tonight) else {
            continue;
        };
        let levels = from.clone().filter_map(|night| {
            let value = series.main_domains(*row, night)?;
            Some((1.0 + value).ln() - series.shifted(night))
        });
        let Some(level) = median(&mut levels.collect::<Vec<_>>()) else {
            continue;
        };
        let own = now - ((level + series.shifted(tonight)).exp() - 1.0);
        if own / all > 0.5 {
            return true;
        }
        *by_domain.entry(series.domain_of(*row)).or_default() += own;
    }
    is_label && by_domain.values().any(|own| own / all > 0.5)
}
