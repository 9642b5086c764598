//! Stores the lines of a target list with a run, so that its tables can be rebuilt after the list
//! has changed.
//!
//! The format is ndjson: a first line with sources, kept columns and rules, then one line per input
//! line. Targets are derived again when the lines are read back, so a rule that was fixed since
//! then applies.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::block::{BLOCK_LINES, Block, Entities};
use super::canonical::{Canonical, LineTarget, canonical};
use super::list::{LineEnd, TargetList};
use super::problem::Problem;
use super::rules::Rules;
use super::spelling::unescaped;
use crate::error::{Context, Result};

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    sources: Vec<String>,
    keep: Vec<String>,
    rules: Rules,
}

/// One input line.
#[derive(Serialize, Deserialize)]
struct KeptLine<'a> {
    /// The number of its source.
    source: usize,
    line: u64,
    #[serde(borrow)]
    input: Cow<'a, str>,
    /// Why the line is not a target, if the input does not show it: the line could not be read.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    problem: Option<Cow<'a, str>>,
    /// Whether the reader had decoded the entities of the line, where that makes a difference.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    decoded: bool,
    /// One label for each kept column.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Option<Cow<'a, str>>>,
}

impl KeptLine<'_> {
    /// An empty block for this line and those like it.
    fn block(&self) -> Block {
        let entities = if self.decoded {
            Entities::Decoded
        } else {
            Entities::AsWritten
        };
        Block::like(self.source, entities)
    }
}

impl TargetList {
    /// Writes all lines for [`TargetList::read_kept`].
    ///
    /// # Errors
    /// The writer fails.
    pub fn write_kept(&self, rules: &Rules, to: &mut impl Write) -> io::Result<()> {
        let head = Head {
            sources: self.sources().to_vec(),
            keep: self.keep().to_vec(),
            rules: *rules,
        };
        serde_json::to_writer(&mut *to, &head)?;
        for (index, line) in self.lines().enumerate() {
            let (mut problem, mut decoded) = (None, false);
            match line.end {
                LineEnd::Invalid(reason) => {
                    match LineTarget::of(line.input(), Entities::AsWritten, rules) {
                        Err(found) if found.to_string() == reason => {}
                        _ => problem = Some(Cow::Borrowed(reason)),
                    }
                }
                LineEnd::Target(_) | LineEnd::Duplicate { .. } => {
                    let is_own = |found: &Canonical| {
                        line.target
                            .as_ref()
                            .is_some_and(|own| own.text == found.text())
                    };
                    decoded = unescaped(line.input(), Entities::AsWritten).is_some()
                        && canonical(line.input(), rules).is_ok_and(|found| is_own(&found));
                }
            }
            let kept = KeptLine {
                source: line.place.source_number,
                line: line.place.number,
                input: Cow::Borrowed(line.input()),
                problem,
                decoded,
                labels: self
                    .label_values(index)
                    .map(|label| label.map(Cow::Borrowed))
                    .collect(),
            };
            to.write_all(b"\n")?;
            serde_json::to_writer(&mut *to, &kept)?;
        }
        to.write_all(b"\n")
    }

    /// Reads back the lines of [`TargetList::write_kept`], and the rules by which they were first
    /// read.
    ///
    /// # Errors
    /// The reader fails, or a line is damaged.
    pub fn read_kept(mut from: impl BufRead + Send) -> Result<(Self, Rules)> {
        let damaged = || "the stored target list is damaged";
        let mut text = String::new();
        from.read_line(&mut text).context(damaged)?;
        let Head {
            sources,
            keep,
            rules,
        } = serde_json::from_str(&text).context(damaged)?;
        let (list, ()) = Self::gather(keep, sources, &rules, move |sink| {
            let mut block = Block::default();
            loop {
                text.clear();
                let ended = from.read_line(&mut text).context(damaged)? == 0;
                let line: Option<KeptLine<'_>> = if ended {
                    None
                } else {
                    Some(sonic_rs::from_str(&text).context(damaged)?)
                };
                let full = block.lines.len() == BLOCK_LINES;
                let next = line.as_ref().map_or_else(Block::default, KeptLine::block);
                if line.is_none()
                    || full
                    || (next.source, next.entities) != (block.source, block.entities)
                {
                    sink(std::mem::replace(&mut block, next))?;
                }
                let Some(line) = line else { return Ok(()) };
                let problem = line
                    .problem
                    .map(|reason| Problem::Recorded(reason.into_owned()));
                block.push(line.line, line.input.as_bytes(), problem);
                block.labels.extend(
                    line.labels
                        .into_iter()
                        .map(|label| label.map(|label| label.into())),
                );
            }
        })?;
        Ok((list, rules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_that_the_reader_decoded_are_not_decoded_again() {
        let rules = Rules::default();
        let line = "https://a.com/?x=1&amp;y=2";
        for (entities, target, unescaped) in [
            (Entities::AsWritten, "https://a.com/?x=1&y=2", 1),
            (Entities::Decoded, line, 0),
        ] {
            let list = TargetList::gather(Vec::new(), vec!["a".to_owned()], &rules, |sink| {
                let mut block = Block::like(0, entities);
                block.push_target(1, line.as_bytes());
                sink(block)
            });
            let (list, ()) = list.unwrap();
            let mut kept = Vec::new();
            list.write_kept(&rules, &mut kept).unwrap();
            let (again, _) = TargetList::read_kept(kept.as_slice()).unwrap();
            for list in [list, again] {
                assert_eq!(list.targets().next().unwrap().text, target);
                assert_eq!(list.line(0).input(), line);
                assert_eq!(list.unescaped_count(), unescaped);
            }
        }
    }

    #[test]
    fn a_line_with_too_many_bytes_of_labels_is_invalid_and_stays_so() {
        let rules = Rules::default();
        let keep = vec!["team".to_owned(), "note".to_owned()];
        let list = TargetList::gather(keep, vec!["a".to_owned()], &rules, |sink| {
            let mut block = Block::of(0);
            for (number, note) in [1 << 13, (1 << 14) - 4, (1 << 14) - 3, 1 << 16]
                .into_iter()
                .enumerate()
            {
                block.push_target(
                    number as u64,
                    format!("https://example.com/{number}").as_bytes(),
                );
                block.labels.push(Some("team".into()));
                block.labels.push(Some("x".repeat(note).into()));
            }
            sink(block)
        });
        let (list, ()) = list.unwrap();
        let mut kept = Vec::new();
        list.write_kept(&rules, &mut kept).unwrap();
        let (again, _) = TargetList::read_kept(kept.as_slice()).unwrap();
        for list in [list, again] {
            assert_eq!((list.target_count(), list.invalid_count()), (2, 2));
            assert_eq!((list.labels(1).count(), list.labels(2).count()), (2, 0));
            let LineEnd::Invalid(reason) = list.line(2).end else {
                panic!("it is a target");
            };
            assert!(
                reason.contains("labels have more than 16384 bytes"),
                "{reason}"
            );
        }
    }

    #[test]
    fn of_a_long_invalid_line_the_start_is_kept_and_it_stays_invalid() {
        let rules = Rules::default();
        let why = "it is wrong at its end";
        let line = format!("https://example.com/{}", "\u{e4}".repeat(20_000));
        let list = TargetList::gather(Vec::new(), vec!["a".to_owned()], &rules, |sink| {
            for number in 0..1000 {
                let mut block = Block::of(0);
                let problem = Problem::Recorded(why.to_owned());
                block.push(number, line.as_bytes(), Some(problem));
                sink(block)?;
            }
            Ok(())
        });
        let (list, ()) = list.unwrap();
        assert!(list.memory_bytes() < 8 << 20, "{}", list.memory_bytes());
        let mut kept = Vec::new();
        list.write_kept(&rules, &mut kept).unwrap();
        let (again, _) = TargetList::read_kept(kept.as_slice()).unwrap();
        for list in [list, again] {
            assert_eq!((list.invalid_count(), list.target_count()), (1000, 0));
            assert!(line.starts_with(list.line(0).input()) && list.line(0).input().len() == 1024);
            assert_eq!(list.line(0).end, LineEnd::Invalid(why));
        }
    }
}
