//! Every rule about a night, and every rule that the simulator's stories never trigger: its cause
//! raises this alert and no other.

use std::collections::BTreeSet;
use std::sync::Arc;

use backlake::alerts::{AlertOptions, AlertSettings, Alerts, Rule, find};
use backlake::pipeline::{RunMode, RunState, run};
use backlake::report::{NIGHTS, ReportOptions, collect, html};
use backlake::simulator::{Behaviour, Population};
use backlake::store::Store;
use chrono::{Days, TimeDelta};

use crate::harness::{AlterItem, Site, date, drifting, noon, simulator, surroundings};

/// What is different on the second night.
enum Change {
    /// What the provider sends.
    Items(AlterItem),
    /// This many more lines, with targets that the provider does not know.
    Absent(usize),
    /// The provider refuses one target and does not say which.
    Refused,
    /// Nothing; the alerts are computed this many hours after the first night.
    Later(i64),
    /// A third night is held.
    Held,
}

fn targets(are_known: bool, number: usize) -> Vec<String> {
    let population = Population::new(1);
    let domain = |n: usize| format!("site{}.com", n / 20);
    let all = (0..).map(|n| (domain(n), format!("https://{}/page-{n}", domain(n))));
    let found = all.filter(|(domain, target)| {
        let page = population.page(date(), target, domain);
        match are_known {
            // Only pages with enough links tell whether the index moved.
            true => page.is_some_and(|page| page.referring_main_domains >= 20),
            false => page.is_none(),
        }
    });
    found.map(|(_, target)| target).take(number).collect()
}

fn odd_field(number: usize, item: &mut serde_json::Value) {
    if number == 0 {
        item["a_new_field"] = 1.into();
    }
}

fn all_grown(_: usize, item: &mut serde_json::Value) {
    let domains = item["referring_main_domains"].as_i64().unwrap();
    item["referring_main_domains"] = (domains * 11 / 10).into();
}

fn all_broken(_: usize, item: &mut serde_json::Value) {
    item["broken_backlinks"] = item["backlinks"].clone();
}

/// The alerts after two nights of which the second is different, the rules of those that its run
/// told, and the page of its report.
async fn alerts_of(change: &Change) -> (Alerts, BTreeSet<Rule>, String) {
    let known = targets(true, 200);
    let mut site = Site::new(&known);
    let (quiet, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&quiet, &clock).await.unwrap().error.is_none());

    let mut behaviour = Behaviour::default();
    if let Change::Refused = change {
        behaviour.poison.targets = Arc::new([known[17].clone()].into());
    }
    let (other, clock) = simulator(behaviour).await;
    let env = match change {
        Change::Items(alter) => drifting(&other, &clock, *alter),
        _ => surroundings(&other, &clock),
    };
    if let Change::Absent(more) = change {
        let all = [known, targets(false, *more)].concat();
        site.write("targets.txt", all.join("\n"));
    }
    let night = |site: &Site, days| site.pipeline_of(date() + Days::new(days), &other.url());
    let second = night(&site, 1);
    let second = run(&second, RunMode::default(), &env).await.unwrap();
    assert_eq!(second.report.state, RunState::Published);

    let mut options = AlertOptions {
        snapshot: None,
        settings: AlertSettings::default(),
        now: noon() + TimeDelta::hours(1),
    };
    match change {
        Change::Later(hours) => options.now = noon() + TimeDelta::hours(*hours),
        Change::Held => {
            site = site.with("[publish]\non_drift = \"hold\"");
            let third = night(&site, 2);
            let env = drifting(&other, &clock, odd_field);
            let end = run(&third, RunMode::default(), &env).await.unwrap();
            assert_eq!(end.report.state, RunState::Open);
            options.now = noon() + TimeDelta::days(2);
            options.settings.max_age = TimeDelta::days(9);
        }
        _ => {}
    }
    let store = Store::open(site.lake().to_str().unwrap()).unwrap();
    let told = second.report.alerts.iter().map(|alert| alert.rule);
    let shown = ReportOptions {
        snapshot: None,
        nights: NIGHTS,
        label: None,
        alerts: options.settings.clone(),
        now: options.now,
    };
    let page = html(&collect(&store, shown).await.unwrap());
    let found = find(&store, &options).await.unwrap();
    (found, told.collect(), page)
}

#[tokio::test(start_paused = true)]
async fn each_cause_is_told_by_its_rule_and_by_no_other() {
    let some = |numbers: [f64; 2]| numbers.map(Some);
    for (rule, says, numbers, change) in [
        (
            Rule::Drift,
            "1 field differs from the contract",
            some([0.0, 1.0]),
            Change::Items(odd_field),
        ),
        (
            Rule::Broken,
            "100 % of its backlinks are broken",
            [None; 2],
            Change::Items(all_broken),
        ),
        (
            Rule::IndexShift,
            "all pages moved by +",
            [None; 2],
            Change::Items(all_grown),
        ),
        (
            Rule::Fates,
            "17 % of the lines are absent, up from 0.0 %",
            some([0.0, 40.0]),
            Change::Absent(40),
        ),
        (
            Rule::Cost,
            "requests were sent; the lower bound is 1",
            [Some(1.0), None],
            Change::Refused,
        ),
        (
            Rule::Stale,
            "the newest snapshot is 40 hours old, more than 36",
            some([36.0, 40.0]),
            Change::Later(40),
        ),
        (
            Rule::Unpublished,
            "2026-11-25 is held",
            [None; 2],
            Change::Held,
        ),
    ] {
        let (found, told, page) = alerts_of(&change).await;
        let rules: BTreeSet<_> = found.alerts.iter().map(|alert| alert.rule).collect();
        assert_eq!(rules, BTreeSet::from([rule]), "{:#?}", found.alerts);
        let alert = &found.alerts[0];
        assert!(alert.what.contains(says), "{}: {says}", alert.what);
        for (value, expected) in [alert.before, alert.after].into_iter().zip(numbers) {
            assert!(expected.is_none() || value == expected, "{alert:#?}");
        }
        let index = match rule {
            Rule::IndexShift => "! has changed",
            _ => "✓ no jump",
        };
        assert!(page.contains(index), "{rule:?}");
        // What is known at the end of the run is told by it.
        let is_known = !matches!(change, Change::Later(_) | Change::Held);
        assert_eq!(told.contains(&rule), is_known, "{rule:?}");
    }
}
