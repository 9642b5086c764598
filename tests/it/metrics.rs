//! The metrics of a run: what monitoring sees of a night, also after a repeated start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::harness::{Site, text};

/// The metrics of a file by name and labels, without the label that all of them have.
fn read(file: &Path) -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.replace("{pipeline=\"test\"}", "");
        (
            name.replace(",pipeline=\"test\"", ""),
            value.parse().unwrap(),
        )
    });
    values.collect()
}

fn start(site: &Site, more: &[&str]) -> (Option<i32>, BTreeMap<String, f64>) {
    let file = site.folder.path().join("backlake.prom");
    let mut args = vec!["--metrics-file", file.to_str().unwrap(), "-q"];
    args.extend(more);
    let output = site.program("run", &args);
    let metrics = read(&file);
    assert!(output.status.code().is_some(), "{}", text(&output.stderr));
    (output.status.code(), metrics)
}

/// What a night leaves behind: everything but what is about one start.
fn of_the_night(metrics: &BTreeMap<String, f64>) -> BTreeMap<&str, f64> {
    let names = [
        "backlake_balance_usd",
        "backlake_budget_usd",
        "backlake_cost_unknown_usd",
        "backlake_last_published_timestamp_seconds",
        "backlake_lines{fate=\"absent\"}",
        "backlake_lines{fate=\"returned\"}",
        "backlake_open_snapshots",
        "backlake_snapshot_cost_usd",
        "backlake_snapshot_date_seconds",
        "backlake_snapshot_published",
        "backlake_snapshot_requests",
    ];
    let found = names.iter().map(|name| {
        let value = metrics.get(*name);
        (
            *name,
            *value.unwrap_or_else(|| panic!("{name} is not in {metrics:?}")),
        )
    });
    found.collect()
}

#[test]
fn a_repeated_start_keeps_the_metrics_of_the_night() {
    let site = Site::new((0..1500).map(|n| format!("https://example.com/{n}")))
        .with("[budget]\nmax_cost_usd = 0.20");
    let (code, stopped) = start(&site, &["--max-cost-usd", "0.07"]);
    assert_eq!((code, stopped["backlake_run_exit_code"]), (Some(4), 4.0));
    assert_eq!(stopped["backlake_open_snapshots"], 1.0);
    assert_eq!(stopped["backlake_budget_usd"], 0.07);
    assert_eq!(stopped["backlake_snapshot_published"], 0.0);
    assert!(
        !stopped.contains_key("backlake_last_published_timestamp_seconds"),
        "{stopped:?}"
    );

    let (code, published) = start(&site, &[]);
    assert_eq!(code, Some(0));
    let night = of_the_night(&published);
    assert_eq!(night["backlake_open_snapshots"], 0.0);
    assert_eq!(night["backlake_snapshot_requests"], 2.0);
    // 2026-11-23T00:00:00Z
    assert_eq!(night["backlake_snapshot_date_seconds"], 1_795_392_000.0);
    assert!(night["backlake_snapshot_cost_usd"] > published["backlake_cost_usd_total"]);
    let (code, again) = start(&site, &[]);
    assert_eq!((code, again["backlake_run_exit_code"]), (Some(0), 0.0));
    assert_eq!(again["backlake_cost_usd_total"], 0.0);
    assert_eq!(of_the_night(&again), night);
}

#[test]
fn what_is_not_known_is_left_out() {
    let site = Site::new(["nonsense"]);
    let (code, metrics) = start(&site, &[]);
    assert_eq!((code, metrics["backlake_run_exit_code"]), (Some(2), 2.0));
    for name in [
        "balance_usd",
        "budget_usd",
        "snapshot_cost_usd",
        "run_seconds",
        "planned_requests",
    ] {
        assert!(
            !metrics.contains_key(&format!("backlake_{name}")),
            "{name}: {metrics:?}"
        );
    }
}

/// The names of metrics in a text, without the endings of a histogram.
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("backlake_") {
        let rest = &text[at..];
        let end = rest
            .find(|c: char| !c.is_ascii_lowercase() && c != '_')
            .unwrap_or(rest.len());
        names.insert(rest[..end].trim_end_matches("_bucket").to_owned());
    }
    names
}

#[test]
fn rules_and_dashboard_name_metrics_that_exist_and_each_documented_one_does() {
    let site = Site::new(["https://example.com/"]).with("[budget]\nmax_cost_usd = 1");
    start(&site, &[]);
    let written = std::fs::read_to_string(site.folder.path().join("backlake.prom")).unwrap();
    let help = written.lines().filter(|line| line.starts_with("# HELP"));
    let exist: BTreeSet<String> = help
        .map(|line| line.split(' ').nth(2).unwrap().to_owned())
        .collect();
    // A gauge of the queue is reset at the end, and nothing was repeated.
    let sometimes = ["backlake_queue", "backlake_retries_total"].map(str::to_owned);
    let exist = &exist | &BTreeSet::from(sometimes);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (rules, dashboard) = (
        read("docs/deploy/alerts.yml"),
        read("docs/deploy/grafana.json"),
    );
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() > 5);
    for (text, least) in [(&rules, 6), (&dashboard, 9)] {
        let used = names(text);
        assert!(used.len() >= least, "{used:?}");
        assert!(used.is_subset(&exist), "{:?} do not exist", &used - &exist);
    }
    let operations = read("docs/operations.md");
    let (_, table) = operations
        .split_once("| metric | meaning |\n|---|---|\n")
        .unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let documented: BTreeSet<String> = table
        .lines()
        .flat_map(|line| {
            line.split('|')
                .nth(1)
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .map(|name| format!("backlake_{}", name.split('{').next().unwrap()))
        .collect();
    assert_eq!(documented, exist);
}
