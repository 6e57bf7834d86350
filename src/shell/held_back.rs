//! How much of the report log waits for the commit of its records.
//!
//! Reports go into the log when their record is applied and may leave when it is released; where
//! that waits for a disk, the log fills in between, and what is held back must not be overwritten.
//! One mark a turn says how far the log reached with which record. A turn more than there are marks
//! shares the newest one: then its reports count as held back until that turn's records are
//! released, never less than they are.

use std::collections::VecDeque;

use crate::vocabulary::units::Index;

/// Turns with work whose reports wait at once: those of some flushes. 64 KiB.
const MARKS_MAX: usize = 4096;

/// The part of the report log that is not released.
///
/// Invariant: marks rise in both fields; all are above what is released.
pub struct HeldBack {
    /// The last record of a turn, and the log's head behind it.
    marks: VecDeque<(Index, u64)>,
    released_to: u64,
}

impl HeldBack {
    /// A log that reaches to `head`, all of it released.
    #[must_use]
    pub fn new(head: u64) -> Self {
        let mut marks = VecDeque::with_capacity(MARKS_MAX);
        // Every page is touched now, so that none is missing later.
        marks.resize(MARKS_MAX, (Index(u64::MAX), u64::MAX));
        marks.clear();
        Self { marks, released_to: head }
    }

    /// Records up to `index` are applied, and the log reaches to `head`.
    pub fn on_applied(&mut self, index: Index, head: u64) {
        let last = self.marks.back().map_or(self.released_to, |(_, head)| *head);
        assert!(head >= last, "a log does not shrink");
        if head == last {
            return;
        }
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_back();
        }
        self.marks.push_back((index, head));
    }

    /// Records up to `released` are released.
    pub fn on_released(&mut self, released: Index) {
        while let Some((index, head)) = self.marks.front().copied()
            && index <= released
        {
            self.released_to = head;
            self.marks.pop_front();
        }
    }

    /// Bytes of the log that are held back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.marks.back().map_or(0, |(_, head)| head - self.released_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::random::SplitMix;

    /// The twin keeps where the log stood behind each record.
    #[test]
    fn random_turns_agree_with_a_list_of_all_records() {
        for seed in 0..50 {
            let mut random = SplitMix(seed);
            let mut held_back = HeldBack::new(8);
            let (mut heads, mut turns) = (vec![8], vec![0]);
            let mut released = 0;
            for _ in 0..500 {
                for _ in 0..random.below(4) {
                    let head = heads.last().unwrap() + 8 * random.below(3);
                    heads.push(head);
                }
                let applied = heads.len() - 1;
                turns.push(applied);
                held_back.on_applied(Index(applied as u64), heads[applied]);
                if random.below(3) == 0 {
                    let more = random.below((applied - released) as u64 + 1);
                    released += usize::try_from(more).unwrap();
                    held_back.on_released(Index(released as u64));
                }
                // A turn counts until all of it is released.
                let whole = turns.iter().rev().find(|turn| **turn <= released).unwrap();
                let came = held_back.bytes();
                assert!(came >= heads[applied] - heads[released], "seed {seed}: never less");
                assert!(came <= heads[applied] - heads[*whole], "seed {seed}: at most a turn more");
            }
            held_back.on_released(Index(heads.len() as u64));
            assert_eq!(held_back.bytes(), 0);
        }
    }

    #[test]
    fn more_turns_than_marks_count_as_one_and_take_no_more_memory() {
        let mut held_back = HeldBack::new(0);
        let capacity = held_back.marks.capacity();
        let turns = MARKS_MAX as u64 + 100;
        (1..=turns).for_each(|turn| held_back.on_applied(Index(turn), 8 * turn));
        assert_eq!(held_back.bytes(), 8 * turns);
        held_back.on_released(Index(turns - 1));
        assert_eq!(held_back.bytes(), 8 * 101, "the last mark stands for all that had none");
        held_back.on_released(Index(turns));
        assert_eq!((held_back.bytes(), held_back.marks.capacity()), (0, capacity));
    }
}
