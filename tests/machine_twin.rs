//! The whole machine against its slow twin, over random histories.
//!
//! Each history is run live: messages are admitted in batches before they are applied, as in a
//! turn. Beside it runs a replica that is only given stored records, and is now and then replaced
//! by what its own snapshot restores. Every report is compared with the twin's field by field,
//! every frame and digest with the replica's, and a ledger made of reports alone checks that
//! nothing is lost.

#![expect(clippy::expect_used, reason = "a history that cannot be made ends the test")]

mod common;
#[path = "common/twin.rs"]
mod twin;

use std::collections::BTreeMap;

use common::*;
use tidegate::engine::outbox::{NoReports, Outbox};
use tidegate::machine::{Machine, SnapshotError};
use tidegate::replay;
use tidegate::session::logical::{Admission, GapCheck, OpenRefusal};
use tidegate::vocabulary::event::{Report, ReportBody};
use tidegate::vocabulary::fix::{CodType, MarketPhase};
use tidegate::vocabulary::message::{
    ClientMessage, NULL_I64, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
};
use tidegate::vocabulary::random::SplitMix;
use tidegate::vocabulary::record::{DownCause, RecordBody, RecordKind};
use tidegate::vocabulary::settings::{Capacities, Instrument, Owner, Setting};
use tidegate::vocabulary::units::{
    ClOrdId, Epoch, Index, Nanos, OwnerIdx, Px, Seq, SessionIdx, Text,
};
use twin::Twin;
use xxhash_rust::xxh3::xxh3_64;

/// A machine with its outbox and what it said.
struct Node {
    machine: Machine,
    out: Outbox,
    sink: Kept,
}

impl Node {
    fn found(first: &Stored) -> Self {
        let machine = Machine::found(&read(first)).expect("capacities are in range");
        Self { machine, out: Outbox::new(), sink: Kept::default() }
    }

    /// Applies a record and gives what it said.
    fn apply(&mut self, stored: &Stored) -> &[Said] {
        let from = self.sink.said.len();
        replay::apply(&mut self.machine, &stored.record(), &mut self.out, &mut self.sink)
            .unwrap_or_else(|error| panic!("{error}"));
        // A sink may have given more room than the report took: a frame says its own length.
        if let Some(last) = self.sink.said.last_mut() {
            let len = u16::from_le_bytes([last.frame[0], last.frame[1]]);
            last.frame.truncate(usize::from(len));
        }
        &self.sink.said[from..]
    }
}

/// One client session as the generator knows it, ahead of what was applied.
struct Peer {
    /// Its slot is free: never opened, or forgotten.
    is_free: bool,
    /// FinishedSending was journaled; 2 once FinishedReceiving was.
    stage: u8,
    owner: u16,
    expected: u64,
    is_bound: bool,
    logon: u64,
    /// What was admitted under each number; none for numbers of a gap.
    numbers: BTreeMap<u64, Option<(u16, u64)>>,
}

/// Makes records that can be, and admits them at a live machine as the shell does.
struct Generator {
    random: SplitMix,
    capacities: Capacities,
    peers: Vec<Peer>,
    sent: Vec<(u16, ClientMessage)>,
    /// ClOrdIDs of both owners begin below it.
    next_id: u64,
    index: u64,
    time: u64,
    epoch: u32,
}

impl Generator {
    fn new(seed: u64, capacities: Capacities) -> Self {
        let (random, time) = (SplitMix(seed), 1_700_000_000_000_000_000);
        let (peers, sent) = (Vec::new(), Vec::new());
        Self { random, capacities, peers, sent, next_id: 1, index: 0, time, epoch: 1 }
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.random.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.random.below(from.len() as u64);
        from[usize::try_from(at).expect("an index")]
    }

    fn stored(&mut self, body: &RecordBody<'_>) -> Stored {
        self.index += 1;
        if self.index > 1 {
            let span = match self.random.below(16) {
                0 => self.capacities.key_retention.0 / 4,
                1 => 0,
                // A long night: windows end, now and then sessions are forgotten.
                2 if self.one_in(12) => {
                    self.pick(&[5_000_000_000, 90_000_000_000_000, 700_000_000_000_000])
                }
                _ => 1 + self.random.below(self.capacities.key_retention.0 / 64),
            };
            self.time += span;
        }
        Stored::new(Index(self.index), Nanos(self.time), Epoch(self.epoch), body)
    }

    /// Everything that a history begins with.
    fn prelude(&mut self, orders_max: u32) -> Vec<Stored> {
        let first = self.stored(&RecordBody::Config(Setting::Capacities(self.capacities)));
        let prev_epoch = Epoch(0);
        let start = RecordBody::EpochStart { node: 1, incarnation: 1, prev_epoch };
        let mut records = vec![first, self.stored(&start)];
        for setting in settings(orders_max) {
            records.push(self.stored(&RecordBody::Config(setting)));
        }
        for security in [None, Some(0), Some(1)] {
            records.push(self.stored(&admin(security, MarketPhase::Trading)));
        }
        records
    }

    /// The next record that goes through admission; none when nothing was to be journaled.
    fn input(&mut self, live: &mut Machine) -> Option<Stored> {
        let used: Vec<usize> =
            (0..self.peers.len()).filter(|at| !self.peers[*at].is_free).collect();
        if used.len() < 3 || self.one_in(60) {
            return self.open(live);
        }
        let session = self.pick(&used);
        let index = SessionIdx(u32::try_from(session).expect("few"));
        if !self.peers[session].is_bound {
            // What the shell asks before it takes an Establish.
            let is_over = live.sessions().is_over(index, Nanos(self.time));
            return if is_over || self.one_in(3) { None } else { Some(self.bind(live, session)) };
        }
        if self.peers[session].stage == 1 {
            return match self.random.below(4) {
                0 => Some(self.down(session)),
                1 => Some(self.make_final(live, session)),
                _ => None,
            };
        }
        match self.random.below(100) {
            0..=1 => Some(self.down(session)),
            13 if self.one_in(4) => Some(self.finish(live, session)),
            2..=3 => self.gap(live, session),
            4..=6 => {
                self.repeat(live, session);
                None
            }
            9..=11 => {
                let phase = self.pick(MarketPhase::ALL);
                let phase = if self.one_in(4) { phase } else { MarketPhase::Trading };
                let security = self.pick(&[None, Some(0), Some(0), Some(1)]);
                Some(self.stored(&admin(security, phase)))
            }
            12 => Some(self.change()),
            _ => Some(self.message(live, session)),
        }
    }

    fn open(&mut self, live: &mut Machine) -> Option<Stored> {
        let free = self.peers.iter().position(|peer| peer.is_free);
        let slot = free.unwrap_or(self.peers.len());
        let session = u32::try_from(slot).expect("few");
        let owner = self.pick(&[0, 1]);
        let id = session_id(session);
        let came = live.sessions_mut().admit_open(id, OwnerIdx(owner), Nanos(1));
        if session == self.capacities.session_count_max {
            assert_eq!(came, Err(OpenRefusal::Capacity));
            return None;
        }
        assert_eq!(came, Ok(SessionIdx(session)));
        let again = live.sessions_mut().admit_open(id, OwnerIdx(owner), Nanos(1));
        assert_eq!(again, Err(OpenRefusal::DuplicateId));
        let numbers = BTreeMap::new();
        let (is_free, stage, is_bound) = (false, 0, false);
        let peer = Peer { is_free, stage, owner, expected: 1, is_bound, logon: 1, numbers };
        if free.is_some() {
            self.peers[slot] = peer;
        } else {
            self.peers.push(peer);
        }
        Some(self.stored(&open(session, owner)))
    }

    /// The client sends nothing more, and skipped some numbers perhaps.
    fn finish(&mut self, live: &mut Machine, session: usize) -> Stored {
        let step = self.random.below(3);
        let peer = &mut self.peers[session];
        let next = peer.expected + step;
        let session = SessionIdx(u32::try_from(session).expect("few"));
        let sessions = live.sessions_mut();
        assert_eq!(sessions.admit_finishing(session, Seq(u64::MAX)), GapCheck::TooFar);
        if peer.expected > 1 {
            let low = sessions.admit_finishing(session, Seq(peer.expected - 2));
            assert_eq!(low, GapCheck::TooFar, "below what it sent");
        }
        let came = sessions.admit_finishing(session, Seq(next - 1));
        assert_eq!(came, if step == 0 { GapCheck::None } else { GapCheck::Gap });
        peer.jump(next);
        peer.stage = 1;
        self.stored(&RecordBody::SessionFinishing { session, next_seq_no: Seq(next) })
    }

    fn make_final(&mut self, live: &mut Machine, session: usize) -> Stored {
        let peer = &mut self.peers[session];
        (peer.stage, peer.is_bound) = (2, false);
        let session = SessionIdx(u32::try_from(session).expect("few"));
        live.sessions_mut().admit_final(session);
        assert!(live.sessions().is_over(session, Nanos(0)));
        self.stored(&RecordBody::SessionFinal { session })
    }

    /// Learns which sessions were forgotten.
    fn sync(&mut self, twin: &Twin) {
        let used = twin.session_slots();
        for (at, peer) in (0..).zip(&mut self.peers) {
            peer.is_free = !used.contains(&at);
        }
    }

    fn bind(&mut self, live: &mut Machine, session: usize) -> Stored {
        let choice = self.random.below(6);
        let step = self.random.below(12);
        let peer = &mut self.peers[session];
        (peer.is_bound, peer.stage) = (true, 0);
        peer.logon += 1 + step;
        let lowest = peer.expected.saturating_sub(8).max(1);
        let next = match choice {
            0 => Some(peer.expected + 1 + step),
            1 => Some((peer.expected.saturating_sub(step)).max(lowest)),
            2 => None,
            _ => Some(peer.expected),
        };
        peer.jump(next.unwrap_or(0));
        let (index, logon) = (u32::try_from(session).expect("few"), Nanos(peer.logon));
        live.sessions_mut().admit_bind(SessionIdx(index), next.map(Seq), logon);
        let cod_type = self.pick(CodType::ALL);
        let cod_window = self.pick(&[0, 0, 3, 60_000]);
        self.stored(&bind_with(index, logon, next, (cod_type, cod_window)))
    }

    fn down(&mut self, session: usize) -> Stored {
        self.peers[session].is_bound = false;
        let cause = self.pick(&[DownCause::Terminate, DownCause::Disconnect]);
        let session = SessionIdx(u32::try_from(session).expect("few"));
        self.stored(&RecordBody::SessionDown { session, cause })
    }

    fn gap(&mut self, live: &mut Machine, session: usize) -> Option<Stored> {
        let step = self.random.below(20);
        let peer = &mut self.peers[session];
        let next = (peer.expected + step).saturating_sub(3).max(1);
        let session = SessionIdx(u32::try_from(session).expect("few"));
        let came = live.sessions_mut().admit_gap(session, Seq(next));
        assert_eq!(came == GapCheck::Gap, next > peer.expected);
        if came != GapCheck::Gap {
            return None;
        }
        peer.jump(next);
        Some(self.stored(&RecordBody::SessionGap { session, next_seq_no: Seq(next) }))
    }

    /// A number below the expected one: dropped or refused, never journaled (ruling F01).
    fn repeat(&mut self, live: &mut Machine, session: usize) {
        let back = 1 + self.random.below(12);
        let is_same = !self.one_in(3);
        let peer = &self.peers[session];
        let Some(number) = peer.expected.checked_sub(back).filter(|n| *n > 0) else { return };
        let known = peer.numbers.get(&number).copied().flatten();
        let (template, id) = if is_same { known.unwrap_or((100, 5)) } else { (104, 77) };
        let is_remembered = number + u64::from(self.capacities.resend_window) >= peer.expected;
        let wanted = if is_remembered && known == Some((template, id)) {
            Admission::Repeat
        } else {
            Admission::Reused
        };
        let session = SessionIdx(u32::try_from(session).expect("few"));
        let came = live.sessions_mut().admit(session, Seq(number), template, id);
        assert_eq!(came, wanted, "session {session} number {number} template {template} id {id}");
    }

    fn change(&mut self) -> Stored {
        let setting = if self.one_in(2) {
            let orders_max = u32::try_from(self.random.below(40)).expect("few");
            let (owner, name) = (OwnerIdx(self.pick(&[0, 1])), Text::new("Changed"));
            Setting::Owner(Owner { owner, id: 100, name, orders_max })
        } else {
            let Setting::Instrument(aaa) = settings(0)[0] else { panic!("AAA is first") };
            let high_limit = px(self.pick(&[1_000, 1_010, 10_000]));
            Setting::Instrument(Instrument { high_limit, ..aaa })
        };
        self.stored(&RecordBody::Config(setting))
    }

    fn message(&mut self, live: &mut Machine, session: usize) -> Stored {
        let owner = self.peers[session].owner;
        let mine: Vec<ClientMessage> =
            self.sent.iter().rev().filter(|s| s.0 == owner).take(30).map(|s| s.1).collect();
        let message = if !mine.is_empty() && self.one_in(5) {
            let again = self.pick(&mine);
            self.marked(again)
        } else if !mine.is_empty() && self.one_in(3) {
            let target = self.pick(&mine);
            self.cancel_of(&target)
        } else {
            self.fresh(owner)
        };
        let jump = if self.one_in(25) { self.random.below(20) } else { 0 };
        let peer = &mut self.peers[session];
        let number = peer.expected + jump;
        let message = with_number(message, number);
        let (template, id) = (message.template(), message.request_id());
        let index = SessionIdx(u32::try_from(session).expect("few"));
        let came = live.sessions_mut().admit(index, Seq(number), template, id);
        assert_eq!(came, Admission::Fresh);
        peer.jump(number);
        peer.numbers.insert(number, Some((template, id)));
        peer.expected = number + 1;
        self.sent.push((owner, message));
        self.stored(&RecordBody::ClientMessage { session: index, message: &sbe(&message) })
    }

    /// The same request as a resend, or not marked.
    fn marked(&mut self, message: ClientMessage) -> ClientMessage {
        let poss_resend = self.pick(&[0, 1, 1]);
        let sending_time = Nanos(self.random.next());
        match message {
            ClientMessage::NewOrder(m) => {
                let mut again = NewOrderSingle { poss_resend, sending_time, ..m };
                if self.one_in(8) {
                    self.spoil(&mut again);
                }
                ClientMessage::NewOrder(again)
            }
            ClientMessage::Cancel(m) => {
                ClientMessage::Cancel(OrderCancelRequest { poss_resend, sending_time, ..m })
            }
            ClientMessage::Status(m) => ClientMessage::Status(m),
        }
    }

    /// A cancel that names what it cancels, mostly.
    fn cancel_of(&mut self, target: &ClientMessage) -> ClientMessage {
        let ClientMessage::NewOrder(target) = target else { return self.fresh(1) };
        let id = target.cl_ord_id.0;
        let own = id.wrapping_add(10_000 + self.random.below(2));
        let mut asked = OrderCancelRequest {
            security_id: target.security_id,
            side: target.side,
            poss_resend: self.pick(&[0, 0, 1]),
            ..cancel(own, id)
        };
        match self.random.below(24) {
            0 => asked.security_id ^= 1,
            1 => asked.side = self.pick(b"12x"),
            2 => asked.poss_resend = 2,
            3 => asked.cl_ord_id = ClOrdId(self.pick(&[id, id.wrapping_sub(1), 0, u64::MAX])),
            4 => asked.orig_cl_ord_id = ClOrdId(self.pick(&[0, u64::MAX, 90_000])),
            _ => {}
        }
        ClientMessage::Cancel(asked)
    }

    fn fresh(&mut self, owner: u16) -> ClientMessage {
        let old = 1 + self.random.below(self.next_id);
        let id = if self.one_in(6) { old } else { self.next_id };
        let (msg_seq_num, sending_time) = (Seq(0), Nanos(self.random.next()));
        if self.one_in(12) {
            let id = self.next_id.saturating_sub(self.random.below(12)).max(1);
            let ord_status_req_id = self.pick(&[id, id, id, 0, u64::MAX]);
            let cl_ord_id = ClOrdId(self.pick(&[id, id, id, id, id, 0, 90_000]));
            return ClientMessage::Status(OrderStatusRequest {
                msg_seq_num,
                sending_time,
                ord_status_req_id,
                cl_ord_id,
            });
        }
        let account = if owner == 0 { self.pick(&[10, 11]) } else { 20 };
        let cents = 990 + 5 * i64::try_from(self.random.below(6)).expect("few");
        let lots = 1 + i64::try_from(self.random.below(9)).expect("few");
        let mut asked = NewOrderSingle {
            sending_time,
            price: cents * CENT,
            order_qty: 10 * lots,
            account,
            side: self.pick(b"12"),
            time_in_force: self.pick(b"01"),
            sender_sub_id: self.pick(&[0, 3]),
            poss_resend: self.pick(&[0, 0, 0, 1]),
            ..order(id)
        };
        if self.one_in(3) {
            asked.security_id = 1;
            asked.price = (cents - 1_000) * CENT;
        }
        self.next_id += 1;
        if self.one_in(8) {
            self.spoil(&mut asked);
        }
        ClientMessage::NewOrder(asked)
    }

    fn spoil(&mut self, asked: &mut NewOrderSingle) {
        match self.random.below(14) {
            0 => asked.cl_ord_id = ClOrdId(self.pick(&[0, u64::MAX])),
            1 => asked.side = self.pick(&[0, 1, b'3', 255]),
            2 => asked.ord_type = self.pick(b"1345"),
            3 => asked.time_in_force = self.pick(b"3462"),
            4 => asked.post_only = self.pick(&[1, 2, 255]),
            5 => asked.poss_resend = self.pick(&[2, 255]),
            6 => asked.self_match = self.pick(&[1, 4, 5, 255]),
            7 => asked.security_id = self.pick(&[2, u32::MAX]),
            8 => asked.account = self.pick(&[0, 10, 20, 21, u32::MAX]),
            9 => asked.order_qty = self.pick(&[0, -10, 15, 1 << 41, i64::MIN, i64::MAX]),
            10 => asked.price = self.pick(&[NULL_I64, Px::ABS_MAX + 1, i64::MAX, 1]),
            11 => asked.price = self.pick(&[0, -5 * CENT, 95 * CENT, 10_005 * CENT]),
            12 => asked.stop_px = self.pick(&[0, 1_000 * CENT]),
            _ => asked.expire_time = self.pick(&[0, 1]),
        }
    }

    /// What stands alone in its batch: it needs a settled machine.
    fn alone(&mut self, live: &Machine) -> Option<Stored> {
        match self.random.below(40) {
            4..=6 => Some(self.stored(&RecordBody::Tick)),
            0 => {
                let prev_epoch = Epoch(self.epoch);
                self.epoch += 1 + u32::try_from(self.random.below(2)).expect("few");
                self.time += self.capacities.key_retention.0 * self.random.below(3);
                self.peers.iter_mut().for_each(|peer| peer.is_bound = false);
                Some(self.stored(&RecordBody::EpochStart { node: 1, incarnation: 2, prev_epoch }))
            }
            1 => {
                let output_digest = live.output_digest();
                Some(self.stored(&RecordBody::StateHash { output_digest }))
            }
            2 => Some(self.stored(&RecordBody::Pad)),
            _ => None,
        }
    }
}

impl Peer {
    fn jump(&mut self, next: u64) {
        let from = self.expected;
        self.numbers.extend((from..next).map(|number| (number, None)));
        self.expected = self.expected.max(next);
    }
}

/// What a client's records of its orders must add up to, from reports alone.
#[derive(Default)]
struct Ledger {
    exec_count: u64,
    next_out: BTreeMap<SessionIdx, u64>,
    /// Order: quantity, traded, ended.
    orders: BTreeMap<u64, (i64, i64, bool)>,
    /// Trade: what the aggressor and the maker traded, and the price.
    trades: BTreeMap<u64, (i64, i64, Px)>,
    time: BTreeMap<SessionIdx, Nanos>,
}

impl Ledger {
    fn note(&mut self, session: SessionIdx, report: &Report) {
        let next = self.next_out.entry(session).or_insert(1);
        assert_eq!(report.msg_seq_num.0, *next, "numbers of a session are contiguous");
        *next += 1;
        let exec_id = match &report.body {
            ReportBody::NotApplied { .. } | ReportBody::BusinessReject(_) => None,
            ReportBody::New(r) => {
                let order = (r.order_qty.raw(), 0, false);
                assert_eq!(self.orders.insert(r.order_id.0, order), None, "accepted twice");
                Some(r.exec_id)
            }
            ReportBody::Trade(r) => {
                let order = self.orders.get_mut(&r.order_id.0).expect("accepted before it trades");
                order.1 += r.last_qty.raw();
                assert!(!order.2, "nothing trades after its end");
                assert_eq!((r.cum_qty.raw(), r.leaves_qty.raw()), (order.1, order.0 - order.1));
                order.2 = r.leaves_qty.is_zero();
                let trade = self.trades.entry(r.trd_match_id.0).or_insert((0, 0, r.last_px));
                assert_eq!(trade.2, r.last_px);
                *(if r.aggressor { &mut trade.0 } else { &mut trade.1 }) += r.last_qty.raw();
                Some(r.exec_id)
            }
            ReportBody::Canceled(r) => {
                let order = self.orders.get_mut(&r.order_id.0).expect("accepted before");
                assert_eq!(r.cum_qty.raw(), order.1);
                order.2 = true;
                Some(r.exec_id)
            }
            ReportBody::Status(r) => {
                let order = self.orders.get(&r.order_id.0).expect("accepted before");
                let leaves = if order.2 { 0 } else { order.0 - order.1 };
                let told = (r.order_qty.raw(), r.cum_qty.raw(), r.leaves_qty.raw());
                assert_eq!(told, (order.0, order.1, leaves));
                Some(r.exec_id)
            }
            ReportBody::Reject(r) => Some(r.exec_id),
            ReportBody::CancelReject(r) => Some(r.exec_id),
        };
        if let Some(exec_id) = exec_id {
            self.exec_count += 1;
            assert_eq!(exec_id.0, self.exec_count, "ExecID counts every report that has one");
            let last = self.time.entry(session).or_default();
            assert!(report.sending_time >= *last, "SendingTime never goes back");
            *last = report.sending_time;
        }
    }

    fn close(&self, twin: &Twin) {
        assert!(self.trades.values().all(|trade| trade.0 == trade.1), "what is bought is sold");
        assert!(self.trades.keys().copied().eq(1..=twin.trade_count()), "TrdMatchID counts trades");
        let open: i64 = self.orders.values().filter(|o| !o.2).map(|o| o.0 - o.1).sum();
        let resting: i64 = [(0, b'1'), (0, b'2'), (1, b'1'), (1, b'2')]
            .map(|(security, side)| twin.resting(security, side))
            .iter()
            .sum();
        assert_eq!(open, resting, "what was accepted traded, was cancelled, or rests");
    }
}

/// How often the corners were reached, so that a change of the generator that loses one is seen.
#[derive(Default, Debug)]
struct Reached {
    templates: BTreeMap<u16, u64>,
    refusals: BTreeMap<String, u64>,
    capacity: u64,
    resent: u64,
    trades: u64,
    restored: u64,
    opened: u64,
    /// Orders cancelled by the system, by reason.
    swept: BTreeMap<u8, u64>,
}

fn run(seed: u64, capacities: Capacities, batches: u64, reached: &mut Reached) -> Node {
    let mut generator = Generator::new(seed, capacities);
    let mut records = generator.prelude(30);
    let mut live = Node::found(&records[0]);
    let mut replica = Node::found(&records[0]);
    let (mut twin, mut ledger) = (Twin::new(capacities), Ledger::default());
    for _ in 0..batches {
        for stored in &records {
            let expected = twin.apply(&read(stored));
            let said = live.apply(stored);
            let came: Vec<_> = said.iter().map(|s| (s.session, s.report())).collect();
            assert_eq!(came, expected, "seed {seed} record {}", stored.index);
            if let RecordBody::SessionOpen { session, .. } = read(stored).body {
                ledger.next_out.remove(&session);
                reached.opened += 1;
            }
            for (session, report) in &came {
                ledger.note(*session, report);
                reached.note(report);
            }
            let engine = live.machine.engine();
            assert_eq!(engine.key_count() as usize, twin.key_count(), "seed {seed}");
            assert_eq!(engine.open_order_count() as usize, twin.open_count(), "seed {seed}");
            replica.apply(stored);
        }
        for session in 0..generator.peers.len() {
            let session = SessionIdx(u32::try_from(session).expect("few"));
            live.machine.sessions().assert_settled(session);
        }
        check_deadline(&live.machine, &twin);
        assert_eq!(replica.sink.said, live.sink.said, "seed {seed}");
        assert_eq!(replica.sink.logons, live.sink.logons, "seed {seed}");
        assert_eq!(replica.machine.output_digest(), live.machine.output_digest(), "seed {seed}");
        assert_eq!(replica.machine.state_digest(), live.machine.state_digest(), "seed {seed}");
        for node in [&mut live, &mut replica] {
            node.sink.said.clear();
            node.sink.logons.clear();
        }
        if generator.one_in(50) {
            let bytes = replica.machine.snapshot();
            replica.machine = Machine::from_snapshot(&bytes).expect("just written");
            assert!(replica.machine.snapshot() == bytes, "seed {seed}: not canonical");
            reached.restored += 1;
        }
        generator.sync(&twin);
        records = generator.alone(&live.machine).into_iter().collect();
        // As in a turn: a Tick stands before the inputs, which are admitted before it is applied.
        let is_tick = records.first().is_some_and(|r| r.kind == RecordKind::Tick.stored());
        if records.is_empty() || is_tick {
            let count = 1 + generator.random.below(6);
            records.extend((0..count).filter_map(|_| generator.input(&mut live.machine)));
        }
    }
    ledger.close(&twin);
    reached.trades += twin.trade_count();
    for stored in &records {
        live.apply(stored);
    }
    live
}

/// A deadline stands while there are keys, never earlier than the first may be forgotten.
fn check_deadline(machine: &Machine, twin: &Twin) {
    let deadline = machine.next_deadline().map(|due| due.since(machine.time()).0);
    let key = twin.first_key_due();
    let session = twin.first_session_due();
    let latest = key.map(|span| span + 2 * Nanos::SECOND.0).into_iter().chain(session).min();
    match (deadline, key.into_iter().chain(session).min()) {
        (None, None) => {}
        (Some(deadline), Some(span)) => {
            assert!(deadline >= span, "a Tick for nothing");
            assert!(Some(deadline) <= latest, "{deadline} {latest:?}");
        }
        other => panic!("a deadline for nothing, or none for something: {other:?}"),
    }
}

impl Reached {
    fn note(&mut self, report: &Report) {
        *self.templates.entry(report.body.template()).or_default() += 1;
        if let ReportBody::Canceled(r) = &report.body
            && let Some(reason) = r.exec_restatement_reason
        {
            *self.swept.entry(reason.wire()).or_default() += 1;
        }
        if let ReportBody::Reject(r) = &report.body {
            *self.refusals.entry(r.text.to_string()).or_default() += 1;
            self.capacity += u64::from(r.text.as_str() == "capacity");
            self.resent += u64::from(r.poss_resend);
        }
    }
}

#[test]
fn random_histories_agree_with_the_twin() {
    let mut reached = Reached::default();
    #[rustfmt::skip]
    let tables = [
        // keys, orders, retention
        (64,     48,     10_000_000_000), // keys fill up and expire
        (4,      4,      10_000_000_000), // always full
        (256,    6,      60_000_000_000), // the arena fills up first
        (64,     64,     3_000),          // forgotten at once, and moved while open
    ];
    for (at, (key_count_max, order_count_max, retention)) in (0..).zip(tables) {
        for seed in 0..12 {
            let key_retention = Nanos(retention);
            let capacities =
                Capacities { key_count_max, order_count_max, key_retention, ..CAPACITIES };
            let seed = at * 1_000 + seed;
            println!("seed {seed}");
            run(seed, capacities, 300, &mut reached);
        }
    }
    println!("{reached:?}");
    for template in [18, 200, 202, 203, 204, 205, 206, 208] {
        let count = reached.templates.get(&template).copied().unwrap_or(0);
        assert!(count > 100, "template {template} was told {count} times only: {reached:?}");
    }
    for reason in [12, 13] {
        let count = reached.swept.get(&reason).copied().unwrap_or(0);
        assert!(count > 50, "reason {reason}: {count} times only: {reached:?}");
    }
    let Reached { capacity, resent, trades, restored, opened, .. } = reached;
    assert!(opened > 48 * 5, "sessions are forgotten and their slots used again: {opened}");
    assert!(capacity > 100 && resent > 50 && trades > 500 && restored > 50, "{reached:?}");
}

/// A sweep over more resting orders than one outbox holds: cut, resumed, and the twin does not see
/// it; nor do digests, snapshots and a replica.
#[test]
fn a_cut_anywhere_is_seen_by_nobody() {
    let capacities = Capacities {
        key_count_max: 4_096,
        order_count_max: 4_096,
        resend_window: 4_096,
        ..CAPACITIES
    };
    let mut generator = Generator::new(5, capacities);
    let mut records = generator.prelude(u32::MAX);
    let mut random = SplitMix(77);
    for (session, owner) in [(0, 0), (1, 1)] {
        records.push(generator.stored(&open(session, owner)));
        records.push(generator.stored(&bind(session, Nanos(2), None)));
    }
    // Rounds of more makers than fit into the outbox once, just fit, just do not, and twice.
    let mut id = 0;
    let mut numbers = [0, 0];
    let mut send = |generator: &mut Generator, session: u32, asked: NewOrderSingle| {
        let number = &mut numbers[session as usize];
        *number += 1;
        let message = with_number(ClientMessage::NewOrder(asked), *number);
        let session = SessionIdx(session);
        generator.stored(&RecordBody::ClientMessage { session, message: &sbe(&message) })
    };
    for makers in [2_042, 2_043, 2_044, 2_045, 3_900] {
        for _ in 0..makers {
            id += 1;
            let cents = 990 + 5 * i64::try_from(random.below(5)).expect("few");
            let maker = NewOrderSingle { price: cents * CENT, ..sell(id, 10) };
            records.push(send(&mut generator, 1, maker));
        }
        id += 1;
        let rest = 10 * i64::try_from(random.below(2)).expect("few");
        let sweep =
            NewOrderSingle { order_qty: makers * 10 + rest, price: 1_010 * CENT, ..order(id) };
        records.push(send(&mut generator, 0, sweep));
        if rest > 0 {
            id += 1;
            let taker = NewOrderSingle { order_qty: rest, ..sell(id, 10) };
            records.push(send(&mut generator, 1, taker));
        }
        // Keys of the round are over before the next.
        generator.time += 2 * capacities.key_retention.0;
        for _ in 0..5 {
            records.push(generator.stored(&RecordBody::Tick));
        }
    }
    let (mut twin, mut node) = (Twin::new(capacities), Node::found(&records[0]));
    let mut longest = 0;
    for stored in &records {
        let expected = twin.apply(&read(stored));
        let said = node.apply(stored);
        longest = longest.max(said.len());
        assert_eq!(said.len(), expected.len(), "record {}", stored.index);
        for (said, (session, report)) in said.iter().zip(expected) {
            assert_eq!((said.session, said.report()), (session, report));
        }
    }
    assert!(longest > 7_000, "{longest} events");
    let mut silent = Machine::found(&read(&records[0])).expect("in range");
    let (mut out, mut sink) = (Outbox::new(), NoReports::default());
    for stored in &records {
        replay::apply(&mut silent, &stored.record(), &mut out, &mut sink).expect("it was applied");
    }
    assert_eq!(silent.output_digest(), node.machine.output_digest());
    assert_eq!(silent.state_digest(), node.machine.state_digest());
}

/// Octets of magic, version and capacities.
const CAPACITIES_END: usize = 8 + 4 + 32;

fn snapshot() -> Vec<u8> {
    let capacities = Capacities { key_count_max: 64, order_count_max: 24, ..CAPACITIES };
    let node = run(4_712, capacities, 200, &mut Reached::default());
    let bytes = node.machine.snapshot();
    let machine = Machine::from_snapshot(&bytes).expect("just written");
    assert!(machine.engine().open_order_count() > 2 && machine.engine().key_count() > 4);
    bytes
}

#[test]
fn a_damaged_snapshot_is_an_error() {
    let bytes = snapshot();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let said = Machine::from_snapshot(&damaged).err();
        match at {
            0..12 => assert!(matches!(said, Some(SnapshotError::Unknown { .. })), "{at}: {said:?}"),
            _ => assert!(matches!(said, Some(SnapshotError::Damaged { .. })), "{at}: {said:?}"),
        }
        assert!(Machine::from_snapshot(&bytes[..at]).is_err(), "cut to {at}");
    }
    assert!(Machine::from_snapshot(&[bytes.as_slice(), &[0]].concat()).is_err());
    assert!(Machine::from_snapshot(&[]).is_err());
}

/// Damage under a hash that fits, as a faulty writer would leave it: an error, or a machine that
/// can go on. The capacities are left alone, as they say how much memory to take.
#[test]
fn a_contradictory_snapshot_is_never_a_panic() {
    let bytes = snapshot();
    let body = bytes.len() - 8;
    let mut random = SplitMix(99);
    let (mut refused, mut taken) = (0, 0);
    for round in 0..400_u64 {
        let mut damaged = bytes.clone();
        let places = (body - CAPACITIES_END) as u64;
        let at = CAPACITIES_END + usize::try_from(random.below(places)).expect("an index");
        damaged[at] = match round % 3 {
            0 => damaged[at] ^ (1 << random.below(8)),
            1 => 0xFF,
            _ => 0,
        };
        let len = if round % 50 == 0 { at } else { body };
        damaged.truncate(len);
        match Machine::from_snapshot(&sealed(damaged)) {
            Err(_) => refused += 1,
            Ok(machine) => {
                taken += 1;
                go_on(machine);
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > 50 && taken > 50);
}

/// Puts the hash that fits behind a body.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let hash = xxh3_64(&body);
    body.extend_from_slice(&hash.to_le_bytes());
    body
}

/// Values that would make the machine panic later, each in its place.
#[test]
fn a_snapshot_that_contradicts_itself_is_an_error() {
    const COUNTERS: usize = CAPACITIES_END + 4;
    const SESSION: usize = COUNTERS + 6 * 8 + 4 + 1;
    const KEY: usize = 93;
    const ORDER: usize = 68;
    let bytes = snapshot();
    let body = &bytes[..bytes.len() - 8];
    assert_eq!(body[SESSION - 1], 1, "the first slot is used");
    let keys = Machine::from_snapshot(&bytes).expect("just written").engine().key_count() as usize;
    let orders_end = body.len() - keys * KEY - 4;
    let last_order = orders_end - ORDER;
    assert_eq!(body[orders_end..][..4], u32::try_from(keys).expect("few").to_le_bytes());
    #[rustfmt::skip]
    let rows: [(&str, usize, &[u8]); 17] = [
        ("index",                       COUNTERS,                  &[0xFF; 8]),
        ("index before an order",       COUNTERS,                  &[0; 8]),
        ("active time before a key",    COUNTERS + 16,             &[0; 8]),
        ("count of ExecIDs",            COUNTERS + 24,             &[0xFF; 8]),
        ("count of trades",             COUNTERS + 32,             &[0xFF; 8]),
        ("a session's owner",           SESSION + 16,              &[9, 0]),
        ("its expected number",         SESSION + 18,              &[0; 8]),
        ("its next number",             SESSION + 26,              &[0xFF; 8]),
        ("whether it is bound",         SESSION + 34,              &[2]),
        ("what it wants cancelled",     SESSION + 43,              &[4]),
        ("the window of that",          SESSION + 44,              &[0xFF; 4]),
        ("a final session that is bound", SESSION + 34,            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
        ("the reason of a cancel",      SESSION + 49,              &[1]),
        ("a window of a bound session", SESSION + 34,              &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12]),
        ("an order's quantity",         last_order + 24,           &[0xF0, 0xFF]),
        ("an order's session",          last_order + 48,           &[0xEE; 4]),
        ("arrival of the youngest key", body.len() - KEY + 1 + 16, &[0xFF; 8]),
    ];
    for (row, at, octets) in rows {
        let mut damaged = body.to_vec();
        damaged[at..at + octets.len()].copy_from_slice(octets);
        let said = Machine::from_snapshot(&sealed(damaged)).err();
        assert!(matches!(said, Some(SnapshotError::Contradiction { .. })), "{row}: {said:?}");
    }
}

/// Orders that sweep both books, then time for every key.
fn go_on(mut machine: Machine) {
    let (mut out, mut sink) = (Outbox::new(), NoReports::default());
    let sessions: Vec<SessionIdx> =
        (0..5).map(SessionIdx).filter(|s| machine.sessions().get(*s).is_some()).collect();
    for (session, side) in sessions.iter().flat_map(|s| [(*s, b'1'), (*s, b'2')]) {
        for (security_id, cents) in [(0, 1_000), (1, 0)] {
            let owner = machine.sessions().get(session).expect("filtered").owner;
            let number = machine.sessions().get(session).expect("filtered").expected_in;
            let price = (cents + if side == b'1' { 50 } else { -50 }) * CENT;
            let account = if owner.0 == 0 { 10 } else { 20 };
            let (order_qty, security_id) = (10_000, security_id);
            let id = 500 + machine.index().0 % 1_000;
            let asked =
                NewOrderSingle { price, account, order_qty, security_id, side, ..order(id) };
            let sbe = sbe(&with_number(ClientMessage::NewOrder(asked), number.0));
            let body = RecordBody::ClientMessage { session, message: &sbe };
            let (index, epoch) = (Index(machine.index().0.wrapping_add(1)), machine.epoch());
            let stored = Stored::new(index, machine.time(), epoch, &body);
            // A number that cannot follow is an error of the record, not a panic.
            if replay::apply(&mut machine, &stored.record(), &mut out, &mut sink).is_err() {
                return;
            }
        }
    }
    // A window may have ended long ago.
    let due = machine.next_deadline().unwrap_or_default().max(machine.time());
    let (index, epoch) = (Index(machine.index().0.wrapping_add(1)), machine.epoch());
    let stored = Stored::new(index, due, epoch, &RecordBody::Tick);
    let ticked = replay::apply(&mut machine, &stored.record(), &mut out, &mut sink);
    assert!(ticked.is_ok() || machine.index().0 == u64::MAX);
    assert!(!machine.snapshot().is_empty());
}
