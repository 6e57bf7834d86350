//! Bounds: what one peer can take of a turn, and what becomes of one that does not read.

use tempfile::tempdir;
use tidegate::client::event::SessionOptions;
use tidegate::limits::{FRAMES_A_CONNECTION_MAX, FRAMES_A_TURN_MAX};
use tidegate::shell::clock::Clock;
use tidegate::shell::side::Notice;
use tidegate::telemetry::counters::Counter;
use tidegate::vocabulary::fix::GateCause;
use tidegate::vocabulary::message::ClientMessage;
use tidegate::vocabulary::units::Nanos;

use crate::node::{Peer, Rig, octets_of, small};

#[test]
fn a_flood_gets_64_frames_a_turn_and_its_neighbour_is_served_beside_it() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let (mut a, mut b) = (Peer::live(&mut rig, 0), Peer::live(&mut rig, 1));
    for id in 1..=400 {
        a.queue(ClientMessage::NewOrder(a.order(id)));
    }
    a.flush();
    b.buy(1);
    let (mut before, mut turns_until_b) = (0, 0);
    let mut turns = 0;
    while rig.get(Counter::Messages) < 401 {
        rig.turn();
        turns += 1;
        let now = rig.get(Counter::Messages);
        assert!(now - before <= u64::from(FRAMES_A_CONNECTION_MAX) + 1, "{before} to {now}");
        before = now;
        b.pump();
        if b.templates().is_empty() {
            turns_until_b = turns;
        }
        assert!(turns < 5_000, "{now} messages");
    }
    assert!(turns >= 7, "400 orders are seven shares: {turns} turns");
    assert!(turns_until_b < turns, "the neighbour was not served last");
    rig.until(&mut [&mut a, &mut b], "all is reported", |_, p| p[0].templates().len() == 400);
}

/// A client that floods behind a shut gate always has octets unread. Its timers were once not
/// looked at for that: it got no sign of life and gave the line up.
#[test]
fn a_flood_gets_its_heartbeats() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let options = SessionOptions { keepalive_interval: 100, ..SessionOptions::default() };
    let mut peer = Peer::with(0, options);
    peer.log_on(&mut rig);
    rig.node.sequencer_mut().gate.shut(GateCause::Operator);
    peer.frames.clear();
    let octets = octets_of(&Peer::status(1, 1)).repeat(1_000);
    let clock = Clock::activate(Nanos(0));
    let until = clock.now().saturating_add(Nanos::from_millis(450));
    while clock.now() < until {
        if peer.unsent_len() == 0 {
            peer.raw(&octets);
        }
        peer.pump();
        assert!(!peer.is_closed, "{:?}", peer.events.last());
        rig.turn();
    }
    let sequences = peer.frames.iter().filter(|frame| frame[6] == 8).count();
    assert!(sequences >= 3, "four intervals passed: {sequences}");
    assert!(rig.get(Counter::GateDrops) > 1_000, "{}", rig.get(Counter::GateDrops));
}

#[test]
fn many_floods_share_the_frames_of_a_turn() {
    const PEERS: u8 = 40;
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.connection_count_max = 64;
    config.local.logon_connections_max = 64;
    let mut rig = Rig::start(&config);
    let mut peers: Vec<Peer> = (0..PEERS).map(|n| Peer::live(&mut rig, n)).collect();
    for (number, peer) in (0_u64..).zip(&mut peers) {
        for id in 0..90 {
            peer.queue(Peer::status(number << 8 | id | 1 << 20, 7));
        }
        peer.flush();
    }
    // Two turns of 1024 frames reach 32 peers; a third reaches all.
    let mut before = rig.get(Counter::Messages);
    for _ in 0..3 {
        rig.turn();
        let now = rig.get(Counter::Messages);
        assert!(now - before <= u64::from(FRAMES_A_TURN_MAX));
        before = now;
    }
    for peer in &mut peers {
        peer.pump();
        assert!(!peer.templates().is_empty(), "nobody waits for a second share of another");
    }
    let mut all: Vec<&mut Peer> = peers.iter_mut().collect();
    rig.until(&mut all, "all is answered", |_, p| p.iter().all(|p| p.templates().len() == 90));
}

#[test]
fn a_reader_that_stops_is_closed_and_recovers_by_number() {
    const ASKED: u64 = 60_000;
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.journal_ring_bytes = 16 << 20;
    config.local.report_ring_bytes = 16 << 20;
    config.local.reader_lag_max = 128 << 10;
    let mut rig = Rig::start(&config);
    let (mut slow, mut other) = (Peer::live(&mut rig, 0), Peer::live(&mut rig, 1));
    slow.buy(1);
    rig.until(&mut [&mut slow], "reported", |_, p| p[0].templates() == [200]);
    slow.events.clear();
    // Its socket is not read from here on; what it asks is answered all the same.
    let mut asked = 0;
    while rig.get(Counter::SlowReaders) == 0 {
        assert!(asked < ASKED, "a reader may be far behind: {asked} answers wait");
        for _ in 0..60 {
            asked += 1;
            slow.queue(Peer::status(asked, 1));
        }
        slow.flush();
        rig.turn();
    }
    let said = rig.notices();
    assert!(said.iter().any(|n| matches!(n, Notice::SlowReader { .. })), "{said:?}");
    other.buy(2);
    rig.until(&mut [&mut other], "the neighbour goes on", |_, p| p[0].templates() == [200]);
    let answered = rig.get(Counter::Reports) - 2;
    assert!(answered > 1_000 && rig.get(Counter::BytesOut) > 100_000);
    slow.hang_up();
    slow.log_on(&mut rig);
    // What the node had read is answered under its number, in full and in order.
    let reports = slow.reports();
    assert_eq!(reports.len() as u64, answered);
    let numbers = reports.iter().map(|r| r.msg_seq_num.0);
    assert!(numbers.eq(2..2 + answered), "contiguous");
    assert!(rig.get(Counter::Retransmissions) >= 1);
}

#[test]
fn a_socket_that_takes_nothing_is_not_asked_again() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.journal_ring_bytes = 16 << 20;
    config.local.report_ring_bytes = 16 << 20;
    config.local.reader_lag_max = 8 << 20;
    let mut rig = Rig::start(&config);
    let mut slow = Peer::live(&mut rig, 0);
    let mut asked = 0;
    // Until a round of answers does not move a single octet.
    let mut stuck = 0;
    while stuck < 20 {
        let before = rig.get(Counter::BytesOut);
        for _ in 0..60 {
            asked += 1;
            slow.queue(Peer::status(asked, 1));
        }
        slow.flush();
        rig.turn();
        stuck = if rig.get(Counter::BytesOut) == before { stuck + 1 } else { 0 };
        assert!(asked < 120_000, "the kernel takes everything");
    }
    // Reading again wakes it, without a new report.
    let answered = usize::try_from(asked).unwrap();
    rig.until(&mut [&mut slow], "all came", |_, p| p[0].frames.len() > answered);
    assert_eq!(slow.templates().len(), answered);
    assert_eq!(rig.get(Counter::SlowReaders), 0);
}

#[test]
fn reports_are_sent_again_as_they_were() {
    let dir = tempdir().unwrap();
    let config = small(dir.path());
    let mut rig = Rig::start(&config);
    let options =
        SessionOptions { keepalive_interval: 60_000, overlap: 1_000, ..SessionOptions::default() };
    let mut peer = Peer::with(0, options);
    peer.log_on(&mut rig);
    for id in 1..=300 {
        peer.queue(ClientMessage::NewOrder(peer.order(id)));
        peer.queue(Peer::cancel(id | 1 << 32, id));
    }
    peer.flush();
    rig.until(&mut [&mut peer], "all is reported", |_, p| p[0].templates().len() == 600);
    let first: Vec<Vec<u8>> = peer.report_frames().iter().map(|f| f.to_vec()).collect();
    let again = |peer: &mut Peer, rig: &mut Rig, what: &str| {
        peer.frames.clear();
        peer.hang_up();
        peer.log_on(rig);
        assert!(peer.report_frames().iter().eq(first.iter()), "{what}");
        assert_eq!(peer.templates().len(), 600, "the application sees each once");
    };
    again(&mut peer, &mut rig, "after a reconnect");
    // Killed: nothing is closed, the memory is gone.
    peer.hang_up();
    drop(rig);
    let mut rig = Rig::start(&config);
    again(&mut peer, &mut rig, "after a restart");
}
