//! The bill: what each night was like, what it cost, and what the month will cost.

use chrono::Datelike as _;
use maud::{Markup, html};

use super::collect::{Day, Report};
use super::head::{OPEN, cell, section as framed, sql};
use super::numbers::{count, dollars, foreign, known, share, total, usd};
use crate::history::LabelCost;
use crate::money::Usd;

pub(super) fn section(report: &Report) -> Markup {
    let nights = report.dates().len();
    let body = html! {
        (forecast(report))
        div class="card" {
            table class=(if nights > OPEN { "sortable wide long" } else { "sortable wide" }) data-sql="nights" {
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
        html! { (body) (by_label(report)) },
    )
}

/// A column of the target list with the cost of its values, largest first.
pub(super) struct LabelCosts<'a> {
    pub(super) name: &'a str,
    pub(super) rows: Vec<(&'a str, LabelCost)>,
}

/// The columns whose cost is shown.
pub(super) fn label_costs(report: &Report) -> Vec<LabelCosts<'_>> {
    /// The most values of a column that the table has.
    const ROWS: usize = 30;
    let labels = &report.lines.labels;
    let columns = labels.chunk_by(|left, right| left.0.0 == right.0.0);
    columns
        .map(|labels| {
            let rows = labels.iter().map(|(label, cost)| (label.1.as_str(), *cost));
            let mut rows: Vec<_> = rows.collect();
            rows.sort_by(|(left, one), (right, other)| {
                let order = other.cost().cmp(&one.cost());
                order
                    .then(other.lines.cmp(&one.lines))
                    .then_with(|| left.cmp(right))
            });
            rows.truncate(ROWS);
            LabelCosts {
                name: &labels[0].0.0,
                rows,
            }
        })
        .collect()
}

fn by_label(report: &Report) -> Markup {
    let costs = label_costs(report);
    let whole = report.manifest.tally.requests.cost_usd.micros() as f64;
    html! {
        @if !costs.is_empty() {
            h3 { "Cost by label " small { "of the night; a target's cost is shared by the lines that name it" } }
            div class="two" {
                @for (number, column) in costs.iter().enumerate() {
                    @let id = format!("cost-{number}");
                    div class="card" {
                        div class="heading" { h4 { "By " (foreign(column.name)) } (sql(std::slice::from_ref(&id))) }
                        table data-sql=(id) {
                            thead { tr {
                                th scope="col" { (foreign(column.name)) }
                                th scope="col" class="number" { "Lines" }
                                th scope="col" class="number" { "Cost" }
                                th scope="col" class="number" title="of what the night cost" { "Share" }
                            } }
                            tbody { @for (value, cost) in &column.rows { tr {
                                th scope="row" { (foreign(value)) }
                                (cell("Lines", html! { (total(cost.lines)) }))
                                (cell("Cost", dollars(cost.cost())))
                                (cell("Share", html! { (share(cost.cost().micros() as f64, whole)) }))
                            } } }
                        }
                    }
                }
            }
        }
    }
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
            (cell("Cost", dollars(requests.cost_usd)))
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
            " of this report cost " strong { (usd(&sum.to_string())) } ". "
            "If every night costs as much as the last, " (report.date().format("%B"))
            " with its " (days) " nights costs " strong { (usd(&(newest * u64::from(days)).to_string())) } "."
            @if report.manifest.question.invented { " Nothing was paid: the prices are the simulator's." }
        }
    }
}
