//! The documentation of the pipeline file and the example files agree with the parser.

use std::path::Path;

use backlake::clock::Clock;
use backlake::pipeline::{Overrides, Pipeline, configuration_markdown, configuration_toml};
use chrono::TimeDelta;

use crate::harness::noon;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_documentation_of_the_keys_is_generated_from_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, configuration_markdown()).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap();
    let hint = "run UPDATE_DOCS=1 cargo test the_documentation_of_the_keys";
    assert_eq!(written, configuration_markdown(), "{hint}");
}

#[test]
fn the_nightly_pipeline_is_the_file_with_every_key_for_the_lists_of_this_folder() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/nightly.toml");
    let (paths, ours) = ("[\"targets.txt\"]", "[\"data/targets/*.txt\"]");
    let expected = configuration_toml().replace(paths, ours);
    assert!(expected.contains(ours));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap();
    let hint = "run UPDATE_DOCS=1 cargo test --test it the_nightly_pipeline";
    assert_eq!(written, expected, "{hint}");
}

/// A commented key of the file with every key, and whether its comment calls it an example.
struct Commented {
    line: usize,
    text: String,
    example: bool,
}

/// The lines that become TOML without their `# `.
fn commented(file: &str) -> Vec<Commented> {
    let lines = file.lines().enumerate();
    let found = lines.filter_map(|(line, text)| {
        let text = text.strip_prefix("# ")?;
        let (toml, comment) = text.split_once('#').unwrap_or((text, ""));
        let (key, _) = toml.split_once(" = ")?;
        (!key.contains(' ')).then(|| Commented {
            line,
            text: text.to_owned(),
            example: comment.trim_start().starts_with("example"),
        })
    });
    found.collect()
}

/// The pipeline of the file with these lines uncommented.
fn uncommented(file: &str, which: &[&Commented]) -> String {
    let mut lines: Vec<String> = file.lines().map(str::to_owned).collect();
    for commented in which {
        lines[commented.line].clone_from(&commented.text);
    }
    let clock = Clock::simulated(noon() + TimeDelta::days(1));
    let text = lines.join("\n");
    let parsed = Pipeline::parse("other.toml", &text, Overrides::default(), &clock);
    format!("{:?}", parsed.unwrap())
}

#[tokio::test]
async fn a_commented_key_shows_its_default_or_is_an_example() {
    let file = configuration_toml();
    let commented = commented(&file);
    let (examples, defaults): (Vec<_>, Vec<_>) = commented.iter().partition(|key| key.example);
    assert!(defaults.len() > 15 && examples.len() > 3);
    let bare = uncommented(&file, &[]);
    assert!(uncommented(&file, &defaults) == bare);
    let prices: Vec<_> = examples
        .iter()
        .copied()
        .filter(|key| key.text.starts_with("per_"))
        .collect();
    assert!(prices.len() == 2 && uncommented(&file, &prices) != bare);
    for key in &examples {
        // One price needs the other, and the file of contracts does not exist.
        if !key.text.starts_with("per_") && !key.text.starts_with("contracts") {
            assert!(uncommented(&file, &[key]) != bare, "{}", key.text);
        }
    }
}

#[test]
fn a_file_needs_only_what_has_no_default_and_all_that_is_missing_is_named_at_once() {
    let clock = Clock::simulated(noon());
    let parse = |text: &str, overrides: Overrides| {
        Pipeline::parse("some/links-de.toml", text, overrides, &clock)
    };
    let shortest =
        "[targets]\npaths = [\"a.txt\"]\n[api]\nbase_url = \"simulator\"\n[lake]\nurl = \"lake\"\n";
    assert_eq!(
        parse(shortest, Overrides::default()).unwrap().name,
        "links-de"
    );
    let (paths, url, lake) = (
        "[targets] paths = [\"targets.txt\"]",
        "[api] base_url = \"https://api.dataforseo.com\"",
        "[lake] url = \"lake\"",
    );
    let price = "[price]\nper_row_usd = 0.01\n";
    for (text, overrides, expected) in [
        (
            "",
            Overrides::default(),
            format!("some/links-de.toml needs {paths}, {url}, {lake}"),
        ),
        (
            "[targets]\npaths = [\"a.txt\"]\n",
            Overrides {
                lake: Some("lake".to_owned()),
                ..Overrides::default()
            },
            format!("some/links-de.toml needs {url}"),
        ),
        (
            &format!("{shortest}{price}"),
            Overrides::default(),
            "some/links-de.toml needs [price] per_request_usd = 0.024".to_owned(),
        ),
    ] {
        let error = parse(text, overrides).unwrap_err();
        assert_eq!(error.to_string(), expected);
        let whom = error.hint().contains("base_url = \"simulator\" is free");
        assert_eq!(whom, expected.contains("base_url"), "{}", error.hint());
    }
    let unnamed = Pipeline::parse("my list.toml", shortest, Overrides::default(), &clock);
    let error = unnamed.unwrap_err();
    assert!(
        error.to_string().contains("`my list` is not one"),
        "{error}"
    );
    assert_eq!(error.hint(), "write name = \"nightly\"");
}

#[test]
fn an_amount_may_be_a_number_or_a_string_and_a_wrong_one_shows_the_line_to_write() {
    let clock = Clock::simulated(noon());
    let demo = read("pipelines/demo.toml");
    let budget = |amount: &str| {
        let text = format!("{demo}[budget]\nmax_cost_usd = {amount}\n");
        Pipeline::parse("demo.toml", &text, Overrides::default(), &clock)
    };
    for (amount, expected) in [
        ("25", "25.00"),
        ("0.000036", "0.000036"),
        ("0.1", "0.10"),
        ("1e-5", "0.00001"),
        ("\"12.50\"", "12.50"),
        ("1_000", "1000.00"),
    ] {
        let read = budget(amount).unwrap().budget.max_cost_usd.unwrap();
        assert_eq!(read.to_string(), expected, "{amount}");
    }
    for (amount, expected) in [
        (
            "\"lots\"",
            "key `max_cost_usd`: `lots` is not an amount of dollars",
        ),
        (
            "inf",
            "key `max_cost_usd`: `inf` is not an amount of dollars",
        ),
        (
            "true",
            "invalid type: boolean `true`, expected an amount of dollars",
        ),
        ("-1", "key `budget.max_cost_usd`: -1.00 is negative"),
    ] {
        let error = budget(amount).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let line = "write for example [budget] max_cost_usd = 25.00;";
        assert!(error.hint().starts_with(line), "{}", error.hint());
    }
}
