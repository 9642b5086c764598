//! How far to trust the snapshot: its fates, its cost, drift, and the nights before it.

use std::collections::BTreeMap;

use indicatif::HumanCount;
use maud::{Markup, html};

use super::collect::{Attention, Day, Report, Settled};
use super::head::section as framed;
use super::numbers::{known, money, share, total};
use super::svg::stacked;
use crate::alerts::{Alerts, ShiftCheck};
use crate::counted::plural;
use crate::fate::Fate;
use crate::money::Usd;
use crate::visible::escaped;

pub(super) fn section(report: &Report) -> Markup {
    let body = html! {
        div class="card" {
            (fates(report))
            dl class="facts" {
                (cost(report))
                (audit(report))
                (drift(report))
                (index(report))
                (nights(report))
            }
        }
    };
    let queries = ["fates".to_owned(), "cost".to_owned()];
    framed("trust", "Can I trust this night?", &queries, body)
}

fn meaning(fate: Fate) -> &'static str {
    match fate {
        Fate::Returned => "has data",
        Fate::Absent => "asked and paid, no data",
        Fate::Duplicate => "repeats another line",
        Fate::Invalid => "is not a target",
        Fate::Refused => "refused by the provider",
        Fate::Failed => "all attempts failed",
        Fate::Unsent => "not sent",
    }
}

fn fates(report: &Report) -> Markup {
    let tally = &report.manifest.tally;
    let parts = Fate::ALL.map(|fate| (fate.name(), tally.fates.of(fate)));
    let of = |fate: &Fate| tally.fates.of(*fate);
    let title = Fate::ALL
        .iter()
        .filter(|fate| of(fate) > 0)
        .map(|fate| format!("{} {}", fate.name(), of(fate)))
        .collect::<Vec<_>>()
        .join(", ");
    html! {
        div data-sql="fates" {
            p class="lead" {
                strong { (total(tally.lines)) } " lines read. Each ended in exactly one fate."
            }
            (stacked(&parts, &format!("fates of the lines: {title}")))
            ul class="legend" {
                @for fate in Fate::ALL {
                    li class=[(of(&fate) == 0).then_some("none")] title=(meaning(fate)) {
                        span class=(format!("key {}", fate.name())) {}
                        (fate.name()) " " strong { (total(of(&fate))) }
                        " " small { (share(of(&fate) as f64, tally.lines as f64)) }
                    }
                }
            }
        }
    }
}

fn cost(report: &Report) -> Markup {
    let requests = &report.manifest.tally.requests;
    let over = requests.sent.saturating_sub(requests.lower_bound);
    html! {
        div data-sql="cost" {
            dt { "Cost" }
            dd {
                (money(requests.cost_usd))
                @if requests.cost_unknown_usd == Usd::ZERO {
                    span hidden { (money(requests.cost_unknown_usd)) }
                } @else {
                    " and at most " (money(requests.cost_unknown_usd)) " more, charge unknown"
                }
                small {
                    @match report.manifest.budget_usd {
                        Some(budget) => { "of a budget of " (money(budget)) ". " }
                        None => { span hidden { (known(None)) } "No budget is set. " }
                    }
                }
                small {
                    (total(requests.sent)) " " (plural(requests.sent, "request")) "; the lower bound is "
                    (total(requests.lower_bound)) ". "
                    @match over {
                        0 if requests.sent == requests.lower_bound => "No packing could use fewer.",
                        0 => "",
                        over => { (over) " above it: packing, retries or refused targets." }
                    }
                }
            }
        }
    }
}

fn audit(report: &Report) -> Markup {
    let problems = report.manifest.imbalances();
    html! {
        div {
            dt { "Audit" }
            dd {
                @if problems.is_empty() {
                    span class="good" { "✓ passed" }
                    small { "The files were audited before they were published, and the counts add up." }
                } @else {
                    span class="bad" { "✗ counts do not add up" }
                    small { @for problem in &problems { (problem) ". " } "Run backlake verify." }
                }
            }
        }
    }
}

fn drift(report: &Report) -> Markup {
    let found = &report.manifest.irregularities;
    let values = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let findings = [
        (values(&found.unknown_fields), "values of unknown fields"),
        (values(&found.misfits), "values that do not fit"),
        (values(&found.missing), "values that are missing"),
        (found.not_objects, "items that are not objects"),
    ];
    let findings: Vec<_> = findings.iter().filter(|(count, _)| *count > 0).collect();
    html! {
        div {
            dt { "Drift" }
            dd {
                @if findings.is_empty() {
                    span class="good" { "✓ none" }
                    small { "Every field is there, and every value fits the contract." }
                } @else {
                    span class="warn" { "! the provider changed something" }
                    small {
                        @for (number, (count, what)) in findings.iter().enumerate() {
                            @if number > 0 { ", " }
                            (HumanCount(*count).to_string()) " " (what)
                        }
                        "; the appendix names the fields."
                    }
                }
            }
        }
    }
}

/// Whether all pages moved together: then the provider's index has changed, and not the web.
fn index(report: &Report) -> Markup {
    let (mark, said, why) = match &report.attention {
        Attention::Told(alerts) | Attention::Found(alerts, _) => looked_for(alerts),
        Attention::Off => (
            "flat",
            "not looked for",
            "Alerts are switched off.".to_owned(),
        ),
        Attention::Failed(_) => (
            "warn",
            "! not known",
            "The alerts cannot be found; see below.".to_owned(),
        ),
    };
    html! {
        div {
            dt { "Provider's index" }
            dd {
                span class=(mark) { (said) }
                small { (why) }
            }
        }
    }
}

/// The class of the answer, the answer, and why.
fn looked_for(alerts: &Alerts) -> (&'static str, &'static str, String) {
    let mut all = alerts.alerts.iter();
    if let Some(shift) = all.find(|alert| alert.is_index_shift()) {
        let what = format!("{}.", escaped(&shift.what));
        return ("warn", "! has changed", what);
    }
    let (mark, said, why) = match alerts.index_shift {
        ShiftCheck::Checked => ("good", "✓ no jump", "The pages did not move together."),
        ShiftCheck::Off => (
            "flat",
            "not looked for",
            "The rule index_shift is switched off.",
        ),
        ShiftCheck::OneNight => ("flat", "not known", "This needs a second night."),
        ShiftCheck::FewPages => (
            "flat",
            "not known",
            "Too few pages have 20 or more referring main domains.",
        ),
    };
    (mark, said, why.to_owned())
}

/// A square per date of the report.
fn nights(report: &Report) -> Markup {
    let compared = report.dates().len();
    let is_published = |day: &&Day| !matches!(day.settled, Settled::Unpublished(_));
    let published = report.days.iter().filter(is_published).count();
    let nights = report.days.len();
    html! {
        div {
            dt { "Nights" }
            dd {
                span class="nights" role="img" aria-label=(format!("{compared} of {nights} nights can be compared")) {
                    @for day in &report.days { (square(day)) }
                }
                small {
                    (published) " of " (nights) " published"
                    @if compared == nights { "." } @else {
                        "; not compared: "
                        @for (number, run) in runs(&report.days).iter().enumerate() {
                            @if number > 0 { ", " }
                            span class="night" {
                                span class=(format!("square {}", class(&run[0]))) {}
                                (run[0].date)
                                @if run.len() > 1 { " to " (run[run.len() - 1].date) }
                            }
                            " (" (word(&run[0])) ")"
                        }
                        "."
                    }
                }
            }
        }
    }
}

/// Dates after each other that have the same word, without those that are compared.
fn runs(days: &[Day]) -> Vec<&[Day]> {
    let runs = days.chunk_by(|left, right| word(left) == word(right));
    runs.filter(|run| run[0].pages().is_none()).collect()
}

fn word(day: &Day) -> String {
    match &day.settled {
        Settled::Published(..) => "published".to_owned(),
        Settled::Different(difference) => {
            format!("other settings: {}", escaped(difference))
        }
        Settled::Unpublished(state) => state.name().to_owned(),
    }
}

/// Each state has its own look in `report.css`.
fn class(day: &Day) -> &'static str {
    match &day.settled {
        Settled::Published(..) => "published",
        Settled::Different(_) => "different",
        Settled::Unpublished(state) => state.name(),
    }
}

fn square(day: &Day) -> Markup {
    let title = format!("{}: {}", day.date, word(day));
    html! { span class=(format!("square {}", class(day))) title=(title) {} }
}
