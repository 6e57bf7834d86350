//! A seeded generator for tests, benches and load: the same seed gives the same run everywhere.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): one addition and three mixing steps, passes BigCrush.
//! Never used by the engine, whose state may depend on nothing but the journal.

/// The state is the seed; any seed is good.
#[derive(Clone, Copy, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[0, bound)`; `bound` is positive. The bias is below `bound / 2^64`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0);
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }
}
