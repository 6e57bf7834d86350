//! One turn of the hot loop, step by step.
//!
//! ```text
//! 1 clock, and what the disk has   2 side messages   3 what is due   4 poll   5 receive, append
//! 6 apply   7 commit               8 fence           9 release
//! ```
//!
//! No step waits for a peer, takes a lock or allocates; each is bounded by `limits.rs` and returns
//! how much it did, and the idle strategy decides what nothing means. A lone node's fence is its
//! own gate: there is no leadership to lose yet.

use std::io;

use crossbeam_channel::{Receiver, Sender};
use journal::Poison;
use thiserror::Error;

use super::activate::Activated;
use super::clock::Clock;
use super::connections::Connections;
use super::idle;
use super::poll::Sockets;
use super::sequencer::Sequencer;
use super::side::{Notice, SideMessage};
use crate::config::{Config, Idle};
use crate::coordination::pressure::{Change, Hold, Pressure, Space};
use crate::limits::{CREDENTIAL_CHECKS_A_TURN_MAX, SIDE_MESSAGES_A_TURN_MAX};
use crate::replay::ReplayError;
use crate::session::auth::Keys;
use crate::session::report_log::ReportLog;
use crate::telemetry::counters::{Counter, Counters};
use crate::vocabulary::fix::{GateCause, TerminationCode};
use crate::vocabulary::record::RecordBody;
use crate::vocabulary::units::{Nanos, Text};

/// After a shutdown was asked for, peers have this long to take what is owed to them.
const SHUTDOWN_GRACE: Nanos = Nanos::SECOND;

/// A node on its hot thread.
pub struct Node {
    pub(super) clock: Clock,
    pub(super) sequencer: Sequencer,
    pub(super) sockets: Sockets,
    pub(super) connections: Connections,
    pub(super) keys: Keys,
    pub(super) counters: Counters,
    pub(super) reader_lag_max: u64,
    pub(super) logon_connections_max: u32,
    pub(super) credential_checks_left: u32,
    idle: Idle,
    side: Receiver<SideMessage>,
    notices: Sender<Notice>,
    shutdown: Option<Nanos>,
    pressure: Pressure,
    /// The disk's first failure: the node is ending because of it.
    failure: Option<Poison>,
    had_work: bool,
    keys_were_told: bool,
    reports_were_told: bool,
}

/// What ends a node against its will.
#[derive(Debug, Error)]
pub enum Fault {
    /// A record that this process wrote cannot be applied.
    #[error("the machine cannot go on: {0}")]
    Machine(#[from] ReplayError),
    /// The poll failed.
    #[error("the poll failed: {0}")]
    Poll(#[from] io::Error),
    /// The journal's disk failed. The ring still holds what was acknowledged, as long as the
    /// machine runs.
    #[error("the journal's disk failed: {0}")]
    Journal(Poison),
}

/// Channels and counters that a node shares with other threads.
pub struct Links {
    /// Messages to the hot thread.
    pub side: Receiver<SideMessage>,
    /// Notices from it.
    pub notices: Sender<Notice>,
    /// Its counters.
    pub counters: Counters,
}

impl Node {
    /// A node that is ready for its first turn. Everything it will ever need is allocated here.
    #[must_use]
    pub fn new(
        config: &Config,
        activated: Activated,
        log: ReportLog,
        keys: Keys,
        sockets: Sockets,
        links: Links,
    ) -> Self {
        let Activated { ring, machine, clock, epoch, .. } = activated;
        let session_count_max = machine.sessions().capacity();
        let pressure = Pressure::new(clock.now());
        let local = &config.local;
        Self {
            clock,
            sequencer: Sequencer::new(ring, machine, log, epoch, local.durability),
            sockets,
            connections: Connections::new(local.connection_count_max, session_count_max),
            keys,
            counters: links.counters,
            reader_lag_max: local.reader_lag_max,
            logon_connections_max: local.logon_connections_max,
            credential_checks_left: 0,
            idle: local.idle,
            side: links.side,
            notices: links.notices,
            shutdown: None,
            pressure,
            failure: None,
            had_work: true,
            keys_were_told: false,
            reports_were_told: false,
        }
    }

    /// Turns until a shutdown is done. Gives the sequencer back so that the journal can be closed.
    pub fn run(mut self) -> Result<Sequencer, Fault> {
        self.notify(Notice::Serving {
            epoch: self.sequencer.epoch(),
            index: self.sequencer.machine.index(),
        });
        while !self.is_shutdown_done() {
            let work = self.turn()?;
            if work == 0 {
                idle::wait(self.idle);
            }
        }
        match self.failure {
            Some(failure) => Err(Fault::Journal(failure)),
            None => Ok(self.sequencer),
        }
    }

    /// Journal, machine and reports, for a test that plays the disk.
    pub const fn sequencer_mut(&mut self) -> &mut Sequencer {
        &mut self.sequencer
    }

    /// One turn. Returns how much it did.
    pub fn turn(&mut self) -> Result<u32, Fault> {
        let now = self.clock.now();
        let logon_room = self.sequencer.logon_room();
        self.credential_checks_left = CREDENTIAL_CHECKS_A_TURN_MAX.min(logon_room);
        self.look_at_disk(now);
        self.press(now);
        let mut work = self.take_side_messages(now);
        work += self.append_due(now);
        work += self.poll_sockets(now)?;
        if self.pressure.is_reading() {
            work += self.receive(now);
        }
        // After the input: what waits in a socket is a sign of life, also after a long pause.
        work += self.on_timers(now);
        work += self.apply(now)?;
        // Once more before anything leaves: a disk that failed meanwhile ends that.
        self.look_at_disk(now);
        work += self.release(now);
        self.count(work);
        self.had_work = work > 0;
        Ok(work)
    }

    fn take_side_messages(&mut self, now: Nanos) -> u32 {
        let mut taken = 0;
        while taken < SIDE_MESSAGES_A_TURN_MAX
            && let Ok(message) = self.side.try_recv()
        {
            taken += 1;
            match message {
                SideMessage::Shutdown => self.begin_shutdown(now),
                SideMessage::SetPhase { who, reason, security_id, phase } => {
                    let markets = self.sequencer.machine.engine().markets();
                    let is_known = security_id.is_none_or(|id| markets.get(id).is_some());
                    let body = RecordBody::Admin { who, reason, security_id, phase };
                    if !is_known {
                        self.notify(Notice::UnknownInstrument { who, security_id });
                    } else if self.sequencer.append(now, &body).is_err() {
                        self.on_full();
                    }
                }
            }
        }
        taken
    }

    /// Takes what the disk has by now; its first failure ends the node.
    fn look_at_disk(&mut self, now: Nanos) {
        if let Some(failure) = self.sequencer.look_at_disk()
            && self.failure.is_none()
        {
            self.failure = Some(failure.clone());
            self.begin_failure(now);
        }
    }

    /// Does what a disk that is behind, or has caught up, asks for.
    fn press(&mut self, now: Nanos) {
        let facts = self.sequencer.pressure_facts();
        // In every turn: the disk gets on while the loop is idle.
        self.counters.set(Counter::JournalLag, facts.journal.unpersisted_bytes);
        self.counters.set(Counter::DurableIndex, self.sequencer.commit.durable().0);
        self.tell_broken_reports();
        for change in self.pressure.on_turn(now, &facts) {
            match change {
                Change::Shut(hold) => self.shut(cause_of(hold)),
                Change::End(hold) => self.end_cause(cause_of(hold)),
                Change::ReadingStops => self.counters.add(Counter::ReadingStops, 1),
                Change::LagBegins(_)
                | Change::LagEnds(_)
                | Change::SpaceShort
                | Change::SpaceEnough
                | Change::ReadingResumes => {}
            }
            self.notify(Notice::Pressure { change });
        }
    }

    /// Tells once that reports do not reach the disk any more.
    fn tell_broken_reports(&mut self) {
        let spool = self.sequencer.log.spool().filter(|spool| spool.is_broken());
        let Some(spool) = spool.filter(|_| !self.reports_were_told) else { return };
        let why = Text::new(spool.broken().map_or("", |broken| &broken.error));
        self.reports_were_told = true;
        self.notify(Notice::ReportsBroken { why });
    }

    /// Shuts the gate when the ring has room only for what a shut gate must journal: reading stops
    /// long before, so this is the last line.
    pub(super) fn check_room(&mut self) {
        if !self.sequencer.has_room() {
            self.on_full();
        }
    }

    /// The ring takes nothing more before the disk gets on.
    pub(super) fn on_full(&mut self) {
        let facts = self.sequencer.pressure_facts();
        let hold = if facts.space == Space::Short { Hold::Space } else { Hold::Journal };
        if self.pressure.on_full(hold) {
            self.shut(cause_of(hold));
        }
    }

    fn append_due(&mut self, now: Nanos) -> u32 {
        self.check_room();
        self.sequencer.append_due(now).unwrap_or_else(|_full| {
            self.on_full();
            0
        })
    }

    fn poll_sockets(&mut self, now: Nanos) -> Result<u32, Fault> {
        // Input that nobody is going to read is no reason to turn again at once.
        let has_input = self.pressure.is_reading() && self.connections.has_ready();
        self.sockets.poll(idle::poll_timeout(self.idle, self.had_work || has_input))?;
        self.connections.on_readiness(self.sockets.ready());
        Ok(self.accept(now))
    }

    fn apply(&mut self, now: Nanos) -> Result<u32, Fault> {
        let applied = self.sequencer.apply()?;
        self.counters.add(Counter::Records, u64::from(applied));
        self.counters.add(Counter::Reports, self.sequencer.take_report_count());
        self.answer_logons(now);
        if !self.keys_were_told && self.sequencer.machine.engine().is_nearly_full() {
            self.keys_were_told = true;
            self.notify(Notice::KeysNearlyFull);
        }
        Ok(applied)
    }

    /// Shuts the gate and says so, once a closing.
    pub(super) fn shut(&mut self, cause: GateCause) {
        if self.sequencer.gate.shut(cause) {
            self.notify(Notice::GateShut { cause });
            if matches!(cause, GateCause::Space | GateCause::Journal) {
                self.counters.add(Counter::DiskGateShuts, 1);
            }
        }
    }

    fn end_cause(&mut self, cause: GateCause) {
        self.sequencer.gate.end(cause);
        if self.sequencer.gate.cause().is_none() {
            self.notify(Notice::GateOpened { cause });
        }
    }

    /// The journal's disk failed: nothing more is acknowledged. Every session is told, and then the
    /// node ends.
    fn begin_failure(&mut self, now: Nanos) {
        self.notify(Notice::JournalFailed);
        self.shut(GateCause::Journal);
        self.shutdown.get_or_insert_with(|| now.saturating_add(SHUTDOWN_GRACE));
        self.sockets.close_listener();
        self.stop_all(now, TerminationCode::UnspecifiedError, "the journal failed");
    }

    /// Tells the side threads; what they have no room for is counted.
    pub(super) fn notify(&mut self, notice: Notice) {
        if self.notices.try_send(notice).is_err() {
            self.counters.add(Counter::NoticesLost, 1);
        }
    }

    fn begin_shutdown(&mut self, now: Nanos) {
        if self.shutdown.is_none() {
            self.shutdown = Some(now.saturating_add(SHUTDOWN_GRACE));
            self.sequencer.gate.shut(GateCause::Failover);
            self.notify(Notice::Stopping);
            self.sockets.close_listener();
            self.stop_all(now, TerminationCode::AdminAction, "the node stops");
        }
    }

    fn is_shutdown_done(&self) -> bool {
        self.shutdown
            .is_some_and(|deadline| self.connections.count() == 0 || self.clock.now() >= deadline)
    }

    /// Shows how many connections there are now.
    pub(super) fn count_connections(&self) {
        self.counters.set(Counter::Connections, u64::from(self.connections.count()));
    }

    fn count(&self, work: u32) {
        self.counters.add(Counter::Turns, 1);
        if work == 0 {
            self.counters.add(Counter::IdleTurns, 1);
            return;
        }
        let engine = self.sequencer.machine.engine();
        self.counters.set(Counter::Keys, u64::from(engine.key_count()));
        self.counters.set(Counter::OpenOrders, u64::from(engine.open_order_count()));
        self.counters.set(Counter::JournalFree, self.sequencer.free_bytes());
    }
}

/// The cause that clients are told.
const fn cause_of(hold: Hold) -> GateCause {
    match hold {
        Hold::Space => GateCause::Space,
        Hold::Journal => GateCause::Journal,
    }
}
