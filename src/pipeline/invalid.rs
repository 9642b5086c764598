//! Invalid lines by reason: a list in which too many lines are invalid is not the list that its
//! author meant, and nothing is sent for it.

use std::collections::HashMap;

use super::ready::TargetSettings;
use super::report::{InvalidLine, InvalidReason};
use crate::error::{Error, Result};
use crate::targets::{Line, TargetList};
use crate::visible::escaped;

/// How many invalid lines reports show.
const FIRST_INVALID: usize = 5;
/// How many reasons messages show, most frequent first.
const REASONS: usize = 5;
/// How many lines they show for each reason.
const EXAMPLES: usize = 2;

/// The first few invalid lines.
pub(super) fn first_invalid(list: &TargetList) -> Vec<InvalidLine> {
    list.invalid_lines()
        .map(|(line, reason)| example(&line, reason))
        .take(FIRST_INVALID)
        .collect()
}

fn example(line: &Line<'_>, reason: &str) -> InvalidLine {
    InvalidLine {
        source: line.place.source.to_owned(),
        line: line.place.number,
        input: line.input().chars().take(120).collect(),
        reason: reason.to_owned(),
    }
}

/// The reasons of all invalid lines with their numbers, most frequent first.
pub(super) fn reasons(list: &TargetList) -> Vec<InvalidReason> {
    let mut found: Vec<InvalidReason> = Vec::new();
    let mut numbers = HashMap::new();
    for (line, reason) in list.invalid_lines() {
        let at = *numbers.entry(kind(reason)).or_insert_with_key(|kind| {
            found.push(InvalidReason {
                reason: kind.clone(),
                lines: 0,
                examples: Vec::new(),
            });
            found.len() - 1
        });
        let group = &mut found[at];
        group.lines += 1;
        if group.examples.len() < EXAMPLES {
            group.examples.push(example(&line, reason));
        }
    }
    // Stable: reasons that are as frequent stay in the order of the lines.
    found.sort_by_key(|group| std::cmp::Reverse(group.lines));
    found
}

/// A reason without what belongs to one line only: quoted text and words with digits.
fn kind(reason: &str) -> String {
    let mut kind = String::with_capacity(reason.len());
    for (at, part) in reason.split('`').enumerate() {
        if at % 2 == 1 {
            kind.push('…');
            continue;
        }
        for word in part.split_inclusive(' ') {
            let text = word.trim_end_matches([' ', ',', ';', ':']);
            if text.contains(|c: char| c.is_ascii_digit()) && !text.starts_with('%') {
                kind.push('…');
                kind.push_str(&word[text.len()..]);
            } else {
                kind.push_str(word);
            }
        }
    }
    kind
}

/// All reasons in one line, with examples.
pub(super) fn described(reasons: &[InvalidReason]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for InvalidReason {
        reason,
        lines,
        examples,
    } in reasons.iter().take(REASONS)
    {
        let shown = examples.iter().map(|line| {
            let (source, input) = (escaped(&line.source), escaped(&line.input));
            // What the kind leaves out is shown with the line.
            let own = match &line.reason {
                own if own == reason => String::new(),
                own => format!(": {}", escaped(own)),
            };
            format!("{source} line {}: `{input}`{own}", line.line)
        });
        let shown: Vec<String> = shown.collect();
        parts.push(format!(
            "{lines} × {} ({})",
            escaped(reason),
            shown.join("; ")
        ));
    }
    if reasons.len() > REASONS {
        parts.push(format!("and {} more reasons", reasons.len() - REASONS));
    }
    parts.join(", ")
}

/// Refuses a list in which more lines are invalid than the pipeline allows.
///
/// # Errors
/// The numbers by reason, with examples.
pub(super) fn refuse_mistaken(list: &TargetList, settings: &TargetSettings) -> Result<()> {
    let (invalid, lines) = (list.invalid_count(), list.line_count());
    let allowed = settings.max_invalid;
    if (invalid as u64) < allowed.few || invalid as f64 <= allowed.ratio * lines as f64 {
        return Ok(());
    }
    let message = format!(
        "{invalid} of {lines} lines are invalid, and [targets] max_invalid_ratio is {}: {}",
        allowed.ratio,
        described(&reasons(list))
    );
    let hint = "nothing was sent; correct the list, or [targets] format and column; if these lines may be left out, raise max_invalid_ratio";
    Err(Error::usage(message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn reasons_that_differ_in_what_they_quote_are_one_kind() {
        for (reason, expected) in [
            ("empty", "empty"),
            (
                "host `router` has a single label",
                "host … has a single label",
            ),
            ("host 10.0.0.5 is private", "host … is private"),
            (
                "not UTF-8 at byte 12; save the list as UTF-8",
                "not … at byte …; save the list as …",
            ),
            (
                "contains white space; write it as %20, and",
                "contains white space; write it as %20, and",
            ),
        ] {
            assert_eq!(kind(reason), expected);
        }
    }
}
