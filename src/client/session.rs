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

use super::credentials::Key;
use super::inbound::{Arrival, Breach, Denied, Inbound};
use crate::limits::FRAME_BYTES_MAX_LOGON;
use crate::vocabulary::event::{Report, ReportBody};
use crate::vocabulary::fix::{
    CodType, EstablishmentRejectCode, FlowType, NegotiationRejectCode, ReportLevel, TerminationCode,
};
use crate::vocabulary::message::{ClientMessage, SessionMessage};
use crate::vocabulary::units::{Nanos, Seq, SessionId, Text};
use crate::wire::decode::{Outbound, decode_outbound};
use crate::wire::encode::{CLIENT_BYTES_MAX, encode_client, encode_session};
use crate::wire::frame::{Frame, split};

/// Most bytes that one input appends to the caller's buffer: the logon is the longest.
pub const SEND_BYTES_MAX: usize = FRAME_BYTES_MAX_LOGON;
/// A logon that is not answered within this time is given up.
pub const LOGON_ANSWER_MAX: Nanos = Nanos(5 * Nanos::SECOND.0);
/// No number of a session gets near this in its life; a peer that names one is in error.
const SEQ_MAX: Seq = Seq(1 << 62);
/// A Terminate that is not answered within this time counts as answered.
pub const TERMINATE_ANSWER_MAX: Nanos = Nanos::SECOND;

/// Who logs on.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// Sixteen random octets, never used before and never zero.
    pub session_id: SessionId,
    /// The firm's key.
    pub key: Key,
}

/// What a session asks for. Milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionOptions {
    /// In `[100, 60_000]`.
    pub keepalive_interval: u32,
    /// When the server cancels the session's orders.
    pub cod_type: CodType,
    /// Time to come back before it does, at most 60,000.
    pub cod_window: u32,
    /// Reports already seen that are asked for again after a reconnect, for a verifier to compare.
    pub overlap: u32,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            keepalive_interval: 1000,
            cod_type: CodType::DoNotCancel,
            cod_window: 0,
            overlap: 0,
        }
    }
}

/// What the application sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientEvent {
    /// The session is bound to this line.
    Established {
        /// The last request that the server applied before; 0 if none.
        last_incoming: Seq,
        /// The number of the next request.
        next_out: Seq,
        /// Whether there is nothing to recover; else [`ClientEvent::Live`] follows.
        is_live: bool,
    },
    /// Everything that was missing has been delivered; requests may be sent.
    Live,
    /// A report, each once and in order. NotApplied is one: those requests never happened.
    Report(Report),
    /// The server dropped requests from this number on; they are not sent again before a
    /// NotApplied has covered them (ruling F02).
    NotAccepting {
        /// The first number dropped.
        from_seq_no: Seq,
        /// GateCause.
        cause: u8,
    },
    /// The logon was refused; the line is closed.
    Rejected {
        /// Which message was refused, with its code.
        code: RejectCode,
        /// The server's words.
        reason: Text<64>,
        /// What to do.
        advice: Advice,
    },
    /// The session left this line; what is in the buffer is sent, then the line is closed.
    Terminated {
        /// Who ended it.
        by: Party,
        /// TerminationCode.
        code: u8,
        /// Why.
        reason: Text<64>,
    },
    /// The session is over for ever, and a person has to look.
    Stopped(StopCause),
}

/// A refused logon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RejectCode {
    /// NegotiationRejectCode.
    Negotiation(u8),
    /// EstablishmentRejectCode.
    Establishment(u8),
}

/// What to do after a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Connect again at once: the next logon takes the other message.
    ReconnectNow,
    /// Connect again after a pause, perhaps to another address.
    RetryLater,
    /// No repetition helps.
    GiveUp,
}

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    /// This end.
    Client,
    /// The other.
    Server,
}

/// Why a session is over for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopCause {
    /// The server's next number is below one that was seen.
    DataLoss {
        /// The next number by what was seen.
        expected: Seq,
        /// The next number by the server.
        offered: Seq,
    },
    /// The server says that history was lost.
    HistoryLost,
    /// The server does not know a session that was established before.
    Forgotten,
    /// Reports that were not seen cannot be had any more.
    ReportsGone {
        /// The first of them.
        from: Seq,
    },
}

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
        self.is_listening()
            .then(|| self.breach(now, "octets that are no frame", send))
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
        append(send, CLIENT_BYTES_MAX, |out| {
            Some(encode_client(message, out))
        });
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
        matches!(
            self.state,
            State::Recovering | State::Live | State::Terminating
        )
    }

    /// The only writer of the state.
    fn transition(&mut self, to: State, now: Nanos) {
        assert!(
            self.state != State::Stopped,
            "a stopped session went on to {to:?}"
        );
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
            SessionMessage::NegotiationResponse {
                request_timestamp, ..
            } if self.state == State::Negotiating && request_timestamp == self.stamp => {
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
                Ok(Some(self.on_ack(
                    now,
                    next_seq_no,
                    last_incoming_seq_no,
                    send,
                )))
            }
            SessionMessage::EstablishmentReject { code, reason, .. }
                if self.state == State::Establishing =>
            {
                Ok(Some(self.on_establishment_reject(now, code, reason)))
            }
            SessionMessage::Sequence { next_seq_no } => {
                bound(self.inbound.on_sequence(next_seq_no)).map(|()| None)
            }
            SessionMessage::Retransmission {
                request_timestamp,
                next_seq_no,
                count,
                ..
            } => {
                let inbound = &mut self.inbound;
                bound(inbound.on_retransmission(request_timestamp, next_seq_no, count))
                    .map(|()| None)
            }
            SessionMessage::RetransmitReject {
                request_timestamp, ..
            } if is_bound => match self.inbound.on_denied(request_timestamp)? {
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
            | SessionMessage::RetransmitReject { session_id, .. } => session_id == own,
            SessionMessage::EstablishmentAck {
                session_id,
                next_seq_no,
                last_incoming_seq_no,
                ..
            } => session_id == own && next_seq_no.max(last_incoming_seq_no) <= SEQ_MAX,
            SessionMessage::Retransmission {
                session_id,
                next_seq_no,
                ..
            } => session_id == own && next_seq_no <= SEQ_MAX,
            SessionMessage::Terminate { session_id, .. } => {
                session_id == own || session_id == SessionId::NONE
            }
            SessionMessage::Sequence { next_seq_no } => next_seq_no <= SEQ_MAX,
            SessionMessage::NotAccepting { .. } | SessionMessage::ReplicationStatus { .. } => true,
        }
    }

    fn on_negotiation_reject(&mut self, now: Nanos, code: u8, reason: &[u8]) -> ClientEvent {
        use NegotiationRejectCode as Code;
        let advice = match Code::from_wire(code) {
            // The answer to an earlier Negotiate was lost (ruling F38): the session is there.
            Some(Code::DuplicateId) => {
                self.is_negotiated = true;
                Advice::ReconnectNow
            }
            Some(Code::NotPrimary | Code::NotAccepting | Code::Capacity) => Advice::RetryLater,
            Some(Code::Credentials | Code::FlowTypeNotSupported | Code::Unspecified) | None => {
                Advice::GiveUp
            }
        };
        self.transition(State::Closed, now);
        ClientEvent::Rejected {
            code: RejectCode::Negotiation(code),
            reason: text(reason),
            advice,
        }
    }

    fn on_establishment_reject(&mut self, now: Nanos, code: u8, reason: &[u8]) -> ClientEvent {
        use EstablishmentRejectCode as Code;
        let advice = match Code::from_wire(code) {
            Some(Code::HistoryLost) => return self.stop(now, StopCause::HistoryLost),
            Some(Code::Unnegotiated) if self.was_established => {
                return self.stop(now, StopCause::Forgotten);
            }
            Some(Code::AlreadyEstablished | Code::NotPrimary | Code::NotAccepting) => {
                Advice::RetryLater
            }
            Some(
                Code::Unnegotiated
                | Code::SessionBlocked
                | Code::KeepaliveInterval
                | Code::Credentials
                | Code::Unspecified
                | Code::InvalidNextSeqNo,
            )
            | None => Advice::GiveUp,
        };
        self.transition(State::Closed, now);
        ClientEvent::Rejected {
            code: RejectCode::Establishment(code),
            reason: text(reason),
            advice,
        }
    }

    fn on_ack(
        &mut self,
        now: Nanos,
        next_in: Seq,
        last_incoming: Seq,
        send: &mut Vec<u8>,
    ) -> ClientEvent {
        let expected = self.inbound.expected();
        if next_in < expected {
            let offered = next_in;
            return self.stop(now, StopCause::DataLoss { expected, offered });
        }
        self.was_established = true;
        self.next_out = self.next_out.max(last_incoming.next());
        self.inbound.on_established(next_in, self.options.overlap);
        let is_live = self.inbound.is_live();
        let next_out = self.next_out;
        if is_live {
            self.transition(State::Live, now);
        } else {
            self.transition(State::Recovering, now);
            self.ask(now, send);
        }
        ClientEvent::Established {
            last_incoming,
            next_out,
            is_live,
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
        ClientEvent::Terminated {
            by,
            code,
            reason: text(reason),
        }
    }

    /// Asks for the next piece, or goes live when nothing is missing any more.
    fn recover(&mut self, now: Nanos, send: &mut Vec<u8>) -> Option<ClientEvent> {
        match self.state {
            State::Recovering if self.inbound.is_live() => {
                self.transition(State::Live, now);
                Some(ClientEvent::Live)
            }
            // The server skipped numbers: they are recovered like those of a lost line.
            State::Live if !self.inbound.is_live() => {
                self.transition(State::Recovering, now);
                self.ask(now, send);
                None
            }
            State::Recovering => {
                self.ask(now, send);
                None
            }
            State::Live
            | State::Disconnected
            | State::Negotiating
            | State::Establishing
            | State::Terminating
            | State::Closed
            | State::Stopped => None,
        }
    }

    fn ask(&mut self, now: Nanos, send: &mut Vec<u8>) {
        let timestamp = self.peek_stamp(now);
        if let Some((from_seq_no, count)) = self.inbound.next_request(timestamp) {
            self.stamp = timestamp;
            let request = SessionMessage::RetransmitRequest {
                session_id: self.identity.session_id,
                timestamp,
                from_seq_no,
                count,
            };
            self.send_session(now, &request, send);
        }
    }

    /// Something must be sent within the interval that this end announced, so it is due earlier.
    fn heartbeat_at(&self) -> Nanos {
        let interval = Nanos::from_millis(self.options.keepalive_interval);
        self.last_sent.saturating_add(Nanos(interval.0 / 4 * 3))
    }

    /// Silence of one interval is answered with a probe, of two and a half with the end.
    fn silence_at(&self) -> Nanos {
        let interval = self.server_interval.0;
        let span = if self.is_probed {
            let leniency = (interval / 2).max(100 * Nanos::MILLI.0);
            interval.saturating_mul(2).saturating_add(leniency)
        } else {
            interval
        };
        self.last_received.saturating_add(Nanos(span))
    }

    fn on_keepalive(&mut self, now: Nanos, send: &mut Vec<u8>) -> Option<ClientEvent> {
        let is_silent = now > self.silence_at();
        if is_silent && self.is_probed {
            let reason = "nothing came for 2.5 intervals";
            self.send_terminate(TerminationCode::KeepaliveLapsed, reason, send);
            return Some(self.leave(now, TerminationCode::KeepaliveLapsed, reason));
        }
        if is_silent || now >= self.heartbeat_at() {
            self.is_probed |= is_silent;
            let next_seq_no = self.next_out;
            self.send_session(now, &SessionMessage::Sequence { next_seq_no }, send);
        }
        None
    }

    fn negotiate(&mut self, now: Nanos, send: &mut Vec<u8>) {
        let timestamp = self.next_stamp(now);
        let session_id = self.identity.session_id;
        self.send_signed(now, send, |credentials| SessionMessage::Negotiate {
            session_id,
            timestamp,
            client_flow: FlowType::Idempotent.wire(),
            credentials,
        });
        self.transition(State::Negotiating, now);
    }

    fn establish(&mut self, now: Nanos, send: &mut Vec<u8>) {
        let timestamp = self.next_stamp(now);
        let (session_id, options) = (self.identity.session_id, self.options);
        let next_seq_no = self.next_out.0;
        self.send_signed(now, send, |credentials| SessionMessage::Establish {
            session_id,
            timestamp,
            keepalive_interval: options.keepalive_interval,
            next_seq_no,
            cancel_on_disconnect_type: options.cod_type.wire(),
            cod_timeout_window: options.cod_window,
            report_level: ReportLevel::None.wire(),
            credentials,
        });
        self.transition(State::Establishing, now);
    }

    /// Encodes the message twice: without credentials for the block that is signed, then with them.
    fn send_signed(
        &mut self,
        now: Nanos,
        send: &mut Vec<u8>,
        message: impl for<'c> Fn(&'c [u8]) -> SessionMessage<'c>,
    ) {
        let mut draft = [0; FRAME_BYTES_MAX_LOGON];
        let len = encode_session(&message(&[]), &mut draft).unwrap_or(0);
        let drafted = draft.get(..len).map(|octets| split(octets, len));
        let Some(Ok(Some((frame, _)))) = drafted else {
            debug_assert!(false, "an encoded logon is a frame");
            return;
        };
        let credentials = self.identity.key.sign(frame.template, frame.block());
        self.send_session(now, &message(credentials.as_bytes()), send);
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
        ClientEvent::Terminated {
            by: Party::Client,
            code: code.wire(),
            reason: Text::new(reason),
        }
    }

    fn stop(&mut self, now: Nanos, cause: StopCause) -> ClientEvent {
        self.transition(State::Stopped, now);
        ClientEvent::Stopped(cause)
    }

    /// The wall clock, but later than every stamp before: the server takes none twice (F05).
    fn peek_stamp(&self, now: Nanos) -> Nanos {
        let (at, wall) = self.wall_base;
        wall.saturating_add(now.since(at))
            .max(self.stamp.saturating_add(Nanos(1)))
    }

    fn next_stamp(&mut self, now: Nanos) -> Nanos {
        self.stamp = self.peek_stamp(now);
        self.stamp
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

#[cfg(test)]
mod tests;
