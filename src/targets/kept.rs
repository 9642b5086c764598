//! Stores the lines of a target list with a run, so that its tables can be rebuilt after the list
//! has changed.
//!
//! The format is ndjson: a first line with sources, kept columns and rules, then one line per input
//! line. Targets are derived again when the lines are read back, so a rule that was fixed since
//! then applies.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::block::{BLOCK_LINES, Block};
use super::canonical::canonical;
use super::list::{LineEnd, TargetList};
use super::problem::Problem;
use super::rules::Rules;
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
    /// One label for each kept column.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Option<Cow<'a, str>>>,
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
