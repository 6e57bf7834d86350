//! Where every 256th report of a session stands, so that a number is found in at most 255 hops.
//!
//! Open addressing with linear probing; deletion shifts entries back, so a search ends at the first
//! free slot and never meets a grave. A mark leaves when the ring overwrites its report. The table
//! is sized for the most reports a ring can hold, so it never fills: load is at most one half.

use crate::vocabulary::units::{Seq, SessionIdx};

/// Numbers between two marks; a power of two.
pub(super) const STRIDE: u64 = 256;
const _: () = assert!(STRIDE.is_power_of_two());

const FREE: u64 = u64::MAX;

pub(super) struct Marks {
    slots: Box<[Mark]>,
}

/// `position` is [`FREE`] in a free slot.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    session: u32,
    number: u64,
    position: u64,
}

impl Marks {
    /// Room for the marks of `entry_count_max` reports of at most `session_count` sessions.
    pub(super) fn new(entry_count_max: usize, session_count: usize) -> Self {
        let slots = slot_count(entry_count_max, session_count);
        Self { slots: vec![Mark { session: 0, number: 0, position: FREE }; slots].into() }
    }

    /// What `new` takes, in bytes.
    pub(super) fn bytes(entry_count_max: usize, session_count: usize) -> usize {
        slot_count(entry_count_max, session_count) * size_of::<Mark>()
    }

    /// The mark at or below `number`.
    pub(super) const fn mark_of(number: Seq) -> Seq {
        Seq(number.0 & !(STRIDE - 1))
    }

    /// Whether `number` is marked.
    pub(super) const fn is_mark(number: Seq) -> bool {
        number.0 & (STRIDE - 1) == 0
    }

    pub(super) fn insert(&mut self, session: SessionIdx, number: Seq, position: u64) {
        debug_assert!(Self::is_mark(number) && position != FREE);
        let mut at = self.home(session.0, number.0);
        while self.slots[at].position != FREE {
            debug_assert!(self.slots[at].position != position, "a report is marked twice");
            at = self.after(at);
        }
        self.slots[at] = Mark { session: session.0, number: number.0, position };
    }

    /// The mark of `number` at or behind `from`: those before are of a session that is forgotten.
    pub(super) fn find(&self, session: SessionIdx, number: Seq, from: u64) -> Option<u64> {
        let at = self.slot_of(session, number, |position| position >= from);
        at.map(|at| self.slots[at].position)
    }

    pub(super) fn remove(&mut self, session: SessionIdx, number: Seq, position: u64) {
        let Some(mut hole) = self.slot_of(session, number, |other| other == position) else {
            debug_assert!(false, "a mark stays as long as its report");
            return;
        };
        let mut at = hole;
        loop {
            at = self.after(at);
            let moved = self.slots[at];
            if moved.position == FREE {
                break;
            }
            // A mark may move into the hole unless its own place lies behind the hole.
            let around = self.slots.len() - 1;
            let wanted = self.home(moved.session, moved.number);
            if at.wrapping_sub(wanted) & around >= at.wrapping_sub(hole) & around {
                self.slots[hole] = moved;
                hole = at;
            }
        }
        self.slots[hole].position = FREE;
    }

    fn slot_of(
        &self,
        session: SessionIdx,
        number: Seq,
        is_meant: impl Fn(u64) -> bool,
    ) -> Option<usize> {
        let mut at = self.home(session.0, number.0);
        loop {
            let mark = self.slots[at];
            if mark.position == FREE {
                return None;
            }
            if (mark.session, mark.number) == (session.0, number.0) && is_meant(mark.position) {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    /// Neither key is chosen by a peer, so a fixed mixing step is enough.
    fn home(&self, session: u32, number: u64) -> usize {
        let key = (number / STRIDE).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(session);
        let mixed = key.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mask = self.slots.len() - 1;
        usize::try_from(mixed >> 32).unwrap_or(0) & mask
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

/// One mark in a stride of live reports. The oldest reports of a session may be gone while a mark
/// stays: one more a session, also when its slot changed hands, as a new session begins at number 1
/// and only the oldest of those in the ring has lost reports.
fn slot_count(entry_count_max: usize, session_count: usize) -> usize {
    let stride = usize::try_from(STRIDE).unwrap_or(usize::MAX);
    let mark_count_max = entry_count_max / stride + session_count + 1;
    (2 * mark_count_max).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::random::SplitMix;
    use std::collections::BTreeMap;

    #[test]
    fn random_marks_agree_with_a_map() {
        for seed in 0..50 {
            // Of a session that was forgotten there may be a mark of the same number before.
            let from = if seed % 2 == 0 { 0 } else { 1_000 };
            let mut random = SplitMix(seed);
            let mut marks = Marks::new(0, 40);
            let mut twin = BTreeMap::new();
            for step in 0..2_000 {
                let session = u32::try_from(random.below(5)).unwrap();
                let number = random.below(8) * STRIDE;
                let key = (session, number);
                if from == step {
                    twin.clear();
                }
                let floor = if step < from { 0 } else { from };
                match twin.get(&key) {
                    Some(&position) => {
                        assert_eq!(
                            marks.find(SessionIdx(session), Seq(number), floor),
                            Some(position)
                        );
                        marks.remove(SessionIdx(session), Seq(number), position);
                        twin.remove(&key);
                    }
                    None if twin.len() < 20 => {
                        marks.insert(SessionIdx(session), Seq(number), step);
                        twin.insert(key, step);
                    }
                    None => {}
                }
                for (&(session, number), &position) in &twin {
                    let found = marks.find(SessionIdx(session), Seq(number), floor);
                    assert_eq!(found, Some(position), "seed {seed} step {step}");
                }
            }
        }
    }
}
