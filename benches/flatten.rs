//! Speed of flattening on one core, compared with serde structs and arrow-json in the same run:
//! `cargo bench --bench flatten [-- --check]`.
//!
//! The rounds of all routes alternate, so that a change of the machine's speed affects each alike.
//! Required for pages alone: 1.2 times typed structs and 3 times arrow-json.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints, and ends where it fails"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::builder::{
    Int64Builder, MapBuilder, MapFieldNames, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use backlake::contract::Table;
use backlake::flatten::{Requested, breakdowns, flatten};
use backlake::simulator::Population;
use backlake::targets::{Rules, Target, TargetId, TargetKind};
use chrono::{DateTime, NaiveDate};
use serde::Deserialize;
use serde_json::json;

/// Flattens the response with this number.
type Route<'a> = Box<dyn Fn(usize) + 'a>;

const RESPONSES: usize = 24;
const ROUNDS: usize = 15;

fn main() {
    let responses: Vec<(Vec<String>, Vec<u8>)> = (0..RESPONSES).map(response).collect();
    let rules = Rules::default();
    let asked: Vec<Vec<Target<'_>>> = responses
        .iter()
        .map(|(targets, _)| {
            let target = |(id, text): (usize, &'static str)| text_target(id, text);
            targets
                .iter()
                .map(|text| &*Box::leak(text.clone().into_boxed_str()))
                .enumerate()
                .map(target)
                .collect()
        })
        .collect();
    let pages = |at: usize| {
        let contract = Table::Pages.contract();
        let requested = Requested {
            contract,
            targets: &asked[at],
            rules: &rules,
            request_id: Some("bench"),
            fetched_at: 0,
        };
        flatten(&responses[at].1, &requested)
            .expect("a response")
            .pages
    };
    let schema = item_schema();
    let mut routes: Vec<(&str, Route<'_>)> = vec![
        (
            "backlake, pages (matching included)",
            Box::new(|at| drop(black_box(pages(at)))),
        ),
        (
            "typed structs into builders",
            Box::new(|at| drop(black_box(typed(&responses[at].1, &schema)))),
        ),
        (
            "arrow-json",
            Box::new(|at| drop(black_box(arrow_json(&responses[at].1, &schema)))),
        ),
        (
            "backlake, pages and breakdowns",
            Box::new(|at| {
                drop(black_box(breakdowns(&pages(at)).expect("breakdowns")));
            }),
        ),
    ];
    assert_eq!(
        typed(&responses[0].1, &schema).num_rows(),
        pages(0).num_rows()
    );
    assert_eq!(
        arrow_json(&responses[0].1, &schema).num_rows(),
        pages(0).num_rows()
    );

    let bytes: usize = responses.iter().map(|(_, body)| body.len()).sum();
    race(&mut routes, bytes);
}

/// Times the routes in turns and prints the medians; with `--check`, requires the ratios.
fn race(routes: &mut [(&str, Route<'_>)], bytes: usize) {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); routes.len()];
    for _ in 0..ROUNDS {
        for (route, times) in routes.iter_mut().zip(&mut times) {
            let start = Instant::now();
            (0..RESPONSES).for_each(|at| (route.1)(at));
            times.push(start.elapsed());
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let medians: Vec<f64> = times.iter_mut().map(median).collect();
    println!(
        "{RESPONSES} responses of 1000 targets, {:.1} MB of JSON, median of {ROUNDS} rounds, one core",
        bytes as f64 / 1e6
    );
    for ((name, _), seconds) in routes.iter().zip(&medians) {
        println!(
            "  {name:<38} {:>6.0} MB/s  {:>5.2} x backlake's time",
            bytes as f64 / seconds / 1e6,
            seconds / medians[0]
        );
    }
    let (structs, json) = (medians[1] / medians[0], medians[2] / medians[0]);
    println!(
        "pages alone: {structs:.2} times the typed structs (required 1.2), {json:.2} times arrow-json (required 3)"
    );
    if std::env::args().any(|arg| arg == "--check") {
        assert!(
            structs >= 1.2 && json >= 3.0,
            "flatten is slower than required"
        );
    }
}

fn text_target(id: usize, text: &'static str) -> Target<'static> {
    Target {
        id: TargetId(id as u32),
        text: text.into(),
        kind: TargetKind::Page,
        root_domain: "example.com",
    }
}

/// A response as the provider writes it, and the targets that were asked.
fn response(number: usize) -> (Vec<String>, Vec<u8>) {
    let date = NaiveDate::from_ymd_opt(2026, 11, 23).expect("a date");
    let targets: Vec<String> = (0..1000)
        .map(|n| format!("https://www.example.com/blog/{number}/post-number-{n}"))
        .collect();
    let population = Population::new(1);
    let items: Vec<String> = targets
        .iter()
        .filter_map(|target| {
            let page = population.page(date, target, "example.com")?;
            let page = serde_json::to_string(&page).expect("a page");
            Some(format!(
                r#"{{"type":"backlinks_page_summary","url":"{target}",{}"#,
                &page[1..]
            ))
        })
        .collect();
    let body = format!(
        r#"{{"version":"0.1","status_code":20000,"status_message":"Ok.","time":"0.1 sec.","cost":0.06,"tasks_count":1,"tasks_error":0,"tasks":[{{"id":"bench","status_code":20000,"status_message":"Ok.","time":"0.1 sec.","cost":0.06,"result_count":1,"path":["v3","backlinks","bulk_pages_summary","live"],"data":{},"result":[{{"total_count":{count},"items_count":{count},"items":[{}]}}]}}]}}"#,
        json!({"api": "backlinks", "function": "bulk_pages_summary", "targets": targets}),
        items.join(","),
        count = items.len(),
    );
    (targets, body.into_bytes())
}

/// The columns that an item fills.
fn item_schema() -> SchemaRef {
    let contract = Table::Pages.contract();
    let schema = contract.schema();
    let fields = contract
        .columns
        .iter()
        .zip(schema.fields())
        .filter(|(column, _)| column.item.is_some());
    Arc::new(Schema::new(
        fields
            .map(|(_, field)| Arc::clone(field))
            .collect::<Vec<_>>(),
    ))
}

#[derive(Deserialize)]
struct Response {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    result: Option<Vec<TaskResult>>,
}

#[derive(Deserialize)]
struct TaskResult {
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    r#type: Option<String>,
    url: Option<String>,
    rank: Option<i64>,
    main_domain_rank: Option<i64>,
    backlinks: Option<i64>,
    first_seen: Option<String>,
    lost_date: Option<String>,
    backlinks_spam_score: Option<i64>,
    broken_backlinks: Option<i64>,
    broken_pages: Option<i64>,
    referring_domains: Option<i64>,
    referring_domains_nofollow: Option<i64>,
    referring_main_domains: Option<i64>,
    referring_main_domains_nofollow: Option<i64>,
    referring_ips: Option<i64>,
    referring_subnets: Option<i64>,
    referring_pages: Option<i64>,
    referring_pages_nofollow: Option<i64>,
    referring_links_tld: Option<Counts>,
    referring_links_types: Option<Counts>,
    referring_links_attributes: Option<Counts>,
    referring_links_platform_types: Option<Counts>,
    referring_links_semantic_locations: Option<Counts>,
    referring_links_countries: Option<Counts>,
}

/// A map that keeps the order of its keys, as the contract requires.
struct Counts(Vec<(String, Option<i64>)>);

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Counts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Counts, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Counts(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn typed(body: &[u8], schema: &SchemaRef) -> RecordBatch {
    let response: Response = sonic_rs::from_slice(body).expect("a response");
    let mut tasks = response.tasks.into_iter();
    let results = tasks.next().and_then(|task| task.result).expect("a result");
    let items = results
        .into_iter()
        .next()
        .and_then(|result| result.items)
        .expect("items");
    let text = |value: fn(&Item) -> Option<&str>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        items
            .iter()
            .for_each(|item| builder.append_option(value(item)));
        Arc::new(builder.finish())
    };
    let count = |value: fn(&Item) -> Option<i64>| -> ArrayRef {
        let mut builder = Int64Builder::with_capacity(items.len());
        items
            .iter()
            .for_each(|item| builder.append_option(value(item)));
        Arc::new(builder.finish())
    };
    let time = |value: fn(&Item) -> Option<&str>| -> ArrayRef {
        let mut builder = TimestampMicrosecondBuilder::with_capacity(items.len());
        for item in &items {
            let parsed = value(item)
                .and_then(|text| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %:z").ok());
            builder.append_option(parsed.map(|time| time.timestamp_micros()));
        }
        Arc::new(builder.finish().with_timezone("UTC"))
    };
    let counts = |value: fn(&Item) -> Option<&Counts>| -> ArrayRef {
        let names = MapFieldNames {
            entry: "key_value".into(),
            key: "key".into(),
            value: "value".into(),
        };
        let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), Int64Builder::new());
        for item in &items {
            let map = value(item);
            for (key, count) in map.into_iter().flat_map(|map| &map.0) {
                builder.keys().append_value(key);
                builder.values().append_option(*count);
            }
            builder.append(map.is_some()).expect("a map");
        }
        Arc::new(builder.finish())
    };
    let columns = vec![
        text(|item| item.r#type.as_deref()),
        text(|item| item.url.as_deref()),
        count(|item| item.rank),
        count(|item| item.main_domain_rank),
        count(|item| item.backlinks),
        time(|item| item.first_seen.as_deref()),
        time(|item| item.lost_date.as_deref()),
        count(|item| item.backlinks_spam_score),
        count(|item| item.broken_backlinks),
        count(|item| item.broken_pages),
        count(|item| item.referring_domains),
        count(|item| item.referring_domains_nofollow),
        count(|item| item.referring_main_domains),
        count(|item| item.referring_main_domains_nofollow),
        count(|item| item.referring_ips),
        count(|item| item.referring_subnets),
        count(|item| item.referring_pages),
        count(|item| item.referring_pages_nofollow),
        counts(|item| item.referring_links_tld.as_ref()),
        counts(|item| item.referring_links_types.as_ref()),
        counts(|item| item.referring_links_attributes.as_ref()),
        counts(|item| item.referring_links_platform_types.as_ref()),
        counts(|item| item.referring_links_semantic_locations.as_ref()),
        counts(|item| item.referring_links_countries.as_ref()),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns).expect("a batch")
}

/// arrow-json reads a sequence of objects, so the items are cut out of the envelope first.
fn arrow_json(body: &[u8], schema: &SchemaRef) -> RecordBatch {
    let items =
        sonic_rs::get(body, sonic_rs::pointer!["tasks", 0, "result", 0, "items"]).expect("items");
    // It parses offsets but not names of time zones.
    let utc = |field: &arrow::datatypes::FieldRef| match field.data_type() {
        DataType::Timestamp(unit, _) => Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(DataType::Timestamp(*unit, Some("+00:00".into()))),
        ),
        _ => Arc::clone(field),
    };
    let schema = Arc::new(Schema::new(
        schema.fields().iter().map(utc).collect::<Vec<_>>(),
    ));
    let builder = arrow_json::ReaderBuilder::new(schema).with_batch_size(2048);
    let mut decoder = builder.build_decoder().expect("a decoder");
    for item in sonic_rs::to_array_iter(items.as_raw_str()) {
        decoder
            .decode(item.expect("an item").as_raw_str().as_bytes())
            .expect("an item");
    }
    decoder.flush().expect("a batch").expect("rows")
}
