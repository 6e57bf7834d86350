//! Position: a byte of the journal, counted from the cluster's first record.
//!
//! Records never straddle a segment, and a segment never leaves its slot of the ring, so a position
//! says everything about where a record lies: which segment, and how many bytes that segment has
//! left. A ring is four segments long. Until there are disk segments to copy to, nothing in the
//! ring may be overwritten, so position 0 is also the ring's first byte and the ring fills once.

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
        if in_range && ring_bytes.is_power_of_two() {
            Some(Self { ring_bytes })
        } else {
            None
        }
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

    /// Segments that end behind `position`, within the ring.
    pub(crate) const fn segments_left(self, position: Position) -> u64 {
        (self.ring_bytes - position.0).div_ceil(self.segment_bytes())
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
        for (position, left, segments) in [
            (0, 8192, 4),
            (8, 8184, 4),
            (8184, 8, 4),
            (8192, 8192, 3),
            (32_760, 8, 1),
        ] {
            let position = Position::new(position);
            assert_eq!(geometry.segment_left(position), left, "{position}");
            assert_eq!(geometry.segments_left(position), segments, "{position}");
        }
    }
}
