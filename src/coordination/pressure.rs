//! Back-pressure: what a node does while its disk falls behind.
//!
//! The hot thread stores into a mapped ring and a side thread copies that to disk. While the disk
//! is slow the ring fills, and nothing in it may be overwritten before it is persisted. Refusing
//! orders would turn a hiccup of the disk into errors that clients see, and waiting would stop the
//! loop. So the node stops *reading*: TCP holds what clients send, nothing is refused, and what was
//! taken goes on. Only when the disk makes no progress at all does the gate shut, so that clients
//! are told. The same holds for the ring of reports, and, there, for what waits for its commit.
//!
//! ```text
//! unpersisted > 25 % of a ring: an alarm, until < 20 %
//! unpersisted > 50 %, or reports held back by commit > 50 %: no reading, until all are < 40 %
//! no reading (or every acknowledgement waits for the disk), something waits, and nothing of it was
//! persisted for 1 s: the gate shuts, SPACE if the disk is short of it, else JOURNAL
//! short of space: SPACE, at once                     poisoned: JOURNAL, for ever
//! progress, all < 40 %, enough space: what shut the gate ends
//! ```
//!
//! Behind a gate that this file holds shut, sockets are read again: frames are dropped there, and a
//! client that is told waits better than one that is not. Every pair of marks is apart, so a lag
//! that trembles at one does not make the node flap. Pure: `now` and the facts are arguments.

use crate::limits::{
    LAG_ALARM_END_PERCENT, LAG_ALARM_PERCENT, LAG_RESUME_PERCENT, LAG_STOP_PERCENT,
    PERSIST_STALL_MAX,
};
use crate::vocabulary::units::Nanos;

/// A ring that a side thread persists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RingKind {
    /// The journal.
    Journal,
    /// The encoded reports.
    Reports,
}

/// One ring, as of now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingFacts {
    /// Size in bytes, positive.
    pub ring_bytes: u64,
    /// Bytes written and not persisted.
    pub unpersisted_bytes: u64,
    /// Bytes persisted since the ring's first; never goes back.
    pub persisted_to: u64,
}

/// Whether there is room on disk for more segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Space {
    /// There is.
    #[default]
    Enough,
    /// Below the low-water mark.
    Short,
}

/// What the state machine is told once a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The journal ring.
    pub journal: RingFacts,
    /// The report ring.
    pub reports: RingFacts,
    /// Bytes of reports that wait for the commit of their records.
    pub held_back_bytes: u64,
    /// Whether every acknowledgement waits for the disk.
    pub acks_wait: bool,
    /// Room on disk.
    pub space: Space,
    /// Whether a write or a sync failed: the journal is never trusted again.
    pub is_poisoned: bool,
}

/// Why back-pressure holds the gate shut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hold {
    /// `GateCause::Space`.
    Space,
    /// `GateCause::Journal`.
    Journal,
}

/// What changed in a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A ring's alarm begins: so much of it is not persisted.
    LagBegins(RingKind),
    /// It ends.
    LagEnds(RingKind),
    /// There is no more room for segments.
    SpaceShort,
    /// There is room again.
    SpaceEnough,
    /// Clients are not read from here on.
    ReadingStops,
    /// They are read again.
    ReadingResumes,
    /// The gate is to be shut for this.
    Shut(Hold),
    /// The gate is to be ended for this.
    End(Hold),
}

/// A turn changes each of two alarms, space, reading and two holds at most once.
const CHANGES_MAX: usize = 6;

/// What changed in a turn, in the order to act in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    made: [Option<Change>; CHANGES_MAX],
    count: usize,
}

/// The back-pressure of one node.
///
/// Invariants: a ring whose reading is stopped has at least the resume mark unpersisted, as of its
/// last turn; a poisoned node holds JOURNAL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is decided by a rule of its own")]
pub struct Pressure {
    journal: Watch,
    reports: Watch,
    is_commit_behind: bool,
    space: Space,
    was_reading: bool,
    holds_space: bool,
    holds_journal: bool,
    is_poisoned: bool,
}

/// What is remembered of one ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Watch {
    kind: RingKind,
    persisted_to: u64,
    /// When something was last persisted, or nothing waited, or what waits began to.
    progress_at: Nanos,
    was_empty: bool,
    is_alarmed: bool,
    is_stopped: bool,
}

impl Pressure {
    /// A node that begins at `now` with nothing behind.
    #[must_use]
    pub const fn new(now: Nanos) -> Self {
        Self {
            journal: Watch::new(RingKind::Journal, now),
            reports: Watch::new(RingKind::Reports, now),
            is_commit_behind: false,
            space: Space::Enough,
            was_reading: true,
            holds_space: false,
            holds_journal: false,
            is_poisoned: false,
        }
    }

    /// Takes the facts of a turn. `now` never goes back.
    pub fn on_turn(&mut self, now: Nanos, facts: &Facts) -> Changes {
        let mut changes = Changes::default();
        self.journal.on_turn(now, &facts.journal, &mut changes);
        self.reports.on_turn(now, &facts.reports, &mut changes);
        let held_back = RingFacts { unpersisted_bytes: facts.held_back_bytes, ..facts.reports };
        self.is_commit_behind = held_back.is_stopped(self.is_commit_behind);
        if facts.space != self.space {
            self.space = facts.space;
            changes.push(match facts.space {
                Space::Short => Change::SpaceShort,
                Space::Enough => Change::SpaceEnough,
            });
        }
        self.is_poisoned |= facts.is_poisoned;
        self.judge_gate(now, facts, &mut changes);
        if self.is_reading() != self.was_reading {
            self.was_reading = self.is_reading();
            let reading =
                if self.was_reading { Change::ReadingResumes } else { Change::ReadingStops };
            changes.push(reading);
        }
        self.assert_invariants(facts);
        changes
    }

    /// The shell had to shut the gate between two turns, because a ring took nothing more. From now
    /// on that is held, and ended, like everything here. True when it was not held before.
    pub fn on_full(&mut self, hold: Hold) -> bool {
        let holds = self.hold_mut(hold);
        let is_new = !*holds;
        *holds = true;
        is_new
    }

    /// Whether clients are read.
    #[must_use]
    pub const fn is_reading(&self) -> bool {
        !self.is_stopped() || self.holds_space || self.holds_journal
    }

    /// Whether the gate is held shut.
    #[must_use]
    pub const fn holds(&self, hold: Hold) -> bool {
        match hold {
            Hold::Space => self.holds_space,
            Hold::Journal => self.holds_journal,
        }
    }

    const fn is_stopped(&self) -> bool {
        self.journal.is_stopped || self.reports.is_stopped || self.is_commit_behind
    }

    fn judge_gate(&mut self, now: Nanos, facts: &Facts, changes: &mut Changes) {
        let (is_journal_stuck, is_reports_stuck) =
            (self.journal.is_stuck(now), self.reports.is_stuck(now));
        let is_stuck = is_journal_stuck || is_reports_stuck;
        let is_stalled = (self.is_stopped() && is_stuck) || (facts.acks_wait && is_journal_stuck);
        let is_calm = !is_stuck && facts.is_below(LAG_RESUME_PERCENT);
        let is_short = facts.space == Space::Short;
        let space = if is_short { true } else { self.holds_space && !is_calm };
        let journal = if self.is_poisoned || (is_stalled && !is_short) {
            true
        } else {
            self.holds_journal && !is_calm
        };
        for (hold, wanted) in [(Hold::Space, space), (Hold::Journal, journal)] {
            let holds = self.hold_mut(hold);
            if *holds != wanted {
                *holds = wanted;
                changes.push(if wanted { Change::Shut(hold) } else { Change::End(hold) });
            }
        }
    }

    const fn hold_mut(&mut self, hold: Hold) -> &mut bool {
        match hold {
            Hold::Space => &mut self.holds_space,
            Hold::Journal => &mut self.holds_journal,
        }
    }

    fn assert_invariants(&self, facts: &Facts) {
        for (watch, ring) in [(&self.journal, &facts.journal), (&self.reports, &facts.reports)] {
            let is_high = !ring.is_below(LAG_RESUME_PERCENT);
            assert!(is_high || !watch.is_stopped, "reading is stopped for a ring that is not full");
        }
        assert!(!self.is_poisoned || self.holds_journal, "a poisoned node accepts nothing");
    }
}

impl Watch {
    const fn new(kind: RingKind, now: Nanos) -> Self {
        Self {
            kind,
            persisted_to: 0,
            progress_at: now,
            was_empty: true,
            is_alarmed: false,
            is_stopped: false,
        }
    }

    fn on_turn(&mut self, now: Nanos, ring: &RingFacts, changes: &mut Changes) {
        assert!(ring.ring_bytes > 0, "a ring has a size");
        assert!(ring.persisted_to >= self.persisted_to, "what is persisted stays persisted");
        if ring.persisted_to > self.persisted_to || self.was_empty {
            self.progress_at = now;
        }
        self.was_empty = ring.unpersisted_bytes == 0;
        self.persisted_to = ring.persisted_to;
        let is_alarmed = if self.is_alarmed {
            !ring.is_below(LAG_ALARM_END_PERCENT)
        } else {
            ring.is_above(LAG_ALARM_PERCENT)
        };
        if is_alarmed != self.is_alarmed {
            self.is_alarmed = is_alarmed;
            let kind = self.kind;
            changes.push(if is_alarmed { Change::LagBegins(kind) } else { Change::LagEnds(kind) });
        }
        self.is_stopped = ring.is_stopped(self.is_stopped);
    }

    /// Whether something waits and nothing was persisted for too long.
    const fn is_stuck(&self, now: Nanos) -> bool {
        !self.was_empty && now.since(self.progress_at).0 >= PERSIST_STALL_MAX.0
    }
}

impl RingFacts {
    const fn is_above(&self, percent: u64) -> bool {
        self.unpersisted_bytes.saturating_mul(100) > self.ring_bytes.saturating_mul(percent)
    }

    const fn is_below(&self, percent: u64) -> bool {
        self.unpersisted_bytes.saturating_mul(100) < self.ring_bytes.saturating_mul(percent)
    }

    /// Whether this ring stops reading, if it did or did not before.
    const fn is_stopped(&self, was_stopped: bool) -> bool {
        if was_stopped {
            !self.is_below(LAG_RESUME_PERCENT)
        } else {
            self.is_above(LAG_STOP_PERCENT)
        }
    }
}

impl Facts {
    /// Whether neither ring, nor what waits for its commit, has this much.
    fn is_below(&self, percent: u64) -> bool {
        let held_back = RingFacts { unpersisted_bytes: self.held_back_bytes, ..self.reports };
        self.journal.is_below(percent)
            && self.reports.is_below(percent)
            && held_back.is_below(percent)
    }
}

impl Changes {
    fn push(&mut self, change: Change) {
        assert!(self.count < CHANGES_MAX, "each thing changes once a turn");
        self.made[self.count] = Some(change);
        self.count += 1;
    }
}

impl IntoIterator for Changes {
    type Item = Change;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Change>, CHANGES_MAX>>;

    fn into_iter(self) -> Self::IntoIter {
        self.made.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests;
