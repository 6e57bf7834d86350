//! Keep-alive at both ends (ruling F24): heartbeats, one probe into a silence, then the end.

use super::ClientSession;
use crate::client::event::ClientEvent;
use crate::vocabulary::fix::TerminationCode;
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::Nanos;

impl ClientSession {
    /// Something must be sent within the interval that this end announced, so it is due earlier.
    pub(super) fn heartbeat_at(&self) -> Nanos {
        let interval = Nanos::from_millis(self.options.keepalive_interval);
        self.last_sent.saturating_add(Nanos(interval.0 / 4 * 3))
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
            let next_seq_no = self.next_out;
            self.send_session(now, &SessionMessage::Sequence { next_seq_no }, send);
        }
        None
    }
}
