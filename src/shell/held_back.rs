//! Held back: how much of the report log waits for its records' commit.
//!
//! Reports are written when their record is applied and leave when it is committed. In a mode that
//! waits for the disk, what is between grows with every slow sync, in a ring that must not come
//! round before. So each turn leaves a mark: up to this index, the log's head was here. When there
//! is no room for one more, the newest mark is moved on: the answer is then only ever too large.

use std::collections::VecDeque;

use crate::vocabulary::units::Index;

/// How far the log was when which record was applied.
///
/// Invariant: indexes and heads rise along `marks`, and are above those of `released_to`.
pub(super) struct HeldBack {
    marks: VecDeque<(Index, u64)>,
    /// The log's head as of the last mark that was released.
    released_to: u64,
}

/// Marks kept: more turns than a sync may take at any rate that matters.
const HELD_BACK_MARKS_MAX: usize = 4096;

impl HeldBack {
    pub(super) fn new(head: u64) -> Self {
        // Written once, so that no page of it is missing later.
        let mut marks = VecDeque::from(vec![(Index(u64::MAX), u64::MAX); HELD_BACK_MARKS_MAX]);
        marks.clear();
        Self { marks, released_to: head }
    }

    pub(super) fn on_applied(&mut self, index: Index, head: u64) {
        if self.marks.len() == HELD_BACK_MARKS_MAX {
            self.marks.pop_back();
        }
        if self.marks.back().map_or(self.released_to, |(_, head)| *head) != head {
            self.marks.push_back((index, head));
        }
    }

    pub(super) fn bytes(&mut self, released: Index, head: u64) -> u64 {
        while let Some((_, at)) = self.marks.front().filter(|(index, _)| *index <= released) {
            self.released_to = *at;
            self.marks.pop_front();
        }
        head - self.released_to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_released_is_held_back() {
        let mut held = HeldBack::new(100);
        assert_eq!(held.bytes(Index(0), 100), 0);
        held.on_applied(Index(3), 150);
        held.on_applied(Index(4), 150);
        held.on_applied(Index(6), 210);
        for (released, bytes) in [(2, 110), (3, 60), (5, 60), (6, 0), (9, 0)] {
            assert_eq!(held.bytes(Index(released), 210), bytes, "released {released}");
        }
    }

    #[test]
    fn more_turns_than_marks_are_told_too_large_and_never_too_small() {
        let mut held = HeldBack::new(0);
        let turns = HELD_BACK_MARKS_MAX as u64 + 100;
        for turn in 1..=turns {
            held.on_applied(Index(turn), turn * 10);
        }
        assert_eq!(held.marks.len(), HELD_BACK_MARKS_MAX);
        assert_eq!(held.bytes(Index(10), turns * 10), (turns - 10) * 10);
        assert!(held.bytes(Index(turns - 50), turns * 10) >= 500);
        assert_eq!(held.bytes(Index(turns), turns * 10), 0);
    }
}
