//! All connections of a node: slots, the lists of who may have input or output, and who carries
//! which session.
//!
//! The lists hold each connection at most once (a flag in its slot), so they never outgrow the
//! slots. The ready list is served from a start that moves on by one each turn: whoever is first in
//! one turn is last in another.

use super::connection::Connection;
use super::poll::Readiness;
use crate::session::bindings::{Bindings, ConnectionIdx};
use crate::vocabulary::units::{Nanos, SessionIdx};

/// Octets gathered for one `send`.
const SEND_BYTES: usize = 64 << 10;

/// Every connection slot of the node.
pub struct Connections {
    /// Which connection carries which session.
    pub bindings: Bindings,
    /// Where output is gathered for one `send`; shared, since a send never waits.
    pub scratch: Box<[u8]>,
    /// No timer of a connection is due before this.
    pub next_timer: Nanos,
    /// Who waits for the answer to a Negotiate.
    pub opening: Vec<(SessionIdx, ConnectionIdx)>,
    slots: Box<[Connection]>,
    free: Vec<ConnectionIdx>,
    ready: Vec<ConnectionIdx>,
    sending: Vec<ConnectionIdx>,
    first: usize,
}

impl Connections {
    /// `connection_count_max` slots, and one binding for each of `session_count_max` sessions.
    #[must_use]
    pub fn new(connection_count_max: u32, session_count_max: u32) -> Self {
        let count = connection_count_max as usize;
        Self {
            bindings: Bindings::new(session_count_max),
            scratch: vec![0; SEND_BYTES].into(),
            next_timer: Nanos(u64::MAX),
            opening: Vec::with_capacity(count),
            slots: (0..connection_count_max).map(ConnectionIdx).map(Connection::free).collect(),
            free: (0..connection_count_max).rev().map(ConnectionIdx).collect(),
            ready: Vec::with_capacity(count),
            sending: Vec::with_capacity(count),
            first: 0,
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

    /// Gives a slot back; its socket is closed.
    pub fn give_back(&mut self, connection: ConnectionIdx) {
        assert!(self.get(connection).is_free(), "a slot is given back when its socket is closed");
        self.opening.retain(|(_, waiting)| *waiting != connection);
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
            if readiness.is_readable && !slot.is_ready {
                slot.is_ready = true;
                self.ready.push(readiness.connection);
            }
            if readiness.is_writable && !slot.is_sending {
                slot.is_sending = true;
                self.sending.push(readiness.connection);
            }
        }
    }

    /// Forgets what the lists still hold of the last connection in a slot.
    pub fn forget(&mut self, connection: ConnectionIdx) {
        self.ready.retain(|listed| *listed != connection);
        self.sending.retain(|listed| *listed != connection);
    }

    /// Notes that a connection may have input.
    pub fn mark_ready(&mut self, connection: ConnectionIdx) {
        let slot = &mut self.slots[connection.0 as usize];
        if !slot.is_ready {
            slot.is_ready = true;
            self.ready.push(connection);
        }
    }

    /// Notes that a connection may have output.
    pub fn mark_sending(&mut self, connection: ConnectionIdx) {
        let slot = &mut self.slots[connection.0 as usize];
        if !slot.is_sending {
            slot.is_sending = true;
            self.sending.push(connection);
        }
    }

    /// Whether a connection may have input without a new readiness.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many may have input; serve `ready_at(0..)`, then `end_ready`.
    pub fn begin_ready(&mut self) -> usize {
        self.first = self.first.wrapping_add(1);
        self.ready.len()
    }

    /// The `nth` of this turn.
    #[must_use]
    pub fn ready_at(&self, nth: usize) -> ConnectionIdx {
        self.ready[(self.first.wrapping_add(nth)) % self.ready.len()]
    }

    /// Forgets those whose flag was cleared.
    pub fn end_ready(&mut self) {
        let slots = &self.slots;
        self.ready.retain(|connection| slots[connection.0 as usize].is_ready);
    }

    /// How many may have output; serve `sending_at(0..)`, then `end_sending`.
    #[must_use]
    pub fn sending_len(&self) -> usize {
        self.sending.len()
    }

    /// The `nth` of this turn.
    #[must_use]
    pub fn sending_at(&self, nth: usize) -> ConnectionIdx {
        self.sending[nth]
    }

    /// Forgets those whose flag was cleared.
    pub fn end_sending(&mut self) {
        let slots = &self.slots;
        self.sending.retain(|connection| slots[connection.0 as usize].is_sending);
    }
}
