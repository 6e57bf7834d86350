//! Watermarks: how far each party of a journal has come, shared without a lock.
//!
//! ```text
//! durable <= appended <= durable + ring_bytes        positions
//!    ^          ^
//!    persister  hot thread           preparer: segments that exist, whether there is room
//! ```
//!
//! The hot thread stores `appended` after each record, so whoever loads it finds whole records
//! below it. The persister stores `durable` after the disk has said so, so whoever loads it may
//! acknowledge, and may overwrite. Every value has one writer and never goes back; the lines of
//! different writers are apart, so that nobody's stores cost the others a cache miss more than
//! once a look.
//!
//! Poison is for ever: after the first failed write or sync nothing the disk says is believed
//! again by this process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::position::Position;

/// A cache line of its own, and the one beside it that processors fetch along.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// What the parties of one journal tell each other.
#[derive(Debug, Default)]
pub struct Watermarks {
    appended: Line<AtomicU64>,
    durable: Line<Durable>,
    prepared: Line<Prepared>,
    poison: OnceLock<Poison>,
    is_poisoned: Line<AtomicBool>,
}

#[derive(Debug, Default)]
struct Durable {
    position: AtomicU64,
    index: AtomicU64,
}

#[derive(Debug, Default)]
struct Prepared {
    segments: AtomicU64,
    is_short: AtomicBool,
}

/// The first failure of a journal's disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: cannot {doing}: {error}")]
pub struct Poison {
    /// The file's name.
    pub file: String,
    /// The step.
    pub doing: &'static str,
    /// What the system said, or what was found.
    pub error: String,
}

impl Watermarks {
    /// Everything below is appended whole.
    #[must_use]
    pub fn appended(&self) -> Position {
        Position::new(self.appended.0.load(Ordering::Acquire))
    }

    /// Everything below is on the disk.
    #[must_use]
    pub fn durable(&self) -> Position {
        Position::new(self.durable.0.position.load(Ordering::Acquire))
    }

    /// The last record that is on the disk; 0 when there is none.
    #[must_use]
    pub fn durable_index(&self) -> u64 {
        self.durable.0.index.load(Ordering::Acquire)
    }

    /// Segments `[0, prepared)` exist.
    #[must_use]
    pub fn prepared(&self) -> u64 {
        self.prepared.0.segments.load(Ordering::Acquire)
    }

    /// Whether the disk has less room than it should keep.
    #[must_use]
    pub fn is_space_short(&self) -> bool {
        self.prepared.0.is_short.load(Ordering::Acquire)
    }

    /// Whether the disk failed.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned.0.load(Ordering::Acquire)
    }

    /// The first failure, once there is one.
    #[must_use]
    pub fn poison(&self) -> Option<&Poison> {
        self.poison.get()
    }

    #[inline]
    pub(crate) fn set_appended(&self, position: Position) {
        self.appended.0.store(position.get(), Ordering::Release);
    }

    /// The persister's. The position first: what is committed by index may then be overwritten.
    pub(crate) fn set_durable(&self, position: Position, index: u64) {
        assert!(position >= self.durable(), "what is on the disk stays there");
        self.durable.0.position.store(position.get(), Ordering::Release);
        self.durable.0.index.store(index, Ordering::Release);
    }

    pub(crate) fn set_prepared(&self, segments: u64) {
        assert!(segments >= self.prepared(), "no segment goes away");
        self.prepared.0.segments.store(segments, Ordering::Release);
    }

    pub(crate) fn set_space_short(&self, is_short: bool) {
        self.prepared.0.is_short.store(is_short, Ordering::Release);
    }

    /// Keeps the first failure; later ones follow from it.
    pub(crate) fn set_poison(&self, poison: Poison) {
        let _ = self.poison.set(poison);
        self.is_poisoned.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_kept() {
        let marks = Watermarks::default();
        assert!(!marks.is_poisoned());
        let poison = |error: &str| Poison {
            file: "journal-00000001.seg".to_owned(),
            doing: "sync it",
            error: error.to_owned(),
        };
        marks.set_poison(poison("first"));
        marks.set_poison(poison("second"));
        assert!(marks.is_poisoned());
        assert_eq!(
            marks.poison().map(ToString::to_string).as_deref(),
            Some("journal-00000001.seg: cannot sync it: first")
        );
    }

    #[test]
    #[should_panic(expected = "stays there")]
    fn durable_never_goes_back() {
        let marks = Watermarks::default();
        marks.set_durable(Position::new(16), 1);
        marks.set_durable(Position::new(8), 1);
    }
}
