//! What needs attention, worst first.

use maud::{Markup, html};

use super::collect::{Attention, Report};
use super::head::{OPEN, section as framed};
use super::numbers::{foreign, separated};
use crate::alerts::{Alert, Alerts};
use crate::counted::counted;
use crate::visible::escaped;

/// The alerts that are shown.
pub(super) const SHOWN: usize = 25;

pub(super) fn section(report: &Report) -> Markup {
    match &report.attention {
        Attention::Told(alerts) => list(alerts, true, None),
        Attention::Found(alerts, damaged) => list(alerts, false, damaged.as_deref()),
        Attention::Off => said(html! { "Alerts are switched off in the pipeline file." }),
        Attention::Failed(why) => said(html! {
            "The alerts of this snapshot cannot be found: " (escaped(why)) ". Run " code { "backlake verify" } "."
        }),
    }
}

/// The section with one sentence instead of a list.
fn said(sentence: Markup) -> Markup {
    framed(
        "attention",
        "Needs attention",
        &[],
        html! { p class="card" { (sentence) } },
    )
}

fn list(found: &Alerts, is_stored: bool, damaged: Option<&str>) -> Markup {
    let (alerts, more) = (&found.alerts, found.more);
    let rest = alerts.len().saturating_sub(SHOWN) as u64 + more;
    let queries: &[String] = match is_stored && !alerts.is_empty() {
        true => &["alerts".to_owned()],
        false => &[],
    };
    // Those that are quiet are at the end.
    let shown = &alerts[..alerts.len().min(SHOWN)];
    let loud = shown.iter().take_while(|alert| !alert.quiet).count();
    let (loud, quiet) = shown.split_at(loud);
    let body = html! {
        @if let Some(why) = damaged {
            p class="note" {
                "The stored alerts of this snapshot cannot be read: " (escaped(why))
                ". The list was computed now."
            }
        }
        @if !found.not_read.is_empty() {
            p class="note" {
                "Left out, because they cannot be read:"
                @for date in &found.not_read { " " (date) }
                ". Run " code { "backlake verify" } "."
            }
        }
        @if loud.is_empty() { (nothing(found, quiet.len())) } @else { (items(loud, is_stored)) }
        @if !quiet.is_empty() {
            h3 { "Told before " small { "quiet until they get worse or a week has passed" } }
            (items(quiet, is_stored))
        }
        @if rest > 0 {
            p class="note" { (rest) " more are in the list of " code { "backlake alerts" } "." }
        }
    };
    framed("attention", "Needs attention", queries, body)
}

/// What is said if nothing is new.
fn nothing(found: &Alerts, quiet: usize) -> Markup {
    html! {
        p class="card" {
            @if found.nights < 2 {
                "Nothing yet. Most rules compare nights, and this is the first."
            } @else {
                span class="good" { "✓ Nothing" @if quiet > 0 { " new" } } " needs attention. "
                small { "The rules compared " (counted(found.nights.into(), "night")) "." }
            }
        }
    }
}

fn items(alerts: &[Alert], is_stored: bool) -> Markup {
    html! {
        ol class=(if alerts.len() > OPEN { "card attention long" } else { "card attention" }) data-sql=[is_stored.then_some("alerts")] {
            @for alert in alerts { (item(alert, is_stored)) }
        }
    }
}

fn item(alert: &Alert, is_stored: bool) -> Markup {
    html! {
        li class=[alert.quiet.then_some("quiet")] {
            span class=(format!("severity {}", alert.severity.name())) { (alert.severity.name()) }
            div {
                p { strong { (foreign(&alert.subject())) } " " (escaped(&alert.what)) }
                p class="under" {
                    @if alert.before.is_some() || alert.after.is_some() || is_stored {
                        (number(alert.before, is_stored)) " → " (number(alert.after, is_stored)) " · "
                    }
                    (alert.rule.name())
                    @if alert.pages > 0 { " · on " (counted(alert.pages, "page")) }
                    " · since " (alert.since)
                    @if alert.quiet { " · told on " (alert.told) }
                    @if alert.target.is_some() {
                        @for label in &alert.labels { " · " (foreign(label)) }
                    }
                }
                details {
                    summary { "SQL" }
                    pre tabindex="0" { code { (escaped(&alert.sql)) } }
                }
            }
        }
    }
}

/// A number, whole or a share. It is marked as one only where the query has it, too.
fn number(value: Option<f64>, is_stored: bool) -> Markup {
    let (value, shown) = match value {
        None => (String::new(), "–".to_owned()),
        Some(value) if value.fract() == 0.0 => (value.to_string(), separated(value as i64)),
        Some(value) => (value.to_string(), value.to_string()),
    };
    html! { @if is_stored { data value=(value) { (shown) } } @else { (shown) } }
}
