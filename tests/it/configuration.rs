//! The documentation of the pipeline file and the example files agree with the parser.

use std::path::Path;

use backlake::clock::Clock;
use backlake::pipeline::{Overrides, Pipeline, configuration_markdown};

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

/// A commented key or table of `nightly.toml`, and whether its comment calls it an example.
struct Commented {
    line: usize,
    text: String,
    example: bool,
}

/// The lines of `nightly.toml` that become TOML without their `# `.
fn commented(nightly: &str) -> Vec<Commented> {
    let lines = nightly.lines().enumerate();
    let found = lines.filter_map(|(line, text)| {
        let text = text.strip_prefix("# ")?;
        let (toml, comment) = text.split_once('#').unwrap_or((text, ""));
        let key = toml.split_once(" = ").map_or(toml.trim(), |(key, _)| key);
        let is_toml = key.starts_with('[') || (toml.contains(" = ") && !key.contains(' '));
        is_toml.then(|| Commented {
            line,
            text: text.to_owned(),
            example: comment.trim_start().starts_with("example"),
        })
    });
    found.collect()
}

/// The pipeline of `nightly.toml` with these lines uncommented.
fn uncommented(nightly: &str, which: &[&Commented]) -> String {
    let mut lines: Vec<String> = nightly.lines().map(str::to_owned).collect();
    for commented in which {
        lines[commented.line].clone_from(&commented.text);
    }
    let clock = Clock::simulated(noon());
    let parsed = Pipeline::parse(
        "nightly.toml",
        &lines.join("\n"),
        Overrides::default(),
        &clock,
    );
    format!("{:?}", parsed.unwrap())
}

#[tokio::test]
async fn a_commented_key_of_the_nightly_pipeline_shows_its_default_or_is_an_example() {
    let nightly = read("pipelines/nightly.toml");
    let commented = commented(&nightly);
    let (examples, defaults): (Vec<_>, Vec<_>) = commented.iter().partition(|key| key.example);
    assert!(defaults.len() > 15 && examples.len() > 3);
    let bare = uncommented(&nightly, &[]);
    assert!(uncommented(&nightly, &defaults) == bare);
    for key in &examples {
        // A key of a table that is an example as a whole needs its table; the contracts file does
        // not exist.
        if !key.text.starts_with("per_")
            && !key.text.starts_with('[')
            && !key.text.starts_with("contracts")
        {
            assert!(uncommented(&nightly, &[key]) != bare, "{}", key.text);
        }
    }
}

#[tokio::test]
async fn the_nightly_pipeline_shows_every_key() {
    let nightly = read("pipelines/nightly.toml");
    let documentation = configuration_markdown();
    let documented = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(key, _)| !key.contains([' ', '[']));
    let mut count = 0;
    for (key, _) in documented {
        let shown = nightly.lines().any(|line| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.starts_with(&format!("{key} = "))
        });
        assert!(shown || key == "snapshot", "{key}");
        count += 1;
    }
    assert!(count > 35, "{count}");
}

#[test]
fn a_forgotten_base_url_is_refused_with_both_choices() {
    let demo = read("pipelines/demo.toml").replace("base_url = \"simulator\"\n", "");
    let clock = Clock::simulated(noon());
    let error = Pipeline::parse("demo.toml", &demo, Overrides::default(), &clock).unwrap_err();
    assert_eq!(error.to_string(), "demo.toml does not say whom to ask");
    assert!(
        error.hint().contains("\"simulator\" for invented data")
            && error.hint().contains("\"https://api.dataforseo.com\""),
        "{}",
        error.hint()
    );
}

#[tokio::test]
async fn missing_keys_are_listed_together_and_an_amount_needs_quotes() {
    let clock = Clock::simulated(noon());
    let message = |text: &str| {
        let parsed = Pipeline::parse("a.toml", text, Overrides::default(), &clock);
        parsed.unwrap_err().to_string()
    };
    let bare =
        message("name = \"a\"\n[targets]\npaths = [\"a.txt\"]\n[api]\nbase_url = \"simulator\"\n");
    assert_eq!(
        bare,
        "a.toml needs endpoint = \"backlinks/bulk_pages_summary\", [lake] url = \"lake\""
    );
    let demo = read("pipelines/demo.toml");
    let amount = message(&format!("{demo}[budget]\nmax_cost_usd = 25\n"));
    assert!(
        amount
            .ends_with("key `max_cost_usd`: write the amount in quotes: max_cost_usd = \"25.00\""),
        "{amount}"
    );
}
