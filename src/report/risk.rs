//! Risk and opportunity: pages whose backlinks became worse or come from few domains, and broken
//! backlinks that are worth reclaiming.

use maud::{Markup, html};

use super::collect::Report;
use super::head::{cell, section as framed, sql};
use super::numbers::{Better, change, count, foreign, known};
use crate::history::{CONCENTRATED, PageChange, PageNumbers, Summary};

/// The longest comparison, which shows slow changes, too.
pub(super) fn comparison(report: &Report) -> Option<&Summary> {
    report.since_first.as_ref().or(report.since_last.as_ref())
}

pub(super) fn section(report: &Report) -> Markup {
    let Some(newest) = report.newest() else {
        return html! {};
    };
    let body = html! {
        div class="two" {
            (spam(comparison(report)))
            (concentrated(&newest.concentrated))
        }
        (broken(&newest.broken))
    };
    framed("risk", "Risk and opportunity", &[], body)
}

fn card(title: &str, [what, none]: [&str; 2], id: &str, rows: usize, table: Markup) -> Markup {
    html! {
        div class="card" {
            div class="heading" { h3 { (title) } @if rows > 0 { (sql(&[id.to_owned()])) } }
            p class="what" { (what) }
            @if rows == 0 { p class="none" { (none) } } @else { (table) }
        }
    }
}

fn header(first: &str, numbers: &[&str]) -> Markup {
    html! {
        thead { tr {
            th scope="col" { (first) }
            @for number in numbers { th scope="col" class="number" { (number) } }
        } }
    }
}

fn spam(since: Option<&Summary>) -> Markup {
    let Some(since) = since else {
        return html! {
            div class="card" {
                div class="heading" { h3 { "Spam score rises" } }
                p class="what" { "This needs a second night." }
            }
        };
    };
    let row = |page: &PageChange| {
        html! { tr {
            th scope="row" { (foreign(page.target.as_deref().unwrap_or_default())) }
            (cell("Before", known(page.before)))
            (cell("Now", known(page.after)))
            (cell("Change", change(page.change.unwrap_or_default(), Better::Less)))
        } }
    };
    let table = html! {
        table class="movers wide" data-sql="spam-risen" {
            (header("Page", &["Before", "Now", "Change"]))
            tbody { @for page in &since.spam { (row(page)) } }
        }
    };
    let what = format!("spam score of the backlinks since {}", since.from);
    card(
        "Spam score rises",
        [&what, "No page has a higher score now."],
        "spam-risen",
        since.spam.len(),
        table,
    )
}

fn concentrated(pages: &[(String, PageNumbers)]) -> Markup {
    let table = html! {
        table class="movers wide" data-sql="concentrated" {
            (header("Page", &["Backlinks", "Domains", "Per domain"]))
            tbody { @for (target, page) in pages { tr {
                th scope="row" { (foreign(target)) }
                (cell("Backlinks", known(page.backlinks)))
                (cell("Domains", known(page.referring_main_domains)))
                (cell("Per domain", each(page)))
            } } }
        }
    };
    let what = format!(
        "most backlinks per referring main domain, of pages with at least {CONCENTRATED} backlinks: few domains carry the profile"
    );
    let said = [what.as_str(), "No page has so many backlinks."];
    card("Concentrated", said, "concentrated", pages.len(), table)
}

/// The backlinks per domain, which are not exact.
fn each(page: &PageNumbers) -> Markup {
    let both = page.backlinks.zip(page.referring_main_domains);
    html! {
        @if let Some((links, domains)) = both.filter(|(_, domains)| *domains > 0) {
            (format!("{:.1}", links as f64 / domains as f64))
        }
    }
}

fn broken(pages: &[(String, PageNumbers)]) -> Markup {
    let table = html! {
        table class="movers wide" data-sql="broken" {
            (header("Page", &["Broken", "Backlinks", "Rank"]))
            tbody { @for (target, page) in pages { tr {
                th scope="row" { (foreign(target)) }
                (cell("Broken", html! { (count(page.broken_backlinks.unwrap_or_default())) }))
                (cell("Backlinks", known(page.backlinks)))
                (cell("Rank", known(page.rank)))
            } } }
        }
    };
    let what =
        "pages with the most broken backlinks: a redirect or a repaired page wins these links back";
    let said = [what, "No page has broken backlinks."];
    card("Worth reclaiming", said, "broken", pages.len(), table)
}
