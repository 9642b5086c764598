//! A list's lines as they are kept beside a run, so that its tables can be rebuilt when the list has long changed.
//!
//! ndjson: a first line with sources, kept columns and rules, then a line for each input line. What lines stand for
//! is worked out again when they are read back, so a mended rule counts.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::canonical::{Invalid, Rules, canonical};
use super::list::{LineEnd, TargetList};
use super::source::Block;
use crate::error::{Context, Result};

/// Lines handed on at once.
const BLOCK_LINES: usize = 8192;

#[derive(Serialize, Deserialize)]
struct Head {
    sources: Vec<String>,
    keep: Vec<String>,
    rules: Rules,
}

#[derive(Serialize, Deserialize)]
struct KeptLine<'a> {
    /// The number of its source.
    source: usize,
    line: u64,
    #[serde(borrow)]
    input: Cow<'a, str>,
    /// Why it is no target, where that does not follow from the input: it could not be read.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    problem: Option<Cow<'a, str>>,
    /// As many as columns are kept.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Option<Cow<'a, str>>>,
}

impl TargetList {
    /// Writes all lines, to be read back by [`TargetList::read_kept`].
    ///
    /// # Errors
    /// A writer that fails.
    pub fn write_kept(&self, rules: &Rules, to: &mut impl Write) -> io::Result<()> {
        let head = Head {
            sources: self.sources().to_vec(),
            keep: self.keep().to_vec(),
            rules: *rules,
        };
        serde_json::to_writer(&mut *to, &head)?;
        for (index, line) in self.lines().enumerate() {
            let problem = match line.end {
                LineEnd::Invalid(reason) => match canonical(line.input, rules) {
                    Err(found) if found.to_string() == reason => None,
                    _ => Some(Cow::Borrowed(reason)),
                },
                LineEnd::Target(_) | LineEnd::Duplicate { .. } => None,
            };
            let kept = KeptLine {
                source: line.source_number,
                line: line.number,
                input: Cow::Borrowed(line.input),
                problem,
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

    /// Reads back what [`TargetList::write_kept`] has written, and the rules it was read by.
    ///
    /// # Errors
    /// A reader that fails, or lines that are damaged.
    pub fn read_kept(mut from: impl BufRead + Send) -> Result<(Self, Rules)> {
        let damaged = || "the kept target list is damaged";
        let mut text = String::new();
        from.read_line(&mut text).context(damaged)?;
        let Head {
            sources,
            keep,
            rules,
        } = serde_json::from_str(&text).context(damaged)?;
        let list = Self::gather(keep, sources, &rules, move |sink| {
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
                if line
                    .as_ref()
                    .is_none_or(|line| full || line.source != block.source)
                {
                    let source = line.as_ref().map_or(0, |line| line.source);
                    sink(std::mem::replace(&mut block, Block::of(source)))?;
                }
                let Some(line) = line else { return Ok(()) };
                let problem = line.problem.map(|reason| Invalid::AsKept {
                    reason: reason.into_owned(),
                });
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
