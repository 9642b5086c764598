//! What changed between two snapshots is what anyone finds who lays their rows side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::array::RecordBatch;
use arrow::datatypes::Int64Type;
use backlake::clock::Clock;
use backlake::contract::Table;
use backlake::error::ErrorKind;
use backlake::history::{Format, PageChange, Pair, summary};
use backlake::pipeline::run;
use backlake::simulator::{Behaviour, Simulator};
use backlake::store::Store;
use chrono::NaiveDate;
use object_store::ObjectStoreExt as _;
use proptest::prelude::*;

use crate::harness::{Site, program, read_snapshot, surroundings, text};
use crate::written::{Links, Page, write_snapshot};

const DAYS: [&str; 2] = ["2026-11-23", "2026-11-24"];

fn day(number: usize) -> NaiveDate {
    DAYS[number].parse().unwrap()
}

/// The metric of every page that counts, by root domain and target.
type Counted = BTreeMap<(Option<String>, String), Option<i64>>;

/// Links by dimension and key.
type Shares = BTreeMap<(String, String), i64>;

/// What the list of changes must hold, in the order of the keys.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    gained: Vec<PageChange>,
    lost: Vec<PageChange>,
    movers: Vec<PageChange>,
    unchanged: usize,
    unknown: usize,
}

fn page(key: &(Option<String>, String), before: Option<i64>, after: Option<i64>) -> PageChange {
    PageChange {
        root_domain: key.0.clone(),
        target: Some(key.1.clone()),
        before,
        after,
        change: None,
        relative_change: None,
    }
}

/// The oracle: two maps, laid side by side.
fn expected(before: &Counted, after: &Counted) -> Expected {
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

/// The rows that are the greatest, with ties in the order of the keys.
fn greatest(
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

/// Compares the snapshots of a lake in every way, and holds what is found to the oracle.
async fn hold_to_the_oracle(
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
            assert_eq!(list.greatest(top).unwrap(), greatest(expected, order, 3));
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
        // What was there, plus what came, minus what went, is what is there.
        let of = |pages: &[PageChange], value: fn(&PageChange) -> Option<i64>| {
            pages.iter().filter_map(value).sum::<i64>()
        };
        if expected.unknown == 0 {
            let came =
                of(&expected.gained, |page| page.after) + of(&expected.movers, |page| page.change);
            assert_eq!(
                total.before + came - of(&expected.lost, |page| page.before),
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

/// A lake in which the simulator answered two lists on two days.
async fn two_days() -> Site {
    let line = |n: usize| match n % 3 {
        0 => format!("d{n}.com"),
        1 => format!("https://big.org/{n}"),
        _ => format!("https://e{}.net/{n}", n % 40),
    };
    let site = Site::new((0..900).map(line));
    for number in 0..2 {
        let list: String = (0..900)
            .filter(|n| n % 50 != 7 + number)
            .map(|n| {
                line(if number == 1 && n % 20 == 1 {
                    n + 1200
                } else {
                    n
                }) + "\n"
            })
            .collect();
        site.write("targets.txt", list);
        run_on(&site, number).await;
    }
    site
}

async fn run_on(site: &Site, number: usize) {
    let clock = Clock::simulated(day(number).and_hms_opt(12, 0, 0).unwrap().and_utc());
    let behaviour = Behaviour {
        date: Some(day(number)),
        ..Behaviour::default()
    };
    let simulator = Arc::new(Simulator::new(behaviour, &clock));
    let pipeline = site.pipeline_of(day(number), &simulator.url());
    let end = run(
        &pipeline,
        Default::default(),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    assert!(end.error.is_none(), "{:?}", end.error);
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Vec<Option<&'a str>> {
    batch
        .column_by_name(name)
        .unwrap()
        .as_string::<i32>()
        .iter()
        .collect()
}

fn numbers(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    batch
        .column_by_name(name)
        .unwrap()
        .as_primitive::<Int64Type>()
        .iter()
        .collect()
}

/// What the Parquet files of a day hold, read by another program's reader.
fn counted(lake: &Path, date: NaiveDate, by: &str) -> Counted {
    let pages = read_snapshot(lake, Table::Pages, date);
    let matched = pages.column_by_name("matched").unwrap().as_boolean();
    let (domains, targets, values) = (
        texts(&pages, "root_domain"),
        texts(&pages, "target"),
        numbers(&pages, by),
    );
    let rows = (0..pages.num_rows()).filter(|&row| matched.value(row) && targets[row].is_some());
    rows.map(|row| {
        (
            (
                domains[row].map(str::to_owned),
                targets[row].unwrap().to_owned(),
            ),
            values[row],
        )
    })
    .collect()
}

fn shares(lake: &Path, date: NaiveDate) -> Shares {
    let rows = read_snapshot(lake, Table::Breakdowns, date);
    let (dimensions, keys, links) = (
        texts(&rows, "dimension"),
        texts(&rows, "key"),
        numbers(&rows, "links"),
    );
    let mut found = Shares::new();
    for row in 0..rows.num_rows() {
        let key = (
            dimensions[row].unwrap().to_owned(),
            keys[row].unwrap().to_owned(),
        );
        *found.entry(key).or_default() += links[row].unwrap_or(0);
    }
    found
}

fn diff(lake: &Path, args: &[&str]) -> Output {
    program().arg("diff").arg(lake).args(args).output().unwrap()
}

fn out(lake: &Path, args: &[&str]) -> String {
    let output = diff(lake, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_days_of_a_list_compare_as_their_rows_say() {
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
        hold_to_the_oracle(&store, by, [&pages[0], &pages[1]], [&links[0], &links[1]]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_in_an_object_store_compares_as_one_on_a_disk() {
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
    hold_to_the_oracle(
        &store,
        "backlinks",
        [&pages[0], &pages[1]],
        [&links[0], &links[1]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_forms_hold_the_same_rows() {
    let site = two_days().await;
    let lake = site.lake();
    let [before, after] = [0, 1].map(|number| counted(&lake, day(number), "backlinks"));
    let expected = expected(&before, &after);
    let json: Vec<PageChange> = out(&lake, &["--what", "movers", "--output", "json"])
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| row[name].as_str().map(str::to_owned);
            PageChange {
                root_domain: text("root_domain"),
                target: text("target"),
                before: row["before"].as_i64(),
                after: row["after"].as_i64(),
                change: row["change"].as_i64(),
                relative_change: row["relative_change"].as_f64(),
            }
        })
        .collect();
    assert_eq!(json.len(), expected.movers.len());
    for (row, expected) in json.iter().zip(&expected.movers) {
        // JSON's reader may be off by the last bit.
        let ratio = expected.relative_change.unwrap();
        assert!(
            (row.relative_change.unwrap() - ratio).abs() < 1e-12,
            "{row:?}"
        );
        assert_eq!(
            &PageChange {
                relative_change: Some(ratio),
                ..row.clone()
            },
            expected
        );
    }
    let csv = out(&lake, &["--what", "lost", "--format", "csv"]);
    let lost = expected.lost.iter().map(|page| {
        let number = page
            .before
            .map_or_else(String::new, |number| number.to_string());
        format!(
            "{},{},{number}\n",
            page.root_domain.as_ref().unwrap(),
            page.target.as_ref().unwrap()
        )
    });
    assert_eq!(
        csv,
        "root_domain,target,before\n".to_owned() + &lost.collect::<String>()
    );
    let file = site.folder.path().join("gained.parquet");
    let path = file.display().to_string();
    assert_eq!(
        out(
            &lake,
            &["--what", "gained", "--format", "parquet", "--out", &path]
        ),
        ""
    );
    let reader = std::fs::File::open(&file).unwrap();
    let builder =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(reader).unwrap();
    let rows: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let gained: Vec<_> = rows
        .iter()
        .flat_map(|rows| numbers(rows, "after"))
        .collect();
    assert_eq!(
        gained,
        expected
            .gained
            .iter()
            .map(|page| page.after)
            .collect::<Vec<_>>()
    );
    let table = out(&lake, &["--what", "movers", "--limit", "0"]);
    assert_eq!(table.lines().count(), 1 + expected.movers.len());
    assert_eq!(out(&lake, &["--what", "movers"]).lines().count(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_root_domain_is_compared_on_its_own() {
    let site = two_days().await;
    let lake = site.lake();
    let [before, after] = [0, 1].map(|number| {
        let mut pages = counted(&lake, day(number), "backlinks");
        pages.retain(|(domain, _), _| domain.as_deref() == Some("big.org"));
        pages
    });
    let expected = expected(&before, &after);
    let json: serde_json::Value = serde_json::from_str(&out(
        &lake,
        &["--root-domain", "big.org", "--output", "json"],
    ))
    .unwrap();
    assert_eq!(json["pages"]["gained"], expected.gained.len());
    assert_eq!(json["pages"]["lost"], expected.lost.len());
    assert_eq!(json["pages"]["changed"], expected.movers.len());
    assert_eq!(json["pages"]["before"], before.len());
    for page in json["movers"].as_array().unwrap() {
        assert_eq!(page["root_domain"], "big.org");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_tells_people_what_matters() {
    let site = two_days().await;
    let told = out(&site.lake(), &["--by", "referring_domains"]);
    for words in [
        "from 2026-11-23 to 2026-11-24",
        "pages before",
        "gained",
        "moved most in referring_domains",
        "breakdowns that shifted most",
        "main_domain_rank",
    ] {
        assert!(told.contains(words), "{words} is not in: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_no_failure() {
    let site = two_days().await;
    for format in ["table", "csv", "json"] {
        let mut child = program()
            .arg("diff")
            .arg(site.lake())
            .args(["--what", "movers", "--limit", "0", "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{format}: {}",
            text(&output.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_is_refused_with_a_hint() {
    let site = two_days().await;
    let lake = site.lake();
    for (args, message, hint) in [
        (
            &["--from", "2026-11-01"][..],
            "2026-11-01 is not published",
            "backlake snapshots",
        ),
        (
            &["--to", "2026-11-23"],
            "no snapshot before 2026-11-23",
            "backlake snapshots",
        ),
        (
            &["--from", "2026-11-24"],
            "2026-11-24 cannot be compared with itself",
            "two dates",
        ),
        (
            &["--by", "fame"],
            "fame is no metric",
            "one of rank, main_domain_rank, backlinks",
        ),
        (&["--by", "target"], "target is no metric", "one of rank"),
        (
            &["--format", "csv"],
            "a summary is several tables",
            "--what",
        ),
        (&["--limit", "0"], "not for the summary", "--what"),
        (
            &["--what", "lost", "--format", "parquet"],
            "goes to a file only",
            "--out",
        ),
        (
            &[
                "--what",
                "lost",
                "--format",
                "csv",
                "--out",
                "no/such/folder/x.csv",
            ],
            "failed to write no/such/folder/x.csv",
            "",
        ),
    ] {
        let output = diff(&lake, args);
        let told = text(&output.stderr);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(2), String::new()),
            "{args:?}: {told}"
        );
        assert!(
            told.contains(message) && told.contains(hint),
            "{args:?}: {told}"
        );
    }
    let path = lake.join("_snapshots/2026-11-23.json");
    let manifest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, manifest.replace("one_thousand", "one_hundred")).unwrap();
    let output = diff(&lake, &["--output", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = told["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("rank_scale is OneHundred there and OneThousand here"),
        "{message}"
    );
    std::fs::remove_file(path).unwrap();
    assert!(text(&diff(&lake, &[]).stderr).contains("no snapshot before 2026-11-24 is published"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_as_the_manifest_says_is_not_compared() {
    let site = two_days().await;
    let file = crate::harness::files(&site.lake(), Table::Pages).remove(0);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 10]).unwrap();
    let output = diff(&site.lake(), &[]);
    let told = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(ErrorKind::Unexpected.exit_code().into())
    );
    assert!(
        told.contains("the manifest says") && told.contains("backlake verify"),
        "{told}"
    );
}

/// Rows of a day: few domains and pages, so that the days meet in many; some rows answer no line.
fn a_day() -> impl Strategy<Value = Vec<Page>> {
    let domain = prop_oneof![
        Just(None),
        (0..5_u8).prop_map(|n| Some(format!("d{n}.com")))
    ];
    let metric = prop_oneof![1 => Just(None), 6 => (0..6_i64).prop_map(Some)];
    let row = (domain, 0..30_u8, metric, prop::bool::weighted(0.9));
    prop::collection::vec(row, 0..120).prop_map(|rows| {
        let mut answered = BTreeSet::new();
        let page = |(root_domain, number, backlinks, matched): (Option<String>, u8, _, bool)| {
            let target = format!(
                "https://{}/{number:02}",
                root_domain.as_deref().unwrap_or("10.0.0.1")
            );
            // A target is answered by one row at the most; a further one stays unmatched.
            let matched = matched && answered.insert(target.clone());
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
    let asked = pages
        .iter()
        .filter(|page| page.matched && page.target.is_some());
    asked
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
    fn any_two_snapshots_compare_as_their_rows_say(
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
                hold_to_the_oracle(&store, "backlinks", [a, b], [c, d]).await;
            };
            tokio::spawn(task).await.unwrap();
        });
    }
}

/// Pages of a few domains, one of them large, more than fit into one batch however it is cut.
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
fn however_rows_are_cut_into_files_groups_and_batches_the_answer_is_the_same() {
    let answers = [
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
    let [csv, _, json, table] = &answers[0][2];
    assert_eq!(
        (csv.lines().count(), table.lines().count()),
        (json.lines().count() + 1, csv.lines().count())
    );
    assert!(answers[0][2][0].lines().count() > 500);
    for answer in &answers[1..] {
        assert_eq!(answer, &answers[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_only_one_snapshot_has_is_left_out() {
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
            .write(None, Format::Csv, file)
            .unwrap();
    });
    let header = "root_domain,target,before,after,change,relative_change\n";
    assert_eq!(std::fs::read_to_string(written).unwrap(), header);
}
