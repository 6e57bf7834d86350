//! Recovery by number: asks for what is missing, one piece at a time, until the flow is live.

use super::{ClientSession, State};
use crate::client::event::ClientEvent;
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::Nanos;

impl ClientSession {
    /// Asks for the next piece, or goes live when nothing is missing any more.
    pub(super) fn recover(&mut self, now: Nanos, send: &mut Vec<u8>) -> Option<ClientEvent> {
        match self.state {
            State::Recovering if self.inbound.is_live() => {
                self.transition(State::Live, now);
                self.go_on_finishing(now, send);
                Some(ClientEvent::Live)
            }
            // The server skipped numbers: they are recovered like those of a lost line.
            State::Live if !self.inbound.is_live() => {
                self.transition(State::Recovering, now);
                self.ask(now, send);
                None
            }
            State::Recovering => {
                self.ask(now, send);
                None
            }
            State::Live => {
                self.go_on_finishing(now, send);
                None
            }
            State::Disconnected
            | State::Negotiating
            | State::Establishing
            | State::Terminating
            | State::Closed
            | State::Stopped
            | State::Finalized => None,
        }
    }

    pub(super) fn ask(&mut self, now: Nanos, send: &mut Vec<u8>) {
        let timestamp = self.peek_stamp(now);
        if let Some((from_seq_no, count)) = self.inbound.next_request(timestamp) {
            self.stamp = timestamp;
            self.last_served = now;
            let request = SessionMessage::RetransmitRequest {
                session_id: self.identity.session_id,
                timestamp,
                from_seq_no,
                count,
            };
            self.send_session(now, &request, send);
        }
    }
}
