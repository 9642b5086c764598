//! The pages by root domain and by label, as tables that can be sorted.

use maud::{Markup, html};

use super::collect::{Day, Report};
use super::head::{OPEN, cell, section as framed, sql};
use super::numbers::{count, foreign, known, separated};
use super::svg::sparkline;
use crate::history::{Label, NightPages, PageTotals};

/// The values of a column of the target list, most pages first.
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    pub(super) rows: &'a [(Label, PageTotals)],
    /// How many values there are.
    pub(super) values: usize,
}

/// The columns of the target list that the pipeline keeps.
pub(super) fn columns(report: &Report) -> Vec<Column<'_>> {
    /// The most values of a column that the table has.
    const ROWS: usize = 30;
    let labels = report.newest().map_or(&[][..], |pages| &pages.labels);
    labels
        .chunk_by(|left, right| left.0.0 == right.0.0)
        .map(|rows| Column {
            name: &rows[0].0.0,
            rows: &rows[..rows.len().min(ROWS)],
            values: rows.len(),
        })
        .collect()
}

pub(super) fn section(report: &Report) -> Markup {
    let Some(newest) = report.newest() else {
        return html! {};
    };
    let has_labels = !newest.labels.is_empty() || !newest.columns_not_counted.is_empty();
    let body = html! {
        @for (number, column) in columns(report).iter().enumerate() {
            @let rows: Vec<_> = column.rows.iter().map(|(label, totals)| (label.1.as_str(), totals)).collect();
            @let id = format!("labels-{number}");
            div class="heading" { h3 { "By " (foreign(column.name)) } (sql(std::slice::from_ref(&id))) }
            (table(report, column.name, &id, &rows, |pages, name| {
                pages.labels.iter().find(|(label, _)| label.0 == column.name && label.1 == name).map(|it| &it.1)
            }))
            @if column.values > column.rows.len() {
                p class="note" { "The " (column.rows.len()) " values with the most pages, of " (separated(column.values as i64)) "." }
            }
        }
        @for column in &newest.columns_not_counted {
            p class="note" { "The column " (foreign(column)) " has too many different values to be shown here." }
        }
        @let rows: Vec<_> = newest.domains.iter().map(|(name, totals)| (name.as_str(), totals)).collect();
        @if has_labels {
            div class="heading" { h3 { "By root domain" } (sql(&["domains".to_owned()])) }
        }
        (table(report, "Root domain", "domains", &rows, |pages, name| {
            pages.domains.iter().find(|(domain, _)| domain == name).map(|it| &it.1)
        }))
        @if newest.root_domains > newest.domains.len() {
            p class="note" {
                "The " (newest.domains.len()) " root domains with the most backlinks, of " (separated(newest.root_domains as i64)) "."
            }
        }
    };
    if has_labels {
        framed("groups", "By label and root domain", &[], body)
    } else {
        framed("groups", "By root domain", &["domains".to_owned()], body)
    }
}

/// A table of groups. `of` finds the same group in another night.
fn table(
    report: &Report,
    kind: &str,
    id: &str,
    rows: &[(&str, &PageTotals)],
    of: impl for<'a> Fn(&'a NightPages, &'a str) -> Option<&'a PageTotals>,
) -> Markup {
    let most = rows.iter().map(|(_, totals)| totals.backlinks).max();
    let most = most.unwrap_or_default().max(1) as f64;
    let compare = report.dates().len() > 1;
    let spark = |name: &str| {
        let value = |day: &Day| Some(of(day.pages()?, name)?.backlinks);
        let values: Vec<_> = report.days.iter().map(value).collect();
        sparkline(&values, "backlinks by night")
    };
    html! {
        div class="card" {
            table class=(if rows.len() > OPEN { "sortable wide long" } else { "sortable wide" }) data-sql=(id) {
                thead { tr {
                    th scope="col" { (foreign(kind)) }
                    th scope="col" class="number" { "Pages" }
                    th scope="col" class="number" { "Backlinks" }
                    th scope="col" class="number" title="median per page" { "Main domains" }
                    th scope="col" class="number" title="median" { "Rank" }
                    th scope="col" class="number" title="broken backlinks" { "Broken" }
                    @if compare { th scope="col" class="spark" title="backlinks by night" { "Nights" } }
                } }
                tbody {
                    @for (name, totals) in rows {
                        tr {
                            th scope="row" { (foreign(name)) }
                            (cell("Pages", html! { (count(totals.pages)) }))
                            (cell("Backlinks", html! {
                                (count(totals.backlinks))
                                span class="bar" style=(format!("--part:{:.1}%", totals.backlinks as f64 / most * 100.0)) {}
                            }))
                            (cell("Main domains", html! { (known(totals.referring_main_domains.median)) }))
                            (cell("Rank", html! { (known(totals.rank.median)) }))
                            (cell("Broken", html! { (count(totals.broken_backlinks)) }))
                            @if compare { td class="spark" { (spark(name)) } }
                        }
                    }
                }
            }
        }
    }
}
