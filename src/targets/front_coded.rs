//! Stores millions of sorted texts in little memory: of each text, only what differs from the one
//! before it.
//!
//! # Memory
//! What a text does not share with the one before it, and about three bytes. The first text of each
//! group is stored as a whole.

use std::ops::Range;

use rayon::prelude::*;

/// Texts in a group. To read one text, those before it in its group are read, too.
const GROUP: usize = 16;
/// Texts that are encoded at once, a multiple of [`GROUP`].
const CHUNK: usize = 4096;

/// Texts, each with its place as its number. Any texts can be stored; sorted ones take the least memory.
#[derive(Debug, Default)]
pub(super) struct FrontCoded {
    /// What each text has after the bytes that it shares with the one before it.
    suffixes: String,
    /// For each text, how many bytes it shares, and how many its suffix has.
    lengths: Vec<u8>,
    /// Where each group begins in `suffixes` and in `lengths`.
    groups: Vec<(usize, usize)>,
    len: usize,
}

impl FrontCoded {
    /// Adds a text after the others; `before` is the last one of them.
    pub(super) fn push(&mut self, before: &str, text: &str) {
        let shared = if self.len.is_multiple_of(GROUP) {
            let begin = (self.suffixes.len(), self.lengths.len());
            self.groups.push(begin);
            0
        } else {
            shared(before, text)
        };
        push_length(&mut self.lengths, shared);
        push_length(&mut self.lengths, text.len() - shared);
        self.suffixes.push_str(&text[shared..]);
        self.len += 1;
    }

    /// Adds the texts with the numbers from 0 to `count`; encodes them on all cores.
    pub(super) fn extend<'t>(&mut self, count: usize, text: impl Fn(usize) -> &'t str + Sync) {
        let own = self
            .len
            .checked_sub(1)
            .map(|last| self.reader().get(last).to_owned());
        let mut before = own.as_deref().unwrap_or_default();
        // What is encoded separately begins with a group.
        let first = count.min(self.len.next_multiple_of(GROUP) - self.len);
        for number in 0..first {
            self.push(before, text(number));
            before = text(number);
        }
        let chunks = (first..count).into_par_iter().step_by(CHUNK).map(|start| {
            let mut chunk = Self::default();
            let mut before = "";
            for number in start..count.min(start + CHUNK) {
                chunk.push(before, text(number));
                before = text(number);
            }
            chunk
        });
        for chunk in chunks.collect::<Vec<_>>() {
            let (suffixes, lengths) = (self.suffixes.len(), self.lengths.len());
            let groups = chunk.groups.iter();
            self.groups
                .extend(groups.map(|(suffix, length)| (suffixes + suffix, lengths + length)));
            self.suffixes.push_str(&chunk.suffixes);
            self.lengths.extend(&chunk.lengths);
            self.len += chunk.len;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            texts: self,
            text: String::new(),
            next: 0,
            suffix: 0,
            length: 0,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        // Spare capacity was never written to, so it takes no memory.
        let groups = self.groups.len() * size_of::<(usize, usize)>();
        self.suffixes.len() + self.lengths.len() + groups
    }
}

/// How many bytes two texts have in common at their beginnings, in whole characters.
fn shared(before: &str, text: &str) -> usize {
    let pairs = before.bytes().zip(text.bytes());
    text.floor_char_boundary(pairs.take_while(|(left, right)| left == right).count())
}

/// Seven bits to a byte, the lowest first; the highest bit of a byte says that another one follows.
fn push_length(lengths: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        lengths.push(length as u8 | 0x80);
        length >>= 7;
    }
    lengths.push(length as u8);
}

/// Reads texts of [`FrontCoded`], fastest in their order.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    texts: &'a FrontCoded,
    /// The text before `next`.
    text: String,
    /// The place of the text that is read next.
    next: usize,
    /// Where its suffix and its lengths are.
    suffix: usize,
    length: usize,
}

impl Reader<'_> {
    /// The text at a place.
    pub(super) fn get(&mut self, place: usize) -> &str {
        if self.next != place + 1 {
            let group = place - place % GROUP;
            if !(group..=place).contains(&self.next) {
                self.next = group;
            }
            while self.next <= place {
                self.step();
            }
        }
        &self.text
    }

    /// The text that was read last.
    pub(super) fn current(&self) -> &str {
        &self.text
    }

    /// The place of a text within these places, whose texts are sorted.
    pub(super) fn find(&mut self, places: Range<usize>, text: &str) -> Option<usize> {
        // The group with the last first text that is not greater.
        let (mut low, mut high) = (places.start / GROUP, places.end.div_ceil(GROUP));
        while low + 1 < high {
            let middle = low.midpoint(high);
            if self.get(middle * GROUP) <= text {
                low = middle;
            } else {
                high = middle;
            }
        }
        let group = low * GROUP..(low + 1) * GROUP;
        let mut found = group.start.max(places.start)..group.end.min(places.end);
        found.find(|&place| self.get(place) == text)
    }

    fn step(&mut self) {
        let FrontCoded {
            suffixes,
            lengths,
            groups,
            ..
        } = self.texts;
        if self.next.is_multiple_of(GROUP) {
            (self.suffix, self.length) = groups[self.next / GROUP];
        }
        let shared = self.read_length(lengths);
        let own = self.read_length(lengths);
        self.text.truncate(shared);
        self.text
            .push_str(&suffixes[self.suffix..self.suffix + own]);
        self.suffix += own;
        self.next += 1;
    }

    fn read_length(&mut self, lengths: &[u8]) -> usize {
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = lengths[self.length];
            self.length += 1;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return length;
            }
            shift += 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_read_back_unchanged_at_any_places(
            texts in prop::collection::vec("[aä€]{0,3}(b{120,140})?[aä€]{0,3}", 0..200),
            copies in 1..60_usize,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
            places in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let mut texts: Vec<String> = (0..copies)
                .flat_map(|copy| texts.iter().map(move |text| format!("{text}{copy}")))
                .collect();
            texts.sort_unstable();
            texts.dedup();
            let mut coded = FrontCoded::default();
            let mut begin = 0;
            for end in cuts.iter().map(|cut| cut.index(texts.len() + 1)).chain([texts.len()]) {
                if begin <= end {
                    coded.extend(end - begin, |number| &texts[begin + number]);
                    begin = end;
                }
            }
            let mut pushed = FrontCoded::default();
            let mut before = "";
            for text in &texts {
                pushed.push(before, text);
                before = text;
            }
            for coded in [&coded, &pushed] {
                prop_assert_eq!(coded.len(), texts.len());
                let mut reader = coded.reader();
                for (place, text) in texts.iter().enumerate() {
                    prop_assert_eq!(reader.get(place), text);
                    prop_assert_eq!(reader.current(), text);
                }
            }
            let mut reader = coded.reader();
            for place in places.iter().filter(|_| !texts.is_empty()) {
                let place = place.index(texts.len());
                prop_assert_eq!(reader.get(place), &texts[place]);
                let mut fresh = coded.reader();
                prop_assert_eq!(fresh.get(place), &texts[place]);
                for begin in [0, place / 2, place] {
                    let places = begin..texts.len();
                    prop_assert_eq!(reader.find(places.clone(), &texts[place]), Some(place));
                    prop_assert_eq!(reader.find(places, &format!("{}~", texts[place])), None);
                }
                prop_assert_eq!(reader.find(0..place, &texts[place]), None);
            }
        }
    }

    #[test]
    fn a_page_of_a_sorted_list_takes_a_few_bytes() {
        let texts: Vec<String> = (100_000..200_000)
            .map(|n| format!("https://www.example.com/blog/category/post-{n}"))
            .collect();
        let mut coded = FrontCoded::default();
        coded.extend(texts.len(), |number| &texts[number]);
        assert!(
            coded.memory_bytes() < 8 * texts.len(),
            "{}",
            coded.memory_bytes()
        );
    }
}
