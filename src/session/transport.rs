//! The state table of one connection: a node's own half of a session, never journaled.
//!
//! ```text
//! Unnegotiated --Negotiate--> Opening --committed--> Negotiated
//!      |                                                 |
//!      +--------------------Establish--------------------+--> Binding --committed--> Established
//!
//! Established --FinishedReceiving of the client--> Finished
//!
//! any --refusal, breach, lapse, Terminate--> Ending --EOF or 1 s--> Closed
//! ```
//!
//! What a session is allowed is the machine's to say; this file knows what a *line* may carry in
//! each state, and every input without a row ends it with Terminate(UnspecifiedError) (ruling F15).
//! Inputs come with `now`; the answers for the peer go into [`Outgoing`], and what the shell must
//! do is an [`Act`]. While a record waits for its commit the peer's frames wait in the buffer.
//!
//! The usual frame, a fresh message of an established session, takes one state test, one gate test
//! and one admission.

mod answers;
mod unestablished;

use super::act::{Act, Down, Dropped, How};
use super::bindings::{Bindings, ConnectionIdx};
use super::breach::Breach;
use super::established::Established;
use super::liveness::Pulse;
use super::logical::{CodTerms, Sessions};
use super::node_view::NodeView;
use super::outgoing::Outgoing;
use crate::limits::{FRAME_BYTES_MAX, FRAME_BYTES_MAX_LOGON, LOGON_DEADLINE, TERMINATE_LINGER};
use crate::vocabulary::fix::{ReportLevel, TerminationCode};
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::record::DownCause;
use crate::vocabulary::units::{Nanos, Seq, SessionId, SessionIdx};
use crate::wire::decode::{Inbound, decode_inbound};
use crate::wire::frame::{Frame, FrameError};

/// One connection.
///
/// Invariants: the position of an established transport is at most its session's expected number; a
/// transport in `Binding` or `Established` holds its session's binding until it ends or is
/// displaced.
#[derive(Debug)]
pub struct Transport {
    connection: ConnectionIdx,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing came yet.
    Unnegotiated { deadline: Nanos },
    /// A SessionOpen waits for its commit.
    Opening(Pending),
    /// The session exists; it may be established on this transport.
    Negotiated { id: SessionId, deadline: Nanos },
    /// A SessionBind waits for its commit.
    Binding(Pending, Terms),
    /// Messages are taken.
    Established(Established),
    /// The session is final; the client's Terminate is awaited.
    Finished { id: SessionId, deadline: Nanos },
    /// The last message is queued; whatever comes is dropped.
    Ending { until: Nanos },
    /// The socket is to be closed, or is.
    Closed,
}

/// A logon whose record is not released yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    session: SessionIdx,
    id: SessionId,
    timestamp: Nanos,
}

/// What an Establish asked for.
#[derive(Clone, Copy, Debug)]
struct Terms {
    keepalive_ms: u32,
    cod: CodTerms,
    report_level: ReportLevel,
    position: Seq,
}

impl Transport {
    /// A connection accepted at `now`.
    #[must_use]
    pub const fn new(connection: ConnectionIdx, now: Nanos) -> Self {
        let deadline = now.saturating_add(LOGON_DEADLINE);
        Self { connection, state: State::Unnegotiated { deadline } }
    }

    /// A whole frame came. `wall` is the wall clock, for the timestamps of logons alone.
    #[inline]
    pub fn on_frame(
        &mut self,
        now: Nanos,
        wall: Nanos,
        frame: &Frame<'_>,
        node: &mut NodeView<'_>,
    ) -> Act {
        let State::Established(established) = &mut self.state else {
            return self.on_frame_otherwise(now, wall, frame, node);
        };
        let done = match decode_inbound(frame) {
            Ok(Inbound::Application(message)) => established.on_message(&message, node),
            Ok(Inbound::Session(message)) => established.on_session_message(&message, node),
            Err(error) => Err(Breach::of(TerminationCode::UnspecifiedError, &error)),
        };
        match done {
            Ok(Some(act @ Act::AppendFinal { session })) => {
                let (id, deadline) = (established.id, now.saturating_add(LOGON_DEADLINE));
                node.bindings.release(session, self.connection);
                self.transition(State::Finished { id, deadline });
                act
            }
            Ok(Some(act)) => act,
            Ok(None) => self.on_terminate(now, node),
            Err(breach) => self.terminate(now, &breach, node.out, node.bindings),
        }
    }

    /// What came is no frame.
    pub fn on_frame_error(
        &mut self,
        now: Nanos,
        error: FrameError,
        out: &mut Outgoing,
        bindings: &mut Bindings,
    ) -> Act {
        if matches!(self.state, State::Ending { .. } | State::Closed) {
            return Act::Drop(Dropped::Ended);
        }
        let breach = Breach::of(TerminationCode::UnspecifiedError, &error);
        self.terminate(now, &breach, out, bindings)
    }

    /// At least one octet came.
    pub fn on_received(&mut self, now: Nanos, bindings: &mut Bindings) {
        if let State::Established(established) = &mut self.state {
            established.liveness.on_received(now);
            bindings.on_received(established.session, self.connection, now);
        }
    }

    /// At least one octet was handed to the socket.
    pub const fn on_sent(&mut self, now: Nanos) {
        if let State::Established(established) = &mut self.state {
            established.liveness.on_sent(now);
        }
    }

    /// Asks what is due. Early calls are harmless.
    pub fn on_timer(&mut self, now: Nanos, out: &mut Outgoing, bindings: &mut Bindings) -> Act {
        match &mut self.state {
            State::Unnegotiated { deadline } | State::Negotiated { deadline, .. } => {
                if now < *deadline {
                    return Act::Nothing;
                }
                self.terminate(now, &Breach::unspecified("no logon within 5 s"), out, bindings)
            }
            State::Finished { deadline, .. } => {
                if now < *deadline {
                    return Act::Nothing;
                }
                let late = Breach::unspecified("no Terminate within 5 s of the session's end");
                self.terminate(now, &late, out, bindings)
            }
            State::Established(established) => match established.liveness.on_timer(now) {
                Pulse::Nothing => Act::Nothing,
                Pulse::Probe => {
                    // What waits already will be the sign; a peer that does not read gets no more.
                    let next_seq_no = out.next_live();
                    if !out.has_unsent()
                        && !out.push_control(&SessionMessage::Sequence { next_seq_no })
                    {
                        return self.on_line_lost(bindings);
                    }
                    Act::Nothing
                }
                Pulse::Lapsed => self.on_displaced(now, out, bindings),
            },
            State::Ending { until } => {
                if now < *until {
                    return Act::Nothing;
                }
                self.on_line_lost(bindings)
            }
            State::Opening(_) | State::Binding(..) | State::Closed => Act::Nothing,
        }
    }

    /// The peer was silent for too long, or another transport takes its session over (ruling F33).
    pub fn on_displaced(&mut self, now: Nanos, out: &mut Outgoing, bindings: &mut Bindings) -> Act {
        self.on_stop(now, TerminationCode::KeepaliveLapsed, "nothing was heard", out, bindings)
    }

    /// This node ends the transport: shutdown, lost leadership, throttle.
    pub fn on_stop(
        &mut self,
        now: Nanos,
        code: TerminationCode,
        reason: &str,
        out: &mut Outgoing,
        bindings: &mut Bindings,
    ) -> Act {
        match self.state {
            State::Ending { .. } | State::Closed => Act::Nothing,
            State::Unnegotiated { .. }
            | State::Opening(_)
            | State::Negotiated { .. }
            | State::Binding(..)
            | State::Established(_)
            | State::Finished { .. } => {
                self.terminate(now, &Breach::of(code, &reason), out, bindings)
            }
        }
    }

    /// The peer sends nothing more (EOF).
    pub fn on_peer_closed(&mut self, bindings: &mut Bindings) -> Act {
        match self.state {
            State::Ending { .. } => Act::End { down: None, how: How::Flush },
            State::Unnegotiated { .. }
            | State::Opening(_)
            | State::Negotiated { .. }
            | State::Binding(..)
            | State::Established(_)
            | State::Finished { .. }
            | State::Closed => self.on_line_lost(bindings),
        }
    }

    /// The line is dead or given up: reset, failed send, a peer too far behind.
    pub fn on_line_lost(&mut self, bindings: &mut Bindings) -> Act {
        let down = self.take_down(DownCause::Disconnect, bindings);
        self.state = State::Closed;
        Act::End { down, how: How::Now }
    }

    /// When [`Self::on_timer`] must be called at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        match &self.state {
            State::Unnegotiated { deadline } | State::Negotiated { deadline, .. } => {
                Some(*deadline)
            }
            State::Finished { deadline, .. } => Some(*deadline),
            State::Established(established) => Some(established.liveness.next_deadline()),
            State::Ending { until } => Some(*until),
            State::Opening(_) | State::Binding(..) | State::Closed => None,
        }
    }

    /// Octets of the longest frame that is taken now.
    #[must_use]
    pub const fn frame_bytes_max(&self) -> usize {
        match self.state {
            State::Established(_) | State::Finished { .. } => FRAME_BYTES_MAX,
            State::Unnegotiated { .. }
            | State::Opening(_)
            | State::Negotiated { .. }
            | State::Binding(..)
            | State::Ending { .. }
            | State::Closed => FRAME_BYTES_MAX_LOGON,
        }
    }

    /// The session of an established transport.
    #[must_use]
    pub const fn session(&self) -> Option<SessionIdx> {
        match &self.state {
            State::Established(established) => Some(established.session),
            State::Unnegotiated { .. }
            | State::Opening(_)
            | State::Negotiated { .. }
            | State::Binding(..)
            | State::Finished { .. }
            | State::Ending { .. }
            | State::Closed => None,
        }
    }

    /// Whether the connection has not come to a session yet: such connections are bounded, and the
    /// oldest gives way. One that is ending, or has finished its session, is not among them: its
    /// last message must reach the peer.
    #[must_use]
    pub const fn awaits_logon(&self) -> bool {
        match self.state {
            State::Unnegotiated { .. }
            | State::Opening(_)
            | State::Negotiated { .. }
            | State::Binding(..) => true,
            State::Established(_)
            | State::Finished { .. }
            | State::Ending { .. }
            | State::Closed => false,
        }
    }

    /// Whether what comes is read only to be discarded.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending { .. } | State::Closed)
    }

    /// Asserts what holds between two inputs.
    pub fn assert_invariants(&self, sessions: &Sessions, bindings: &Bindings) {
        match &self.state {
            State::Established(established) => {
                let expected = sessions.expected_admitted(established.session);
                assert!(established.position <= expected, "a position runs ahead of its session");
                let bound = bindings.connection_of(established.session);
                assert!(bound == Some(self.connection), "an established transport is bound");
            }
            State::Unnegotiated { .. }
            | State::Opening(_)
            | State::Negotiated { .. }
            | State::Binding(..)
            | State::Finished { .. }
            | State::Ending { .. }
            | State::Closed => {}
        }
    }

    /// The peer's Terminate is answered with Finished, whatever it said (ruling F25).
    fn on_terminate(&mut self, now: Nanos, node: &mut NodeView<'_>) -> Act {
        let code = TerminationCode::Finished;
        let finished = Breach::of(code, &"");
        self.end(now, &finished, DownCause::Terminate, node.out, node.bindings)
    }

    fn terminate(
        &mut self,
        now: Nanos,
        breach: &Breach,
        out: &mut Outgoing,
        bindings: &mut Bindings,
    ) -> Act {
        self.end(now, breach, DownCause::Disconnect, out, bindings)
    }

    /// Queues a Terminate and ends the transport.
    fn end(
        &mut self,
        now: Nanos,
        breach: &Breach,
        cause: DownCause,
        out: &mut Outgoing,
        bindings: &mut Bindings,
    ) -> Act {
        out.push_last(&SessionMessage::Terminate {
            session_id: self.session_id(),
            code: breach.code.wire(),
            reason: breach.reason.as_bytes(),
        });
        let down = self.take_down(cause, bindings);
        let until = now.max(out.held_until()).saturating_add(TERMINATE_LINGER);
        self.transition(State::Ending { until });
        Act::End { down, how: How::Linger }
    }

    /// Gives up the session, if there is one.
    fn take_down(&mut self, cause: DownCause, bindings: &mut Bindings) -> Option<Down> {
        let session = match &self.state {
            State::Binding(pending, _) => pending.session,
            State::Established(established) => established.session,
            State::Unnegotiated { .. }
            | State::Opening(_)
            | State::Negotiated { .. }
            | State::Finished { .. }
            | State::Ending { .. }
            | State::Closed => return None,
        };
        bindings.release(session, self.connection);
        Some(Down { session, cause })
    }

    fn session_id(&self) -> SessionId {
        match &self.state {
            State::Binding(pending, _) => pending.id,
            State::Established(established) => established.id,
            State::Finished { id, .. } => *id,
            State::Unnegotiated { .. }
            | State::Opening(_)
            | State::Negotiated { .. }
            | State::Ending { .. }
            | State::Closed => SessionId::NONE,
        }
    }

    /// The only writer of the state but for [`Self::on_line_lost`], which may come at any time.
    fn transition(&mut self, to: State) {
        use State::{
            Binding, Closed, Ending, Established, Finished, Negotiated, Opening, Unnegotiated,
        };
        let is_known = match (&self.state, &to) {
            (Unnegotiated { .. }, Opening(_) | Binding(..))
            | (Opening(_), Negotiated { .. })
            | (Negotiated { .. }, Binding(..))
            | (Binding(..), Established(_))
            | (Established(_), Finished { .. }) => true,
            (from, Ending { .. }) => !matches!(from, Ending { .. } | Closed),
            (
                _,
                Unnegotiated { .. }
                | Opening(_)
                | Negotiated { .. }
                | Binding(..)
                | Established(_)
                | Finished { .. }
                | Closed,
            ) => false,
        };
        assert!(is_known, "a transport takes a step that is not in its table");
        self.state = to;
    }
}

#[cfg(test)]
mod tests;
