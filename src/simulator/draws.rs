//! Random numbers that depend only on a seed and a key.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Random numbers that depend only on a seed and a key.
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64, key: &[&[u8]]) -> Self {
        Self(
            key.iter()
                .fold(seed, |seed, part| xxh3_64_with_seed(part, seed)),
        )
    }

    /// The next 64 bits (SplitMix64).
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to 1, without 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number from 0 to below `end`.
    pub(super) fn below(&mut self, end: i64) -> i64 {
        (self.unit() * end as f64) as i64
    }

    /// A number with mean 0 and standard deviation 1. The sum of twelve uniform numbers is close to
    /// normal.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}
