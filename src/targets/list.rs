//! The target list: every input line once, every target once, in little memory.
//!
//! # Memory
//! About 40 bytes per line in addition to the target's text. A line as written is stored only where
//! it differs from the canonical form, and of an invalid line only the start. To plan ten million
//! lines of 44 bytes takes about 970 MB.

use std::sync::mpsc;
use std::thread;

use rayon::prelude::*;

use super::block::{Block, Sink};
use super::canonical::{Canonical, canonical_of_line};
use super::lines::{LineEntry, Lines, MAX_LINES, StandsFor};
use super::places::Place;
use super::problem::{Problem, Unreadable};
use super::reading::ReadAs;
use super::rules::{Rules, TargetKind};
use super::source::Sources;
use super::spelling::{Form, unescaped};
use super::texts::{Interner, Texts};
use crate::error::{Error, ErrorKind, Result};

/// The number of a target in its [`TargetList`], from 0, in the order of first appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u32);

/// A target: it follows the provider's rules, and no other target of the list has its canonical
/// form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The number in the list.
    pub id: TargetId,
    /// The canonical form, in which it is sent.
    pub text: &'a str,
    /// Page, domain or subdomain.
    pub kind: TargetKind,
    /// The root domain that it counts towards.
    pub root_domain: &'a str,
}

/// An input line and its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The file that contains the line, or `-` for standard input.
    pub source: &'a str,
    /// The number of that file among the sources, from 0.
    pub(super) source_number: usize,
    /// The line number in that file, from 1.
    pub number: u64,
    /// The line as written; of an invalid line, at most the first 1,024 bytes.
    pub input: &'a str,
    /// The target, or why there is none.
    pub end: LineEnd<'a>,
}

/// The target of an input line, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd<'a> {
    /// The first line with this target.
    Target(TargetId),
    /// A line that repeats the target of an earlier line.
    Duplicate {
        /// The target.
        of: TargetId,
        /// The index of that earlier line.
        first: usize,
    },
    /// Not a target, for this reason.
    Invalid(&'a str),
}

/// Bytes that the labels of a line may have together.
const MAX_LABELS: usize = 1 << 14;

/// A target in compact form; its text is in `TargetList::targets`.
#[derive(Debug)]
struct TargetEntry {
    root: u32,
    first_line: u32,
    kind: TargetKind,
    form: Form,
}

/// The most blocks that wait between two threads.
const BETWEEN: usize = 4;

/// Every input line once, and every target once.
#[derive(Debug, Default)]
pub struct TargetList {
    store: Texts,
    sources: Vec<String>,
    lines: Lines,
    targets: Interner,
    entries: Vec<TargetEntry>,
    roots: Interner,
    reasons: Interner,
    keep: Vec<String>,
    label_texts: Interner,
    /// For each line, the number of the label in each kept column plus one; 0 if there is no label.
    labels: Vec<u32>,
    invalid: usize,
    unescaped: usize,
    read_as: Vec<ReadAs>,
}

/// The target of each line of a block, derived on all cores.
pub(super) fn canonicalised(block: &Block, rules: &Rules) -> Vec<Result<Canonical, Problem>> {
    let targets = block.lines.par_iter().map(|line| match &line.problem {
        Some(problem) => Err(problem.clone()),
        None => canonical_of_line(block.text(line), block.entities, rules).map_err(Problem::from),
    });
    targets.with_min_len(256).collect()
}

/// The bytes of an invalid line that are kept.
const MAX_INVALID: usize = 1 << 10;

/// The part of an invalid line that is kept, so that the memory for lines of any length is bounded.
fn start_of_invalid(input: &str) -> &str {
    &input[..input.floor_char_boundary(MAX_INVALID)]
}

impl TargetList {
    /// Reads all sources, which must be on this machine.
    ///
    /// # Errors
    /// As [`TargetList::read_places`], and a path that names no list.
    pub fn read(sources: &Sources, rules: &Rules) -> Result<Self> {
        Self::read_places(sources, &sources.places()?, rules)
    }

    /// Reads the lists at these places, as `sources` says.
    ///
    /// # Errors
    /// A source that is missing or damaged, with its name and line. A line that is not a target is
    /// not an error: the list contains it with the reason.
    pub fn read_places(sources: &Sources, places: &[Place], rules: &Rules) -> Result<Self> {
        let places = sources.without_indexes(places)?;
        let names = places.iter().map(|place| place.name.clone()).collect();
        let keep = sources.reading.keep.clone();
        let (mut list, read_as) = Self::gather(keep, names, rules, move |sink| {
            let places = places.iter().enumerate();
            places
                .map(|(number, place)| Ok(sources.read(number, place, sink)?))
                .collect::<Result<_>>()
        })?;
        list.read_as = read_as;
        Ok(list)
    }

    /// Collects the blocks that `produce` hands on, and returns what it returns. Reading,
    /// canonicalising and collecting run in parallel.
    pub(super) fn gather<T: Send>(
        keep: Vec<String>,
        sources: Vec<String>,
        rules: &Rules,
        produce: impl FnOnce(Sink<'_>) -> Result<T> + Send,
    ) -> Result<(Self, T)> {
        let mut list = Self {
            keep,
            sources,
            ..Self::default()
        };
        let produced = thread::scope(|scope| {
            let (send, blocks) = mpsc::sync_channel::<Block>(BETWEEN);
            let reader = scope.spawn(move || {
                // The receiver stops only after an error of its own, which is the one that is
                // reported.
                produce(&mut |block| {
                    send.send(block).map_err(|_| {
                        Error::unexpected("the reader of the target lists was stopped")
                    })
                })
            });
            let (send, read) = mpsc::sync_channel(BETWEEN);
            scope.spawn(move || {
                for block in blocks {
                    let targets = canonicalised(&block, rules);
                    if send.send((block, targets)).is_err() {
                        break;
                    }
                }
            });
            let outcome = read
                .into_iter()
                .try_for_each(|(block, targets)| list.add(&block, targets));
            let read = reader.join().unwrap_or_else(|_| {
                Err(Error::unexpected("the reader of the target lists panicked"))
            });
            outcome.and(read)
        })?;
        for interner in [&mut list.roots, &mut list.reasons, &mut list.label_texts] {
            interner.seal();
        }
        list.lines.shrink_to_fit();
        Ok((list, produced))
    }

    fn add(&mut self, block: &Block, read: Vec<Result<Canonical, Problem>>) -> Result<()> {
        for (at, (line, read)) in block.lines.iter().zip(read).enumerate() {
            let input = block.text(line);
            let index = u32::try_from(self.lines.len())
                .ok()
                .filter(|&index| index < MAX_LINES);
            let (Some(index), Ok(number)) = (index, u32::try_from(line.number)) else {
                let most = MAX_LINES;
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("the target lists have more than {most} lines"),
                )
                .with_hint("split the list into several pipelines"));
            };
            let (labels, read) = with_labels(block, at, self.keep.len(), read);
            let (input, stands_for) = match read {
                Ok(target) => {
                    let (id, new) = self.targets.insert(&mut self.store, target.text());
                    if new {
                        let root = self.root_of(target.root_domain());
                        self.entries.push(TargetEntry {
                            root,
                            first_line: index,
                            kind: target.kind(),
                            form: Form::of(target.text()),
                        });
                    }
                    let respelled = target.text() != input;
                    if respelled && unescaped(input, block.entities).is_some() {
                        self.unescaped += 1;
                    }
                    (
                        respelled.then(|| self.store.push(input)),
                        StandsFor::Target(id),
                    )
                }
                Err(reason) => {
                    self.invalid += 1;
                    let (reason, _) = self.reasons.insert(&mut self.store, &reason.to_string());
                    (
                        Some(self.store.push(start_of_invalid(input))),
                        StandsFor::Reason(reason),
                    )
                }
            };
            self.lines.push(LineEntry {
                input,
                number,
                source: block.source as u32,
                stands_for,
            });
            for column in 0..self.keep.len() {
                let number = match labels.get(column) {
                    Some(Some(label)) => self.label_texts.insert(&mut self.store, label).0 + 1,
                    _ => 0,
                };
                self.labels.push(number);
            }
        }
        Ok(())
    }

    /// The number of a root domain. Lists are often sorted, so the root domain of the last target
    /// is tried first.
    fn root_of(&mut self, name: &str) -> u32 {
        let last = self.entries.last().map(|entry| entry.root);
        let same = last.filter(|&last| self.roots.get(&self.store, last) == name);
        same.unwrap_or_else(|| self.roots.insert(&mut self.store, name).0)
    }

    /// The number of input lines, without blank lines and comments.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// The number of targets.
    #[must_use]
    pub fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// The number of root domains of all targets.
    #[must_use]
    pub fn root_domain_count(&self) -> usize {
        self.roots.len()
    }

    /// The number of lines that are not a target.
    #[must_use]
    pub fn invalid_count(&self) -> usize {
        self.invalid
    }

    /// The number of targets' lines in which `&amp;` was read as `&`.
    #[must_use]
    pub fn unescaped_count(&self) -> usize {
        self.unescaped
    }

    /// The number of lines that repeat the target of an earlier line.
    #[must_use]
    pub fn duplicate_count(&self) -> usize {
        self.line_count() - self.target_count() - self.invalid
    }

    /// The files that the lines come from, in the order read.
    pub(super) fn sources(&self) -> &[String] {
        &self.sources
    }

    /// How each list was read; empty for a list that was stored with a run.
    #[must_use]
    pub fn read_as(&self) -> &[ReadAs] {
        &self.read_as
    }

    /// The names of the columns that are kept as labels.
    #[must_use]
    pub fn keep(&self) -> &[String] {
        &self.keep
    }

    /// The line of an index, from 0.
    #[must_use]
    pub fn line(&self, index: usize) -> Line<'_> {
        let entry = self.lines.get(index);
        let written = entry.input.map(|input| self.store.get(input));
        let (end, input) = match entry.stands_for {
            StandsFor::Reason(reason) => {
                let reason = self.reasons.get(&self.store, reason);
                (LineEnd::Invalid(reason), written.unwrap_or_default())
            }
            StandsFor::Target(id) => {
                let of = TargetId(id);
                let first = self.entries[id as usize].first_line as usize;
                let end = if first == index {
                    LineEnd::Target(of)
                } else {
                    LineEnd::Duplicate { of, first }
                };
                let canonical = || self.targets.get(&self.store, id);
                (end, written.unwrap_or_else(canonical))
            }
        };
        let source_number = entry.source as usize;
        let source = &self.sources[source_number];
        Line {
            source,
            source_number,
            number: u64::from(entry.number),
            input,
            end,
        }
    }

    /// All lines in the order read.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        (0..self.lines.len()).map(|index| self.line(index))
    }

    /// The target of each line, in the order read; none for an invalid line.
    pub fn targets_of_lines(&self) -> impl Iterator<Item = Option<TargetId>> {
        let lines = (0..self.lines.len()).map(|index| self.lines.get(index));
        lines.map(|line| match line.stands_for {
            StandsFor::Target(id) => Some(TargetId(id)),
            StandsFor::Reason(_) => None,
        })
    }

    /// The labels of a line as name and value, in the order of [`TargetList::keep`]. Columns
    /// without a value are left out.
    pub fn labels(&self, index: usize) -> impl Iterator<Item = (&str, &str)> {
        let named = self.keep.iter().zip(self.label_values(index));
        named.filter_map(|(name, value)| Some((name.as_str(), value?)))
    }

    /// The value in each of the kept columns of a line.
    pub(super) fn label_values(&self, index: usize) -> impl Iterator<Item = Option<&str>> {
        let numbers = &self.labels[index * self.keep.len()..][..self.keep.len()];
        numbers.iter().map(|&number| {
            number
                .checked_sub(1)
                .map(|number| self.label_texts.get(&self.store, number))
        })
    }

    /// The target of a number.
    #[must_use]
    pub fn target(&self, id: TargetId) -> Target<'_> {
        let entry = &self.entries[id.0 as usize];
        Target {
            id,
            text: self.targets.get(&self.store, id.0),
            kind: entry.kind,
            root_domain: self.roots.get(&self.store, entry.root),
        }
    }

    /// The memory of the list in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let interners = [&self.targets, &self.roots, &self.reasons, &self.label_texts];
        self.store.memory_bytes()
            + interners
                .into_iter()
                .map(Interner::memory_bytes)
                .sum::<usize>()
            + self.lines.memory_bytes()
            + self.entries.capacity() * size_of::<TargetEntry>()
            + self.labels.capacity() * size_of::<u32>()
    }

    /// Frees the memory that only [`TargetList::find`] needs. After that, it finds nothing.
    pub fn seal(&mut self) {
        self.targets.seal();
    }

    /// The target with this canonical form, if the list has one.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<TargetId> {
        self.targets.find(&self.store, text).map(TargetId)
    }

    /// All targets in the order of first appearance.
    pub fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        (0..self.entries.len() as u32).map(|id| self.target(TargetId(id)))
    }

    /// The number of the root domain of a target, from 0, in the order of first appearance.
    #[must_use]
    pub fn root_domain_of(&self, id: TargetId) -> u32 {
        self.entries[id.0 as usize].root
    }

    /// The form of a target's spelling.
    #[must_use]
    pub fn form_of(&self, id: TargetId) -> Form {
        self.entries[id.0 as usize].form
    }

    /// The number of targets of each root domain, by the number of the root domain.
    #[must_use]
    pub fn root_domain_sizes(&self) -> Vec<u32> {
        let mut sizes = vec![0; self.roots.len()];
        for entry in &self.entries {
            sizes[entry.root as usize] += 1;
        }
        sizes
    }

    /// The name of the root domain of a number.
    #[must_use]
    pub fn root_domain(&self, number: u32) -> &str {
        self.roots.get(&self.store, number)
    }
}

/// The labels of a line of a block, and how the line was read. With too many bytes of labels it is no target, and they
/// are not kept.
fn with_labels(
    block: &Block,
    at: usize,
    columns: usize,
    read: Result<Canonical, Problem>,
) -> (&[Option<Box<str>>], Result<Canonical, Problem>) {
    let labels = &block.labels[at * columns..][..columns];
    let bytes: usize = labels.iter().flatten().map(|label| label.len()).sum();
    if bytes <= MAX_LABELS {
        (labels, read)
    } else {
        let problem = Unreadable::LongLabels { max: MAX_LABELS };
        (&[], read.and(Err(problem.into())))
    }
}
