//! What the hot thread does about its disk: back-pressure each turn, and the end when it failed.
//!
//! The side threads that write say how far they are ([`Disk`]); `coordination/pressure.rs` decides,
//! and this file carries out: clients are not read, the gate shuts and opens, an operator is told.
//! After the first failed write nothing is trusted again: the gate is shut for good, every session
//! is told and ended, nothing more is journaled or released, and the node ends with a fault of its
//! own. Records that only the mapped ring holds are still there for the next start.

use super::side::Notice;
use super::turn::{Node, SHUTDOWN_GRACE};
use crate::coordination::pressure::{Change, Hold, RingKind, Space};
use crate::telemetry::counters::Counter;
use crate::vocabulary::fix::{GateCause, TerminationCode};
use crate::vocabulary::units::{Nanos, Text};

/// What failed, for a human.
pub type DiskFault = Text<96>;

/// How far the side threads that write are, as of the beginning of a turn. By default nothing waits
/// and nothing failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disk {
    /// Journal bytes appended and not durable.
    pub journal_unpersisted_bytes: u64,
    /// The durable position of the journal.
    pub journal_persisted_to: u64,
    /// Report bytes appended and not in a segment.
    pub reports_unpersisted_bytes: u64,
    /// The position up to which reports are in segments.
    pub reports_persisted_to: u64,
    /// Whether there is room for more segments.
    pub space: Space,
    /// The first write or sync that failed.
    pub fault: Option<DiskFault>,
}

impl Node {
    /// Judges how far behind the disk is, and whether it failed.
    pub(super) fn look_at_disk(&mut self, now: Nanos) -> u32 {
        let facts = self.sequencer.pressure_facts();
        self.counters.set(Counter::JournalLag, facts.journal.unpersisted_bytes);
        self.counters.set(Counter::DurableIndex, self.sequencer.commit.durable().0);
        let mut work = 0;
        for change in self.pressure.on_turn(now, &facts) {
            self.on_pressure(change);
            work += 1;
        }
        if let Some(what) = self.sequencer.journal_fault()
            && self.failure.is_none()
        {
            self.begin_failure(now, what);
            work += 1;
        }
        work
    }

    /// Whether clients are read: always behind a shut gate, where their frames are dropped and they
    /// are told.
    pub(super) fn is_reading(&self) -> bool {
        self.pressure.is_reading() || self.sequencer.gate.cause().is_some()
    }

    /// Shuts the gate when the ring has room for nothing but the ends of transports. Asked before
    /// each frame: a turn may bring many.
    pub(super) fn check_space(&mut self) {
        if self.sequencer.is_nearly_full() {
            self.shut_full();
        }
    }

    /// The ring takes nothing more.
    pub(super) fn shut_full(&mut self) {
        if self.pressure.on_full(Hold::Space) {
            self.counters.add(Counter::GateShutsByDisk, 1);
        }
        self.shut(GateCause::Space);
    }

    fn on_pressure(&mut self, change: Change) {
        let disk = self.sequencer.disk;
        match change {
            Change::LagBegins(ring) => {
                let bytes = disk.unpersisted_bytes(ring);
                self.notify(Notice::LagBegins { ring, bytes });
            }
            Change::LagEnds(ring) => self.notify(Notice::LagEnds { ring }),
            Change::SpaceShort => self.notify(Notice::SpaceShort),
            Change::SpaceEnough => self.notify(Notice::SpaceEnough),
            Change::ReadingStops => {
                self.counters.add(Counter::ReadingStops, 1);
                self.notify(Notice::ReadingStopped);
            }
            Change::ReadingResumes => self.notify(Notice::ReadingResumed),
            Change::Shut(hold) => {
                self.counters.add(Counter::GateShutsByDisk, 1);
                self.shut(cause_of(hold));
            }
            Change::End(hold) => self.end(cause_of(hold)),
        }
    }

    /// The journal failed: everybody is told, and the node ends after its grace.
    fn begin_failure(&mut self, now: Nanos, what: DiskFault) {
        // Whatever else was judged in this turn: never opened again.
        self.shut(GateCause::Journal);
        self.failure = Some(what);
        self.notify(Notice::JournalFailed { what });
        self.sockets.close_listener();
        self.shutdown.get_or_insert_with(|| now.saturating_add(SHUTDOWN_GRACE));
        self.stop_all(now, TerminationCode::UnspecifiedError, "the journal failed");
    }
}

impl Disk {
    const fn unpersisted_bytes(&self, ring: RingKind) -> u64 {
        match ring {
            RingKind::Journal => self.journal_unpersisted_bytes,
            RingKind::Reports => self.reports_unpersisted_bytes,
        }
    }
}

const fn cause_of(hold: Hold) -> GateCause {
    match hold {
        Hold::Space => GateCause::Space,
        Hold::Journal => GateCause::Journal,
    }
}
