//! Sorts targets by root domain and then by text, and finds those that are the same, in little memory:
//! a part at a time. Sorted parts are front-coded, and merged at the end.
//!
//! # Memory
//! Of the part that is not sorted yet, its texts and about 20 bytes per line, and up to 30 more per
//! line while it is sorted. Of the others, their [`FrontCoded`] texts and five bytes per line.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use rayon::prelude::*;

use super::front_coded::{FrontCoded, Reader};
use super::spelling::Form;

/// The most lines of a part. In tests, so few that most lists have several parts.
const PART_LINES: usize = if cfg!(test) { 20 } else { 1 << 20 };
/// Bytes of text after which a part is sorted.
const PART_BYTES: usize = 64 << 20;
/// A root domain with more targets is sorted on all cores.
const LARGE: usize = 10_000;
/// Marks a line with the same target as the one before it.
const REPEATED: u32 = 1 << 31;

/// The targets of some lines, not sorted yet.
#[derive(Debug, Default)]
pub(super) struct Unsorted {
    texts: String,
    /// Where each text ends in `texts`.
    ends: Vec<u32>,
    roots: Vec<u32>,
    forms: Vec<Form>,
    lines: Vec<u32>,
}

impl Unsorted {
    /// Adds the target of a line. Lines come in the order of their indexes.
    pub(super) fn push(&mut self, text: &str, root: u32, line: u32) {
        self.texts.push_str(text);
        self.ends.push(self.texts.len() as u32);
        self.roots.push(root);
        self.forms.push(Form::of(text));
        self.lines.push(line);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() == PART_LINES || self.texts.len() >= PART_BYTES
    }

    /// Sorts what was added into the next part, and starts again. `name` is the name of a root domain by
    /// its number.
    pub(super) fn sort_into<'n>(
        &mut self,
        parts: &mut Parts,
        name: impl Fn(u32) -> &'n str + Sync,
    ) {
        parts.starts.push(parts.end());
        let (roots, mut order) = self.grouped(name);
        let distinct = self.sort_within(&roots, &mut order);
        let roots = roots.into_iter().zip(distinct);
        let roots = roots.map(|((root, _), targets)| (root, targets));
        parts.roots.extend(roots);
        let lines = order.iter().map(|&marked| {
            let line = self.lines[(marked & !REPEATED) as usize];
            line | marked & REPEATED
        });
        parts.lines.extend(lines);
        order.retain(|marked| marked & REPEATED == 0);
        let forms = order.iter().map(|&at| self.forms[at as usize]);
        parts.forms.extend(forms);
        let text = |number: usize| self.text(order[number]);
        parts.texts.extend(order.len(), text);
        self.texts.clear();
        self.ends.clear();
        self.roots.clear();
        self.forms.clear();
        self.lines.clear();
    }

    fn text(&self, at: u32) -> &str {
        let at = at as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[start as usize..self.ends[at] as usize]
    }

    /// The root domains in the order of their names, each with its number of lines; and all lines in
    /// that order.
    fn grouped<'n>(&self, name: impl Fn(u32) -> &'n str + Sync) -> (Vec<(u32, u32)>, Vec<u32>) {
        let most = self.roots.iter().max().map_or(0, |&most| most as usize + 1);
        let mut counts = vec![0_u32; most];
        for &root in &self.roots {
            counts[root as usize] += 1;
        }
        let numbered = (0..).zip(&counts).filter(|&(_, &lines)| lines > 0);
        let mut roots: Vec<(u32, u32)> = numbered.map(|(root, &lines)| (root, lines)).collect();
        roots.par_sort_unstable_by_key(|&(root, _)| name(root));
        let mut next = counts;
        let mut begin = 0;
        for &(root, lines) in &roots {
            next[root as usize] = begin;
            begin += lines;
        }
        let mut order = vec![0; self.roots.len()];
        for (at, &root) in (0..).zip(&self.roots) {
            let slot = &mut next[root as usize];
            order[*slot as usize] = at;
            *slot += 1;
        }
        (roots, order)
    }

    /// Sorts the lines of each root domain by text and then by line, and marks those that repeat the
    /// text before them. Returns how many different texts each root domain has.
    fn sort_within(&self, roots: &[(u32, u32)], mut order: &mut [u32]) -> Vec<u32> {
        let mut domains: Vec<&mut [u32]> = Vec::with_capacity(roots.len());
        for &(_, lines) in roots {
            let (of_domain, rest) = order.split_at_mut(lines as usize);
            domains.push(of_domain);
            order = rest;
        }
        // Domains are sorted in parallel; a large one is also sorted in parallel itself.
        let distinct = domains.into_par_iter().map(|lines| {
            if let [_] = lines {
                return 1;
            }
            // With the texts beside the numbers, a comparison reads less memory in random places.
            let mut texts: Vec<(&str, u32)> = lines.iter().map(|&at| (self.text(at), at)).collect();
            if texts.len() > LARGE {
                texts.par_sort_unstable();
            } else {
                texts.sort_unstable();
            }
            let (mut before, mut distinct) = (None, 0);
            for (line, (text, at)) in lines.iter_mut().zip(texts) {
                let is_new = before != Some(text);
                *line = if is_new { at } else { at | REPEATED };
                distinct += u32::from(is_new);
                before = Some(text);
            }
            distinct
        });
        distinct.collect()
    }
}

/// Sorted parts, one after the other. Each has the targets of some lines, and each target once.
#[derive(Debug, Default)]
pub(super) struct Parts {
    texts: FrontCoded,
    forms: Vec<Form>,
    /// The root domains of each part in the order of their names, each with how many targets it has.
    roots: Vec<(u32, u32)>,
    /// The lines in the order of their targets. All but the first one of each target are marked.
    lines: Vec<u32>,
    /// Where each part begins.
    starts: Vec<PartStart>,
}

/// Where a part begins in [`Parts`].
#[derive(Debug, Clone, Copy)]
struct PartStart {
    text: usize,
    root: usize,
    line: usize,
}

impl Parts {
    /// Where the next part begins.
    fn end(&self) -> PartStart {
        PartStart {
            text: self.texts.len(),
            root: self.roots.len(),
            line: self.lines.len(),
        }
    }
}

/// All targets, sorted, with their places as their numbers.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) texts: FrontCoded,
    pub(super) forms: Vec<Form>,
    /// The index of the first line of each target.
    pub(super) first_lines: Vec<u32>,
    /// How many targets each root domain has, in the order of names.
    pub(super) sizes: Vec<u32>,
}

impl Sorted {
    /// Frees spare capacity.
    pub(super) fn shrink_to_fit(&mut self) {
        self.forms.shrink_to_fit();
        self.first_lines.shrink_to_fit();
    }

    /// Merges parts, which come in the order of their lines. `ranks` are the places of the root domains
    /// in the order of names. Calls `number` with each line and the number of its target.
    pub(super) fn merge(parts: Parts, ranks: &[u32], mut number: impl FnMut(u32, u32)) -> Self {
        let mut sorted = Self {
            sizes: vec![0; ranks.len()],
            ..Self::default()
        };
        if parts.starts.len() == 1 {
            for (root, targets) in parts.roots {
                sorted.sizes[ranks[root as usize] as usize] = targets;
            }
            for line in parts.lines {
                if line & REPEATED == 0 {
                    sorted.first_lines.push(line);
                }
                number(line & !REPEATED, sorted.first_lines.len() as u32 - 1);
            }
            (sorted.texts, sorted.forms) = (parts.texts, parts.forms);
            return sorted;
        }
        let cursors = (0..parts.starts.len()).filter_map(|part| Cursor::new(&parts, part, ranks));
        let mut cursors: BinaryHeap<Reverse<Cursor<'_>>> = cursors.map(Reverse).collect();
        let (mut root, mut text) = (u32::MAX, String::new());
        while let Some(mut first) = cursors.peek_mut() {
            let cursor = &mut first.0;
            let lines = cursor.lines();
            if root != cursor.root || text != cursor.text() {
                sorted.texts.push(&text, cursor.text());
                sorted.forms.push(cursor.form());
                sorted.first_lines.extend(lines.clone().next());
                sorted.sizes[cursor.root as usize] += 1;
                root = cursor.root;
                text.clear();
                text.push_str(cursor.text());
            }
            let target = sorted.texts.len() as u32 - 1;
            lines.for_each(|line| number(line, target));
            if !cursor.advance() {
                PeekMut::pop(first);
            }
        }
        sorted
    }
}

/// A target of a part, on the way through all of them.
struct Cursor<'a> {
    parts: &'a Parts,
    part: usize,
    ranks: &'a [u32],
    /// The place of the root domain in the order of names.
    root: u32,
    texts: Reader<'a>,
    /// The place of the target in the parts.
    at: usize,
    /// The root domains of the part after that of the target.
    roots: std::slice::Iter<'a, (u32, u32)>,
    /// The lines of the part from those of the target on.
    lines: &'a [u32],
    /// How many targets the root domain has from this one on.
    left: u32,
}

impl<'a> Cursor<'a> {
    /// The first target of a part, if it has one.
    fn new(parts: &'a Parts, part: usize, ranks: &'a [u32]) -> Option<Self> {
        let start = parts.starts[part];
        let end = parts.starts.get(part + 1).copied();
        let end = end.unwrap_or_else(|| parts.end());
        let mut roots = parts.roots[start.root..end.root].iter();
        let &(root, left) = roots.next()?;
        let mut texts = parts.texts.reader();
        texts.get(start.text);
        Some(Self {
            parts,
            part,
            ranks,
            root: ranks[root as usize],
            texts,
            at: start.text,
            roots,
            lines: &parts.lines[start.line..end.line],
            left,
        })
    }

    fn text(&self) -> &str {
        self.texts.current()
    }

    fn form(&self) -> Form {
        self.parts.forms[self.at]
    }

    /// The lines of the target.
    fn lines(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        let (first, rest) = self.lines.split_at(self.lines.len().min(1));
        let repeated = rest.iter().take_while(|&&line| line & REPEATED != 0);
        first.iter().chain(repeated).map(|line| line & !REPEATED)
    }

    /// Goes on to the next target; false if there is none.
    fn advance(&mut self) -> bool {
        self.lines = &self.lines[self.lines().count()..];
        self.at += 1;
        self.left -= 1;
        if self.left == 0 {
            let Some(&(root, targets)) = self.roots.next() else {
                return false;
            };
            (self.root, self.left) = (self.ranks[root as usize], targets);
        }
        self.texts.get(self.at);
        true
    }

    fn key(&self) -> (u32, &str, usize) {
        (self.root, self.text(), self.part)
    }
}

impl Ord for Cursor<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Cursor<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Cursor<'_> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn however_the_lines_are_divided_the_targets_are_sorted_and_each_line_has_its_own(
            lines in prop::collection::vec((0..6_u32, "[ab]{0,3}"), 0..300),
            ends in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            // The names are in the opposite order of the numbers.
            let names: Vec<String> = (0..6).map(|root| format!("{}", 9 - root)).collect();
            let ranks: Vec<u32> = (0..6).rev().collect();
            let mut expected: BTreeMap<(u32, &str), Vec<u32>> = BTreeMap::new();
            for (line, (root, text)) in (0..).zip(&lines) {
                expected.entry((ranks[*root as usize], text)).or_default().push(line);
            }
            let mut ends: Vec<usize> = ends.iter().map(|end| end.index(lines.len() + 1)).collect();
            ends.push(lines.len());
            let (mut parts, mut part) = (Parts::default(), Unsorted::default());
            for (line, (root, text)) in (0..).zip(&lines) {
                part.push(text, *root, line);
                if ends.contains(&(line as usize + 1)) {
                    part.sort_into(&mut parts, |root| &names[root as usize]);
                }
            }
            let mut targets = vec![u32::MAX; lines.len()];
            let sorted = Sorted::merge(parts, &ranks, |line, target| targets[line as usize] = target);
            prop_assert_eq!(sorted.texts.len(), expected.len());
            let mut reader = sorted.texts.reader();
            let mut sizes = vec![0; 6];
            for (target, ((root, text), lines)) in expected.iter().enumerate() {
                sizes[*root as usize] += 1;
                prop_assert_eq!(reader.get(target), *text);
                prop_assert_eq!(sorted.forms[target], Form::of(text));
                prop_assert_eq!(sorted.first_lines[target], lines[0]);
                for line in lines {
                    prop_assert_eq!(targets[*line as usize], target as u32);
                }
            }
            prop_assert_eq!(sorted.sizes, sizes);
        }
    }
}
