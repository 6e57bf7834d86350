//! Logging on: Negotiate once in a session's life, Establish on every line, and what refusals mean.

use super::finish::Finish;
use super::{ClientSession, Known, State, text};
use crate::client::event::{Advice, ClientEvent, Party, RejectCode, StopCause};
use crate::limits::FRAME_BYTES_MAX_LOGON;
use crate::vocabulary::fix::{
    EstablishmentRejectCode, FlowType, NegotiationRejectCode, ReportLevel, TerminationCode,
};
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::{Nanos, Seq, Text};
use crate::wire::encode::encode_session;
use crate::wire::frame::split;

impl ClientSession {
    pub(super) fn negotiate(&mut self, now: Nanos, send: &mut Vec<u8>) {
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

    pub(super) fn establish(&mut self, now: Nanos, send: &mut Vec<u8>) {
        let timestamp = self.next_stamp(now);
        let (session_id, options) = (self.identity.session_id, self.options);
        self.position_out = self.resume_at.map_or(self.next_out, |at| at.min(self.next_out));
        let next_seq_no = self.position_out.0;
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
    pub(super) fn send_signed(
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

    pub(super) fn on_negotiation_reject(
        &mut self,
        now: Nanos,
        code: u8,
        reason: &[u8],
    ) -> ClientEvent {
        use NegotiationRejectCode as Code;
        let advice = match Code::from_wire(code) {
            // The answer to an earlier Negotiate was lost (ruling F38): the session is there.
            Some(Code::DuplicateId) => {
                self.known = Known::Perhaps;
                Advice::ReconnectNow
            }
            // Whatever address the server's words name: the next of the client's own list.
            Some(Code::NotPrimary | Code::NotAccepting | Code::Capacity) => Advice::NextAddress,
            Some(Code::Credentials | Code::FlowTypeNotSupported | Code::Unspecified) | None => {
                Advice::GiveUp
            }
        };
        self.transition(State::Closed, now);
        ClientEvent::Rejected { code: RejectCode::Negotiation(code), reason: text(reason), advice }
    }

    pub(super) fn on_establishment_reject(
        &mut self,
        now: Nanos,
        code: u8,
        reason: &[u8],
    ) -> ClientEvent {
        use EstablishmentRejectCode as Code;
        let advice = match Code::from_wire(code) {
            Some(Code::HistoryLost) => return self.stop(now, StopCause::HistoryLost),
            Some(Code::Unnegotiated) if self.finish == Finish::Doubtful => {
                self.transition(State::Finalized, now);
                let code = TerminationCode::Finished.wire();
                let reason = Text::new("finalized on an earlier line");
                return ClientEvent::Terminated { by: Party::Server, code, reason };
            }
            Some(Code::Unnegotiated) if self.known == Known::Surely => {
                return self.stop(now, StopCause::Forgotten);
            }
            // The id was refused as a duplicate before, and now nobody knows it (ruling F38).
            Some(Code::Unnegotiated) => Advice::NewSession,
            // The old line counts as silent after one interval (ruling F33).
            Some(Code::AlreadyEstablished) => {
                Advice::RetryAfter(Nanos(Nanos::from_millis(self.options.keepalive_interval).0 / 4))
            }
            Some(Code::NotPrimary | Code::NotAccepting) => Advice::NextAddress,
            // The server remembers fewer numbers than this asked to go back: new numbers then.
            Some(Code::InvalidNextSeqNo) if self.position_out < self.next_out => {
                self.resume_at = None;
                Advice::ReconnectNow
            }
            Some(
                Code::SessionBlocked
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

    pub(super) fn on_ack(
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
        self.known = Known::Surely;
        if last_incoming >= self.next_out {
            self.next_out = last_incoming.next();
            self.position_out = self.next_out;
        }
        self.inbound.on_established(next_in, self.options.overlap);
        let is_live = self.inbound.is_live();
        let next_out = self.next_out;
        if is_live {
            self.transition(State::Live, now);
            self.go_on_finishing(now, send);
        } else {
            self.transition(State::Recovering, now);
            self.ask(now, send);
        }
        ClientEvent::Established { last_incoming, next_out, is_live }
    }

    /// The wall clock, but later than every stamp before: the server takes none twice (F05).
    pub(super) fn peek_stamp(&self, now: Nanos) -> Nanos {
        let (at, wall) = self.wall_base;
        wall.saturating_add(now.since(at)).max(self.stamp.saturating_add(Nanos(1)))
    }

    pub(super) fn next_stamp(&mut self, now: Nanos) -> Nanos {
        self.stamp = self.peek_stamp(now);
        self.stamp
    }
}
