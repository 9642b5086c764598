//! How the profile shifts: ranks and spam scores then and now, and where links come from.

use maud::{Markup, html};

use super::collect::{Day, RANK_BARS, Report, most_rank};
use super::head::{cell, section as framed, sql};
use super::numbers::{count, foreign, separated, share, total};
use super::svg::{histogram, stacked};
use crate::history::BreakdownChange;

/// A dimension of the breakdowns and its keys with the most links.
pub(super) struct Dimension<'a> {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) rows: Vec<&'a BreakdownChange>,
    /// The links of all keys, before and after.
    links: [i64; 2],
}

/// The dimensions that have links, in the order of the page.
pub(super) fn dimensions(report: &Report) -> Vec<Dimension<'_>> {
    /// The keys that are shown.
    const KEYS: usize = 8;
    [
        ("country", "country"),
        ("tld", "top-level domain"),
        ("type", "type of link"),
        ("attribute", "attribute"),
        ("platform_type", "platform"),
        ("semantic_location", "place on the page"),
    ]
    .into_iter()
    .filter_map(|(name, title)| {
        let shifts = report.shifts.iter();
        let mut rows: Vec<_> = shifts
            .filter(|shift| shift.dimension.as_deref() == Some(name))
            .collect();
        let sum = |of: fn(&BreakdownChange) -> Option<i64>| {
            rows.iter()
                .filter_map(|row| of(row))
                .fold(0_i64, i64::saturating_add)
        };
        let links = [sum(|row| row.before), sum(|row| row.after)];
        rows.sort_by(|left, right| {
            let by = right.after.cmp(&left.after);
            let then = right.before.cmp(&left.before);
            by.then(then).then_with(|| left.key.cmp(&right.key))
        });
        rows.truncate(KEYS);
        (!rows.is_empty()).then_some(Dimension {
            name,
            title,
            rows,
            links,
        })
    })
    .collect()
}

pub(super) fn section(report: &Report) -> Markup {
    let Some(newest) = report.newest() else {
        return html! {};
    };
    let first = report.days.iter().find(|day| day.pages().is_some());
    let first = first.filter(|first| first.date != report.date());
    let then = first.and_then(Day::pages);
    let since = first.map(|first| first.date.to_string());
    let most = most_rank(&report.manifest);
    let body = html! {
        div class="two" {
            figure class="card" {
                figcaption {
                    strong { "Ranks" } (sql(&["ranks".to_owned()]))
                    small { "share of the pages by rank" @if let Some(since) = &since { ": " span class="night" { span class="key then" {} (since) } " " span class="night" { span class="key now" {} (report.date()) } } }
                }
                @let (bars, largest) = histogram(then.map(|pages| &pages.ranks[..]), &newest.ranks, "share of the pages by rank, then and now");
                div class="axes bars" {
                    div class="y" aria-hidden="true" { span { (share(largest, 1.0)) } span { "0 %" } }
                    (bars)
                    div class="x" aria-hidden="true" { span { "0" } span { (separated(most / 2)) } span { (separated(most)) } }
                }
                details {
                    summary { "Numbers" }
                    (rank_table(report, &newest.ranks))
                }
            }
            figure class="card" {
                figcaption { strong { "Spam score of the backlinks" } (sql(&["spam".to_owned()])) small { "pages in the provider's three bands" } }
                @if let (Some(then), Some(since)) = (then, &since) {
                    p class="what" { (since) }
                    (spam_bar(&then.spam_scores))
                }
                p class="what" { (report.date()) }
                (spam_bar(&newest.spam_scores))
                ul class="legend" data-sql="spam" {
                    @for (place, (class, name)) in BANDS.into_iter().enumerate() {
                        @let pages = newest.spam_scores.get(place).copied().unwrap_or_default();
                        li { span class=(format!("key {class}")) {} (name) " " strong { (total(pages)) }
                            " " small { (share(pages as f64, newest.spam_scores.iter().sum::<u64>() as f64)) } }
                    }
                }
            }
        }
        @if let Some(since) = &since {
            h3 { "Where the links come from " small { "shares of the links of pages in both snapshots, " (since) " and " (report.date()) } }
            div class="three" {
                @for dimension in dimensions(report) { (shares(&dimension)) }
            }
        } @else {
            p class="note" { "There is no earlier night to compare with. From the second night on, this section shows how links shift by country, top-level domain, type and attribute." }
        }
    };
    framed("profile", "How the profile shifts", &[], body)
}

const BANDS: [(&str, &str); 3] = [
    ("calm", "0 to 30"),
    ("watch", "31 to 60"),
    ("alarm", "61 to 100"),
];

fn spam_bar(bands: &[u64]) -> Markup {
    let of = |place: usize| bands.get(place).copied().unwrap_or_default();
    let parts = [0, 1, 2].map(|place| (BANDS[place].0, of(place)));
    let title = [0, 1, 2].map(|place| format!("score {}: {}", BANDS[place].1, of(place)));
    stacked(&parts, &title.join(", "))
}

fn rank_table(report: &Report, ranks: &[u64]) -> Markup {
    let step = most_rank(&report.manifest) / RANK_BARS;
    html! {
        ul class="pages" {
            @for (place, pages) in ranks.iter().enumerate().filter(|(_, pages)| **pages > 0) {
                @let from = place as i64 * step;
                @let until = if place + 1 == ranks.len() { most_rank(&report.manifest) } else { from + step - 1 };
                li data-sql="ranks" { data value=(place) { "rank " (from) " to " (until) } span { (total(*pages)) } }
            }
        }
    }
}

fn shares(dimension: &Dimension<'_>) -> Markup {
    let [before, after] = dimension.links.map(|links| links as f64);
    let part = |links: Option<i64>, of: f64| links.unwrap_or_default() as f64 / of.max(1.0);
    html! {
        div class="card" {
            div class="heading" { h4 { "By " (dimension.title) } (sql(&[format!("shares-{}", dimension.name)])) }
            table class="shares" data-sql=(format!("shares-{}", dimension.name)) {
                thead { tr {
                    th scope="col" { "Key" }
                    th scope="col" class="number" { "Before" }
                    th scope="col" class="number" { "Now" }
                    th scope="col" class="number" title="change of the share in percentage points" { "Points" }
                } }
                tbody {
                    @for row in &dimension.rows {
                        @let points = (part(row.after, after) - part(row.before, before)) * 100.0;
                        tr {
                            th scope="row" { (key(dimension.name, row.key.as_deref().unwrap_or_default())) }
                            (cell("Before", html! { (count(row.before.unwrap_or_default())) " " small { (share(part(row.before, before), 1.0)) } }))
                            (cell("Now", html! { (count(row.after.unwrap_or_default())) " " small { (share(part(row.after, after), 1.0)) } }))
                            (cell("Points", pointed(points)))
                        }
                    }
                }
            }
        }
    }
}

/// The change of a share. A share has no good direction.
fn pointed(points: f64) -> Markup {
    let sign = match points {
        points if points.abs() < 0.05 => "±",
        points if points < 0.0 => "−",
        _ => "+",
    };
    html! { span class=(if sign == "±" { "flat" } else { "" }) { (sign) (format!("{:.1}", points.abs())) } }
}

/// A key as people read it. The empty key and `WW` have a meaning of their own.
fn key(dimension: &str, key: &str) -> Markup {
    html! {
        @match (dimension, key) {
            ("country", "") => em { "unknown" },
            ("country", "WW") => "WW, worldwide",
            (_, "") => em { "none found" },
            (_, key) => (foreign(key)),
        }
    }
}
