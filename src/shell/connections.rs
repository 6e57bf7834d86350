//! All connections of a node: slots, the lists of who may have input or output, and who carries
//! which session.
//!
//! A flag in a slot says whether it may have input or output; the lists (`round.rs`) say in which
//! order those are served. Deadlines stand apart from the slots, so that looking for the ones that
//! are due touches a few cache lines and not every connection.

use std::collections::VecDeque;

use super::connection::Connection;
use super::poll::Readiness;
use super::round::Round;
use crate::session::bindings::{Bindings, ConnectionIdx};
use crate::vocabulary::bytes::present;
use crate::vocabulary::units::{Nanos, SessionIdx};

/// Octets gathered for one `send`.
const SEND_BYTES: usize = 64 << 10;
const NEVER: Nanos = Nanos(u64::MAX);

/// Every connection slot of the node.
pub struct Connections {
    /// Which connection carries which session.
    pub bindings: Bindings,
    /// Where output is gathered for one `send`; shared, since a send never waits.
    pub scratch: Box<[u8]>,
    /// Who has not logged on yet, the oldest first, and when each came; some may have since.
    pub waiting: VecDeque<(ConnectionIdx, Nanos)>,
    /// Who waits for the answer to a Negotiate.
    pub opening: Vec<(SessionIdx, ConnectionIdx)>,
    slots: Box<[Connection]>,
    free: Vec<ConnectionIdx>,
    /// Who may have input.
    ready: Round,
    /// Who may have output.
    sending: Round,
    /// When to look at the timers of each slot, at the latest.
    due: Box<[Nanos]>,
    /// No entry of `due` is below.
    next_due: Nanos,
}

impl Connections {
    /// `connection_count_max` slots, and one binding for each of `session_count_max` sessions.
    #[must_use]
    pub fn new(connection_count_max: u32, session_count_max: u32) -> Self {
        let count = connection_count_max as usize;
        Self {
            bindings: Bindings::new(session_count_max),
            scratch: present(SEND_BYTES, 0, u8::MAX),
            waiting: VecDeque::with_capacity(count + 1),
            opening: Vec::with_capacity(count),
            slots: (0..connection_count_max).map(ConnectionIdx).map(Connection::free).collect(),
            free: (0..connection_count_max).rev().map(ConnectionIdx).collect(),
            ready: Round::new(connection_count_max),
            sending: Round::new(connection_count_max),
            due: vec![NEVER; count].into(),
            next_due: NEVER,
        }
    }

    /// A slot and everything beside it, borrowed apart.
    pub fn split(
        &mut self,
        connection: ConnectionIdx,
    ) -> (&mut Connection, &mut Bindings, &mut [u8]) {
        let slot = &mut self.slots[connection.0 as usize];
        (slot, &mut self.bindings, &mut self.scratch)
    }

    /// A slot.
    #[must_use]
    pub fn get(&self, connection: ConnectionIdx) -> &Connection {
        &self.slots[connection.0 as usize]
    }

    /// A slot.
    pub fn get_mut(&mut self, connection: ConnectionIdx) -> &mut Connection {
        &mut self.slots[connection.0 as usize]
    }

    /// Takes a free slot.
    pub fn take_free(&mut self) -> Option<ConnectionIdx> {
        self.free.pop()
    }

    /// Notes that a connection has come and not logged on yet.
    pub fn note_waiting(&mut self, connection: ConnectionIdx) {
        self.waiting.push_back((connection, self.get(connection).opened_at));
    }

    /// The oldest connection without a logon, if there are `count_max` of them: it gives way.
    pub fn take_oldest_waiting(&mut self, count_max: u32) -> Option<ConnectionIdx> {
        let count_max = count_max as usize;
        if self.waiting.len() < count_max {
            return None;
        }
        // Only now is it asked who has logged on meanwhile, or is another connection in its slot.
        let slots = &self.slots;
        self.waiting.retain(|(connection, opened_at)| {
            let slot = &slots[connection.0 as usize];
            slot.is_open() && slot.opened_at == *opened_at && slot.transport.awaits_logon()
        });
        if self.waiting.len() < count_max {
            return None;
        }
        self.waiting.pop_front().map(|(oldest, _)| oldest)
    }

    /// Gives a slot back; its socket is closed.
    pub fn give_back(&mut self, connection: ConnectionIdx) {
        assert!(self.get(connection).is_free(), "a slot is given back when its socket is closed");
        self.opening.retain(|(_, waiting)| *waiting != connection);
        self.due[connection.0 as usize] = NEVER;
        self.free.push(connection);
    }

    /// Connections in use.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.slots.len() - self.free.len()).unwrap_or(u32::MAX)
    }

    /// Slots of connections in use.
    pub fn in_use(&self) -> impl Iterator<Item = ConnectionIdx> + '_ {
        (0..).map(ConnectionIdx).zip(&self.slots).filter(|(_, c)| !c.is_free()).map(|(i, _)| i)
    }

    /// Every slot number.
    #[must_use]
    pub fn slot_count(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Notes what a poll found.
    pub fn on_readiness(&mut self, found: impl Iterator<Item = Readiness>) {
        for readiness in found {
            let Some(slot) = self.slots.get_mut(readiness.connection.0 as usize) else { continue };
            if slot.is_free() {
                continue;
            }
            slot.is_peer_closed |= readiness.is_closed;
            if readiness.is_readable {
                slot.is_ready = true;
                self.ready.add(readiness.connection);
            }
            if readiness.is_writable {
                slot.is_blocked = false;
                slot.is_sending = true;
                self.sending.add(readiness.connection);
            }
        }
    }

    /// Notes that a connection may have input.
    pub fn mark_ready(&mut self, connection: ConnectionIdx) {
        self.slots[connection.0 as usize].is_ready = true;
        self.ready.add(connection);
    }

    /// Notes that a connection may have output.
    pub fn mark_sending(&mut self, connection: ConnectionIdx) {
        self.slots[connection.0 as usize].is_sending = true;
        self.sending.add(connection);
    }

    /// Whether a connection may have input without a new readiness.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many may have input; serve `ready_at(0..)`, then `end_ready`.
    #[must_use]
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The `nth` of this turn.
    #[must_use]
    pub fn ready_at(&self, nth: usize) -> ConnectionIdx {
        self.ready.nth(nth)
    }

    /// Forgets those whose flag was cleared; the first `served` were served.
    pub fn end_ready(&mut self, served: usize) {
        let slots = &self.slots;
        self.ready.end(served, |connection| slots[connection.0 as usize].is_ready);
    }

    /// How many may have output; serve `sending_at(0..)`, then `end_sending`.
    #[must_use]
    pub fn sending_len(&self) -> usize {
        self.sending.len()
    }

    /// The `nth` of this turn.
    #[must_use]
    pub fn sending_at(&self, nth: usize) -> ConnectionIdx {
        self.sending.nth(nth)
    }

    /// Forgets those whose flag was cleared; the first `served` were served.
    pub fn end_sending(&mut self, served: usize) {
        let slots = &self.slots;
        self.sending.end(served, |connection| slots[connection.0 as usize].is_sending);
    }

    /// Looks at a connection again at `due`, or before.
    pub fn look_again(&mut self, connection: ConnectionIdx, due: Nanos) {
        self.due[connection.0 as usize] = due;
        self.next_due = self.next_due.min(due);
    }

    /// Whether a deadline may have passed.
    #[must_use]
    pub fn is_any_due(&self, now: Nanos) -> bool {
        self.next_due <= now
    }

    /// The first slot from `from` on whose deadline has passed; it has none until `look_again`.
    pub fn take_due(&mut self, now: Nanos, from: u32) -> Option<ConnectionIdx> {
        let rest = self.due.get_mut(from as usize..)?;
        let (connection, due) = (from..).zip(rest).find(|(_, due)| **due <= now)?;
        *due = NEVER;
        Some(ConnectionIdx(connection))
    }

    /// After all that were due were looked at: when to look again.
    pub fn end_due(&mut self) {
        self.next_due = self.due.iter().copied().min().unwrap_or(NEVER);
    }
}
