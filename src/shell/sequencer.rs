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

use crate::coordination::gate::Gate;
use crate::engine::outbox::{Outbox, ReportSink};
use crate::limits::{CREDENTIAL_CHECKS_A_TURN_MAX, STATE_HASH_INTERVAL};
use crate::machine::Machine;
use crate::replay::{self, ReplayError};
use crate::replication::commit::Commit;
use crate::session::report_log::ReportLog;
use crate::vocabulary::event::Event;
use crate::vocabulary::fix::GateCause;
use crate::vocabulary::record::{PAYLOAD_BYTES_MAX, RecordBody, RecordKind};
use crate::vocabulary::units::{Epoch, Index, Nanos, Seq, SessionIdx};
use journal::{Full, Position, Ring};

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
}

/// What a turn's records did to sessions, until the shell has looked at it.
pub struct Told {
    sessions: Vec<SessionIdx>,
    is_listed: Box<[bool]>,
    logons: VecDeque<(Index, Event)>,
    reports: u64,
}

/// Logons that wait to be answered: a turn checks few credentials, each of which gives at most one.
/// Besides, each session may be finishing once.
const LOGON_EVENTS_MAX: usize = 4096;
const _: () = assert!(LOGON_EVENTS_MAX >= CREDENTIAL_CHECKS_A_TURN_MAX as usize);

impl Told {
    /// Nothing told yet to any of `session_count_max` sessions.
    #[must_use]
    pub fn new(session_count_max: u32) -> Self {
        let count = session_count_max as usize;
        Self {
            sessions: Vec::with_capacity(count),
            is_listed: vec![false; count].into(),
            logons: VecDeque::with_capacity(LOGON_EVENTS_MAX + count),
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
        let is_listed = &mut self.told.is_listed[session.0 as usize];
        if !*is_listed {
            *is_listed = true;
            self.told.sessions.push(session);
        }
        self.told.reports += 1;
        self.log.append(session, number, index, len)
    }

    fn logon(&mut self, index: Index, event: &Event) {
        match event {
            Event::Opened { .. } | Event::Bound { .. } | Event::Finishing { .. } => {}
            // Nobody is told, and the slot may be another's with the next record.
            Event::Forgotten { session } => return self.log.forget(*session),
            // Whoever journaled an end knows of it, and there may be as many as sessions.
            Event::Down { .. } | Event::Report { .. } => return,
        }
        let told = &mut self.told.logons;
        assert!(told.len() < told.capacity(), "a turn has fewer logons and ends than this");
        told.push_back((index, *event));
    }
}

impl Sequencer {
    /// Goes on where the activation ended. `log` holds every report the machine has made.
    #[must_use]
    pub fn new(ring: Ring, machine: Machine, log: ReportLog, epoch: Epoch) -> Self {
        let index = Index(ring.last_index());
        let applied_to = ring.head();
        let last_time = Nanos(ring.last_time());
        let told = Told::new(machine.sessions().capacity());
        Self {
            machine,
            log,
            gate: Gate::default(),
            commit: Commit::recovered(index),
            ring,
            epoch,
            out: Outbox::new(),
            told,
            applied_to,
            records_since_hash: 0,
            last_time,
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
        Ok(count)
    }

    /// Shuts the gate while there is room only for what a shut gate must journal. True when it was
    /// shut just now.
    pub fn check_space(&mut self) -> bool {
        self.ring.free_bytes() < SPACE_RESERVE_BYTES && self.gate.shut(GateCause::Space)
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

    /// Takes one session that was told something since it was last taken.
    pub fn take_told(&mut self) -> Option<SessionIdx> {
        let session = self.told.sessions.pop()?;
        self.told.is_listed[session.0 as usize] = false;
        Some(session)
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

    /// Ends the journal cleanly.
    pub fn close(self) -> Result<(Machine, Clean), journal::JournalError> {
        let clean = Clean { index: Index(self.ring.last_index()), epoch: self.epoch };
        self.ring.close()?;
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

    fn logon(&mut self, _: Index, event: &Event) {
        match event {
            Event::Forgotten { session } => self.0.forget(*session),
            Event::Report { .. }
            | Event::Opened { .. }
            | Event::Bound { .. }
            | Event::Down { .. }
            | Event::Finishing { .. } => {}
        }
    }
}
