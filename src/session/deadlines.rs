//! When something is due for a session: a heap of fixed size, at most one entry a session.
//!
//! The turn asks for the next deadline every time it comes round, so that must not cost a walk over
//! 65,536 sessions; and a client that comes back takes its deadline away again, so an entry must be
//! found by its session. A binary heap ordered by (due, session) does the first, the place of each
//! session in it the second. Setting and clearing cost the logarithm of the entries, asking one
//! read.
//!
//! The order is total, so which deadline comes first never depends on the history of the heap.
//! Memory: 16 bytes a session, taken by `new`; with one place a session it is never full.

use crate::vocabulary::units::{Nanos, SessionIdx};

/// The deadlines of one kind.
///
/// Invariants: no entry is due before the one above it, ties by session; `places` names for each
/// entry where it stands, and [`NOWHERE`] for every session without one.
#[derive(Debug)]
pub(super) struct Deadlines {
    heap: Vec<Entry>,
    /// Where each session's entry stands in `heap`.
    places: Box<[u32]>,
}

/// Ordered as the fields stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    due: Nanos,
    session: u32,
}

const NOWHERE: u32 = u32::MAX;

impl Deadlines {
    /// No deadline yet for any of `session_count` sessions.
    pub(super) fn new(session_count: usize) -> Self {
        Self {
            heap: Vec::with_capacity(session_count),
            places: vec![NOWHERE; session_count].into(),
        }
    }

    /// What `new` takes, in bytes.
    pub(super) fn bytes(session_count_max: u32) -> u64 {
        u64::from(session_count_max) * (size_of::<Entry>() + size_of::<u32>()) as u64
    }

    /// Sets or moves the deadline of `session`.
    pub(super) fn set(&mut self, session: SessionIdx, due: Nanos) {
        let entry = Entry { due, session: session.0 };
        let place = self.places[session.0 as usize];
        if place == NOWHERE {
            self.heap.push(entry);
            self.rise(self.heap.len() - 1);
        } else {
            self.heap[place as usize] = entry;
            self.settle(place as usize);
        }
    }

    /// Takes the deadline of `session` away, if it has one.
    pub(super) fn clear(&mut self, session: SessionIdx) {
        let place = self.places[session.0 as usize];
        if place == NOWHERE {
            return;
        }
        self.places[session.0 as usize] = NOWHERE;
        let place = place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.settle(place);
        }
    }

    /// The deadline of `session`, if it has one.
    pub(super) fn of(&self, session: SessionIdx) -> Option<Nanos> {
        let place = self.places.get(session.0 as usize)?;
        self.heap.get(*place as usize).map(|entry| entry.due)
    }

    /// The earliest deadline and whose it is; of several the lowest session.
    pub(super) fn first(&self) -> Option<(Nanos, SessionIdx)> {
        self.heap.first().map(|entry| (entry.due, SessionIdx(entry.session)))
    }

    /// Moves the entry at `at` to where it belongs, and notes the place.
    fn settle(&mut self, at: usize) {
        let at = self.rise(at);
        self.sink(at);
    }

    fn rise(&mut self, mut at: usize) -> usize {
        while at > 0 {
            let above = (at - 1) / 2;
            if self.heap[above] <= self.heap[at] {
                break;
            }
            self.heap.swap(above, at);
            self.note(at);
            at = above;
        }
        self.note(at);
        at
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let Some(mut least) = self.heap.get(left).map(|_| left) else { break };
            if self.heap.get(right).is_some_and(|entry| *entry < self.heap[left]) {
                least = right;
            }
            if self.heap[at] <= self.heap[least] {
                break;
            }
            self.heap.swap(at, least);
            self.note(at);
            at = least;
        }
        self.note(at);
    }

    fn note(&mut self, at: usize) {
        let session = self.heap[at].session;
        self.places[session as usize] = u32::try_from(at).unwrap_or(NOWHERE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::random::SplitMix;
    use std::collections::BTreeMap;

    #[test]
    fn random_deadlines_agree_with_a_map() {
        for seed in 0..50 {
            let mut random = SplitMix(seed);
            let mut deadlines = Deadlines::new(40);
            let mut twin = BTreeMap::new();
            for step in 0..2_000 {
                let session = SessionIdx(u32::try_from(random.below(40)).unwrap());
                if random.below(3) == 0 {
                    deadlines.clear(session);
                    twin.remove(&session);
                } else {
                    let due = Nanos(random.below(30));
                    deadlines.set(session, due);
                    twin.insert(session, due);
                }
                let first = twin.iter().map(|(session, due)| (*due, *session)).min();
                assert_eq!(deadlines.first(), first, "seed {seed} step {step}");
                for session in (0..40).map(SessionIdx) {
                    assert_eq!(deadlines.of(session), twin.get(&session).copied());
                }
                assert_eq!(deadlines.heap.capacity(), 40, "it never grows");
            }
        }
    }
}
