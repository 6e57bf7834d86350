//! Who asked for ReplicationStatus, and when it is told (ruling F10).
//!
//! A change of level, epoch or members is told at once; positions move with every order and are
//! told at most every 100 ms. A round over those who asked is begun when there is something to
//! tell, goes on over several turns if they are many, and takes everybody's own pace into account:
//! who was told less than 100 ms ago, or has not read what it was sent, is told in the next round,
//! which then comes even if nothing moves any more.

use super::round::Round;
use crate::limits::STATUS_INTERVAL;
use crate::session::bindings::ConnectionIdx;
use crate::session::node_view::NodeStatus;
use crate::vocabulary::units::Nanos;

/// Connections that asked for status messages.
pub(super) struct Statuses {
    asked: Round,
    told: Option<NodeStatus>,
    told_at: Nanos,
    /// So many of the running round are served.
    served: usize,
    is_running: bool,
    /// Somebody was left out.
    is_owed: bool,
}

impl Statuses {
    /// Nobody asked yet.
    pub(super) fn new(connection_count_max: u32) -> Self {
        Self {
            asked: Round::new(connection_count_max),
            told: None,
            told_at: Nanos(0),
            served: 0,
            is_running: false,
            is_owed: false,
        }
    }

    /// A connection asked for it. Between rounds; one that comes during a round waits for the next.
    pub(super) fn add(&mut self, connection: ConnectionIdx) {
        self.asked.add(connection);
        self.is_owed = true;
    }

    /// Whether nobody asked.
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Begins a round if there is something to tell.
    pub(super) fn begin(&mut self, now: Nanos, status: &NodeStatus) {
        if self.is_running {
            return;
        }
        let is_news = self.told.is_none_or(|told| status.differs(&told));
        let has_moved = self.is_owed || self.told != Some(*status);
        if is_news || has_moved && now.since(self.told_at) >= STATUS_INTERVAL {
            (self.told, self.told_at) = (Some(*status), now);
            (self.served, self.is_running, self.is_owed) = (0, true, false);
        }
    }

    /// The next connection of the running round.
    pub(super) fn next(&mut self) -> Option<ConnectionIdx> {
        if !self.is_running || self.served == self.asked.len() {
            return None;
        }
        self.served += 1;
        Some(self.asked.nth(self.served - 1))
    }

    /// Somebody could not be told: there will be another round.
    pub(super) const fn owe(&mut self) {
        self.is_owed = true;
    }

    /// Ends the round if everybody was served; who does not stay is taken out.
    pub(super) fn end(&mut self, stays: impl FnMut(ConnectionIdx) -> bool) {
        if self.is_running && self.served == self.asked.len() {
            self.asked.end(self.served, stays);
            self.is_running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::fix::AckLevel;
    use crate::vocabulary::units::{Epoch, Index};

    /// Runs a whole round, if one begins, and gives who was served.
    fn round(statuses: &mut Statuses, ms: u64, status: &NodeStatus) -> Vec<u32> {
        statuses.begin(Nanos(ms * Nanos::MILLI.0), status);
        let mut served = Vec::new();
        while let Some(connection) = statuses.next() {
            served.push(connection.0);
        }
        statuses.end(|_| true);
        served.sort_unstable();
        served
    }

    #[test]
    fn positions_are_told_at_a_pace_and_levels_at_once() {
        let at = |commit: u64| NodeStatus {
            epoch: Epoch(1),
            commit: Index(commit),
            durable: Index(0),
            isr_count: 1,
            level: AckLevel::LocalMmap,
        };
        let mut statuses = Statuses::new(4);
        statuses.add(ConnectionIdx(2));
        statuses.add(ConnectionIdx(0));
        assert_eq!(round(&mut statuses, 1_000, &at(1)), [0, 2]);
        assert_eq!(round(&mut statuses, 1_500, &at(1)), [0; 0], "nothing moved");
        assert_eq!(round(&mut statuses, 1_501, &at(2)), [0, 2]);
        assert_eq!(round(&mut statuses, 1_600, &at(3)), [0; 0], "not yet");
        assert_eq!(round(&mut statuses, 1_601, &at(3)), [0, 2], "the last move is told too");
        let level = NodeStatus { level: AckLevel::Async, ..at(3) };
        assert_eq!(round(&mut statuses, 1_602, &level), [0, 2], "at once");
        statuses.owe();
        assert_eq!(round(&mut statuses, 1_701, &level), [0; 0]);
        assert_eq!(round(&mut statuses, 1_702, &level), [0, 2], "who was left out is told later");
        statuses.begin(Nanos(2_000 * Nanos::MILLI.0), &at(9));
        assert!(statuses.next().is_some() && statuses.next().is_some());
        statuses.end(|connection| connection != ConnectionIdx(0));
        assert_eq!(round(&mut statuses, 3_000, &at(10)), [2], "who left is not told");
    }
}
