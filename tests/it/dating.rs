//! What is fetched is the data of today, so only today's snapshot begins by itself.

use backlake::error::{Error, ErrorKind};
use backlake::pipeline::{
    Begins, Overrides, Pipeline, RunMode, StartMode, open_yesterday, plan, run,
};
use backlake::simulator::Behaviour;
use chrono::{Days, NaiveDate, TimeDelta};

use crate::harness::{Site, date, program, simulator, surroundings, text};
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

#[tokio::test(start_paused = true)]
async fn yesterday_is_continued_first_only_if_the_pipeline_says_so_and_it_is_open() {
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let env = surroundings(&simulator, &clock);
    for (lines, first) in [("", false), ("[run]\ncontinue_open = \"first\"", true)] {
        let site = Site::new(pages(1500)).with(lines);
        let yesterday = date() - Days::new(1);
        let mut started = pipeline(&site, Some(yesterday), &clock);
        started.budget.max_cost_usd = Some("0.07".parse().unwrap());
        let mode = RunMode {
            begins: Begins::AnyDate,
            ..RunMode::default()
        };
        run(&started, mode, &env).await.unwrap();
        let tonight = pipeline(&site, None, &clock);
        let found = open_yesterday(&tonight, &env).await.unwrap();
        assert_eq!(
            found.as_ref().map(|found| found.snapshot),
            first.then_some(yesterday)
        );
        // It is reported either way.
        let end = run(&tonight, RunMode::default(), &env).await.unwrap();
        published(&end);
        assert_eq!(end.report.also_open, [yesterday]);
        // Another date was asked for.
        assert!(open_yesterday(&started, &env).await.unwrap().is_none());
        if let Some(found) = found {
            published(&run(&found, RunMode::default(), &env).await.unwrap());
            assert!(open_yesterday(&tonight, &env).await.unwrap().is_none());
        }
    }
}

/// The program takes today from the machine, so yesterday's snapshot is started by its date.
#[test]
fn the_program_prints_both_reports_and_exits_with_the_error_of_either() {
    let clock = backlake::clock::Clock::system();
    let site = Site::new(pages(1500)).with("[run]\ncontinue_open = \"first\"");
    let yesterday = (clock.today() - Days::new(1)).to_string();
    let file = site.write(
        "nightly.toml",
        site.text().replace("snapshot = \"2026-11-23\"\n", ""),
    );
    let run = |more: &[&str]| {
        let output = program()
            .arg("run")
            .arg(&file)
            .args(more)
            .arg("-q")
            .output()
            .unwrap();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let poor = ["--max-cost-usd", "0.07"];
    let begun = run(&["--snapshot", &yesterday, poor[0], poor[1]]);
    let (code, shown, errors) = run(&poor);
    let (done, json, unread) = run(&["--output", "json", "--max-cost-usd", "1"]);
    let again = run(&[]);
    if (clock.today() - Days::new(1)).to_string() != yesterday {
        return; // Midnight has passed in between.
    }
    assert_eq!(begun.0, Some(4), "{}", begun.2);
    // Both stop at the budget; both are told.
    assert_eq!(code, Some(4), "{errors}");
    assert!(
        shown.contains(&format!("snapshot {yesterday} is not published")),
        "{shown}"
    );
    assert_eq!(done, Some(0), "{unread}");
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["continued"]["snapshot"], yesterday, "{json}");
    assert_eq!(report["continued"]["state"], "published", "{json}");
    assert_eq!(report["state"], "published", "{json}");
    assert!(again.1.contains("already published"), "{}", again.1);
}

/// A machine-readable exit code is the one with which the program ends, whichever of the two snapshots is the cause; and what
/// another pipeline has left open is its own.
#[test]
fn the_metrics_have_the_exit_code_of_the_program_whatever_becomes_of_yesterday() {
    let clock = backlake::clock::Clock::system();
    let yesterday = (clock.today() - Days::new(1)).to_string();
    let poor = ["--max-cost-usd", "0.07"];
    // The name of the pipeline that started yesterday's snapshot, a lake that is below a file, and the exit code.
    for (starter, is_broken, expected) in
        [("test", false, 4), ("another", false, 0), ("test", true, 2)]
    {
        let site = Site::new(pages(1500)).with("[run]\ncontinue_open = \"first\"");
        let metrics = site.folder.path().join("backlake.prom");
        let text_of = site.text().replace("snapshot = \"2026-11-23\"\n", "");
        let run = |name: &str, lake: &str, more: &[&str]| {
            let text_of = text_of.replace("/lake\"", &format!("{lake}\""));
            let lines = text_of.replace("name = \"test\"", &format!("name = \"{name}\""));
            let file = site.write(&format!("{name}.toml"), lines);
            let mut run = program();
            run.arg("run").arg(&file).args(["--output", "json"]);
            let output = run.args(more).output().unwrap();
            (
                output.status.code(),
                text(&output.stdout),
                text(&output.stderr),
            )
        };
        let metrics_file = ["--metrics-file", metrics.to_str().unwrap()];
        assert_eq!(run("test", "/lake", &[]).0, Some(0));
        let begun = run(
            starter,
            "/lake",
            &["--snapshot", &yesterday, poor[0], poor[1]],
        );
        assert_eq!(begun.0, Some(4), "{}", begun.2);
        if is_broken {
            site.write("file", "not a folder");
        }
        let lake = if is_broken { "/file/lake" } else { "/lake" };
        let (code, told, errors) = run("test", lake, &[poor, metrics_file].concat());
        if (clock.today() - Days::new(1)).to_string() != yesterday {
            return; // Midnight has passed in between.
        }
        let case = format!("{starter}, {is_broken}: {told}{errors}");
        assert_eq!(code, Some(expected), "{case}");
        let written = std::fs::read_to_string(&metrics).unwrap();
        let line = format!("backlake_run_exit_code{{pipeline=\"test\"}} {expected}\n");
        assert!(written.contains(&line), "{case}{written}");
        let report: serde_json::Value = serde_json::from_str(&told).unwrap();
        let message = report["error"]["message"].as_str().unwrap_or_default();
        match (expected, is_broken) {
            (4, _) => assert!(message.starts_with("yesterday's snapshot: "), "{case}"),
            (0, _) => {
                assert_eq!(report["also_open"][0], yesterday, "{case}");
                assert!(errors.contains("not continued"), "{case}");
            }
            _ => assert!(!message.contains("yesterday"), "{case}"),
        }
    }
}
