//! Builds a target list from the lines of its sources.
//!
//! # Memory
//! That of the list twice, while its sorted parts are merged, and about 130 MB ([`super::sort`]).

use std::sync::mpsc;
use std::thread;

use rayon::prelude::*;

use super::block::{Block, Sink};
use super::canonical::LineTarget;
use super::lines::{LineEntry, Lines, MAX_LINES, StandsFor};
use super::list::TargetList;
use super::places::Place;
use super::problem::{Problem, Unreadable};
use super::roots::Roots;
use super::rules::Rules;
use super::sort::{Parts, Sorted, Unsorted};
use super::source::Sources;
use super::spelling::unescaped;
use super::texts::{Interner, Texts};
use crate::error::{Error, ErrorKind, Result};

/// The most blocks that wait between two threads.
const BETWEEN: usize = 4;
/// Bytes that the labels of a line may have together.
const MAX_LABELS: usize = 1 << 14;

/// The target of each line of a block, derived on all cores.
pub(super) fn canonicalised(block: &Block, rules: &Rules) -> Vec<Result<LineTarget, Problem>> {
    let targets = block.lines.par_iter().map(|line| match &line.problem {
        Some(problem) => Err(problem.clone()),
        None => LineTarget::of(block.text(line), block.entities, rules).map_err(Problem::from),
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
        let mut builder = ListBuilder {
            columns: keep.len(),
            ..ListBuilder::default()
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
                .try_for_each(|(block, targets)| builder.add(&block, targets));
            let read = reader.join().unwrap_or_else(|_| {
                Err(Error::unexpected("the reader of the target lists panicked"))
            });
            outcome.and(read)
        })?;
        let list = Self {
            keep,
            sources,
            ..builder.finish()
        };
        Ok((list, produced))
    }
}

/// The lines that were read so far, and their targets.
#[derive(Debug, Default)]
struct ListBuilder {
    /// The number of kept columns.
    columns: usize,
    /// All texts but those of the targets.
    store: Texts,
    /// The lines. The numbers of their targets are not known yet.
    lines: Lines,
    unsorted: Unsorted,
    parts: Parts,
    roots: Interner,
    /// The number and the name of the last target's root domain. Lists are often sorted, so it is tried
    /// first.
    last_root: (u32, String),
    reasons: Interner,
    label_texts: Interner,
    labels: Vec<u32>,
    invalid: usize,
    unescaped: usize,
}

impl ListBuilder {
    fn add(&mut self, block: &Block, read: Vec<Result<LineTarget, Problem>>) -> Result<()> {
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
            let (labels, read) = with_labels(block, at, self.columns, read);
            let (input, stands_for) = match read {
                Ok(target) => {
                    let text = target.text(input);
                    let root = self.root_of(target.root_domain(input));
                    self.unsorted.push(text, root, index);
                    if self.unsorted.is_full() {
                        self.sort_part();
                    }
                    let respelled = text != input;
                    if respelled && unescaped(input, block.entities).is_some() {
                        self.unescaped += 1;
                    }
                    // `finish` sets the number.
                    let stands_for = StandsFor::Target(0);
                    (respelled.then(|| self.store.push(input)), stands_for)
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
            for column in 0..self.columns {
                let number = match labels.get(column) {
                    Some(Some(label)) => self.label_texts.insert(&mut self.store, label).0 + 1,
                    _ => 0,
                };
                self.labels.push(number);
            }
        }
        Ok(())
    }

    /// The number of a root domain.
    fn root_of(&mut self, name: &str) -> u32 {
        if self.last_root.1 != name {
            let (root, _) = self.roots.insert(&mut self.store, name);
            self.last_root.0 = root;
            self.last_root.1.clear();
            self.last_root.1.push_str(name);
        }
        self.last_root.0
    }

    fn sort_part(&mut self) {
        let name = |root| self.roots.get(&self.store, root);
        self.unsorted.sort_into(&mut self.parts, name);
    }

    /// Merges the targets, and numbers them in their order.
    fn finish(mut self) -> TargetList {
        if !self.unsorted.is_empty() {
            self.sort_part();
        }
        drop(self.unsorted);
        let (store, mut lines) = (self.store, self.lines);
        let (names, mut root_index) = self.roots.into_parts();
        let mut by_name: Vec<u32> = (0..names.len() as u32).collect();
        by_name.par_sort_unstable_by_key(|&root| store.get(names[root as usize]));
        let mut ranks = vec![0; names.len()];
        for (rank, &root) in (0..).zip(&by_name) {
            ranks[root as usize] = rank;
        }
        let mut sorted = Sorted::merge(self.parts, &ranks, |line, target| {
            lines.set_target(line as usize, target);
        });
        let names = by_name.iter().map(|&root| names[root as usize]).collect();
        root_index.renumber(|root| ranks[root as usize]);
        lines.shrink_to_fit();
        self.labels.shrink_to_fit();
        sorted.shrink_to_fit();
        TargetList {
            store,
            lines,
            texts: sorted.texts,
            forms: sorted.forms,
            first_lines: sorted.first_lines,
            roots: Roots::new(names, root_index, &sorted.sizes),
            reasons: self.reasons.into_parts().0,
            label_texts: self.label_texts.into_parts().0,
            labels: self.labels,
            invalid: self.invalid,
            unescaped: self.unescaped,
            ..TargetList::default()
        }
    }
}

/// The labels of a line of a block, and how the line was read. With too many bytes of labels it is no target, and they
/// are not kept.
fn with_labels(
    block: &Block,
    at: usize,
    columns: usize,
    read: Result<LineTarget, Problem>,
) -> (&[Option<Box<str>>], Result<LineTarget, Problem>) {
    let labels = &block.labels[at * columns..][..columns];
    let bytes: usize = labels.iter().flatten().map(|label| label.len()).sum();
    if bytes <= MAX_LABELS {
        (labels, read)
    } else {
        let problem = Unreadable::LongLabels { max: MAX_LABELS };
        (&[], read.and(Err(problem.into())))
    }
}
