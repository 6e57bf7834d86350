//! Node: journal, machine and report log, taken through turns as the hot thread does it.
//!
//! ```text
//! intake  split, decode, admit, append     each frame of the turn
//! apply   every appended record -> machine -> encoded reports in the log
//!         a Tick or a StateHash when one is due
//! ```
//!
//! What a socket adds is not here, nor are rules that the engine does not have yet. Time is a
//! counter: each message is a microsecond of journaled time, so that keys age at a known rate and
//! two runs journal the same bytes.

use journal::{Position, Ring};
use tidegate::engine::outbox::{Outbox, ReportSink};
use tidegate::limits::{FRAME_BYTES_MAX, STATE_HASH_INTERVAL};
use tidegate::machine::Machine;
use tidegate::replay;
use tidegate::session::logical::Admission;
use tidegate::session::report_log::ReportLog;
use tidegate::vocabulary::event::Event;
use tidegate::vocabulary::fix::{CodType, MarketPhase, ReportLevel};
use tidegate::vocabulary::record::{PAYLOAD_BYTES_MAX, RecordBody, RecordKind};
use tidegate::vocabulary::settings::{AccountOwner, Capacities, Instrument, Owner, Setting};
use tidegate::vocabulary::units::{
    Account, Epoch, Index, Nanos, OwnerIdx, Px, Qty, SecurityId, Seq, SessionId, SessionIdx, Text,
};
use tidegate::wire::decode::{CANONICAL_BYTES_MAX, Inbound, canonical, decode_inbound, keys_named};
use tidegate::wire::frame;

use crate::flow::{Flow, Shape, TICK};

/// Journaled time between two messages.
pub(crate) const MESSAGE_INTERVAL: Nanos = Nanos(1000);
const EPOCH: Epoch = Epoch(1);

/// A node without its sockets.
pub(crate) struct Node {
    pub(crate) ring: Ring,
    pub(crate) machine: Machine,
    pub(crate) log: ReportLog,
    /// Records before the first message: settings, phases and logons.
    pub(crate) setting_count: usize,
    out: Outbox,
    told: Told,
    now: Nanos,
    applied_to: Position,
    records_since_hash: u64,
}

/// The sessions that a turn told something.
struct Told {
    sessions: Vec<SessionIdx>,
    is_told: Box<[bool]>,
}

struct Sink<'a> {
    log: &'a mut ReportLog,
    told: &'a mut Told,
}

impl ReportSink for Sink<'_> {
    fn report(&mut self, session: SessionIdx, number: Seq, index: Index, len: usize) -> &mut [u8] {
        let is_told = &mut self.told.is_told[session.0 as usize];
        if !*is_told {
            *is_told = true;
            self.told.sessions.push(session);
        }
        self.log.append(session, number, index, len)
    }

    fn logon(&mut self, _: Index, _: &Event) {}
}

impl Node {
    /// A new journal in `ring`, its settings, and every session of `shape` bound.
    pub(crate) fn found(
        ring: Ring,
        capacities: Capacities,
        log_bytes: usize,
        shape: Shape,
    ) -> Self {
        let session_count = capacities.session_count_max;
        let mut ring = ring;
        let now = Nanos::SECOND;
        append(&mut ring, now, &RecordBody::Config(Setting::Capacities(capacities)));
        let machine = found_machine(&ring);
        let mut node = Self {
            applied_to: ring.base(),
            ring,
            machine,
            log: ReportLog::heap(log_bytes, session_count),
            setting_count: 0,
            out: Outbox::new(),
            told: Told {
                sessions: Vec::with_capacity(session_count as usize),
                is_told: vec![false; session_count as usize].into(),
            },
            now,
            records_since_hash: 0,
        };
        let epoch = RecordBody::EpochStart { node: 1, incarnation: 1, prev_epoch: Epoch(0) };
        append(&mut node.ring, now, &epoch);
        node.open_market(shape);
        for session in 0..shape.session_count {
            node.open_session(session, shape);
        }
        node.apply();
        node.setting_count = usize::try_from(node.ring.last_index()).unwrap_or(0);
        node
    }

    fn open_market(&mut self, shape: Shape) {
        let px = |ticks: i64| Px::try_new(ticks * TICK).unwrap_or_default();
        for id in (0..shape.instrument_count).map(SecurityId) {
            self.input(&RecordBody::Config(Setting::Instrument(Instrument {
                security_id: id,
                symbol: Text::new(&format!("I{id}")),
                tick: px(1),
                lot: Qty::try_new(10).unwrap_or_default(),
                low_limit: px(1),
                high_limit: px(1_000_000),
            })));
            self.input(&RecordBody::Admin {
                who: Text::new("bench"),
                reason: Text::new("opening"),
                security_id: Some(id),
                phase: MarketPhase::Trading,
            });
        }
        for owner in (0..shape.owner_count).map(OwnerIdx) {
            self.input(&RecordBody::Config(Setting::Owner(Owner {
                owner,
                id: u32::from(owner.0),
                name: Text::new("firm"),
                orders_max: u32::MAX,
            })));
            let account = Account(Flow::account(owner));
            self.input(&RecordBody::Config(Setting::Account(AccountOwner { account, owner })));
        }
    }

    fn open_session(&mut self, session: u32, shape: Shape) {
        let owner = Flow::new(0, Shape { working_count: 0, ..shape }).owner(session);
        let mut id = [1; 16];
        id[..4].copy_from_slice(&session.to_le_bytes());
        let (session, key_id) = (SessionIdx(session), Text::new("bench"));
        let id = SessionId(id);
        self.input(&RecordBody::SessionOpen { session, id, owner, key_id, timestamp: Nanos(1) });
        self.input(&RecordBody::SessionBind {
            session,
            key_id,
            timestamp: Nanos(2),
            next_seq_no: None,
            keepalive_interval: 1000,
            cod_type: CodType::DoNotCancel,
            cod_window: 0,
            report_level: ReportLevel::Status,
        });
    }

    fn input(&mut self, body: &RecordBody<'_>) {
        append(&mut self.ring, self.now, body);
    }

    /// Intake of one turn: the frames of `sessions`, one each, from the front of `octets`. Returns
    /// what is left of `octets`.
    #[inline]
    pub(crate) fn intake<'o>(&mut self, mut octets: &'o [u8], sessions: &[SessionIdx]) -> &'o [u8] {
        let mut scratch = [0; CANONICAL_BYTES_MAX];
        for &session in sessions {
            let Ok(Some((frame, length))) = frame::split(octets, FRAME_BYTES_MAX) else {
                unreachable!("the flow makes whole frames")
            };
            let Ok(Inbound::Application(message)) = decode_inbound(&frame) else {
                unreachable!("the flow makes requests")
            };
            let (number, request_id) = (message.msg_seq_num(), message.request_id());
            let sessions = self.machine.sessions_mut();
            let admitted = sessions.admit(session, number, message.template(), request_id);
            assert!(admitted == Admission::Fresh, "the flow never reuses a number");
            self.now = self.now.saturating_add(MESSAGE_INTERVAL);
            let payload = canonical(&frame, &mut scratch);
            let kind = RecordKind::ClientMessage.stored();
            let appended = self.ring.append(self.now.0, EPOCH.0, kind, 0, session.0, payload);
            assert!(appended.is_ok(), "the ring is sized for the whole run");
            self.machine.prefetch(session, keys_named(&frame));
            octets = octets.split_at(length).1;
        }
        self.records_since_hash += sessions.len() as u64;
        octets
    }

    /// Applies what was appended, then what is due. Returns the sessions that were told something.
    #[inline]
    pub(crate) fn apply(&mut self) -> usize {
        self.apply_appended();
        if self.machine.next_deadline().is_some_and(|due| due <= self.now) {
            append(&mut self.ring, self.now, &RecordBody::Tick);
            self.apply_appended();
        } else if self.records_since_hash >= STATE_HASH_INTERVAL {
            let output_digest = self.machine.output_digest();
            append(&mut self.ring, self.now, &RecordBody::StateHash { output_digest });
            self.records_since_hash = 0;
            self.apply_appended();
        }
        let told_count = self.told.sessions.len();
        while let Some(session) = self.told.sessions.pop() {
            self.told.is_told[session.0 as usize] = false;
        }
        told_count
    }

    fn apply_appended(&mut self) {
        let Self { ring, machine, log, out, told, .. } = self;
        let mut sink = Sink { log, told };
        for (_, stored) in ring.records_from(self.applied_to) {
            let applied = replay::apply(machine, &stored, out, &mut sink);
            assert!(applied.is_ok(), "what was admitted can be applied: {applied:?}");
        }
        self.applied_to = self.ring.head();
    }

    /// Takes `count` messages of `flow` through turns of `turn`, outside of any window.
    pub(crate) fn run(&mut self, flow: &mut Flow, count: usize, turn: usize) {
        let mut left = count;
        while left > 0 {
            let burst = flow.burst(left.min(1 << 14));
            left -= burst.sessions.len();
            let mut octets = &burst.frames[..];
            for sessions in burst.sessions.chunks(turn) {
                octets = self.intake(octets, sessions);
                self.apply();
            }
        }
    }

    /// What the engine holds, in words.
    pub(crate) fn state(&self) -> String {
        let (engine, log) = (self.machine.engine(), self.log.size() >> 20);
        let c = self.machine.capacities();
        format!(
            "{} live keys of {}, {} open orders, {} instruments, {} sessions, {} MiB report log, \
             record {} of a {} MiB ring",
            engine.key_count(),
            c.key_count_max,
            engine.open_order_count(),
            self.machine.instruments().count(),
            c.session_count_max,
            log,
            self.machine.index(),
            self.ring.ring_bytes() >> 20
        )
    }
}

/// A machine with the capacities that a journal begins with, before its first record is applied.
pub(crate) fn found_machine(ring: &Ring) -> Machine {
    let first = ring.iter().next();
    let machine = first.and_then(|(_, stored)| {
        replay::read(&stored).ok().and_then(|record| Machine::found(&record).ok())
    });
    let Some(machine) = machine else { unreachable!("the journal begins with its capacities") };
    machine
}

fn append(ring: &mut Ring, now: Nanos, body: &RecordBody<'_>) {
    let mut scratch = [0; PAYLOAD_BYTES_MAX];
    let (kind, source) = (body.kind().stored(), body.source());
    let appended = ring.append(now.0, EPOCH.0, kind, 0, source, body.encode(&mut scratch));
    assert!(appended.is_ok(), "the ring is sized for the whole run");
}
