//! The text of a first pipeline file, with what was found out about the list as comments.

use std::fmt::Write as _;

use super::invalid::described;
use super::key_docs::comment;
use super::report::InitReport;
use super::resolve::SIMULATOR;
use crate::money::Usd;
use crate::provider::Endpoint;
use crate::secret::shown;
use crate::targets::{Column, ReadAs, Reading};
use crate::visible::{escaped, toml_string};

/// What the first pipeline file should say.
#[derive(Debug, Clone)]
pub struct InitSettings {
    /// The target list: a path, a glob or a URL.
    pub list: String,
    /// Where the file is to be.
    pub file: String,
    /// The endpoint to ask.
    pub endpoint: Endpoint,
    /// The provider to ask; the simulator if absent.
    pub base_url: Option<String>,
    /// The lake, if it is given.
    pub lake: Option<String>,
}

/// Everything that the file says.
pub(super) struct FirstFile<'a> {
    pub(super) settings: &'a InitSettings,
    pub(super) name: &'a str,
    pub(super) reading: &'a Reading,
    /// The columns that can be kept and are not, because they are many.
    pub(super) not_kept: &'a [String],
    pub(super) lake: &'a str,
    pub(super) report: &'a InitReport,
}

impl FirstFile<'_> {
    /// The file as TOML.
    pub(super) fn text(&self) -> String {
        let mut text = self.head();
        self.targets(&mut text);
        self.api(&mut text);
        self.budget(&mut text);
        self.lake(&mut text);
        text
    }

    fn head(&self) -> String {
        let list = shown(&self.settings.list);
        let list = escaped(&list);
        let mut text = comment(&format!(
            "The pipeline of {list}, written by `backlake init`. `backlake config` prints every key with its default and meaning."
        ));
        let _ = writeln!(text, "name = {}", toml_string(self.name));
        let endpoint = self.settings.endpoint.name();
        let _ = writeln!(text, "endpoint = {}", toml_string(endpoint));
        text
    }

    fn targets(&self, text: &mut String) {
        let InitReport {
            pages,
            domains,
            subdomains,
            plan,
            ..
        } = self.report;
        text.push_str("\n[targets]\n");
        for list in plan.lists.iter().take(LISTS) {
            *text += &comment(&read_as(list, self.reading));
        }
        *text += &comment(&format!(
            "Lines: {}. Targets: {} (pages: {pages}, domains: {domains}, subdomains: {subdomains}) in root domains: {}. Duplicates: {}. Invalid: {}.",
            plan.lines, plan.targets, plan.root_domains, plan.duplicates, plan.invalid
        ));
        if plan.invalid > 0 {
            let reasons = described(&plan.invalid_reasons);
            *text += &comment(&format!(
                "Invalid lines are counted and left out: {reasons}."
            ));
        }
        let paths = toml_string(&self.settings.list);
        let _ = writeln!(text, "paths = [{paths}]");
        let reading = self.reading;
        if let Some(format) = reading.format {
            let _ = writeln!(text, "format = \"{}\"", format.name());
        }
        if !reading.header {
            text.push_str("header = false\n");
        }
        if reading.skip_lines > 0 {
            let _ = writeln!(text, "skip_lines = {}", reading.skip_lines);
        }
        match &reading.column {
            None => {}
            Some(Column::Name(name)) => {
                let _ = writeln!(text, "column = {}", toml_string(name));
            }
            Some(Column::Number(number)) => {
                let _ = writeln!(text, "column = {number}");
            }
        }
        let (mark, keep) = match (&reading.keep, self.not_kept) {
            (kept, []) if kept.is_empty() => return,
            (kept, _) if kept.is_empty() => ("# ", self.not_kept),
            (kept, _) => ("", kept.as_slice()),
        };
        *text += &comment("Columns to copy into `labels` of the table `targets`.");
        let keep: Vec<String> = keep.iter().map(|name| toml_string(name)).collect();
        let _ = writeln!(text, "{mark}keep = [{}]", keep.join(", "));
    }

    fn api(&self, text: &mut String) {
        text.push_str("\n[api]\n");
        match self.settings.base_url.as_deref() {
            Some(url) if url != SIMULATOR => {
                *text += &comment(
                    "Credentials come from the environment: DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD, or files named by DATAFORSEO_LOGIN_FILE and DATAFORSEO_PASSWORD_FILE.",
                );
                let _ = writeln!(text, "base_url = {}", toml_string(url));
            }
            _ => {
                *text += &comment(
                    "The embedded simulator is free and invents its data. For real data, which costs money, write base_url = \"https://api.dataforseo.com\" and another [lake] url.",
                );
                let _ = writeln!(text, "base_url = \"{SIMULATOR}\"");
            }
        }
    }

    fn budget(&self, text: &mut String) {
        let plan = &self.report.plan;
        text.push_str("\n[budget]\n");
        *text += &comment(&format!(
            "The most that a snapshot may cost: twice what a first run costs at list prices, in full dollars. Its requests: {}, for ${} or less.",
            plan.requests, plan.cost_usd
        ));
        let _ = writeln!(text, "max_cost_usd = {}.00", ceiling(plan.cost_usd));
    }

    fn lake(&self, text: &mut String) {
        text.push_str("\n[lake]\n");
        *text += &comment("A path, or s3://bucket/folder, gs://…, az://….");
        let _ = writeln!(text, "url = {}", toml_string(self.lake));
    }
}

/// The most lists that are described.
const LISTS: usize = 5;

/// Twice the cost in full dollars, rounded up.
fn ceiling(cost: Usd) -> i128 {
    let cents = 2 * cost.cents();
    (cents + 99).div_euclid(100).max(1)
}

/// How a list is read, in words.
fn read_as(list: &ReadAs, reading: &Reading) -> String {
    let mut text = format!("{} is {}", escaped(&list.source), list.format.name());
    if let Some(delimiter) = list.delimiter {
        text += &format!(" with {}", delimiter.toml());
    }
    if list.columns.is_empty() {
        return text + ".";
    }
    if !reading.header {
        return text + &format!(" without a header: {} columns.", list.columns.len());
    }
    let shown = list.columns.iter().take(COLUMNS);
    let shown: Vec<String> = shown.map(|name| format!("`{}`", escaped(name))).collect();
    let more = list.columns.len().saturating_sub(COLUMNS);
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    text + &format!("; its columns are {}{more}.", shown.join(", "))
}

/// The most columns that are named.
const COLUMNS: usize = 30;
