//! A connection before its session is established: two messages, and everything else is a breach.

use super::{Pending, State, Terms, Transport};
use crate::limits::{LOGON_REFUSAL_GRID, TERMINATE_LINGER};
use crate::session::act::{Act, Dropped, How};
use crate::session::breach::Breach;
use crate::session::logon::{Establish, Negotiate, try_establish, try_negotiate};
use crate::session::node_view::NodeView;
use crate::session::outgoing::Outgoing;
use crate::vocabulary::fix::TerminationCode;
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::Nanos;
use crate::wire::decode::{Inbound, decode_inbound};
use crate::wire::frame::Frame;

impl Transport {
    /// A frame in any state but `Established`.
    pub(super) fn on_frame_otherwise(
        &mut self,
        now: Nanos,
        wall: Nanos,
        frame: &Frame<'_>,
        node: &mut NodeView<'_>,
    ) -> Act {
        let negotiated = match &self.state {
            State::Unnegotiated { .. } => None,
            State::Negotiated { id, .. } => Some(*id),
            State::Opening(_) | State::Binding(..) => return Act::Later,
            State::Finished { .. } => return self.on_frame_finished(now, frame, node),
            State::Ending { .. } | State::Closed | State::Established(_) => {
                return Act::Drop(Dropped::Ended);
            }
        };
        let breach = match (decode_inbound(frame), negotiated) {
            (Ok(Inbound::Session(message)), negotiated) => match message {
                SessionMessage::Negotiate { session_id, timestamp, client_flow, credentials }
                    if negotiated.is_none() =>
                {
                    let asked = Negotiate { session_id, timestamp, client_flow, credentials };
                    return self.on_negotiate(now, wall, frame, &asked, node);
                }
                SessionMessage::Establish {
                    session_id,
                    timestamp,
                    keepalive_interval,
                    next_seq_no,
                    cancel_on_disconnect_type,
                    cod_timeout_window,
                    report_level,
                    credentials,
                } if negotiated.is_none_or(|id| id == session_id) => {
                    let asked = Establish {
                        session_id,
                        timestamp,
                        keepalive_interval,
                        next_seq_no,
                        cancel_on_disconnect_type,
                        cod_timeout_window,
                        report_level,
                        credentials,
                    };
                    return self.on_establish(now, wall, frame, &asked, node);
                }
                SessionMessage::Terminate { .. } => return self.on_terminate(now, node),
                SessionMessage::Negotiate { .. } => Breach::unspecified("negotiated already"),
                SessionMessage::Establish { .. } => {
                    Breach::unspecified("another session was negotiated here")
                }
                SessionMessage::NegotiationResponse { .. }
                | SessionMessage::NegotiationReject { .. }
                | SessionMessage::EstablishmentAck { .. }
                | SessionMessage::EstablishmentReject { .. }
                | SessionMessage::Sequence { .. }
                | SessionMessage::RetransmitRequest { .. }
                | SessionMessage::Retransmission { .. }
                | SessionMessage::RetransmitReject { .. }
                | SessionMessage::FinishedSending { .. }
                | SessionMessage::FinishedReceiving { .. }
                | SessionMessage::NotAccepting { .. }
                | SessionMessage::ReplicationStatus { .. } => {
                    Breach::unspecified("not established")
                }
            },
            (Ok(Inbound::Application(_)), _) => Breach::unspecified("not established"),
            (Err(error), _) => Breach::of(TerminationCode::UnspecifiedError, &error),
        };
        self.terminate(now, &breach, node.out, node.bindings)
    }

    /// The session is final: its client only has to say that it leaves. A keep-alive may still be
    /// on its way.
    fn on_frame_finished(&mut self, now: Nanos, frame: &Frame<'_>, node: &mut NodeView<'_>) -> Act {
        let breach = match decode_inbound(frame) {
            Ok(Inbound::Session(SessionMessage::Terminate { .. })) => {
                return self.on_terminate(now, node);
            }
            Ok(Inbound::Session(SessionMessage::Sequence { .. })) => return Act::Nothing,
            Ok(Inbound::Session(_) | Inbound::Application(_)) => {
                Breach::unspecified("the session is finished")
            }
            Err(error) => Breach::of(TerminationCode::UnspecifiedError, &error),
        };
        self.terminate(now, &breach, node.out, node.bindings)
    }

    fn on_negotiate(
        &mut self,
        now: Nanos,
        wall: Nanos,
        frame: &Frame<'_>,
        asked: &Negotiate<'_>,
        node: &mut NodeView<'_>,
    ) -> Act {
        if !take_check(node) {
            return Act::Later;
        }
        let (id, timestamp) = (asked.session_id, asked.timestamp);
        match try_negotiate(wall, frame, asked, node) {
            Ok((session, signer)) => {
                self.transition(State::Opening(Pending { session, id, timestamp }));
                let (owner, key_id) = (signer.owner, signer.key_id);
                Act::AppendOpen { session, id, owner, key_id, timestamp }
            }
            Err(refusal) => {
                *node.failed = Some(refusal.failed(asked.credentials));
                let message = SessionMessage::NegotiationReject {
                    session_id: id,
                    request_timestamp: timestamp,
                    code: refusal.code.wire(),
                    reason: refusal.reason.as_bytes(),
                };
                self.refuse(now, node.out, &message)
            }
        }
    }

    fn on_establish(
        &mut self,
        now: Nanos,
        wall: Nanos,
        frame: &Frame<'_>,
        asked: &Establish<'_>,
        node: &mut NodeView<'_>,
    ) -> Act {
        if !take_check(node) {
            return Act::Later;
        }
        let (id, timestamp) = (asked.session_id, asked.timestamp);
        let bind = match try_establish(now, wall, frame, asked, node) {
            Ok(bind) => bind,
            Err(refusal) => {
                *node.failed = Some(refusal.failed(asked.credentials));
                return self.refuse(
                    now,
                    node.out,
                    &SessionMessage::EstablishmentReject {
                        session_id: id,
                        request_timestamp: timestamp,
                        code: refusal.code.wire(),
                        reason: refusal.reason.as_bytes(),
                    },
                );
            }
        };
        let interval = Nanos::from_millis(asked.keepalive_interval);
        node.bindings.bind(bind.session, self.connection, now, interval);
        let expected = node.sessions.expected_admitted(bind.session);
        let terms = Terms {
            keepalive_ms: asked.keepalive_interval,
            cod: bind.cod,
            report_level: bind.report_level,
            position: bind.next_seq_no.unwrap_or(expected),
        };
        self.transition(State::Binding(Pending { session: bind.session, id, timestamp }, terms));
        Act::AppendBind {
            session: bind.session,
            key_id: bind.signer.key_id,
            timestamp,
            next_seq_no: bind.next_seq_no,
            keepalive_interval: asked.keepalive_interval,
            cod: bind.cod,
            report_level: bind.report_level,
            displaces: bind.displaces,
        }
    }

    /// Refuses a logon. Nothing is read meanwhile, and the answer leaves on the coarse grid.
    fn refuse(&mut self, now: Nanos, out: &mut Outgoing, message: &SessionMessage<'_>) -> Act {
        out.push_last(message);
        out.hold(now, LOGON_REFUSAL_GRID);
        let until = out.held_until().saturating_add(TERMINATE_LINGER);
        self.transition(State::Ending { until });
        Act::End { down: None, how: How::Linger }
    }
}

/// Takes one of the turn's credential checks.
fn take_check(node: &mut NodeView<'_>) -> bool {
    let left = node.credential_checks_left.checked_sub(1);
    if let Some(left) = left {
        *node.credential_checks_left = left;
    }
    left.is_some()
}
