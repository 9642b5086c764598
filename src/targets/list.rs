//! The target list: every input line once, every target once, in little memory.
//!
//! # Memory
//! Of each target, what its text does not share with the one before it, and about nine bytes; four
//! bytes per line. A line as written is stored only where it differs from the canonical form, and of
//! an invalid line only the start.

use std::borrow::Cow;
use std::ops::Range;

use super::front_coded::{FrontCoded, Reader};
use super::host::host;
use super::lines::{LineEntry, Lines, StandsFor};
use super::reading::ReadAs;
use super::roots::Roots;
use super::rules::TargetKind;
use super::spelling::Form;
use super::text_list::TextList;
use super::texts::{Text, Texts};

/// The number of a target in its [`TargetList`], from 0, in the order of the pages table: by root
/// domain and then by text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u32);

/// A target: it follows the provider's rules, and no other target of the list has its canonical
/// form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The number in the list.
    pub id: TargetId,
    /// The canonical form, in which it is sent.
    pub text: Cow<'a, str>,
    /// Page, domain or subdomain.
    pub kind: TargetKind,
    /// The root domain that it counts towards.
    pub root_domain: &'a str,
}

/// An input line and its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where the line is.
    pub place: LinePlace<'a>,
    /// The target of the line, if it has one.
    pub target: Option<Target<'a>>,
    /// Whether it is the first line with this target, or why there is none.
    pub end: LineEnd<'a>,
    /// The line as written, if that is not the canonical form of its target.
    written: Option<&'a str>,
}

impl Line<'_> {
    /// The line as written; of an invalid line, at most the first 1,024 bytes.
    #[must_use]
    pub fn input(&self) -> &str {
        let canonical = self.target.as_ref().map(|target| &*target.text);
        self.written.or(canonical).unwrap_or_default()
    }
}

/// Where an input line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinePlace<'a> {
    /// The file that contains the line, or `-` for standard input.
    pub source: &'a str,
    /// The number of that file among the sources, from 0.
    pub(super) source_number: usize,
    /// The line number in that file, from 1.
    pub number: u64,
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

impl LineEnd<'_> {
    /// The target of the line, if it has one.
    fn target(self) -> Option<TargetId> {
        match self {
            Self::Target(of) | Self::Duplicate { of, .. } => Some(of),
            Self::Invalid(_) => None,
        }
    }
}

/// Every input line once, and every target once.
#[derive(Debug, Default)]
pub struct TargetList {
    /// All texts but those of the targets.
    pub(super) store: Texts,
    pub(super) sources: Vec<String>,
    pub(super) lines: Lines,
    /// The text of each target, by its number.
    pub(super) texts: FrontCoded,
    /// The form of each target.
    pub(super) forms: Vec<Form>,
    /// The index of the first line of each target.
    pub(super) first_lines: Vec<u32>,
    pub(super) roots: Roots,
    pub(super) reasons: Vec<Text>,
    pub(super) keep: Vec<String>,
    pub(super) label_texts: Vec<Text>,
    /// For each line, the number of the label in each kept column plus one; 0 if there is no label.
    pub(super) labels: Vec<u32>,
    pub(super) invalid: usize,
    pub(super) unescaped: usize,
    pub(super) read_as: Vec<ReadAs>,
}

impl TargetList {
    /// The number of input lines, without blank lines and comments.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// The number of targets.
    #[must_use]
    pub fn target_count(&self) -> usize {
        self.texts.len()
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
        self.read_line(index, |id| self.text(&mut self.texts.reader(), id))
    }

    /// All lines in the order read.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut reader = self.texts.reader();
        let indexes = 0..self.lines.len();
        indexes.map(move |index| self.read_line(index, |id| self.text(&mut reader, id)))
    }

    /// The texts of the targets of these lines, for [`Self::lines_with`]; fastest in the order of their targets.
    pub fn texts_of_lines(&self, indexes: impl IntoIterator<Item = usize>) -> TextList {
        let targets = indexes.into_iter();
        self.texts_of(targets.filter_map(|index| self.target_of_line(index)))
    }

    /// The lines of these indexes, with texts from [`Self::texts_of_lines`] of the same indexes.
    pub fn lines_with<'a>(
        &'a self,
        indexes: impl IntoIterator<Item = usize>,
        texts: &'a TextList,
    ) -> impl Iterator<Item = Line<'a>> {
        let mut texts = texts.iter();
        let indexes = indexes.into_iter();
        indexes.map(move |index| {
            self.read_line(index, |_| Cow::Borrowed(texts.next().unwrap_or_default()))
        })
    }

    /// The lines that are not a target, each with the reason.
    pub fn invalid_lines(&self) -> impl Iterator<Item = (Line<'_>, &str)> {
        // A list of millions of lines is not searched for what it does not contain.
        let indexes = if self.invalid == 0 {
            0..0
        } else {
            0..self.lines.len()
        };
        indexes.filter_map(|index| match self.lines.get(index).stands_for {
            StandsFor::Target(_) => None,
            StandsFor::Reason(reason) => Some((self.line(index), self.reason(reason))),
        })
    }

    /// Where the line of an index is.
    #[must_use]
    pub fn line_place(&self, index: usize) -> LinePlace<'_> {
        self.place_of(self.lines.get(index))
    }

    fn place_of(&self, entry: LineEntry) -> LinePlace<'_> {
        let source_number = entry.source as usize;
        LinePlace {
            source: &self.sources[source_number],
            source_number,
            number: u64::from(entry.number),
        }
    }

    fn read_line<'a>(
        &'a self,
        index: usize,
        text: impl FnOnce(TargetId) -> Cow<'a, str>,
    ) -> Line<'a> {
        let entry = self.lines.get(index);
        let end = self.end_of(index, entry.stands_for);
        let target = end.target().map(|id| self.with_text(id, text(id)));
        Line {
            place: self.place_of(entry),
            target,
            end,
            written: entry.input.map(|input| self.store.get(input)),
        }
    }

    /// The target of the line of an index, or why there is none.
    #[must_use]
    pub fn line_end(&self, index: usize) -> LineEnd<'_> {
        self.end_of(index, self.lines.get(index).stands_for)
    }

    fn end_of(&self, index: usize, stands_for: StandsFor) -> LineEnd<'_> {
        match stands_for {
            StandsFor::Reason(reason) => LineEnd::Invalid(self.reason(reason)),
            StandsFor::Target(target) => {
                let of = TargetId(target);
                match self.first_lines[target as usize] as usize {
                    first if first == index => LineEnd::Target(of),
                    first => LineEnd::Duplicate { of, first },
                }
            }
        }
    }

    fn reason(&self, reason: u32) -> &str {
        self.store.get(self.reasons[reason as usize])
    }

    /// The target of each line, in the order read; none for an invalid line.
    pub fn targets_of_lines(&self) -> impl Iterator<Item = Option<TargetId>> {
        (0..self.lines.len()).map(|index| self.target_of_line(index))
    }

    fn target_of_line(&self, index: usize) -> Option<TargetId> {
        match self.lines.get(index).stands_for {
            StandsFor::Target(id) => Some(TargetId(id)),
            StandsFor::Reason(_) => None,
        }
    }

    /// All targets in the order of their first lines.
    pub fn in_input_order(&self) -> impl Iterator<Item = TargetId> {
        let targets = self.targets_of_lines().enumerate();
        targets.filter_map(|(index, target)| {
            target.filter(|id| self.first_lines[id.0 as usize] as usize == index)
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
            let label = number.checked_sub(1)?;
            Some(self.store.get(self.label_texts[label as usize]))
        })
    }

    /// The target of a number.
    #[must_use]
    pub fn target(&self, id: TargetId) -> Target<'_> {
        self.with_text(id, self.text(&mut self.texts.reader(), id))
    }

    /// The targets of these numbers; fastest in the order of the list.
    pub fn targets_of(
        &self,
        ids: impl IntoIterator<Item = TargetId>,
    ) -> impl Iterator<Item = Target<'_>> {
        let mut reader = self.texts.reader();
        let ids = ids.into_iter();
        ids.map(move |id| self.with_text(id, self.text(&mut reader, id)))
    }

    /// The texts of these targets; fastest in the order of the list.
    pub fn texts_of(&self, ids: impl IntoIterator<Item = TargetId>) -> TextList {
        let mut reader = self.texts.reader();
        let mut texts = TextList::default();
        for id in ids {
            texts.push(reader.get(id.0 as usize));
        }
        texts
    }

    /// The targets of these numbers, with texts from [`Self::texts_of`] of the same numbers.
    pub fn targets_with<'a>(
        &'a self,
        ids: impl IntoIterator<Item = TargetId>,
        texts: &'a TextList,
    ) -> impl Iterator<Item = Target<'a>> {
        let pairs = ids.into_iter().zip(texts.iter());
        pairs.map(|(id, text)| self.with_text(id, Cow::Borrowed(text)))
    }

    /// All targets, sorted.
    pub fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        self.targets_of(self.ids())
    }

    /// The numbers of all targets.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = TargetId> + use<> {
        (0..self.texts.len() as u32).map(TargetId)
    }

    fn text(&self, reader: &mut Reader<'_>, id: TargetId) -> Cow<'static, str> {
        Cow::Owned(reader.get(id.0 as usize).to_owned())
    }

    fn with_text<'a>(&'a self, id: TargetId, text: Cow<'a, str>) -> Target<'a> {
        let root_domain = self.roots.name(&self.store, self.roots.of(id.0));
        Target {
            id,
            kind: TargetKind::of(&text, root_domain),
            text,
            root_domain,
        }
    }

    /// The memory of the list in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let numbers = self.first_lines.capacity() + self.labels.capacity();
        let texts = self.reasons.capacity() + self.label_texts.capacity();
        self.store.memory_bytes()
            + self.lines.memory_bytes()
            + self.texts.memory_bytes()
            + self.forms.capacity() * size_of::<Form>()
            + self.roots.memory_bytes()
            + numbers * size_of::<u32>()
            + texts * size_of::<Text>()
    }

    /// The target with this canonical form, if the list has one.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<TargetId> {
        self.find_all([text]).pop().flatten()
    }

    /// The targets with these canonical forms; fastest in the order of the list.
    #[must_use]
    pub fn find_all<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> Vec<Option<TargetId>> {
        let mut reader = self.texts.reader();
        let mut next = 0;
        let find = |text| {
            // The texts of a batch mostly follow each other in the list.
            let follows = next < self.texts.len() && reader.get(next) == text;
            let found = match follows {
                true => Some(next),
                false => self.search(&mut reader, text),
            };
            next = found.map_or(next, |found| found + 1);
            found.map(|found| TargetId(found as u32))
        };
        texts.into_iter().map(find).collect()
    }

    /// Searches for a text among those of each root domain of the list that its host can have.
    fn search(&self, reader: &mut Reader<'_>, text: &str) -> Option<usize> {
        let host = host(text);
        let after_dots = memchr::memchr_iter(b'.', host.as_bytes()).map(|dot| dot + 1);
        std::iter::once(0).chain(after_dots).find_map(|start| {
            let root = self.roots.find(&self.store, &host[start..])?;
            let Range { start, end } = self.roots.targets(root);
            reader.find(start as usize..end as usize, text)
        })
    }

    /// Whether another list, read by the same rules, has the same targets.
    #[must_use]
    pub fn has_the_targets_of(&self, other: &Self) -> bool {
        let (mut own, mut others) = (self.texts.reader(), other.texts.reader());
        let targets = self.texts.len();
        targets == other.texts.len() && (0..targets).all(|at| own.get(at) == others.get(at))
    }

    /// The form of a target's spelling.
    #[must_use]
    pub fn form_of(&self, id: TargetId) -> Form {
        self.forms[id.0 as usize]
    }

    /// The number of the root domain of a target, from 0, in the order of names.
    #[must_use]
    pub fn root_domain_of(&self, id: TargetId) -> u32 {
        self.roots.of(id.0)
    }

    /// The targets of a root domain, which follow each other.
    #[must_use]
    pub fn targets_of_root_domain(&self, number: u32) -> Range<TargetId> {
        let targets = self.roots.targets(number);
        TargetId(targets.start)..TargetId(targets.end)
    }

    /// The number of targets of each root domain, by the number of the root domain.
    #[must_use]
    pub fn root_domain_sizes(&self) -> Vec<u32> {
        let roots = 0..self.roots.len() as u32;
        roots
            .map(|root| self.roots.targets(root).len() as u32)
            .collect()
    }
}

#[cfg(test)]
mod tests;
