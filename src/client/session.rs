//! The customer's half of a FIXP session: logon, numbers, keep-alive, recovery by number.
//!
//! It has no clock, socket or thread. The caller hands in what happened (`on_*`, with `now`), sends
//! the bytes appended to its own buffer, and acts on at most one [`ClientEvent`] an input. Every
//! report reaches the application exactly once and in order, however often the line breaks:
//!
//! ```text
//! Disconnected -> Negotiating -> Establishing -> Recovering -> Live -> Terminating -> Closed
//!       ^            (first time only)    (missing reports, asked for by number)        |
//!       '---------------------- on_disconnected, unless Stopped ------------------------'
//! ```
//!
//! What it does not know is which requests are unanswered: that table is the caller's. After a
//! reconnect, once live, requests up to `last_incoming` have had their outcome in the replay; those
//! above never happened and are sent again under new numbers, with the same ClOrdID and
//! PossResend = Y. Numbers are never used twice.
//!
//! `Stopped` is for ever: the server offers fewer reports than were seen, has forgotten the session
//! or says that history was lost. A program that logged on anew there and sent its orders again
//! could execute them twice, so a person decides (ruling F21).

mod liveness;
mod logon;
mod recovery;
#[cfg(test)]
mod tests;

use super::event::{ClientEvent, ClientIdentity, Party, SessionOptions, StopCause};
use super::inbound::{Arrival, Breach, Denied, Inbound};
use crate::limits::FRAME_BYTES_MAX_LOGON;
use crate::vocabulary::event::{Report, ReportBody};
use crate::vocabulary::fix::TerminationCode;
use crate::vocabulary::message::{ClientMessage, SessionMessage};
use crate::vocabulary::units::{Nanos, Seq, SessionId, Text};
use crate::wire::decode::{Outbound, decode_outbound};
use crate::wire::encode::{CLIENT_BYTES_MAX, encode_client, encode_session};
use crate::wire::frame::Frame;

/// Most bytes that one input appends to the caller's buffer: the logon is the longest.
pub const SEND_BYTES_MAX: usize = FRAME_BYTES_MAX_LOGON;
/// A logon that is not answered within this time is given up.
pub const LOGON_ANSWER_MAX: Nanos = Nanos(5 * Nanos::SECOND.0);
/// No number of a session gets near this in its life; a peer that names one is in error.
const SEQ_MAX: Seq = Seq(1 << 62);
/// A Terminate that is not answered within this time counts as answered.
pub const TERMINATE_ANSWER_MAX: Nanos = Nanos::SECOND;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Disconnected,
    Negotiating,
    Establishing,
    /// Bound; reports are missing or wanted again.
    Recovering,
    Live,
    /// Terminate was sent.
    Terminating,
    /// Terminate came, or a logon was refused.
    Closed,
    Stopped,
}

/// The customer's half of a session. Invariants: `next_out` and the inbound position never go back;
/// a timestamp is never used twice.
#[derive(Debug)]
pub struct ClientSession {
    identity: ClientIdentity,
    options: SessionOptions,
    state: State,
    /// Whether the server is known to have the session.
    is_negotiated: bool,
    /// Whether an EstablishmentAck ever came.
    was_established: bool,
    next_out: Seq,
    inbound: Inbound,
    /// Timestamp of the last signed or answered request.
    stamp: Nanos,
    /// Wall clock minus `now` at the last connect, as (now, wall).
    wall_base: (Nanos, Nanos),
    /// When the state was entered.
    since: Nanos,
    last_sent: Nanos,
    last_received: Nanos,
    /// Whether the silence was already answered with a probe.
    is_probed: bool,
    /// What the server announced.
    server_interval: Nanos,
}

impl ClientSession {
    /// A session that has not logged on yet.
    #[must_use]
    pub const fn new(identity: ClientIdentity, options: SessionOptions) -> Self {
        Self {
            identity,
            options,
            state: State::Disconnected,
            is_negotiated: false,
            was_established: false,
            next_out: Seq::FIRST,
            inbound: Inbound::new(Seq::FIRST),
            stamp: Nanos(0),
            wall_base: (Nanos(0), Nanos(0)),
            since: Nanos(0),
            last_sent: Nanos(0),
            last_received: Nanos(0),
            is_probed: false,
            server_interval: Nanos::SECOND,
        }
    }

    /// A line is there: logs on. `wall` is the wall clock, which signs the logon's time.
    pub fn on_connected(&mut self, now: Nanos, wall: Nanos, send: &mut Vec<u8>) {
        if self.state == State::Stopped {
            return;
        }
        assert!(
            self.state == State::Disconnected,
            "a session has one line at a time: {:?}",
            self.state
        );
        self.wall_base = (now, wall);
        self.last_received = now;
        if self.is_negotiated {
            self.establish(now, send);
        } else {
            self.negotiate(now, send);
        }
    }

    /// The line is gone.
    pub fn on_disconnected(&mut self, now: Nanos) {
        if self.state != State::Stopped {
            self.transition(State::Disconnected, now);
        }
    }

    /// A whole frame came.
    pub fn on_frame(
        &mut self,
        now: Nanos,
        frame: &Frame<'_>,
        send: &mut Vec<u8>,
    ) -> Option<ClientEvent> {
        if !self.is_listening() {
            return None;
        }
        self.last_received = now;
        self.is_probed = false;
        let handled = match decode_outbound(frame) {
            Ok(Outbound::Report(report)) => self.on_report(report),
            Ok(Outbound::Session(message)) => self.on_session_message(now, &message, send),
            Err(_) => Err("a frame that this protocol does not have"),
        };
        let event = match handled {
            Ok(event) => event,
            Err(breach) => return Some(self.breach(now, breach, send)),
        };
        event.or_else(|| self.recover(now, send))
    }

    /// The bytes that came are no frame: the line cannot be read any further.
    pub fn on_bad_bytes(&mut self, now: Nanos, send: &mut Vec<u8>) -> Option<ClientEvent> {
        self.is_listening().then(|| self.breach(now, "octets that are no frame", send))
    }

    /// Time passed; call at [`ClientSession::next_deadline`]. A call too many is harmless.
    pub fn on_timer(&mut self, now: Nanos, send: &mut Vec<u8>) -> Option<ClientEvent> {
        match self.state {
            State::Disconnected | State::Closed | State::Stopped => None,
            State::Negotiating | State::Establishing => (now >= self.next_deadline()?).then(|| {
                let reason = "the logon was not answered";
                self.leave(now, TerminationCode::KeepaliveLapsed, reason)
            }),
            State::Terminating => (now >= self.next_deadline()?).then(|| {
                let reason = "the Terminate was not answered";
                self.leave(now, TerminationCode::Finished, reason)
            }),
            State::Recovering | State::Live => self.on_keepalive(now, send),
        }
    }

    /// Sends a request under the next number, which is also written into `message`; `None` while
    /// the session is not live, and nothing is sent then.
    pub fn on_send(
        &mut self,
        now: Nanos,
        message: &mut ClientMessage,
        send: &mut Vec<u8>,
    ) -> Option<Seq> {
        if self.state != State::Live {
            return None;
        }
        let seq = self.next_out;
        match message {
            ClientMessage::NewOrder(m) => m.msg_seq_num = seq,
            ClientMessage::Cancel(m) => m.msg_seq_num = seq,
            ClientMessage::Status(m) => m.msg_seq_num = seq,
        }
        append(send, CLIENT_BYTES_MAX, |out| Some(encode_client(message, out)));
        self.next_out = seq.next();
        self.last_sent = now;
        Some(seq)
    }

    /// Leaves the line in order; `Terminated` follows with the server's answer. The session lives
    /// on and can be established again.
    pub fn on_finish(&mut self, now: Nanos, send: &mut Vec<u8>) {
        match self.state {
            State::Recovering | State::Live => {
                self.send_terminate(TerminationCode::Finished, "", send);
                self.transition(State::Terminating, now);
            }
            State::Negotiating | State::Establishing => self.transition(State::Closed, now),
            State::Disconnected | State::Terminating | State::Closed | State::Stopped => {}
        }
    }

    /// When [`ClientSession::on_timer`] is to be called; `None` without a line.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        match self.state {
            State::Disconnected | State::Closed | State::Stopped => None,
            State::Negotiating | State::Establishing => {
                Some(self.since.saturating_add(LOGON_ANSWER_MAX))
            }
            State::Terminating => Some(self.since.saturating_add(TERMINATE_ANSWER_MAX)),
            State::Recovering | State::Live => Some(self.heartbeat_at().min(self.silence_at())),
        }
    }

    /// Whether requests can be sent.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Whether the session is over for ever.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// The number of the next request.
    #[must_use]
    pub const fn next_out(&self) -> Seq {
        self.next_out
    }

    /// The number of the next report.
    #[must_use]
    pub const fn next_in(&self) -> Seq {
        self.inbound.expected()
    }

    /// The session's id.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        self.identity.session_id
    }

    fn is_listening(&self) -> bool {
        match self.state {
            State::Negotiating
            | State::Establishing
            | State::Recovering
            | State::Live
            | State::Terminating => true,
            State::Disconnected | State::Closed | State::Stopped => false,
        }
    }

    fn is_bound(&self) -> bool {
        matches!(self.state, State::Recovering | State::Live | State::Terminating)
    }

    /// The only writer of the state.
    fn transition(&mut self, to: State, now: Nanos) {
        assert!(self.state != State::Stopped, "a stopped session went on to {to:?}");
        self.state = to;
        self.since = now;
    }

    fn on_report(&mut self, mut report: Report) -> Result<Option<ClientEvent>, Breach> {
        if !self.is_bound() {
            return Err("a report before the session is established");
        }
        let explicit = match report.body {
            ReportBody::NotApplied { .. } => None,
            ReportBody::New(_)
            | ReportBody::Canceled(_)
            | ReportBody::Trade(_)
            | ReportBody::Reject(_)
            | ReportBody::Status(_)
            | ReportBody::CancelReject(_)
            | ReportBody::BusinessReject(_) => Some(report.msg_seq_num),
        };
        Ok(match self.inbound.on_message(explicit)? {
            Arrival::Fresh(seq) => {
                report.msg_seq_num = seq;
                Some(ClientEvent::Report(report))
            }
            Arrival::Seen | Arrival::Ahead => None,
        })
    }

    fn on_session_message(
        &mut self,
        now: Nanos,
        message: &SessionMessage<'_>,
        send: &mut Vec<u8>,
    ) -> Result<Option<ClientEvent>, Breach> {
        if !self.is_ours(message) {
            return Err("a message of another session, or with an impossible number");
        }
        let is_bound = self.is_bound();
        let bound = |ok: Result<(), Breach>| {
            if is_bound { ok } else { Err("out of turn") }
        };
        match *message {
            SessionMessage::NegotiationResponse { request_timestamp, .. }
                if self.state == State::Negotiating && request_timestamp == self.stamp =>
            {
                self.is_negotiated = true;
                self.establish(now, send);
                Ok(None)
            }
            SessionMessage::NegotiationReject { code, reason, .. }
                if self.state == State::Negotiating =>
            {
                Ok(Some(self.on_negotiation_reject(now, code, reason)))
            }
            SessionMessage::EstablishmentAck {
                request_timestamp,
                keepalive_interval,
                next_seq_no,
                last_incoming_seq_no,
                ..
            } if self.state == State::Establishing && request_timestamp == self.stamp => {
                self.server_interval = Nanos::from_millis(keepalive_interval);
                Ok(Some(self.on_ack(now, next_seq_no, last_incoming_seq_no, send)))
            }
            SessionMessage::EstablishmentReject { code, reason, .. }
                if self.state == State::Establishing =>
            {
                Ok(Some(self.on_establishment_reject(now, code, reason)))
            }
            SessionMessage::Sequence { next_seq_no } => {
                bound(self.inbound.on_sequence(next_seq_no)).map(|()| None)
            }
            SessionMessage::Retransmission { request_timestamp, next_seq_no, count, .. } => {
                let inbound = &mut self.inbound;
                bound(inbound.on_retransmission(request_timestamp, next_seq_no, count))
                    .map(|()| None)
            }
            SessionMessage::RetransmitReject { request_timestamp, .. } if is_bound => match self
                .inbound
                .on_denied(request_timestamp)?
            {
                Denied::Overlap => Ok(None),
                Denied::Missing(from) => Ok(Some(self.stop(now, StopCause::ReportsGone { from }))),
            },
            SessionMessage::Terminate { code, reason, .. } => {
                Ok(Some(self.on_terminate(now, code, reason, send)))
            }
            SessionMessage::NotAccepting { from_seq_no, cause } if is_bound => {
                Ok(Some(ClientEvent::NotAccepting { from_seq_no, cause }))
            }
            SessionMessage::ReplicationStatus { .. } if is_bound => Ok(None),
            SessionMessage::Negotiate { .. }
            | SessionMessage::NegotiationResponse { .. }
            | SessionMessage::NegotiationReject { .. }
            | SessionMessage::Establish { .. }
            | SessionMessage::EstablishmentAck { .. }
            | SessionMessage::EstablishmentReject { .. }
            | SessionMessage::RetransmitRequest { .. }
            | SessionMessage::RetransmitReject { .. }
            | SessionMessage::FinishedSending { .. }
            | SessionMessage::FinishedReceiving { .. }
            | SessionMessage::NotAccepting { .. }
            | SessionMessage::ReplicationStatus { .. } => Err("a session message out of turn"),
        }
    }

    /// Whether a message names this session and only numbers that can be counted on from.
    fn is_ours(&self, message: &SessionMessage<'_>) -> bool {
        let own = self.identity.session_id;
        match *message {
            SessionMessage::Negotiate { session_id, .. }
            | SessionMessage::NegotiationResponse { session_id, .. }
            | SessionMessage::NegotiationReject { session_id, .. }
            | SessionMessage::Establish { session_id, .. }
            | SessionMessage::EstablishmentReject { session_id, .. }
            | SessionMessage::RetransmitRequest { session_id, .. }
            | SessionMessage::RetransmitReject { session_id, .. }
            | SessionMessage::FinishedReceiving { session_id } => session_id == own,
            SessionMessage::FinishedSending { session_id, last_seq_no } => {
                session_id == own && last_seq_no <= SEQ_MAX
            }
            SessionMessage::EstablishmentAck {
                session_id,
                next_seq_no,
                last_incoming_seq_no,
                ..
            } => session_id == own && next_seq_no.max(last_incoming_seq_no) <= SEQ_MAX,
            SessionMessage::Retransmission { session_id, next_seq_no, .. } => {
                session_id == own && next_seq_no <= SEQ_MAX
            }
            SessionMessage::Terminate { session_id, .. } => {
                session_id == own || session_id == SessionId::NONE
            }
            SessionMessage::Sequence { next_seq_no } => next_seq_no <= SEQ_MAX,
            SessionMessage::NotAccepting { .. } | SessionMessage::ReplicationStatus { .. } => true,
        }
    }

    fn on_terminate(
        &mut self,
        now: Nanos,
        code: u8,
        reason: &[u8],
        send: &mut Vec<u8>,
    ) -> ClientEvent {
        let by = if self.state == State::Terminating {
            Party::Client
        } else {
            self.send_terminate(TerminationCode::Finished, "", send);
            Party::Server
        };
        self.transition(State::Closed, now);
        ClientEvent::Terminated { by, code, reason: text(reason) }
    }

    fn send_session(&mut self, now: Nanos, message: &SessionMessage<'_>, send: &mut Vec<u8>) {
        append(send, SEND_BYTES_MAX, |out| encode_session(message, out));
        self.last_sent = now;
    }

    fn send_terminate(&self, code: TerminationCode, reason: &str, send: &mut Vec<u8>) {
        let message = SessionMessage::Terminate {
            session_id: self.identity.session_id,
            code: code.wire(),
            reason: reason.as_bytes(),
        };
        append(send, SEND_BYTES_MAX, |out| encode_session(&message, out));
    }

    fn breach(&mut self, now: Nanos, breach: Breach, send: &mut Vec<u8>) -> ClientEvent {
        self.send_terminate(TerminationCode::UnspecifiedError, breach, send);
        self.leave(now, TerminationCode::UnspecifiedError, breach)
    }

    fn leave(&mut self, now: Nanos, code: TerminationCode, reason: &str) -> ClientEvent {
        self.transition(State::Closed, now);
        ClientEvent::Terminated { by: Party::Client, code: code.wire(), reason: Text::new(reason) }
    }

    fn stop(&mut self, now: Nanos, cause: StopCause) -> ClientEvent {
        self.transition(State::Stopped, now);
        ClientEvent::Stopped(cause)
    }
}

/// Appends what `encode` writes into `room` octets; every message of a client fits.
fn append(send: &mut Vec<u8>, room: usize, encode: impl FnOnce(&mut [u8]) -> Option<usize>) {
    let start = send.len();
    send.resize(start + room, 0);
    let written = send.get_mut(start..).and_then(encode);
    debug_assert!(written.is_some(), "a message of a client fits");
    send.truncate(start + written.unwrap_or(0));
}

fn text(reason: &[u8]) -> Text<64> {
    std::str::from_utf8(reason).map_or_else(|_| Text::new("(not text)"), Text::new)
}
