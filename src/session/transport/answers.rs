//! What the peer is told when the machine has applied and released what it asked for, and where the
//! node stands.

use super::{State, Transport};
use crate::limits::{LOGON_ANSWER_GRID, LOGON_DEADLINE};
use crate::session::act::Act;
use crate::session::bindings::Bindings;
use crate::session::breach::Breach;
use crate::session::established::{Established, Finish};
use crate::session::liveness::{Liveness, server_interval_ms};
use crate::session::node_view::NodeStatus;
use crate::session::outgoing::Outgoing;
use crate::session::report_log::ReportLog;
use crate::vocabulary::fix::{FlowType, ReportLevel};
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::{Nanos, Seq};

impl Transport {
    /// The SessionOpen of this transport is released. Ignored when the transport ended meanwhile.
    pub fn on_opened(&mut self, now: Nanos, out: &mut Outgoing) {
        let State::Opening(pending) = self.state else {
            return;
        };
        let is_queued = out.push_control(&SessionMessage::NegotiationResponse {
            session_id: pending.id,
            request_timestamp: pending.timestamp,
            server_flow: FlowType::Recoverable.wire(),
        });
        debug_assert!(is_queued, "the first answer of a connection has room");
        out.hold(now, LOGON_ANSWER_GRID);
        let deadline = out.held_until().saturating_add(LOGON_DEADLINE);
        self.transition(State::Negotiated { id: pending.id, deadline });
    }

    /// The SessionBind of this transport is released; `next_out` and `last_in` are of its event.
    /// Ignored when the transport ended meanwhile.
    pub fn on_bound(
        &mut self,
        now: Nanos,
        (next_out, last_in): (Seq, Seq),
        status: &NodeStatus,
        log: &ReportLog,
        out: &mut Outgoing,
    ) {
        let State::Binding(pending, terms) = self.state else {
            return;
        };
        let ours_ms = server_interval_ms(terms.keepalive_ms);
        let mut is_queued = out.push_control(&SessionMessage::EstablishmentAck {
            session_id: pending.id,
            request_timestamp: pending.timestamp,
            keepalive_interval: ours_ms,
            next_seq_no: next_out,
            last_incoming_seq_no: last_in,
            cancel_on_disconnect_type: terms.cod.cod_type.wire(),
            cod_timeout_window: terms.cod.window_ms,
        });
        if terms.report_level == ReportLevel::Status {
            is_queued &= out.push_control(&status.message(Seq(next_out.0.saturating_sub(1))));
        }
        debug_assert!(is_queued, "the first answers of a connection have room");
        out.hold(now, LOGON_ANSWER_GRID);
        out.start(log, pending.session, next_out);
        let (theirs, ours) = (Nanos::from_millis(terms.keepalive_ms), Nanos::from_millis(ours_ms));
        self.transition(State::Established(Established {
            session: pending.session,
            id: pending.id,
            position: terms.position,
            told_closing: 0,
            finish: Finish::No,
            status: (terms.report_level == ReportLevel::Status).then_some((*status, now)),
            liveness: Liveness::new(now, theirs, ours),
        }));
    }

    /// The SessionFinishing of this transport is released; `last_out` is of its event. Ignored when
    /// the transport ended meanwhile.
    pub fn on_finishing(
        &mut self,
        now: Nanos,
        last_out: Seq,
        out: &mut Outgoing,
        bindings: &mut Bindings,
    ) -> Act {
        let State::Established(established) = &mut self.state else {
            return Act::Nothing;
        };
        if established.finish != Finish::Asked {
            return Act::Nothing;
        }
        let session_id = established.id;
        if !out.push_control(&SessionMessage::FinishedReceiving { session_id }) {
            let unread = Breach::unspecified("answers were not read");
            return self.terminate(now, &unread, out, bindings);
        }
        established.finish = Finish::Answered;
        out.finish(session_id, last_out);
        Act::Nothing
    }

    /// Where the node stands now; see `Established::on_status`. True when there is nothing left to
    /// tell.
    pub fn on_status(&mut self, now: Nanos, status: &NodeStatus, out: &mut Outgoing) -> bool {
        match &mut self.state {
            State::Established(established) => established.on_status(now, status, out),
            State::Unnegotiated { .. }
            | State::Opening(_)
            | State::Negotiated { .. }
            | State::Binding(..)
            | State::Finished { .. }
            | State::Ending { .. }
            | State::Closed => true,
        }
    }

    /// Whether the session asked for ReplicationStatus.
    #[must_use]
    pub const fn wants_status(&self) -> bool {
        matches!(&self.state, State::Established(established) if established.status.is_some())
    }
}
