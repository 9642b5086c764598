//! The command line keeps its contract with schedulers and people: help, JSON, completions, exit
//! codes.

use backlake::contract::Table;

use crate::harness::{Site, program, text};

/// Every command of the program.
pub(crate) const COMMANDS: [&str; 13] = [
    "plan",
    "run",
    "replay",
    "check",
    "verify",
    "snapshots",
    "diff",
    "sql",
    "prune",
    "compact",
    "simulate",
    "schema",
    "completions",
];

fn out(args: &[&str]) -> String {
    let output = program().args(args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let help = out(&["--help"]);
    for word in [
        "Examples:",
        "backlake plan pipelines/nightly.toml",
        "Exit codes:",
        "5    the snapshot is held",
        "7    a check found problems",
    ] {
        assert!(help.contains(word), "`{word}` is not in: {help}");
    }
    assert!(out(&["run", "--help"]).contains("DATAFORSEO_PASSWORD_FILE"));
    for command in COMMANDS {
        let help = out(&[command, "--help"]);
        assert!(
            help.contains(&format!("Examples:\n  backlake {command}")),
            "{help}"
        );
    }
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            out(&["completions", shell]).contains("snapshots"),
            "{shell}"
        );
    }
}

#[test]
fn json_reports_have_every_documented_key() {
    let site = Site::new([
        "https://example.com/",
        "https://example.com/#x",
        "nonsense",
        "example.org",
    ]);
    let json = |command: &str| -> serde_json::Value {
        let output = site.program(command, &["--output", "json", "-q"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(
            text(&output.stderr),
            "",
            "{command} -q prints to standard error"
        );
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let plan = json("plan");
    for (key, value) in [
        ("lines", serde_json::json!(4)),
        ("targets", 2.into()),
        ("root_domains", 2.into()),
        ("duplicates", 1.into()),
        ("invalid", 1.into()),
        ("requests", 1.into()),
        ("lower_bound", 1.into()),
        ("requests_in_input_order", 1.into()),
        ("cost_usd", "0.024072".into()),
        ("cost_usd_in_input_order", "0.024072".into()),
    ] {
        assert_eq!(plan[key], value, "{key}");
    }
    assert!(plan["seconds"].is_u64());
    assert_eq!(
        plan["first_invalid"][0]["reason"],
        "host `nonsense` has a single label"
    );
    let run = json("run");
    for key in [
        "run",
        "snapshot",
        "state",
        "fates",
        "requests",
        "retries",
        "items",
        "cost_usd",
        "cost_unknown_usd",
        "files",
        "bytes",
        "seconds",
    ] {
        assert!(!run[key].is_null(), "{key} is missing");
    }
    assert_eq!(
        (&run["state"], &run["fates"]["duplicate"]),
        (&"published".into(), &1.into())
    );
    assert_eq!(json("run")["state"], "already_published");
    assert_eq!(json("check")["balance_usd"], "1000000.00");
}

#[test]
fn the_views_name_every_table_in_a_lake_of_any_name() {
    let site = Site::new(["https://example.com/"]);
    let lake = site.lake().with_file_name("the team's [old] lake");
    let lake = lake.to_str().unwrap();
    let run = site.program("run", &["--lake", lake]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let script = out(&["sql", lake]);
    for table in Table::ALL {
        let name = table.name();
        assert!(script.contains(&format!("TEMP VIEW {name} AS")), "{script}");
        assert!(
            script.contains(&format!("backlake_files('{name}')")),
            "{script}"
        );
    }
    assert!(
        script.contains("/the team''s [[]old] lake/_snapshots/[0-9]"),
        "{script}"
    );
    let file = site.write("views.sql", "an older one");
    assert_eq!(out(&["sql", lake, "--write", file.to_str().unwrap()]), "");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), script);
    let entries = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let left = entries.filter(|entry| {
        text(entry.as_ref().unwrap().file_name().as_encoded_bytes()).contains(".tmp")
    });
    assert_eq!(left.count(), 0);
    let nothing = program()
        .arg("sql")
        .arg(file.parent().unwrap())
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing.stderr));
    assert!(
        text(&nothing.stderr).contains("no snapshot is published"),
        "{}",
        text(&nothing.stderr)
    );
}

#[test]
fn errors_are_json_too() {
    let output = program()
        .args(["run", "no/such.toml", "--output", "json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["error"]["exit_code"], 2);
    assert!(
        report["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no/such.toml")
    );
}

#[test]
fn log_lines_can_be_json() {
    let site = Site::new(["https://example.com/"]);
    let output = site.program("run", &["--log-format", "json"]);
    let log = text(&output.stderr);
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(
        lines
            .iter()
            .any(|line| line["fields"]["message"] == "published"),
        "{log}"
    );
}

#[test]
fn a_flag_overrides_the_environment_which_overrides_the_file() {
    let site = Site::new(["https://example.com/"]);
    let file = site.write("pipeline.toml", site.text());
    let snapshot = |flag: &[&str], variable: Option<&str>| {
        let mut command = program();
        command
            .arg("plan")
            .arg(&file)
            .args(flag)
            .args(["--output", "json"]);
        if let Some(date) = variable {
            command.env("BACKLAKE_SNAPSHOT", date);
        }
        let report: serde_json::Value =
            serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        report["snapshot"].as_str().unwrap().to_owned()
    };
    assert_eq!(snapshot(&[], None), "2026-11-23");
    assert_eq!(snapshot(&[], Some("2026-01-02")), "2026-01-02");
    assert_eq!(
        snapshot(&["--snapshot", "2026-03-04"], Some("2026-01-02")),
        "2026-03-04"
    );
}

#[test]
fn the_shipped_pipelines_are_valid() {
    for file in ["pipelines/demo.toml", "pipelines/nightly.toml"] {
        assert!(out(&["plan", file, "-q"]).contains("lower bound"), "{file}");
    }
}

#[test]
fn results_go_to_standard_output_and_errors_to_standard_error() {
    let site = Site::new(["https://example.com/"]);
    let lake = site.lake().display().to_string();
    let run = site.program("run", &["-q"]);
    assert!(text(&run.stdout).starts_with("snapshot 2026-11-23 is published in"));
    assert_eq!(text(&run.stderr), "");
    for (args, result) in [
        (vec!["snapshots"], "2026-11-23"),
        (vec!["verify"], "ok"),
        (vec!["prune", "--keep-snapshots", "1"], "nothing to delete"),
        (vec!["compact"], "would pack"),
    ] {
        let output = program().args(&args).args([&lake, "-q"]).output().unwrap();
        let (shown, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{args:?}: {errors}");
        assert!(shown.contains(result), "{args:?}: {shown}");
        assert_eq!(errors, "", "{args:?}");
    }
    // A single snapshot cannot be compared.
    let diff = program().args(["diff", &lake, "-q"]).output().unwrap();
    let errors = text(&diff.stderr);
    assert_eq!(diff.status.code(), Some(2), "{errors}");
    assert_eq!(text(&diff.stdout), "");
    assert!(
        errors.starts_with("error: ") && errors.contains("\nhint: "),
        "{errors}"
    );
}

#[test]
fn a_file_in_place_of_a_lake_is_named() {
    let site = Site::new(["https://example.com/"]);
    let file = site.write("a-file", "");
    let output = program().arg("snapshots").arg(file).output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains("a-file is a file, not a folder"),
        "{errors}"
    );
}

#[test]
fn snapshots_names_what_is_not_published_yet() {
    let site = Site::new(["https://example.com/"]);
    let stopped = site.program("run", &["--max-cost-usd", "0.01"]);
    assert_eq!(stopped.status.code(), Some(4), "{}", text(&stopped.stderr));
    let lake = site.lake().display().to_string();
    let shown = out(&["snapshots", &lake]);
    assert!(
        shown.contains("no snapshot is published\n2026-11-23  not published yet"),
        "{shown}"
    );
    assert_eq!(out(&["snapshots", &lake, "--output", "json"]), "[]\n");
}

#[test]
fn a_check_that_finds_problems_exits_with_7_and_says_how_to_fix_them() {
    let site = Site::new(["https://example.com/"]);
    assert!(site.program("run", &["-q"]).status.success());
    let lake = site.lake();
    std::fs::write(lake.join("pages/stray.parquet"), "x").unwrap();
    let output = program()
        .args(["verify", "--output", "json"])
        .arg(&lake)
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["error"]["exit_code"], 7, "{report}");
    assert_eq!(report["strays"].as_array().unwrap().len(), 1, "{report}");
    let output = program().arg("verify").arg(&lake).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(
        text(&output.stdout).contains("stray.parquet"),
        "{}",
        text(&output.stdout)
    );
    assert!(
        text(&output.stderr).contains("backlake replay FILE"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_documented_exit_codes_are_those_of_the_program() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let written = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = written
        .split_once("<!-- exit codes: generated -->\n")
        .unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let table = backlake::cli::exit_codes_markdown();
    let expected = format!("{before}<!-- exit codes: generated -->\n{table}<!-- end -->{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap() == expected,
        "run UPDATE_DOCS=1 cargo test --test it the_documented_exit_codes"
    );
}
