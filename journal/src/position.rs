//! Position: a byte of the journal, counted from the cluster's first record.
//!
//! Records never straddle a segment, so a position says everything about where a record lies: in
//! which segment file, at which byte of it, and at which byte of the ring. The ring is four
//! segments long and segment k lies in its slot k mod 4: entering the next segment is a pad and a
//! counter, no system call.

use std::fmt;

use crate::record::{HEADER_BYTES, RECORD_BYTES_MAX};

/// Segments a ring holds.
pub const SEGMENTS: u64 = 4;

/// Smallest ring, in bytes: each segment holds the largest record twice, so that a record always
/// fits a fresh segment without leaving a gap smaller than a header.
pub const RING_BYTES_MIN: u64 = SEGMENTS * 2 * 4096;

/// Largest ring, in bytes: it is locked in memory.
pub const RING_BYTES_MAX: u64 = 1 << 40;

const _: () = assert!(RING_BYTES_MIN / SEGMENTS >= 2 * RECORD_BYTES_MAX);
const _: () = assert!(RECORD_BYTES_MAX + HEADER_BYTES <= RING_BYTES_MIN / SEGMENTS);

/// A byte of the journal, counted from the cluster's first record; the same on every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The first byte of the first record.
    pub const ZERO: Self = Self(0);

    /// The position `bytes` behind the first.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes since the first record.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }

    /// Bytes from `earlier` to here; 0 when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How positions fall into segments. Invariant: `ring_bytes` is a power of two in
/// `[RING_BYTES_MIN, RING_BYTES_MAX]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    ring_bytes: u64,
}

impl Geometry {
    /// `None` when the size is none a ring can have.
    pub(crate) const fn new(ring_bytes: u64) -> Option<Self> {
        let in_range = ring_bytes >= RING_BYTES_MIN && ring_bytes <= RING_BYTES_MAX;
        if in_range && ring_bytes.is_power_of_two() { Some(Self { ring_bytes }) } else { None }
    }

    pub(crate) const fn ring_bytes(self) -> u64 {
        self.ring_bytes
    }

    pub(crate) const fn segment_bytes(self) -> u64 {
        self.ring_bytes / SEGMENTS
    }

    /// Bytes from `position` to the end of its segment, in `[1, segment_bytes]`.
    pub(crate) const fn segment_left(self, position: Position) -> u64 {
        self.segment_bytes() - (position.0 & (self.segment_bytes() - 1))
    }

    /// The segment that holds the byte at `position`.
    pub(crate) const fn segment_of(self, position: Position) -> u64 {
        position.0 / self.segment_bytes()
    }

    /// The first byte of a segment.
    pub(crate) const fn segment_start(self, segment: u64) -> Position {
        Position(segment * self.segment_bytes())
    }

    /// Bytes of `position`'s segment in front of it.
    pub(crate) const fn segment_offset(self, position: Position) -> u64 {
        position.0 & (self.segment_bytes() - 1)
    }

    /// The place of `position` in the ring, in `[0, ring_bytes)`.
    pub(crate) const fn ring_offset(self, position: Position) -> u64 {
        position.0 & (self.ring_bytes - 1)
    }

    /// The oldest byte that a ring still holds whole while it is written at `head`: the three
    /// segments before the one at the head are untouched.
    pub(crate) const fn ring_base(self, head: Position) -> Position {
        self.segment_start(self.segment_of(head).saturating_sub(SEGMENTS - 1))
    }

    /// Segments that end in `(from, to]`.
    pub(crate) const fn segment_ends(self, from: Position, to: Position) -> u64 {
        self.segment_of(to).saturating_sub(self.segment_of(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_outside_the_table_are_none() {
        for (bytes, good) in [
            (0, false),
            (RING_BYTES_MIN / 2, false),
            (RING_BYTES_MIN, true),
            (RING_BYTES_MIN + 8, false),
            (RING_BYTES_MIN * 3, false),
            (RING_BYTES_MAX, true),
            (RING_BYTES_MAX * 2, false),
            (u64::MAX, false),
        ] {
            assert_eq!(Geometry::new(bytes).is_some(), good, "{bytes}");
        }
    }

    #[test]
    fn positions_fall_into_segments() {
        let geometry = Geometry::new(32_768).unwrap();
        // Position: bytes left of its segment, segment, place in the ring, oldest byte of the ring.
        for (position, left, segment, place, base) in [
            (0, 8192, 0, 0, 0),
            (8, 8184, 0, 8, 0),
            (8184, 8, 0, 8184, 0),
            (8192, 8192, 1, 8192, 0),
            (32_760, 8, 3, 32_760, 0),
            (32_768, 8192, 4, 0, 8192),
            (40_968, 8184, 5, 8200, 16_384),
        ] {
            let position = Position::new(position);
            assert_eq!(geometry.segment_left(position), left, "{position}");
            assert_eq!(geometry.segment_offset(position), 8192 - left, "{position}");
            assert_eq!(geometry.segment_of(position), segment, "{position}");
            assert_eq!(geometry.ring_offset(position), place, "{position}");
            assert_eq!(geometry.ring_base(position), Position::new(base), "{position}");
        }
        let ends = |from, to| geometry.segment_ends(Position::new(from), Position::new(to));
        assert_eq!([ends(0, 8191), ends(0, 8192), ends(8192, 8200), ends(8, 32_776)], [0, 1, 0, 4]);
    }
}
