//! Lines over the nights: all pages, and the labels beside each other.

use maud::{Markup, html};

use super::collect::{Day, Report};
use super::groups::columns;
use super::head::section as framed;
use super::numbers::{day, foreign, separated};
use super::svg::{LinePlot, Plotted};
use crate::history::{PageTotals, Quartiles};

pub(super) fn section(report: &Report) -> Markup {
    let body = html! {
        @if report.dates().len() < 2 {
            p class="note" { "A trend needs at least two nights." }
        } @else {
            div class="plots" {
                (all(report, "Referring main domains", "median per page; the band holds the middle half of the pages", |all| all.referring_main_domains))
                (all(report, "Rank", "median; the band holds the middle half of the pages", |all| all.rank))
                (all(report, "Backlinks", "sum over pages", |all| sum(all.backlinks)))
                (all(report, "Pages with data", "", |all| sum(all.pages)))
            }
            @if !report.index_shifts.is_empty() {
                p class="note" {
                    span class="key marked" {}
                    "The provider's index changed on "
                    @for (number, date) in report.index_shifts.iter().enumerate() {
                        @if number > 0 { ", " }
                        span class="night" { (date) }
                    }
                    ": all pages moved together, although the web did not change."
                }
            }
            (by_label(report))
        }
    };
    let queries: &[String] = match report.dates().len() {
        0 | 1 => &[],
        _ => &["nights".to_owned()],
    };
    framed("trends", "Trends", queries, body)
}

/// A value without a range.
fn sum(value: i64) -> Quartiles {
    Quartiles {
        median: Some(value),
        ..Quartiles::default()
    }
}

fn all(report: &Report, name: &str, what: &str, value: fn(&PageTotals) -> Quartiles) -> Markup {
    let of = |day: &Day| {
        day.pages()
            .map(|pages| value(&pages.all))
            .unwrap_or_default()
    };
    let values: Vec<_> = report.days.iter().map(of).collect();
    figure(report, html! { (name) }, what, &values, 4)
}

fn figure(report: &Report, name: Markup, what: &str, values: &[Quartiles], parts: u8) -> Markup {
    let of = |part: fn(&Quartiles) -> Option<i64>| values.iter().map(part).collect::<Vec<_>>();
    let (line, low, high) = (of(|it| it.median), of(|it| it.low), of(|it| it.high));
    let has_band = low.iter().any(Option::is_some);
    let known_values: Vec<_> = line.iter().flatten().copied().collect();
    let now = line.last().copied().flatten();
    let title = match (known_values.iter().min(), known_values.iter().max()) {
        (Some(least), Some(most)) => format!(
            "{} nights, from {} to {}; now {}",
            known_values.len(),
            separated(*least),
            separated(*most),
            now.map_or_else(|| "unknown".to_owned(), separated)
        ),
        _ => String::new(),
    };
    let is_marked = |day: &Day| report.index_shifts.contains(&day.date);
    let days = report.days.iter().enumerate();
    let marks: Vec<_> = days
        .filter(|(_, day)| is_marked(day))
        .map(|(night, _)| night)
        .collect();
    let plot = LinePlot {
        title,
        values: &line,
        low: if has_band { &low } else { &[] },
        high: if has_band { &high } else { &[] },
        parts,
        marks: &marks,
    };
    let dates: Vec<_> = report.days.iter().map(|day| day.date).collect();
    html! {
        figure class="card" {
            figcaption {
                strong { (name) }
                span class="now" { (now.map_or_else(|| "–".to_owned(), separated)) }
                @if !what.is_empty() { small { (what) } }
            }
            @if let Some(Plotted { svg, ticks }) = plot.draw() {
                div class="axes" {
                    div class="y" aria-hidden="true" {
                        @for tick in ticks { span { (separated(tick)) } }
                    }
                    (svg)
                    div class="x" aria-hidden="true" {
                        @if let (Some(first), Some(last)) = (dates.first(), dates.last()) {
                            span { (day(*first)) }
                            @if dates.len() > 4 { span { (day(dates[dates.len() / 2])) } }
                            span { (day(*last)) }
                        }
                    }
                }
            }
        }
    }
}

/// A small plot per value of each column. Sums move where medians of small numbers stand still.
fn by_label(report: &Report) -> Markup {
    /// The most plots of a column.
    const MOST: usize = 8;
    html! {
        @for column in columns(report) {
            h3 { "Backlinks by " (foreign(column.name)) " " small { "sum over pages" } }
            div class="plots small" {
                @for (label, _) in column.rows.iter().take(MOST) {
                    @let of = |day: &Day| {
                        let labels = &day.pages()?.labels;
                        let found = labels.iter().find(|(other, _)| other == label)?;
                        Some(sum(found.1.backlinks))
                    };
                    @let values: Vec<_> = report.days.iter().map(|day| of(day).unwrap_or_default()).collect();
                    (figure(report, foreign(&label.1), "", &values, 2))
                }
            }
            @if column.rows.len() > MOST {
                p class="note" { "The " (MOST) " values with the most pages. The table below has more." }
            }
        }
    }
}
