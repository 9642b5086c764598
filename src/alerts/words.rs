//! Findings in words. The name of the subject stands before them.

use super::alert::Subject;
use super::judge::Change;

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

/// A change of referring main domains.
pub(super) fn changed(change: &Change, subject: &Subject) -> String {
    let verb = if change.log < 0.0 { "lost" } else { "gained" };
    let ratio = percent((change.now - change.expected) / change.expected.max(1.0));
    match subject {
        Subject::Target { .. } => format!("{verb} {ratio} of its referring main domains"),
        _ => format!("its pages {verb} {ratio} of their referring main domains"),
    }
}

/// A slow change of referring main domains.
pub(super) fn changed_slowly(change: &Change, subject: &Subject, nights: usize) -> String {
    format!(
        "{} within {nights} nights, a few every night",
        changed(change, subject)
    )
}
