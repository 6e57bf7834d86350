//! From the report log to sockets: answers to logons, timers, and what is released.

use super::side::Notice;
use super::turn::Node;
use crate::limits::{FRAMES_A_TURN_MAX, STATUSES_A_TURN_MAX};
use crate::session::bindings::ConnectionIdx;
use crate::session::node_view::NodeStatus;
use crate::telemetry::counters::Counter;
use crate::vocabulary::event::Event;
use crate::vocabulary::units::{Index, Nanos, Seq, SessionIdx};

/// Sends one connection gets in a turn at most: more wait for the next, so that one fast reader of
/// a long replay cannot hold the others up.
const SENDS_A_CONNECTION_MAX: u32 = 4;

impl Node {
    /// Tells transports that their logon is applied and released.
    pub(super) fn answer_logons(&mut self, now: Nanos) {
        let released = self.sequencer.commit.released();
        while let Some((index, event)) = self.sequencer.take_logon(released) {
            match event {
                Event::Opened { session } => self.answer_opened(now, session),
                Event::Bound { session, next_out, last_in } => {
                    self.answer_bound(now, index, session, next_out, last_in);
                }
                Event::Finishing { session, last_out } => {
                    self.answer_finishing(now, session, last_out);
                }
                Event::Forgotten { .. } | Event::Down { .. } | Event::Report { .. } => {}
            }
        }
        while let Some(session) = self.sequencer.take_told() {
            if let Some(connection) = self.connections.bindings.connection_of(session) {
                self.connections.mark_sending(connection);
            }
        }
    }

    fn answer_opened(&mut self, now: Nanos, session: SessionIdx) {
        let opening = &mut self.connections.opening;
        let Some(at) = opening.iter().position(|(opened, _)| *opened == session) else {
            return;
        };
        let (_, connection) = opening.swap_remove(at);
        let slot = self.connections.get_mut(connection);
        slot.transport.on_opened(now, &mut slot.outgoing);
        self.connections.mark_sending(connection);
        self.connections.mark_ready(connection);
        self.note_deadline(now, connection);
    }

    fn answer_bound(
        &mut self,
        now: Nanos,
        index: Index,
        session: SessionIdx,
        next_out: Seq,
        last_in: Seq,
    ) {
        let Some(connection) = self.connections.bindings.connection_of(session) else { return };
        let slot = self.connections.get(connection);
        if slot.bound != Some(session) || slot.bound_at != index {
            return;
        }
        let status = self.status();
        let slot = self.connections.get_mut(connection);
        let out = &mut slot.outgoing;
        slot.transport.on_bound(now, (next_out, last_in), &status, &self.sequencer.log, out);
        if slot.transport.wants_status() {
            self.statuses.add(connection);
        }
        self.connections.mark_sending(connection);
        self.connections.mark_ready(connection);
        self.note_deadline(now, connection);
        self.counters.add(Counter::Logons, 1);
        if let Some(known) = self.sequencer.machine.sessions().get(session) {
            let session = known.id;
            self.notify(Notice::Established { session });
        }
    }

    /// Where this node stands, for ReplicationStatus.
    fn status(&self) -> NodeStatus {
        NodeStatus {
            epoch: self.sequencer.epoch(),
            commit: self.sequencer.commit.released(),
            durable: Index(0),
            isr_count: 1,
            level: self.sequencer.commit.level(),
        }
    }

    /// Tells some of those who asked where this node stands.
    pub(super) fn tell_statuses(&mut self, now: Nanos) {
        if self.statuses.is_empty() {
            return;
        }
        let status = self.status();
        self.statuses.begin(now, &status);
        for _ in 0..STATUSES_A_TURN_MAX {
            let Some(connection) = self.statuses.next() else { break };
            let slot = self.connections.get_mut(connection);
            if !slot.transport.on_status(now, &status, &mut slot.outgoing) {
                self.statuses.owe();
            }
            if slot.outgoing.has_unsent() {
                self.connections.mark_sending(connection);
            }
        }
        let connections = &self.connections;
        self.statuses.end(|connection| connections.get(connection).transport.wants_status());
    }

    fn answer_finishing(&mut self, now: Nanos, session: SessionIdx, last_out: Seq) {
        let Some(connection) = self.connections.bindings.connection_of(session) else { return };
        let (slot, bindings, _) = self.connections.split(connection);
        let act = slot.transport.on_finishing(now, last_out, &mut slot.outgoing, bindings);
        self.on_end(now, connection, act);
        self.connections.mark_sending(connection);
        self.note_deadline(now, connection);
    }

    /// Looks at every connection whose timer is due.
    pub(super) fn on_timers(&mut self, now: Nanos) -> u32 {
        if !self.connections.is_any_due(now) {
            return 0;
        }
        let mut work = 0;
        let mut from = 0;
        while let Some(connection) = self.connections.take_due(now, from) {
            from = connection.0 + 1;
            let (slot, bindings, _) = self.connections.split(connection);
            if slot.is_free() {
                continue;
            }
            if slot.is_ready && slot.transport.session().is_some() {
                // What the peer sent waits to be read: it is heard before it is judged silent.
                self.connections.look_again(connection, now);
                continue;
            }
            let is_logon = slot.is_open() && slot.transport.awaits_logon();
            let is_due = slot.transport.next_deadline().is_some_and(|due| due <= now);
            // An answer that was held back for its grid may go now.
            let is_held = slot.outgoing.has_unsent() && slot.outgoing.held_until() <= now;
            if is_due {
                let act = slot.transport.on_timer(now, &mut slot.outgoing, bindings);
                if is_logon {
                    self.counters.add(Counter::LogonDrops, 1);
                    self.notify_refused(connection, "no logon in time");
                }
                self.on_end(now, connection, act);
                work += 1;
            }
            if (is_due || is_held) && !self.connections.get(connection).is_free() {
                self.connections.mark_sending(connection);
            }
            self.note_deadline(now, connection);
        }
        self.connections.end_due();
        work
    }

    /// Makes sure that the timers of a connection are looked at in time.
    pub(super) fn note_deadline(&mut self, now: Nanos, connection: ConnectionIdx) {
        let slot = self.connections.get(connection);
        if slot.is_free() {
            return;
        }
        let due = slot.transport.next_deadline();
        let held = Some(slot.outgoing.held_until()).filter(|until| *until > now);
        if let Some(deadline) = [due, held].into_iter().flatten().min() {
            self.connections.look_again(connection, deadline);
        }
    }

    /// Sends what may leave, to each connection that may have something.
    pub(super) fn release(&mut self, now: Nanos) -> u32 {
        let mut work = 0;
        let mut served = 0;
        while served < self.connections.sending_len() && work < FRAMES_A_TURN_MAX {
            let connection = self.connections.sending_at(served);
            work += self.send_to(now, connection);
            served += 1;
        }
        self.connections.end_sending(served);
        work
    }

    /// Up to a few sends to one connection; it leaves the list when it has nothing more to send or
    /// its socket takes no more.
    fn send_to(&mut self, now: Nanos, connection: ConnectionIdx) -> u32 {
        let released = self.sequencer.commit.released();
        let mut sends = 0;
        while sends < SENDS_A_CONNECTION_MAX {
            let log = &self.sequencer.log;
            let (slot, _, scratch) = self.connections.split(connection);
            if slot.is_free() {
                return sends;
            }
            if slot.is_blocked {
                // Composing for a socket that takes nothing would be work for nobody.
                slot.is_sending = false;
                let lag = slot.outgoing.lag_bytes(log);
                if lag > self.reader_lag_max {
                    self.close_slow_reader(now, connection);
                }
                return sends;
            }
            let Ok(octets) = slot.outgoing.fill(now, log, released, scratch) else {
                self.close_slow_reader(now, connection);
                return sends;
            };
            if octets == 0 {
                slot.is_sending = false;
                if slot.outgoing.is_ended() && slot.on_flushed() {
                    self.lose(now, connection);
                }
                return sends;
            }
            sends += 1;
            let Some(sent) = slot.send(scratch.split_at(octets).0) else {
                self.lose(now, connection);
                return sends;
            };
            slot.outgoing.on_sent(log, sent);
            if sent > 0 {
                slot.transport.on_sent(now);
            }
            self.counters.add(Counter::BytesOut, sent as u64);
        }
        sends
    }

    fn close_slow_reader(&mut self, now: Nanos, connection: ConnectionIdx) {
        self.counters.add(Counter::SlowReaders, 1);
        let session = self.connections.get(connection).bound;
        if let Some(known) = session.and_then(|s| self.sequencer.machine.sessions().get(s)) {
            let session = known.id;
            self.notify(Notice::SlowReader { session });
        }
        self.lose(now, connection);
    }
}
