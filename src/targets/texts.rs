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
    /// Half of the hash and the number of each text: the table can grow without reading the texts.
    table: HashTable<(u32, u32)>,
}

impl Interner {
    /// The number of a text, and whether it is new.
    pub(super) fn insert(&mut self, store: &mut Texts, text: &str) -> (u32, bool) {
        let Self { texts, table } = self;
        let half = half_hash(text);
        let same = |&(other, number): &(u32, u32)| {
            other == half && store.get(texts[number as usize]) == text
        };
        match table.entry(spread(half), same, |&(half, _)| spread(half)) {
            Entry::Occupied(found) => (found.get().1, false),
            Entry::Vacant(place) => {
                let number = texts.len() as u32;
                place.insert((half, number));
                texts.push(store.push(text));
                (number, true)
            }
        }
    }

    /// The number of a text, if it has one.
    pub(super) fn find(&self, store: &Texts, text: &str) -> Option<u32> {
        let half = half_hash(text);
        let same = |&(other, number): &(u32, u32)| {
            other == half && store.get(self.texts[number as usize]) == text
        };
        self.table
            .find(spread(half), same)
            .map(|&(_, number)| number)
    }

    pub(super) fn get<'a>(&self, store: &'a Texts, number: u32) -> &'a str {
        store.get(self.texts[number as usize])
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The memory of the numbers in bytes, without the texts.
    pub(super) fn memory_bytes(&self) -> usize {
        self.texts.capacity() * size_of::<Text>() + self.table.allocation_size()
    }

    /// Frees the memory that only `insert` and `find` need.
    pub(super) fn seal(&mut self) {
        self.table = HashTable::new();
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
        assert_eq!(interner.len(), 5_000);
        assert_eq!(interner.get(&store, 77), "text 77");
    }
}
