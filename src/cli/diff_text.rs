//! The tables of `diff` as text.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::format::{count, signed_count};
use crate::history::{
    BreakdownChange, Group, InBoth, ListChange, MetricChange, PageChange, Statistic, Summary,
    Unanswered, UnansweredFates,
};
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

/// A page that only one snapshot has.
pub(super) fn page_line(page: &PageChange) -> String {
    format!(
        "{:>32}  {}\n",
        number(page.before.or(page.after)),
        target(page)
    )
}

pub(super) fn unanswered_header(by: &str) -> String {
    format!("{by:>32}  {:<10}{:<10}target", "before", "after")
}

pub(super) fn unanswered_line(page: &PageChange) -> String {
    let fate = |fate: &Option<String>| fate.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{:>32}  {:<10}{:<10}{}\n",
        number(page.before.or(page.after)),
        fate(&page.fate_before),
        fate(&page.fate_after),
        target(page)
    )
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
    let by = &summary.by;
    let of = summary
        .root_domain
        .as_ref()
        .map_or_else(String::new, |domain| format!(" of {domain}"));
    let mut text = format!("from {} to {}{of}\n\n", summary.from, summary.to);
    text.push_str(&list_text(&summary.list));
    text.push_str(&groups_text(summary));
    text.push_str(&metrics_text(&summary.metrics));
    let mut part = |name: &str, header: &str, lines: String| {
        if !lines.is_empty() {
            let _ = write!(text, "\n{name}\n{header}\n{lines}");
        }
    };
    let lines =
        |pages: &[PageChange], line: fn(&PageChange) -> String| pages.iter().map(line).collect();
    let top = &summary.top;
    for (name, pages) in [
        (format!("largest rises of {by}"), &top.risen),
        (format!("largest falls of {by}"), &top.fallen),
    ] {
        part(&name, &mover_header(), lines(pages, mover_line));
    }
    for (name, pages) in [
        ("new: absent before, returned now", &top.new),
        ("lost: returned before, absent now", &top.lost),
        ("added to the list", &top.added),
        ("removed from the list", &top.removed),
    ] {
        part(name, &page_header(by), lines(pages, page_line));
    }
    part(
        "unanswered in one snapshot",
        &unanswered_header(by),
        lines(&top.unanswered, unanswered_line),
    );
    let shifts = summary.breakdowns.iter().map(breakdown_line).collect();
    part("largest shifts of breakdowns", &breakdown_header(), shifts);
    text
}

/// A line with a name, three numbers and a note.
fn row(name: &str, numbers: [String; 3], note: &str) -> String {
    let [first, second, third] = numbers;
    let line = format!("{name:<14}{first:>14}{second:>18}{third:>18}  {note}");
    format!("{}\n", line.trim_end())
}

fn words(first: &str, second: &str, third: &str) -> [String; 3] {
    [first, second, third].map(str::to_owned)
}

/// The targets of both lists by fate. Fates that no target has are left out.
fn list_text(list: &ListChange) -> String {
    let (before, after) = (&list.before, &list.after);
    let mut text = row("", words("", "before", "after"), "");
    let note = format!(
        "{} added to the list, {} removed",
        count(list.added.unsigned_abs()),
        count(list.removed.unsigned_abs())
    );
    for (name, before, after, note) in [
        ("targets", before.targets, after.targets, note.as_str()),
        ("  returned", before.returned, after.returned, ""),
        ("  absent", before.absent, after.absent, ""),
        ("  failed", before.failed, after.failed, ""),
        ("  refused", before.refused, after.refused, ""),
        ("  unsent", before.unsent, after.unsent, ""),
    ] {
        if before + after > 0 {
            let numbers = [String::new(), signed_count(before), signed_count(after)];
            text.push_str(&row(name, numbers, note));
        }
    }
    text
}

/// The groups of pages, with the metric of each. Groups without a page are left out.
fn groups_text(summary: &Summary) -> String {
    let groups = &summary.pages;
    let InBoth {
        pages,
        risen,
        fallen,
        unchanged,
        unknown,
        before,
        after,
        change,
    } = groups.in_both;
    let what = statistic(summary.statistic, &summary.by);
    let mut text = format!("\n{}", row("", words("pages", "before", "after"), &what));
    let mut note = format!(
        "{}: {} up, {} down, {} unchanged",
        signed(change),
        count(risen.unsigned_abs()),
        count(fallen.unsigned_abs()),
        count(unchanged.unsigned_abs())
    );
    if unknown > 0 {
        let _ = write!(note, ", {} null", count(unknown.unsigned_abs()));
    }
    let mut line = |name: &str, group: Group, note: &str| {
        if group.pages > 0 || name == "in both" {
            let numbers = [
                signed_count(group.pages),
                number(group.before),
                number(group.after),
            ];
            text.push_str(&row(name, numbers, note));
        }
    };
    let in_both = Group {
        pages,
        before,
        after,
    };
    line("in both", in_both, &note);
    line("new", groups.new, "absent before, returned now");
    line("lost", groups.lost, "returned before, absent now");
    line("added", groups.added, "only on the later list");
    line("removed", groups.removed, "only on the earlier list");
    let Unanswered {
        pages,
        before,
        after,
        fates_before,
        fates_after,
    } = groups.unanswered;
    let unanswered = Group {
        pages,
        before,
        after,
    };
    let notes = [("before", fates_before), ("now", fates_after)].map(|(when, fates)| {
        let fates = fates_text(fates);
        (!fates.is_empty()).then(|| format!("{when} {fates}"))
    });
    let note = notes.into_iter().flatten().collect::<Vec<_>>().join("; ");
    line("unanswered", unanswered, &note);
    text
}

/// `12 failed, 3 refused`; empty if there are none.
fn fates_text(fates: UnansweredFates) -> String {
    let fates = [
        (fates.failed, "failed"),
        (fates.refused, "refused"),
        (fates.unsent, "unsent"),
    ];
    let some = fates.into_iter().filter(|(pages, _)| *pages > 0);
    some.map(|(pages, fate)| format!("{} {fate}", count(pages.unsigned_abs())))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `sum of backlinks`, `median rank`.
fn statistic(statistic: Statistic, metric: &str) -> String {
    match statistic {
        Statistic::Sum => format!("sum of {metric}"),
        Statistic::Median => format!("median {metric}"),
    }
}

/// Every metric over the pages in both snapshots.
fn metrics_text(metrics: &[MetricChange]) -> String {
    let mut text = format!(
        "\npages in both\n{:>15}{:>15}{:>15}{:>10}{:>10}  metric\n",
        "before", "after", "change", "up", "down"
    );
    for metric in metrics {
        let _ = writeln!(
            text,
            "{:>15}{:>15}{:>15}{:>10}{:>10}  {}",
            number(metric.before),
            number(metric.after),
            signed(metric.change),
            signed_count(metric.risen),
            signed_count(metric.fallen),
            statistic(metric.statistic, &metric.metric),
        );
    }
    text
}
