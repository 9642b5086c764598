//! The simulated data: the backlink profile of every target on every day, as a pure function.
//!
//! Counts have heavy tails, a page shares the strength of its root domain, and maps look like those
//! of recorded responses. From day to day a profile drifts: it has a slow trend of its own and a
//! little noise, and some pages are found or lost. Rules that hold in real responses also hold
//! here: the types add up to `referring_pages`, maps are sorted by count, and a page without
//! backlinks has zeros and six nulls.

use chrono::{Datelike as _, Days, NaiveDate};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::draws::Draws;
use super::stories::{Effect, effect, index_size};

/// Counts by key, largest first.
pub type CountsByKey = Option<Vec<(&'static str, i64)>>;

/// The backlink profile of a target on a day: an item of a response without its `type` and `url`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(
    missing_docs,
    reason = "each field is the provider's field of its name"
)]
pub struct Page {
    pub rank: i64,
    pub main_domain_rank: i64,
    pub backlinks: i64,
    pub first_seen: Option<String>,
    pub lost_date: Option<String>,
    pub backlinks_spam_score: i64,
    pub broken_backlinks: i64,
    pub broken_pages: i64,
    pub referring_domains: i64,
    pub referring_domains_nofollow: i64,
    pub referring_main_domains: i64,
    pub referring_main_domains_nofollow: i64,
    pub referring_ips: i64,
    pub referring_subnets: i64,
    pub referring_pages: i64,
    pub referring_pages_nofollow: i64,
    #[serde(serialize_with = "in_order")]
    pub referring_links_tld: CountsByKey,
    #[serde(serialize_with = "in_order")]
    pub referring_links_types: CountsByKey,
    #[serde(serialize_with = "in_order")]
    pub referring_links_attributes: CountsByKey,
    #[serde(serialize_with = "in_order")]
    pub referring_links_platform_types: CountsByKey,
    #[serde(serialize_with = "in_order")]
    pub referring_links_semantic_locations: CountsByKey,
    #[serde(serialize_with = "in_order")]
    pub referring_links_countries: CountsByKey,
}

fn in_order<S: Serializer>(counts: &CountsByKey, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(counts) = counts else {
        return serializer.serialize_none();
    };
    let mut map = serializer.serialize_map(Some(counts.len()))?;
    for (key, count) in counts {
        map.serialize_entry(key, count)?;
    }
    map.end()
}

const TLDS: [&str; 40] = [
    "com", "net", "org", "de", "io", "co.uk", "info", "ru", "fr", "nl", "it", "dev", "pl", "eu",
    "es", "com.br", "in", "ca", "ch", "at", "jp", "com.au", "se", "cz", "be", "co", "me", "us",
    "xyz", "edu", "app", "hu", "dk", "no", "fi", "blog", "pics", "best", "cn", "tv",
];
const TYPES: [&str; 7] = [
    "anchor",
    "image",
    "redirect",
    "link",
    "canonical",
    "alternate",
    "meta",
];
const ATTRIBUTES: [&str; 7] = [
    "noopener",
    "nofollow",
    "noreferrer",
    "external",
    "ugc",
    "sponsored",
    "alternate",
];
const PLATFORMS: [&str; 8] = [
    "unknown",
    "cms",
    "blogs",
    "organization",
    "message-boards",
    "news",
    "ecommerce",
    "wikis",
];
const LOCATIONS: [&str; 11] = [
    "",
    "article",
    "section",
    "main",
    "footer",
    "details",
    "figcaption",
    "figure",
    "header",
    "aside",
    "nav",
];
const COUNTRIES: [&str; 24] = [
    "", "US", "WW", "IN", "GB", "DE", "IO", "CO", "FR", "IT", "BR", "ES", "NL", "PL", "CA", "RU",
    "JP", "AU", "SE", "CH", "AT", "PT", "CZ", "TR",
];

/// The profile of every target on every day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Population {
    seed: u64,
    /// Whether something happens to some of its sites and pages.
    stories: bool,
}

impl Population {
    /// The population of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            stories: false,
        }
    }

    /// The same population, with stories: things that happen to some sites and pages.
    #[must_use]
    pub fn with_stories(self) -> Self {
        Self {
            stories: true,
            ..self
        }
    }

    /// The backlinks, pages and domains in the whole index on a day.
    #[must_use]
    pub fn index(&self, date: NaiveDate) -> [i64; 3] {
        let growth = (f64::from(date.num_days_from_ce() - 739_617) * 2e-4).exp();
        let size = if self.stories {
            index_size(self.seed, date)
        } else {
            1.0
        };
        [3.1e12, 4.4e11, 2.6e8].map(|total| (total * growth * size) as i64)
    }

    /// The profile of a target on a day; `None` if the provider does not have the page on that day.
    #[must_use]
    pub fn page(&self, date: NaiveDate, target: &str, root_domain: &str) -> Option<Page> {
        let epoch = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap_or_default();
        let day = (date - epoch).num_days();
        let mut own = Draws::new(self.seed, &[target.as_bytes()]);
        let mut domain = Draws::new(self.seed ^ 0xD0_3A11, &[root_domain.as_bytes()]);
        let mut today = Draws::new(
            self.seed ^ 0x70_DA11,
            &[target.as_bytes(), &day.to_le_bytes()],
        );

        // One target in fifty is never found, and one in twenty is found on some day of the year.
        let known = own.unit();
        let found_on = (own.unit() * 365.0) as i64;
        if known < 0.02 || (known < 0.07 && day < found_on) {
            return None;
        }
        let strength = domain.normal();
        let main_domain_rank = (160.0 + 120.0 * strength).clamp(0.0, 990.0) as i64;
        let has_links = own.unit() < 0.78;
        if !has_links {
            return Some(Self::without_links(main_domain_rank));
        }
        let story = if self.stories {
            effect(self.seed, date, target)
        } else {
            Effect::NONE
        };
        let growth = growth(day, &mut own, &mut today) * story.size;
        let size = (1.8 + 1.9 * own.normal() + 0.8 * strength).exp().min(5e7);
        let referring_pages = (size * growth).ceil().max(1.0) as i64;

        // Every other number is a share of the referring pages, so that the numbers fit together.
        let part = |share: f64, of: i64| ((of as f64 * share).round() as i64).clamp(0, of);
        let at_least_one = |share: f64, of: i64| part(share, of).max(1);
        let backlinks = referring_pages + part(own.unit().powi(2) * 1.5, referring_pages);
        let spread = 0.15 + 0.85 * own.unit();
        let referring_domains = at_least_one(
            spread / (referring_pages as f64).powf(0.15),
            referring_pages,
        );
        let referring_main_domains = at_least_one(0.85 + 0.15 * own.unit(), referring_domains);
        let referring_ips = at_least_one(0.6 + 0.4 * own.unit(), referring_domains);
        let referring_subnets = at_least_one(0.6 + 0.4 * own.unit(), referring_ips);
        let nofollow = own.unit().powi(2);
        let referring_pages_nofollow = part(nofollow, referring_pages);
        let referring_domains_nofollow = part(nofollow, referring_domains);
        let referring_main_domains_nofollow = part(nofollow, referring_main_domains);
        let first_seen = first_seen(epoch, &mut own);
        let lost_date = lost_date(date, &mut own, &mut today);

        let (has_attributes, extra_labels) = (own.unit() < 0.85, own.unit());
        Some(Page {
            rank: ((referring_main_domains as f64).ln() * 55.0 + own.unit() * 40.0)
                .clamp(0.0, 1000.0) as i64,
            main_domain_rank,
            backlinks,
            first_seen: Some(first_seen),
            lost_date,
            backlinks_spam_score: ((own.unit().powi(3) * 100.0) as i64 + story.spam).min(100),
            broken_backlinks: part((own.unit().powi(4) * 0.3).max(story.broken), backlinks),
            broken_pages: i64::from(own.unit() < 0.05),
            referring_domains,
            referring_domains_nofollow,
            referring_main_domains,
            referring_main_domains_nofollow,
            referring_ips,
            referring_subnets,
            referring_pages,
            referring_pages_nofollow,
            referring_links_tld: Some(attacked(referring_pages, &story, &mut own)),
            referring_links_types: Some(split(referring_pages, &TYPES, &mut own)),
            referring_links_attributes: has_attributes
                .then(|| split(part(0.7, referring_pages).max(1), &ATTRIBUTES, &mut own)),
            // A link can have several platforms.
            referring_links_platform_types: Some(split(
                referring_pages + part(extra_labels, referring_pages),
                &PLATFORMS,
                &mut own,
            )),
            referring_links_semantic_locations: Some(split(referring_pages, &LOCATIONS, &mut own)),
            referring_links_countries: Some(split(referring_pages, &COUNTRIES, &mut own)),
        })
    }

    fn without_links(main_domain_rank: i64) -> Page {
        Page {
            rank: 0,
            main_domain_rank,
            backlinks: 0,
            first_seen: None,
            lost_date: None,
            backlinks_spam_score: 0,
            broken_backlinks: 0,
            broken_pages: 0,
            referring_domains: 0,
            referring_domains_nofollow: 0,
            referring_main_domains: 0,
            referring_main_domains_nofollow: 0,
            referring_ips: 0,
            referring_subnets: 0,
            referring_pages: 0,
            referring_pages_nofollow: 0,
            referring_links_tld: None,
            referring_links_types: None,
            referring_links_attributes: None,
            referring_links_platform_types: None,
            referring_links_semantic_locations: None,
            referring_links_countries: None,
        }
    }
}

/// Ten years: for how long before and after the epoch a profile grows or shrinks.
const MOST_DAYS_OF_TREND: i64 = 3_650;

/// The size of a profile relative to the first day: a trend of its own, a monthly season, and a
/// little noise.
fn growth(day: i64, own: &mut Draws, today: &mut Draws) -> f64 {
    // In the far past and future a profile stays as it is: the trend of centuries would overflow.
    let day = day.clamp(-MOST_DAYS_OF_TREND, MOST_DAYS_OF_TREND);
    let trend = own.normal() * 0.35;
    let season = 0.04 * ((day as f64) / 29.5 + own.unit() * std::f64::consts::TAU).sin();
    (trend * day as f64 / 365.0 + season + 0.015 * today.normal()).exp()
}

/// When the provider first found a backlink: the same on every day.
fn first_seen(epoch: NaiveDate, own: &mut Draws) -> String {
    let day = (own.unit() * 2_500.0) as u64 + 30;
    let second = (own.unit() * 86_400.0) as u32;
    stamp(epoch - Days::new(day), second)
}

/// When the last backlink was lost, if one was: up to 40 days ago.
fn lost_date(date: NaiveDate, own: &mut Draws, today: &mut Draws) -> Option<String> {
    let lost = own.unit();
    let days_ago = (today.unit().powi(2) * 40.0) as u64;
    (lost < 0.35).then(|| stamp(date - Days::new(days_ago), (lost * 1e5) as u32))
}

/// Distributes a number over keys until nothing is left. The first keys are more likely and get
/// more.
fn split(total: i64, keys: &[&'static str], draws: &mut Draws) -> Vec<(&'static str, i64)> {
    let mut counts: Vec<(&'static str, i64)> = Vec::new();
    let mut left = total;
    let skip = 0.15 + 0.5 * draws.unit();
    for (at, key) in keys.iter().enumerate() {
        if left == 0 {
            break;
        }
        let last = at + 1 == keys.len();
        if !last && draws.unit() < skip && at > 0 {
            continue;
        }
        let share = ((left as f64) * (0.35 + 0.5 * draws.unit())).ceil() as i64;
        let count = if last { left } else { share.clamp(1, left) };
        counts.push((key, count));
        left -= count;
    }
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    counts
}

/// The referring pages by top-level domain. Those that an attack has added are all from one.
fn attacked(pages: i64, story: &Effect, draws: &mut Draws) -> Vec<(&'static str, i64)> {
    let Some((part, from)) = story.attack else {
        return split(pages, &TLDS, draws);
    };
    let added = (pages as f64 * part) as i64;
    let mut counts = split(pages - added, &TLDS, draws);
    match counts.iter_mut().find(|(tld, _)| *tld == from) {
        Some((_, count)) => *count += added,
        None => counts.push((from, added)),
    }
    counts.retain(|&(_, count)| count > 0);
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    counts
}

/// A moment as the provider writes it: `2024-03-31 07:06:04 +00:00`.
fn stamp(date: NaiveDate, second: u32) -> String {
    let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
    format!("{date} {hour:02}:{minute:02}:{:02} +00:00", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
    }

    #[test]
    fn a_profile_is_a_pure_function_of_the_seed() {
        let page =
            |seed| Population::new(seed).page(day(23), "https://example.com/a", "example.com");
        assert_eq!(page(1), page(1));
        assert_ne!(page(1), page(2));
    }

    #[test]
    fn profiles_follow_the_rules_of_real_responses() {
        let population = Population::new(1);
        let (mut known, mut linked) = (0, 0);
        for n in 0..2_000 {
            let Some(page) =
                population.page(day(23), &format!("https://example.com/{n}"), "example.com")
            else {
                continue;
            };
            known += 1;
            let sum = |counts: &CountsByKey| {
                counts
                    .iter()
                    .flatten()
                    .map(|&(_, count)| count)
                    .sum::<i64>()
            };
            assert_eq!(sum(&page.referring_links_types), page.referring_pages);
            assert_eq!(page.backlinks == 0, page.referring_links_tld.is_none());
            for counts in [&page.referring_links_tld, &page.referring_links_countries]
                .into_iter()
                .flatten()
            {
                assert!(counts.is_sorted_by(|left, right| left.1 >= right.1));
                assert!(counts.iter().all(|&(_, count)| count > 0));
            }
            assert!(
                page.backlinks >= page.referring_pages
                    && page.referring_pages >= page.referring_domains
            );
            assert!(
                page.referring_domains >= page.referring_ips
                    && page.referring_ips >= page.referring_subnets
            );
            linked += i32::from(page.backlinks > 0);
        }
        assert!((1_850..2_000).contains(&known), "{known}");
        assert!((1_300..1_700).contains(&linked), "{linked}");
    }

    #[test]
    fn stories_change_numbers_and_nothing_else() {
        let (plain, told) = (Population::new(1), Population::new(1).with_stories());
        let (mut changed, mut known) = (0, 0);
        for n in 0..2_000 {
            let target = format!("https://example.com/{n}");
            let [plain, told] = [plain, told].map(|it| it.page(day(23), &target, "example.com"));
            assert_eq!(plain.is_some(), told.is_some(), "{target}");
            let (Some(plain), Some(told)) = (plain, told) else {
                continue;
            };
            known += 1;
            assert_eq!(plain.first_seen, told.first_seen);
            assert_eq!(plain.main_domain_rank, told.main_domain_rank);
            assert_eq!(plain.backlinks == 0, told.backlinks == 0);
            let tlds = told.referring_links_tld.iter().flatten();
            let sum: i64 = tlds.map(|&(_, count)| count).sum();
            assert_eq!(sum, told.referring_pages);
            let ratio = (told.backlinks + 5) as f64 / (plain.backlinks + 5) as f64;
            changed += i32::from(!(0.8..1.25).contains(&ratio));
        }
        assert!((20..known / 5).contains(&changed), "{changed} of {known}");
    }

    #[test]
    fn profiles_drift_from_day_to_day_but_do_not_jump() {
        let population = Population::new(1);
        let page = |on, n: i32| {
            population.page(day(on), &format!("https://example.com/{n}"), "example.com")
        };
        let (mut changed, mut known) = (0, 0);
        for n in 0..500 {
            if let (Some(before), Some(after)) = (page(22, n), page(23, n)) {
                known += 1;
                changed += i32::from(before != after);
                assert_eq!(before.first_seen, after.first_seen);
                let ratio = (after.backlinks + 5) as f64 / (before.backlinks + 5) as f64;
                assert!((0.7..1.4).contains(&ratio), "{before:?} {after:?}");
            }
        }
        assert!(changed > known / 4, "{changed} of {known}");
    }
}
