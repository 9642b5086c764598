//! The bill: what each night was like, what it cost, and what the month will cost.

use chrono::Datelike as _;
use maud::{Markup, html};

use super::collect::{Day, Report};
use super::head::{OPEN, cell, section as framed};
use super::numbers::{count, known, total};
use crate::money::Usd;

pub(super) fn section(report: &Report) -> Markup {
    let nights = report.dates().len();
    let body = html! {
        (forecast(report))
        div class="card" {
            table class=(if nights > OPEN { "sortable long" } else { "sortable" }) data-sql="nights" {
                thead { tr {
                    th scope="col" { "Night" }
                    th scope="col" class="number" { "Pages" }
                    th scope="col" class="number" { "Backlinks" }
                    th scope="col" class="number" title="median per page" { "Main domains" }
                    th scope="col" class="number" title="median" { "Rank" }
                    th scope="col" class="number" title="median" { "Spam" }
                    th scope="col" class="number" { "Requests" }
                    th scope="col" class="number" title="the fewest requests that any packing can reach" { "Bound" }
                    th scope="col" class="number" { "Cost" }
                } }
                tbody { @for day in report.days.iter().rev() { (row(day)) } }
            }
        }
    };
    framed(
        "bill",
        "The nights and the bill",
        &["nights".to_owned()],
        body,
    )
}

fn row(day: &Day) -> Markup {
    let (Some(pages), Some(manifest)) = (day.pages(), day.manifest()) else {
        return html! {};
    };
    let requests = &manifest.tally.requests;
    html! {
        tr {
            th scope="row" { (day.date) }
            (cell("Pages", html! { (count(pages.all.pages)) }))
            (cell("Backlinks", html! { (count(pages.all.backlinks)) }))
            (cell("Main domains", html! { (known(pages.all.referring_main_domains.median)) }))
            (cell("Rank", html! { (known(pages.all.rank.median)) }))
            (cell("Spam", html! { (known(pages.all.spam_score.median)) }))
            (cell("Requests", html! { (total(requests.sent)) }))
            (cell("Bound", html! { (total(requests.lower_bound)) }))
            (cell("Cost", html! { data value=(requests.cost_usd) { "$" (requests.cost_usd) } }))
        }
    }
}

/// What the nights of this report cost, and what a month of such nights costs.
fn forecast(report: &Report) -> Markup {
    let manifests = report.days.iter().filter_map(Day::manifest);
    let costs: Vec<Usd> = manifests
        .map(|manifest| manifest.tally.requests.cost_usd)
        .collect();
    let sum: Usd = costs.iter().copied().sum();
    let days = report.date().num_days_in_month();
    let newest = report.manifest.tally.requests.cost_usd;
    html! {
        p class="note" {
            @if costs.len() == 1 { "The night" } @else { "The " (costs.len()) " nights" }
            " of this report cost " strong { "$" (sum) } ". "
            "If every night costs as much as the last, " (report.date().format("%B"))
            " with its " (days) " nights costs " strong { "$" (newest * u64::from(days)) } "."
            @if report.manifest.question.invented { " Nothing was paid: the prices are the simulator's." }
        }
    }
}
