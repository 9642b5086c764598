//! Stores millions of input lines in a few bytes each. Nearly all directly follow the previous line of their source and
//! are already in canonical form.
//!
//! # Memory
//! Four bytes per line, eight more per line that differs from the canonical form, and twelve per gap in the numbers of
//! the lines.

use super::texts::Text;

/// An input line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineEntry {
    /// The line as written; `None` if it is the canonical form.
    pub(super) input: Option<Text>,
    /// The line number in the source.
    pub(super) number: u32,
    /// The number of the source.
    pub(super) source: u32,
    pub(super) stands_for: StandsFor,
}

/// The number of what a line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StandsFor {
    Target(u32),
    Reason(u32),
}

/// The most lines, because two bits of a number are marks.
pub(super) const MAX_LINES: u32 = 1 << 30;
/// Marks the number of a reason.
const REASON: u32 = 1 << 31;
/// Marks a line whose input is stored.
const WRITTEN: u32 = 1 << 30;
/// The number of lines per entry of `inputs_before`.
const GROUP: usize = 64;

/// All lines of a list, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What each line stands for, with its marks.
    marked: Vec<u32>,
    stretches: Vec<Stretch>,
    /// The stored inputs, in the order of their lines.
    inputs: Vec<Text>,
    /// For each group of lines, the number of inputs before it.
    inputs_before: Vec<u32>,
}

/// Lines that follow each other in one source.
#[derive(Debug)]
struct Stretch {
    /// The index of the first line.
    first: u32,
    /// Its number in the source.
    number: u32,
    source: u32,
}

impl Stretch {
    /// The number in the source of the line of an index.
    fn number_of(&self, index: usize) -> u64 {
        u64::from(self.number) + (index as u64 - u64::from(self.first))
    }
}

impl Lines {
    /// Adds a line; there must be fewer than [`MAX_LINES`] before it.
    pub(super) fn push(&mut self, line: LineEntry) {
        let index = self.marked.len();
        let follows = |last: &Stretch| {
            last.source == line.source && last.number_of(index) == u64::from(line.number)
        };
        if !self.stretches.last().is_some_and(follows) {
            self.stretches.push(Stretch {
                first: index as u32,
                number: line.number,
                source: line.source,
            });
        }
        if index.is_multiple_of(GROUP) {
            self.inputs_before.push(self.inputs.len() as u32);
        }
        let marked = match line.stands_for {
            StandsFor::Target(number) => number,
            StandsFor::Reason(number) => number | REASON,
        };
        let written = if line.input.is_some() { WRITTEN } else { 0 };
        self.marked.push(marked | written);
        self.inputs.extend(line.input);
    }

    /// The line of an index.
    pub(super) fn get(&self, index: usize) -> LineEntry {
        let marked = self.marked[index];
        let number = marked & !(REASON | WRITTEN);
        let after = self
            .stretches
            .partition_point(|stretch| stretch.first as usize <= index);
        let stretch = &self.stretches[after - 1];
        LineEntry {
            input: (marked & WRITTEN != 0).then(|| self.input(index)),
            number: stretch.number_of(index) as u32,
            source: stretch.source,
            stands_for: match marked & REASON {
                0 => StandsFor::Target(number),
                _ => StandsFor::Reason(number),
            },
        }
    }

    /// Sets the number of the target that the line of an index stands for.
    pub(super) fn set_target(&mut self, index: usize, target: u32) {
        self.marked[index] = target | (self.marked[index] & WRITTEN);
    }

    /// The stored input of a line that has one.
    fn input(&self, index: usize) -> Text {
        let group = index / GROUP;
        let before = &self.marked[group * GROUP..index];
        let written = before.iter().filter(|&&line| line & WRITTEN != 0).count();
        self.inputs[self.inputs_before[group] as usize + written]
    }

    pub(super) fn len(&self) -> usize {
        self.marked.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.marked.capacity() * size_of::<u32>()
            + self.stretches.capacity() * size_of::<Stretch>()
            + self.inputs.capacity() * size_of::<Text>()
            + self.inputs_before.capacity() * size_of::<u32>()
    }

    /// Frees spare capacity once all lines are added.
    pub(super) fn shrink_to_fit(&mut self) {
        self.marked.shrink_to_fit();
        self.inputs.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::texts::Texts;
    use super::*;

    proptest! {
        #[test]
        fn lines_are_read_back_unchanged(
            lines in prop::collection::vec((any::<bool>(), 1..4_u32, 0..3_u32, any::<bool>(), 0..MAX_LINES), 0..300),
        ) {
            let mut texts = Texts::default();
            let mut number = 0;
            let expected: Vec<LineEntry> = lines.into_iter().map(|(written, step, source, target, of)| {
                number += step;
                LineEntry {
                    input: written.then(|| texts.push(&number.to_string())),
                    number,
                    source: source / 2,
                    stands_for: if target { StandsFor::Target(of) } else { StandsFor::Reason(of) },
                }
            }).collect();
            let mut lines = Lines::default();
            expected.iter().for_each(|line| lines.push(*line));
            let read: Vec<LineEntry> = (0..lines.len()).map(|index| lines.get(index)).collect();
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn a_million_lines_without_gaps_take_four_megabytes() {
        let mut lines = Lines::default();
        for number in 0..1 << 20 {
            lines.push(LineEntry {
                input: None,
                number: number + 1,
                source: 0,
                stands_for: StandsFor::Target(number),
            });
        }
        lines.shrink_to_fit();
        assert!(lines.memory_bytes() < 9 << 19, "{}", lines.memory_bytes());
        assert_eq!(lines.get(77).number, 78);
    }
}
