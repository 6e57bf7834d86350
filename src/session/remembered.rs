//! What was asked under each of the last numbers of every session.
//!
//! A number below the expected one is dropped when it carries the same request as before, and ends
//! the line when it does not (ruling F01). So the last `window` numbers of a session are kept with
//! template and request id, at `number mod window`; a number that a NotApplied covers stands for
//! nothing.
//!
//! Whoever numbers its messages wide apart makes a window of numbers to be forgotten with each, up
//! to 65,536. Forgetting therefore writes one octet a number, in at most two runs: an id without a
//! template has no meaning. Memory: 9 bytes a number, two arrays, all of it taken and written by
//! `new`. Nothing here is ever full: new numbers take the places of the oldest.

use std::ops::Range;

use crate::vocabulary::bytes::{Reader, Writer, present};
use crate::vocabulary::units::{Seq, SessionIdx};

/// Template and request id of the last numbers of each session.
pub(super) struct Remembered {
    templates: Box<[u8]>,
    ids: Box<[u64]>,
    /// Numbers a session; a power of two.
    window: usize,
}

/// Stands for a number that never arrived. The id beside it means nothing.
const NOTHING: u8 = 0;

impl Remembered {
    /// `window` numbers, a power of two, for each of `session_count` sessions.
    pub(super) fn new(session_count: usize, window: usize) -> Self {
        assert!(window.is_power_of_two(), "a window is a power of two");
        let count = session_count * window;
        let (templates, ids) = (present(count, NOTHING, u8::MAX), present(count, 0, u64::MAX));
        Self { templates, ids, window }
    }

    /// What `new` takes, in bytes.
    pub(super) fn bytes(session_count: u32, window: u32) -> u64 {
        let each = size_of::<u8>() + size_of::<u64>();
        u64::from(session_count) * u64::from(window) * each as u64
    }

    /// Keeps the request under `number`.
    pub(super) fn set(&mut self, session: SessionIdx, number: Seq, template: u16, request_id: u64) {
        self.put(session, number, code(template), request_id);
    }

    /// Whether this very request is kept under `number`, which is in the window.
    pub(super) fn is(
        &self,
        session: SessionIdx,
        number: Seq,
        template: u16,
        request_id: u64,
    ) -> bool {
        self.get(session, number) == (code(template), request_id)
    }

    /// Forgets numbers that a NotApplied covers; of a long gap only the last window matters.
    pub(super) fn forget(&mut self, session: SessionIdx, numbers: Range<u64>) {
        let count = numbers.end.saturating_sub(numbers.start).min(self.window as u64);
        let Ok(count) = usize::try_from(count) else { return };
        let start = session.0 as usize * self.window;
        let first = self.at(session, Seq(numbers.end - count as u64)) - start;
        let until_end = count.min(self.window - first);
        let places = &mut self.templates[start..start + self.window];
        places[first..first + until_end].fill(NOTHING);
        places[..count - until_end].fill(NOTHING);
    }

    /// Canonical bytes of one session's numbers below `expected`.
    pub(super) fn write_snapshot(&self, session: SessionIdx, expected: Seq, out: &mut Writer) {
        for number in self.below(expected) {
            let (template, id) = self.get(session, Seq(number));
            out.u8(template);
            out.u64(id);
        }
    }

    /// Reads what [`Self::write_snapshot`] wrote.
    pub(super) fn read_snapshot(
        &mut self,
        session: SessionIdx,
        expected: Seq,
        r: &mut Reader<'_>,
    ) -> Option<()> {
        for number in self.below(expected) {
            let (template, id) = (r.u8()?, r.u64()?);
            self.put(session, Seq(number), template, id);
        }
        Some(())
    }

    /// The numbers below `expected` that are still remembered.
    fn below(&self, expected: Seq) -> Range<u64> {
        expected.0.saturating_sub(self.window as u64).max(1)..expected.0
    }

    fn put(&mut self, session: SessionIdx, number: Seq, code: u8, request_id: u64) {
        let at = self.at(session, number);
        self.templates[at] = code;
        self.ids[at] = request_id;
    }

    fn get(&self, session: SessionIdx, number: Seq) -> (u8, u64) {
        let at = self.at(session, number);
        match self.templates[at] {
            NOTHING => (NOTHING, 0),
            code => (code, self.ids[at]),
        }
    }

    fn at(&self, session: SessionIdx, number: Seq) -> usize {
        let mask = self.window as u64 - 1;
        session.0 as usize * self.window + usize::try_from(number.0 & mask).unwrap_or(0)
    }
}

/// One octet for the templates that carry numbers: 100-105 and 300-310. Others are never admitted.
fn code(template: u16) -> u8 {
    match template {
        100..=105 => u8::try_from(template - 99).unwrap_or(NOTHING),
        300..=310 => u8::try_from(template - 280).unwrap_or(NOTHING),
        _ => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::random::SplitMix;
    use std::collections::BTreeMap;

    /// Two sessions against a map of every number ever set or forgotten: gaps of every length,
    /// across the end of the ring and longer than the window.
    #[test]
    fn random_runs_and_gaps_agree_with_a_map() {
        for seed in 0..100 {
            let mut random = SplitMix(seed);
            let window = 1_u64 << random.below(6);
            let mut kept = Remembered::new(2, usize::try_from(window).unwrap());
            let mut twin: [BTreeMap<u64, u64>; 2] = [BTreeMap::new(), BTreeMap::new()];
            let mut next = [1_u64; 2];
            for step in 0..300 {
                let at = usize::try_from(random.below(2)).unwrap();
                let session = SessionIdx(u32::try_from(at).unwrap());
                let from = next[at];
                if random.below(3) == 0 {
                    next[at] += random.below(3 * window);
                    kept.forget(session, from..next[at]);
                } else {
                    next[at] += 1;
                    kept.set(session, Seq(from), 100, 7 * from);
                    twin[at].insert(from, 7 * from);
                }
                for (session, twin) in (0..).map(SessionIdx).zip(&twin) {
                    for number in kept.below(Seq(next[session.0 as usize])) {
                        let wanted = twin.get(&number).map_or((NOTHING, 0), |id| (code(100), *id));
                        let context = format!("seed {seed} step {step} number {number}");
                        assert_eq!(kept.get(session, Seq(number)), wanted, "{context}");
                    }
                }
            }
        }
    }
}
