//! The rules about each target, but for bursts.

use std::collections::HashSet;

use super::alert::{Finding, Subject};
use super::judge::{Change, Point, judge};
use super::robust::median;
use super::rule::Rule;
use super::series::{Detail, Series};
use super::settings::AlertSettings;
use super::words::percent;
use crate::provider::SPAM_BANDS;

/// The smallest rise of a spam score.
const SPAM_POINTS: f64 = 5.0;
/// The fewest backlinks that broke.
const BROKEN: f64 = 5.0;
/// The fewest referring pages whose share of nofollow means something.
const NOFOLLOW_PAGES: f64 = 20.0;

/// What the rules find about each target. `absent` are the targets that the provider had no data for
/// on the last two nights.
#[must_use]
pub fn page_findings(
    series: &Series,
    absent: &HashSet<String>,
    settings: &AlertSettings,
) -> Vec<Finding> {
    let Some(tonight) = series.nights().checked_sub(1) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut points = Vec::new();
    for row in 0..series.rows() {
        let page = Page {
            series,
            row,
            tonight,
            settings,
        };
        if series.main_domains(row, tonight).is_some() {
            points.clear();
            points.extend((0..=tonight).map(|night| page.point(night)));
            page.domains(&points, &mut found);
            page.spam(&mut found);
            page.broken(&mut found);
            page.nofollow(&mut found);
        }
    }
    if tonight >= 2 {
        for target in absent {
            let Some(row) = series.row(target) else {
                continue;
            };
            let had = series.main_domains(row, tonight - 2);
            if let Some(had) = had.filter(|_| settings.applies(Rule::PageLost)) {
                let page = Page {
                    series,
                    row,
                    tonight,
                    settings,
                };
                let what = "the provider has had no data for two nights".to_owned();
                found.push(page.finding(Rule::PageLost, had, 0.0, (1.0, had), what));
            }
        }
    }
    found
}

/// One target.
struct Page<'a> {
    series: &'a Series,
    row: usize,
    tonight: usize,
    settings: &'a AlertSettings,
}

impl Page<'_> {
    fn point(&self, night: usize) -> Option<Point> {
        let value = self.series.main_domains(self.row, night)?;
        let level = (1.0 + value).ln() - self.series.shifted(night);
        Some(Point { value, level })
    }

    fn subject(&self) -> Subject {
        let domain = self.series.domain_of(self.row);
        Subject::Target {
            root_domain: self.series.domains()[domain].to_string(),
            target: self.series.target(self.row).to_owned(),
        }
    }

    fn finding(
        &self,
        rule: Rule,
        then: f64,
        now: f64,
        (magnitude, weight): (f64, f64),
        what: String,
    ) -> Finding {
        Finding {
            rule,
            subject: self.subject(),
            detail: None,
            before: Some(then),
            after: Some(now),
            magnitude,
            weight,
            pages: 0,
            what,
        }
    }

    fn domains(&self, points: &[Option<Point>], found: &mut Vec<Finding>) {
        let shifted = self.series.shifted(self.tonight);
        let Some(judged) = judge(points, shifted, self.settings) else {
            return;
        };
        if self.settings.applies(judged.rule) {
            let what = judged.words(&self.subject(), self.tonight);
            found.push(self.changed(judged.rule, &judged.change, what));
        }
    }

    fn changed(&self, rule: Rule, change: &Change, what: String) -> Finding {
        let weight = (change.now - change.expected).abs();
        let size = (change.log.abs(), weight);
        self.finding(rule, change.then, change.now.round(), size, what)
    }

    fn now(&self, detail: Detail) -> Option<f64> {
        self.series.detail(detail, self.row, self.tonight)
    }

    /// The median over the nights before tonight.
    fn before(&self, of: impl Fn(usize) -> Option<f64>) -> Option<f64> {
        median(&mut self.series.recent().filter_map(of).collect::<Vec<_>>())
    }

    fn usual(&self, detail: Detail) -> Option<f64> {
        self.before(|night| self.series.detail(detail, self.row, night))
    }

    /// One detail as a share of another on a night.
    fn share(&self, part: Detail, whole: Detail, night: usize) -> Option<f64> {
        let whole = self.series.detail(whole, self.row, night)?;
        let part = self.series.detail(part, self.row, night)?;
        (whole > 0.0).then(|| part / whole)
    }

    fn spam(&self, found: &mut Vec<Finding>) {
        let band = |score: f64| {
            let reached = SPAM_BANDS.iter().filter(|first| score >= **first as f64);
            reached.count()
        };
        let (Some(now), true) = (self.now(Detail::Spam), self.settings.applies(Rule::Spam)) else {
            return;
        };
        // Most pages end here.
        if band(now) == 0 {
            return;
        }
        let Some(then) = self.usual(Detail::Spam) else {
            return;
        };
        if band(now) > band(then) && now - then >= SPAM_POINTS {
            let most = if band(now) == 2 {
                "61 to 100"
            } else {
                "31 to 60"
            };
            let what = format!("its spam score is in the band {most}: {now:.0}, usually {then:.0}");
            let size = (band(now) as f64, now - then);
            found.push(self.finding(Rule::Spam, then, now, size, what));
        }
    }

    fn broken(&self, found: &mut Vec<Finding>) {
        let (Some(now), true) = (
            self.now(Detail::Broken).filter(|now| *now >= BROKEN),
            self.settings.applies(Rule::Broken),
        ) else {
            return;
        };
        let share = |night| self.share(Detail::Broken, Detail::Backlinks, night);
        let (Some(then), Some(was), Some(is)) = (
            self.usual(Detail::Broken),
            self.before(share),
            share(self.tonight),
        ) else {
            return;
        };
        if now - then >= BROKEN && is - was >= self.settings.min_share_change {
            let what = format!(
                "{} of its backlinks are broken, usually {}",
                percent(is),
                percent(was)
            );
            found.push(self.finding(Rule::Broken, then, now, (is - was, now - then), what));
        }
    }

    fn nofollow(&self, found: &mut Vec<Finding>) {
        let enough = self
            .now(Detail::Pages)
            .is_some_and(|pages| pages >= NOFOLLOW_PAGES);
        if !enough || !self.settings.applies(Rule::Nofollow) {
            return;
        }
        let share = |night| self.share(Detail::Nofollow, Detail::Pages, night);
        let Some(is) = share(self.tonight) else {
            return;
        };
        let least = self.settings.min_share_change;
        // With the night before, most pages end here.
        let moved = self
            .series
            .recent()
            .filter_map(share)
            .any(|was| (is - was).abs() >= least);
        let Some(was) = moved.then(|| self.before(share)).flatten() else {
            return;
        };
        let before = self.usual(Detail::Pages).unwrap_or_default();
        if (is - was).abs() >= least && before >= NOFOLLOW_PAGES {
            let what = format!(
                "{} of its referring pages have nofollow links, usually {}",
                percent(is),
                percent(was)
            );
            let size = ((is - was).abs(), (is - was).abs() * before);
            let points = |share: f64| (share * 1000.0).round() / 1000.0;
            found.push(self.finding(Rule::Nofollow, points(was), points(is), size, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{Days, NaiveDate};

    use super::*;
    use crate::alerts::Figures;

    const TARGET: &str = "https://example.com/";

    /// 100 referring main domains, 400 backlinks of which these are broken, 200 referring pages of which
    /// these have nofollow links, and this spam score.
    fn page([broken, nofollow, spam]: [i64; 3]) -> Option<Figures> {
        Some([100, 400, broken, 200, nofollow, spam].map(Some))
    }

    /// The rules that alert on the last of these nights; `None` is a night without the page.
    fn rules(nights: &[Option<Figures>], is_absent: bool) -> Vec<Rule> {
        let mut series = Series::looking_back(28);
        let first = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        for (night, figures) in nights.iter().enumerate() {
            series.begin(first + Days::new(night as u64));
            if let Some(figures) = figures {
                series.add("example.com", TARGET, figures);
            }
            series.end();
        }
        let absent = is_absent.then(|| TARGET.to_owned()).into_iter().collect();
        let found = page_findings(&series, &absent, &AlertSettings::default());
        found.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn whether_a_page_is_told_does_not_depend_on_the_size_of_its_numbers() {
        for last in [
            [4, 20, 20],
            [43, 20, 20],
            [44, 20, 20],
            [4, 39, 20],
            [4, 40, 20],
        ] {
            let told_at = |times: i64| {
                let large = |page: Option<Figures>| {
                    let [domains, backlinks, broken, pages, nofollow, spam] = page?;
                    let times = |count: Option<i64>| Some(count? * times);
                    let counts = [backlinks, broken, pages, nofollow].map(times);
                    let [backlinks, broken, pages, nofollow] = counts;
                    Some([domains, backlinks, broken, pages, nofollow, spam])
                };
                let mut nights = vec![large(page([4, 20, 20])); 8];
                nights.push(large(page(last)));
                rules(&nights, false)
            };
            // The last is the largest that a float represents exactly.
            for times in [10_000_000, 25_000_000, 100_000_000_000, 1 << 44] {
                assert_eq!(
                    told_at(times),
                    told_at(1),
                    "{last:?}, {times} times as large"
                );
            }
        }
    }

    #[test]
    fn a_page_is_told_if_it_is_far_from_its_last_nights() {
        for (last, expected) in [
            ([4, 20, 29], vec![]),
            ([4, 20, 31], vec![Rule::Spam]),
            ([4, 20, 61], vec![Rule::Spam]),
            ([43, 20, 20], vec![]),
            ([44, 20, 20], vec![Rule::Broken]),
            ([4, 39, 20], vec![]),
            ([4, 40, 20], vec![Rule::Nofollow]),
            ([4, 0, 20], vec![Rule::Nofollow]),
        ] {
            let mut nights = vec![page([4, 20, 20]); 8];
            nights.push(page(last));
            assert_eq!(rules(&nights, false), expected, "{last:?}");
        }
        // A score around the border of a band is no news.
        let mut nights = vec![page([4, 20, 29]); 8];
        nights.push(page([4, 20, 32]));
        assert_eq!(rules(&nights, false), []);
    }

    #[test]
    fn a_lost_page_is_told_on_the_second_night_without_it() {
        let with = page([4, 20, 20]);
        for (nights, is_absent, expected) in [
            (vec![with, with, None, None], true, vec![Rule::PageLost]),
            // Not absent: it failed, or the list no longer has it.
            (vec![with, with, None, None], false, vec![]),
            (vec![with, None, None, None], true, vec![]),
            (vec![with, None], true, vec![]),
        ] {
            assert_eq!(rules(&nights, is_absent), expected, "{nights:?}");
        }
    }
}
