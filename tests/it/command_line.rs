//! The command line keeps its contract with schedulers and people: help, JSON, completions, exit
//! codes.

use backlake::contract::Table;

use crate::harness::{Site, program, text};

/// Every command of the program.
pub(crate) const COMMANDS: [&str; 20] = [
    "init",
    "plan",
    "run",
    "replay",
    "check",
    "verify",
    "status",
    "snapshots",
    "diff",
    "report",
    "alerts",
    "sql",
    "abandon",
    "prune",
    "compact",
    "simulate",
    "schema",
    "config",
    "completions",
    "man",
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
        text(entry.as_ref().unwrap().file_name().as_encoded_bytes()).contains(".backlake-")
    });
    assert_eq!(left.count(), 0);
    let nothing = program()
        .arg("sql")
        .arg(file.parent().unwrap())
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing.stderr));
    assert!(
        text(&nothing.stderr).contains("is not a lake"),
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
fn with_json_logs_every_line_of_standard_error_is_json_and_an_error_is_one() {
    let lines = |output: std::process::Output| -> Vec<serde_json::Value> {
        let log = text(&output.stderr);
        let parsed = log
            .lines()
            .map(|line| serde_json::from_str(line).expect(line));
        parsed.collect()
    };
    let site = Site::new(["https://example.com/"]);
    let stopped = lines(site.program("run", &["--log-format", "json", "--max-cost-usd", "0.01"]));
    let (report, error) = (&stopped[stopped.len() - 2], &stopped[stopped.len() - 1]);
    assert_eq!(report["fields"]["message"], "report");
    assert_eq!(
        (&report["fields"]["state"], &report["fields"]["unsent"]),
        (&"open".into(), &1.into())
    );
    assert_eq!(error["level"], "ERROR");
    let fields = &error["fields"];
    assert_eq!(
        (&fields["code"], &fields["snapshot"]),
        (&4.into(), &"2026-11-23".into()),
        "{error}"
    );
    assert!(
        fields["message"]
            .as_str()
            .unwrap()
            .starts_with("stopped at the budget"),
        "{error}"
    );
    assert!(
        fields["hint"].as_str().unwrap().contains("--max-cost-usd"),
        "{error}"
    );
    let published = lines(site.program("run", &["--log-format", "json"]));
    assert!(
        published
            .iter()
            .any(|line| line["fields"]["message"] == "published")
    );
    // A command line that cannot be parsed, and quiet logs.
    for (args, code) in [
        (&["--log-format", "json"][..], 2),
        (&["run", "--log-format", "json"], 2),
        (
            &["run", "x.toml", "--snapshot", "soon", "--log-format=json"],
            2,
        ),
        (&["run", "no/such.toml", "--log-format", "json", "-q"], 2),
        (&["snapshots", "no/such", "--log-format", "json"], 2),
    ] {
        let found = lines(program().args(args).output().unwrap());
        let [error] = found.as_slice() else {
            panic!("{args:?}: {found:?}")
        };
        assert_eq!(
            (&error["level"], &error["fields"]["code"]),
            (&"ERROR".into(), &code.into()),
            "{error}"
        );
    }
}

#[test]
fn every_command_has_a_man_page() {
    assert!(out(&["man"]).starts_with(".ie"));
    let site = Site::new(["https://example.com/"]);
    let folder = site.folder.path().join("man1");
    std::fs::create_dir(&folder).unwrap();
    out(&["man", "--out", folder.to_str().unwrap()]);
    for command in COMMANDS {
        let page = std::fs::read_to_string(folder.join(format!("backlake-{command}.1"))).unwrap();
        assert!(page.contains("Examples:"), "{command}");
        assert!(
            out(&["man", command]).contains(&format!("backlake\\-{command}")),
            "{command}"
        );
    }
    let other = program().args(["man", "other"]).output().unwrap();
    assert_eq!(other.status.code(), Some(2));
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
    let line = shown.lines().nth(1).unwrap();
    assert!(line.starts_with("2026-11-23  open  "), "{shown}");
    assert!(
        shown.ends_with("to continue: backlake run FILE --snapshot 2026-11-23\n"),
        "{shown}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&out(&["snapshots", &lake, "--output", "json"])).unwrap();
    assert_eq!(json[0]["state"], "open", "{json}");
}

#[test]
fn a_place_without_a_run_is_not_an_empty_lake() {
    let site = Site::new(["https://example.com/"]);
    let empty = site.folder.path().display().to_string();
    for command in ["status", "snapshots", "verify", "diff", "sql", "compact"] {
        let output = program().args([command, &empty]).output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {errors}");
        assert!(errors.contains("is not a lake, or no run has"), "{errors}");
    }
}

#[test]
fn a_lake_is_given_by_its_place_a_pipeline_file_or_the_environment() {
    let site = Site::new(["https://example.com/"]);
    assert!(site.program("run", &["-q"]).status.success());
    let lake = site.lake().display().to_string();
    let file = site.write("pipeline.toml", site.text());
    let elsewhere = site.write("else.toml", site.text().replace(&lake, "no/such/lake"));
    let shown = out(&["snapshots", &lake]);
    for (place, variable) in [
        (Some(&file), None),
        (None, Some(&lake)),
        // As with `run`, the environment replaces [lake] url.
        (Some(&elsewhere), Some(&lake)),
    ] {
        let mut command = program();
        command.arg("snapshots").args(place);
        if let Some(lake) = variable {
            command.env("BACKLAKE_LAKE", lake);
        }
        let output = command.output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(text(&output.stdout), shown, "{place:?} {errors}");
    }
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
