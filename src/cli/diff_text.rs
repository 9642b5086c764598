//! The tables of `diff` as text.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::format::{count, signed_count};
use crate::history::{BreakdownChange, PageChange, PageCounts, Summary, Total};
use crate::visible::escaped;

fn number(value: Option<i64>) -> String {
    value.map_or_else(|| "-".to_owned(), signed_count)
}

fn signed(value: Option<i64>) -> String {
    let sign = if value.is_some_and(|value| value > 0) {
        "+"
    } else {
        ""
    };
    format!("{sign}{}", number(value))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:+.1}%", share * 100.0))
}

pub(super) fn page_header(by: &str) -> String {
    format!("{by:>32}  target")
}

pub(super) fn page_line(page: &PageChange, value: Option<i64>) -> String {
    format!("{:>32}  {}\n", number(value), target(page))
}

/// The target of a page. That of an unmatched item is what the provider sent.
fn target(page: &PageChange) -> Cow<'_, str> {
    escaped(page.target.as_deref().unwrap_or("-"))
}

fn change_header(what: &str) -> String {
    format!(
        "{:>15}{:>15}{:>15}{:>11}  {what}",
        "before", "after", "change", "relative"
    )
}

fn change_line(numbers: [Option<i64>; 3], relative: Option<f64>, what: &str) -> String {
    let [before, after, change] = numbers;
    format!(
        "{:>15}{:>15}{:>15}{:>11}  {what}\n",
        number(before),
        number(after),
        signed(change),
        percent(relative)
    )
}

pub(super) fn mover_header() -> String {
    change_header("target")
}

pub(super) fn mover_line(page: &PageChange) -> String {
    change_line(
        [page.before, page.after, page.change],
        page.relative_change,
        &target(page),
    )
}

pub(super) fn breakdown_header() -> String {
    change_header(&format!("{:<18}  key", "dimension"))
}

pub(super) fn breakdown_line(shift: &BreakdownChange) -> String {
    let dimension = shift.dimension.as_deref().unwrap_or("-");
    let key = shift
        .key
        .as_deref()
        .filter(|key| !key.is_empty())
        .unwrap_or("\"\"");
    let what = format!("{dimension:<18}  {}", escaped(key));
    change_line(
        [shift.before, shift.after, shift.change],
        shift.relative_change,
        &what,
    )
}

pub(super) fn summary_text(summary: &Summary) -> String {
    let PageCounts {
        before,
        after,
        gained,
        lost,
        changed,
        unchanged,
        unknown,
        ..
    } = summary.pages;
    let by = &summary.by;
    let mut text = format!("from {} to {}\n\n", summary.from, summary.to);
    for (name, pages, note) in [
        ("pages before", before, String::new()),
        ("pages after", after, String::new()),
        ("  gained", gained, String::new()),
        ("  lost", lost, String::new()),
        ("  changed", changed, format!("  in {by}")),
        ("  unchanged", unchanged, String::new()),
        (
            "  unknown",
            unknown,
            format!("  {by} is null in one snapshot"),
        ),
    ] {
        if name != "  unknown" || pages > 0 {
            let _ = writeln!(
                text,
                "  {name:<16}{:>14}{note}",
                count(pages.unsigned_abs())
            );
        }
    }
    totals(summary, &mut text);
    let mut part = |name: &str, header: &str, lines: String| {
        if !lines.is_empty() {
            let _ = write!(text, "\n{name}\n{header}\n{lines}");
        }
    };
    let lines =
        |pages: &[PageChange], line: fn(&PageChange) -> String| pages.iter().map(line).collect();
    part(
        &format!("largest changes of {by}"),
        &mover_header(),
        lines(&summary.movers, mover_line),
    );
    part(
        "gained",
        &page_header(by),
        lines(&summary.gained, |page| page_line(page, page.after)),
    );
    part(
        "lost",
        &page_header(by),
        lines(&summary.lost, |page| page_line(page, page.before)),
    );
    let shifts = summary.breakdowns.iter().map(breakdown_line).collect();
    part("largest shifts of breakdowns", &breakdown_header(), shifts);
    text
}

/// The totals of every metric.
fn totals(summary: &Summary, text: &mut String) {
    let _ = writeln!(
        text,
        "\n{:>18}{:>18}{:>18}{:>11}{:>11}  metric",
        "before", "after", "change", "mean", "mean now"
    );
    for total in &summary.totals {
        let Total {
            metric,
            before,
            after,
            change,
            mean_before,
            mean_after,
        } = total;
        let mean =
            |mean: &Option<f64>| mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}"));
        let _ = writeln!(
            text,
            "{:>18}{:>18}{:>18}{:>11}{:>11}  {metric}",
            number(Some(*before)),
            number(Some(*after)),
            signed(Some(*change)),
            mean(mean_before),
            mean(mean_after),
        );
    }
}
