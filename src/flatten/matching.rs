//! Matches items to targets: by key, never by position.

use arrow::array::StringArray;
use hashbrown::{HashMap, HashSet};

use crate::targets::{Rules, Spelling, Target, canonical};

/// For each row, the index of the target that it belongs to.
///
/// Matching goes from strict to forgiving, and each round sees only the rows and targets that the
/// earlier rounds left open: the url as received, its canonical form, and then the keys of
/// [`FORGIVING`]. A forgiving key matches only if exactly one row and one target have it. At most
/// one row matches a target; further rows stay unmatched.
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
        .map(|(at, target)| (&*target.text, at))
        .collect();
    let mut open = vec![true; targets.len()];
    let mut left = Vec::new();
    for (row, url) in urls.iter().enumerate() {
        match url.map(|url| by_text.get(url).copied()) {
            Some(Some(target)) if open[target] => {
                open[target] = false;
                matches[row] = Some(target);
            }
            // The same text a second time is the same item again, not another spelling.
            Some(Some(_)) | None => {}
            Some(None) => left.push(row),
        }
    }
    let mut spelled: Vec<(usize, String)> = Vec::new();
    for row in left {
        let url = urls.value(row);
        let own =
            canonical(url, rules).map_or_else(|_| url.to_owned(), |own| own.text().to_owned());
        match by_text.get(own.as_str()) {
            Some(&target) if open[target] => {
                open[target] = false;
                matches[row] = Some(target);
            }
            _ => spelled.push((row, own)),
        }
    }
    if !spelled.is_empty() {
        match_spellings(&spelled, targets, &mut open, &mut matches);
    }
    matches
}

/// What a key ignores, from strict to forgiving: the final slash; `www.`, too; the scheme instead;
/// all of them.
const FORGIVING: [fn(Spelling<'_>) -> Spelling<'_>; 4] = [
    |spelling| spelling,
    |spelling| Spelling {
        www: false,
        ..spelling
    },
    |spelling| Spelling {
        scheme: "",
        ..spelling
    },
    |Spelling { stem, .. }| Spelling {
        scheme: "",
        www: false,
        stem,
    },
];

/// Matches rows and targets whose spellings differ. A match takes its row and target out of every
/// other key, so it can make a stricter key unambiguous: the rounds start again until none matches.
fn match_spellings(
    rows: &[(usize, String)],
    targets: &[Target<'_>],
    open: &mut [bool],
    matches: &mut [Option<usize>],
) {
    // Only the stems of the rows matter; most targets of most responses have matched already.
    let stems: HashSet<&str> = rows.iter().map(|(_, url)| Spelling::of(url).stem).collect();
    let mut rows: Vec<(usize, Spelling<'_>)> = rows
        .iter()
        .map(|(row, url)| (*row, Spelling::of(url)))
        .collect();
    let mut targets: Vec<(usize, Spelling<'_>)> = (0..targets.len())
        .filter(|&at| open[at])
        .map(|at| (at, Spelling::of(&targets[at].text)))
        .filter(|(_, spelling)| stems.contains(spelling.stem))
        .collect();
    let mut round = 0;
    while let Some(key) = FORGIVING.get(round) {
        let mut candidates: HashMap<Spelling<'_>, (Candidate, Candidate)> = HashMap::new();
        for &(at, spelling) in &targets {
            candidates.entry(key(spelling)).or_default().1.add(at);
        }
        for &(row, spelling) in &rows {
            candidates.entry(key(spelling)).or_default().0.add(row);
        }
        let before = targets.len();
        for (row, target) in candidates.into_values() {
            if let (Candidate::One(row), Candidate::One(target)) = (row, target) {
                matches[row] = Some(target);
                open[target] = false;
            }
        }
        rows.retain(|&(row, _)| matches[row].is_none());
        targets.retain(|&(at, _)| open[at]);
        round = if targets.len() < before { 0 } else { round + 1 };
    }
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
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::targets::{TargetId, TargetKind};

    fn matched(targets: &[&str], urls: &[&str]) -> Vec<Option<usize>> {
        let target = |text| Target {
            id: TargetId(0),
            text: Cow::Borrowed(text),
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
        // Of two spellings of the target, the nearer one is its row; equally near ones are not.
        assert_eq!(
            matched(
                &["https://example.com/a"],
                &["http://example.com/a", "https://example.com/a/"]
            ),
            [None, Some(0)]
        );
        assert_eq!(
            matched(
                &["https://example.com/a"],
                &["http://example.com/a", "http://example.com/a/"]
            ),
            [None, None]
        );
    }

    #[test]
    fn what_exact_matches_leave_is_matched_by_elimination() {
        let targets = ["example.org", "http://example.org/", "https://example.org/"];
        for (urls, expected) in [
            (
                [
                    "http://example.org",
                    "http://example.org/",
                    "https://example.org/",
                ],
                [Some(0), Some(1), Some(2)],
            ),
            (
                [
                    "https://example.org/",
                    "http://www.example.org/",
                    "https://example.org",
                ],
                [Some(2), Some(1), Some(0)],
            ),
            // Two items with the same url: nothing says which one is the domain's.
            (
                [
                    "https://example.org/",
                    "https://example.org/",
                    "http://example.org/",
                ],
                [Some(2), None, Some(1)],
            ),
        ] {
            assert_eq!(matched(&targets, &urls), expected, "{urls:?}");
        }
    }

    /// Every spelling of two pages and two domains.
    fn spellings() -> Vec<String> {
        let mut all = Vec::new();
        for stem in ["a.com", "b.com", "a.com/x", "b.com/x"] {
            for scheme in ["http://", "https://"] {
                for www in ["", "www."] {
                    for slash in ["", "/"] {
                        all.push(format!("{scheme}{www}{stem}{slash}"));
                    }
                }
            }
        }
        all.extend(["a.com".to_owned(), "b.com".to_owned()]);
        all
    }

    /// Targets in canonical form.
    fn requested() -> impl Strategy<Value = Vec<String>> {
        prop::collection::btree_set(prop::sample::select(spellings()), 1..12).prop_map(|lines| {
            let canonical = |line: String| canonical(&line, &Rules::default()).unwrap();
            let texts = lines
                .into_iter()
                .map(|line| canonical(line).text().to_owned());
            texts
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_single_other_spelling_is_always_matched(
            (targets, urls) in requested().prop_flat_map(|targets| {
                let urls = Just(targets.clone()).prop_shuffle();
                (Just(targets), urls)
            }),
            at in any::<prop::sample::Index>(),
            scheme in prop::sample::select(vec!["http://", "https://"]),
            www in prop::sample::select(vec!["", "www."]),
            slash in prop::sample::select(vec!["", "/"]),
        ) {
            let mut truth: Vec<Option<usize>> = urls.iter().map(|url| targets.iter().position(|target| target == url)).collect();
            let at = at.index(urls.len());
            let respelled = format!("{scheme}{www}{}{slash}", Spelling::of(&urls[at]).stem);
            let mut received = urls.clone();
            received[at] = respelled.clone();
            if urls.contains(&respelled) && urls[at] != respelled {
                // The same text twice: one of them is the target of that text, the other unknown.
                let first = received.iter().position(|url| *url == respelled).unwrap();
                let of_text = targets.iter().position(|target| *target == respelled);
                for (row, url) in received.iter().enumerate() {
                    if *url == respelled {
                        truth[row] = if row == first { of_text } else { None };
                    }
                }
            }
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            let received: Vec<&str> = received.iter().map(String::as_str).collect();
            prop_assert_eq!(matched(&targets, &received), truth, "{:?} {:?}", targets, received);
        }

        #[test]
        fn no_target_has_two_rows_and_no_certain_match_is_left_out(
            targets in requested(),
            urls in prop::collection::vec(prop::sample::select(spellings()), 0..16),
        ) {
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
            let matches = matched(&targets, &urls);
            let of_target = |at| matches.iter().filter(|&&found| found == Some(at)).count();
            for (at, target) in targets.iter().enumerate() {
                prop_assert!(of_target(at) <= 1, "{}", target);
            }
            for (row, found) in matches.iter().enumerate() {
                let stem = Spelling::of(urls[row]).stem;
                if let Some(at) = found {
                    prop_assert_eq!(Spelling::of(targets[*at]).stem, stem);
                    continue;
                }
                // A row that repeats the text of a target is the same item again.
                if targets.contains(&urls[row]) {
                    continue;
                }
                let others = (0..urls.len()).filter(|&other| {
                    matches[other].is_none() && !targets.contains(&urls[other]) && Spelling::of(urls[other]).stem == stem
                });
                let open = (0..targets.len()).filter(|&at| of_target(at) == 0 && Spelling::of(targets[at]).stem == stem);
                prop_assert!((others.count(), open.count()) != (1, 1), "{:?} {:?} {:?}", targets, urls, matches);
            }
        }
    }
}
