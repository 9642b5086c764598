//! `status` tells what became of each night, from the lake alone.

use std::sync::Arc;
use std::time::Duration;

use backlake::clock::Clock;
use backlake::pipeline::{Overrides, Pipeline, RunMode, run};
use backlake::simulator::{Behaviour, Simulator};
use backlake::store::{Owner, Store};
use backlake::upkeep::{Expected, Night, NightState, Status, status};
use chrono::{Days, NaiveDate, TimeDelta};

use crate::harness::{Site, date, drifting, program, simulator, surroundings, text};
use crate::scripted::{pages, published};

async fn told(site: &Site, clock: &Clock) -> Status {
    let store = Store::open(site.lake().to_str().unwrap()).unwrap();
    let expected = Expected {
        nights: 7,
        max_age: TimeDelta::hours(26),
    };
    let here = Owner::this_process();
    status(&store, expected, &here, clock.now()).await.unwrap()
}

fn only(status: &Status) -> &Night {
    let [night] = status.nights.as_slice() else {
        panic!("{:?}", status.nights)
    };
    night
}

fn problems(status: &Status) -> Vec<String> {
    status.problems.iter().map(ToString::to_string).collect()
}

/// One start for a date, stopped by this budget.
async fn start(
    site: &Site,
    simulator: &Arc<Simulator>,
    clock: &Clock,
    on: NaiveDate,
    budget: &str,
) {
    let overrides = Overrides {
        base_url: Some(simulator.url()),
        snapshot: Some(on),
        max_cost_usd: Some(budget.parse().unwrap()),
        ..Overrides::default()
    };
    let pipeline = Pipeline::parse("test.toml", &site.text(), overrides, clock).unwrap();
    let env = surroundings(simulator, clock);
    run(&pipeline, RunMode::default(), &env).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_night_that_stopped_at_its_budget_is_open_until_it_is_continued() {
    let site = Site::new(pages(2500));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    start(&site, &simulator, &clock, date(), "0.07").await;
    let found = told(&site, &clock).await;
    let night = only(&found);
    assert_eq!(
        (night.state, night.lines, night.answered),
        (NightState::Open, Some(2500), Some(1000))
    );
    let why = night.why.as_deref().unwrap();
    assert!(why.starts_with("stopped at the budget: $0.05"), "{why}");
    assert!(
        night
            .hint
            .as_deref()
            .unwrap()
            .contains("--max-cost-usd 0.17"),
        "{night:?}"
    );
    assert_eq!(
        night.command("a.toml").unwrap(),
        "backlake run a.toml --snapshot 2026-11-23"
    );
    assert_eq!(
        problems(&found),
        ["2026-11-23 is open", "no snapshot is published"]
    );
    assert_eq!(found.month.cost_usd, night.cost_usd);
    assert!(found.balance.is_some());

    start(&site, &simulator, &clock, date(), "1").await;
    let found = told(&site, &clock).await;
    let night = only(&found);
    assert_eq!(
        (night.state, problems(&found).len()),
        (NightState::Published, 0)
    );
    assert_eq!((night.requests, night.lower_bound), (3, Some(3)));
    assert_eq!(night.lower_bound_usd, Some(night.cost_usd));
}

#[tokio::test(start_paused = true)]
async fn a_night_whose_process_died_is_running_then_open_and_says_what_was_answered() {
    let site = Site::new(pages(2500)).with("[api]\nmax_in_flight = 1");
    let (simulator, clock) = simulator(Behaviour {
        latency: Duration::from_secs(20),
        ..Behaviour::default()
    })
    .await;
    let cut = clock.within(
        Duration::from_secs(30),
        Box::pin(site.run(&simulator, &clock)),
    );
    assert!(cut.await.is_none(), "the run was not interrupted");
    let found = told(&site, &clock).await;
    assert_eq!(
        (only(&found).state, problems(&found)),
        (
            NightState::Running,
            vec!["no snapshot is published".to_owned()]
        )
    );
    assert_eq!(only(&found).lock.as_ref().unwrap().pid, std::process::id());

    clock.sleep(Duration::from_secs(61)).await;
    let found = told(&site, &clock).await;
    let night = only(&found);
    assert_eq!(
        (night.state, night.answered, night.lines),
        (NightState::Open, Some(1000), Some(2500))
    );
    assert!(
        night.why.as_deref().unwrap().contains("killed"),
        "{night:?}"
    );
    // At least one request was in flight: it may be charged.
    assert!(night.cost_unknown_usd >= "0.06".parse().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_held_night_says_why_and_a_replacement_that_stopped_is_open() {
    let site = Site::new(pages(1500)).with("[publish]\non_drift = \"hold\"");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let env = drifting(&simulator, &clock, |_, item| item["new_field"] = 1.into());
    run(&site.pipeline(&simulator.url()), RunMode::default(), &env)
        .await
        .unwrap();
    let found = told(&site, &clock).await;
    let night = only(&found);
    assert_eq!(night.state, NightState::Held);
    assert!(
        night.why.as_deref().unwrap().contains("`new_field`"),
        "{night:?}"
    );
    assert!(
        night.hint.as_deref().unwrap().contains("--accept"),
        "{night:?}"
    );

    let accept = site.pipeline(&simulator.url());
    let mode = RunMode {
        findings: backlake::pipeline::FindingsMode::Accept,
        ..RunMode::default()
    };
    published(
        &run(&accept, mode, &surroundings(&simulator, &clock))
            .await
            .unwrap(),
    );
    let before = only(&told(&site, &clock).await).cost_usd;
    let again = site.pipeline_with(Overrides {
        base_url: Some(simulator.url()),
        max_cost_usd: Some("0.07".parse().unwrap()),
        ..Overrides::default()
    });
    let mode = RunMode {
        start: backlake::pipeline::StartMode::Replace,
        ..RunMode::default()
    };
    run(&again, mode, &surroundings(&simulator, &clock))
        .await
        .unwrap();
    let found = told(&site, &clock).await;
    let night = only(&found);
    assert_eq!(
        (night.state, night.replacing),
        (NightState::Published, true)
    );
    assert!(
        night.cost_usd > before,
        "what a replacement costs is part of the night's cost"
    );
    assert!(night.command("a.toml").unwrap().ends_with("--replace"));
    assert_eq!(problems(&found), ["the replacement of 2026-11-23 is open"]);
}

#[tokio::test(start_paused = true)]
async fn a_night_between_two_others_is_missing_and_a_damaged_manifest_is_named() {
    let site = Site::new(pages(10));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    for day in [0, 2] {
        let on = date() - Days::new(3) + Days::new(day);
        start(&site, &simulator, &clock, on, "1").await;
    }
    start(&site, &simulator, &clock, date(), "1").await;
    assert_eq!(
        problems(&told(&site, &clock).await),
        ["2026-11-21 is missing"]
    );
    std::fs::write(site.lake().join("_snapshots/2026-11-22.json"), "{").unwrap();
    assert_eq!(
        problems(&told(&site, &clock).await),
        ["2026-11-21 is missing", "2026-11-22 is damaged"]
    );
}

#[test]
fn status_exits_with_7_until_the_night_is_published_and_changes_nothing() {
    let site = Site::new(["https://example.com/"]);
    let stopped = site.program("run", &["--max-cost-usd", "0.01", "-q"]);
    assert_eq!(stopped.status.code(), Some(4), "{}", text(&stopped.stderr));
    let before = site.tree();
    let status = || {
        site.program(
            "status",
            &[
                "--nights",
                "100000",
                "--max-age",
                "100000d",
                "--output",
                "json",
            ],
        )
    };
    let found = status();
    let report: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(
        (found.status.code(), &report["ok"]),
        (Some(7), &false.into()),
        "{report}"
    );
    assert_eq!(report["error"]["exit_code"], 7, "{report}");
    let command = report["nights"][0]["command"].as_str().unwrap();
    assert!(
        command.ends_with("pipeline.toml --snapshot 2026-11-23"),
        "{command}"
    );
    assert!(before == site.tree(), "status changed the lake");

    assert!(site.program("run", &["-q"]).status.success());
    // The simulated snapshot is old by the machine's clock, so only that night counts.
    let found = program()
        .args([
            "status",
            "--nights",
            "1",
            "--max-age",
            "100000d",
            "--output",
            "json",
        ])
        .env("BACKLAKE_LAKE", site.lake())
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(
        (found.status.code(), &report["ok"]),
        (Some(0), &true.into()),
        "{report}"
    );
}

#[test]
fn a_replay_of_a_wrong_date_leaves_no_night_behind() {
    let site = Site::new(["https://example.com/"]);
    let lake = site.lake().display().to_string();
    let run = site.program("run", &["-q"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let before = site.tree();
    let replay = site.program("replay", &["--snapshot", "2020-01-01"]);
    assert_eq!(replay.status.code(), Some(2), "{}", text(&replay.stderr));
    assert_eq!(site.tree(), before);
    // A command that is killed between its lock and its first record.
    std::fs::create_dir_all(site.lake().join("_runs/2020-01-01/locks")).unwrap();
    for command in ["status", "snapshots"] {
        let output = program().args([command, &lake]).output().unwrap();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(said.contains("2026-11-23"), "{command}: {said}");
        assert!(!said.contains("2020-01-01"), "{command}: {said}");
    }
}
