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
    let ratio = percent((now - expected) / expected.max(1.0));
    match (subject, now < expected) {
        (Subject::Target { .. }, true) => format!("lost {ratio} of its referring main domains"),
        (Subject::Target { .. }, false) => format!("has {ratio} more referring main domains"),
        (_, true) => format!("its pages lost {ratio} of their referring main domains"),
        (_, false) => format!("its pages have {ratio} more referring main domains"),
    }
}

/// A change spread over this many nights.
pub(super) fn within(what: &str, nights: usize) -> String {
    format!("{what} within {nights} nights, a few every night")
}
