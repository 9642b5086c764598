//! A comparison finds exactly the changes that a comparison of all rows finds.

use std::collections::BTreeSet;
use std::sync::Arc;

use backlake::error::ErrorKind;
use backlake::fate::Fate;
use backlake::history::{ListFormat, Pair};
use backlake::store::Store;
use object_store::ObjectStoreExt as _;
use proptest::prelude::*;

use super::oracle::{Day, Key, check_against_the_oracle, day, expected};
use super::two_days::{read_day, two_days};
use crate::harness::{program, text};
use crate::written::{Links, Page, Pageless, Rows, write_snapshot};

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_equals_that_of_all_rows() {
    let site = two_days().await;
    let lake = site.lake();
    let store = Store::open(&lake.display().to_string()).unwrap();
    for by in ["backlinks", "referring_domains", "rank"] {
        let days = [0, 1].map(|number| read_day(&lake, day(number), by));
        let found = expected([&days[0], &days[1]]);
        for (pages, least) in [
            (&found.added, 20),
            (&found.removed, 20),
            (&found.movers, if by == "rank" { 1 } else { 20 }),
        ] {
            assert!(pages.len() >= least, "the days do not differ in {by}");
        }
        check_against_the_oracle(&store, by, [&days[0], &days[1]]).await;
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
    let days = [0, 1].map(|number| read_day(&lake, day(number), "backlinks"));
    check_against_the_oracle(&store, "backlinks", [&days[0], &days[1]]).await;
}

/// The rows of a day.
#[derive(Debug, Clone)]
struct Written {
    pages: Vec<Page>,
    pageless: Vec<Pageless>,
    links: Vec<Links>,
}

fn key() -> impl Strategy<Value = Key> {
    let domain = prop_oneof![
        Just(None),
        (0..5_u8).prop_map(|n| Some(format!("d{n}.com")))
    ];
    (domain, 0..30_u8).prop_map(|(domain, number)| {
        let host = domain.as_deref().unwrap_or("10.0.0.1");
        let target = format!("https://{host}/{number:02}");
        (domain, target)
    })
}

/// Rows of a day: few domains and pages, so that the days have many in common; some rows are
/// unmatched.
fn a_day() -> impl Strategy<Value = Written> {
    let metric = prop_oneof![1 => Just(None), 6 => (0..6_i64).prop_map(Some)];
    let fate = prop_oneof![
        12 => Just(Some(Fate::Returned)),
        2 => Just(Some(Fate::Absent)),
        1 => Just(Some(Fate::Failed)),
        1 => Just(Some(Fate::Refused)),
        1 => Just(Some(Fate::Unsent)),
        2 => Just(None),
    ];
    let rows = prop::collection::vec((key(), metric, fate, prop::bool::weighted(0.5)), 0..120);
    (rows, prop::collection::vec(links(), 0..120)).prop_map(|(rows, links)| {
        let (mut pages, mut pageless) = (Vec::<Page>::new(), Vec::new());
        let mut listed = BTreeSet::new();
        for ((root_domain, target), backlinks, fate, has_target) in rows {
            // A target has one fate, and at most one row matches it; further rows are unmatched.
            let fate = fate.filter(|_| listed.insert(target.clone()));
            match fate {
                Some(Fate::Returned) | None => {
                    let matched = fate.is_some();
                    pages.push(Page {
                        root_domain,
                        target: Some(target).filter(|_| matched || has_target),
                        backlinks,
                        matched,
                    });
                }
                Some(fate) => pageless.push(Pageless {
                    root_domain,
                    target,
                    fate,
                }),
            }
        }
        // Each row of breakdowns is from a page, matched or not.
        let from_page = |row: &Links| {
            let target = Some(&row.target);
            pages.iter().any(|page| page.target.as_ref() == target)
        };
        let links = links.into_iter().filter(from_page).collect();
        Written {
            pages,
            pageless,
            links,
        }
    })
}

fn links() -> impl Strategy<Value = Links> {
    let links = prop_oneof![1 => Just(None), 6 => (0..50_i64).prop_map(Some)];
    let dimension = prop::sample::select(vec!["country", "tld", "type"]);
    (key(), dimension, "[a-c]?", links).prop_map(
        |((root_domain, target), dimension, key, links)| Links {
            root_domain,
            target,
            dimension: dimension.to_owned(),
            key,
            links,
        },
    )
}

fn day_of(written: &Written) -> Day {
    let mut day = Day::default();
    for page in written.pages.iter().filter(|page| page.matched) {
        let key = (page.root_domain.clone(), page.target.clone().unwrap());
        day.fates.insert(key.clone(), Fate::Returned);
        day.pages.insert(key, page.backlinks);
    }
    for row in &written.pageless {
        let key = (row.root_domain.clone(), row.target.clone());
        day.fates.insert(key, row.fate);
    }
    day.links = written
        .links
        .iter()
        .map(|row| {
            let page = (row.root_domain.clone(), row.target.clone());
            let key = (row.dimension.clone(), row.key.clone());
            (page, key, row.links.unwrap_or(0))
        })
        .collect();
    day
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_two_snapshots_compare_as_all_their_rows_do(
        written in [a_day(), a_day()], group in 1..40_usize, file in 1..4_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        for (number, written) in written.iter().enumerate() {
            let rows = Rows {
                pages: &written.pages,
                pageless: &written.pageless,
                links: &written.links,
                ..Rows::default()
            };
            write_snapshot(folder.path(), day(number), &rows, (group, file));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::open(&folder.path().display().to_string()).unwrap();
            let days = written.each_ref().map(day_of);
            let task = async move {
                check_against_the_oracle(&store, "backlinks", [&days[0], &days[1]]).await;
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
                    ((n * 7919) % 100
                        + if n % 3 == 0 {
                            number.wrapping_mul(n) % 13
                        } else {
                            0
                        }) as i64,
                ),
                matched: true,
            }
        })
        .collect()
}

/// Half of the targets without a page failed, the others are not in the list.
fn failed(number: usize) -> Vec<Pageless> {
    let all = many(usize::MAX).into_iter().enumerate();
    let failed = all.filter(|(n, _)| n % 11 == number && n % 2 == 0);
    failed
        .map(|(_, page)| Pageless {
            root_domain: page.root_domain,
            target: page.target.unwrap(),
            fate: Fate::Failed,
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
            let (pages, pageless) = (many(number), failed(number));
            let rows = Rows {
                pages: &pages,
                pageless: &pageless,
                ..Rows::default()
            };
            write_snapshot(folder.path(), day(number), &rows, (group, file));
        }
        ["added", "unanswered", "removed", "movers"].map(|what| {
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
    let [csv, _, json, table] = &results[0][3];
    assert_eq!(
        (csv.lines().count(), table.lines().count()),
        (json.lines().count() + 1, csv.lines().count())
    );
    for list in &results[0] {
        assert!(list[0].lines().count() > 100);
    }
    for result in &results[1..] {
        assert_eq!(result, &results[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_only_one_snapshot_is_not_a_metric() {
    let folder = tempfile::tempdir().unwrap();
    let pages = many(0);
    let rows = Rows {
        pages: &pages,
        ..Rows::default()
    };
    write_snapshot(folder.path(), day(0), &rows, (500, 2));
    let more = Rows {
        more: Some("fame"),
        ..rows
    };
    write_snapshot(folder.path(), day(1), &more, (500, 2));
    let store = Store::open(&folder.path().display().to_string()).unwrap();
    let pair = Pair::choose(&store, None, None, None).await.unwrap();
    let error = pair.pages(&store, "fame").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(
        !error.hint().contains("fame") && error.hint().contains("backlinks"),
        "{}",
        error.hint()
    );
    let pages = pair.pages(&store, "backlinks").await.unwrap();
    let written = folder.path().join("movers.csv");
    let file = std::fs::File::create(&written).unwrap();
    tokio::task::block_in_place(|| {
        pages
            .movers()
            .unwrap()
            .write(None, ListFormat::Csv, file)
            .unwrap();
    });
    let header = "root_domain,target,before,after,change,relative_change\n";
    assert_eq!(std::fs::read_to_string(written).unwrap(), header);
}
