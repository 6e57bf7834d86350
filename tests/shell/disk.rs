//! The disk falls behind, runs out of room, fails: what clients see. The test plays the disk.

use tempfile::tempdir;
use tidegate::client::event::{ClientEvent, SessionOptions};
use tidegate::coordination::pressure::{RingKind, Space};
use tidegate::shell::disk::Disk;
use tidegate::shell::side::{Notice, SideMessage};
use tidegate::shell::turn::Fault;
use tidegate::telemetry::counters::Counter;
use tidegate::vocabulary::durability::Durability;
use tidegate::vocabulary::fix::{GateCause, MarketPhase, TerminationCode};
use tidegate::vocabulary::message::ClientMessage;
use tidegate::vocabulary::units::{Nanos, Text};

use crate::durable::{log_on, sync};
use crate::journaled_count;
use crate::node::{Peer, Rig, small};

/// The journal ring of `small`.
const RING: u64 = 4 << 20;
const QUIET: Nanos = Nanos(50 * Nanos::MILLI.0);

fn disk(rig: &mut Rig) -> &mut Disk {
    &mut rig.node.sequencer_mut().disk
}

/// The gate, and everything that was told of the disk.
fn told(rig: &Rig) -> Vec<Notice> {
    let is_of_disk = |notice: &Notice| match notice {
        Notice::GateShut { .. }
        | Notice::GateOpened
        | Notice::LagBegins { .. }
        | Notice::LagEnds { .. }
        | Notice::ReadingStopped
        | Notice::ReadingResumed
        | Notice::SpaceShort
        | Notice::SpaceEnough
        | Notice::JournalFailed { .. } => true,
        Notice::Serving { .. }
        | Notice::Established { .. }
        | Notice::Ended { .. }
        | Notice::Refused { .. }
        | Notice::SlowReader { .. }
        | Notice::UnknownInstrument { .. }
        | Notice::Stopping
        | Notice::KeysNearlyFull => false,
    };
    rig.notices().into_iter().filter(is_of_disk).collect()
}

fn not_accepting(peer: &Peer) -> Vec<u8> {
    let told = |event: &ClientEvent| match event {
        ClientEvent::NotAccepting { cause, .. } => Some(*cause),
        ClientEvent::Established { .. }
        | ClientEvent::Live
        | ClientEvent::Report(_)
        | ClientEvent::Rejected { .. }
        | ClientEvent::Terminated { .. }
        | ClientEvent::Stopped(_) => None,
    };
    peer.events.iter().filter_map(told).collect()
}

/// TCP holds what clients send: nothing is refused, nobody is taken for dead, and all of it is
/// served afterwards.
#[test]
fn a_slow_disk_stops_reading_and_loses_nobody() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let options = SessionOptions { keepalive_interval: 100, ..Default::default() };
    let mut peer = Peer::with(0, options);
    peer.log_on(&mut rig);
    disk(&mut rig).journal_unpersisted_bytes = RING / 4 + 1;
    rig.turn();
    let lag = Notice::LagBegins { ring: RingKind::Journal, bytes: RING / 4 + 1 };
    assert_eq!(told(&rig), [lag]);
    assert_eq!(rig.get(Counter::JournalLag), RING / 4 + 1);
    disk(&mut rig).journal_unpersisted_bytes = RING / 2 + 1;
    rig.turn();
    assert_eq!(told(&rig), [Notice::ReadingStopped]);
    peer.frames.clear();
    peer.buy(1);
    // Somebody new has said what it wants, and is not late because it is not heard.
    let mut new = Peer::new(1);
    new.connect(&rig);
    rig.idle_for(&mut [&mut peer, &mut new], Nanos(450 * Nanos::MILLI.0));
    assert_eq!((rig.get(Counter::Messages), rig.get(Counter::Logons)), (0, 1));
    assert!(!peer.is_closed && !new.is_closed);
    let sequences = peer.frames.iter().filter(|frame| frame[6] == 8).count();
    assert!(sequences >= 3, "what we owe goes out: {sequences}");
    let disk = disk(&mut rig);
    disk.journal_persisted_to += disk.journal_unpersisted_bytes;
    disk.journal_unpersisted_bytes = 0;
    rig.until(&mut [&mut peer, &mut new], "served", |_, p| {
        p[0].templates() == [200] && p[1].session.is_live()
    });
    assert_eq!(told(&rig), [Notice::LagEnds { ring: RingKind::Journal }, Notice::ReadingResumed]);
    assert_eq!((rig.get(Counter::ReadingStops), rig.get(Counter::GateShutsByDisk)), (1, 0));
}

#[test]
fn a_disk_that_stands_shuts_the_gate_and_opens_it_when_it_moves() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::live(&mut rig, 0);
    disk(&mut rig).journal_unpersisted_bytes = RING / 2 + 1;
    peer.buy(1);
    rig.until(&mut [&mut peer], "told", |_, p| !not_accepting(p[0]).is_empty());
    assert_eq!(not_accepting(&peer), [GateCause::Journal.wire()]);
    let lag = Notice::LagBegins { ring: RingKind::Journal, bytes: RING / 2 + 1 };
    let shut = Notice::GateShut { cause: GateCause::Journal };
    let stopped_and_read = [lag, Notice::ReadingStopped, shut, Notice::ReadingResumed];
    assert_eq!(told(&rig), stopped_and_read);
    assert_eq!((rig.get(Counter::Messages), rig.get(Counter::GateDrops)), (0, 1));
    let disk = disk(&mut rig);
    (disk.journal_persisted_to, disk.journal_unpersisted_bytes) = (RING / 2, 1);
    rig.turn();
    let ends = Notice::LagEnds { ring: RingKind::Journal };
    assert_eq!(told(&rig), [ends, Notice::GateOpened]);
    // The lost number is told as a gap, and the order is taken under the next one.
    peer.buy(1);
    rig.until(&mut [&mut peer], "taken", |_, p| p[0].templates() == [18, 200]);
    assert_eq!(rig.get(Counter::GateShutsByDisk), 1);
}

#[test]
fn a_disk_without_room_is_told_at_once_and_room_opens() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::live(&mut rig, 0);
    disk(&mut rig).space = Space::Short;
    rig.turn();
    let shut = Notice::GateShut { cause: GateCause::Space };
    assert_eq!(told(&rig), [Notice::SpaceShort, shut]);
    peer.buy(1);
    rig.until(&mut [&mut peer], "told", |_, p| !not_accepting(p[0]).is_empty());
    assert_eq!(not_accepting(&peer), [GateCause::Space.wire()]);
    // Another cause holds it when this one ends.
    rig.node.sequencer_mut().gate.shut(GateCause::Operator);
    disk(&mut rig).space = Space::Enough;
    rig.turn();
    assert_eq!(told(&rig), [Notice::SpaceEnough]);
    assert_eq!(rig.node.sequencer_mut().gate.cause(), Some(GateCause::Operator));
}

/// Where answers wait for the disk, they fill the report ring: what waits is never overwritten.
#[test]
fn reports_that_wait_for_their_commit_stop_reading() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.durability = Durability::LocalFsync;
    config.local.report_ring_bytes = 1 << 20;
    let mut rig = Rig::start(&config);
    let mut peer = Peer::new(0);
    log_on(&mut rig, &mut peer);
    let (mut asked, mut turns) = (0, 0);
    while rig.get(Counter::ReadingStops) == 0 {
        for _ in 0..50 {
            asked += 1;
            peer.queue(Peer::status(asked, 7));
        }
        peer.flush();
        rig.turn();
        turns += 1;
        assert!(turns < 5_000, "half of 1 MiB");
    }
    peer.pump();
    assert_eq!(peer.reports().len(), 0, "nothing is on disk");
    let reports = rig.get(Counter::Reports);
    assert!(reports > 2_000 && reports < 8_000, "{reports}");
    let mut turns = 0;
    while (peer.templates().len() as u64) < asked {
        sync(&mut rig);
        rig.turn();
        peer.pump();
        turns += 1;
        assert!(turns < 5_000, "{} of {asked}", peer.templates().len());
    }
    assert_eq!(peer.templates(), vec![208; peer.templates().len()]);
}

/// The first failed write is the last thing that happens: every session is told, nothing that was
/// not on disk leaves, nothing more is journaled, and the node ends with a fault of its own.
#[test]
fn a_failed_journal_ends_the_node_and_says_so() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.durability = Durability::LocalFsync;
    let mut rig = Rig::start(&config);
    let (mut a, mut b) = (Peer::new(0), Peer::new(1));
    log_on(&mut rig, &mut a);
    log_on(&mut rig, &mut b);
    a.buy(1);
    rig.until(&mut [&mut a, &mut b], "journaled", |rig, _| rig.get(Counter::Messages) == 1);
    a.buy(2);
    rig.notices();
    disk(&mut rig).fault = Some(Text::new("segment 7: fdatasync: Input/output error"));
    let records = rig.get(Counter::Records);
    let (who, reason) = (Text::new("risk"), Text::new("too late"));
    let phase = MarketPhase::Suspended;
    rig.side.send(SideMessage::SetPhase { who, reason, security_id: None, phase }).unwrap();
    rig.turn();
    // As if the group that was written when it failed had come through after all.
    sync(&mut rig);
    rig.until(&mut [&mut a, &mut b], "all lines end", |rig, _| rig.get(Counter::Connections) == 0);
    for peer in [&a, &b] {
        let code = TerminationCode::UnspecifiedError.wire();
        assert_eq!(peer.terminated(), Some((code, "the journal failed".to_owned())));
        assert_eq!(peer.reports().len(), 0, "no report leaves any more");
    }
    let what = Text::new("segment 7: fdatasync: Input/output error");
    let shut = Notice::GateShut { cause: GateCause::Journal };
    assert_eq!(told(&rig), [shut, Notice::JournalFailed { what }]);
    assert_eq!((rig.get(Counter::Messages), rig.get(Counter::Records)), (1, records));
    let Rig { node, .. } = rig;
    let Err(fault) = node.run() else { panic!("a clean stop") };
    assert!(matches!(fault, Fault::Journal { what: came } if came == what), "{fault}");
    assert_eq!(journaled_count(dir.path(), "SessionDown"), 0);
    // The ring has everything: the next start goes on, with both sessions down. The second order
    // was never read, and is told as never applied.
    let mut rig = Rig::start(&config);
    log_on(&mut rig, &mut a);
    rig.idle_for(&mut [&mut a], QUIET);
    sync(&mut rig);
    rig.until(&mut [&mut a], "replayed", |_, p| p[0].templates() == [200, 18]);
}

/// A peer that reads nothing does not hold the end up.
#[test]
fn a_failed_journal_waits_for_nobody() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut deaf = Peer::live(&mut rig, 0);
    deaf.queue(ClientMessage::NewOrder(deaf.order(1)));
    disk(&mut rig).fault = Some(Text::new("write"));
    // Ends by its own grace of a second, or this test hangs.
    let Rig { node, .. } = rig;
    assert!(matches!(node.run(), Err(Fault::Journal { .. })));
    deaf.pump();
    assert!(deaf.terminated().is_some());
}
