//! How a session ends: cancel on disconnect (ruling F09), finalization (F13), being forgotten
//! (F37).
//!
//! ```text
//! bound --Terminate, or any other end--> unbound --window--> its orders are cancelled
//!   |                                       |
//!   |                                       +--7 days of active time, no open order--> forgotten
//!   +--FinishedSending--> finishing --FinishedReceiving--> final --1 day--> forgotten
//! ```
//!
//! Nothing here happens by itself: a deadline is only found by a Tick, and a deadline that a Tick
//! has not found yet is taken away by an Establish. Windows run in journaled time, which is what
//! the client counts too. Forgetting runs in active time, so that a wrong clock at a takeover keeps
//! an id longer, never shorter.
//!
//! Between the Tick that forgets a session and its application the shell admits input. Admission
//! therefore treats a session as forgotten as soon as it is due ([`Sessions::is_over`]): nothing is
//! journaled for a session behind the Tick that may have ended it.

use super::{FREE, GapCheck, Sessions};
use crate::limits::{COD_FAILOVER_GRACE, SESSION_FINAL_KEPT, SESSION_UNUSED_MAX};
use crate::vocabulary::fix::{CodType, RestatementReason};
use crate::vocabulary::record::DownCause;
use crate::vocabulary::units::{Nanos, Seq, SessionIdx};

/// Which ends of a transport cancel a session's orders, and how long the client has to come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodTerms {
    /// Which ends.
    pub cod_type: CodType,
    /// Milliseconds, at most `COD_WINDOW_MS_MAX`.
    pub window_ms: u32,
}

/// How far a session's end has come. The values are those of the snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stage {
    /// It trades.
    Open = 0,
    /// Its client sent FinishedSending and nothing more.
    Finishing = 1,
    /// Both sides are done; the id is never valid again until it is forgotten.
    Final = 2,
}

/// What a Tick found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// A window is over: cancel the session's orders.
    Cancel(SessionIdx, RestatementReason),
    /// Forget the session, unless it has open orders.
    Forget(SessionIdx),
}

impl CodTerms {
    /// Nothing is cancelled.
    pub const NONE: Self = Self { cod_type: CodType::DoNotCancel, window_ms: 0 };

    /// Whether an end of this kind cancels.
    #[must_use]
    pub const fn cancels_on(&self, cause: DownCause) -> bool {
        match (self.cod_type, cause) {
            (CodType::DoNotCancel, _)
            | (CodType::OnDisconnect, DownCause::Terminate)
            | (CodType::OnTerminate, DownCause::Disconnect) => false,
            (CodType::OnDisconnectOrTerminate, _)
            | (CodType::OnDisconnect, DownCause::Disconnect)
            | (CodType::OnTerminate, DownCause::Terminate) => true,
        }
    }
}

impl Stage {
    /// The stage that a snapshot holds.
    #[must_use]
    pub const fn from_stored(stored: u8) -> Option<Self> {
        match stored {
            0 => Some(Self::Open),
            1 => Some(Self::Finishing),
            2 => Some(Self::Final),
            _ => None,
        }
    }
}

impl Sessions {
    /// Notes the time of a record before it is applied; `active` is the part of it within epochs.
    pub const fn on_time(&mut self, time: Nanos, active: Nanos) {
        self.inactive = time.since(active);
        self.active = active;
    }

    /// Applies the end of a transport at `time`.
    pub fn on_down(&mut self, session: SessionIdx, cause: DownCause, time: Nanos) {
        self.end_line(session, cause, Nanos(0), time);
    }

    /// Applies an EpochStart: every bound session is down, with at least `COD_FAILOVER_GRACE` to
    /// come back. So has a client whose window ran while nobody led: it could not have used it.
    pub fn on_epoch_start(&mut self, time: Nanos) {
        let earliest = time.saturating_add(COD_FAILOVER_GRACE);
        for session in (0..self.capacity()).map(SessionIdx) {
            if self.get(session).is_some_and(|s| s.is_bound) {
                self.end_line(session, DownCause::Disconnect, COD_FAILOVER_GRACE, time);
            } else if let Some(due) = self.windows.of(session) {
                self.windows.set(session, due.max(earliest));
            }
        }
    }

    /// Applies a FinishedSending.
    pub fn on_finishing(&mut self, session: SessionIdx) {
        self.slots[session.0 as usize].session.stage = Stage::Finishing;
    }

    /// Applies a FinishedReceiving: nothing is sent or taken under this id any more.
    pub fn on_final(&mut self, session: SessionIdx) {
        let slot = &mut self.slots[session.0 as usize];
        slot.session.stage = Stage::Final;
        slot.session.is_bound = false;
        slot.provisional.is_final = true;
        self.forgets.set(session, self.active.saturating_add(SESSION_FINAL_KEPT));
    }

    /// Forgets a session: its slot is free and its id was never negotiated.
    pub fn forget(&mut self, session: SessionIdx) {
        let Self { ids, slots, .. } = self;
        let id = slots[session.0 as usize].provisional.id;
        ids.remove(id, |other| slots[other.0 as usize].provisional.id);
        self.forgets.clear(session);
        self.windows.clear(session);
        self.slots[session.0 as usize] = FREE;
        self.free_from = self.free_from.min(session.0 as usize);
    }

    /// The session is unused from now on, and not forgotten for the whole span.
    pub fn begin_unused(&mut self, session: SessionIdx) {
        self.forgets.set(session, self.active.saturating_add(SESSION_UNUSED_MAX));
    }

    /// When the first deadline of any session comes, in journaled time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        let window = self.windows.first().map(|(due, _)| due);
        let forget = self.forgets.first().map(|(due, _)| due.saturating_add(self.inactive));
        window.into_iter().chain(forget).min()
    }

    /// Takes the earliest deadline that has come at `time`: ties by kind, then by session. A
    /// session to be forgotten keeps its deadline until [`Self::forget`] or [`Self::begin_unused`].
    pub fn take_due(&mut self, time: Nanos) -> Option<Due> {
        let is_due = |(due, _): &(Nanos, SessionIdx)| *due <= time;
        let window = self.windows.first().filter(is_due);
        let forget = self.forgets.first().map(|(due, s)| (due.saturating_add(self.inactive), s));
        match (window, forget.filter(is_due)) {
            (Some((window, session)), forget) if forget.is_none_or(|f| window <= f.0) => {
                self.windows.clear(session);
                let cancel = self.slots[session.0 as usize].session.cancel.take();
                let Some(reason) = cancel else { panic!("a window runs for a reason") };
                Some(Due::Cancel(session, reason))
            }
            (_, Some((_, session))) => Some(Due::Forget(session)),
            (_, None) => None,
        }
    }

    /// Whether an admitted session takes no Establish any more at `now`: it is final, or may be
    /// forgotten before the Establish is applied.
    #[must_use]
    pub fn is_over(&self, session: SessionIdx, now: Nanos) -> bool {
        let due = self.forgets.of(session).map(|due| due.saturating_add(self.inactive));
        self.slots[session.0 as usize].provisional.is_final || due.is_some_and(|due| due <= now)
    }

    /// Judges the last number of a FinishedSending before it is journaled: none below it is
    /// missing, some are (they become a NotApplied), or it cannot be.
    pub fn admit_finishing(&mut self, session: SessionIdx, last: Seq) -> GapCheck {
        if last.0 == u64::MAX || last.next() < self.expected_admitted(session) {
            return GapCheck::TooFar;
        }
        self.admit_gap(session, last.next())
    }

    /// Notes that a SessionFinal is journaled.
    pub fn admit_final(&mut self, session: SessionIdx) {
        self.slots[session.0 as usize].provisional.is_final = true;
    }

    fn end_line(&mut self, session: SessionIdx, cause: DownCause, grace: Nanos, time: Nanos) {
        let s = &mut self.slots[session.0 as usize].session;
        s.is_bound = false;
        if s.cod.cancels_on(cause) {
            let is_leaving = cause == DownCause::Terminate || s.stage == Stage::Finishing;
            s.cancel = Some(if is_leaving {
                RestatementReason::CancelOnLogout
            } else {
                RestatementReason::CancelOnConnectionLoss
            });
            let window = Nanos::from_millis(s.cod.window_ms).max(grace);
            self.windows.set(session, time.saturating_add(window));
        }
        self.begin_unused(session);
    }
}
