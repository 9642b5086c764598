//! The text of the report of `run` and `replay`.

use std::fmt::Write as _;

use super::alert_text::worst;
use super::format::{bytes, count, duration, exact, rounded, signed_count};
use crate::counted::counted;
use crate::fate::Fate;
use crate::flatten::Drifted;
use crate::lake::ProfileChange;
use crate::money::Usd;
use crate::pipeline::{Findings, Pipeline, Refusals, RunReport, RunState};
use crate::targets::ReadAs;
use crate::visible::escaped;

/// Whom a pipeline asks, and whether the data is invented.
pub(super) fn provider(name: &str, invented: bool) -> String {
    let note = if invented { " (invented data)" } else { "" };
    format!("{name}{note}")
}

/// How many lists are shown by name.
const LISTS: usize = 5;

/// The columns that the targets were taken from, a line for each list that has columns.
pub(super) fn columns(lists: &[ReadAs]) -> String {
    let mut text = String::new();
    let named = lists
        .iter()
        .filter_map(|list| Some((list, list.column.as_ref()?)));
    for (list, column) in named.clone().take(LISTS) {
        let delimiter = list
            .delimiter
            .map(|delimiter| format!(" with {}", delimiter.toml()));
        let _ = writeln!(
            text,
            "      {} is read as {}{}: column {column}",
            escaped(&list.source),
            list.format.name(),
            delimiter.unwrap_or_default(),
        );
    }
    let more = named.count().saturating_sub(LISTS) as u64;
    if more > 0 {
        let _ = writeln!(text, "      and {}", counted(more, "more list"));
    }
    text
}

/// The report for people; `published` says how the snapshot was published.
pub(super) fn text(report: &RunReport, pipeline: &Pipeline, published: &str) -> String {
    let (snapshot, lake) = (report.snapshot, &pipeline.lake.url);
    let mut text = match report.state {
        RunState::Published => format!("snapshot {snapshot} is {published} {lake}\n\n"),
        RunState::AlreadyPublished => {
            let mut text = format!(
                "snapshot {snapshot} is already published in {lake}, by run {}: nothing was sent\n  `--replace` fetches it again, with the target lists as they are now; this costs money\n",
                report.run
            );
            also_open(report, &mut text);
            return text;
        }
        RunState::Open => format!("snapshot {snapshot} is not published in {lake}\n\n"),
    };
    let asked = provider(&report.provider, report.invented);
    let _ = writeln!(text, "  {:<14}{asked}", "provider");
    lines(report, &mut text);
    text += &columns(&report.lists);
    requests(report, &mut text);
    if let Some(refusals) = &report.refusals {
        refused(refusals, &mut text);
    }
    if report.vanished > 0 {
        let vanished = counted(report.vanished, "target");
        let _ = writeln!(
            text,
            "  {vanished} of earlier responses are no longer in the list; their rows are kept"
        );
    }
    if let Some(balance) = report.means.and_then(|means| means.balance_usd) {
        let balance = rounded(balance);
        row(&mut text, "balance", &balance, "before the first request");
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "  warning: {}", escaped(warning));
    }
    also_open(report, &mut text);
    worst(
        &report.alerts,
        report.quiet_alerts,
        report.more_alerts,
        &mut text,
    );
    drift(&report.findings, report.items, &mut text);
    changes(&report.findings, &mut text);
    text
}

/// The other snapshots that are not published.
fn also_open(report: &RunReport, text: &mut String) {
    for date in &report.also_open {
        let _ = writeln!(
            text,
            "  {:<14}{date:>13}  `--snapshot {date}` continues it",
            "also open"
        );
    }
}

/// A name, a figure to the right, and a note.
fn row(text: &mut String, name: &str, figure: &str, note: &str) {
    let line = format!("  {name:<14}{figure:>13}  {note}");
    let _ = writeln!(text, "{}", line.trim_end());
}

fn lines(report: &RunReport, text: &mut String) {
    row(text, "lines", &count(report.lines), "");
    for fate in Fate::ALL {
        let number = report.fates.of(fate);
        if number > 0 {
            row(text, &format!("  {}", fate.name()), &count(number), "");
        }
    }
    let unmatched = match report.unmatched {
        0 => String::new(),
        unmatched => format!("{} match no requested target", count(unmatched)),
    };
    row(text, "items", &count(report.items), &unmatched);
}

fn requests(report: &RunReport, text: &mut String) {
    let retried = match report.retries {
        0 => String::new(),
        retries => format!(", {} retried", count(retries)),
    };
    let bound = format!("lower bound {}{retried}", count(report.lower_bound));
    row(text, "requests", &count(report.requests), &bound);
    let unknown = if report.cost_unknown_usd > Usd::ZERO {
        format!(
            "and up to {} not settled yet",
            exact(report.cost_unknown_usd)
        )
    } else {
        String::new()
    };
    row(text, "cost", &exact(report.cost_usd), &unknown);
    if report.files > 0 {
        row(text, "files", &count(report.files), &bytes(report.bytes));
    }
    let time = duration(report.seconds.round() as u64);
    row(text, "time", &time, &format!("run {}", report.run));
}

/// The refused targets, what it took to find them, and when they are asked for again.
fn refused(refusals: &Refusals, text: &mut String) {
    let Refusals {
        found,
        skipped,
        requests_refused,
        responses_above_bound: above,
        cost_usd,
        asked_again_from,
        examples,
    } = refusals;
    if *found > 0 {
        let targets = counted(*found, "refused target");
        let refused = counted(*requests_refused, "refused request");
        let paid = match (above, cost_usd) {
            (0, _) => String::new(),
            (above, None) => format!(" and {} above the lower bound", counted(*above, "response")),
            (above, Some(cost)) => format!(
                " and {} above the lower bound, ${cost} in all",
                counted(*above, "response")
            ),
        };
        let _ = writeln!(text, "  {targets}, found with {refused}{paid}");
        for example in examples {
            let cut: String = example.target.chars().take(EXAMPLE).collect();
            let more = if cut.len() < example.target.len() {
                "…"
            } else {
                ""
            };
            let (target, reason) = (escaped(&cut), escaped(&example.reason));
            let _ = writeln!(text, "      {target}{more}: {reason}");
        }
        let more = found - examples.len() as u64;
        if more > 0 {
            let _ = writeln!(text, "      and {} more", count(more));
        }
        let _ = match asked_again_from {
            Some(date) => writeln!(text, "      not asked for again before {date}"),
            None => writeln!(text, "      asked for again by the next run"),
        };
    }
    if *skipped > 0 {
        let skipped = counted(*skipped, "target");
        let _ = writeln!(
            text,
            "  not asked for: {skipped} that the provider refused in an earlier run"
        );
    }
}

/// How many characters of an example are shown.
const EXAMPLE: usize = 60;

/// The fields that differ from the contract, with the lines that would adopt them.
fn drift(findings: &Findings, items: u64, text: &mut String) {
    if findings.drift.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n  the responses differ from the contract:");
    for drift in &findings.drift {
        let kept = match drift.what {
            Drifted::Unknown | Drifted::Misfit => ", kept in pages.extra",
            Drifted::Missing | Drifted::Vanished => ", null in the table",
        };
        let of = format!("{} of {} items{kept}", count(drift.items), count(items));
        let _ = writeln!(
            text,
            "    `{}` {}: {of}",
            escaped(&drift.field),
            drift.what.words()
        );
        if let Some(example) = &drift.example {
            let cut: String = example.chars().take(EXAMPLE).collect();
            let more = if cut.len() < example.len() { "…" } else { "" };
            let _ = writeln!(text, "      for example {}{more}", escaped(&cut));
        }
    }
    let adopting: Vec<&str> = findings
        .drift
        .iter()
        .filter_map(|drift| drift.adopt.as_deref())
        .collect();
    if !adopting.is_empty() {
        let _ = writeln!(
            text,
            "    to adopt: copy the contract (`backlake schema pages --toml`), raise its version, append\n    these lines, name the file in [lake] contracts, and replay the snapshot:"
        );
        for line in adopting.iter().flat_map(|lines| lines.lines()) {
            let _ = writeln!(text, "      {}", escaped(line));
        }
    }
}

/// A count with separators, or a share as it is.
fn figure_of(value: f64) -> String {
    if value.fract() == 0.0 {
        signed_count(value as i64)
    } else {
        value.to_string()
    }
}

/// The figures that differ from the previous snapshot by more than the pipeline file allows.
fn changes(findings: &Findings, text: &mut String) {
    if !findings.changes.is_empty() {
        let _ = writeln!(text, "\n  the data differs from the previous snapshot:");
    }
    for change in &findings.changes {
        let ProfileChange {
            figure,
            before,
            now,
            change,
            ..
        } = change;
        let _ = writeln!(
            text,
            "    {figure}: {} before, {} now ({:+.1} %)",
            figure_of(*before),
            figure_of(*now),
            change * 100.0
        );
    }
}
