//! Connections to be served in turn, each listed at most once.
//!
//! A turn serves some from the front and stops at its bounds. Who was not reached is first in the
//! next turn; when all were reached, the start moves one further, so that whoever is first in one
//! turn is last in another. A connection that is listed while a round runs waits for the next one.
//!
//! Who is done leaves at the end of a round, not when it is done: it may be listed again before.
//! The list is as long as there are slots and never grows.

use crate::session::bindings::ConnectionIdx;

/// A list of connections.
///
/// Invariant: `order` holds exactly the connections whose `is_listed` is set, once each.
pub struct Round {
    order: Vec<ConnectionIdx>,
    is_listed: Box<[bool]>,
}

impl Round {
    /// An empty list for connections in `[0, connection_count_max)`.
    #[must_use]
    pub fn new(connection_count_max: u32) -> Self {
        let count = connection_count_max as usize;
        Self { order: Vec::with_capacity(count), is_listed: vec![false; count].into() }
    }

    /// Lists a connection, unless it is listed.
    pub fn add(&mut self, connection: ConnectionIdx) {
        let is_listed = &mut self.is_listed[connection.0 as usize];
        if !*is_listed {
            *is_listed = true;
            self.order.push(connection);
        }
    }

    /// How many are listed: a round serves `nth(0)` to `nth(len - 1)` of its beginning.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The `nth` of this round.
    #[must_use]
    pub fn nth(&self, nth: usize) -> ConnectionIdx {
        self.order[nth]
    }

    /// Ends a round in which the first `served` were served; who does not stay is taken out.
    pub fn end(&mut self, served: usize, mut stays: impl FnMut(ConnectionIdx) -> bool) {
        assert!(served <= self.order.len(), "only who is listed is served");
        if self.order.is_empty() {
            return;
        }
        let step = if served < self.order.len() { served } else { 1 };
        self.order.rotate_left(step);
        let is_listed = &mut self.is_listed;
        self.order.retain(|connection| {
            let stays = stays(*connection);
            is_listed[connection.0 as usize] = stays;
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves `count` and drops those in `leave`; gives back who was served.
    fn serve(round: &mut Round, count: usize, leave: &[u32]) -> Vec<u32> {
        let served = (0..count.min(round.len())).map(|nth| round.nth(nth).0).collect::<Vec<_>>();
        round.end(served.len(), |connection| !leave.contains(&connection.0));
        served
    }

    #[test]
    fn each_is_listed_once_and_memory_never_grows() {
        let mut round = Round::new(3);
        for connection in [2, 0, 2, 2, 1, 0] {
            round.add(ConnectionIdx(connection));
        }
        assert_eq!((round.len(), round.order.capacity()), (3, 3));
        assert_eq!(serve(&mut round, 3, &[0]), [2, 0, 1]);
        round.add(ConnectionIdx(1));
        round.add(ConnectionIdx(0));
        assert_eq!((round.len(), round.order.capacity()), (3, 3));
    }

    #[test]
    fn who_was_not_reached_is_first_in_the_next_round() {
        let mut round = Round::new(5);
        (0..5).for_each(|connection| round.add(ConnectionIdx(connection)));
        assert_eq!(serve(&mut round, 2, &[]), [0, 1]);
        assert_eq!(serve(&mut round, 2, &[]), [2, 3]);
        assert_eq!(serve(&mut round, 2, &[4]), [4, 0]);
        assert_eq!(serve(&mut round, 5, &[]), [1, 2, 3, 0], "one further, when all were reached");
        assert_eq!(serve(&mut round, 5, &[]), [2, 3, 0, 1]);
    }

    #[test]
    fn an_empty_round_ends() {
        let mut round = Round::new(1);
        round.end(0, |_| true);
        round.add(ConnectionIdx(0));
        assert_eq!(serve(&mut round, 1, &[0]), [0]);
        assert!(round.is_empty());
    }
}
