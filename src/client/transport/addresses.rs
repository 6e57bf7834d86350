//! Which address is tried next, and when.
//!
//! After a lost line any node of the list may be the one that serves now, so the next is tried,
//! after a short fixed pause: a doubling one would make the last client of a failover wait longest.

use std::net::SocketAddr;

use crate::client::desk::Leave;
use crate::vocabulary::units::Nanos;

/// A client's own list. Invariant: not empty, `at` is inside.
#[derive(Debug)]
pub(super) struct Addresses {
    list: Vec<SocketAddr>,
    at: usize,
    pause: Nanos,
    /// When the next attempt is due.
    due: Nanos,
}

impl Addresses {
    /// The list, unless it is empty; the first is due at once.
    pub(super) fn try_new(list: Vec<SocketAddr>, pause: Nanos) -> Option<Self> {
        (!list.is_empty()).then_some(Self { list, at: 0, pause, due: Nanos(0) })
    }

    /// The address to try now.
    pub(super) fn current(&self) -> Option<SocketAddr> {
        self.list.get(self.at).copied()
    }

    /// An attempt or a line ended: what comes next.
    pub(super) fn on_left(&mut self, now: Nanos, leave: Leave) {
        match leave {
            Leave::SameAddress(pause) => self.due = now.saturating_add(pause),
            Leave::NextAddress => {
                self.at = (self.at + 1) % self.list.len().max(1);
                self.due = now.saturating_add(self.pause);
            }
            Leave::ForEver => self.due = Nanos(u64::MAX),
        }
    }

    /// When the next attempt is due.
    pub(super) const fn due(&self) -> Nanos {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_turns_and_a_server_keeps_its_place_when_it_asks_for_patience() {
        let list: Vec<SocketAddr> =
            ["127.0.0.1:1", "127.0.0.1:2"].map(|a| a.parse().unwrap()).to_vec();
        assert!(Addresses::try_new(Vec::new(), Nanos(5)).is_none());
        let mut addresses = Addresses::try_new(list.clone(), Nanos(5)).unwrap();
        let mut seen = Vec::new();
        for leave in
            [Leave::NextAddress, Leave::SameAddress(Nanos(250)), Leave::NextAddress, Leave::ForEver]
        {
            addresses.on_left(Nanos(100), leave);
            seen.push((addresses.current().unwrap(), addresses.due().0));
        }
        let expected = [(list[1], 105), (list[1], 350), (list[0], 105), (list[0], u64::MAX)];
        assert_eq!(seen, expected);
    }
}
