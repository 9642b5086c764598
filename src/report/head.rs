//! The top and the bottom of the page, and the frame of its sections.

use maud::{Markup, html};

use super::collect::{Attention, Report, most_rank};
use super::numbers::{foreign, separated};
use crate::visible::escaped;

/// The rows of a long table or list that are shown before a click, as in `report.css`.
pub(super) const OPEN: usize = 12;

/// A section with its heading and links to the SQL behind its numbers.
pub(super) fn section(id: &str, heading: &str, queries: &[String], body: Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby=(format!("{id}-heading")) {
            div class="heading" {
                h2 id=(format!("{id}-heading")) { (heading) }
                (sql(queries))
            }
            (body)
        }
    }
}

/// Links to queries of the appendix.
pub(super) fn sql(queries: &[String]) -> Markup {
    html! {
        @if !queries.is_empty() {
            span class="sql" {
                @for (number, id) in queries.iter().enumerate() {
                    a href=(format!("#sql-{id}")) aria-label=(format!("the SQL of {id}")) {
                        "SQL" @if queries.len() > 1 { " " (number + 1) }
                    }
                }
            }
        }
    }
}

/// A number in a table. On a small screen, where the header is not shown, its label stands above it.
pub(super) fn cell(label: &str, number: Markup) -> Markup {
    html! { td class="number" data-label=(label) { (number) } }
}

/// A prominent warning if the data is invented.
pub(super) fn banner(report: &Report) -> Markup {
    html! {
        @if report.manifest.question.invented {
            div class="invented" role="note" {
                strong { "Invented data" }
                span {
                    "The simulator made up every number on this page ("
                    (escaped(&report.manifest.question.asked_of)) "). Nothing here describes a real site."
                }
            }
        }
    }
}

pub(super) fn header(report: &Report) -> Markup {
    let question = &report.manifest.question;
    html! {
        header {
            p class="over" { "Backlink report" }
            h1 { (foreign(&question.pipeline)) " " span class="date" { (report.date()) } }
            p class="under" {
                "asked of " (foreign(&question.asked_of)) " · "
                @if question.invented { strong class="stamp" { "invented" } " · " }
                @if question.include_subdomains { "links to subdomains count" } @else { "links to subdomains do not count" }
                " · ranks from 0 to " (separated(most_rank(&report.manifest)))
            }
            @if let Some((column, value)) = &report.label {
                p class="only" {
                    "Only pages whose " (foreign(column)) " is " strong { (foreign(value)) }
                    ". Fates, alerts, cost and reasons are those of the whole night."
                }
            }
            (sections(report))
        }
    }
}

/// Links to the sections, with the number of new alerts.
fn sections(report: &Report) -> Markup {
    const SECTIONS: [(&str, &str); 10] = [
        ("trust", "Trust"),
        ("tiles", "Numbers"),
        ("attention", "Attention"),
        ("trends", "Trends"),
        ("movers", "Movers"),
        ("groups", "Groups"),
        ("profile", "Profile"),
        ("risk", "Risk"),
        ("bill", "Bill"),
        ("appendix", "Appendix"),
    ];
    let alerts = match &report.attention {
        Attention::Told(alerts) | Attention::Found(alerts, _) => Some(alerts),
        Attention::Off | Attention::Failed(_) => None,
    };
    // Worst first.
    let worst = alerts.and_then(|alerts| alerts.told().next());
    html! {
        nav aria-label="Sections" {
            @for (id, name) in SECTIONS {
                a href=(format!("#{id}")) {
                    (name)
                    @if let (Some(worst), Some(alerts)) = (worst.filter(|_| id == "attention"), alerts) {
                        " " span class=(format!("badge {}", worst.severity.name())) { (alerts.told().count()) }
                    }
                }
            }
        }
    }
}

pub(super) fn footer(report: &Report) -> Markup {
    html! {
        footer {
            p {
                "Made by backlake " (env!("CARGO_PKG_VERSION")) " at "
                (report.made_at.format("%Y-%m-%d %H:%M")) " UTC from " (foreign(&report.lake)) "."
                @if report.manifest.question.invented { " Invented data." }
            }
        }
    }
}
