//! Matches items to targets: by key, never by position.

use arrow::array::{Array, StringArray};
use hashbrown::HashMap;

use crate::targets::{Rules, Target, canonical, stem};

/// For each row, the index of the target that it belongs to.
///
/// There are three rounds, each for the rows and targets that the earlier rounds left open. The
/// first compares the url as received. The second compares its canonical form. The third compares
/// the url without its scheme, `www.` and final slash, and matches only if exactly one row and one
/// target remain for it. At most one row matches a target; further rows stay unmatched.
pub(super) fn match_rows(
    urls: Option<&StringArray>,
    rows: usize,
    targets: &[Target<'_>],
    rules: &Rules,
) -> Vec<Option<usize>> {
    let mut matches = vec![None; rows];
    let Some(urls) = urls else {
        return matches;
    };
    let by_text: HashMap<&str, usize> = targets
        .iter()
        .enumerate()
        .map(|(at, target)| (target.text, at))
        .collect();
    let mut open = vec![true; targets.len()];
    let mut left = Vec::new();
    for (row, url) in urls.iter().enumerate() {
        match url.and_then(|url| by_text.get(url).copied()) {
            Some(target) if open[target] => {
                open[target] = false;
                matches[row] = Some(target);
            }
            _ => left.push(row),
        }
    }
    let mut still_left: Vec<(usize, String)> = Vec::new();
    for row in left {
        if urls.is_null(row) {
            continue;
        }
        let url = urls.value(row);
        let own =
            canonical(url, rules).map_or_else(|_| url.to_owned(), |own| own.text().to_owned());
        match by_text.get(own.as_str()) {
            Some(&target) if open[target] => {
                open[target] = false;
                matches[row] = Some(target);
            }
            // Its target has a row already, so this is a second row and not another spelling.
            Some(_) => {}
            None => still_left.push((row, own)),
        }
    }
    if still_left.is_empty() {
        return matches;
    }
    let mut by_stem: HashMap<&str, (Candidate, Candidate)> = HashMap::new();
    for (at, target) in targets.iter().enumerate().filter(|&(at, _)| open[at]) {
        by_stem.entry(stem(target.text)).or_default().1.add(at);
    }
    for (row, own) in &still_left {
        if let Some((rows, _)) = by_stem.get_mut(stem(own)) {
            rows.add(*row);
        }
    }
    for (row, target) in by_stem.into_values() {
        if let (Candidate::One(row), Candidate::One(target)) = (row, target) {
            matches[row] = Some(target);
        }
    }
    matches
}

/// No candidate, one, or several, which cannot be told apart.
#[derive(Debug, Clone, Copy, Default)]
enum Candidate {
    #[default]
    None,
    One(usize),
    Many,
}

impl Candidate {
    fn add(&mut self, at: usize) {
        *self = match self {
            Self::None => Self::One(at),
            Self::One(_) | Self::Many => Self::Many,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::{TargetId, TargetKind};

    fn matched(targets: &[&str], urls: &[&str]) -> Vec<Option<usize>> {
        let target = |text| Target {
            id: TargetId(0),
            text,
            kind: TargetKind::Page,
            root_domain: "example.com",
        };
        let targets: Vec<Target<'_>> = targets.iter().copied().map(target).collect();
        match_rows(
            Some(&StringArray::from(urls.to_vec())),
            urls.len(),
            &targets,
            &Rules::default(),
        )
    }

    #[test]
    fn rows_match_their_target_by_key_in_any_order() {
        let targets = [
            "https://example.com/",
            "https://example.com/a",
            "example.com",
            "https://www.example.com/b",
        ];
        assert_eq!(
            matched(
                &targets,
                &[
                    "example.com",
                    "https://example.com/a",
                    "https://example.com/"
                ]
            ),
            [Some(2), Some(1), Some(0)]
        );
        assert_eq!(matched(&targets, &["HTTPS://EXAMPLE.com/a#x"]), [Some(1)]);
        assert_eq!(matched(&targets, &["http://example.com/b/"]), [Some(3)]);
        assert_eq!(
            matched(&targets, &["https://WWW.Example.com/a/"]),
            [Some(1)]
        );
        // If page and domain are both open, the url could belong to either.
        assert_eq!(matched(&targets, &["http://example.com/"]), [None]);
        assert_eq!(
            matched(&targets, &["https://example.com/", "http://example.com/"]),
            [Some(0), Some(2)]
        );
    }

    #[test]
    fn a_second_row_for_a_target_stays_unmatched() {
        assert_eq!(
            matched(
                &["https://example.com/a"],
                &["https://example.com/a", "https://example.com/a"]
            ),
            [Some(0), None]
        );
        assert_eq!(
            matched(
                &["https://example.com/a"],
                &["http://example.com/a", "https://example.com/a/"]
            ),
            [None, None]
        );
    }
}
