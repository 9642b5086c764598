//! What the numbers come from: contracts, drift, lines that are not targets, and the SQL.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::collect::Report;
use super::head::section as framed;
use super::numbers::foreign;
use super::queries::queries;

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

fn drift(title: &str, fields: &BTreeMap<String, u64>) -> Markup {
    html! {
        @if !fields.is_empty() {
            h4 { (title) }
            ul class="pages" {
                @for (field, values) in fields { li { (foreign(field)) span { (values) } } }
            }
        }
    }
}
