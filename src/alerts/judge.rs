//! Judges one series of referring main domains: of a page, of a root domain, of a label.

use super::alert::Subject;
use super::robust::{between_quartiles, median};
use super::rule::Rule;
use super::series::RECENT;
use super::settings::AlertSettings;
use super::words::{changed, within};

/// The smallest spread from night to night that is believed, on the scale of logarithms. A quiet
/// series would otherwise alert at the first domain.
const SMALLEST_SPREAD: f64 = 0.02;
/// The spread that is assumed as long as fewer than [`ENOUGH`] changes are known.
const ASSUMED_SPREAD: f64 = 0.06;
const ENOUGH: usize = 7;
/// The nights at both ends of the window whose medians are compared for a slow change.
const ENDS: usize = 3;
/// The fewest nights of a slow change.
const SLOW: usize = 21;

/// A night of a series; `None` without a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// The number.
    pub(super) value: f64,
    /// log(1 + number), less what all pages moved by.
    pub(super) level: f64,
}

/// A change that is worth telling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    /// The number before.
    pub(super) then: f64,
    /// The number tonight; of a slow change, what the level of the last nights amounts to tonight.
    pub(super) now: f64,
    /// The number tonight, if it had moved like all pages.
    pub(super) expected: f64,
    /// The change of the level.
    pub(super) log: f64,
}

/// A change and the rule that tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    /// The rule.
    pub(super) rule: Rule,
    /// The change.
    pub(super) change: Change,
    /// Whether it happened within the last nights, and not over the whole window.
    pub(super) is_sudden: bool,
}

impl Judged {
    /// The change in words, after this many nights before tonight.
    pub(super) fn words(&self, subject: &Subject, nights: usize) -> String {
        let change = &self.change;
        let what = changed(change.now, change.expected, subject);
        match self.is_sudden {
            true => what,
            false => within(&what, nights),
        }
    }
}

/// The change worth reporting: a sudden one, otherwise a slow one. The caller checks whether its rule is enabled.
pub(super) fn judge(
    points: &[Option<Point>],
    shifted: f64,
    settings: &AlertSettings,
) -> Option<Judged> {
    let (change, is_sudden) = match sudden(points, shifted, settings) {
        Some(change) => (change, true),
        None => (slow(points, shifted, settings)?, false),
    };
    let rule = match (is_sudden, change.log < 0.0) {
        (true, true) => Rule::DomainsLost,
        (true, false) => Rule::DomainsGained,
        (false, true) => Rule::SlowLoss,
        (false, false) => Rule::SlowGain,
    };
    Some(Judged {
        rule,
        change,
        is_sudden,
    })
}

/// The change of tonight against the median of the nights before it.
fn sudden(points: &[Option<Point>], shifted: f64, settings: &AlertSettings) -> Option<Change> {
    let (now, before) = points.split_last()?;
    let now = (*now)?;
    let recent = before[before.len().saturating_sub(RECENT)..]
        .iter()
        .flatten();
    let mut levels: Vec<f64> = recent.clone().map(|point| point.level).collect();
    let level = median(&mut levels)?;
    let change = Change {
        then: 0.0,
        now: now.value,
        expected: number(level + shifted),
        log: now.level - level,
    };
    // Most series end here.
    if !is_large(&change, settings.min_change, settings) || !stands_out(&change, before, settings) {
        return None;
    }
    let mut values: Vec<f64> = recent.map(|point| point.value).collect();
    Some(Change {
        then: median(&mut values)?.round(),
        ..change
    })
}

/// The change over the whole window, a little every night.
fn slow(points: &[Option<Point>], shifted: f64, settings: &AlertSettings) -> Option<Change> {
    let known: Vec<Point> = points.iter().flatten().copied().collect();
    points.last()?.as_ref()?;
    if known.len() < SLOW {
        return None;
    }
    let (first, last) = (&known[..ENDS], &known[known.len() - ENDS..]);
    let level = |of: &[Point]| median(&mut of.iter().map(|point| point.level).collect::<Vec<_>>());
    let (then, now) = (level(first)?, level(last)?);
    // Both at tonight's size of the index, so that the words and the rule agree.
    let change = Change {
        then: median(&mut first.iter().map(|point| point.value).collect::<Vec<_>>())?,
        now: number(now + shifted),
        expected: number(then + shifted),
        log: now - then,
    };
    // A change that mostly happened in one night was sudden.
    let steps = known.windows(2).map(|pair| pair[1].level - pair[0].level);
    let is_told = is_large(&change, settings.min_slow_change, settings)
        && stands_out(&change, points, settings)
        && steps.fold(0.0, |most: f64, step| most.max(step.abs())) < change.log.abs() / 2.0;
    is_told.then_some(change)
}

/// The number whose log(1 + number) this is.
fn number(log: f64) -> f64 {
    (log.exp() - 1.0).max(0.0)
}

fn is_large(change: &Change, min_change: f64, settings: &AlertSettings) -> bool {
    // What logarithms lose in their last digits does not decide.
    const ROUNDING: f64 = 1e-6;
    (change.log.exp() - 1.0).abs() + ROUNDING >= min_change
        && (change.now - change.expected).abs() + ROUNDING >= settings.min_domains
}

/// Whether a change is many times as large as those from night to night usually are.
fn stands_out(change: &Change, points: &[Option<Point>], settings: &AlertSettings) -> bool {
    let known: Vec<f64> = points.iter().flatten().map(|point| point.level).collect();
    let mut changes: Vec<f64> = known.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let smallest = if changes.len() < ENOUGH {
        ASSUMED_SPREAD
    } else {
        SMALLEST_SPREAD
    };
    change.log.abs() >= settings.min_z * between_quartiles(&mut changes).max(smallest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: impl IntoIterator<Item = f64>) -> Vec<Option<Point>> {
        let point = |value: f64| {
            (value >= 0.0).then(|| Point {
                value,
                level: (1.0 + value).ln(),
            })
        };
        values.into_iter().map(point).collect()
    }

    fn told(values: Vec<f64>) -> (Option<f64>, Option<f64>) {
        let points = series(values);
        let settings = AlertSettings::default();
        let now = |change: Option<Change>| change.map(|change| change.now - change.then);
        (
            now(sudden(&points, 0.0, &settings)),
            now(slow(&points, 0.0, &settings)),
        )
    }

    #[test]
    fn a_change_is_told_if_it_is_large_and_unusual() {
        let steady = |value: f64, last: &[f64]| {
            let mut values = vec![value; 28];
            values.extend(last);
            values
        };
        for (what, values, expected) in [
            ("a tenth lost", steady(100.0, &[89.0]), Some(-11.0)),
            ("less than a tenth", steady(100.0, &[92.0]), None),
            (
                "a tenth a night is told in the second",
                steady(100.0, &[94.0, 88.0]),
                Some(-12.0),
            ),
            ("four domains", steady(6.0, &[2.0]), None),
            ("five domains", steady(6.0, &[1.0]), Some(-5.0)),
            ("a burst", steady(100.0, &[150.0]), Some(50.0)),
            ("not known tonight", steady(100.0, &[-1.0]), None),
            (
                "a night without a value",
                steady(100.0, &[-1.0, 80.0]),
                Some(-20.0),
            ),
            ("the first night", vec![100.0], None),
            ("early, a third is needed", vec![100.0, 75.0], None),
            ("early, more than a third", vec![100.0, 60.0], Some(-40.0)),
            (
                "as wild as on every night",
                (0..29)
                    .map(|night| if night % 2 == 0 { 100.0 } else { 130.0 })
                    .collect(),
                None,
            ),
        ] {
            assert_eq!(told(values).0, expected, "{what}");
        }
    }

    #[test]
    fn a_slow_change_is_told_once_it_is_large() {
        let falling = |each: f64| {
            (0..29)
                .map(|night| (1000.0 * (1.0 - each).powi(night)).round())
                .collect()
        };
        assert_eq!(told(falling(0.005)), (None, None));
        assert!(matches!(told(falling(0.015)), (None, Some(change)) if change < -250.0));
        let short = (0..20)
            .map(|night| 1000.0 - 20.0 * f64::from(night))
            .collect();
        // Two percent a night may be told at once, but not as slow.
        assert_eq!(told(short).1, None);
    }

    #[test]
    fn the_words_of_a_slow_change_agree_with_its_rule_when_the_index_jumps_tonight() {
        let page = Subject::Target {
            root_domain: "example.com".to_owned(),
            target: "example.com".to_owned(),
        };
        for (each, jump, rule, words) in [
            (1.013_f64, 1.5_f64, Rule::SlowGain, "has 4"),
            (0.985, 0.6, Rule::SlowLoss, "lost 3"),
        ] {
            let point = |night: i32| {
                let level = (1.0 + 1000.0 * each.powi(night)).ln();
                let shifted = if night == 28 { jump.ln() } else { 0.0 };
                let value = number(level + shifted);
                Some(Point { value, level })
            };
            let points: Vec<_> = (0..29).map(point).collect();
            let judged = judge(&points, jump.ln(), &AlertSettings::default()).unwrap();
            let told = judged.words(&page, 28);
            assert_eq!(judged.rule, rule, "{told}");
            assert!(told.starts_with(words), "{told}");
        }
    }
}
