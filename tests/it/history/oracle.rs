//! The oracle of comparisons: all rows of both snapshots, compared key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use backlake::fate::Fate;
use backlake::history::{List, PageChange, Pair, Summary, UnansweredFates, summary};
use backlake::store::Store;
use chrono::NaiveDate;

pub(super) const DAYS: [&str; 2] = ["2026-11-23", "2026-11-24"];

pub(super) fn day(number: usize) -> NaiveDate {
    DAYS[number].parse().unwrap()
}

/// Root domain and target.
pub(super) type Key = (Option<String>, String);

/// What an independent reader finds in a snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct Day {
    /// The metric of every matched page.
    pub(super) pages: BTreeMap<Key, Option<i64>>,
    /// The fate of every target of the list.
    pub(super) fates: BTreeMap<Key, Fate>,
    /// The rows of breakdowns: the page, dimension and key, links.
    pub(super) links: Vec<(Key, (String, String), i64)>,
}

/// The expected changes, in the order of the keys.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Expected {
    pub(super) movers: Vec<PageChange>,
    pub(super) risen: Vec<PageChange>,
    pub(super) fallen: Vec<PageChange>,
    pub(super) new: Vec<PageChange>,
    pub(super) lost: Vec<PageChange>,
    pub(super) added: Vec<PageChange>,
    pub(super) removed: Vec<PageChange>,
    pub(super) unanswered: Vec<PageChange>,
    /// The pages in both with a value in both: before and after.
    pub(super) compared: Vec<[i64; 2]>,
    pub(super) unknown: usize,
    /// The links of pages in both, by dimension and key.
    pub(super) shifts: BTreeMap<(String, String), [i64; 2]>,
}

impl Expected {
    fn add_missing(&mut self, page: PageChange, fates: [Option<Fate>; 2]) {
        let [before, after] = fates;
        let list = match (before, after) {
            (Some(Fate::Absent), _) => &mut self.new,
            (_, Some(Fate::Absent)) => &mut self.lost,
            (None, _) => &mut self.added,
            (_, None) => &mut self.removed,
            _ => {
                let name = |fate: Option<Fate>| fate.map(|fate| fate.name().to_owned());
                return self.unanswered.push(PageChange {
                    fate_before: name(before),
                    fate_after: name(after),
                    ..page
                });
            }
        };
        list.push(page);
    }

    fn add_in_both(&mut self, page: PageChange) {
        let (Some(before), Some(after)) = (page.before, page.after) else {
            self.unknown += 1;
            return;
        };
        self.compared.push([before, after]);
        if before == after {
            return;
        }
        let change = after - before;
        let page = PageChange {
            change: Some(change),
            relative_change: (before != 0).then(|| change as f64 / before as f64),
            ..page
        };
        self.movers.push(page.clone());
        if change > 0 {
            self.risen.push(page);
        } else {
            self.fallen.push(page);
        }
    }
}

/// The oracle: compares two days key by key.
pub(super) fn expected(days: [&Day; 2]) -> Expected {
    let [before, after] = days.map(|day| &day.pages);
    let mut found = Expected::default();
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let page = PageChange {
            root_domain: key.0.clone(),
            target: Some(key.1.clone()),
            before: before.get(key).copied().flatten(),
            after: after.get(key).copied().flatten(),
            ..PageChange::default()
        };
        if before.contains_key(key) && after.contains_key(key) {
            found.add_in_both(page);
        } else {
            found.add_missing(page, days.map(|day| day.fates.get(key).copied()));
        }
    }
    for (side, day) in days.iter().enumerate() {
        for (page, key, links) in &day.links {
            if before.contains_key(page) && after.contains_key(page) {
                found.shifts.entry(key.clone()).or_default()[side] += links;
            }
        }
    }
    found
}

/// The largest rows; equal ones are in the order of the keys.
fn largest(
    rows: &[PageChange],
    of: fn(&PageChange) -> Option<u64>,
    limit: usize,
) -> Vec<PageChange> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|page| std::cmp::Reverse(of(page)));
    rows.truncate(limit);
    rows
}

fn size(value: Option<i64>) -> Option<u64> {
    value.map(i64::unsigned_abs)
}

fn change(page: &PageChange) -> Option<u64> {
    size(page.change)
}

fn value(page: &PageChange) -> Option<u64> {
    size(page.before.or(page.after))
}

/// A sum for links, else the median.
fn over(by: &str, values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    if by.contains("backlinks") && !by.contains("score") {
        (!values.is_empty()).then(|| values.iter().sum())
    } else {
        values.get(values.len().saturating_sub(1) / 2).copied()
    }
}

/// Compares the snapshots of a lake in every way, and checks the results against the oracle.
pub(super) async fn check_against_the_oracle(store: &Store, by: &str, days: [&Day; 2]) {
    let pair = Pair::choose(store, None, None, None).await.unwrap();
    let pages = pair.pages(store, by).await.unwrap();
    let breakdowns = pair.breakdowns(store).await.unwrap();
    let expected = expected(days);
    let top = NonZeroU32::new(3).unwrap();
    tokio::task::block_in_place(|| {
        let short = summary(&pair, &pages, &breakdowns, top).unwrap();
        type Order = fn(&PageChange) -> Option<u64>;
        let lists: [(&str, List<PageChange>, _, _, Order); 8] = [
            (
                "movers",
                pages.movers().unwrap(),
                &expected.movers,
                None,
                change,
            ),
            (
                "risen",
                pages.risen().unwrap(),
                &expected.risen,
                Some(&short.top.risen),
                change,
            ),
            (
                "fallen",
                pages.fallen().unwrap(),
                &expected.fallen,
                Some(&short.top.fallen),
                change,
            ),
            (
                "new",
                pages.new_pages().unwrap(),
                &expected.new,
                Some(&short.top.new),
                value,
            ),
            (
                "lost",
                pages.lost().unwrap(),
                &expected.lost,
                Some(&short.top.lost),
                value,
            ),
            (
                "added",
                pages.added().unwrap(),
                &expected.added,
                Some(&short.top.added),
                value,
            ),
            (
                "removed",
                pages.removed().unwrap(),
                &expected.removed,
                Some(&short.top.removed),
                value,
            ),
            (
                "unanswered",
                pages.unanswered().unwrap(),
                &expected.unanswered,
                Some(&short.top.unanswered),
                value,
            ),
        ];
        for (name, list, expected, in_summary, order) in lists {
            let mut all = Vec::new();
            list.read(None, |rows| {
                all.extend(rows);
                Ok(())
            })
            .unwrap();
            assert_eq!(&all, expected, "{name}");
            let expected = largest(expected, order, 3);
            assert_eq!(list.largest(top).unwrap(), expected, "{name}");
            if let Some(found) = in_summary {
                assert_eq!(found, &expected, "{name}");
            }
        }
        check_groups(&short, &expected, by);
        check_lists(&short, days);
        let mut shifts = BTreeMap::new();
        let list = breakdowns.shifts().unwrap();
        list.read(None, |rows| {
            for row in rows {
                let (before, after) = (row.before.unwrap(), row.after.unwrap());
                assert_eq!(row.change, Some(after - before));
                shifts.insert((row.dimension.unwrap(), row.key.unwrap()), [before, after]);
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(shifts, expected.shifts);
    });
}

fn check_groups(short: &Summary, expected: &Expected, by: &str) {
    let both = short.pages.in_both;
    let number = |pages: &[PageChange]| pages.len() as i64;
    assert_eq!(both.risen, number(&expected.risen));
    assert_eq!(both.fallen, number(&expected.fallen));
    assert_eq!(both.unknown, expected.unknown as i64);
    let compared = expected.compared.len() as i64;
    assert_eq!(both.pages - both.unknown, compared);
    assert_eq!(both.unchanged, compared - number(&expected.movers));
    let metric = short
        .metrics
        .iter()
        .find(|metric| metric.metric == by)
        .unwrap();
    assert_eq!((metric.risen, metric.fallen), (both.risen, both.fallen));
    assert_eq!((metric.before, metric.after), (both.before, both.after));
    let [before, after] =
        [0, 1].map(|side| over(by, expected.compared.iter().map(|pair| pair[side])));
    assert_eq!((both.before, both.after), (before, after));
    let change = before.zip(after).map(|(before, after)| after - before);
    assert_eq!(both.change, change);
    let of = |pages: &[PageChange], value: fn(&PageChange) -> Option<i64>| {
        over(by, pages.iter().filter_map(value))
    };
    let unanswered = short.pages.unanswered;
    for (name, pages, before, after, expected) in [
        (
            "new",
            short.pages.new.pages,
            short.pages.new.before,
            short.pages.new.after,
            &expected.new,
        ),
        (
            "lost",
            short.pages.lost.pages,
            short.pages.lost.before,
            short.pages.lost.after,
            &expected.lost,
        ),
        (
            "added",
            short.pages.added.pages,
            short.pages.added.before,
            short.pages.added.after,
            &expected.added,
        ),
        (
            "removed",
            short.pages.removed.pages,
            short.pages.removed.before,
            short.pages.removed.after,
            &expected.removed,
        ),
        (
            "unanswered",
            unanswered.pages,
            unanswered.before,
            unanswered.after,
            &expected.unanswered,
        ),
    ] {
        assert_eq!(pages, number(expected), "{name}");
        let values = (
            of(expected, |page| page.before),
            of(expected, |page| page.after),
        );
        assert_eq!((before, after), values, "{name}");
    }
    let fates = |of: fn(&PageChange) -> Option<&str>| {
        let times = |fate: &str| {
            expected
                .unanswered
                .iter()
                .filter(|page| of(page) == Some(fate))
                .count() as i64
        };
        UnansweredFates {
            failed: times("failed"),
            refused: times("refused"),
            unsent: times("unsent"),
        }
    };
    assert_eq!(
        unanswered.fates_before,
        fates(|page| page.fate_before.as_deref())
    );
    assert_eq!(
        unanswered.fates_after,
        fates(|page| page.fate_after.as_deref())
    );
}

fn check_lists(short: &Summary, days: [&Day; 2]) {
    for (found, day) in [short.list.before, short.list.after].iter().zip(days) {
        let times = |fate| day.fates.values().filter(|other| **other == fate).count() as i64;
        assert_eq!(found.targets, day.fates.len() as i64);
        assert_eq!(
            [
                found.returned,
                found.absent,
                found.failed,
                found.refused,
                found.unsent
            ],
            [
                Fate::Returned,
                Fate::Absent,
                Fate::Failed,
                Fate::Refused,
                Fate::Unsent
            ]
            .map(times)
        );
    }
    let only_in = |one: &Day, other: &Day| {
        one.fates
            .keys()
            .filter(|key| !other.fates.contains_key(*key))
            .count() as i64
    };
    assert_eq!(short.list.added, only_in(days[1], days[0]));
    assert_eq!(short.list.removed, only_in(days[0], days[1]));
}
