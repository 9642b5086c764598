//! The lake contains the truth of the simulator: every value of every row and every breakdown.

use std::collections::BTreeMap;

use arrow::array::AsArray as _;
use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use backlake::contract::{DIMENSIONS, Table};
use backlake::pipeline::RunState;
use backlake::simulator::{Behaviour, CountsByKey, Page};
use backlake::targets::{Rules, canonical};
use chrono::DateTime;

use crate::campaign::reduced_or_full;
use crate::harness::{Site, date, simulator};

/// A list as untidy as real ones: pages and domains, duplicates, invalid lines, a few large domains
/// and many small.
fn list(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| match n % 20 {
            0 => format!("https://big{}.com/page/{n}", n % 3),
            1..=6 => format!("https://big{}.com/page/{n}?q={}", n % 3, n % 7),
            7..=12 => format!("https://www.site{}.co.uk/a/{n}", n % (count / 25 + 1)),
            13..=15 => format!("http://user{}.github.io/post-{n}/", n % (count / 50 + 1)),
            16 => format!("shop{n}.example.net"),
            17 => format!(
                "HTTPS://Site{}.ORG:443/x/../y{n}#frag",
                n % (count / 30 + 1)
            ),
            18 => format!("https://big0.com/page/{}", n.saturating_sub(18) / 20 * 20),
            _ => format!("not a target {n}"),
        })
        .chain((0..count / 60).flat_map(spellings))
        .collect()
}

/// A domain and its home page under both schemes. The simulator writes the url of such a domain as
/// that of a home page without its slash, so the items can be told apart only by elimination.
fn spellings(n: usize) -> [String; 3] {
    let domain = format!("spelled{n}.net");
    [
        format!("http://{domain}/"),
        format!("https://{domain}/"),
        domain,
    ]
}

#[tokio::test(start_paused = true)]
async fn the_lake_contains_the_truth_of_every_row_and_every_breakdown() {
    let count = reduced_or_full(6_000, 200_000);
    let lines = list(count);
    let count = lines.len();
    let site = Site::new(&lines).with("[api]\nrequests_per_minute = 10000");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert!(end.error.is_none(), "{:?}", end.error);
    let report = end.report;
    assert_eq!(report.state, RunState::Published);

    // Fates: the truth follows from the rules and the population.
    let mut truth: BTreeMap<(String, String), Page> = BTreeMap::new();
    let (mut targets, mut invalid, mut absent) = (std::collections::HashSet::new(), 0, 0);
    for line in &lines {
        let Ok(target) = canonical(line, &Rules::default()) else {
            invalid += 1;
            continue;
        };
        if !targets.insert(target.text().to_owned()) {
            continue;
        }
        match simulator
            .population()
            .page(date(), target.text(), target.root_domain())
        {
            Some(page) => drop(truth.insert(
                (target.root_domain().to_owned(), target.text().to_owned()),
                page,
            )),
            None => absent += 1,
        }
    }
    let fates = report.fates;
    assert_eq!(fates.total(), count as u64);
    assert_eq!(
        (fates.returned, fates.absent, fates.invalid),
        (truth.len() as u64, absent, invalid)
    );
    assert_eq!(
        fates.duplicate,
        count as u64 - invalid - targets.len() as u64
    );
    assert_eq!((report.items, report.unmatched), (truth.len() as u64, 0));
    assert!(
        report.requests <= report.lower_bound + (report.lower_bound / 500).max(1),
        "{report:?}"
    );

    // Money: the truth is in the provider's ledger.
    let charged = simulator.ledger().iter().map(|charge| charge.cost).sum();
    assert_eq!(report.cost_usd, charged);

    let pages = site.table(Table::Pages);
    let breakdowns = site.table(Table::Breakdowns);
    assert_eq!(pages.num_rows(), truth.len());
    let mut rows = Rows {
        pages: &pages,
        row: 0,
    };
    for ((root_domain, target), page) in &truth {
        rows.check(target, root_domain, page);
        rows.row += 1;
    }
    let mut row = 0;
    for ((root_domain, target), page) in &truth {
        for (dimension, field) in DIMENSIONS {
            for &(key, links) in counts(page, field).iter().flatten() {
                let text = |name: &str| {
                    breakdowns
                        .column_by_name(name)
                        .unwrap()
                        .as_string::<i32>()
                        .value(row)
                };
                let found = (
                    text("dimension"),
                    text("root_domain"),
                    text("target"),
                    text("key"),
                );
                assert_eq!(
                    found,
                    (dimension, root_domain.as_str(), target.as_str(), key)
                );
                assert_eq!(
                    breakdowns
                        .column_by_name("links")
                        .unwrap()
                        .as_primitive::<Int64Type>()
                        .value(row),
                    links
                );
                row += 1;
            }
        }
    }
    assert_eq!(row, breakdowns.num_rows());
    assert_eq!(site.table(Table::Targets).num_rows(), count);
}

fn counts<'a>(page: &'a Page, field: &str) -> &'a CountsByKey {
    match field {
        "referring_links_tld" => &page.referring_links_tld,
        "referring_links_types" => &page.referring_links_types,
        "referring_links_attributes" => &page.referring_links_attributes,
        "referring_links_platform_types" => &page.referring_links_platform_types,
        "referring_links_semantic_locations" => &page.referring_links_semantic_locations,
        "referring_links_countries" => &page.referring_links_countries,
        other => panic!("no such map: {other}"),
    }
}

/// A row of pages that is checked against the truth.
struct Rows<'a> {
    pages: &'a RecordBatch,
    row: usize,
}

impl Rows<'_> {
    fn text(&self, name: &str) -> &str {
        self.pages
            .column_by_name(name)
            .unwrap()
            .as_string::<i32>()
            .value(self.row)
    }

    fn check(&self, target: &str, root_domain: &str, page: &Page) {
        assert_eq!(
            (self.text("root_domain"), self.text("target")),
            (root_domain, target)
        );
        assert_eq!(self.text("type"), "backlinks_page_summary");
        assert!(
            self.pages
                .column_by_name("matched")
                .unwrap()
                .as_boolean()
                .value(self.row)
        );
        assert!(
            self.pages
                .column_by_name("extra")
                .unwrap()
                .is_null(self.row)
        );
        let numbers = [
            ("rank", page.rank),
            ("main_domain_rank", page.main_domain_rank),
            ("backlinks", page.backlinks),
            ("backlinks_spam_score", page.backlinks_spam_score),
            ("broken_backlinks", page.broken_backlinks),
            ("broken_pages", page.broken_pages),
            ("referring_domains", page.referring_domains),
            (
                "referring_domains_nofollow",
                page.referring_domains_nofollow,
            ),
            ("referring_main_domains", page.referring_main_domains),
            (
                "referring_main_domains_nofollow",
                page.referring_main_domains_nofollow,
            ),
            ("referring_ips", page.referring_ips),
            ("referring_subnets", page.referring_subnets),
            ("referring_pages", page.referring_pages),
            ("referring_pages_nofollow", page.referring_pages_nofollow),
        ];
        for (name, truth) in numbers {
            let column = self
                .pages
                .column_by_name(name)
                .unwrap()
                .as_primitive::<Int64Type>();
            assert!(column.is_valid(self.row), "{target}: {name} is null");
            assert_eq!(column.value(self.row), truth, "{target}: {name}");
        }
        for (name, truth) in [
            ("first_seen", &page.first_seen),
            ("lost_date", &page.lost_date),
        ] {
            let column = self
                .pages
                .column_by_name(name)
                .unwrap()
                .as_primitive::<TimestampMicrosecondType>();
            let found = column.is_valid(self.row).then(|| column.value(self.row));
            let truth = truth.as_ref().map(|text| {
                DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %:z")
                    .unwrap()
                    .timestamp_micros()
            });
            assert_eq!(found, truth, "{target}: {name}");
        }
        for (_, name) in DIMENSIONS {
            let column = self.pages.column_by_name(name).unwrap().as_map();
            let truth = counts(page, name);
            assert_eq!(
                column.is_valid(self.row),
                truth.is_some(),
                "{target}: {name}"
            );
            let entries = column.value(self.row);
            let keys = entries.column(0).as_string::<i32>();
            let values = entries.column(1).as_primitive::<Int64Type>();
            let found: Vec<(&str, i64)> = keys
                .iter()
                .flatten()
                .zip(values.values().iter().copied())
                .collect();
            assert_eq!(
                &found,
                truth.as_deref().unwrap_or_default(),
                "{target}: {name}"
            );
        }
    }
}
