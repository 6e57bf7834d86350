//! One turn of the hot loop, step by step.
//!
//! ```text
//! 1 clock   2 side messages   3 what is due   4 poll   5 receive, admit, append
//! 6 apply   7 commit          8 fence         9 release
//! ```
//!
//! No step waits for a peer, takes a lock or allocates; each is bounded by `limits.rs` and returns
//! how much it did, and the idle strategy decides what nothing means. A lone node's fence is its
//! own gate: there is no leadership to lose yet.

use std::io;

use crossbeam_channel::{Receiver, Sender};
use thiserror::Error;

use super::activate::Activated;
use super::addresses::{AddressLimits, Addresses};
use super::clock::Clock;
use super::connections::Connections;
use super::downs::Downs;
use super::idle;
use super::poll::Sockets;
use super::sequencer::Sequencer;
use super::side::{Notice, SideMessage};
use super::statuses::Statuses;
use crate::config::{Config, Idle};
use crate::coordination::gate::Gate;
use crate::limits::{CREDENTIAL_CHECKS_A_TURN_MAX, SIDE_MESSAGES_A_TURN_MAX};
use crate::replay::ReplayError;
use crate::session::auth::Keys;
use crate::session::report_log::ReportLog;
use crate::telemetry::counters::{Counter, Counters};
use crate::vocabulary::fix::GateCause;
use crate::vocabulary::network::Network;
use crate::vocabulary::record::RecordBody;
use crate::vocabulary::units::{Index, Nanos};

/// After a shutdown was asked for, peers have this long to take what is owed to them.
const SHUTDOWN_GRACE: Nanos = Nanos::SECOND;

/// A node on its hot thread.
pub struct Node {
    pub(super) clock: Clock,
    pub(super) sequencer: Sequencer,
    pub(super) sockets: Sockets,
    pub(super) connections: Connections,
    /// Where connections may come from; empty for anywhere.
    pub(super) listen_allow: Box<[Network]>,
    /// Connections of each address.
    pub(super) addresses: Addresses,
    /// Who asked for ReplicationStatus.
    pub(super) statuses: Statuses,
    /// Ends that are journaled when the gate opens.
    pub(super) downs: Downs,
    pub(super) keys: Keys,
    pub(super) counters: Counters,
    pub(super) reader_lag_max: u64,
    pub(super) logon_connections_max: u32,
    pub(super) credential_checks_left: u32,
    idle: Idle,
    side: Receiver<SideMessage>,
    notices: Sender<Notice>,
    shutdown: Option<Nanos>,
    had_work: bool,
    keys_were_told: bool,
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
        let hash_seed = machine.capacities().hash_seed;
        let local = &config.local;
        Self {
            clock,
            sequencer: Sequencer::new(ring, machine, log, epoch),
            sockets,
            connections: Connections::new(local.connection_count_max, session_count_max),
            listen_allow: local.listen_allow.clone().into(),
            addresses: Addresses::new(
                local.connection_count_max,
                AddressLimits {
                    count_max: local.connections_per_address_max,
                    rate: local.connections_per_address_rate,
                },
                hash_seed,
            ),
            statuses: Statuses::new(local.connection_count_max),
            downs: Downs::new(session_count_max),
            keys,
            counters: links.counters,
            reader_lag_max: local.reader_lag_max,
            logon_connections_max: local.logon_connections_max,
            credential_checks_left: 0,
            idle: local.idle,
            side: links.side,
            notices: links.notices,
            shutdown: None,
            had_work: true,
            keys_were_told: false,
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
        Ok(self.sequencer)
    }

    /// This node's gate, for whoever has a reason to shut or open it between two turns.
    pub const fn gate_mut(&mut self) -> &mut Gate {
        &mut self.sequencer.gate
    }

    /// The last record whose reports may have left.
    #[must_use]
    pub fn released(&self) -> Index {
        self.sequencer.commit.released()
    }

    /// One turn. Returns how much it did.
    pub fn turn(&mut self) -> Result<u32, Fault> {
        let now = self.clock.now();
        self.credential_checks_left = CREDENTIAL_CHECKS_A_TURN_MAX;
        let mut work = self.take_side_messages(now);
        work += self.append_due(now);
        work += self.poll_sockets(now)?;
        work += self.receive(now);
        // After the input: what waits in a socket is a sign of life, also after a long pause.
        work += self.on_timers(now);
        work += self.apply(now)?;
        self.tell_statuses(now);
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
                        self.shut(GateCause::Space);
                    }
                }
            }
        }
        taken
    }

    fn append_due(&mut self, now: Nanos) -> u32 {
        if self.sequencer.check_space() {
            self.notify(Notice::GateShut { cause: GateCause::Space });
        }
        let downs = self.journal_waiting_downs(now);
        downs
            + self.sequencer.append_due(now).unwrap_or_else(|_full| {
                self.shut(GateCause::Space);
                0
            })
    }

    fn poll_sockets(&mut self, now: Nanos) -> Result<u32, Fault> {
        let has_input = self.connections.has_ready();
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
        }
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
            self.notify(Notice::Stopping);
            self.sockets.close_listener();
            // Their ends are journaled before the gate shuts for good.
            self.stop_all(now);
            self.sequencer.gate.shut(GateCause::Failover);
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
