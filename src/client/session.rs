//! The customer's half of a FIXP session: logon, numbers, keep-alive, recovery by number.
//!
//! It has no clock, socket or thread. The caller hands in what happened (`on_*`, with `now`), sends
//! the bytes appended to its own buffer, and acts on at most one [`ClientEvent`] an input. Every
//! report reaches the application exactly once and in order, however often the line breaks:
//!
//! ```text
//! Disconnected -> Negotiating -> Establishing -> Recovering -> Live -> Terminating -> Closed
//!       ^            (first time only)    (missing reports, asked for by number)        |
//!       '-------------------- on_disconnected, unless it is over ----------------------'
//! ```
//!
//! What it does not know is which requests are unanswered: [`Desk`](super::desk::Desk) does. There
//! are two ways to go on after a reconnect with requests that never happened. Under *new numbers*
//! the Establish names the next number, and the requests follow with the same ClOrdID and
//! PossResend = Y. Under the *same numbers* it names the first unanswered one
//! ([`ClientSession::resume_at`]), and they follow as they were ([`ClientSession::on_resend`]).
//! Either way a number never stands for two messages.
//!
//! `Stopped` is for ever: the server offers fewer reports than were seen, has forgotten the session
//! or says that history was lost. A program that logged on anew there and sent its orders again
//! could execute them twice, so a person decides (ruling F21). `Finalized` is for ever too: that is
//! what [`ClientSession::on_finalize`] asks for.

mod finish;
mod liveness;
mod logon;
mod messages;
mod recovery;
#[cfg(test)]
mod tests;

use self::finish::Finish;
use super::event::{ClientEvent, ClientIdentity, Party, SessionOptions, Standing, StopCause};
use super::inbound::{Breach, Inbound};
use crate::limits::FRAME_BYTES_MAX_LOGON;
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
/// A server that keeps a line alive and serves nothing that it owes (reports asked for again, the
/// end of a finalization) for this long is left.
pub const SERVICE_MAX: Nanos = Nanos(10 * Nanos::SECOND.0);
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
    /// The session was brought to its end; the id is used up.
    Finalized,
}

/// Whether the server has the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// It is to be negotiated.
    No,
    /// It says that the id is in use; perhaps an answer to this session was lost (ruling F38).
    Perhaps,
    /// It took a logon, and may not deny the session any more.
    Surely,
}

/// The customer's half of a session. Invariants: `next_out` and the inbound position never go back;
/// `position_out <= next_out`; a timestamp is never used twice.
#[derive(Debug)]
pub struct ClientSession {
    identity: ClientIdentity,
    options: SessionOptions,
    state: State,
    known: Known,
    next_out: Seq,
    /// The number that this line's next message or Sequence may carry (ruling F01): below
    /// `next_out` while requests are sent again under their own numbers.
    position_out: Seq,
    /// Where the next Establish begins, instead of at `next_out`.
    resume_at: Option<Seq>,
    inbound: Inbound,
    /// Timestamp of the last signed or answered request.
    stamp: Nanos,
    /// Wall clock minus `now` at the last connect, as (now, wall).
    wall_base: (Nanos, Nanos),
    /// When the state was entered.
    since: Nanos,
    last_sent: Nanos,
    last_received: Nanos,
    /// When the server last served something that it owes.
    last_served: Nanos,
    /// Whether the silence was already answered with a probe.
    is_probed: bool,
    /// Whether the gate was shut when last heard of: then Sequence asks often whether it is open.
    is_gate_shut: bool,
    finish: Finish,
    /// What the server announced.
    server_interval: Nanos,
    /// CODType and window in force, as the server told.
    cod: (u8, u32),
}

impl ClientSession {
    /// A session that has not logged on yet.
    #[must_use]
    pub const fn new(identity: ClientIdentity, options: SessionOptions) -> Self {
        Self::resumed(identity, options, Standing::NEW)
    }

    /// A session that an earlier program left at `standing`.
    #[must_use]
    pub const fn resumed(
        identity: ClientIdentity,
        options: SessionOptions,
        standing: Standing,
    ) -> Self {
        Self {
            identity,
            options,
            state: State::Disconnected,
            known: if standing.is_negotiated { Known::Surely } else { Known::No },
            next_out: standing.next_out,
            position_out: standing.next_out,
            resume_at: None,
            inbound: Inbound::new(standing.next_in),
            stamp: standing.stamp,
            wall_base: (Nanos(0), Nanos(0)),
            since: Nanos(0),
            last_sent: Nanos(0),
            last_received: Nanos(0),
            last_served: Nanos(0),
            is_probed: false,
            is_gate_shut: false,
            finish: Finish::No,
            server_interval: Nanos::SECOND,
            cod: (0, 0),
        }
    }

    /// Lets the next Establish begin at this number, the first of those that
    /// [`ClientSession::on_resend`] will send again; `None`: at the next number.
    pub const fn resume_at(&mut self, first: Option<Seq>) {
        self.resume_at = first;
    }

    /// A line is there: logs on. `wall` is the wall clock, which signs the logon's time.
    pub fn on_connected(&mut self, now: Nanos, wall: Nanos, send: &mut Vec<u8>) {
        if self.is_over() {
            return;
        }
        assert!(
            self.state == State::Disconnected,
            "a session has one line at a time: {:?}",
            self.state
        );
        self.wall_base = (now, wall);
        self.last_received = now;
        match self.known {
            Known::No => self.negotiate(now, send),
            Known::Perhaps | Known::Surely => self.establish(now, send),
        }
    }

    /// The line is gone.
    pub fn on_disconnected(&mut self, now: Nanos) {
        if !self.is_over() {
            self.is_gate_shut = false;
            self.finish = self.finish.after_loss();
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
        let served = self.service_mark();
        let handled = match decode_outbound(frame) {
            Ok(Outbound::Report(report)) => self.on_report(report),
            Ok(Outbound::Session(message)) => self.on_session_message(now, &message, send),
            Err(_) => Err("a frame that this protocol does not have"),
        };
        let event = match handled {
            Ok(event) => event,
            Err(breach) => return Some(self.breach(now, breach, send)),
        };
        if self.service_mark() != served {
            self.last_served = now;
        }
        event.or_else(|| self.recover(now, send))
    }

    /// The bytes that came are no frame: the line cannot be read any further.
    pub fn on_bad_bytes(&mut self, now: Nanos, send: &mut Vec<u8>) -> Option<ClientEvent> {
        self.is_listening().then(|| self.breach(now, "octets that are no frame", send))
    }

    /// Time passed; call at [`ClientSession::next_deadline`]. A call too many is harmless.
    pub fn on_timer(&mut self, now: Nanos, send: &mut Vec<u8>) -> Option<ClientEvent> {
        match self.state {
            State::Disconnected | State::Closed | State::Stopped | State::Finalized => None,
            State::Negotiating | State::Establishing => (now >= self.next_deadline()?).then(|| {
                let reason = "the logon was not answered";
                self.leave(now, TerminationCode::KeepaliveLapsed, reason)
            }),
            State::Terminating => (now >= self.next_deadline()?).then(|| {
                let reason = "the Terminate was not answered";
                self.leave(now, TerminationCode::Finished, reason)
            }),
            State::Recovering | State::Live if now >= self.service_at() => {
                let reason = "what was asked for was not served";
                self.send_terminate(TerminationCode::UnspecifiedError, reason, send);
                Some(self.leave(now, TerminationCode::UnspecifiedError, reason))
            }
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
        if !self.is_sending() {
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
        self.position_out = self.next_out;
        self.last_sent = now;
        Some(seq)
    }

    /// Sends a request of an earlier line again under its own number, as it was: one that the
    /// server took is dropped there, one that it never got is executed. Numbers rise from
    /// [`ClientSession::resume_at`]; false, and nothing is sent, for any other.
    pub fn on_resend(&mut self, now: Nanos, message: &ClientMessage, send: &mut Vec<u8>) -> bool {
        let seq = message.msg_seq_num();
        if !self.is_sending() || seq < self.position_out || seq >= self.next_out {
            return false;
        }
        append(send, CLIENT_BYTES_MAX, |out| Some(encode_client(message, out)));
        self.position_out = seq.next();
        self.last_sent = now;
        true
    }

    /// Nothing more is sent again under its own number. What is left out becomes a gap, which the
    /// server hears of now and tells with NotApplied.
    pub fn on_resent(&mut self, now: Nanos, send: &mut Vec<u8>) {
        if self.state == State::Live && self.position_out < self.next_out {
            self.position_out = self.next_out;
            self.send_session(now, &SessionMessage::Sequence { next_seq_no: self.next_out }, send);
        }
    }

    /// When [`ClientSession::on_timer`] is to be called; `None` without a line.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        match self.state {
            State::Disconnected | State::Closed | State::Stopped | State::Finalized => None,
            State::Negotiating | State::Establishing => {
                Some(self.since.saturating_add(LOGON_ANSWER_MAX))
            }
            State::Terminating => Some(self.since.saturating_add(TERMINATE_ANSWER_MAX)),
            State::Recovering | State::Live => {
                Some(self.heartbeat_at().min(self.silence_at()).min(self.service_at()))
            }
        }
    }

    /// Whether requests can be sent.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Whether the session is over for ever because something was lost.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// Whether the session was brought to its end, as asked.
    #[must_use]
    pub fn is_finalized(&self) -> bool {
        self.state == State::Finalized
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

    /// What a program keeps to go on with the session after its own restart.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        Standing {
            is_negotiated: matches!(self.known, Known::Surely),
            next_out: self.next_out,
            next_in: self.next_in(),
            stamp: self.stamp,
        }
    }

    /// CODType and window (ms) in force on this line, as the server told.
    #[must_use]
    pub const fn cod_in_force(&self) -> (u8, u32) {
        self.cod
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
            State::Disconnected | State::Closed | State::Stopped | State::Finalized => false,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Stopped | State::Finalized)
    }

    fn is_bound(&self) -> bool {
        matches!(self.state, State::Recovering | State::Live | State::Terminating)
    }

    /// The only writer of the state.
    fn transition(&mut self, to: State, now: Nanos) {
        assert!(!self.is_over(), "a session that is over went on to {to:?}");
        self.state = to;
        self.since = now;
    }

    fn send_session(&mut self, now: Nanos, message: &SessionMessage<'_>, send: &mut Vec<u8>) {
        append(send, SEND_BYTES_MAX, |out| encode_session(message, out));
        self.last_sent = now;
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
