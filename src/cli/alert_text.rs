//! Alerts as lines for people.

use std::fmt::Write as _;

use crate::alerts::{Alert, Alerts};
use crate::counted::counted;
use crate::visible::escaped;

/// The alerts that a run shows; `backlake alerts` shows all.
const SHOWN: usize = 10;

/// All alerts of a snapshot.
pub(super) fn text(alerts: &Alerts) -> String {
    let told = alerts.told().count() as u64;
    let mut text = format!(
        "snapshot {}: {}, over {}\n",
        alerts.snapshot,
        counted(told, "alert"),
        counted(alerts.nights.into(), "night"),
    );
    for alert in &alerts.alerts {
        line(alert, &mut text);
    }
    if alerts.more > 0 {
        let _ = writeln!(text, "  and {}", counted(alerts.more, "more alert"));
    }
    if !alerts.not_read.is_empty() {
        let dates: Vec<_> = alerts.not_read.iter().map(ToString::to_string).collect();
        let dates = dates.join(", ");
        let _ = writeln!(text, "  left out, because they cannot be read: {dates}");
    }
    text
}

/// The alerts of a run: the worst, and how many more there are.
pub(super) fn worst(alerts: &[Alert], quiet: u64, more: u64, text: &mut String) {
    if alerts.is_empty() && quiet == 0 {
        return;
    }
    let number = alerts.len() as u64 + more;
    if number == 0 {
        let quiet = counted(quiet, "alert");
        let _ = writeln!(text, "  needs attention: nothing new; {quiet} told before");
        return;
    }
    let quiet = match quiet {
        0 => String::new(),
        quiet => format!(", and {quiet} told before"),
    };
    let _ = writeln!(
        text,
        "  needs attention: {}{quiet}",
        counted(number, "alert")
    );
    for alert in alerts.iter().take(SHOWN) {
        line(alert, text);
    }
    if number > SHOWN as u64 {
        let _ = writeln!(text, "    `backlake alerts` lists all {number}");
    }
}

fn line(alert: &Alert, text: &mut String) {
    let _ = writeln!(text, "    {}", escaped(&alert.line()));
}
