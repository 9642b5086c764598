//! What is fetched is the data of today, so only today's snapshot begins by itself.

use backlake::error::{Error, ErrorKind};
use backlake::pipeline::{Begins, Overrides, Pipeline, RunMode, StartMode, plan, run};
use backlake::simulator::Behaviour;
use chrono::{Days, NaiveDate, TimeDelta};

use crate::harness::{Site, date, simulator, surroundings};
use crate::scripted::{pages, published};

/// The pipeline of a site at this time; the name of the provider looks like the real one.
fn pipeline(site: &Site, on: Option<NaiveDate>, clock: &backlake::clock::Clock) -> Pipeline {
    let overrides = Overrides {
        base_url: Some("https://api.example.com".to_owned()),
        snapshot: on,
        ..Overrides::default()
    };
    let text = site.text().replace("snapshot = \"2026-11-23\"\n", "");
    Pipeline::parse("test.toml", &text, overrides, clock).unwrap()
}

fn refused(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("the data of today"), "{error}");
    assert!(error.hint().contains("--backfill"), "{}", error.hint());
}

#[tokio::test(start_paused = true)]
async fn only_today_begins_by_itself_and_an_open_date_is_continued() {
    let site = Site::new(pages(1500));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let env = surroundings(&simulator, &clock);
    for other in [date() - Days::new(1), date() + Days::new(1)] {
        let pipeline = pipeline(&site, Some(other), &clock);
        refused(&run(&pipeline, RunMode::default(), &env).await.unwrap_err());
        assert!(plan(&pipeline, &env).await.is_ok());
    }
    assert_eq!(simulator.requests(), 0);
    assert!(
        !site.lake().join("_runs/2026-11-22").exists(),
        "the refused date looks open"
    );

    // Read before midnight, started after it: the date stays.
    let mut tonight = pipeline(&site, None, &clock);
    tonight.budget.max_cost_usd = Some("0.07".parse().unwrap());
    clock.set_wall(TimeDelta::hours(13));
    let end = run(&tonight, RunMode::default(), &env).await.unwrap();
    assert_eq!(end.error.unwrap().kind(), ErrorKind::Budget);
    // The next day it is open, and continues without a word.
    let continued = pipeline(&site, Some(date()), &clock);
    published(&run(&continued, RunMode::default(), &env).await.unwrap());
    // To replace it is to fetch it again: that is the data of another day.
    let replace = RunMode {
        start: StartMode::Replace,
        ..RunMode::default()
    };
    refused(&run(&continued, replace, &env).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_date_is_begun_late_if_that_is_asked_for() {
    let site = Site::new(pages(10));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let env = surroundings(&simulator, &clock);
    let yesterday = pipeline(&site, Some(date() - Days::new(1)), &clock);
    let mode = RunMode {
        begins: Begins::AnyDate,
        ..RunMode::default()
    };
    let end = run(&yesterday, mode, &env).await.unwrap();
    published(&end);
    assert_eq!(end.report.snapshot, yesterday.snapshot);
}
