//! Marks of a spool: how far a ring of derived bytes is written, on the disk, and overwritten.
//!
//! ```text
//! lost_to <= persisted <= appended        positions, as long as the disk keeps up
//!                ^           ^
//!                spool       writer       the writer goes on whatever the disk does
//! ```
//!
//! Derived bytes can be made again, so nothing waits for their disk. When the ring comes round to
//! bytes that are not on it, the writer moves `lost_to` over them *before* it stores; whoever
//! copies looks at `lost_to` *after* the copy. So a copy that an overwriting could have touched is
//! always noticed, and thrown away: the disk has a hole, never wrong bytes.
//!
//! Each value has one writer and never goes back. The lines of the two are apart.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crate::position::Position;
use crate::watermarks::{Line, Poison};

/// What the writer of a ring and its spool tell each other.
#[derive(Debug, Default)]
pub struct SpoolMarks {
    writer: Line<Writer>,
    disk: Line<Disk>,
    broken: OnceLock<Poison>,
}

#[derive(Debug, Default)]
struct Writer {
    appended: AtomicU64,
    lost_to: AtomicU64,
    lost_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Disk {
    persisted: AtomicU64,
    is_short: AtomicBool,
    is_broken: AtomicBool,
}

impl SpoolMarks {
    /// Everything below is written, and stays as it is until it is overwritten.
    #[must_use]
    pub fn appended(&self) -> Position {
        Position::new(self.writer.0.appended.load(Ordering::Acquire))
    }

    /// Everything below is on the disk or given up: the spool never reads it again.
    #[inline]
    #[must_use]
    pub fn persisted(&self) -> Position {
        Position::new(self.disk.0.persisted.load(Ordering::Acquire))
    }

    /// Bytes that were overwritten before they were known to be on the disk.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.writer.0.lost_bytes.load(Ordering::Relaxed)
    }

    /// Whether the disk has no room for the next segment.
    #[must_use]
    pub fn is_space_short(&self) -> bool {
        self.disk.0.is_short.load(Ordering::Acquire)
    }

    /// Whether the spool has given up, for the life of the process.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.disk.0.is_broken.load(Ordering::Acquire)
    }

    /// Why it has.
    #[must_use]
    pub fn broken(&self) -> Option<&Poison> {
        self.broken.get()
    }

    /// The writer's: everything below `position` is whole.
    #[inline]
    pub fn publish(&self, position: Position) {
        self.writer.0.appended.store(position.get(), Ordering::Release);
    }

    /// The writer's, before it stores over bytes below `to` that may not be on the disk.
    pub fn lose(&self, to: Position) {
        let Writer { lost_to, lost_bytes, .. } = &self.writer.0;
        let kept_from = lost_to.load(Ordering::Relaxed).max(self.persisted().get());
        if to.get() > kept_from {
            let before = lost_bytes.load(Ordering::Relaxed);
            lost_bytes.store(before + (to.get() - kept_from), Ordering::Relaxed);
            lost_to.store(to.get(), Ordering::Relaxed);
        }
        // The stores that follow are seen by nobody who does not see the mark; the other half is
        // the fence in `lost_to`.
        fence(Ordering::Release);
    }

    /// Below this, what was copied before this call may have been overwritten during the copy.
    pub(crate) fn lost_to(&self) -> Position {
        fence(Ordering::Acquire);
        Position::new(self.writer.0.lost_to.load(Ordering::Relaxed))
    }

    pub(crate) fn set_persisted(&self, position: Position) {
        assert!(position >= self.persisted(), "what is on the disk stays there");
        self.disk.0.persisted.store(position.get(), Ordering::Release);
    }

    pub(crate) fn set_space_short(&self, is_short: bool) {
        self.disk.0.is_short.store(is_short, Ordering::Release);
    }

    pub(crate) fn set_broken(&self, why: Poison) {
        let _ = self.broken.set(why);
        self.disk.0.is_broken.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows: persisted, `to` of each loss in turn, and the mark and the sum after them.
    #[test]
    fn a_loss_counts_each_byte_once() {
        for (persisted, losses, lost_to, lost_bytes) in [
            (0, &[][..], 0, 0),
            (0, &[10], 10, 10),
            (0, &[10, 10, 15], 15, 15),
            (8, &[10, 12], 12, 4),
            (20, &[10, 20], 0, 0),
            (20, &[15, 25], 25, 5),
        ] {
            let marks = SpoolMarks::default();
            marks.set_persisted(Position::new(persisted));
            for to in losses {
                marks.lose(Position::new(*to));
            }
            let found = (marks.lost_to().get(), marks.lost_bytes());
            assert_eq!(found, (lost_to, lost_bytes), "{persisted} {losses:?}");
        }
    }

    #[test]
    fn writer_and_disk_have_lines_of_their_own() {
        let marks = SpoolMarks::default();
        let apart = (&raw const marks.writer).addr().abs_diff((&raw const marks.disk).addr());
        assert!(apart >= 128, "{apart}");
    }
}
