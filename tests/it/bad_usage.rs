//! Every command refuses bad arguments, places and environment variables with exit code 2, one
//! message and one hint.

use crate::command_line::COMMANDS;
use crate::harness::{Site, program, text};

/// One line `error: …` that contains these words, one line `hint: …`, and nothing else.
fn refused(args: &[&str], variable: Option<(&str, &str)>, words: &str) {
    let output = program().args(args).envs(variable).output().unwrap();
    let errors = text(&output.stderr);
    let said = format!("{args:?} {variable:?}: {errors}");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(text(&output.stdout), "", "{said}");
    let lines: Vec<&str> = errors.lines().collect();
    let [message, hint] = lines.as_slice() else {
        panic!("not a message and a hint: {said}")
    };
    assert!(
        message.starts_with("error: ") && message.contains(words),
        "`{words}` is not in {said}"
    );
    assert!(hint.starts_with("hint: ") && hint.len() > 20, "{said}");
}

/// A list that is there.
const LIST: &str = "data/targets/awesome.txt";
/// Commands that need no argument.
const FREE: [&str; 4] = ["simulate", "schema", "config", "man"];
/// Commands that take a pipeline file.
const ON_FILES: [&str; 4] = ["plan", "run", "replay", "check"];

/// Commands that take a lake, with what else they need.
fn on_lakes() -> Vec<Vec<&'static str>> {
    let others: Vec<&str> = FREE
        .into_iter()
        .chain(ON_FILES)
        .chain(["completions", "init"])
        .collect();
    let lakes = COMMANDS.iter().filter(|command| !others.contains(command));
    let lakes: Vec<_> = lakes
        .map(|command| match *command {
            "prune" => vec!["prune", "--keep-snapshots", "1"],
            "abandon" => vec!["abandon", "--snapshot", "2026-11-23"],
            command => vec![command],
        })
        .collect();
    assert_eq!(lakes.len(), 10, "a new command: {lakes:?}");
    lakes
}

#[test]
fn a_place_that_is_wrong_is_refused_by_every_command_that_takes_one() {
    let site = Site::new(["https://example.com/"]);
    let folder = site.folder.path().display().to_string();
    let file = site.write("a-file", "").display().to_string();
    let inside = format!("{file}/lake");
    for command in ON_FILES {
        for (place, words) in [
            (None, "required arguments were not provided: <FILE>"),
            (
                Some("no/such.toml"),
                "failed to read pipeline file no/such.toml",
            ),
            (Some(folder.as_str()), "it is a folder, not a file"),
            (Some(inside.as_str()), "Not a directory"),
            (Some(file.as_str()), "a-file needs [targets] paths"),
        ] {
            let args: Vec<&str> = [command].into_iter().chain(place).collect();
            refused(&args, None, words);
        }
    }
    for command in on_lakes() {
        for (place, words) in [
            (None, "no lake was given"),
            (Some("no/such/lake"), "there is no lake at no/such/lake"),
            (
                Some("no/such.toml"),
                "failed to read pipeline file no/such.toml",
            ),
            (
                Some(folder.as_str()),
                "is not a lake, or no run has started in it",
            ),
            (Some(inside.as_str()), "Not a directory"),
            (Some(file.as_str()), "a-file is a file, not a folder"),
            (Some("ftp://example.com/lake"), "ftp:// is not supported"),
        ] {
            let args: Vec<&str> = command.iter().copied().chain(place).collect();
            refused(&args, None, words);
        }
        refused(&command, Some(("BACKLAKE_LAKE", "")), "no lake was given");
        refused(
            &command,
            Some(("BACKLAKE_LAKE", "nightly.toml")),
            "BACKLAKE_LAKE: nightly.toml is a pipeline file, not a lake",
        );
        refused(
            &command,
            Some(("BACKLAKE_LAKE", "no/such")),
            "there is no lake at no/such",
        );
    }
    for (list, words) in [
        (None, "required arguments were not provided: <LIST>"),
        (
            Some("no/such.csv"),
            "target list no/such.csv does not exist",
        ),
        (Some("-"), "standard input can be read only once"),
        (Some(folder.as_str()), "is a directory"),
        (Some("ftp://example.com/a.csv"), "ftp:// is not supported"),
    ] {
        let args: Vec<&str> = ["init"].into_iter().chain(list).collect();
        refused(&args, None, words);
    }
    refused(
        &["completions"],
        None,
        "required arguments were not provided: <SHELL>",
    );
}

#[test]
fn values_and_flags_that_are_wrong_are_refused_with_what_is_right() {
    let site = Site::new(["https://example.com/"]);
    assert!(site.program("run", &["-q"]).status.success());
    let lake = site.lake().display().to_string();
    let file = site
        .write("pipeline.toml", site.text())
        .display()
        .to_string();
    let (lake, file) = (lake.as_str(), file.as_str());
    for (args, words) in [
        (
            &["run", file, "--snapshot", "yesterday"][..],
            "'yesterday' for '--snapshot <DATE>': not a date; write it as 2026-11-23",
        ),
        (&["run", file, "--snapshot", "2026-02-30"], "not a date"),
        (
            &["run", file, "--max-cost-usd", "lots"],
            "not an amount of dollars; write it as 25.00",
        ),
        (
            &["run", file, "--max-cost-usd", "-1"],
            "--max-cost-usd: -1.00 is negative",
        ),
        (
            &["run", file, "--max-minutes", "0"],
            "not a number of minutes; write it as 240",
        ),
        (
            &["run", file, "--max-minutes", "soon"],
            "not a number of minutes",
        ),
        (&["run", file, "--lake", ""], "the URL is empty"),
        (
            &["run", file, "--lake", "ftp://x"],
            "ftp:// is not supported",
        ),
        (
            &["run", file, "--base-url", "nope"],
            "`nope` is neither \"simulator\" nor a URL",
        ),
        (
            &["run", file, "--metrics-file", "/no/such/file"],
            "--metrics-file: failed to write /no/such/file",
        ),
        (
            &["run", file, "-v", "-q"],
            "'--verbose...' cannot be used with '--quiet'",
        ),
        (&["run", file, "again"], "unexpected argument 'again' found"),
        (
            &["run", file, "--replay"],
            "unexpected argument '--replay' found",
        ),
        (
            &["plan", file, "--output", "xml"],
            "invalid value 'xml' for '--output <OUTPUT>' [possible values: text, json]",
        ),
        (
            &["init", LIST, "--out", file],
            "exists, and is not overwritten",
        ),
        (
            &["init", LIST, "--out", "/no/such/file.toml"],
            "failed to write /no/such/file.toml",
        ),
        (
            &["init", LIST, "--base-url", "ftp://x"],
            "--base-url: scheme `ftp` is not https",
        ),
        (
            &["init", LIST, "--endpoint", "backlinks/nope"],
            "invalid value 'backlinks/nope' for '--endpoint <NAME>'",
        ),
        (&["init", LIST, "--lake", ""], "the URL is empty"),
        (&["plan", file, "--lake", "~/lake"], "`~` is not expanded"),
        (
            &["plan", file, "--lake", "ftp://x"],
            "ftp:// is not supported",
        ),
        (&["plan", file, "--lake", "s3://"], "s3:// names no bucket"),
        (
            &["plan", file, "--lake", file],
            "is a pipeline file, not a lake",
        ),
        (&["plan", file, "--lake", LIST], "is a file, not a folder"),
        (&["run", file, "--lake", LIST], "is a file, not a folder"),
        (
            &["plan", file, "--lake", "az://container/lake"],
            "failed to open the lake at az://container/lake",
        ),
        (&["status", lake, "--nights", "0"], "'0' for '--nights <N>'"),
        (
            &["status", lake, "--nights", "200000"],
            "not a number of nights from 1 to 100000",
        ),
        (&["report", lake, "--nights", "0"], "'0' for '--nights <N>'"),
        (
            &["status", lake, "--max-age", "-1h"],
            "not an age; write it as 26h, 90m or 2d",
        ),
        (
            &["status", lake, "--max-age", "5"],
            "not an age; write it as 26h, 90m or 2d",
        ),
        (
            &["snapshots", lake, "--snapshot", "2026-11-22"],
            "snapshot 2026-11-22 was never started",
        ),
        (
            &["verify", lake, "--snapshot", "2026-11-22"],
            "snapshot 2026-11-22 is not published",
        ),
        (&["diff", lake, "--from", "2026-13-01"], "not a date"),
        (
            &["diff", lake, "--limit", "0"],
            "--limit: 0 applies to lists",
        ),
        (&["prune", lake], "no rule says what to keep"),
        (
            &["prune", lake, "--keep-snapshots", "-1"],
            "not a whole number from 0 up, or too large; write it as 30",
        ),
        (
            &["sql", lake, "--write", "/no/such/file"],
            "--write: failed to write /no/such/file",
        ),
        (
            &["simulate", "--port", "99999"],
            "not a port; write a number from 0 to 65535",
        ),
        (
            &["schema", "nope"],
            "possible values: pages, breakdowns, targets, requests, pipeline",
        ),
        (&["schema", "pages", "--markdown"], "cannot be used with"),
        (&["schema", "pipeline", "--toml"], "is not a table"),
        (
            &["completions", "tcsh"],
            "invalid value 'tcsh' for '<SHELL>'",
        ),
        (&["man", "nope"], "`nope` is not a command"),
        (
            &["man", "--out", "/no/such/folder"],
            "--out: failed to write /no/such/folder/backlake.1",
        ),
        (&["snapshts", lake], "unrecognized subcommand 'snapshts'"),
        (&["--nonsense"], "unexpected argument '--nonsense' found"),
    ] {
        refused(args, None, words);
    }
}

#[test]
fn an_environment_variable_with_rubbish_is_named() {
    let site = Site::new(["https://example.com/"]);
    let file = site
        .write("pipeline.toml", site.text())
        .display()
        .to_string();
    for (name, value, words) in [
        (
            "BACKLAKE_SNAPSHOT",
            "soon",
            "BACKLAKE_SNAPSHOT: invalid value 'soon'",
        ),
        (
            "BACKLAKE_SNAPSHOT",
            "",
            "BACKLAKE_SNAPSHOT: invalid value ''",
        ),
        (
            "BACKLAKE_MAX_COST_USD",
            "lots",
            "BACKLAKE_MAX_COST_USD: invalid value 'lots'",
        ),
        (
            "BACKLAKE_MAX_MINUTES",
            "x",
            "BACKLAKE_MAX_MINUTES: invalid value 'x'",
        ),
        (
            "BACKLAKE_BASE_URL",
            "x",
            "`x` is neither \"simulator\" nor a URL",
        ),
        ("BACKLAKE_LAKE", "", "BACKLAKE_LAKE: the URL is empty"),
        ("BACKLAKE_LAKE", "ftp://x", "ftp:// is not supported"),
        (
            "BACKLAKE_LAKE",
            "nightly.toml",
            "BACKLAKE_LAKE: nightly.toml is a pipeline file, not a lake",
        ),
        (
            "BACKLAKE_LOG_FORMAT",
            "xml",
            "BACKLAKE_LOG_FORMAT: invalid value 'xml'",
        ),
        (
            "BACKLAKE_LOG",
            "a=b=c",
            "BACKLAKE_LOG: `a=b=c` is not a list of filters",
        ),
        (
            "BACKLAKE_METRICS_FILE",
            "/no/such/file",
            "failed to write /no/such/file",
        ),
    ] {
        refused(&["run", &file, "-q"], Some((name, value)), words);
    }
}
