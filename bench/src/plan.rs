//! Plan: how much, with which seed.
//!
//! Sizes are part of what is measured, so there are three and no knob: full is the size that the
//! goals speak of, quick gives a first impression, tiny is for the tests of the benches themselves.

use serde::Serialize;

/// How large tables and rounds are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Size {
    /// For tests, in a debug build.
    Tiny,
    /// A first impression.
    Quick,
    /// What is recorded.
    Full,
}

/// What a bench is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Everything random comes from it.
    pub(crate) seed: u64,
    /// Of tables and rounds.
    pub(crate) size: Size,
    /// Also the tables that take gigabytes.
    pub(crate) is_large: bool,
    /// Rounds of each row.
    pub(crate) round_count: usize,
}

impl Plan {
    /// One of three by size.
    pub(crate) const fn pick<T: Copy>(&self, tiny: T, quick: T, full: T) -> T {
        match self.size {
            Size::Tiny => tiny,
            Size::Quick => quick,
            Size::Full => full,
        }
    }
}

/// Folds results into a hash: cheap enough to stand inside a timed window (about 1 ns).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold(pub(crate) u64);

impl Fold {
    /// The hash before anything.
    pub(crate) const EMPTY: Self = Self(0x243f_6a88_85a3_08d3);

    /// Adds a value; order matters.
    #[inline]
    pub(crate) const fn add(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
