//! Leaving: a line with Terminate (ruling F25), a session for ever with FinishedSending (F13).
//!
//! ```text
//! client                                    server
//! FinishedSending(last) ------------------>  cancels what is open
//!                       <------------------  FinishedReceiving, reports, FinishedSending(last)
//! (asks for what is missing up to last)
//! FinishedReceiving, Terminate ----------->  the id is used up
//!                       <------------------  Terminate
//! ```
//!
//! A line lost on the way is made again and the session finished again, from the start. After the
//! client's FinishedReceiving it cannot know whether that arrived: then `Unnegotiated` is no loss
//! but the answer it hoped for.

use super::{ClientSession, State, append, text};
use crate::client::event::{ClientEvent, Party};
use crate::client::inbound::Breach;
use crate::client::session::SEND_BYTES_MAX;
use crate::vocabulary::fix::TerminationCode;
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::{Nanos, Seq};
use crate::wire::encode::encode_session;

/// How far a finalization has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finish {
    /// Nobody asked for it.
    No,
    /// It begins as soon as the session is live.
    Wanted,
    /// FinishedSending was sent on this line.
    Sent,
    /// The server will send nothing after this number.
    Last(Seq),
    /// FinishedReceiving was sent on this line.
    Done,
    /// FinishedReceiving was sent on a line that broke before the answer.
    Doubtful,
}

impl Finish {
    pub(super) const fn after_loss(self) -> Self {
        match self {
            Self::No => Self::No,
            Self::Wanted | Self::Sent | Self::Last(_) => Self::Wanted,
            Self::Done | Self::Doubtful => Self::Doubtful,
        }
    }

    /// Whether the server owes the next step.
    pub(super) const fn is_waiting(self) -> bool {
        matches!(self, Self::Sent | Self::Last(_))
    }
}

impl ClientSession {
    /// Leaves the line in order; `Terminated` follows with the server's answer. The session lives
    /// on and can be established again.
    pub fn on_finish(&mut self, now: Nanos, send: &mut Vec<u8>) {
        match self.state {
            State::Recovering | State::Live => {
                self.send_terminate(TerminationCode::Finished, "", send);
                self.transition(State::Terminating, now);
            }
            State::Negotiating | State::Establishing => self.transition(State::Closed, now),
            State::Disconnected
            | State::Terminating
            | State::Closed
            | State::Stopped
            | State::Finalized => {}
        }
    }

    /// Brings the session to its end for ever: its open orders are cancelled, its id is used up.
    /// From now on nothing can be sent. It begins when the session is live, and on a new line
    /// again if this one breaks; `Terminated` comes last, and `is_finalized` holds then.
    pub fn on_finalize(&mut self, now: Nanos, send: &mut Vec<u8>) {
        if self.finish == Finish::No {
            self.finish = Finish::Wanted;
        }
        self.go_on_finishing(now, send);
    }

    /// Whether requests may go out on this line.
    pub(super) fn is_sending(&self) -> bool {
        self.state == State::Live && self.finish == Finish::No
    }

    /// The next step of a finalization, if one is due.
    pub(super) fn go_on_finishing(&mut self, now: Nanos, send: &mut Vec<u8>) {
        let session_id = self.identity.session_id;
        if self.state != State::Live {
            return;
        }
        match self.finish {
            Finish::Wanted | Finish::Doubtful => {
                let last_seq_no = Seq(self.next_out.0.saturating_sub(1));
                let message = SessionMessage::FinishedSending { session_id, last_seq_no };
                self.send_session(now, &message, send);
                self.position_out = self.next_out;
                self.last_served = now;
                self.finish = Finish::Sent;
            }
            Finish::Last(last) if self.next_in() > last => {
                let message = SessionMessage::FinishedReceiving { session_id };
                self.send_session(now, &message, send);
                self.send_terminate(TerminationCode::Finished, "", send);
                self.finish = Finish::Done;
                self.transition(State::Terminating, now);
            }
            Finish::No | Finish::Sent | Finish::Last(_) | Finish::Done => {}
        }
    }

    pub(super) fn on_finished_receiving(&self) -> Result<Option<ClientEvent>, Breach> {
        if self.finish == Finish::Sent {
            return Ok(None);
        }
        Err("FinishedReceiving without FinishedSending")
    }

    /// The server's last number; what is missing up to it is recovered first.
    pub(super) fn on_finished_sending(&mut self, last: Seq) -> Result<Option<ClientEvent>, Breach> {
        if self.finish != Finish::Sent {
            return Err("FinishedSending that nobody waits for");
        }
        self.inbound.on_sequence(last.next())?;
        self.finish = Finish::Last(last);
        Ok(None)
    }

    pub(super) fn on_terminate(
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
        let is_final = self.finish == Finish::Done
            && TerminationCode::from_wire(code) == Some(TerminationCode::Finished);
        self.transition(if is_final { State::Finalized } else { State::Closed }, now);
        ClientEvent::Terminated { by, code, reason: text(reason) }
    }

    pub(super) fn send_terminate(&self, code: TerminationCode, reason: &str, send: &mut Vec<u8>) {
        let message = SessionMessage::Terminate {
            session_id: self.identity.session_id,
            code: code.wire(),
            reason: reason.as_bytes(),
        };
        append(send, SEND_BYTES_MAX, |out| encode_session(&message, out));
    }
}
