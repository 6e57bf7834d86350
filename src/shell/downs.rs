//! Ends of transports that wait for the gate (ruling F02).
//!
//! Behind a shut gate nothing of a client is sequenced, its loss neither: the window of cancel on
//! disconnect must not run while the client could not come back. So the end waits here and is
//! journaled when the gate opens, as if the line were lost then. Until all of them are journaled
//! clients find the gate shut: an Establish behind one would bind a session that the machine still
//! holds for bound.
//!
//! A session is lost once until it is established again, which a shut gate refuses; so there is a
//! place for each, made at start-up, and never too few. A stop or a crash before the gate opens
//! loses nothing: the next EpochStart ends every bound session.

use std::collections::VecDeque;

use crate::session::act::Down;
use crate::vocabulary::fix::GateCause;

/// Journaled in one turn at most.
pub(super) const DOWNS_A_TURN_MAX: u32 = 1024;

/// The ends that wait, oldest first.
pub(super) struct Downs {
    waiting: VecDeque<Down>,
    /// Why the gate was shut when the newest of them came.
    cause: GateCause,
}

impl Downs {
    /// Room for `session_count_max` ends.
    #[must_use]
    pub(super) fn new(session_count_max: u32) -> Self {
        let waiting = VecDeque::with_capacity(session_count_max as usize);
        Self { waiting, cause: GateCause::Space }
    }

    /// Keeps an end that came while the gate was shut for `cause`.
    pub(super) fn push(&mut self, down: Down, cause: GateCause) {
        assert!(self.waiting.len() < self.waiting.capacity(), "a session is lost once");
        self.waiting.push_back(down);
        self.cause = cause;
    }

    /// The oldest end, which stays until [`Self::pop`].
    #[must_use]
    pub(super) fn first(&self) -> Option<Down> {
        self.waiting.front().copied()
    }

    /// The oldest end is journaled.
    pub(super) fn pop(&mut self) {
        self.waiting.pop_front();
    }

    /// Why clients still find the gate shut, if they do.
    #[must_use]
    pub(super) fn cause(&self) -> Option<GateCause> {
        (!self.waiting.is_empty()).then_some(self.cause)
    }
}
