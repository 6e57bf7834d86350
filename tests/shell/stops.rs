//! Stops: the gate, the market phase, and the end of a node.

use journal::Storage as _;
use tempfile::tempdir;
use tidegate::client::event::{ClientEvent, RejectCode};
use tidegate::shell::side::{Notice, SideMessage};
use tidegate::telemetry::counters::Counter;
use tidegate::vocabulary::event::ReportBody;
use tidegate::vocabulary::fix::{GateCause, MarketPhase, NegotiationRejectCode, TerminationCode};
use tidegate::vocabulary::units::{Nanos, SecurityId, Seq, Text};

use crate::journaled_count;
use crate::node::{Peer, Rig, small};

fn not_accepting(peer: &Peer) -> Vec<(Seq, u8)> {
    let told = |event: &ClientEvent| match event {
        ClientEvent::NotAccepting { from_seq_no, cause } => Some((*from_seq_no, *cause)),
        ClientEvent::Established { .. }
        | ClientEvent::Live
        | ClientEvent::Report(_)
        | ClientEvent::Rejected { .. }
        | ClientEvent::Terminated { .. }
        | ClientEvent::Stopped(_) => None,
    };
    peer.events.iter().filter_map(told).collect()
}

fn refused(peer: &Peer, code: RejectCode) -> bool {
    let is_it = |e: &ClientEvent| matches!(e, ClientEvent::Rejected { code: c, .. } if *c == code);
    peer.events.last().is_some_and(is_it)
}

/// The disk does not answer. Clients are not read once half of the ring waits for it, and the gate
/// shuts a second later; when it answers again both end by themselves, and nothing is lost.
#[test]
fn a_stalled_disk_stops_reading_then_shuts_the_gate_and_opens_it_again() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.journal_ring_bytes = 1 << 20;
    let mut rig = Rig::start(&config);
    let (mut a, mut b) = (Peer::live(&mut rig, 0), Peer::live(&mut rig, 1));
    a.buy(1);
    rig.until(&mut [&mut a], "reported", |_, p| p[0].templates() == [200]);
    rig.disk.is_stalled = true;
    let mut id = 0;
    while rig.get(Counter::ReadingStops) == 0 {
        for _ in 0..50 {
            id += 1;
            a.queue(Peer::status(id, 1));
        }
        a.pump();
        rig.turn();
        assert!(id < 40_000, "half of the ring is 512 KiB");
    }
    let (taken, lag) = (rig.get(Counter::Messages), rig.get(Counter::JournalLag));
    assert!(lag > 512 << 10, "half of the ring waits: {lag}");
    a.buy(2);
    b.buy(3);
    rig.idle_for(&mut [&mut a, &mut b], Nanos(200 * Nanos::MILLI.0));
    assert_eq!(rig.get(Counter::Messages), taken, "nobody is read, and nobody is refused");
    assert_eq!((not_accepting(&a), not_accepting(&b)), (vec![], vec![]));
    assert_eq!(a.templates().len() as u64, taken, "what was taken is answered");
    // A second without progress.
    rig.until(&mut [&mut a, &mut b], "both are told", |_, p| {
        p.iter().all(|p| !not_accepting(p).is_empty())
    });
    let journal = GateCause::Journal.wire();
    assert_eq!(not_accepting(&a), [(Seq(taken + 1), journal)]);
    assert_eq!(not_accepting(&b), [(Seq(1), journal)]);
    assert_eq!(rig.get(Counter::Messages), taken, "no message beyond");
    // Nobody logs on behind it; ends are still journaled, into what is left of the ring.
    let mut new = Peer::new(2);
    new.connect(&rig);
    rig.until(&mut [&mut new], "refused", |_, p| p[0].has_left);
    assert!(refused(&new, RejectCode::Negotiation(NegotiationRejectCode::NotAccepting.wire())));
    b.hang_up();
    rig.until(&mut [], "the end is journaled", |rig, _| rig.get(Counter::Ends) == 1);
    let shut = Notice::GateShut { cause: GateCause::Journal };
    assert_eq!(rig.notices().iter().filter(|n| **n == shut).count(), 1);
    // The disk answers.
    rig.disk.is_stalled = false;
    rig.until(&mut [&mut a], "all of it is on the disk", |rig, _| {
        rig.get(Counter::JournalLag) == 0 && rig.get(Counter::DurableIndex) > taken
    });
    assert!(rig.notices().contains(&Notice::GateOpened { cause: GateCause::Journal }));
    assert_eq!(journaled_count(dir.path(), "SessionDown"), 1);
    b.log_on(&mut rig);
    b.buy(4);
    rig.until(&mut [&mut b], "taken again", |_, p| p[0].templates().last() == Some(&200));
}

/// The disk's low-water mark shuts the gate before anything fails; room opens it.
#[test]
fn a_disk_that_is_nearly_full_shuts_the_gate() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    let free = journal::DirStorage::new(dir.path()).free_bytes().unwrap();
    config.local.space_low_water = free * 2;
    let mut rig = Rig::start(&config);
    rig.until(&mut [], "the gate is shut", |rig, _| rig.get(Counter::DiskGateShuts) == 1);
    assert!(rig.notices().contains(&Notice::GateShut { cause: GateCause::Space }));
    let mut peer = Peer::new(0);
    peer.connect(&rig);
    rig.until(&mut [&mut peer], "refused", |_, p| p[0].has_left);
    assert!(refused(&peer, RejectCode::Negotiation(NegotiationRejectCode::NotAccepting.wire())));
    assert_eq!(rig.get(Counter::Messages), 0);
    drop(rig);
    config.local.space_low_water = 0;
    let mut rig = Rig::start(&config);
    let mut peer = Peer::live(&mut rig, 0);
    peer.buy(1);
    rig.until(&mut [&mut peer], "taken", |_, p| p[0].templates() == [200]);
}

#[test]
fn a_market_that_is_suspended_refuses_for_now_and_cancels() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::live(&mut rig, 0);
    peer.buy(1);
    rig.until(&mut [&mut peer], "reported", |_, p| p[0].templates() == [200]);
    let set = |rig: &mut Rig, security_id, phase| {
        let (who, reason) = (Text::new("risk"), Text::new("a test"));
        rig.side.send(SideMessage::SetPhase { who, reason, security_id, phase }).unwrap();
        rig.turn();
    };
    set(&mut rig, Some(SecurityId(0)), MarketPhase::Suspended);
    // An instrument that is not there changes nothing, is not journaled, and is told.
    let unknown = Some(SecurityId(77));
    set(&mut rig, unknown, MarketPhase::Suspended);
    let told = Notice::UnknownInstrument { who: Text::new("risk"), security_id: unknown };
    assert!(rig.notices().contains(&told));
    peer.buy(2);
    peer.send(Peer::cancel(3, 1));
    rig.until(&mut [&mut peer], "answered", |_, p| p[0].templates() == [200, 204, 202]);
    let is_for_now = |body: &ReportBody| matches!(body, ReportBody::Reject(r) if r.retryable);
    assert_eq!(peer.count(is_for_now), 1);
    set(&mut rig, Some(SecurityId(0)), MarketPhase::Trading);
    peer.buy(2);
    rig.until(&mut [&mut peer], "the key was free", |_, p| {
        p[0].templates() == [200, 204, 202, 200]
    });
    let by_risk = crate::journaled(dir.path()).iter().filter(|b| b.contains("risk")).count();
    assert_eq!(by_risk, 2);
}

#[test]
fn a_stop_ends_every_session_and_the_journal_says_so() {
    let dir = tempdir().unwrap();
    let config = small(dir.path());
    let mut rig = Rig::start(&config);
    let (mut a, mut b) = (Peer::live(&mut rig, 0), Peer::live(&mut rig, 1));
    let mut silent = Peer::new(2);
    silent.open(&rig);
    a.buy(1);
    b.sell(1);
    rig.until(&mut [&mut a, &mut b], "traded", |_, p| p[1].templates() == [200, 203]);
    let stopped = rig.stop(&mut [&mut a, &mut b, &mut silent]);
    for peer in [&a, &b] {
        let code = TerminationCode::AdminAction.wire();
        assert_eq!(peer.terminated(), Some((code, "the node stops".to_owned())));
    }
    assert!(silent.is_closed);
    let (machine, clean) = stopped.close().unwrap();
    assert_eq!(machine.index(), clean.index, "everything journaled was applied");
    assert_eq!(journaled_count(dir.path(), "SessionDown"), 2);
    let rig = Rig::start(&config);
    assert!(rig.recovery.clean, "{:?}", rig.recovery);
    assert_eq!(rig.recovery.last_index, clean.index.0);
    assert_eq!(rig.output_digest, machine.output_digest());
}

#[test]
fn a_stop_does_not_wait_for_a_peer_that_says_nothing() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut deaf = Peer::live(&mut rig, 0);
    rig.side.send(SideMessage::Shutdown).unwrap();
    // Ends by its own grace of a second, or this test hangs.
    let (machine, clean) = rig.run().close().unwrap();
    assert_eq!(machine.index(), clean.index);
    deaf.pump();
    assert!(deaf.terminated().is_some());
}
