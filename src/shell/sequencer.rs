//! The journal and the machine of a node, kept in step.
//!
//! ```text
//! append: record into the ring       (admitted inputs of this turn, in order)
//! apply:  every appended record -> machine -> reports into the log
//! commit: what may leave
//! ```
//!
//! The gate is shut for space while there is still room: what a shut gate itself must journal (the
//! ends of transports) has a reserve that client messages never touch.

use std::collections::VecDeque;

use super::disk::Disk;
use super::held_back::HeldBack;
use crate::coordination::gate::Gate;
use crate::coordination::pressure::{Facts, RingFacts, Space};
use crate::engine::outbox::{Outbox, ReportSink};
use crate::limits::{CREDENTIAL_CHECKS_A_TURN_MAX, STATE_HASH_INTERVAL};
use crate::machine::Machine;
use crate::replay::{self, ReplayError};
use crate::replication::commit::Commit;
use crate::session::report_log::ReportLog;
use crate::vocabulary::durability::Durability;
use crate::vocabulary::event::Event;
use crate::vocabulary::record::{PAYLOAD_BYTES_MAX, RecordBody, RecordKind};
use crate::vocabulary::units::{Epoch, Index, Nanos, Seq, SessionIdx};
use journal::{Full, Poison, Position, Ring};

/// Journal bytes that client messages leave free.
pub const SPACE_RESERVE_BYTES: u64 = 256 << 10;

/// Journal, machine, reports, and the node's stop.
pub struct Sequencer {
    /// The machine.
    pub machine: Machine,
    /// The reports of all sessions.
    pub log: ReportLog,
    /// The node's own stop.
    pub gate: Gate,
    /// What may leave.
    pub commit: Commit,
    ring: Ring,
    epoch: Epoch,
    out: Outbox,
    told: Told,
    /// Where the next record to apply begins.
    applied_to: Position,
    records_since_hash: u64,
    last_time: Nanos,
    held_back: HeldBack,
}

/// What a turn's records did to sessions, until the shell has looked at it.
pub struct Told {
    sessions: Vec<SessionIdx>,
    /// The last record that told something to each listed session; 0 where it is not listed.
    newest: Box<[Index]>,
    /// The commit position at which they were last looked at.
    looked_at: Index,
    logons: VecDeque<(Index, Event)>,
    reports: u64,
}

/// Logons that wait to be answered. A turn checks few credentials, each of which gives at most one;
/// where answers wait for the disk, credentials wait for room ([`Sequencer::logon_room`]).
const LOGON_EVENTS_MAX: usize = 4096;
const _: () = assert!(LOGON_EVENTS_MAX >= CREDENTIAL_CHECKS_A_TURN_MAX as usize);

impl Told {
    /// Nothing told yet to any of `session_count_max` sessions.
    #[must_use]
    pub fn new(session_count_max: u32) -> Self {
        let count = session_count_max as usize;
        Self {
            sessions: Vec::with_capacity(count),
            newest: vec![Index(0); count].into(),
            looked_at: Index(0),
            logons: VecDeque::with_capacity(LOGON_EVENTS_MAX),
            reports: 0,
        }
    }
}

struct Sink<'a> {
    log: &'a mut ReportLog,
    told: &'a mut Told,
}

impl ReportSink for Sink<'_> {
    fn report(&mut self, session: SessionIdx, number: Seq, index: Index, len: usize) -> &mut [u8] {
        let newest = &mut self.told.newest[session.0 as usize];
        if *newest == Index(0) {
            self.told.sessions.push(session);
        }
        *newest = index;
        self.told.reports += 1;
        self.log.append(session, number, index, len)
    }

    fn logon(&mut self, index: Index, event: &Event) {
        match event {
            Event::Opened { .. } | Event::Bound { .. } => {}
            // Whoever journaled an end knows of it, and there may be as many as sessions.
            Event::Down { .. } | Event::Report { .. } => return,
        }
        assert!(self.told.logons.len() < LOGON_EVENTS_MAX, "a logon is admitted when it has room");
        self.told.logons.push_back((index, *event));
    }
}

impl Sequencer {
    /// Goes on where the activation ended. `log` holds every report the machine has made. Nothing
    /// is known to be on disk until [`Self::on_durable`] says so.
    #[must_use]
    pub fn new(
        ring: Ring,
        machine: Machine,
        log: ReportLog,
        epoch: Epoch,
        durability: Durability,
    ) -> Self {
        let mut commit = Commit::recovered(durability, Index(0));
        commit.on_appended(Index(ring.last_index()));
        commit.on_applied(machine.index());
        let applied_to = ring.head();
        let last_time = Nanos(ring.last_time());
        let told = Told::new(machine.sessions().capacity());
        let held_back = HeldBack::new(log.head());
        Self {
            machine,
            log,
            gate: Gate::default(),
            commit,
            ring,
            epoch,
            out: Outbox::new(),
            told,
            applied_to,
            records_since_hash: 0,
            last_time,
            held_back,
        }
    }

    /// Appends one input and returns its index. It is applied with the others of the turn.
    pub fn append(&mut self, now: Nanos, body: &RecordBody<'_>) -> Result<Index, Full> {
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let (kind, source) = (body.kind(), body.source());
        let payload = body.encode(&mut scratch);
        self.append_payload(now, kind, source, payload)
    }

    /// Appends a client's message: the octets of `sbe` as they are to be journaled.
    pub fn append_message(
        &mut self,
        now: Nanos,
        session: SessionIdx,
        sbe: &[u8],
    ) -> Result<Index, Full> {
        self.append_payload(now, RecordKind::ClientMessage, session.0, sbe)
    }

    fn append_payload(
        &mut self,
        now: Nanos,
        kind: RecordKind,
        source: u32,
        payload: &[u8],
    ) -> Result<Index, Full> {
        assert!(now >= self.last_time, "journaled time never goes back");
        self.last_time = now;
        let appended = self.ring.append(now.0, self.epoch.0, kind.stored(), 0, source, payload)?;
        let index = Index(appended.index);
        self.commit.on_appended(index);
        self.records_since_hash += 1;
        Ok(index)
    }

    /// Appends what is due without anybody asking: a Tick for the machine's timers, a StateHash.
    /// The hash waits until everything appended is applied, since it tells the output up to itself.
    pub fn append_due(&mut self, now: Nanos) -> Result<u32, Full> {
        let mut count = 0;
        if self.machine.next_deadline().is_some_and(|due| due <= now) {
            self.append(now, &RecordBody::Tick)?;
            count += 1;
        } else if self.records_since_hash >= STATE_HASH_INTERVAL
            && self.applied_to == self.ring.head()
        {
            let output_digest = self.machine.output_digest();
            self.append(now, &RecordBody::StateHash { output_digest })?;
            self.records_since_hash = 0;
            count += 1;
        }
        Ok(count)
    }

    /// Applies everything that was appended. An error is a fault of the program or of memory: the
    /// node stops.
    pub fn apply(&mut self) -> Result<u32, ReplayError> {
        let mut count = 0;
        let Self { ring, machine, log, out, told, .. } = self;
        let mut sink = Sink { log, told };
        for (_, stored) in ring.records_from(self.applied_to) {
            replay::apply(machine, &stored, out, &mut sink)?;
            count += 1;
        }
        self.applied_to = self.ring.head();
        self.commit.on_applied(self.machine.index());
        self.held_back.on_applied(self.machine.index(), self.log.head());
        Ok(count)
    }

    /// Whether the ring has room for more than what a shut gate must journal.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.ring.free_bytes() >= SPACE_RESERVE_BYTES
    }

    /// Takes what the disk has by now. Its first failure, once there is one: whatever it says from
    /// then on is not believed.
    pub fn look_at_disk(&mut self) -> Option<&Poison> {
        let marks = self.ring.marks();
        if marks.is_poisoned() {
            return marks.poison();
        }
        let durable = Index(marks.durable_index());
        if durable > self.commit.durable() {
            self.commit.on_durable(durable);
        }
        None
    }

    /// What back-pressure judges.
    #[must_use]
    pub fn pressure_facts(&mut self) -> Facts {
        let marks = self.ring.marks();
        Facts {
            journal: RingFacts {
                ring_bytes: self.ring.ring_bytes(),
                unpersisted_bytes: self.ring.lag_bytes(),
                persisted_to: marks.durable().get(),
            },
            reports: RingFacts {
                ring_bytes: self.log.size() as u64,
                unpersisted_bytes: 0,
                persisted_to: 0,
            },
            held_back_bytes: self.held_back.bytes(self.commit.released(), self.log.head()),
            acks_wait: self.commit.waits_for_disk(),
            space: if marks.is_space_short() { Space::Short } else { Space::Enough },
            is_poisoned: marks.is_poisoned(),
        }
    }

    /// Free bytes of the journal.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.ring.free_bytes()
    }

    /// The epoch of this activation.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The disk has everything up to `durable`.
    pub fn on_durable(&mut self, durable: Index) {
        self.commit.on_durable(durable);
    }

    /// Names each session of which more was released since this was last asked. One that was told
    /// something in a record which is not released yet stays listed.
    pub fn tell_released(&mut self, mut tell: impl FnMut(SessionIdx)) {
        let released = self.commit.released();
        let Told { sessions, newest, looked_at, .. } = &mut self.told;
        if released == *looked_at {
            return;
        }
        *looked_at = released;
        sessions.retain(|session| {
            tell(*session);
            let newest = &mut newest[session.0 as usize];
            let is_held_back = *newest > released;
            if !is_held_back {
                *newest = Index(0);
            }
            is_held_back
        });
    }

    /// Logons that may be admitted now: their answers have room to wait.
    #[must_use]
    pub fn logon_room(&self) -> u32 {
        u32::try_from(LOGON_EVENTS_MAX - self.told.logons.len()).unwrap_or(u32::MAX)
    }

    /// Takes the oldest event of a logon, if its record is released.
    pub fn take_logon(&mut self, released: Index) -> Option<(Index, Event)> {
        let (index, _) = self.told.logons.front()?;
        if *index > released { None } else { self.told.logons.pop_front() }
    }

    /// Reports made since this was last asked.
    pub fn take_report_count(&mut self) -> u64 {
        std::mem::take(&mut self.told.reports)
    }

    /// Ends the journal cleanly, all of it on the disk. `disk` is nobody else's any more.
    pub fn close(self, disk: Disk) -> Result<(Machine, Clean), journal::JournalError> {
        let clean = Clean { index: Index(self.ring.last_index()), epoch: self.epoch };
        disk.close(self.ring)?;
        Ok((self.machine, clean))
    }
}

/// Where a clean stop left the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clean {
    /// Last record.
    pub index: Index,
    /// Its epoch.
    pub epoch: Epoch,
}

/// Rebuilds the report log while a journal is replayed, before there is anybody to tell.
pub struct Rebuild<'a>(pub &'a mut ReportLog);

impl ReportSink for Rebuild<'_> {
    fn report(&mut self, session: SessionIdx, number: Seq, index: Index, len: usize) -> &mut [u8] {
        self.0.append(session, number, index, len)
    }

    fn logon(&mut self, _: Index, _: &Event) {}
}
