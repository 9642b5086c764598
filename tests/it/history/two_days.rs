//! A lake with two snapshots of slightly different lists, and its rows as an independent reader
//! finds them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use backlake::clock::Clock;
use backlake::contract::Table;
use backlake::fate::Fate;
use backlake::pipeline::{RunMode, run};
use backlake::simulator::{Behaviour, Simulator};
use chrono::NaiveDate;

use super::oracle::{Day, Key, day};
use crate::harness::{Site, read_snapshot, surroundings};

/// A lake with two snapshots of slightly different lists, from the simulator.
pub(super) async fn two_days() -> Site {
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

pub(super) async fn run_on(site: &Site, number: usize) {
    let clock = Clock::simulated(day(number).and_hms_opt(12, 0, 0).unwrap().and_utc());
    let behaviour = Behaviour {
        date: Some(day(number)),
        ..Behaviour::default()
    };
    let simulator = Arc::new(Simulator::new(behaviour, &clock));
    let pipeline = site.pipeline_of(day(number), &simulator.url());
    let end = run(
        &pipeline,
        RunMode::default(),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    assert!(end.error.is_none(), "{:?}", end.error);
}

pub(super) fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Vec<Option<&'a str>> {
    batch
        .column_by_name(name)
        .unwrap()
        .as_string::<i32>()
        .iter()
        .collect()
}

pub(super) fn numbers(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    batch
        .column_by_name(name)
        .unwrap()
        .as_primitive::<Int64Type>()
        .iter()
        .collect()
}

/// A day in the Parquet files, read by an independent reader.
pub(super) fn read_day(lake: &Path, date: NaiveDate, by: &str) -> Day {
    let mut day = Day::default();
    let pages = read_snapshot(lake, Table::Pages, date);
    let matched = pages.column_by_name("matched").unwrap().as_boolean();
    let values = numbers(&pages, by);
    for (row, key) in keys(&pages).into_iter().enumerate() {
        if let Some(key) = key.filter(|_| matched.value(row)) {
            day.pages.insert(key, values[row]);
        }
    }
    let lines = read_snapshot(lake, Table::Targets, date);
    for (key, fate) in keys(&lines).into_iter().zip(texts(&lines, "fate")) {
        let fate = Fate::ALL
            .into_iter()
            .find(|other| Some(other.name()) == fate);
        let listed = fate.filter(|fate| !matches!(fate, Fate::Duplicate | Fate::Invalid));
        if let Some(fate) = listed {
            day.fates.insert(key.unwrap(), fate);
        }
    }
    let rows = read_snapshot(lake, Table::Breakdowns, date);
    let (dimensions, names, links) = (
        texts(&rows, "dimension"),
        texts(&rows, "key"),
        numbers(&rows, "links"),
    );
    for (row, page) in keys(&rows).into_iter().enumerate() {
        let key = (
            dimensions[row].unwrap().to_owned(),
            names[row].unwrap().to_owned(),
        );
        day.links
            .push((page.unwrap(), key, links[row].unwrap_or(0)));
    }
    day
}

/// The key of each row; `None` without a target.
fn keys(batch: &RecordBatch) -> Vec<Option<Key>> {
    let domains = texts(batch, "root_domain").into_iter();
    let targets = texts(batch, "target");
    domains
        .zip(targets)
        .map(|(domain, target)| Some((domain.map(str::to_owned), target?.to_owned())))
        .collect()
}
