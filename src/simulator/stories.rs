//! Stories: things that happen to a few sites and pages of the population, so that a lake has
//! something to show.
//!
//! Each is decided by the seed and the date alone. Stories change numbers, never whether the
//! provider has a page, so that fates, requests and costs are the same with and without them.
//!
//! - Every 30 days the index grows or shrinks, and all numbers with it.
//! - A seasonal site has more links for some months of the year.
//! - A migrated site loses most links of its pages in a week; most of those that stay are broken.
//! - A page that is attacked gets links from one top-level domain for ten days, and loses them again.
//! - A dying page loses its links one after another.
//!
//! A site here is a host with the first part of the path, because code hosts have many owners.

use chrono::{Datelike as _, NaiveDate};

use super::draws::Draws;

/// What the stories do to a page on a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Effect {
    /// The size of the profile, relative to the one without stories.
    pub(super) size: f64,
    /// The part of the referring pages that an attack has added, and its top-level domain.
    pub(super) attack: Option<(f64, &'static str)>,
    /// The smallest part of the backlinks that is broken.
    pub(super) broken: f64,
    /// What is added to the spam score.
    pub(super) spam: i64,
}

impl Effect {
    /// Nothing happens.
    pub(super) const NONE: Self = Self {
        size: 1.0,
        attack: None,
        broken: 0.0,
        spam: 0,
    };
}

/// The top-level domains that attacks come from.
const ATTACKERS: [&str; 3] = ["xyz", "best", "pics"];
/// The days between two updates of the index.
const UPDATE_DAYS: i64 = 30;

/// What the stories of a population do to a target on a date.
pub(super) fn effect(seed: u64, date: NaiveDate, target: &str) -> Effect {
    let day = i64::from(date.num_days_from_ce());
    let mut effect = Effect {
        size: index_size(seed, date),
        ..Effect::NONE
    };
    site_story(seed, day, target, &mut effect);
    page_story(seed, day, target, &mut effect);
    effect
}

/// The size of the provider's index: the same for a month, then another one.
pub(super) fn index_size(seed: u64, date: NaiveDate) -> f64 {
    let day = i64::from(date.num_days_from_ce());
    let shift = Draws::new(seed ^ 0x1D_E8, &[b"update"]).below(UPDATE_DAYS);
    let update = (day + shift).div_euclid(UPDATE_DAYS);
    let mut draws = Draws::new(seed ^ 0x1D_E8, &[&update.to_le_bytes()]);
    (0.07 * draws.normal()).exp()
}

fn site_story(seed: u64, day: i64, target: &str, effect: &mut Effect) {
    let mut draws = Draws::new(seed ^ 0x517E, &[site(target).as_bytes()]);
    let kind = draws.unit();
    let start = draws.below(365);
    let since = (day - start).rem_euclid(365);
    if kind < 0.05 {
        let season = (since as f64 / 365.0 * std::f64::consts::TAU).cos();
        effect.size *= (0.9 * season).exp();
    } else if kind < 0.08 {
        // The move takes a week. From day 150 to day 210 the links come back.
        let gone =
            (since as f64 / 7.0).min(1.0) * (1.0 - (since as f64 - 150.0) / 60.0).clamp(0.0, 1.0);
        effect.size *= 1.0 - 0.8 * gone;
        effect.broken = 0.6 * gone;
    }
}

fn page_story(seed: u64, day: i64, target: &str, effect: &mut Effect) {
    let mut draws = Draws::new(seed ^ 0x9A6E, &[target.as_bytes()]);
    let kind = draws.unit();
    let start = draws.below(120);
    let since = (day - start).rem_euclid(120) as f64;
    if kind < 0.01 {
        let strength = (since / 10.0).min(1.0) * (1.0 - (since - 25.0) / 20.0).clamp(0.0, 1.0);
        let added = strength * (2.0 + 6.0 * draws.unit());
        let from = ATTACKERS[draws.below(ATTACKERS.len() as i64) as usize];
        if added > 0.0 {
            effect.size *= 1.0 + added;
            effect.attack = Some((added / (1.0 + added), from));
            effect.spam = (55.0 * strength) as i64;
        }
    } else if kind < 0.025 {
        // After 90 days it gains new links and grows again.
        let found = ((since - 90.0) / 30.0).clamp(0.0, 1.0);
        effect.size *= (-since / 15.0).exp().max(0.03).max(found);
        let broken = 0.4 * (since / 30.0).min(1.0) * (1.0 - found);
        effect.broken = effect.broken.max(broken);
    }
}

/// The host and the first part of the path.
fn site(target: &str) -> &str {
    let after_scheme = target.find("://").map_or(0, |at| at + 3);
    let mut slashes = target[after_scheme..].match_indices(['/', '?']);
    let end = slashes
        .nth(1)
        .map_or(target.len(), |(at, _)| after_scheme + at);
    &target[..end]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::Days;

    use super::*;

    fn days(number: u64) -> impl Iterator<Item = NaiveDate> {
        let first = NaiveDate::from_ymd_opt(2026, 10, 26).unwrap();
        (0..number).map(move |day| first + Days::new(day))
    }

    #[test]
    fn a_site_is_a_host_and_the_first_part_of_the_path() {
        for (target, expected) in [
            ("example.com", "example.com"),
            ("https://example.com/", "https://example.com/"),
            ("https://example.com/a/b/c", "https://example.com/a"),
            ("https://example.com/a?b=/c", "https://example.com/a"),
            ("https://example.com?a=/b", "https://example.com?a="),
        ] {
            assert_eq!(site(target), expected, "{target}");
        }
    }

    #[test]
    fn the_index_changes_once_in_thirty_days() {
        for seed in 0..20 {
            let sizes: Vec<_> = days(31).map(|date| index_size(seed, date)).collect();
            let changes = sizes.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert_eq!(changes, 1, "{seed}");
        }
    }

    #[test]
    fn most_pages_have_no_story_and_every_kind_happens() {
        let targets: Vec<_> = (0..2_000)
            .map(|n| format!("https://example.com/{n}/page"))
            .collect();
        let mut kinds = BTreeSet::new();
        let mut none = 0;
        for target in &targets {
            let quiet = days(28).all(|date| {
                let index = index_size(1, date);
                let effect = effect(1, date, target);
                if effect.attack.is_some() {
                    kinds.insert("attack");
                }
                if effect.broken > 0.0 {
                    kinds.insert(if effect.size < 0.2 * index {
                        "dying or migrated"
                    } else {
                        "broken"
                    });
                }
                if effect.size > 1.5 * index && effect.attack.is_none() {
                    kinds.insert("season");
                }
                effect
                    == Effect {
                        size: index,
                        ..Effect::NONE
                    }
            });
            none += i32::from(quiet);
        }
        assert!((1_600..1_900).contains(&none), "{none}");
        assert_eq!(kinds.len(), 4, "{kinds:?}");
    }
}
