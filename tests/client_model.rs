//! The client's desk against a simulated server, with everything going wrong that can: lines break
//! with frames in flight, frames are lost or come twice, logons are refused, the gate shuts, a
//! standby answers, old lines are believed in, old numbers are refused.
//!
//! A separate checker watches what the client sends and tells. Every request has exactly one
//! outcome; a number never stands for two messages; no timestamp is used twice; what a NotAccepting
//! that was read covered is never sent again under its number; no order is executed twice, and each
//! verdict is true. Then the world heals, and everything unanswered must resolve.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot be built ends the test"
)]

#[path = "client_model/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use server::Server;
use tidegate::client::desk::{Desk, DeskOptions, Leave, Resend};
use tidegate::client::event::{ClientIdentity, SessionOptions, Standing};
use tidegate::client::outcome::{End, Event, Refused, Ticket, Verdict};
use tidegate::client::request::{cancel_of, limit_order, status_of};
use tidegate::session::credentials::Key;
use tidegate::vocabulary::fix::Side;
use tidegate::vocabulary::message::{ClientMessage, NewOrderSingle, SessionMessage};
use tidegate::vocabulary::units::{Account, ClOrdId, Nanos, Px, Qty, SecurityId, SessionId};
use tidegate::wire::decode::{Inbound, Outbound, decode_inbound, decode_outbound};
use tidegate::wire::frame::split;

const STEPS: u32 = 1_000;
const HEALING_STEPS: u32 = 20_000;
const WALL: u64 = 1_700_000_000_000_000_000;

fn order(id: u64) -> NewOrderSingle {
    let (account, side) = (Account(1), Side::Buy);
    limit_order(ClOrdId(id), account, SecurityId(0), side, Qty::MAX, Px::ONE)
}

/// NotApplied counts and carries no number, so that nothing shows a loss before it or a second one:
/// on TCP there is neither, and here the line is cut instead.
fn is_not_applied(octets: &[u8]) -> bool {
    octets[6] == 18
}

/// What the client did, and whether it may.
#[derive(Default)]
struct Checker {
    asked: BTreeMap<Ticket, ClientMessage>,
    outcomes: BTreeMap<Ticket, Verdict>,
    /// Template and request id that each number was sent with.
    numbers: BTreeMap<u64, (u16, u64)>,
    /// Numbers that a NotAccepting covered.
    withheld: BTreeSet<u64>,
    end: Option<End>,
    is_up: bool,
}

impl Checker {
    fn on_sent(&mut self, octets: &[u8]) {
        let (frame, _) = split(octets, 2048).unwrap().unwrap();
        let Ok(Inbound::Application(message)) = decode_inbound(&frame) else { return };
        let (number, id) = (message.msg_seq_num().0, (message.template(), message.request_id()));
        assert_eq!(*self.numbers.entry(number).or_insert(id), id, "number {number} twice");
        assert!(!self.withheld.contains(&number), "{number} was covered by a NotAccepting");
    }

    fn on_heard(&mut self, octets: &[u8]) {
        let (frame, _) = split(octets, 2048).unwrap().unwrap();
        if let Ok(Outbound::Session(SessionMessage::NotAccepting { from_seq_no, .. })) =
            decode_outbound(&frame)
        {
            self.withheld.extend(self.numbers.range(from_seq_no.0..).map(|(number, _)| number));
        }
    }

    fn on_event(&mut self, event: Event) {
        assert_eq!(self.end, None, "nothing comes after the end: {event:?}");
        match event {
            Event::Outcome(outcome) => {
                let asked = self.asked[&outcome.ticket];
                assert_eq!(asked.request_id(), outcome.request.request_id());
                let before = self.outcomes.insert(outcome.ticket, outcome.verdict);
                assert_eq!(before, None, "a second outcome: {outcome:?}");
            }
            Event::Up { .. } => self.is_up = true,
            Event::Down { .. } => self.is_up = false,
            Event::Ended(end) => self.end = Some(end),
            Event::Update(_) | Event::NotAccepting { .. } | Event::Accepting => {}
        }
    }
}

struct World {
    desk: Desk,
    server: Server,
    checker: Checker,
    dice: u64,
    now: u64,
    is_connected: bool,
    retry_at: u64,
    send: Vec<u8>,
    to_server: VecDeque<Vec<u8>>,
    next_id: u64,
    /// Whether a frame of this line never came.
    has_lost: bool,
}

impl World {
    fn new(seed: u64, resend: Resend) -> Self {
        let key = Key::try_new("firm-a", &[0xa1; 32]).unwrap();
        let identity = ClientIdentity { session_id: SessionId([7; 16]), key };
        let session =
            SessionOptions { overlap: u32::from(seed.is_multiple_of(3)), ..Default::default() };
        let options = DeskOptions { session, resend, unanswered_max: 12 };
        let piece_max = [65_536, 4, 1][usize::try_from(seed / 3 % 3).unwrap()];
        let window = [1024, 3][usize::try_from(seed / 9 % 2).unwrap()];
        Self {
            desk: Desk::new(identity, &options, Standing::NEW),
            server: Server::new(window, piece_max),
            checker: Checker::default(),
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: 0,
            is_connected: false,
            retry_at: 0,
            send: Vec::new(),
            to_server: VecDeque::new(),
            next_id: 1,
            has_lost: false,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % bound
    }

    fn connect(&mut self) {
        if !self.is_connected && self.now >= self.retry_at && !self.desk.is_over() {
            self.is_connected = true;
            self.desk.on_connected(Nanos(self.now), Nanos(WALL + self.now), &mut self.send);
            self.after_input();
        }
    }

    /// Frames go on their way, events to the checker, and the line is left if that is due.
    fn after_input(&mut self) {
        let octets = std::mem::take(&mut self.send);
        let mut rest = &octets[..];
        while let Some((_, len)) = split(rest, 2048).unwrap() {
            self.checker.on_sent(&rest[..len]);
            self.to_server.push_back(rest[..len].to_vec());
            rest = &rest[len..];
        }
        while let Some(event) = self.desk.next_event() {
            self.checker.on_event(event);
        }
        if let Some(leave) = self.desk.leave().filter(|_| self.is_connected) {
            while let Some(frame) = self.to_server.pop_front() {
                self.server.on_frame(&frame);
            }
            self.cut(false);
            self.retry_at = match leave {
                Leave::SameAddress(pause) => self.now + pause.0,
                Leave::NextAddress => self.now + 20_000_000,
                Leave::ForEver => u64::MAX,
            };
        }
    }

    /// The line breaks with frames in flight.
    fn cut(&mut self, is_half_open: bool) {
        if !self.is_connected {
            return;
        }
        (self.is_connected, self.retry_at) = (false, self.now);
        self.to_server.clear();
        self.server.on_cut();
        self.has_lost = false;
        self.server.is_stale &= is_half_open;
        self.desk.on_disconnected(Nanos(self.now), "cut");
        self.after_input();
    }

    fn ask(&mut self) {
        let id = self.next_id;
        let old = 1 + self.below(id);
        let request: ClientMessage = match self.below(8) {
            0 => cancel_of(&order(old), ClOrdId(1_000_000 + id)).into(),
            1 => status_of(ClOrdId(old), id).into(),
            2 => order(old).into(),
            _ => order(id).into(),
        };
        self.next_id += 1;
        let sent = self.desk.try_send(Nanos(self.now), request, &mut self.send);
        match sent {
            Ok(ticket) => {
                assert!(self.checker.asked.insert(ticket, request).is_none());
            }
            Err(Refused::Full) => assert_eq!(self.desk.unanswered_count(), 12),
            Err(_) => assert!(self.send.is_empty()),
        }
        self.after_input();
    }

    fn deliver_request(&mut self) {
        if let Some(frame) = self.to_server.pop_front() {
            self.server.on_frame(&frame);
        }
    }

    fn deliver_answer(&mut self) {
        if let Some(octets) = self.server.out.pop_front().filter(|_| self.is_connected) {
            if self.has_lost && is_not_applied(&octets) {
                return self.cut(false);
            }
            self.checker.on_heard(&octets);
            let (frame, _) = split(&octets, 2048).unwrap().unwrap();
            self.desk.on_frame(Nanos(self.now), &frame, &mut self.send);
            self.after_input();
        }
    }

    fn tick(&mut self, millis: u64) {
        self.now += millis * 1_000_000;
        self.desk.on_timer(Nanos(self.now), &mut self.send);
        self.after_input();
        self.connect();
    }

    fn step(&mut self) {
        match self.below(100) {
            0..=24 => self.ask(),
            25..=49 => self.deliver_request(),
            50..=74 => self.deliver_answer(),
            75..=79 => {
                let batch = 1 + self.below(3);
                self.server.serve(batch);
            }
            80..=84 => {
                let millis = 1 + self.below(300);
                self.tick(millis);
            }
            85 => self.tick(6_000),
            86 | 87 => self.server.trade(),
            88 => self.server.heartbeat(),
            89 | 90 => {
                let is_half_open = self.below(2) == 0;
                self.cut(is_half_open);
            }
            91 => drop(self.to_server.pop_front()),
            92 => self.has_lost |= self.server.out.pop_front().is_some(),
            93 => {
                // A logon or a RetransmitRequest that comes twice is the client's breach.
                let is_meant = |frame: &&Vec<u8>| frame[6] == 8 || frame[6] >= 100;
                if let Some(frame) = self.to_server.front().filter(is_meant).cloned() {
                    self.to_server.push_front(frame);
                }
            }
            94 => {
                let is_meant = |frame: &&Vec<u8>| !is_not_applied(frame);
                if let Some(frame) = self.server.out.front().filter(is_meant).cloned() {
                    self.server.out.push_front(frame);
                }
            }
            95 if self.below(2) == 0 => self.server.is_gate_shut = true,
            96 => self.server.open(),
            97 => self.server.is_primary = self.below(4) > 0,
            98 => self.server.is_stale = false,
            _ => self.connect(),
        }
    }

    /// Nothing goes wrong any more, until `done`.
    fn heal(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        self.server.open();
        (self.server.is_primary, self.server.is_stale) = (true, false);
        for _ in 0..HEALING_STEPS {
            if done(self) {
                return;
            }
            self.connect();
            self.deliver_request();
            self.server.serve(8);
            self.deliver_answer();
            if self.server.out.is_empty() && self.to_server.is_empty() {
                self.server.is_stale = false;
                self.server.heartbeat();
                self.tick(50);
            }
        }
        panic!("never happened: {what}; {:?}", self.checker.end);
    }

    fn check_verdicts(&self, resend: Resend) {
        assert_eq!(self.checker.asked.len(), self.checker.outcomes.len());
        assert!(self.server.executed.values().all(|&count| count == 1), "an order ran twice");
        for (ticket, verdict) in &self.checker.outcomes {
            let asked = &self.checker.asked[ticket];
            let is_order = matches!(asked, ClientMessage::NewOrder(_));
            let ran = self.server.executed.contains_key(&asked.request_id());
            match verdict {
                Verdict::Accepted => assert!(is_order && ran, "{ticket:?}"),
                Verdict::Canceled => assert!(matches!(asked, ClientMessage::Cancel(_))),
                Verdict::Refused { is_for_now } => assert!(!is_for_now),
                Verdict::Known => {}
                Verdict::NeverHappened => assert_eq!(resend, Resend::Never),
                Verdict::Unknown => panic!("{ticket:?} has no known outcome: {asked:?}"),
            }
        }
        // One acceptance an order, and no order that nobody was told of.
        let mut told: BTreeMap<u64, u32> = BTreeMap::new();
        for (ticket, verdict) in &self.checker.outcomes {
            if *verdict == Verdict::Accepted {
                *told.entry(self.checker.asked[ticket].request_id()).or_default() += 1;
            }
        }
        assert_eq!(told, self.server.executed);
    }
}

/// One walk; what the server saw.
fn walk(seed: u64, resend: Resend) -> BTreeMap<&'static str, u32> {
    let mut w = World::new(seed, resend);
    for _ in 0..STEPS {
        w.step();
        assert_eq!(w.checker.end, None, "nothing here ends a session");
    }
    w.heal("all is answered", |w| w.desk.unanswered_count() == 0 && w.checker.is_up);
    w.check_verdicts(resend);
    w.desk.finalize(Nanos(w.now), &mut w.send);
    w.after_input();
    w.heal("the session is final", |w| w.checker.end.is_some());
    assert_eq!(w.checker.end, Some(End::Finalized));
    assert!(w.server.is_final);
    let verdicts = w.checker.outcomes.values().map(|verdict| match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Known => "known",
        Verdict::Canceled => "canceled",
        Verdict::Refused { .. } => "refused",
        Verdict::NeverHappened => "never happened",
        Verdict::Unknown => "unknown",
    });
    verdicts.for_each(|verdict| *w.server.seen.entry(verdict).or_default() += 1);
    w.server.seen
}

/// The walks would show nothing if they went nowhere.
#[test]
fn the_walks_go_everywhere() {
    let everywhere = [
        "AlreadyEstablished",
        "Establish",
        "NotAccepting",
        "NotAccepting told",
        "NotApplied",
        "NotPrimary",
        "RequestLimitExceeded",
        "Retransmission",
        "accepted",
        "canceled",
        "known",
        "refused",
    ];
    let rows: [(Resend, &[&str]); 3] = [
        (Resend::NewNumbers, &["PossResend"]),
        (Resend::SameNumbers, &["PossResend", "Establish below", "InvalidNextSeqNo", "repeat"]),
        (Resend::Never, &["never happened"]),
    ];
    for (resend, own) in rows {
        let mut seen: BTreeMap<&'static str, u32> = BTreeMap::new();
        for seed in 1..=300 {
            for (what, count) in walk(seed, resend) {
                *seen.entry(what).or_default() += count;
            }
        }
        println!("{resend:?}: {seen:?}");
        for what in everywhere.iter().chain(own) {
            assert!(seen.get(what).is_some_and(|count| *count >= 20), "{resend:?}: {what}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_request_has_one_outcome_under_new_numbers(seed in any::<u64>()) {
        println!("seed {seed}");
        walk(seed, Resend::NewNumbers);
    }

    #[test]
    fn every_request_has_one_outcome_under_the_same_numbers(seed in any::<u64>()) {
        println!("seed {seed}");
        walk(seed, Resend::SameNumbers);
    }

    #[test]
    fn every_request_has_one_outcome_when_nothing_is_sent_again(seed in any::<u64>()) {
        println!("seed {seed}");
        walk(seed, Resend::Never);
    }
}

#[test]
fn a_client_that_ends_tells_what_it_does_not_know() {
    let mut w = World::new(1, Resend::NewNumbers);
    w.heal("it is up", |w| w.checker.is_up);
    for _ in 0..20 {
        w.ask();
    }
    assert_eq!(w.desk.unanswered_count(), 12, "what is too much is refused");
    w.desk.abort(End::Unreachable);
    w.after_input();
    assert_eq!(w.checker.end, Some(End::Unreachable));
    assert_eq!(w.checker.outcomes.len(), 12);
    assert!(w.checker.outcomes.values().all(|verdict| *verdict == Verdict::Unknown));
    assert_eq!(w.desk.try_send(Nanos(0), order(1).into(), &mut w.send), Err(Refused::Closed));
}
