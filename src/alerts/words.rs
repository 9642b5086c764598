//! Findings in words. The name of the subject stands before them.

use super::alert::Subject;

/// A share with its sign: `+12 %`.
pub(super) fn signed(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 10.0 {
        format!("{percent:+.1} %")
    } else {
        format!("{percent:+.0} %")
    }
}

/// A share: `12 %`.
pub(super) fn percent(share: f64) -> String {
    signed(share.abs()).trim_start_matches('+').to_owned()
}

/// A change of referring main domains from the expected number.
pub(super) fn changed(now: f64, expected: f64, subject: &Subject) -> String {
    let verb = if now < expected { "lost" } else { "gained" };
    let ratio = percent((now - expected) / expected.max(1.0));
    match subject {
        Subject::Target { .. } => format!("{verb} {ratio} of its referring main domains"),
        _ => format!("its pages {verb} {ratio} of their referring main domains"),
    }
}

/// A change spread over this many nights.
pub(super) fn within(what: &str, nights: usize) -> String {
    format!("{what} within {nights} nights, a few every night")
}
