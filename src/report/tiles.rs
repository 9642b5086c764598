//! The numbers of the night at a glance, each with its line and its changes.

use maud::{Markup, html};

use super::collect::{Day, Report};
use super::head::section as framed;
use super::numbers::{Better, change, count, known, separated, signed};
use super::svg::sparkline;
use crate::counted::plural;
use crate::history::{PageTotals, Summary};

/// The nights over which changes are shown.
pub(super) const OVER: [u64; 3] = [1, 7, 28];

/// One number of all pages.
struct Tile {
    name: &'static str,
    note: &'static str,
    value: fn(&PageTotals) -> Option<i64>,
    better: Better,
}

const TILES: [Tile; 5] = [
    Tile {
        name: "Pages with data",
        note: "of the targets asked",
        value: |all| Some(all.pages),
        better: Better::More,
    },
    Tile {
        name: "Backlinks",
        note: "sum over pages",
        value: |all| Some(all.backlinks),
        better: Better::More,
    },
    Tile {
        name: "Main domains",
        note: "referring; median per page",
        value: |all| all.referring_main_domains.median,
        better: Better::More,
    },
    Tile {
        name: "Rank",
        note: "median; higher is stronger",
        value: |all| all.rank.median,
        better: Better::More,
    },
    Tile {
        name: "Spam score",
        note: "median; lower is better",
        value: |all| all.spam_score.median,
        better: Better::Less,
    },
];

pub(super) fn section(report: &Report) -> Markup {
    let mut queries = vec!["tiles".to_owned()];
    let over = OVER.iter().filter(|days| report.before(**days).is_some());
    queries.extend(over.map(|days| format!("changes-{days}")));
    queries.extend(
        report
            .comparisons()
            .map(|(name, _)| format!("like-for-like-{name}")),
    );
    let body = html! {
        div class="tiles" data-sql="tiles" {
            @for tile in &TILES { (draw(report, tile)) }
        }
        @for (name, summary) in report.comparisons() { (like_for_like(name, summary)) }
        @if report.since_last.is_none() {
            p class="note" {
                "This report has only one night. Changes, movers and trends need at least two."
            }
        }
    };
    framed("tiles", "The night in numbers", &queries, body)
}

fn draw(report: &Report, tile: &Tile) -> Markup {
    let of = |day: &Day| day.pages().and_then(|pages| (tile.value)(&pages.all));
    let now = report.days.last().and_then(of);
    let values: Vec<_> = report.days.iter().map(of).collect();
    let title = format!("{} over the nights of this report", tile.name);
    let sum = report.newest().map(|pages| pages.all.main_domains_of_pages);
    html! {
        div class="card tile" {
            h3 { (tile.name) }
            p class="value" { (known(now)) }
            p class="what" { (tile.note) }
            @if tile.name == "Main domains" && let Some(sum) = sum {
                p class="what" title="A domain counts once for each page that it links to." {
                    "sum " (count(sum)) ", not distinct"
                }
            }
            @if values.len() > 1 { (sparkline(&values, &title)) }
            @if report.since_last.is_some() {
                dl class="changes" {
                    @for days in OVER.into_iter().filter(|days| *days < report.days.len() as u64) {
                        (changed(report, tile, days))
                    }
                }
            }
        }
    }
}

fn changed(report: &Report, tile: &Tile, days: u64) -> Markup {
    let now = report.newest();
    let then = report.before(days).and_then(Day::pages);
    // `None` without that night; inside, `None` if one of the two has no value.
    let difference = now.zip(then).map(|(now, then)| {
        let values = (tile.value)(&now.all).zip((tile.value)(&then.all));
        values.and_then(|(now, then)| now.checked_sub(then))
    });
    html! {
        div {
            dt { (days) " " (plural(days, "night")) }
            dd {
                @match difference {
                    Some(value) => span data-sql=(format!("changes-{days}")) {
                        @match value {
                            Some(value) => { (change(value, tile.better)) }
                            None => { (known(None)) }
                        }
                    },
                    None => span class="flat" title="no comparable snapshot on that date" { "–" },
                }
            }
        }
    }
}

/// What the list did, and what the pages did that both snapshots have.
fn like_for_like(name: &str, summary: &Summary) -> Markup {
    let links = summary
        .metrics
        .iter()
        .find(|metric| metric.metric == "backlinks");
    let list = &summary.list;
    let groups = &summary.pages;
    html! {
        p class="note" {
            strong { "Since " (summary.from) ", like for like: " }
            "the " (separated(groups.in_both.pages)) " pages in both snapshots show "
            span data-sql=(format!("like-for-like-{name}")) {
                @match links.and_then(|links| links.change) {
                    Some(change) => { data value=(change) { (signed(change)) } " backlinks. " }
                    None => { "no known change in backlinks" data value="" { ". " } }
                }
            }
            @if list.added + list.removed > 0 {
                "The list changed: " (separated(list.added)) " targets added, " (separated(list.removed))
                " removed, so the totals above are not over the same pages."
            } @else { "The list is the same." }
        }
    }
}
