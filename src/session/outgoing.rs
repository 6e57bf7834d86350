//! What one connection sends next, composed from the report log.
//!
//! A connection has no buffer of reports: they stand in the log, and what the peer has not taken
//! yet is a place there. Only session messages that are made for this connection alone (answers,
//! Sequence, Terminate) have a small area of their own. [`Outgoing::fill`] copies whole frames in
//! their order into a scratch buffer that all connections share; [`Outgoing::on_sent`] then takes
//! back what the socket did not take, even in the middle of a frame, because the same plan walked
//! again gives the same frames.
//!
//! ```text
//! 1  the rest of a frame that was sent in part
//! 2  a replay batch to its end: Retransmission(count), count reports, Sequence(next live)
//! 3  session messages
//! 4  the next replay batch, after at most 256 live reports since the last one
//! 5  live reports whose record is released, and behind the last one FinishedSending
//! ```
//!
//! Nothing stands inside a batch (rulings F10, F14), so a peer may count. A replay is paced by the
//! peer and alternates with live reports, so neither starves the other. When the area is full a
//! message is refused, and the caller ends a connection that asks without reading; the last message
//! (Terminate, a refusal) has room of its own. After it nothing more is sent.

mod plan;

use self::plan::{Finish, Live, Next, Part, Phase, Plan, Replay, Source};
use crate::limits::{RETRANSMIT_BATCH_MAX, RETRANSMIT_COUNT_MAX};
use crate::session::report_log::{AtCursor, Cursor, ReportLog};
use crate::vocabulary::fix::RetransmitRejectCode;
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::{Index, Nanos, Seq, SessionId, SessionIdx};
use crate::wire::encode::encode_session;

/// Octets of session messages that wait for one connection.
pub const CONTROL_BYTES: usize = 1024;
/// Of these, kept free for the last message.
pub const LAST_BYTES: usize = 192;
const _: () = assert!(LAST_BYTES < CONTROL_BYTES);

/// Octets of the longest frame that a replay makes up: Retransmission, Sequence.
const MADE_BYTES_MAX: usize = 64;

/// One connection's out-stream.
///
/// Invariants: `plan.control_at <= control_len <= CONTROL_BYTES`, frames in between are whole;
/// `filled` is the plan after all that the last `fill` composed.
#[derive(Debug)]
pub struct Outgoing {
    control: [u8; CONTROL_BYTES],
    control_len: usize,
    plan: Plan,
    filled: Plan,
    filled_octets: usize,
    released: Index,
    hold_until: Nanos,
    /// The last message is in the area.
    is_ending: bool,
}

/// A report that is still to be sent was overwritten: the peer is too slow and must come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overwritten;

/// Why a RetransmitRequest is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetransmitRefusal {
    /// Answer RetransmitReject.
    Reject(RetransmitRejectCode),
    /// One is running: Terminate(ReRequestInProgress).
    InProgress,
}

impl Default for Outgoing {
    fn default() -> Self {
        let plan = Plan { control_at: 0, live: None, replay: None, part: None, finish: None };
        Self {
            control: [0; CONTROL_BYTES],
            control_len: 0,
            plan,
            filled: plan,
            filled_octets: 0,
            released: Index(0),
            hold_until: Nanos(0),
            is_ending: false,
        }
    }
}

impl Outgoing {
    /// Queues a session message; false when there is no room for it, or nothing more may be sent.
    #[must_use]
    pub fn push_control(&mut self, message: &SessionMessage<'_>) -> bool {
        !self.is_ending && self.push(message, CONTROL_BYTES - LAST_BYTES)
    }

    /// Queues the last message. What was queued before goes first, reports do not.
    pub fn push_last(&mut self, message: &SessionMessage<'_>) {
        if !self.is_ending {
            let is_queued = self.push(message, CONTROL_BYTES);
            debug_assert!(is_queued, "the last message has room of its own");
        }
        self.is_ending = true;
    }

    /// Nothing is sent before the next point of `grid` after `now`.
    pub fn hold(&mut self, now: Nanos, grid: Nanos) {
        let steps = now.0 / grid.0.max(1) + 1;
        self.hold_until = Nanos(steps.saturating_mul(grid.0));
    }

    /// From now on the reports of `session` are sent, `next_out` first.
    pub fn start(&mut self, log: &ReportLog, session: SessionIdx, next_out: Seq) {
        debug_assert!(self.plan.live.is_none(), "a connection carries one session");
        let cursor = log.cursor(session, next_out);
        let octets = log.octets(session) - log.octets_from(cursor);
        self.plan.live = Some(Live { cursor, octets, before_batch: 0 });
        self.filled_octets = 0;
    }

    /// No report behind `last` will come: once it is sent, FinishedSending follows (ruling F13).
    pub fn finish(&mut self, session_id: SessionId, last: Seq) {
        self.plan.finish = Some(Finish { session_id, last });
        self.filled_octets = 0;
    }

    /// Whether a FinishedSending still waits to be sent.
    #[must_use]
    pub const fn is_finishing(&self) -> bool {
        self.plan.finish.is_some()
    }

    /// Begins to replay `count` reports from `from` (ruling F14).
    pub fn try_retransmit(
        &mut self,
        log: &ReportLog,
        released: Index,
        session_id: SessionId,
        request_timestamp: Nanos,
        (from, count): (Seq, u32),
    ) -> Result<(), RetransmitRefusal> {
        use RetransmitRejectCode::{OutOfRange, RequestLimitExceeded};
        let Some(live) = self.plan.live.as_mut().filter(|_| !self.is_ending) else {
            return Err(RetransmitRefusal::Reject(OutOfRange));
        };
        if self.plan.replay.is_some() {
            return Err(RetransmitRefusal::InProgress);
        }
        if count > RETRANSMIT_COUNT_MAX {
            return Err(RetransmitRefusal::Reject(RequestLimitExceeded));
        }
        let session = live.cursor.session();
        let last = from.0.checked_add(u64::from(count).wrapping_sub(1));
        let last = last.filter(|_| count > 0 && from.0 > 0);
        let newest = last.and_then(|last| log.find(session, Seq(last)));
        let is_released = newest.is_some_and(|entry| entry.index <= released);
        if !is_released || log.find(session, from).is_none() {
            return Err(RetransmitRefusal::Reject(OutOfRange));
        }
        live.before_batch = 0;
        let cursor = log.cursor(session, from);
        let phase = Phase::Header;
        self.plan.replay =
            Some(Replay { session_id, request_timestamp, cursor, left: count, phase });
        self.filled_octets = 0;
        Ok(())
    }

    /// Copies the frames to send next into `scratch`, whole but for the rest of the first, and
    /// returns their octets. Reports of records up to `released` are sent. `scratch` is longer than
    /// any frame. What the socket took of it is told to [`Self::on_sent`] before anything else.
    pub fn fill(
        &mut self,
        now: Nanos,
        log: &ReportLog,
        released: Index,
        scratch: &mut [u8],
    ) -> Result<usize, Overwritten> {
        self.released = released;
        let mut plan = self.plan;
        let mut octets = 0;
        if now >= self.hold_until {
            let mut made = [0; MADE_BYTES_MAX];
            while let Some(next) = self.next(&plan, log, &mut made)? {
                let rest = next.frame().get(plan.sent()..).unwrap_or(&[]);
                let Some(room) = scratch.get_mut(octets..octets + rest.len()) else {
                    break;
                };
                room.copy_from_slice(rest);
                octets += rest.len();
                plan.finish(&next);
            }
        }
        self.filled = plan;
        self.filled_octets = octets;
        Ok(octets)
    }

    /// The socket took `sent` octets of what [`Self::fill`] just composed.
    pub fn on_sent(&mut self, log: &ReportLog, sent: usize) {
        assert!(sent <= self.filled_octets, "more was sent than composed");
        if sent == self.filled_octets {
            if sent > 0 {
                self.plan = self.filled;
            }
        } else {
            self.walk(log, sent);
        }
        self.filled_octets = 0;
        if self.plan.control_at == self.control_len && self.plan.part.is_none() {
            self.plan.control_at = 0;
            self.control_len = 0;
        }
    }

    /// The number that a Sequence queued now must carry: of the report after the last one sent.
    #[must_use]
    pub fn next_live(&self) -> Seq {
        let in_part = self.plan.part.is_some_and(|part| part.source == Source::Live);
        self.plan.live.map_or(Seq::FIRST, |live| {
            let number = live.cursor.number();
            if in_part { number.next() } else { number }
        })
    }

    /// Octets of reports that wait for this peer. A replay does not count.
    #[must_use]
    pub fn lag_bytes(&self, log: &ReportLog) -> u64 {
        self.plan.live.map_or(0, |live| log.octets(live.cursor.session()) - live.octets)
    }

    /// Whether anything but live reports waits: the rest of a frame, a session message, a replay.
    #[must_use]
    pub const fn has_unsent(&self) -> bool {
        self.plan.part.is_some()
            || self.plan.control_at < self.control_len
            || self.plan.replay.is_some()
    }

    /// Whether no session message waits to be sent.
    #[must_use]
    pub const fn is_control_empty(&self) -> bool {
        self.plan.control_at == self.control_len
    }

    /// Whether the last message was sent.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_ending && self.plan.part.is_none() && self.plan.control_at == self.control_len
    }

    /// Whether a [`Self::fill`] would compose something.
    #[must_use]
    pub fn wants_send(&self, now: Nanos, log: &ReportLog, released: Index) -> bool {
        let is_live = |live: Live| match log.at(&live.cursor) {
            AtCursor::Entry(entry) => entry.index <= released,
            AtCursor::End => false,
            AtCursor::Lost => true,
        };
        now >= self.hold_until
            && (self.plan.part.is_some()
                || self.plan.control_at < self.control_len
                || self.plan.replay.is_some_and(|r| !self.is_ending || r.phase != Phase::Header)
                || (!self.is_ending && self.plan.is_finish_next())
                || (!self.is_ending && self.plan.live.is_some_and(is_live)))
    }

    /// Before this point nothing is sent.
    #[must_use]
    pub const fn held_until(&self) -> Nanos {
        self.hold_until
    }

    fn push(&mut self, message: &SessionMessage<'_>, limit: usize) -> bool {
        if self.plan.control_at > 0 {
            self.control.copy_within(self.plan.control_at..self.control_len, 0);
            self.control_len -= self.plan.control_at;
            self.plan.control_at = 0;
        }
        self.filled_octets = 0;
        let room = self.control.get_mut(self.control_len..limit);
        let octets = room.and_then(|room| encode_session(message, room));
        self.control_len += octets.unwrap_or(0);
        octets.is_some()
    }

    /// Moves the plan over `sent` octets.
    fn walk(&mut self, log: &ReportLog, mut sent: usize) {
        let mut made = [0; MADE_BYTES_MAX];
        let mut plan = self.plan;
        while sent > 0 {
            // The plan gives the frames that it gave to `fill`, so there is a next one.
            let Ok(Some(next)) = self.next(&plan, log, &mut made) else {
                debug_assert!(false, "more was sent than the plan has");
                break;
            };
            let rest = next.frame().len() - plan.sent();
            if sent < rest {
                plan.part = Some(Part { source: next.source(), sent: plan.sent() + sent });
                break;
            }
            sent -= rest;
            plan.finish(&next);
        }
        self.plan = plan;
    }

    /// The frame at the front of `plan`.
    #[inline]
    fn next<'a>(
        &'a self,
        plan: &Plan,
        log: &'a ReportLog,
        made: &'a mut [u8; MADE_BYTES_MAX],
    ) -> Result<Option<Next<'a>>, Overwritten> {
        // Most of the time live reports follow each other and nothing else waits.
        let is_plain =
            plan.replay.is_none() && plan.control_at == self.control_len && plan.finish.is_none();
        match (plan.part, &plan.live) {
            (None, Some(live)) if is_plain && !self.is_ending => {
                let next = report(Source::Live, &live.cursor, log)?;
                Ok(next.filter(|next| next.is_released(self.released)))
            }
            (None, Some(_) | None) => match self.source(plan, log)? {
                Some(source) => self.frame_of(source, plan, log, made),
                None => Ok(None),
            },
            (Some(part), _) => self.frame_of(part.source, plan, log, made),
        }
    }

    /// The frame that `source` gives now.
    fn frame_of<'a>(
        &'a self,
        source: Source,
        plan: &Plan,
        log: &'a ReportLog,
        made: &'a mut [u8; MADE_BYTES_MAX],
    ) -> Result<Option<Next<'a>>, Overwritten> {
        match (source, &plan.live, &plan.replay) {
            (Source::Control, _, _) => {
                let queued = self.control.get(plan.control_at..self.control_len).unwrap_or(&[]);
                let len = queued.first_chunk().map_or(0, |l| usize::from(u16::from_le_bytes(*l)));
                Ok(queued.get(..len).map(|frame| Next::Octets(source, frame)))
            }
            (Source::Header, _, Some(replay)) => {
                let message = SessionMessage::Retransmission {
                    session_id: replay.session_id,
                    request_timestamp: replay.request_timestamp,
                    next_seq_no: replay.cursor.number(),
                    count: replay.left.min(RETRANSMIT_BATCH_MAX),
                };
                Ok(made_frame(source, &message, made))
            }
            (Source::Resume, Some(live), _) => {
                let message = SessionMessage::Sequence { next_seq_no: live.cursor.number() };
                Ok(made_frame(source, &message, made))
            }
            (Source::Finish, ..) => Ok(plan.finish.and_then(|finish| {
                let Finish { session_id, last: last_seq_no } = finish;
                let message = SessionMessage::FinishedSending { session_id, last_seq_no };
                made_frame(source, &message, made)
            })),
            (Source::Replay, _, Some(replay)) => report(source, &replay.cursor, log),
            (Source::Live, Some(live), _) => report(source, &live.cursor, log),
            (Source::Header | Source::Replay, _, None)
            | (Source::Resume | Source::Live, None, _) => {
                debug_assert!(false, "a frame comes from a source that is there");
                Ok(None)
            }
        }
    }

    /// Whose turn it is between two frames.
    fn source(&self, plan: &Plan, log: &ReportLog) -> Result<Option<Source>, Overwritten> {
        let is_between = match plan.replay.as_ref().map(|replay| replay.phase) {
            Some(Phase::Reports(_)) => return Ok(Some(Source::Replay)),
            Some(Phase::Resume) => return Ok(Some(Source::Resume)),
            Some(Phase::Header) => true,
            None => false,
        };
        if plan.control_at < self.control_len {
            return Ok(Some(Source::Control));
        }
        let Some(live) = plan.live.as_ref().filter(|_| !self.is_ending) else {
            return Ok(None);
        };
        if plan.is_finish_next() {
            return Ok(Some(Source::Finish));
        }
        if is_between && live.before_batch == 0 {
            return Ok(Some(Source::Header));
        }
        let next = report(Source::Live, &live.cursor, log)?;
        Ok(match (next.is_some_and(|next| next.is_released(self.released)), is_between) {
            (true, _) => Some(Source::Live),
            (false, true) => Some(Source::Header),
            (false, false) => None,
        })
    }
}

fn made_frame<'a>(
    source: Source,
    message: &SessionMessage<'_>,
    made: &'a mut [u8; MADE_BYTES_MAX],
) -> Option<Next<'a>> {
    let len = encode_session(message, made)?;
    made.get(..len).map(|frame| Next::Octets(source, frame))
}

#[inline]
fn report<'a>(
    source: Source,
    cursor: &Cursor,
    log: &'a ReportLog,
) -> Result<Option<Next<'a>>, Overwritten> {
    match log.at(cursor) {
        AtCursor::Entry(entry) => Ok(Some(Next::Report(source, entry))),
        AtCursor::End => Ok(None),
        AtCursor::Lost => Err(Overwritten),
    }
}

#[cfg(test)]
mod tests;
