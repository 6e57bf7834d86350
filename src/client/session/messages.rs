//! What the server says: numbered reports, and session messages by the state they may come in.

use super::{ClientSession, Known, State};
use crate::client::event::{ClientEvent, StopCause};
use crate::client::inbound::{Arrival, Breach, Denied};
use crate::limits::{KEEPALIVE_MS_MAX, KEEPALIVE_MS_MIN};
use crate::vocabulary::event::{Report, ReportBody};
use crate::vocabulary::fix::RetransmitRejectCode;
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::{Nanos, Seq, SessionId};

/// No number of a session gets near this in its life; a peer that names one is in error.
const SEQ_MAX: Seq = Seq(1 << 62);

impl ClientSession {
    pub(super) fn on_report(&mut self, mut report: Report) -> Result<Option<ClientEvent>, Breach> {
        if !self.is_bound() {
            return Err("a report before the session is established");
        }
        let explicit = match report.body {
            // The gap that a shut gate left is told once it is open (ruling F02).
            ReportBody::NotApplied { .. } => {
                self.is_gate_shut = false;
                None
            }
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

    pub(super) fn on_session_message(
        &mut self,
        now: Nanos,
        message: &SessionMessage<'_>,
        send: &mut Vec<u8>,
    ) -> Result<Option<ClientEvent>, Breach> {
        if !self.is_ours(message) {
            return Err("a message of another session, or with an impossible number");
        }
        let is_bound = self.is_bound();
        match *message {
            SessionMessage::NegotiationResponse { request_timestamp, .. }
                if self.state == State::Negotiating && request_timestamp == self.stamp =>
            {
                self.known = Known::Surely;
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
                cancel_on_disconnect_type,
                cod_timeout_window,
                ..
            } if self.state == State::Establishing && request_timestamp == self.stamp => {
                if !(KEEPALIVE_MS_MIN..=KEEPALIVE_MS_MAX).contains(&keepalive_interval) {
                    return Err("a keep-alive interval outside 100 to 60,000 ms");
                }
                self.server_interval = Nanos::from_millis(keepalive_interval);
                self.cod = (cancel_on_disconnect_type, cod_timeout_window);
                Ok(Some(self.on_ack(now, next_seq_no, last_incoming_seq_no, send)))
            }
            SessionMessage::EstablishmentReject { code, reason, .. }
                if self.state == State::Establishing =>
            {
                Ok(Some(self.on_establishment_reject(now, code, reason)))
            }
            SessionMessage::Sequence { next_seq_no } if is_bound => {
                self.inbound.on_sequence(next_seq_no).map(|()| None)
            }
            SessionMessage::Retransmission { request_timestamp, next_seq_no, count, .. }
                if is_bound =>
            {
                self.inbound.on_retransmission(request_timestamp, next_seq_no, count).map(|()| None)
            }
            SessionMessage::RetransmitReject { request_timestamp, code, .. } if is_bound => {
                self.on_retransmit_reject(now, request_timestamp, code)
            }
            SessionMessage::Terminate { code, reason, .. } => {
                Ok(Some(self.on_terminate(now, code, reason, send)))
            }
            SessionMessage::FinishedReceiving { .. } if is_bound => self.on_finished_receiving(),
            SessionMessage::FinishedSending { last_seq_no, .. } if is_bound => {
                self.on_finished_sending(last_seq_no)
            }
            SessionMessage::NotAccepting { from_seq_no, cause } if is_bound => {
                self.is_gate_shut = true;
                Ok(Some(ClientEvent::NotAccepting { from_seq_no, cause }))
            }
            SessionMessage::ReplicationStatus { .. } if is_bound => Ok(None),
            SessionMessage::Negotiate { .. }
            | SessionMessage::NegotiationResponse { .. }
            | SessionMessage::NegotiationReject { .. }
            | SessionMessage::Establish { .. }
            | SessionMessage::EstablishmentAck { .. }
            | SessionMessage::EstablishmentReject { .. }
            | SessionMessage::Sequence { .. }
            | SessionMessage::RetransmitRequest { .. }
            | SessionMessage::Retransmission { .. }
            | SessionMessage::RetransmitReject { .. }
            | SessionMessage::FinishedSending { .. }
            | SessionMessage::FinishedReceiving { .. }
            | SessionMessage::NotAccepting { .. }
            | SessionMessage::ReplicationStatus { .. } => Err("a session message out of turn"),
        }
    }

    /// What cannot be had, by the server's reason: lost reports end the session, too large a
    /// request is made smaller.
    fn on_retransmit_reject(
        &mut self,
        now: Nanos,
        timestamp: Nanos,
        code: u8,
    ) -> Result<Option<ClientEvent>, Breach> {
        use RetransmitRejectCode as Code;
        match Code::from_wire(code) {
            Some(Code::OutOfRange) => match self.inbound.on_out_of_range(timestamp)? {
                Denied::Overlap => Ok(None),
                Denied::Missing(from) => Ok(Some(self.stop(now, StopCause::ReportsGone { from }))),
            },
            Some(Code::RequestLimitExceeded) => {
                self.inbound.on_too_many(timestamp)?;
                Ok(None)
            }
            Some(Code::InvalidSession) => Err("the server retransmits for another session"),
            None => Err("a RetransmitReject of no known code"),
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
            SessionMessage::EstablishmentAck {
                session_id,
                next_seq_no,
                last_incoming_seq_no,
                ..
            } => {
                let numbers = Seq::FIRST..=SEQ_MAX;
                session_id == own
                    && numbers.contains(&next_seq_no)
                    && last_incoming_seq_no <= SEQ_MAX
            }
            SessionMessage::Retransmission { session_id, next_seq_no, .. } => {
                session_id == own && next_seq_no <= SEQ_MAX
            }
            SessionMessage::FinishedSending { session_id, last_seq_no } => {
                session_id == own && last_seq_no <= SEQ_MAX
            }
            SessionMessage::Terminate { session_id, .. } => {
                session_id == own || session_id == SessionId::NONE
            }
            SessionMessage::Sequence { next_seq_no } => next_seq_no <= SEQ_MAX,
            SessionMessage::NotAccepting { .. } | SessionMessage::ReplicationStatus { .. } => true,
        }
    }
}
