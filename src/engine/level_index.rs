//! Which price levels of the band are occupied: three layers of 64-bit bitmaps.
//!
//! An array of levels finds a price at once, but when the best level dies the next one may be
//! thousands of empty ticks away, and walking there is what makes plain arrays lose. Here a bit
//! says "this level is occupied", a bit above it "this word is not zero", and one word above that
//! says the same again: 64 x 64 x 64 = 2^18 levels. The next occupied level in either direction is
//! at most five word reads away. The layers above are written only when a word becomes zero or
//! stops being it. Memory: 33 KiB for 2^18 levels.

use crate::vocabulary::bytes::present;

/// Most levels that three layers can name.
pub(super) const LEVEL_COUNT_MAX: u32 = 1 << 18;

/// A set of level numbers in `[0, level_count)`.
///
/// Invariants: a bit of `words` is set exactly if its word of `levels` is not zero; a bit of `top`
/// exactly if its word of `words` is not zero.
#[derive(Debug)]
pub(super) struct LevelIndex {
    levels: Box<[u64]>,
    words: Box<[u64]>,
    top: u64,
}

impl LevelIndex {
    /// No level set. `level_count` is a power of two in `[64, 2^18]`.
    pub(super) fn new(level_count: u32) -> Self {
        assert!(level_count.is_power_of_two() && (64..=LEVEL_COUNT_MAX).contains(&level_count));
        let word_count = level_count as usize / 64;
        Self {
            levels: present(word_count, 0, u64::MAX),
            words: present(word_count.div_ceil(64), 0, u64::MAX),
            top: 0,
        }
    }

    /// What `new` takes, in bytes.
    pub(super) fn bytes(level_count: u32) -> u64 {
        let word_count = u64::from(level_count) / 64;
        (word_count + word_count.div_ceil(64)) * size_of::<u64>() as u64
    }

    /// Puts `level` in.
    pub(super) fn set(&mut self, level: u32) {
        let word = level >> 6;
        self.levels[word as usize] |= bit(level);
        self.words[(word >> 6) as usize] |= bit(word);
        self.top |= bit(word >> 6);
    }

    /// Takes `level` out.
    pub(super) fn clear(&mut self, level: u32) {
        let word = level >> 6;
        self.levels[word as usize] &= !bit(level);
        if self.levels[word as usize] == 0 {
            self.words[(word >> 6) as usize] &= !bit(word);
            if self.words[(word >> 6) as usize] == 0 {
                self.top &= !bit(word >> 6);
            }
        }
    }

    /// Whether `level` is in.
    pub(super) fn is_set(&self, level: u32) -> bool {
        self.levels[(level >> 6) as usize] & bit(level) != 0
    }

    /// The lowest level at or above `level`.
    pub(super) fn first_from(&self, level: u32) -> Option<u32> {
        let mut word = level >> 6;
        let rest = self.levels[word as usize] & (bit(level) | above(level));
        if rest != 0 {
            return Some(word << 6 | rest.trailing_zeros());
        }
        let mut group = word >> 6;
        let mut rest = self.words[group as usize] & above(word);
        if rest == 0 {
            let groups = self.top & above(group);
            if groups == 0 {
                return None;
            }
            group = groups.trailing_zeros();
            rest = self.words[group as usize];
        }
        word = group << 6 | rest.trailing_zeros();
        Some(word << 6 | self.levels[word as usize].trailing_zeros())
    }

    /// The highest level at or below `level`.
    pub(super) fn last_until(&self, level: u32) -> Option<u32> {
        let mut word = level >> 6;
        let rest = self.levels[word as usize] & (bit(level) | below(level));
        if rest != 0 {
            return Some(word << 6 | highest(rest));
        }
        let mut group = word >> 6;
        let mut rest = self.words[group as usize] & below(word);
        if rest == 0 {
            let groups = self.top & below(group);
            if groups == 0 {
                return None;
            }
            group = highest(groups);
            rest = self.words[group as usize];
        }
        word = group << 6 | highest(rest);
        Some(word << 6 | highest(self.levels[word as usize]))
    }

    /// How many levels are in; counts the words.
    pub(super) fn count(&self) -> u32 {
        self.levels.iter().map(|word| word.count_ones()).sum()
    }

    /// Checks the invariants.
    pub(super) fn assert_invariants(&self) {
        for (i, &word) in (0_u32..).zip(&self.levels) {
            let is_marked = self.words[(i >> 6) as usize] & bit(i) != 0;
            assert_eq!(word != 0, is_marked, "word {i} of the levels");
        }
        for (i, &word) in (0_u32..).zip(&self.words) {
            assert_eq!(word != 0, self.top & bit(i) != 0, "word {i} of the words");
        }
    }
}

/// The bit of `number` in its word.
const fn bit(number: u32) -> u64 {
    1 << (number & 63)
}

/// The bits above that of `number`.
const fn above(number: u32) -> u64 {
    (!0 << (number & 63)) << 1
}

/// The bits below that of `number`.
const fn below(number: u32) -> u64 {
    bit(number) - 1
}

/// The number of the highest bit of `word`, which is not zero.
const fn highest(word: u64) -> u32 {
    word.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Sets `levels`, asks from every interesting place, takes them out again.
    #[track_caller]
    fn check(level_count: u32, levels: &[u32]) {
        let twin: BTreeSet<u32> = levels.iter().copied().collect();
        let mut index = LevelIndex::new(level_count);
        for &level in &twin {
            index.set(level);
        }
        let near = |level: u32| [level.saturating_sub(1), level, level + 1];
        let edges = [0, 63, 64, 4095, 4096, level_count - 1];
        for from in levels.iter().copied().chain(edges).flat_map(near) {
            if from < level_count {
                assert_eq!(index.first_from(from), twin.range(from..).next().copied(), "{from}");
                assert_eq!(
                    index.last_until(from),
                    twin.range(..=from).next_back().copied(),
                    "{from}"
                );
                assert_eq!(index.is_set(from), twin.contains(&from));
            }
        }
        assert_eq!(index.count() as usize, twin.len());
        for &level in &twin {
            index.assert_invariants();
            index.clear(level);
        }
        index.assert_invariants();
        assert_eq!((index.count(), index.top), (0, 0));
    }

    #[test]
    #[rustfmt::skip]
    fn levels_are_found_over_the_edges_of_words() {
        //    levels      set
        check(64,         &[]);
        check(64,         &[0]);
        check(64,         &[63]);
        check(128,        &[0, 127]);
        check(128,        &[63, 64]);
        check(4096,       &[0, 4095]);
        check(8192,       &[4095, 4096]);
        check(8192,       &[63, 64, 4032, 8191]);
        check(1 << 18,    &[]);
        check(1 << 18,    &[0, (1 << 18) - 1]);
        check(1 << 18,    &[4096, 8191, 8192, 131_071, 131_072, 200_000]);
        check(1 << 18,    &[1, 2, 3, 62, 63, 64, 65, 127, 128]);
    }
}
