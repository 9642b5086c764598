//! The oracle of comparisons: all rows of both snapshots, compared key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use backlake::history::{PageChange, Pair, summary};
use backlake::store::Store;
use chrono::NaiveDate;

pub(super) const DAYS: [&str; 2] = ["2026-11-23", "2026-11-24"];

pub(super) fn day(number: usize) -> NaiveDate {
    DAYS[number].parse().unwrap()
}

/// The metric of every page that counts, by root domain and target.
pub(super) type Counted = BTreeMap<(Option<String>, String), Option<i64>>;

/// Links by dimension and key.
pub(super) type Shares = BTreeMap<(String, String), i64>;

/// The expected changes, in the order of the keys.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Expected {
    pub(super) gained: Vec<PageChange>,
    pub(super) lost: Vec<PageChange>,
    pub(super) movers: Vec<PageChange>,
    pub(super) unchanged: usize,
    pub(super) unknown: usize,
}

pub(super) fn page(
    key: &(Option<String>, String),
    before: Option<i64>,
    after: Option<i64>,
) -> PageChange {
    PageChange {
        root_domain: key.0.clone(),
        target: Some(key.1.clone()),
        before,
        after,
        change: None,
        relative_change: None,
    }
}

/// The oracle: compares two maps key by key.
pub(super) fn expected(before: &Counted, after: &Counted) -> Expected {
    let mut found = Expected::default();
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        match (before.get(key), after.get(key)) {
            (None, None) => unreachable!(),
            (None, Some(after)) => found.gained.push(page(key, None, *after)),
            (Some(before), None) => found.lost.push(page(key, *before, None)),
            (Some(Some(before)), Some(Some(after))) if before != after => {
                let change = after - before;
                let relative_change = (*before != 0).then(|| change as f64 / *before as f64);
                let page = page(key, Some(*before), Some(*after));
                found.movers.push(PageChange {
                    change: Some(change),
                    relative_change,
                    ..page
                });
            }
            (Some(Some(_)), Some(Some(_))) => found.unchanged += 1,
            _ => found.unknown += 1,
        }
    }
    found
}

/// The largest rows; equal ones are in the order of the keys.
pub(super) fn largest(
    rows: &[PageChange],
    of: fn(&PageChange) -> Option<u64>,
    limit: usize,
) -> Vec<PageChange> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|page| std::cmp::Reverse(of(page)));
    rows.truncate(limit);
    rows
}

pub(super) fn size(value: Option<i64>) -> Option<u64> {
    value.map(i64::unsigned_abs)
}

/// Compares the snapshots of a lake in every way, and checks the results against the oracle.
pub(super) async fn check_against_the_oracle(
    store: &Store,
    by: &str,
    [before, after]: [&Counted; 2],
    shares: [&Shares; 2],
) {
    let pair = Pair::choose(store, None, None).await.unwrap();
    let pages = pair.pages(store, by, None).await.unwrap();
    let breakdowns = pair.breakdowns(store, None).await.unwrap();
    let expected = expected(before, after);
    let top = NonZeroU32::new(3).unwrap();
    tokio::task::block_in_place(|| {
        let lists = [pages.gained(), pages.lost(), pages.movers()].map(Result::unwrap);
        let orders: [fn(&PageChange) -> Option<u64>; 3] = [
            |page| size(page.after),
            |page| size(page.before),
            |page| size(page.change),
        ];
        for ((list, order), expected) in
            lists
                .iter()
                .zip(orders)
                .zip([&expected.gained, &expected.lost, &expected.movers])
        {
            let mut all = Vec::new();
            list.read(None, |rows| {
                all.extend(rows);
                Ok(())
            })
            .unwrap();
            assert_eq!(&all, expected);
            assert_eq!(list.largest(top).unwrap(), largest(expected, order, 3));
        }
        let short = summary(&pair, &pages, &breakdowns, top).unwrap();
        let counts = short.pages;
        assert_eq!(counts.before, before.len() as i64);
        assert_eq!(counts.after, after.len() as i64);
        assert_eq!(counts.gained, expected.gained.len() as i64);
        assert_eq!(counts.lost, expected.lost.len() as i64);
        assert_eq!(counts.changed, expected.movers.len() as i64);
        assert_eq!(counts.unchanged, expected.unchanged as i64);
        assert_eq!(counts.unknown, expected.unknown as i64);
        assert_eq!(
            counts.in_both,
            counts.changed + counts.unchanged + counts.unknown
        );
        let total = short
            .totals
            .iter()
            .find(|total| total.metric == by)
            .unwrap();
        let sum = |side: &Counted| side.values().flatten().sum::<i64>();
        assert_eq!((total.before, total.after), (sum(before), sum(after)));
        // The total before, plus what was added, minus what was lost, is the total after.
        let of = |pages: &[PageChange], value: fn(&PageChange) -> Option<i64>| {
            pages.iter().filter_map(value).sum::<i64>()
        };
        if expected.unknown == 0 {
            let added =
                of(&expected.gained, |page| page.after) + of(&expected.movers, |page| page.change);
            assert_eq!(
                total.before + added - of(&expected.lost, |page| page.before),
                total.after
            );
        }
        let mut shifts = Vec::new();
        let list = breakdowns.shifts().unwrap();
        list.read(None, |rows| {
            shifts.extend(rows);
            Ok(())
        })
        .unwrap();
        let keys: BTreeSet<_> = shares[0].keys().chain(shares[1].keys()).collect();
        assert_eq!(shifts.len(), keys.len());
        for (shift, key) in shifts.iter().zip(keys) {
            let links = shares.map(|side| side.get(key).copied().unwrap_or(0));
            assert_eq!(
                (shift.dimension.as_ref(), shift.key.as_ref()),
                (Some(&key.0), Some(&key.1))
            );
            assert_eq!(
                (shift.before, shift.after),
                (Some(links[0]), Some(links[1]))
            );
            assert_eq!(shift.change, Some(links[1] - links[0]));
        }
    });
}
