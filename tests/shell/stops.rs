//! Stops: the gate, the market phase, and the end of a node.

use journal::RECORD_BYTES_MAX;
use tempfile::tempdir;
use tidegate::client::event::{ClientEvent, RejectCode};
use tidegate::shell::sequencer::SPACE_RESERVE_BYTES;
use tidegate::shell::side::{Notice, SideMessage};
use tidegate::telemetry::counters::Counter;
use tidegate::vocabulary::event::ReportBody;
use tidegate::vocabulary::fix::{
    EstablishmentRejectCode, GateCause, MarketPhase, NegotiationRejectCode, TerminationCode,
};
use tidegate::vocabulary::units::{SecurityId, Seq, Text};

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

#[test]
fn a_full_journal_shuts_the_gate_and_keeps_what_it_has() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.journal_ring_bytes = 1 << 20;
    let mut rig = Rig::start(&config);
    let (mut a, mut b) = (Peer::live(&mut rig, 0), Peer::live(&mut rig, 1));
    a.buy(1);
    rig.until(&mut [&mut a], "reported", |_, p| p[0].templates() == [200]);
    let mut id = 0;
    while not_accepting(&a).is_empty() {
        for _ in 0..50 {
            id += 1;
            a.queue(Peer::status(id, 1));
        }
        a.pump();
        rig.turn();
        assert!(id < 40_000, "the ring holds 1 MiB");
    }
    let taken = rig.get(Counter::Messages);
    let free = rig.get(Counter::JournalFree);
    assert!(free < SPACE_RESERVE_BYTES && free + RECORD_BYTES_MAX >= SPACE_RESERVE_BYTES, "{free}");
    // Every number up to the one that is named was taken, none from it on; told once.
    a.buy(2);
    b.buy(3);
    rig.until(&mut [&mut a, &mut b], "the other is told", |_, p| !not_accepting(p[1]).is_empty());
    assert_eq!(not_accepting(&a), [(Seq(taken + 1), GateCause::Space.wire())]);
    assert_eq!(not_accepting(&b), [(Seq(1), GateCause::Space.wire())]);
    assert_eq!(rig.get(Counter::Messages), taken, "no message beyond");
    assert!(rig.get(Counter::GateDrops) >= 2);
    assert_eq!(a.templates().len() as u64, taken);
    let shut = Notice::GateShut { cause: GateCause::Space };
    assert_eq!(rig.notices().iter().filter(|n| **n == shut).count(), 1);
    // Nobody logs on behind it; an end is not journaled before it opens.
    let mut new = Peer::new(2);
    new.connect(&rig);
    rig.until(&mut [&mut new], "refused", |_, p| p[0].has_left);
    assert!(refused(&new, RejectCode::Negotiation(NegotiationRejectCode::NotAccepting.wire())));
    a.hang_up();
    rig.until(&mut [], "the end is noted", |rig, _| rig.get(Counter::Ends) == 1);
    rig.turn();
    assert_eq!(journaled_count(dir.path(), "SessionDown"), 0);
    b.hang_up();
    drop(rig);
    check_restart_when_full(&config, &mut a);
}

/// A node on a full journal starts, takes nothing, and says so.
fn check_restart_when_full(config: &tidegate::config::Config, peer: &mut Peer) {
    let mut rig = Rig::start(config);
    rig.turn();
    assert!(rig.notices().contains(&Notice::GateShut { cause: GateCause::Space }));
    peer.connect(&rig);
    rig.until(&mut [peer], "refused", |_, p| p[0].has_left);
    let code = EstablishmentRejectCode::NotAccepting.wire();
    assert!(refused(peer, RejectCode::Establishment(code)), "{:?}", peer.events.last());
    assert_eq!(rig.get(Counter::Messages), 0);
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
    let sequencer = rig.stop(&mut [&mut a, &mut b, &mut silent]);
    for peer in [&a, &b] {
        let code = TerminationCode::AdminAction.wire();
        assert_eq!(peer.terminated(), Some((code, "the node stops".to_owned())));
    }
    assert!(silent.is_closed);
    let (machine, clean) = sequencer.close().unwrap();
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
    let Rig { node, .. } = rig;
    // Ends by its own grace of a second, or this test hangs.
    let sequencer = node.run().unwrap();
    let (machine, clean) = sequencer.close().unwrap();
    assert_eq!(machine.index(), clean.index);
    deaf.pump();
    assert!(deaf.terminated().is_some());
}
