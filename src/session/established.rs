//! What an established transport does with a message: the rows of the state table that carry load.
//!
//! The usual message is fresh and the gate is open: one gate test, one admission, one act. The
//! number is judged by the machine's sessions; a transport adds its own position, because a client
//! that resends old numbers after an Establish counts from where it said it would (ruling F01).
//!
//! Behind a shut gate nothing is judged and nothing moves: messages are dropped, the first of a
//! closing is answered by NotAccepting, a Sequence is only a sign of life (ruling F02).

use super::act::{Act, Dropped};
use super::breach::Breach;
use super::liveness::Liveness;
use super::logical::{Admission, GapCheck};
use super::node_view::{Closing, NodeStatus, NodeView};
use super::outgoing::{Outgoing, RetransmitRefusal};
use crate::limits::STATUS_INTERVAL;
use crate::vocabulary::fix::{RetransmitRejectCode, TerminationCode};
use crate::vocabulary::message::{ClientMessage, SessionMessage};
use crate::vocabulary::units::{Nanos, Seq, SessionId, SessionIdx};

#[derive(Clone, Copy, Debug)]
pub(super) struct Established {
    pub(super) session: SessionIdx,
    pub(super) id: SessionId,
    /// The transport's own next number (ruling F01).
    pub(super) position: Seq,
    /// The closing of the gate that was told.
    pub(super) told_closing: u64,
    pub(super) liveness: Liveness,
    /// How far the client has finished this session on this line (ruling F13).
    pub(super) finish: Finish,
    /// The last ReplicationStatus and when it was told, if the session asked for them.
    pub(super) status: Option<(NodeStatus, Nanos)>,
}

/// How far a session is finished on its line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finish {
    /// The client goes on.
    No,
    /// FinishedSending came; nothing but session messages may follow. It is being journaled.
    Asked,
    /// It is released: what is owed to the client is sent, then FinishedSending.
    Answered,
}

impl Established {
    /// An application message. The usual case: fresh, the gate open.
    #[inline]
    pub(super) fn on_message(
        &mut self,
        message: &ClientMessage,
        node: &mut NodeView<'_>,
    ) -> Result<Option<Act>, Breach> {
        let number = message.msg_seq_num();
        if self.finish != Finish::No {
            return Err(Breach::unspecified("a message after FinishedSending"));
        }
        if let Some(closing) = node.gate {
            return self.on_message_at_shut_gate(number, closing, node).map(Some);
        }
        match node.sessions.admit(self.session, number, message.template(), message.request_id()) {
            Admission::Fresh => {
                self.position = self.position.max(number.next());
                Ok(Some(Act::AppendMessage { session: self.session }))
            }
            Admission::Repeat => {
                self.position = self.position.max(number.next());
                Ok(Some(Act::Drop(Dropped::Repeat)))
            }
            Admission::Reused => Err(Breach::unspecified("sequence number reused")),
            Admission::TooFar => Err(Breach::unspecified("gap too large")),
        }
    }

    /// Drops the message and says so once a closing (ruling F02). A number below the expected one
    /// was taken before; to call it not accepted would be wrong.
    fn on_message_at_shut_gate(
        &mut self,
        number: Seq,
        closing: Closing,
        node: &mut NodeView<'_>,
    ) -> Result<Act, Breach> {
        let is_new = number >= node.sessions.expected_admitted(self.session);
        if is_new && self.told_closing != closing.count {
            let cause = closing.cause.wire();
            let message = SessionMessage::NotAccepting { from_seq_no: number, cause };
            queue(node.out, &message)?;
            self.told_closing = closing.count;
        }
        Ok(Act::Drop(Dropped::GateShut))
    }

    /// Tells where the node stands (ruling F10). False when it is too early for this session, or it
    /// has not read what it was sent: it is to be told later.
    pub(super) fn on_status(
        &mut self,
        now: Nanos,
        status: &NodeStatus,
        out: &mut Outgoing,
    ) -> bool {
        let Some((told, at)) = &mut self.status else { return true };
        if *told == *status {
            return true;
        }
        let is_early = !status.differs(told) && now.since(*at) < STATUS_INTERVAL;
        let released = Seq(out.next_live().0.saturating_sub(1));
        if is_early || !out.is_control_empty() || !out.push_control(&status.message(released)) {
            return false;
        }
        (*told, *at) = (*status, now);
        true
    }

    /// A session message; none for Terminate.
    pub(super) fn on_session_message(
        &mut self,
        message: &SessionMessage<'_>,
        node: &mut NodeView<'_>,
    ) -> Result<Option<Act>, Breach> {
        match *message {
            SessionMessage::Sequence { next_seq_no } => {
                self.on_sequence(next_seq_no, node).map(Some)
            }
            SessionMessage::RetransmitRequest { session_id, timestamp, from_seq_no, count } => {
                let asked = (from_seq_no, count);
                self.on_retransmit_request(session_id, timestamp, asked, node)?;
                Ok(Some(Act::Nothing))
            }
            SessionMessage::FinishedSending { session_id, last_seq_no } => {
                self.on_finished_sending(session_id, last_seq_no, node).map(Some)
            }
            SessionMessage::FinishedReceiving { session_id } => {
                self.on_finished_receiving(session_id, node).map(Some)
            }
            SessionMessage::Terminate { .. } => Ok(None),
            SessionMessage::Negotiate { .. } | SessionMessage::Establish { .. } => {
                Err(Breach::unspecified("established already"))
            }
            SessionMessage::NegotiationResponse { .. }
            | SessionMessage::NegotiationReject { .. }
            | SessionMessage::EstablishmentAck { .. }
            | SessionMessage::EstablishmentReject { .. }
            | SessionMessage::Retransmission { .. }
            | SessionMessage::RetransmitReject { .. }
            | SessionMessage::NotAccepting { .. }
            | SessionMessage::ReplicationStatus { .. } => {
                Err(Breach::unspecified("not a message of a client"))
            }
        }
    }

    fn on_sequence(&mut self, next: Seq, node: &mut NodeView<'_>) -> Result<Act, Breach> {
        if node.gate.is_some() {
            return Ok(Act::Nothing);
        }
        if next < self.position {
            return Err(Breach::unspecified("sequence number went back"));
        }
        if self.finish != Finish::No && next > node.sessions.expected_admitted(self.session) {
            return Err(Breach::unspecified("a number after FinishedSending"));
        }
        match node.sessions.admit_gap(self.session, next) {
            GapCheck::None => {
                self.position = next;
                Ok(Act::Nothing)
            }
            GapCheck::Gap => {
                self.position = next;
                Ok(Act::AppendGap { session: self.session, next })
            }
            GapCheck::TooFar => Err(Breach::unspecified("gap too large")),
        }
    }

    /// The client sends nothing more. Behind a shut gate nothing can be journaled: it is dropped
    /// like a message, and the client asks again.
    fn on_finished_sending(
        &mut self,
        session_id: SessionId,
        last: Seq,
        node: &mut NodeView<'_>,
    ) -> Result<Act, Breach> {
        if session_id != self.id {
            return Err(Breach::unspecified("another session is bound"));
        }
        if self.finish != Finish::No {
            return Err(Breach::unspecified("a message after FinishedSending"));
        }
        if let Some(closing) = node.gate {
            let next = node.sessions.expected_admitted(self.session);
            return self.on_message_at_shut_gate(next, closing, node);
        }
        match node.sessions.admit_finishing(self.session, last) {
            GapCheck::TooFar => Err(Breach::unspecified("impossible last number")),
            GapCheck::None | GapCheck::Gap => {
                self.finish = Finish::Asked;
                self.position = last.next();
                Ok(Act::AppendFinishing { session: self.session, next: last.next() })
            }
        }
    }

    /// The client has everything, our FinishedSending included.
    fn on_finished_receiving(
        &mut self,
        session_id: SessionId,
        node: &mut NodeView<'_>,
    ) -> Result<Act, Breach> {
        if session_id != self.id {
            return Err(Breach::unspecified("another session is bound"));
        }
        if self.finish != Finish::Answered || node.out.is_finishing() {
            return Err(Breach::unspecified("FinishedReceiving before FinishedSending"));
        }
        if let Some(closing) = node.gate {
            let next = node.sessions.expected_admitted(self.session);
            return self.on_message_at_shut_gate(next, closing, node);
        }
        node.sessions.admit_final(self.session);
        Ok(Act::AppendFinal { session: self.session })
    }

    fn on_retransmit_request(
        &self,
        session_id: SessionId,
        request_timestamp: Nanos,
        asked: (Seq, u32),
        node: &mut NodeView<'_>,
    ) -> Result<(), Breach> {
        let (log, released) = (node.log, node.released);
        let served = if session_id == self.id {
            node.out.try_retransmit(log, released, session_id, request_timestamp, asked)
        } else {
            Err(RetransmitRefusal::Reject(RetransmitRejectCode::InvalidSession))
        };
        match served {
            Ok(()) => Ok(()),
            Err(RetransmitRefusal::Reject(code)) => queue(
                node.out,
                &SessionMessage::RetransmitReject {
                    session_id,
                    request_timestamp,
                    code: code.wire(),
                    reason: code.name().as_bytes(),
                },
            ),
            Err(RetransmitRefusal::InProgress) => {
                let code = TerminationCode::ReRequestInProgress;
                Err(Breach::of(code, &"a retransmission is running"))
            }
        }
    }
}

/// Queues an answer; a peer that asks and asks without reading is ended.
fn queue(out: &mut Outgoing, message: &SessionMessage<'_>) -> Result<(), Breach> {
    if out.push_control(message) {
        return Ok(());
    }
    Err(Breach::unspecified("answers were not read"))
}
