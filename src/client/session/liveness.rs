//! Keep-alive at both ends (ruling F24): heartbeats, one probe into a silence, then the end.

use super::{ClientSession, SERVICE_MAX, State};
use crate::client::event::ClientEvent;
use crate::vocabulary::fix::TerminationCode;
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::Nanos;

impl ClientSession {
    /// Something must be sent within the interval that this end announced, so it is due earlier.
    ///
    /// At a shut gate the Sequence is the probe that finds it open, and comes more often (F02).
    pub(super) fn heartbeat_at(&self) -> Nanos {
        let quarter = Nanos::from_millis(self.options.keepalive_interval).0 / 4;
        let span = if self.is_gate_shut { quarter } else { 3 * quarter };
        self.last_sent.saturating_add(Nanos(span))
    }

    /// When a server that owes something is given up, however alive it seems.
    pub(super) fn service_at(&self) -> Nanos {
        if self.state == State::Recovering || self.finish.is_waiting() {
            return self.last_served.saturating_add(SERVICE_MAX);
        }
        Nanos(u64::MAX)
    }

    /// Changes whenever the server serves something that it owes.
    pub(super) fn service_mark(&self) -> impl PartialEq + use<> {
        (self.inbound.service_mark(), self.finish)
    }

    /// Silence of one interval is answered with a probe, of two and a half with the end.
    pub(super) fn silence_at(&self) -> Nanos {
        let interval = self.server_interval.0;
        let span = if self.is_probed {
            let leniency = (interval / 2).max(100 * Nanos::MILLI.0);
            interval.saturating_mul(2).saturating_add(leniency)
        } else {
            interval
        };
        self.last_received.saturating_add(Nanos(span))
    }

    pub(super) fn on_keepalive(&mut self, now: Nanos, send: &mut Vec<u8>) -> Option<ClientEvent> {
        let is_silent = now > self.silence_at();
        if is_silent && self.is_probed {
            let reason = "nothing came for 2.5 intervals";
            self.send_terminate(TerminationCode::KeepaliveLapsed, reason, send);
            return Some(self.leave(now, TerminationCode::KeepaliveLapsed, reason));
        }
        if is_silent || now >= self.heartbeat_at() {
            self.is_probed |= is_silent;
            let next_seq_no = self.position_out;
            self.send_session(now, &SessionMessage::Sequence { next_seq_no }, send);
        }
        None
    }
}
