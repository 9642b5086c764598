//! Alerts against what the simulator knows: each story is told within two nights, almost nothing is
//! told of a population to which nothing happens, and an update of the index raises the banner alone.
//!
//! `TARGETS=20000` makes the population larger.

use std::collections::{BTreeMap, HashMap, HashSet};

use backlake::alerts::{
    AlertSettings, BASE_NIGHTS, Figures, Finding, Links, Rule, Series, Subject, bursts,
    group_findings, grown, page_findings, shift_finding,
};
use backlake::provider::IndexSize;
use backlake::simulator::{Page, Population};
use backlake::targets::{Rules, canonical};
use chrono::{Days, NaiveDate};
use rayon::prelude::*;

fn first() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 7, 1).unwrap()
}

/// So many targets, 20 of each root domain, whose pages have at least so many referring main domains.
fn targets(usual: usize, at_least: i64) -> Vec<(String, String)> {
    let number = std::env::var("TARGETS").map_or(usual, |number| number.parse().unwrap());
    let population = Population::new(1);
    let target = |n: usize| {
        let domain = format!("site{}.com", n / 20);
        (format!("https://{domain}/{}/page-{n}", n % 5), domain)
    };
    let is_large = |(target, domain): &(String, String)| {
        let page = population.page(first(), target, domain);
        at_least == 0 || page.is_some_and(|page| page.referring_main_domains >= at_least)
    };
    (0..).map(target).filter(is_large).take(number).collect()
}

fn figures(page: &Page) -> Figures {
    [
        Some(page.referring_main_domains),
        Some(page.backlinks),
        Some(page.broken_backlinks),
        Some(page.referring_pages),
        Some(page.referring_pages_nofollow),
        Some(page.backlinks_spam_score),
    ]
}

/// Targets of which some are attacked: their spam score enters a worse band on 2026-11-12 and stays
/// there for a while. `make` makes the target of a number.
pub(crate) fn attacked(make: impl Fn(usize) -> String, number: usize) -> Vec<String> {
    let population = Population::new(1).with_stories();
    let night = |day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
    let is_attacked = |text: &String| {
        let known = canonical(text, &Rules::default()).unwrap();
        let score = |day| {
            let page = population.page(night(day), known.text(), known.root_domain());
            page.map(|page| page.backlinks_spam_score)
        };
        score(11).is_some_and(|before| {
            let is_bad = |day| score(day).is_some_and(|score| score >= 31.max(before + 5));
            before < 31 && is_bad(12) && is_bad(13)
        })
    };
    let mut targets: Vec<String> = (0..200_000)
        .map(&make)
        .filter(is_attacked)
        .take(number)
        .collect();
    assert_eq!(targets.len(), number);
    targets.extend((200_000..200_100).map(make));
    targets
}

/// All nights of a population, and what is found on each.
struct Nights {
    population: Population,
    targets: Vec<(String, String)>,
    series: Series,
    settings: AlertSettings,
    /// The links by top-level domain of the last nights.
    tlds: Vec<HashMap<String, Vec<(&'static str, i64)>>>,
    index: [Option<IndexSize>; 2],
    /// The size of the index, relative to that of the population.
    growth: f64,
}

impl Nights {
    fn new(population: Population, targets: Vec<(String, String)>) -> Self {
        let settings = AlertSettings::default();
        Self {
            population,
            targets,
            series: Series::looking_back(settings.nights),
            settings,
            tlds: Vec::new(),
            index: [None, None],
            growth: 1.0,
        }
    }

    /// Adds a night, and returns what is found on it.
    fn add(&mut self, date: NaiveDate) -> Vec<Finding> {
        let pages: Vec<Option<Page>> = self
            .targets
            .par_iter()
            .map(|(target, domain)| self.population.page(date, target, domain))
            .collect();
        self.series.begin(date);
        let mut tlds = HashMap::new();
        for ((target, domain), page) in self.targets.iter().zip(&pages) {
            if let Some(page) = page {
                let mut figures = figures(page);
                for count in &mut figures[..5] {
                    *count = self.grown(*count);
                }
                self.series.add(domain, target, &figures);
                let links = page.referring_links_tld.clone().unwrap_or_default();
                tlds.insert(target.clone(), links);
            }
        }
        self.series.end();
        if self.tlds.len() > BASE_NIGHTS {
            self.tlds.remove(0);
        }
        self.tlds.push(tlds);
        let index = self.population.index(date).map(Some);
        let [backlinks, pages, domains] = index.map(|total| self.grown(total));
        let size = IndexSize {
            backlinks,
            pages,
            domains,
        };
        self.index = [self.index[1], Some(size)];
        self.find()
    }

    /// A number, as it is in an index of another size.
    fn grown(&self, value: Option<i64>) -> Option<i64> {
        value.map(|value| (value as f64 * self.growth).round() as i64)
    }

    fn find(&self) -> Vec<Finding> {
        let (series, settings) = (&self.series, &self.settings);
        let mut found = page_findings(series, &HashSet::new(), settings);
        let grown = grown(series, settings);
        let links = |night: usize| -> Links {
            let of = |target: &String| {
                let links = self.tlds[night].get(target).into_iter().flatten();
                let links = links.map(|(key, links)| ((target.clone(), (*key).to_owned()), *links));
                links.collect::<Vec<_>>()
            };
            grown.iter().flat_map(of).collect()
        };
        let (then, now) = (links(0), links(self.tlds.len() - 1));
        found.extend(bursts(series, "tld", [&then, &now], settings));
        group_findings(series, &[], settings, &mut found);
        found.extend(shift_finding(series, self.index, settings));
        found
    }
}

#[test]
fn almost_nothing_is_told_of_pages_to_which_nothing_happens() {
    let mut nights = {
        // Most pages have few links, and would hide what is told of the others.
        let mut all = targets(750, 0);
        all.extend(targets(750, 30));
        all.sort();
        all.dedup();
        Nights::new(Population::new(1), all)
    };
    let number = nights.targets.len();
    let mut told = Vec::new();
    for day in 0..118 {
        let found = nights.add(first() + Days::new(day));
        if day >= 28 {
            told.extend(found.into_iter().map(|finding| (day, finding)));
        }
    }
    let allowed = number * 90 / 10_000;
    eprintln!("{} false alerts of {allowed} allowed", told.len());
    assert!(
        told.len() <= allowed,
        "{} of {allowed}: {told:#?}",
        told.len()
    );
}

/// What a story did to a page by this night, against the population without stories: the rules that
/// should have told it, if it is large enough even with the noise.
fn due(now: [&Page; 2], week_ago: [&Page; 2], month_ago: [&Page; 2]) -> Vec<Rule> {
    let domains = |page: &Page| page.referring_main_domains as f64;
    let ratio = |[told, plain]: [&Page; 2]| (1.0 + domains(told)) / (1.0 + domains(plain));
    let [told, plain] = now;
    // Since then, by the story alone.
    let (in_a_week, in_a_month) = (ratio(now) / ratio(week_ago), ratio(now) / ratio(month_ago));
    let is_large = |change: f64, least: f64| {
        !(1.0 - least..=1.0 / (1.0 - least)).contains(&change)
            && (domains(told) * (1.0 - 1.0 / change)).abs() >= 9.0
    };
    let mut rules = Vec::new();
    let is_quiet = (ratio(week_ago) / ratio(month_ago) - 1.0).abs() < 0.05;
    if is_quiet && is_large(in_a_week, 0.2) {
        rules.push(if in_a_week < 1.0 {
            Rule::DomainsLost
        } else {
            Rule::DomainsGained
        });
    } else if is_large(in_a_month, 0.4) {
        rules.push(if in_a_month < 1.0 {
            Rule::SlowLoss
        } else {
            Rule::SlowGain
        });
    }
    let score = |page: &Page| page.backlinks_spam_score;
    if score(told) >= 31 && score(week_ago[0]) < 31 && score(told) >= score(week_ago[0]) + 10 {
        rules.push(Rule::Spam);
    }
    let broken = |page: &Page| page.broken_backlinks as f64 / (page.backlinks as f64).max(1.0);
    if told.broken_backlinks >= week_ago[0].broken_backlinks + 8
        && broken(told) >= broken(plain) + 0.15
        && broken(week_ago[0]) < broken(plain) + 0.01
    {
        rules.push(Rule::Broken);
    }
    let links = |page: &Page, tld: &str| {
        let all = page.referring_links_tld.iter().flatten();
        all.filter(|(key, _)| *key == tld)
            .map(|(_, links)| *links)
            .sum::<i64>()
    };
    let attacks = ["xyz", "best", "pics"].map(|tld| links(told, tld) - links(week_ago[0], tld));
    let gained = attacks.into_iter().max().unwrap_or_default();
    if gained >= 15 && gained as f64 >= 0.2 * told.referring_pages as f64 && in_a_week > 1.15 {
        rules.push(Rule::Burst);
    }
    rules
}

/// The rules that tell the same. After an attack, a page changes as much every night as others in a
/// month: then the loss that follows is told as a slow one.
fn same(rule: Rule) -> Vec<Rule> {
    match rule {
        Rule::SlowLoss | Rule::DomainsLost => vec![Rule::SlowLoss, Rule::DomainsLost],
        Rule::SlowGain | Rule::DomainsGained => vec![Rule::SlowGain, Rule::DomainsGained],
        rule => vec![rule],
    }
}

#[test]
fn every_story_is_told_within_two_nights() {
    let [population, plain] = [Population::new(1).with_stories(), Population::new(1)];
    let mut nights = Nights::new(population, targets(600, 40));
    // Since when each is due, and every night on which it is told.
    let mut expected: BTreeMap<(Rule, usize), u64> = BTreeMap::new();
    let mut told: BTreeMap<(Rule, String), Vec<u64>> = BTreeMap::new();
    let mut pages: Vec<Vec<[Option<Page>; 2]>> = Vec::new();
    for day in 0..80_u64 {
        let date = first() + Days::new(day);
        for finding in nights.add(date) {
            let name = match finding.subject {
                Subject::Target { target, .. } => target,
                Subject::Domain(domain) => domain,
                _ => continue,
            };
            told.entry((finding.rule, name)).or_default().push(day);
        }
        let both = nights
            .targets
            .par_iter()
            .map(|(target, domain)| [&population, &plain].map(|of| of.page(date, target, domain)));
        pages.push(both.collect());
        let Some(month_ago) = day.checked_sub(28) else {
            continue;
        };
        let of = |day: u64, number: usize| {
            let [told, plain] = &pages[day as usize][number];
            Some([told.as_ref()?, plain.as_ref()?])
        };
        for number in 0..nights.targets.len() {
            if let (Some(now), Some(week_ago), Some(month_ago)) =
                (of(day, number), of(day - 7, number), of(month_ago, number))
            {
                for rule in due(now, week_ago, month_ago) {
                    expected.entry((rule, number)).or_insert(day);
                }
            }
        }
    }
    let mut kinds: BTreeMap<Rule, usize> = BTreeMap::new();
    let mut missed = Vec::new();
    for ((rule, number), since) in expected {
        let (target, domain) = &nights.targets[number];
        let mut on = same(rule)
            .into_iter()
            .flat_map(|rule| [target, domain].map(|name| told.get(&(rule, name.clone()))))
            .flatten()
            .flatten();
        // A story that began in the first weeks was told then.
        if on.clone().any(|day| *day <= since + 1) || since >= 79 {
            *kinds.entry(rule).or_default() += 1;
        } else {
            let on = on.next();
            missed.push(format!(
                "{} {target} since {since}, told {on:?}",
                rule.name()
            ));
        }
    }
    eprintln!("told in time: {kinds:?}");
    assert_eq!(missed, [""; 0]);
    for rule in [
        Rule::DomainsLost,
        Rule::DomainsGained,
        Rule::SlowLoss,
        Rule::SlowGain,
        Rule::Burst,
        Rule::Spam,
    ] {
        let number = kinds.get(&rule);
        assert!(
            number.is_some_and(|number| *number > 0),
            "{rule:?} of {kinds:?}"
        );
    }
}

#[test]
fn an_update_of_the_index_raises_one_alert_and_no_other() {
    // The index alone changes: all pages have so much more of everything, and the totals too.
    for (growth, is_told) in [(1.12, true), (0.9, true), (1.004, false)] {
        let mut nights = Nights::new(Population::new(1), targets(600, 30));
        nights.settings.nights = 14;
        nights.series = Series::looking_back(14);
        for day in 0..24_u64 {
            nights.growth = if day < 16 { 1.0 } else { growth };
            let found = nights.add(first() + Days::new(day));
            let rules: Vec<Rule> = found.iter().map(|finding| finding.rule).collect();
            let expected = match day == 16 && is_told {
                true => vec![Rule::IndexShift],
                false => Vec::new(),
            };
            assert_eq!(rules, expected, "{growth} on day {day}: {found:#?}");
        }
    }
}
