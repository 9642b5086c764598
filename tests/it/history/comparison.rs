//! A comparison finds exactly the changes that a comparison of all rows finds.

use std::collections::BTreeSet;
use std::sync::Arc;

use backlake::error::ErrorKind;
use backlake::history::{ListFormat, Pair};
use backlake::store::Store;
use object_store::ObjectStoreExt as _;
use proptest::prelude::*;

use super::oracle::{Counted, Shares, check_against_the_oracle, day, expected};
use super::two_days::{counted, shares, two_days};
use crate::harness::{program, text};
use crate::written::{Links, Page, write_snapshot};

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_equals_that_of_all_rows() {
    let site = two_days().await;
    let lake = site.lake();
    let store = Store::open(&lake.display().to_string()).unwrap();
    for by in ["backlinks", "referring_domains", "rank"] {
        let pages = [0, 1].map(|number| counted(&lake, day(number), by));
        let links = [0, 1].map(|number| shares(&lake, day(number)));
        let found = expected(&pages[0], &pages[1]);
        assert!(
            found.gained.len() > 20 && found.lost.len() > 20,
            "the days do not differ"
        );
        assert!(
            by == "rank" || found.movers.len() > 20,
            "the days do not differ in {by}"
        );
        check_against_the_oracle(&store, by, [&pages[0], &pages[1]], [&links[0], &links[1]]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_in_an_object_store_compares_like_one_on_disk() {
    let site = two_days().await;
    let objects = Arc::new(object_store::memory::InMemory::new());
    let local = object_store::local::LocalFileSystem::new_with_prefix(site.lake()).unwrap();
    let files: Vec<_> =
        futures::TryStreamExt::try_collect(object_store::ObjectStore::list(&local, None))
            .await
            .unwrap();
    for file in files {
        let bytes = local
            .get(&file.location)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        objects.put(&file.location, bytes.into()).await.unwrap();
    }
    let store = Store::over(objects, "memory");
    let lake = site.lake();
    let pages = [0, 1].map(|number| counted(&lake, day(number), "backlinks"));
    let links = [0, 1].map(|number| shares(&lake, day(number)));
    check_against_the_oracle(
        &store,
        "backlinks",
        [&pages[0], &pages[1]],
        [&links[0], &links[1]],
    )
    .await;
}

/// Rows of a day: few domains and pages, so that the days have many in common; some rows are
/// unmatched.
fn a_day() -> impl Strategy<Value = Vec<Page>> {
    let domain = prop_oneof![
        Just(None),
        (0..5_u8).prop_map(|n| Some(format!("d{n}.com")))
    ];
    let metric = prop_oneof![1 => Just(None), 6 => (0..6_i64).prop_map(Some)];
    let row = (domain, 0..30_u8, metric, prop::bool::weighted(0.9));
    prop::collection::vec(row, 0..120).prop_map(|rows| {
        let mut matched_targets = BTreeSet::new();
        let page = |(root_domain, number, backlinks, matched): (Option<String>, u8, _, bool)| {
            let target = format!(
                "https://{}/{number:02}",
                root_domain.as_deref().unwrap_or("10.0.0.1")
            );
            // At most one row matches a target; further rows stay unmatched.
            let matched = matched && matched_targets.insert(target.clone());
            Page {
                root_domain,
                target: Some(target).filter(|_| matched || number % 5 > 0),
                backlinks,
                matched,
            }
        };
        rows.into_iter().map(page).collect()
    })
}

fn links() -> impl Strategy<Value = Vec<Links>> {
    let links = prop_oneof![1 => Just(None), 6 => (0..50_i64).prop_map(Some)];
    let row = (
        prop::sample::select(vec!["country", "tld", "type"]),
        "[a-c]?",
        links,
    );
    let row = row.prop_map(|(dimension, key, links)| Links {
        dimension: dimension.to_owned(),
        key,
        links,
    });
    prop::collection::vec(row, 0..60)
}

fn counted_of(pages: &[Page]) -> Counted {
    let counted = pages
        .iter()
        .filter(|page| page.matched && page.target.is_some());
    counted
        .map(|page| {
            (
                (page.root_domain.clone(), page.target.clone().unwrap()),
                page.backlinks,
            )
        })
        .collect()
}

fn shares_of(links: &[Links]) -> Shares {
    let mut found = Shares::new();
    for row in links {
        *found
            .entry((row.dimension.clone(), row.key.clone()))
            .or_default() += row.links.unwrap_or(0);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_two_snapshots_compare_as_all_their_rows_do(
        pages in [a_day(), a_day()], links in [links(), links()], group in 1..40_usize, file in 1..4_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..2 {
            write_snapshot(folder.path(), day(number), &pages[number], &links[number], (group, file));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::open(&folder.path().display().to_string()).unwrap();
            let counted = pages.each_ref().map(|pages| counted_of(pages));
            let shares = links.each_ref().map(|links| shares_of(links));
            let task = async move {
                let ([a, b], [c, d]) = (&counted, &shares);
                check_against_the_oracle(&store, "backlinks", [a, b], [c, d]).await;
            };
            tokio::spawn(task).await.unwrap();
        });
    }
}

/// Pages of a few domains, one of them large: more than one batch of any size.
fn many(number: usize) -> Vec<Page> {
    (0..3000_usize)
        .filter(|n| n % 11 != number)
        .map(|n| {
            let domain = if n < 2000 {
                "big.com".to_owned()
            } else {
                format!("d{:04}.com", n / 7)
            };
            Page {
                target: Some(format!("https://{domain}/{n:05}")),
                root_domain: Some(domain),
                backlinks: Some(
                    ((n * 7919) % 100 + if n % 3 == 0 { number * n % 13 } else { 0 }) as i64,
                ),
                matched: true,
            }
        })
        .collect()
}

#[test]
fn the_result_does_not_depend_on_files_row_groups_and_batches() {
    let results = [
        (3000, 1, "100000"),
        (100, 1, "100000"),
        (100, 3, "50"),
        (7, 90, "1"),
        (1000, 1, "13"),
    ]
    .map(|(group, file, batch)| {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..2 {
            write_snapshot(
                folder.path(),
                day(number),
                &many(number),
                &[],
                (group, file),
            );
        }
        ["gained", "lost", "movers"].map(|what| {
            [("csv", "0"), ("csv", "17"), ("json", "0"), ("table", "0")].map(|(format, limit)| {
                let mut program = program();
                program
                    .env("POLARS_IDEAL_MORSEL_SIZE", batch)
                    .arg("diff")
                    .arg(folder.path());
                program.args(["--what", what, "--format", format, "--limit", limit]);
                let output = program.output().unwrap();
                assert!(output.status.success(), "{}", text(&output.stderr));
                text(&output.stdout)
            })
        })
    });
    let [csv, _, json, table] = &results[0][2];
    assert_eq!(
        (csv.lines().count(), table.lines().count()),
        (json.lines().count() + 1, csv.lines().count())
    );
    assert!(results[0][2][0].lines().count() > 500);
    for result in &results[1..] {
        assert_eq!(result, &results[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_only_one_snapshot_is_not_a_metric() {
    let folder = tempfile::tempdir().unwrap();
    let pages = many(0);
    write_snapshot(folder.path(), day(0), &pages, &[], (500, 2));
    crate::written::write_snapshot_with(folder.path(), day(1), &pages, &[], (500, 2), Some("fame"));
    let store = Store::open(&folder.path().display().to_string()).unwrap();
    let pair = Pair::choose(&store, None, None).await.unwrap();
    let error = pair.pages(&store, "fame", None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(
        !error.hint().contains("fame") && error.hint().contains("backlinks"),
        "{}",
        error.hint()
    );
    let pages = pair.pages(&store, "backlinks", None).await.unwrap();
    let written = folder.path().join("movers.csv");
    let file = std::fs::File::create(&written).unwrap();
    tokio::task::block_in_place(|| {
        let counts = pages.counts().unwrap();
        assert_eq!((counts.gained, counts.lost, counts.changed), (0, 0, 0));
        pages
            .movers()
            .unwrap()
            .write(None, ListFormat::Csv, file)
            .unwrap();
    });
    let header = "root_domain,target,before,after,change,relative_change\n";
    assert_eq!(std::fs::read_to_string(written).unwrap(), header);
}
