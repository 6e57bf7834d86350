//! The replicated half of a session: numbers, owner, binding, and what was asked under each number.
//!
//! A client that lost its line does not know which of its last messages arrived. It may send them
//! again under the old numbers; then a number below the expected one must be recognised as the same
//! message and dropped, and told apart from a client that restarted its counter. So the last
//! `resend_window` numbers of a session are remembered with template and request id (ruling F01).
//!
//! Messages are admitted before they are journaled and applied after, several in one turn.
//! Admission therefore advances *provisional* values that only the shell sees; `apply` advances the
//! real ones and asserts that both agree. A replay applies without admitting; nothing but these
//! values differs.
//!
//! How a session ends (cancel on disconnect, finalization, being forgotten) is in `ends.rs`.
//!
//! Memory is fixed: `session_count_max` slots, and `session_count_max x resend_window x 9` bytes of
//! remembered numbers. A full table refuses a Negotiate (`Capacity`); no session is ever dropped
//! for a new one.

mod ends;
mod snapshot;

pub use ends::{CodTerms, Due, Stage};

use super::deadlines::Deadlines;
use super::id_map::IdMap;
use super::remembered::Remembered;
use crate::limits::SEQ_JUMP_MAX;
use crate::vocabulary::fix::RestatementReason;
use crate::vocabulary::units::{Nanos, OwnerIdx, Seq, SessionId, SessionIdx};

/// All logical sessions.
pub struct Sessions {
    slots: Box<[Slot]>,
    remembered: Remembered,
    resend_window: u64,
    /// The slot of every admitted id.
    ids: IdMap,
    /// No slot below it is free.
    free_from: usize,
    /// When a session's orders are to be cancelled, in journaled time.
    windows: Deadlines,
    /// When a session is to be forgotten, in active time.
    forgets: Deadlines,
    /// Time within epochs so far.
    active: Nanos,
    /// Journaled time that was not active so far: constant within an epoch.
    inactive: Nanos,
}

/// What admission says of a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It is the expected one, or above it: journal the message. A gap becomes a NotApplied.
    Fresh,
    /// The same message was admitted under this number: drop it silently.
    Repeat,
    /// The number was used for something else, covered by a NotApplied, or is not remembered.
    Reused,
    /// 0, the null, or too far above the expected number; nothing moved.
    TooFar,
}

/// What a Sequence of the client says of its next number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GapCheck {
    /// Nothing is missing.
    None,
    /// Numbers never arrived: journal a SessionGap.
    Gap,
    /// The null, 0, or too far above the expected number; nothing moved.
    TooFar,
}

/// Numbers that never arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The first of them.
    pub from: Seq,
    /// How many, in `[1, SEQ_JUMP_MAX]`.
    pub count: u32,
}

/// Why a Negotiate cannot be journaled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenRefusal {
    /// The id was seen before.
    DuplicateId,
    /// No free slot.
    Capacity,
}

/// A session, as everybody but this file sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The id the client chose.
    pub id: SessionId,
    /// Whose it is.
    pub owner: OwnerIdx,
    /// Next inbound number.
    pub expected_in: Seq,
    /// Next outbound number.
    pub next_out: Seq,
    /// Whether a transport is bound, as far as applied.
    pub is_bound: bool,
    /// Timestamp of the last accepted logon (ruling F05).
    pub logon_time: Nanos,
    /// What its client wants to be cancelled, as of its last Establish.
    pub cod: CodTerms,
    /// How far its end has come.
    pub stage: Stage,
    /// Why its orders will be cancelled, while a window runs.
    pub cancel: Option<RestatementReason>,
}

#[derive(Clone, Copy)]
struct Slot {
    session: Session,
    is_used: bool,
    provisional: Provisional,
}

/// What admission promised and `apply` has not reached yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Provisional {
    is_used: bool,
    is_final: bool,
    id: SessionId,
    owner: OwnerIdx,
    expected_in: Seq,
    logon_time: Nanos,
}

const FREE: Slot = Slot {
    session: Session {
        id: SessionId::NONE,
        owner: OwnerIdx(0),
        expected_in: Seq::FIRST,
        next_out: Seq::FIRST,
        is_bound: false,
        logon_time: Nanos(0),
        cod: CodTerms::NONE,
        stage: Stage::Open,
        cancel: None,
    },
    is_used: false,
    provisional: Provisional {
        is_used: false,
        is_final: false,
        id: SessionId::NONE,
        owner: OwnerIdx(0),
        expected_in: Seq::FIRST,
        logon_time: Nanos(0),
    },
};

impl Sessions {
    /// Room for `session_count_max` sessions that remember `resend_window` (a power of two)
    /// numbers.
    #[must_use]
    pub fn new(session_count_max: u32, resend_window: u32) -> Self {
        Self::with_seed(session_count_max, resend_window, 0)
    }

    /// See [`Self::new`]; `seed` keys the hash of ids, which clients choose.
    #[must_use]
    pub fn with_seed(session_count_max: u32, resend_window: u32, seed: u64) -> Self {
        assert!(resend_window.is_power_of_two(), "a window is a power of two");
        let count = session_count_max as usize;
        Self {
            slots: vec![FREE; count].into(),
            remembered: Remembered::new(count, resend_window as usize),
            resend_window: u64::from(resend_window),
            ids: IdMap::new(session_count_max, seed),
            free_from: 0,
            windows: Deadlines::new(count),
            forgets: Deadlines::new(count),
            active: Nanos(0),
            inactive: Nanos(0),
        }
    }

    /// What `new` takes, in bytes.
    #[must_use]
    pub fn bytes(session_count_max: u32, resend_window: u32) -> u64 {
        u64::from(session_count_max) * size_of::<Slot>() as u64
            + Remembered::bytes(session_count_max, resend_window)
            + IdMap::bytes(session_count_max)
            + 2 * Deadlines::bytes(session_count_max)
    }

    /// Reserves a slot for a new session before its SessionOpen is journaled.
    pub fn admit_open(
        &mut self,
        id: SessionId,
        owner: OwnerIdx,
        logon_time: Nanos,
    ) -> Result<SessionIdx, OpenRefusal> {
        if self.find_admitted(id).is_some() {
            return Err(OpenRefusal::DuplicateId);
        }
        let is_free = |s: &Slot| !s.provisional.is_used && !s.is_used;
        let free = self.slots.iter().skip(self.free_from).position(is_free);
        let Some(index) = free.map(|ahead| self.free_from + ahead) else {
            self.free_from = self.slots.len();
            return Err(OpenRefusal::Capacity);
        };
        self.free_from = index + 1;
        self.slots[index].provisional = Provisional {
            is_used: true,
            is_final: false,
            id,
            owner,
            expected_in: Seq::FIRST,
            logon_time,
        };
        self.ids.insert(id, index_of(index));
        Ok(index_of(index))
    }

    /// Notes the timestamp of an Establish before its SessionBind is journaled. `next_seq_no` is
    /// the client's next number, in the range of [`Self::bind_range`].
    pub fn admit_bind(&mut self, session: SessionIdx, next_seq_no: Option<Seq>, logon_time: Nanos) {
        let (lowest, highest) = self.bind_range(session);
        let slot = &mut self.slots[session.0 as usize];
        assert!(slot.provisional.is_used, "a session is negotiated before it is established");
        assert!(logon_time > slot.provisional.logon_time, "a logon is newer than the last one");
        slot.provisional.logon_time = logon_time;
        if let Some(next) = next_seq_no {
            assert!(next >= lowest && next <= highest, "a bind is in the range that was checked");
            if next > slot.provisional.expected_in {
                let gap = slot.provisional.expected_in.0..next.0;
                slot.provisional.expected_in = next;
                self.remembered.forget(session, gap);
            }
        }
    }

    /// Judges the number of an application message, and advances when it is to be journaled.
    pub fn admit(
        &mut self,
        session: SessionIdx,
        number: Seq,
        template: u16,
        request_id: u64,
    ) -> Admission {
        let expected = self.slots[session.0 as usize].provisional.expected_in;
        if number < expected {
            let is_remembered = number.0 != 0 && number.0 + self.resend_window >= expected.0;
            let same = is_remembered && self.remembered.is(session, number, template, request_id);
            return match (number.0, same) {
                (0, _) => Admission::TooFar,
                (_, true) => Admission::Repeat,
                (_, false) => Admission::Reused,
            };
        }
        if number.0 - expected.0 > SEQ_JUMP_MAX {
            return Admission::TooFar;
        }
        self.advance_provisional(session, number);
        self.remembered.set(session, number, template, request_id);
        self.slots[session.0 as usize].provisional.expected_in = number.next();
        Admission::Fresh
    }

    /// Judges a client's Sequence: whether numbers below `next` never arrived.
    pub fn admit_gap(&mut self, session: SessionIdx, next: Seq) -> GapCheck {
        let expected = self.slots[session.0 as usize].provisional.expected_in;
        if next.0 == 0 || next.0 == u64::MAX {
            return GapCheck::TooFar;
        }
        if next <= expected {
            return GapCheck::None;
        }
        if next.0 - expected.0 > SEQ_JUMP_MAX {
            return GapCheck::TooFar;
        }
        self.advance_provisional(session, next);
        GapCheck::Gap
    }

    /// Applies a SessionOpen. False when the slot is taken, out of range, or the id is known.
    #[must_use]
    pub fn on_open(
        &mut self,
        session: SessionIdx,
        id: SessionId,
        owner: OwnerIdx,
        logon_time: Nanos,
    ) -> bool {
        // Admission may have reserved this very slot for it.
        let is_elsewhere = self.find_admitted(id).is_some_and(|known| known != session);
        let Some(slot) = self.slots.get_mut(session.0 as usize) else {
            return false;
        };
        if is_elsewhere || slot.is_used {
            return false;
        }
        if slot.provisional.is_used {
            assert!(slot.provisional.id == id, "the slot was reserved for another session");
        } else {
            slot.provisional = Provisional { is_used: true, id, owner, ..FREE.provisional };
            slot.provisional.logon_time = logon_time;
            self.ids.insert(id, session);
        }
        slot.is_used = true;
        slot.session = Session { id, owner, logon_time, ..FREE.session };
        self.begin_unused(session);
        true
    }

    /// Applies a SessionBind and returns the gap that it opens.
    pub fn on_bind(
        &mut self,
        session: SessionIdx,
        next_seq_no: Option<Seq>,
        logon_time: Nanos,
        cod: CodTerms,
    ) -> Option<Gap> {
        let slot = &mut self.slots[session.0 as usize];
        assert!(slot.is_used, "a session is negotiated before it is established");
        assert!(slot.session.stage != Stage::Final, "a final session is never established again");
        slot.session.is_bound = true;
        slot.session.logon_time = logon_time;
        slot.session.cod = cod;
        // The client is back in time, and finishes anew if it had begun to (ruling F13).
        slot.session.stage = Stage::Open;
        slot.session.cancel = None;
        self.windows.clear(session);
        self.forgets.clear(session);
        let slot = &mut self.slots[session.0 as usize];
        slot.provisional.logon_time = slot.provisional.logon_time.max(logon_time);
        next_seq_no.and_then(|next| self.on_next(session, next))
    }

    /// Applies that the client's next number is `next`: a message's, or a Sequence's. Returns the
    /// gap that it opens. `next` is never below the expected number, unless a Sequence or Establish
    /// of a client that resends says so.
    pub fn on_next(&mut self, session: SessionIdx, next: Seq) -> Option<Gap> {
        let slot = &mut self.slots[session.0 as usize];
        assert!(slot.is_used, "a session has numbers once it is negotiated");
        let expected = slot.session.expected_in;
        if next <= expected {
            return None;
        }
        slot.session.expected_in = next;
        slot.provisional.expected_in = slot.provisional.expected_in.max(next);
        // Admission forgot them before, but messages applied since may have taken their places: of
        // a gap wider than the window, admitted in the same turn.
        self.remembered.forget(session, expected.0..next.0);
        let count = u32::try_from(next.0 - expected.0).unwrap_or(u32::MAX);
        Some(Gap { from: expected, count })
    }

    /// Applies an application message and returns the gap before it. False in the second place when
    /// the number is below the expected one, which only a damaged journal can say.
    #[must_use]
    pub fn on_message(
        &mut self,
        session: SessionIdx,
        number: Seq,
        template: u16,
        request_id: u64,
    ) -> (Option<Gap>, bool) {
        if number < self.slots[session.0 as usize].session.expected_in || number.0 == u64::MAX {
            return (None, false);
        }
        let gap = self.on_next(session, number);
        let slot = &mut self.slots[session.0 as usize];
        slot.session.expected_in = number.next();
        slot.provisional.expected_in = slot.provisional.expected_in.max(number.next());
        self.remembered.set(session, number, template, request_id);
        (gap, true)
    }

    /// Takes the next outbound number of a session.
    pub fn take_out(&mut self, session: SessionIdx) -> Seq {
        let next = &mut self.slots[session.0 as usize].session.next_out;
        let taken = *next;
        *next = taken.next();
        taken
    }

    /// The session in a slot, as far as applied.
    #[must_use]
    pub fn get(&self, session: SessionIdx) -> Option<&Session> {
        self.slots.get(session.0 as usize).filter(|s| s.is_used).map(|s| &s.session)
    }

    /// Whether admission lets a number pass at all (ruling F11): neither 0 nor the null, and not
    /// too far above the next one as applied.
    #[must_use]
    pub fn is_in_reach(&self, session: SessionIdx, number: Seq) -> bool {
        let expected = self.slots[session.0 as usize].session.expected_in;
        number.0 != 0 && number.0 != u64::MAX && number.0 <= expected.0.saturating_add(SEQ_JUMP_MAX)
    }

    /// The slot of a session, admitted or applied.
    #[must_use]
    pub fn find_admitted(&self, id: SessionId) -> Option<SessionIdx> {
        self.ids.find(id, |session| self.slots[session.0 as usize].provisional.id)
    }

    /// The owner of an admitted session.
    #[must_use]
    pub fn owner_admitted(&self, session: SessionIdx) -> OwnerIdx {
        self.slots[session.0 as usize].provisional.owner
    }

    /// Timestamp of the last admitted logon; a new one must be greater.
    #[must_use]
    pub fn logon_time_admitted(&self, session: SessionIdx) -> Nanos {
        self.slots[session.0 as usize].provisional.logon_time
    }

    /// The next inbound number as admitted.
    #[must_use]
    pub fn expected_admitted(&self, session: SessionIdx) -> Seq {
        self.slots[session.0 as usize].provisional.expected_in
    }

    /// Lowest and highest NextSeqNo that an Establish may carry (ruling F01).
    #[must_use]
    pub fn bind_range(&self, session: SessionIdx) -> (Seq, Seq) {
        let expected = self.expected_admitted(session).0;
        let lowest = expected.saturating_sub(self.resend_window).max(1);
        (Seq(lowest), Seq(expected + SEQ_JUMP_MAX))
    }

    /// Slots.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Sessions in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|s| s.is_used).count()
    }

    /// Whether no session was ever opened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asserts that everything admitted was applied: true between turns.
    pub fn assert_settled(&self, session: SessionIdx) {
        let slot = &self.slots[session.0 as usize];
        assert!(slot.provisional.is_used == slot.is_used, "an admitted session was not applied");
        assert!(
            slot.provisional.expected_in == slot.session.expected_in,
            "admission and apply disagree on a session's next number"
        );
    }

    /// Moves the provisional number up to `next`; what was jumped over is remembered as nothing.
    fn advance_provisional(&mut self, session: SessionIdx, next: Seq) {
        let slot = &mut self.slots[session.0 as usize];
        assert!(slot.provisional.is_used, "numbers are admitted for a negotiated session");
        let from = slot.provisional.expected_in;
        assert!(next >= from, "a provisional number never goes back");
        slot.provisional.expected_in = next;
        self.remembered.forget(session, from.0..next.0);
    }
}

fn index_of(index: usize) -> SessionIdx {
    SessionIdx(u32::try_from(index).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::bytes::{Reader, Writer};
    use std::collections::BTreeMap;

    const S: SessionIdx = SessionIdx(0);

    fn one_session(window: u32) -> Sessions {
        let mut sessions = Sessions::new(2, window);
        let id = SessionId([1; 16]);
        assert_eq!(sessions.admit_open(id, OwnerIdx(3), Nanos(10)), Ok(S));
        assert!(sessions.on_open(S, id, OwnerIdx(3), Nanos(10)));
        sessions
    }

    /// One message a row after a run of 1..=5 (template 100, id = number): number, template, id.
    #[test]
    fn numbers_are_judged_as_ruled() {
        #[rustfmt::skip]
        let rows = [
            (6,             100, 6, Admission::Fresh),
            (5,             100, 5, Admission::Repeat),
            (5,             102, 5, Admission::Reused), // another template
            (5,             100, 6, Admission::Reused), // another request
            (2,             100, 2, Admission::Repeat), // the oldest remembered of a window of 4
            (1,             100, 1, Admission::Reused), // no longer remembered
            (0,             100, 0, Admission::TooFar),
            (u64::MAX,      100, 1, Admission::TooFar),
            (6 + SEQ_JUMP_MAX,     100, 1, Admission::Fresh),
            (6 + SEQ_JUMP_MAX + 1, 100, 1, Admission::TooFar),
        ];
        for (number, template, id, expected) in rows {
            let mut sessions = one_session(4);
            for n in 1..=5 {
                assert_eq!(sessions.admit(S, Seq(n), 100, n), Admission::Fresh);
            }
            let came = sessions.admit(S, Seq(number), template, id);
            assert_eq!(came, expected, "number {number} template {template} id {id}");
        }
    }

    #[test]
    fn a_number_inside_a_gap_is_never_a_repeat() {
        let mut sessions = one_session(8);
        assert_eq!(sessions.admit(S, Seq(1), 100, 1), Admission::Fresh);
        assert_eq!(sessions.admit(S, Seq(4), 100, 4), Admission::Fresh);
        assert_eq!(sessions.admit(S, Seq(2), 100, 2), Admission::Reused);
        assert_eq!(sessions.admit_gap(S, Seq(7)), GapCheck::Gap);
        assert_eq!(sessions.admit(S, Seq(5), 100, 5), Admission::Reused);
        assert_eq!(sessions.admit_gap(S, Seq(7)), GapCheck::None);
        assert_eq!(sessions.admit_gap(S, Seq(u64::MAX)), GapCheck::TooFar);
        assert_eq!(sessions.on_message(S, Seq(1), 100, 1), (None, true));
        let gap = Gap { from: Seq(2), count: 2 };
        assert_eq!(sessions.on_message(S, Seq(4), 100, 4), (Some(gap), true));
        assert_eq!(sessions.on_next(S, Seq(7)), Some(Gap { from: Seq(5), count: 2 }));
        sessions.assert_settled(S);
        assert_eq!(sessions.on_message(S, Seq(6), 100, 6), (None, false), "never goes back");
    }

    #[test]
    fn ids_are_unique_and_the_table_has_an_end() {
        let mut sessions = one_session(4);
        let open =
            |s: &mut Sessions, octet| s.admit_open(SessionId([octet; 16]), OwnerIdx(0), Nanos(1));
        assert_eq!(open(&mut sessions, 1), Err(OpenRefusal::DuplicateId));
        assert_eq!(open(&mut sessions, 2), Ok(SessionIdx(1)));
        assert_eq!(open(&mut sessions, 2), Err(OpenRefusal::DuplicateId), "admitted, not applied");
        assert_eq!(open(&mut sessions, 3), Err(OpenRefusal::Capacity));
    }

    #[test]
    fn an_establish_may_look_back_one_window() {
        let mut sessions = one_session(4);
        assert_eq!(sessions.bind_range(S), (Seq(1), Seq(1 + SEQ_JUMP_MAX)));
        for n in 1..=9 {
            assert_eq!(sessions.admit(S, Seq(n), 100, n), Admission::Fresh);
        }
        assert_eq!(sessions.bind_range(S), (Seq(6), Seq(10 + SEQ_JUMP_MAX)));
        sessions.admit_bind(S, Some(Seq(12)), Nanos(11));
        assert_eq!(sessions.expected_admitted(S), Seq(12));
        assert_eq!(sessions.admit(S, Seq(11), 100, 11), Admission::Reused);
    }

    /// The slow twin keeps every number for ever in a map and judges by the words of the ruling.
    #[test]
    fn random_numbers_agree_with_a_map() {
        for seed in 0..200_u64 {
            let window = 16;
            let mut sessions = one_session(window);
            let mut twin: BTreeMap<u64, Option<(u16, u64)>> = BTreeMap::new();
            let mut expected = 1_u64;
            let mut random = crate::vocabulary::random::SplitMix(seed);
            for step in 0..500 {
                let number = (expected + random.below(8)).saturating_sub(random.below(24));
                let template = if random.below(8) == 0 { 102 } else { 100 };
                let id = if random.below(8) == 0 { random.below(9) } else { number };
                if random.below(6) == 0 {
                    let came = sessions.admit_gap(S, Seq(number));
                    let wanted = match number {
                        0 => GapCheck::TooFar,
                        n if n > expected => GapCheck::Gap,
                        _ => GapCheck::None,
                    };
                    assert_eq!(came, wanted, "seed {seed} step {step}");
                    if came == GapCheck::Gap {
                        twin.extend((expected..number).map(|n| (n, None)));
                        expected = number;
                        assert!(sessions.on_next(S, Seq(number)).is_some());
                    }
                    continue;
                }
                let came = sessions.admit(S, Seq(number), template, id);
                let wanted = if number == 0 {
                    Admission::TooFar
                } else if number >= expected {
                    Admission::Fresh
                } else if number + u64::from(window) >= expected
                    && twin.get(&number) == Some(&Some((template, id)))
                {
                    Admission::Repeat
                } else {
                    Admission::Reused
                };
                assert_eq!(came, wanted, "seed {seed} step {step} number {number}");
                if came == Admission::Fresh {
                    twin.extend((expected..number).map(|n| (n, None)));
                    twin.insert(number, Some((template, id)));
                    let (gap, is_possible) = sessions.on_message(S, Seq(number), template, id);
                    assert!(is_possible);
                    assert_eq!(
                        gap.map(|g| u64::from(g.count)),
                        (number > expected).then(|| number - expected)
                    );
                    expected = number + 1;
                }
                sessions.assert_settled(S);
            }
            let mut bytes = Writer::default();
            sessions.write_snapshot(&mut bytes);
            let mut again = Sessions::new(2, window);
            let read = again.read_snapshot(&mut Reader(&bytes.0), (Nanos(1), Nanos(1)));
            assert_eq!(read, Some(()));
            let mut second = Writer::default();
            again.write_snapshot(&mut second);
            assert_eq!(bytes.0, second.0, "seed {seed}");
        }
    }
}
