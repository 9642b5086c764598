//! What people read stays as it was reviewed: help and reports, pinned as snapshots.
//!
//! `cargo insta review` shows what changed; `INSTA_UPDATE=always cargo test --test it texts` accepts
//! it.

use std::process::Output;

use crate::command_line::COMMANDS;
use crate::harness::{Site, program, text};

/// Compares a text with its snapshot, without what differs from run to run.
pub(crate) fn pinned(name: &str, shown: &str, site: Option<&Site>) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    if let Some(site) = site {
        let folder = site.folder.path().display().to_string();
        settings.add_filter(&folder.replace('.', r"\."), "[folder]");
        settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[time]");
    }
    settings.add_filter(r"\d{8}T\d{6}Z-[0-9a-f]{6}", "[run]");
    settings.add_filter(r" +\d+ s  run", "  [time]  run");
    settings.add_filter(r" +\d+\.\d+ [KM]iB", "  [size]");
    settings.bind(|| insta::assert_snapshot!(name, shown));
}

fn shown(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_help_of_every_command_reads_as_reviewed() {
    for command in COMMANDS {
        let help = program().args([command, "--help"]).output().unwrap();
        pinned(&format!("help_{command}"), &shown(&help), None);
    }
    let help = program().arg("--help").output().unwrap();
    pinned("help", &shown(&help), None);
}

#[test]
fn the_reports_read_as_reviewed() {
    let lines = (0..3000).map(|n| format!("https://site{}.com/page-{n}", n / 40));
    let site = Site::new(lines.chain([
        "nonsense".to_owned(),
        "https://site1.com/page-41#top".to_owned(),
    ]));
    let lake = site.lake().display().to_string();
    pinned("plan", &shown(&site.program("plan", &["-q"])), Some(&site));
    pinned("run", &shown(&site.program("run", &["-q"])), Some(&site));
    let later = ["-q", "--snapshot", "2026-11-24"];
    assert!(site.program("run", &later).status.success());
    pinned(
        "run_again",
        &shown(&site.program("run", &["-q"])),
        Some(&site),
    );
    pinned(
        "check",
        &shown(&site.program("check", &["-q"])),
        Some(&site),
    );
    for (name, args) in [
        ("snapshots", vec!["snapshots"]),
        ("verify", vec!["verify"]),
        ("diff", vec!["diff"]),
        (
            "diff_movers",
            vec!["diff", "--what", "movers", "--limit", "5"],
        ),
        ("prune", vec!["prune", "--keep-snapshots", "1"]),
        ("compact", vec!["compact"]),
    ] {
        let output = program().args(args).arg(&lake).arg("-q").output().unwrap();
        pinned(name, &shown(&output), Some(&site));
    }
    let stopped = site.program("run", &["-q", "--replace", "--max-cost-usd", "0.10"]);
    assert_eq!(stopped.status.code(), Some(4));
    let abandon = ["-q", "--snapshot", "2026-11-23"];
    pinned(
        "abandon",
        &shown(&site.program("abandon", &abandon)),
        Some(&site),
    );
}
