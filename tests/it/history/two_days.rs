//! A lake with two snapshots of slightly different lists, and its rows as an independent reader
//! finds them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use backlake::clock::Clock;
use backlake::contract::Table;
use backlake::pipeline::{RunMode, run};
use backlake::simulator::{Behaviour, Simulator};
use chrono::NaiveDate;

use super::oracle::{Counted, Shares, day};
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

/// The pages in the Parquet files of a day, read by an independent reader.
pub(super) fn counted(lake: &Path, date: NaiveDate, by: &str) -> Counted {
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

pub(super) fn shares(lake: &Path, date: NaiveDate) -> Shares {
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
