//! What the numbers come from: contracts, drift, lines that are not targets, and the SQL.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::collect::Report;
use super::head::{section as framed, sql};
use super::numbers::{foreign, total};
use super::queries::queries;
use crate::visible::escaped;

pub(super) fn section(report: &Report) -> Markup {
    let manifest = &report.manifest;
    let found = &manifest.irregularities;
    let body = html! {
        div class="card" {
            dl class="facts plain" {
                div { dt { "Run" } dd { (foreign(&manifest.run)) ", generation " (manifest.generation) } }
                div { dt { "Published" } dd { (manifest.published_at.format("%Y-%m-%d %H:%M")) " UTC" } }
                div { dt { "Written by" } dd { (foreign(&manifest.written_by)) } }
                div { dt { "Contracts" } dd {
                    @for table in manifest.tables.values() { (foreign(&table.contract)) " " }
                } }
            }
            (reasons(report))
            (drift("Fields that no contract knows", &found.unknown_fields))
            (drift("Values that do not fit", &found.misfits))
            (drift("Fields that are missing", &found.missing))
        }
        h3 { "The SQL behind the numbers" }
        p class="note" {
            "On the views of " code { "backlake sql LAKE" } ", in DuckDB. A check compares each number of a report with the answer to its query."
        }
        @for query in queries(report) {
            details class="card query" id=(format!("sql-{}", query.id)) {
                summary { (foreign(&query.what)) }
                pre tabindex="0" { code { (query.sql) } }
            }
        }
    };
    framed("appendix", "Appendix", &[], body)
}

/// Why lines have no page, most lines first.
fn reasons(report: &Report) -> Markup {
    let lines = &report.lines;
    html! {
        @if !lines.reasons.is_empty() {
            div class="heading" { h3 { "Invalid, refused and failed lines" } (sql(&["reasons".to_owned()])) }
            ul class="pages" data-sql="reasons" {
                @for reason in &lines.reasons {
                    li {
                        span class="reason" {
                            span class=(format!("key {}", reason.fate)) {}
                            (reason.fate) ": " bdi { (escaped(&reason.reason)) }
                        }
                        span { (total(reason.lines)) }
                    }
                }
            }
            @if lines.more_reasons > 0 {
                p class="note" { "The " (lines.reasons.len()) " reasons with the most lines, of " (lines.reasons.len() + lines.more_reasons) "." }
            }
        }
    }
}

fn drift(title: &str, fields: &BTreeMap<String, u64>) -> Markup {
    html! {
        @if !fields.is_empty() {
            h3 { (title) }
            ul class="pages" {
                @for (field, values) in fields { li { (foreign(field)) span { (values) } } }
            }
        }
    }
}
