//! The documentation of the pipeline file, generated from [`KEYS`]: `docs/configuration.md`, and the
//! file with every key that `backlake config` prints.

use super::keys::Fallback::{self, Absent, Required, Value};
use super::keys::KEYS;
use super::keys::Kind::{
    self, Choices, Date, Dollars, Flag, Number, OneOf, Text, TextOrNumber, Texts,
};

impl Kind {
    /// The type and the allowed values, for the documentation.
    fn words(&self) -> (&'static str, String) {
        match self {
            Text => ("string", String::new()),
            Texts => ("list of strings", String::new()),
            TextOrNumber => ("string or integer", String::new()),
            Date => ("string", "a date such as `2026-11-23`".to_owned()),
            Flag => ("boolean", "`true`, `false`".to_owned()),
            Dollars => (
                "number or string",
                "an amount in USD such as `25.00`".to_owned(),
            ),
            Number => ("integer", "0 or more".to_owned()),
            OneOf(choices) => {
                let choices: Vec<_> = choices.iter().map(|one| format!("`{one}`")).collect();
                ("string", choices.join(", "))
            }
            Choices(choices) => {
                let choices: Vec<_> = choices.iter().map(|one| format!("`{one}`")).collect();
                ("list of strings", choices.join(", "))
            }
            Self::Within(range) => ("integer", format!("{} to {}", range.start(), range.end())),
            Self::UpTo(max) => ("number", format!("0.0 to {max:.1}")),
        }
    }
}

impl Fallback {
    fn words(&self) -> String {
        match self {
            Required(_) => "required".to_owned(),
            Value(toml) => format!("`{toml}`"),
            Self::Number(number) => format!("`{number}`"),
            Self::Ratio(ratio) => format!("`{ratio:.1}`"),
            Absent(instead, _) => (*instead).to_owned(),
        }
    }
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from src/pipeline/keys.rs. To update: UPDATE_DOCS=1 cargo test the_documentation_of_the_keys -->

A pipeline file is a TOML file. `backlake config` prints one with every key, as in `pipelines/nightly.toml`;
`pipelines/demo.toml` runs as it is. Required are `[targets] paths`, `[api] base_url` and `[lake] url`.
backlake rejects unknown keys, wrong types and impossible values, and says in which line. So does an editor that knows JSON
Schemas for TOML: run `backlake schema pipeline > pipeline.schema.json` once, and write `#:schema pipeline.schema.json` into
the first line of the pipeline file.

Some values can be set from outside. Precedence: flag, environment variable, pipeline file, default.

| key | flag | environment variable |
|---|---|---|
| `[lake] url` | `--lake` | `BACKLAKE_LAKE` |
| `snapshot` | `--snapshot` | `BACKLAKE_SNAPSHOT` |
| `[api] base_url` | `--base-url` | `BACKLAKE_BASE_URL` |
| `[budget] max_cost_usd` | `--max-cost-usd` | `BACKLAKE_MAX_COST_USD` |
| `[budget] max_minutes` | `--max-minutes` | `BACKLAKE_MAX_MINUTES` |

Credentials are never in the file. They come from `DATAFORSEO_LOGIN` and `DATAFORSEO_PASSWORD`, or from the files
that `DATAFORSEO_LOGIN_FILE` and `DATAFORSEO_PASSWORD_FILE` name.
";

/// The documentation of every key, in Markdown.
#[must_use]
pub fn configuration_markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut table = None;
    for key in KEYS {
        let (of, name) = key.path();
        if table != Some(of) {
            let heading = match of {
                "" => "Top of the file".to_owned(),
                of => format!("`[{of}]`"),
            };
            text += &format!(
                "\n## {heading}\n\n| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n"
            );
            table = Some(of);
        }
        let (kind, allowed) = key.kind.words();
        // A pipe would end the cell of the table.
        let allowed = allowed.replace('|', "\\|");
        let (default, meaning) = (key.default.words(), key.meaning);
        text += &format!("| `{name}` | {kind} | {default} | {allowed} | {meaning} |\n");
    }
    text
}

/// The widest line of the file with every key.
const WIDTH: usize = 100;

const FILE_HEAD: &str = "\
# A pipeline file with every key. A commented key shows its default; a comment behind it says so if it is an example.
# Credentials come from the environment only: DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD, or DATAFORSEO_LOGIN_FILE and
# DATAFORSEO_PASSWORD_FILE with the path of a file each.
";

/// A key that is set although it is not required: a first file should have a ceiling.
const SET: &str = "budget.max_cost_usd";

/// A pipeline file with every key, its default and its meaning, as TOML.
#[must_use]
pub fn configuration_toml() -> String {
    let mut text = FILE_HEAD.to_owned();
    let mut table = "";
    for key in KEYS {
        let (of, name) = key.path();
        if of != table {
            text += &format!("\n[{of}]\n");
            table = of;
        } else if of.is_empty() {
            text.push('\n');
        }
        let (_, allowed) = key.kind.words();
        let mut meaning = key.meaning.to_owned();
        if !allowed.is_empty() {
            meaning += &format!(" Allowed: {}.", allowed.replace('`', ""));
        }
        text += &comment(&meaning);
        let assignment = format!("{name} = {}", key.default.example());
        text += &match key.default {
            Required(_) => assignment,
            Absent(instead, _) if key.name == SET => format!("{assignment}  # default: {instead}"),
            Absent(instead, _) => format!("# {assignment}  # example; default: {instead}"),
            _ => format!("# {assignment}"),
        };
        text.push('\n');
    }
    text
}

/// A text as comment lines.
pub(super) fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = "#".to_owned();
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            lines += &(line + "\n");
            line = "#".to_owned();
        }
        line += &format!(" {word}");
    }
    lines + &line + "\n"
}
