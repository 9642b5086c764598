//! What moved: pages that gained or lost domains, and pages that only one of two snapshots has.

use maud::{Markup, html};

use super::collect::{BY, Report};
use super::head::{cell, section as framed, sql};
use super::numbers::{Better, change, count, foreign, known, percent, tone};
use super::svg::sparkline;
use crate::history::{PageChange, Summary};

pub(super) fn section(report: &Report) -> Markup {
    let body = html! {
        @if report.since_last.is_none() {
            p class="note" { "With one night nothing can be compared yet. A second night shows what moved." }
        }
        @for (name, summary) in report.comparisons() { (comparison(report, name, summary)) }
    };
    framed("movers", "Movers", &[], body)
}

fn comparison(report: &Report, name: &str, summary: &Summary) -> Markup {
    let nights = (summary.to - summary.from).num_days();
    let groups = &summary.pages;
    let kinds: [(&str, &str, i64); 6] = [
        (
            "in both",
            "both snapshots have the page",
            groups.in_both.pages,
        ),
        (
            "new",
            "the target is in both lists, but only the later snapshot has data",
            groups.new.pages,
        ),
        (
            "lost",
            "the target is in both lists, but only the earlier snapshot has data",
            groups.lost.pages,
        ),
        (
            "added to the list",
            "only the later list has it",
            groups.added.pages,
        ),
        (
            "removed from the list",
            "only the earlier list has it",
            groups.removed.pages,
        ),
        (
            "unanswered",
            "one of the snapshots has no response for it",
            groups.unanswered.pages,
        ),
    ];
    html! {
        div class="heading" {
            h3 {
                "Since " (summary.from)
                @if nights > 1 { span class="flat" { " · " (nights) " nights" } }
            }
            (sql(&[format!("groups-{name}"), format!("gained-{name}"), format!("lost-links-{name}")]))
        }
        ul class="legend groups" data-sql=(format!("groups-{name}")) {
            @for (kind, meaning, pages) in kinds {
                li class=[(pages == 0).then_some("none")] title=(meaning) { strong { (count(pages)) } " " (kind) }
            }
        }
        div class="two" {
            (table(report, "Gained most", &format!("gained-{name}"), &summary.top.risen))
            (table(report, "Lost most", &format!("lost-links-{name}"), &summary.top.fallen))
        }
        @for list in lists(summary) {
            @if !list.pages.is_empty() { (short_list(&list, &format!("{}-{name}", list.kind))) }
        }
    }
}

/// The movers in one direction, by referring main domains.
fn table(report: &Report, title: &str, id: &str, pages: &[PageChange]) -> Markup {
    html! {
        div class="card" {
            h4 { (title) " " small { "referring main domains" } }
            @if pages.is_empty() { p class="none" { "No page." } } @else {
                table class="movers wide" data-sql=(id) {
                    thead { tr {
                        th scope="col" { "Page" }
                        th scope="col" class="spark" { "Nights" }
                        th scope="col" class="number" { "Before" }
                        th scope="col" class="number" { "Now" }
                        th scope="col" class="number" { "Change" }
                        th scope="col" class="number" title="of the number before" { "Percent" }
                    } }
                    tbody { @for page in pages { (row(report, page)) } }
                }
            }
        }
    }
}

fn row(report: &Report, page: &PageChange) -> Markup {
    let target = page.target.as_deref().unwrap_or_default();
    let values: Vec<_> = report
        .days
        .iter()
        .map(|day| day.pages()?.targets.get(target)?.referring_main_domains)
        .collect();
    let by = page.change.unwrap_or_default();
    html! {
        tr {
            th scope="row" { (foreign(target)) }
            td class="spark" { (sparkline(&values, "referring main domains by night")) }
            (cell("Before", html! { (known(page.before)) }))
            (cell("Now", html! { (known(page.after)) }))
            (cell("Change", change(by, Better::More)))
            (cell("Percent", html! {
                @match page.relative_change {
                    Some(ratio) => span class=(tone(by, Better::More)) { (percent(ratio)) },
                    None => span class="flat" title="there was none before" { "–" },
                }
            }))
        }
    }
}

/// Pages that only one snapshot has, largest first.
pub(super) struct OneSided<'a> {
    /// What its query is called.
    pub(super) kind: &'static str,
    title: &'static str,
    pub(super) pages: &'a [PageChange],
}

/// The lists of a comparison, in the order of the page.
pub(super) fn lists(summary: &Summary) -> [OneSided<'_>; 5] {
    let top = &summary.top;
    [
        ("new", "New pages", &top.new),
        ("lost", "Lost pages", &top.lost),
        ("added", "Added to the list", &top.added),
        ("removed", "Removed from the list", &top.removed),
        ("unanswered", "Unanswered", &top.unanswered),
    ]
    .map(|(kind, title, pages)| OneSided { kind, title, pages })
}

fn short_list(list: &OneSided<'_>, id: &str) -> Markup {
    html! {
        details class="card" {
            summary { (list.title) ", by " (BY.replace('_', " ")) }
            (sql(&[id.to_owned()]))
            ul class="pages" data-sql=(id) {
                @for page in list.pages {
                    li {
                        (foreign(page.target.as_deref().unwrap_or_default()))
                        span { (known(page.before.or(page.after))) }
                    }
                }
            }
        }
    }
}
