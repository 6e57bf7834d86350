//! Which connection of this node carries which session, and when its peer was last heard.
//!
//! One transport at a time is bound to a session. A second Establish is refused, unless the first
//! transport has been silent for more than its peer's keep-alive interval: then the peer's host has
//! most likely died, and a client must not wait for the line to lapse (ruling F33). The node's own
//! knowledge, never journaled; one slot a session, so nothing can be full.

use crate::vocabulary::units::{Nanos, SessionIdx};

/// A connection's slot in the shell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionIdx(pub u32);

/// The transports of all sessions.
#[derive(Debug)]
pub struct Bindings {
    slots: Box<[Option<Binding>]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Binding {
    connection: ConnectionIdx,
    last_heard: Nanos,
    interval: Nanos,
}

/// Whether a session can be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bindable {
    /// No transport is bound.
    Free,
    /// A silent transport must be ended first.
    Displaces(ConnectionIdx),
    /// A live transport is bound.
    Taken,
}

impl Bindings {
    /// One slot for each of `session_count_max` sessions.
    #[must_use]
    pub fn new(session_count_max: u32) -> Self {
        Self { slots: vec![None; session_count_max as usize].into() }
    }

    /// Whether `session` can be bound at `now`.
    #[must_use]
    pub fn bindable(&self, session: SessionIdx, now: Nanos) -> Bindable {
        match self.slots[session.0 as usize] {
            None => Bindable::Free,
            Some(bound) if now.since(bound.last_heard) > bound.interval => {
                Bindable::Displaces(bound.connection)
            }
            Some(_) => Bindable::Taken,
        }
    }

    /// Binds `session` to `connection`, in place of a silent one.
    pub fn bind(
        &mut self,
        session: SessionIdx,
        connection: ConnectionIdx,
        now: Nanos,
        interval: Nanos,
    ) {
        assert!(self.bindable(session, now) != Bindable::Taken, "one live transport a session");
        self.slots[session.0 as usize] = Some(Binding { connection, last_heard: now, interval });
    }

    /// The peer of `connection` was heard.
    pub fn on_received(&mut self, session: SessionIdx, connection: ConnectionIdx, now: Nanos) {
        match &mut self.slots[session.0 as usize] {
            Some(bound) if bound.connection == connection => bound.last_heard = now,
            Some(_) | None => {}
        }
    }

    /// Frees `session`, unless another connection has taken it over.
    pub fn release(&mut self, session: SessionIdx, connection: ConnectionIdx) {
        let slot = &mut self.slots[session.0 as usize];
        if slot.is_some_and(|bound| bound.connection == connection) {
            *slot = None;
        }
    }

    /// The connection that carries `session`.
    #[must_use]
    pub fn connection_of(&self, session: SessionIdx) -> Option<ConnectionIdx> {
        self.slots.get(session.0 as usize).copied().flatten().map(|bound| bound.connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silent_transport_gives_way() {
        let (s, old, new) = (SessionIdx(1), ConnectionIdx(7), ConnectionIdx(8));
        let mut bindings = Bindings::new(2);
        assert_eq!(bindings.bindable(s, Nanos(0)), Bindable::Free);
        bindings.bind(s, old, Nanos(0), Nanos(100));
        bindings.on_received(s, old, Nanos(50));
        assert_eq!(bindings.bindable(s, Nanos(150)), Bindable::Taken, "not more than an interval");
        assert_eq!(bindings.bindable(s, Nanos(151)), Bindable::Displaces(old));
        bindings.bind(s, new, Nanos(151), Nanos(100));
        bindings.on_received(s, old, Nanos(200));
        bindings.release(s, old);
        assert_eq!(bindings.connection_of(s), Some(new), "the old one has no say any more");
        assert_eq!(bindings.bindable(s, Nanos(252)), Bindable::Displaces(new));
        bindings.release(s, new);
        assert_eq!(bindings.connection_of(s), None);
        assert_eq!(bindings.connection_of(SessionIdx(9)), None);
    }
}
