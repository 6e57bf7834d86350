//! Records of a session's line and of time: bind, gap, down, finishing, final, Tick.
//!
//! A Tick, and a FinishedSending, may have far more to say than an outbox holds. What is left of
//! them is a few numbers ([`Unfinished`]) and what the engine is in the middle of; the rest is
//! found again where it stands.

use super::Machine;
use crate::engine::apply::{Engine, Progress};
use crate::engine::outbox::Outbox;
use crate::limits::{CANCELS_A_TICK_MAX, TIMERS_A_TICK_MAX};
use crate::session::logical::{CodTerms, Due, Stage};
use crate::vocabulary::event::Event;
use crate::vocabulary::fix::RestatementReason;
use crate::vocabulary::record::DownCause;
use crate::vocabulary::units::{Nanos, Seq, SessionIdx};

/// Slack between the time at which a key may be forgotten and the Tick that sees to it: forgetting
/// in batches, not with a record a key.
const KEY_TICK_SLACK: Nanos = Nanos::SECOND;
/// Expired keys that one Tick looks at, at most.
const KEYS_A_TICK_MAX: u32 = 1024;

/// What is left of a record beside the engine's part.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Unfinished {
    /// Timers that the Tick may still fire.
    timers: u32,
    /// Orders that it may still cancel before it fires no further one.
    cancels: u32,
    /// The session that is being finished.
    finishing: Option<SessionIdx>,
}

impl Machine {
    /// When the next timer is due: a Tick is journaled at or after it.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        let keys = self.engine.dedup.next_expiry().map(|expiry| {
            let due = expiry.saturating_add(KEY_TICK_SLACK);
            self.time.saturating_add(due.since(self.active))
        });
        keys.into_iter().chain(self.sessions.next_deadline()).min()
    }

    /// Whether the last record has more to say.
    pub(super) fn is_unfinished(&self) -> bool {
        self.engine.is_unfinished() || self.unfinished != Unfinished::default()
    }

    pub(super) fn on_bind(
        &mut self,
        session: SessionIdx,
        timestamp: Nanos,
        next_seq_no: Option<Seq>,
        cod: CodTerms,
        out: &mut Outbox,
    ) -> bool {
        let Some(before) = self.sessions.get(session).copied() else { return false };
        let is_in_reach = next_seq_no.is_none_or(|next| self.sessions.is_in_reach(session, next));
        let is_over = before.is_bound || before.stage == Stage::Final;
        if is_over || timestamp <= before.logon_time || !is_in_reach {
            return false;
        }
        let gap = self.sessions.on_bind(session, next_seq_no, timestamp, cod);
        let last_in = Seq(before.expected_in.0 - 1);
        out.push(Event::Bound { session, next_out: before.next_out, last_in });
        if let Some(gap) = gap {
            self.with_reporter(out, |_, rep| rep.not_applied(session, gap));
        }
        true
    }

    pub(super) fn on_gap(
        &mut self,
        session: SessionIdx,
        next_seq_no: Seq,
        out: &mut Outbox,
    ) -> bool {
        let is_open = self.sessions.get(session).is_some_and(|s| s.stage == Stage::Open);
        if !is_open || !self.sessions.is_in_reach(session, next_seq_no) {
            return false;
        }
        let Some(gap) = self.sessions.on_next(session, next_seq_no) else { return false };
        self.with_reporter(out, |_, rep| rep.not_applied(session, gap));
        true
    }

    pub(super) fn on_down(
        &mut self,
        session: SessionIdx,
        cause: DownCause,
        out: &mut Outbox,
    ) -> bool {
        let is_possible = self.sessions.get(session).is_some_and(|s| s.is_bound);
        if is_possible {
            self.sessions.on_down(session, cause, self.time);
            out.push(Event::Down { session });
        }
        is_possible
    }

    /// The client sends nothing more: what it skipped is told, its orders are cancelled, and then
    /// there is a last number ([`Self::go_on`]).
    pub(super) fn on_finishing(
        &mut self,
        session: SessionIdx,
        next_seq_no: Seq,
        out: &mut Outbox,
    ) -> bool {
        let Some(before) = self.sessions.get(session).copied() else { return false };
        let is_possible = before.is_bound
            && before.stage == Stage::Open
            && next_seq_no >= before.expected_in
            && self.sessions.is_in_reach(session, next_seq_no);
        if !is_possible {
            return false;
        }
        if let Some(gap) = self.sessions.on_next(session, next_seq_no) {
            self.with_reporter(out, |_, rep| rep.not_applied(session, gap));
        }
        self.sessions.on_finishing(session);
        self.engine.begin_sweep(session, RestatementReason::CancelOnLogout);
        self.unfinished.finishing = Some(session);
        true
    }

    pub(super) fn on_final(&mut self, session: SessionIdx) -> bool {
        let before = self.sessions.get(session);
        let is_possible = before.is_some_and(|s| s.is_bound && s.stage == Stage::Finishing);
        if is_possible {
            assert!(
                self.engine.session_order_count(session) == 0,
                "a session that is finished has no open order"
            );
            self.sessions.on_final(session);
        }
        is_possible
    }

    pub(super) fn on_tick(&mut self, out: &mut Outbox) -> Progress {
        let mut touched = 0;
        while touched < KEYS_A_TICK_MAX {
            match self.engine.expire(self.active) {
                0 => break,
                more => touched += more,
            }
        }
        self.unfinished.timers = TIMERS_A_TICK_MAX;
        self.unfinished.cancels = CANCELS_A_TICK_MAX;
        self.go_on(out)
    }

    /// Goes on with the record until it is done or the outbox is full: the engine's part first,
    /// then the timers that have come.
    pub(super) fn go_on(&mut self, out: &mut Outbox) -> Progress {
        loop {
            let progress = self.with_reporter(out, Engine::resume);
            if progress == Progress::More || !out.has_room_for_step() {
                return Progress::More;
            }
            if let Some(session) = self.unfinished.finishing.take() {
                let next_out = self.sessions.get(session).map_or(1, |s| s.next_out.0);
                out.push(Event::Finishing { session, last_out: Seq(next_out - 1) });
            }
            if self.unfinished.timers == 0 || self.unfinished.cancels == 0 {
                break;
            }
            let Some(due) = self.sessions.take_due(self.time) else { break };
            self.unfinished.timers -= 1;
            match due {
                Due::Cancel(session, reason) => {
                    let count = self.engine.session_order_count(session);
                    self.unfinished.cancels = self.unfinished.cancels.saturating_sub(count);
                    self.engine.begin_sweep(session, reason);
                }
                Due::Forget(session) if self.engine.session_order_count(session) > 0 => {
                    self.sessions.begin_unused(session);
                }
                Due::Forget(session) => {
                    self.sessions.forget(session);
                    out.push(Event::Forgotten { session });
                }
            }
        }
        self.unfinished = Unfinished::default();
        Progress::Done
    }
}
