//! Logging on: Negotiate once in a session's life, Establish on every line, and what refusals mean.

use super::{ClientSession, State, text};
use crate::client::event::{Advice, ClientEvent, RejectCode, StopCause};
use crate::limits::FRAME_BYTES_MAX_LOGON;
use crate::vocabulary::fix::{
    EstablishmentRejectCode, FlowType, NegotiationRejectCode, ReportLevel,
};
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::{Nanos, Seq};
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
                self.is_negotiated = true;
                Advice::ReconnectNow
            }
            Some(Code::NotPrimary | Code::NotAccepting | Code::Capacity) => Advice::RetryLater,
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
