//! The one replicated thing: logical sessions, the engine, and the numbering of reports.
//!
//! `apply` is called with every journal record in order (live, on a standby, in replay) and with
//! nothing else, so equal journals give equal machines and equal reports, byte for byte. There is
//! no clock, socket, file, thread, random number or growing map in here.
//!
//! ```text
//! apply(record) -> events in the outbox -> drain(sink): encode, fold into the output digest
//!               -> More? drain, resume, drain again, before any other record
//! ```
//!
//! The first record of a journal holds the capacities: [`Machine::found`] builds every table from
//! it, and nothing grows afterwards.
//!
//! Besides, the shell asks [`Machine::sessions_mut`] to admit a message before it is journaled;
//! that moves only provisional numbers, which `apply` asserts.

use thiserror::Error;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::engine::apply::{Engine, Progress};
use crate::engine::outbox::{Outbox, ReportSink};
use crate::engine::reporter::Reporter;
use crate::session::logical::{CodTerms, Sessions, Stage};
use crate::vocabulary::event::Event;
use crate::vocabulary::message::ClientMessage;
use crate::vocabulary::record::{Record, RecordBody};
use crate::vocabulary::settings::{AccountOwner, Capacities, Instrument, Owner, Setting};
use crate::vocabulary::units::{ClOrdId, Epoch, Index, Nanos, SessionIdx};
use crate::wire::decode::decode_client_message;
use crate::wire::encode::{encode_report, report_len};

mod ends;
mod snapshot;

use ends::Unfinished;
pub use snapshot::SnapshotError;

/// Sessions, engine and numbering.
///
/// Invariants: `index` is the last applied record; `time` never goes back; `active` grows only
/// within an epoch; the outbox is empty between records.
pub struct Machine {
    capacities: Capacities,
    sessions: Sessions,
    engine: Engine,
    epoch: Epoch,
    index: Index,
    time: Nanos,
    /// Sum of the time within epochs: what keys age by, so that a wrong clock at a takeover
    /// lengthens retention and never shortens it.
    active: Nanos,
    exec_count: u64,
    output_digest: u64,
    unfinished: Unfinished,
}

/// Why a record cannot be applied: the journal is not one that this build could have written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ApplyError {
    /// A record is missing or repeated.
    #[error("record {came} came, expected {expected}")]
    OutOfOrder {
        /// The next index.
        expected: Index,
        /// The record's.
        came: Index,
    },
    /// Journaled time went back.
    #[error("record {index}: its time {came} is before the last one, {last}")]
    TimeWentBack {
        /// The record.
        index: Index,
        /// Time of the record before.
        last: Nanos,
        /// Its time.
        came: Nanos,
    },
    /// The epoch is not the current one.
    #[error("record {index}: epoch {came} came, expected {expected}")]
    WrongEpoch {
        /// The record.
        index: Index,
        /// The current epoch.
        expected: Epoch,
        /// The record's.
        came: Epoch,
    },
    /// The record contradicts the state.
    #[error("record {index}: {what}")]
    Impossible {
        /// The record.
        index: Index,
        /// What contradicts.
        what: &'static str,
    },
    /// The output differs from the one that wrote the journal.
    #[error("record {index}: output digest {came:016x}, expected {expected:016x}: state diverged")]
    Diverged {
        /// The StateHash record.
        index: Index,
        /// The journaled digest.
        expected: u64,
        /// The digest here.
        came: u64,
    },
}

impl Machine {
    /// A machine with the tables that the journal's first record asks for. That record is applied
    /// like every other.
    pub fn found(first: &Record<'_>) -> Result<Self, ApplyError> {
        let RecordBody::Config(Setting::Capacities(capacities)) = first.body else {
            let what = "the first record of a journal holds the capacities";
            return Err(ApplyError::Impossible { index: first.index, what });
        };
        match check_capacities(&capacities) {
            Some(what) => Err(ApplyError::Impossible { index: first.index, what }),
            None => Ok(Self::with_capacities(capacities)),
        }
    }

    fn with_capacities(capacities: Capacities) -> Self {
        Self {
            capacities,
            sessions: Sessions::with_seed(
                capacities.session_count_max,
                capacities.resend_window,
                capacities.hash_seed,
            ),
            engine: Engine::new(&capacities),
            epoch: Epoch(0),
            index: Index(0),
            time: Nanos(0),
            active: Nanos(0),
            exec_count: 0,
            output_digest: 0,
            unfinished: Unfinished::default(),
        }
    }

    /// Applies one record. `out` is empty; after `More`, drain it and call [`Self::resume`].
    pub fn apply(&mut self, record: &Record<'_>, out: &mut Outbox) -> Result<Progress, ApplyError> {
        assert!(out.is_empty(), "events of the last record were not drained");
        assert!(!self.is_unfinished(), "the last record was not resumed to its end");
        self.check_order(record)?;
        let span = record.time.since(self.time);
        // The time before an epoch is not active, and a pad before its EpochStart carries its
        // epoch.
        let is_start = matches!(record.body, RecordBody::EpochStart { .. });
        if !is_start && record.epoch == self.epoch {
            self.active = self.active.saturating_add(span);
        }
        self.index = record.index;
        self.time = record.time;
        self.sessions.on_time(self.time, self.active);
        self.engine.expire(self.active);
        let index = record.index;
        let done = match record.body {
            RecordBody::ClientMessage { session, message } => {
                return self.on_message(session, message, out);
            }
            RecordBody::SessionOpen { session, id, owner, timestamp, .. } => {
                let is_possible = self.engine.owners.is_known(owner)
                    && self.sessions.on_open(session, id, owner, timestamp);
                if is_possible {
                    out.push(Event::Opened { session });
                }
                is_possible
            }
            RecordBody::SessionBind {
                session,
                timestamp,
                next_seq_no,
                cod_type,
                cod_window,
                ..
            } => {
                let cod = CodTerms { cod_type, window_ms: cod_window };
                self.on_bind(session, timestamp, next_seq_no, cod, out)
            }
            RecordBody::SessionGap { session, next_seq_no } => {
                self.on_gap(session, next_seq_no, out)
            }
            RecordBody::SessionDown { session, cause } => self.on_down(session, cause, out),
            RecordBody::SessionFinishing { session, next_seq_no } => {
                if !self.on_finishing(session, next_seq_no, out) {
                    return self.impossible("its session cannot be finished");
                }
                return Ok(self.go_on(out));
            }
            RecordBody::SessionFinal { session } => self.on_final(session),
            RecordBody::Tick => return Ok(self.on_tick(out)),
            RecordBody::Pad => true,
            RecordBody::Admin { security_id, phase, .. } => {
                self.engine.markets.set_phase(security_id, phase)
            }
            RecordBody::Config(setting) => self.on_setting(&setting),
            RecordBody::EpochStart { .. } => {
                self.epoch = record.epoch;
                self.sessions.on_epoch_start(self.time);
                true
            }
            RecordBody::StateHash { output_digest } => {
                if output_digest != self.output_digest {
                    let (expected, came) = (output_digest, self.output_digest);
                    return Err(ApplyError::Diverged { index, expected, came });
                }
                true
            }
        };
        if done {
            Ok(Progress::Done)
        } else {
            self.impossible("it contradicts the state that the records before it made")
        }
    }

    /// Goes on with the record that said `More`; `out` was drained.
    pub fn resume(&mut self, out: &mut Outbox) -> Progress {
        assert!(out.is_empty(), "events were not drained before resume");
        self.go_on(out)
    }

    /// Encodes the events into the sink, folds them into the output digest, and empties the outbox.
    pub fn drain(&mut self, out: &mut Outbox, sink: &mut impl ReportSink) {
        for event in out.events() {
            match event {
                Event::Report { session, report } => {
                    let len = report_len(&report.body);
                    let index = report.appl_seq_num;
                    let place = sink.report(*session, report.msg_seq_num, index, len);
                    let written = encode_report(report, place);
                    assert!(written == len, "a report has the length that was asked for");
                    // NotApplied carries neither session nor number: they enter by the seed.
                    let seed = self
                        .output_digest
                        .rotate_left(1)
                        .wrapping_add(u64::from(session.0) << 40)
                        .wrapping_add(report.msg_seq_num.0);
                    self.output_digest = xxh3_64_with_seed(place.split_at(len).0, seed);
                }
                Event::Opened { .. }
                | Event::Bound { .. }
                | Event::Down { .. }
                | Event::Finishing { .. }
                | Event::Forgotten { .. } => {
                    sink.logon(self.index, event);
                }
            }
        }
        out.clear();
    }

    /// The sessions, for admission before the journal. Only provisional values may be moved.
    pub fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    /// Asks memory for what applying a request under these ids will read first: their places in a
    /// table far larger than any cache. A hint; nothing depends on it.
    #[inline]
    pub fn prefetch(&self, session: SessionIdx, ids: [Option<ClOrdId>; 2]) {
        let owner = self.sessions.owner_admitted(session);
        for id in ids.into_iter().flatten() {
            self.engine.dedup.prefetch(self.engine.dedup.hash(owner, id));
        }
    }

    /// The sessions as applied.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The engine, for views and checks.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Index of the last applied record.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// Time of the last applied record.
    #[must_use]
    pub fn time(&self) -> Nanos {
        self.time
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Reports with an ExecID ever emitted.
    #[must_use]
    pub fn exec_count(&self) -> u64 {
        self.exec_count
    }

    /// Trades ever made.
    #[must_use]
    pub fn trade_count(&self) -> u64 {
        self.engine.trade_count
    }

    /// A rolling hash over every report ever emitted.
    #[must_use]
    pub fn output_digest(&self) -> u64 {
        self.output_digest
    }

    /// A hash over the canonical snapshot. Costs a pass over everything: never on the hot path.
    #[must_use]
    pub fn state_digest(&self) -> u64 {
        xxh3_64(&self.snapshot())
    }

    /// The journaled capacities.
    #[must_use]
    pub fn capacities(&self) -> &Capacities {
        &self.capacities
    }

    /// The journaled instruments in configuration order.
    pub fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        self.engine.markets.iter().map(|market| &market.instrument)
    }

    /// The journaled owners in configuration order.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.engine.owners.owners()
    }

    /// The journaled accounts, sorted.
    #[must_use]
    pub fn accounts(&self) -> &[AccountOwner] {
        self.engine.owners.accounts()
    }

    fn check_order(&self, record: &Record<'_>) -> Result<(), ApplyError> {
        let index = record.index;
        if index != self.index.next() {
            return Err(ApplyError::OutOfOrder { expected: self.index.next(), came: index });
        }
        if record.time < self.time {
            return Err(ApplyError::TimeWentBack { index, last: self.time, came: record.time });
        }
        let is_founding = self.epoch == Epoch(0) && index == Index(1);
        let fits = match record.body {
            RecordBody::EpochStart { prev_epoch, .. } => {
                prev_epoch == self.epoch && record.epoch > self.epoch
            }
            RecordBody::ClientMessage { .. }
            | RecordBody::SessionOpen { .. }
            | RecordBody::SessionBind { .. }
            | RecordBody::SessionGap { .. }
            | RecordBody::SessionDown { .. }
            | RecordBody::SessionFinishing { .. }
            | RecordBody::SessionFinal { .. }
            | RecordBody::Tick
            | RecordBody::Admin { .. }
            | RecordBody::Config(_)
            | RecordBody::StateHash { .. } => is_founding || record.epoch == self.epoch,
            // The ring gives a pad the epoch of what follows, which may be an EpochStart. That no
            // epoch goes back is the journal's own rule.
            RecordBody::Pad => record.epoch >= self.epoch,
        };
        if fits {
            Ok(())
        } else {
            let (expected, came) = (self.epoch, record.epoch);
            Err(ApplyError::WrongEpoch { index, expected, came })
        }
    }

    fn on_message(
        &mut self,
        session: SessionIdx,
        message: &[u8],
        out: &mut Outbox,
    ) -> Result<Progress, ApplyError> {
        let Ok(message) = decode_client_message(message) else {
            return self.impossible("its message cannot be decoded by this build");
        };
        let open = self.sessions.get(session).filter(|s| s.stage == Stage::Open);
        let Some(owner) = open.map(|s| s.owner) else {
            return self.impossible("its session was never opened, or is finished");
        };
        if !self.sessions.is_in_reach(session, message.msg_seq_num()) {
            return self.impossible("its session number is out of reach");
        }
        let (gap, is_next) = self.sessions.on_message(
            session,
            message.msg_seq_num(),
            message.template(),
            message.request_id(),
        );
        if !is_next {
            return self.impossible("its session number was used before");
        }
        Ok(self.with_reporter(out, |engine, rep| {
            if let Some(gap) = gap {
                rep.not_applied(session, gap);
            }
            match &message {
                ClientMessage::NewOrder(m) => return engine.on_new_order(session, owner, m, rep),
                ClientMessage::Cancel(m) => engine.on_cancel(session, owner, m, rep),
                ClientMessage::Status(m) => engine.on_status(session, owner, m, rep),
            }
            Progress::Done
        }))
    }

    fn impossible(&self, what: &'static str) -> Result<Progress, ApplyError> {
        Err(ApplyError::Impossible { index: self.index, what })
    }

    fn on_setting(&mut self, setting: &Setting) -> bool {
        match setting {
            Setting::Capacities(c) => self.index == Index(1) && *c == self.capacities,
            Setting::Instrument(i) => self.engine.set_instrument(*i),
            Setting::Owner(o) => self.engine.owners.set_owner(*o),
            Setting::Account(a) => self.engine.owners.set_account(*a),
        }
    }

    fn with_reporter<T>(
        &mut self,
        out: &mut Outbox,
        body: impl FnOnce(&mut Engine, &mut Reporter<'_>) -> T,
    ) -> T {
        let mut reporter = Reporter {
            out,
            sessions: &mut self.sessions,
            exec_count: &mut self.exec_count,
            index: self.index,
            time: self.time,
            active: self.active,
        };
        body(&mut self.engine, &mut reporter)
    }
}

/// What is wrong with capacities, if anything: they come from a journal, which may be damaged.
fn check_capacities(c: &Capacities) -> Option<&'static str> {
    use crate::engine::dedup::{KEY_COUNT_MAX, KEY_COUNT_MIN};
    use crate::engine::orders::ORDER_COUNT_MAX;
    let keys_fit = c.key_count_max.is_power_of_two()
        && (KEY_COUNT_MIN..=KEY_COUNT_MAX).contains(&c.key_count_max);
    let remembered = u64::from(c.session_count_max) * u64::from(c.resend_window);
    if !keys_fit || c.key_retention == Nanos(0) {
        Some("key_count_max or key_retention is out of range")
    } else if !(1..=ORDER_COUNT_MAX).contains(&c.order_count_max) {
        Some("order_count_max is out of range")
    } else if !c.resend_window.is_power_of_two() || c.session_count_max == 0 || remembered > 1 << 30
    {
        Some("session_count_max or resend_window is out of range")
    } else {
        None
    }
}
