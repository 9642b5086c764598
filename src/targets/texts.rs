//! Stores millions of short texts without one allocation each: a text is stored once, and eight
//! bytes refer to it.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes in one block of the store. Blocks never move, so growth copies nothing.
const BLOCK: usize = 1 << 22;
const LENGTH_BITS: u32 = 20;

/// The longest text that the store accepts, in bytes.
pub(super) const MAX_TEXT: usize = (1 << LENGTH_BITS) - 1;

/// The place of a text in [`Texts`]: offset and length in eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text(u64);

/// A store of texts that only grows.
#[derive(Debug, Default)]
pub(super) struct Texts {
    blocks: Vec<String>,
}

impl Texts {
    /// Stores a text. One of more than [`MAX_TEXT`] bytes is cut at a character boundary.
    pub(super) fn push(&mut self, text: &str) -> Text {
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        if self
            .blocks
            .last()
            .is_none_or(|block| block.len() + text.len() > BLOCK)
        {
            self.blocks.push(String::with_capacity(BLOCK));
        }
        let number = self.blocks.len() - 1;
        let block = &mut self.blocks[number];
        let offset = (number * BLOCK + block.len()) as u64;
        block.push_str(text);
        Text(offset << LENGTH_BITS | text.len() as u64)
    }

    /// The memory of the store in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.blocks.iter().map(String::capacity).sum()
    }

    pub(super) fn get(&self, text: Text) -> &str {
        let length = (text.0 & MAX_TEXT as u64) as usize;
        let offset = (text.0 >> LENGTH_BITS) as usize;
        let start = offset % BLOCK;
        // An empty text may start where the last block ends, and then no block contains it.
        self.blocks
            .get(offset / BLOCK)
            .map_or("", |block| &block[start..start + length])
    }
}

/// Numbers texts in the order in which each was first seen.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: Vec<Text>,
    index: Index,
}

impl Interner {
    /// The number of a text, and whether it is new.
    pub(super) fn insert(&mut self, store: &mut Texts, text: &str) -> (u32, bool) {
        let Self { texts, index } = self;
        let next = texts.len() as u32;
        let same = |number: u32| store.get(texts[number as usize]) == text;
        let number = index.insert(text, next, same);
        if number == next {
            texts.push(store.push(text));
        }
        (number, number == next)
    }

    pub(super) fn get<'a>(&self, store: &'a Texts, number: u32) -> &'a str {
        store.get(self.texts[number as usize])
    }

    /// The texts by their numbers, and the index that finds a number.
    pub(super) fn into_parts(self) -> (Vec<Text>, Index) {
        (self.texts, self.index)
    }
}

/// Finds the number of a text that is stored elsewhere.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Half of the hash and the number of each text: the table can grow without reading the texts.
    table: HashTable<(u32, u32)>,
}

impl Index {
    /// The number of a text: `next` if it is new. `same` says whether the text of a number is the same.
    fn insert(&mut self, text: &str, next: u32, same: impl Fn(u32) -> bool) -> u32 {
        let half = half_hash(text);
        let same = |&(other, number): &(u32, u32)| other == half && same(number);
        let rehash = |&(half, _): &(u32, u32)| spread(half);
        match self.table.entry(spread(half), same, rehash) {
            Entry::Occupied(found) => found.get().1,
            Entry::Vacant(place) => {
                place.insert((half, next));
                next
            }
        }
    }

    /// The number of a text, if it has one. `same` says whether the text of a number is the same.
    pub(super) fn find(&self, text: &str, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let half = half_hash(text);
        let same = |&(other, number): &(u32, u32)| other == half && same(number);
        let found = self.table.find(spread(half), same);
        found.map(|&(_, number)| number)
    }

    /// Gives every text another number.
    pub(super) fn renumber(&mut self, new: impl Fn(u32) -> u32) {
        for (_, number) in &mut self.table {
            *number = new(*number);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.table.allocation_size()
    }
}

fn half_hash(text: &str) -> u32 {
    xxh3_64(text.as_bytes()) as u32
}

/// Spreads half a hash over 64 bits, because the table reads both ends of it.
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back_unchanged_from_many_blocks() {
        let mut texts = Texts::default();
        let long = "ä".repeat(200_000);
        let kept: Vec<(String, Text)> = (0..60)
            .map(|n| {
                let text = format!("{n}{}", &long[..(n * 6_000) % 400_000]);
                let place = texts.push(&text);
                (text, place)
            })
            .collect();
        assert!(texts.blocks.len() > 2);
        for (text, place) in kept {
            assert_eq!(texts.get(place), text);
        }
        assert_eq!(Texts::default().get(Text(0)), "");
    }

    #[test]
    fn the_same_text_gets_the_same_number() {
        let (mut store, mut interner) = (Texts::default(), Interner::default());
        for round in 0..2 {
            for n in 0..5_000 {
                assert_eq!(
                    interner.insert(&mut store, &format!("text {n}")),
                    (n, round == 0)
                );
            }
        }
        assert_eq!(interner.texts.len(), 5_000);
        assert_eq!(interner.get(&store, 77), "text 77");
    }
}
