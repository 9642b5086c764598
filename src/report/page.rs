//! Puts the sections together as one page.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::collect::Report;
use super::{appendix, attention, bill, groups, head, movers, profile, risk, tiles, trends, trust};

const STYLE: &str = include_str!("report.css");
/// Sorts tables. Nothing on the page needs it.
const SCRIPT: &str = include_str!("report.js");

/// The report as a page of its own.
#[must_use]
pub fn html(report: &Report) -> String {
    page(report).into_string()
}

fn page(report: &Report) -> Markup {
    let date = report.date();
    let pipeline = crate::visible::escaped(&report.manifest.question.pipeline);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // A browser loads nothing for this page, whatever is in it.
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="referrer" content="no-referrer";
                meta name="generator" content=(concat!("backlake ", env!("CARGO_PKG_VERSION")));
                link rel="icon" href="data:,";
                title { "Backlinks of " (pipeline) ", " (date) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head::banner(report))
                (head::header(report))
                main {
                    (trust::section(report))
                    (tiles::section(report))
                    (attention::section(report))
                    (trends::section(report))
                    (movers::section(report))
                    (groups::section(report))
                    (profile::section(report))
                    (risk::section(report))
                    (bill::section(report))
                    (appendix::section(report))
                }
                (head::footer(report))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Only the page's own style and script, known by its hash, and nothing from elsewhere.
fn policy() -> String {
    let hash = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
}
