//! Slots: connections that are too many, come and go, or never log on.

use tempfile::tempdir;
use tidegate::telemetry::counters::Counter;

use crate::node::{Peer, Rig, small};

fn open(rig: &Rig, number: u8) -> Peer {
    let mut peer = Peer::new(number);
    peer.open(rig);
    peer
}

#[test]
fn a_connection_too_many_is_refused_and_a_free_slot_is_used_again() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.connection_count_max = 3;
    let mut rig = Rig::start(&config);
    let mut peers: Vec<Peer> = (0..3).map(|n| Peer::live(&mut rig, n)).collect();
    let mut fourth = open(&rig, 3);
    rig.until(&mut [&mut fourth], "the fourth is closed", |_, p| p[0].is_closed);
    assert_eq!((rig.get(Counter::AcceptRefusals), rig.get(Counter::Connections)), (1, 3));
    peers[1].hang_up();
    rig.until(&mut [], "a slot is free", |rig, _| rig.get(Counter::Connections) == 2);
    fourth.log_on(&mut rig);
    fourth.buy(1);
    peers[0].buy(2);
    peers[2].buy(3);
    let (front, back) = peers.split_at_mut(1);
    let mut all = [&mut front[0], &mut back[1], &mut fourth];
    rig.until(&mut all, "all are served", |_, p| p.iter().all(|p| p.templates() == [200]));
}

#[test]
fn the_oldest_without_a_logon_gives_way() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.logon_connections_max = 2;
    let mut rig = Rig::start(&config);
    let mut live = Peer::live(&mut rig, 9);
    let mut waiting: Vec<Peer> = Vec::new();
    for number in 0..4 {
        waiting.push(open(&rig, number));
        let accepted = u64::from(number) + 2;
        rig.until(&mut [], "accepted", |rig, _| rig.get(Counter::Accepts) == accepted);
    }
    rig.turn();
    let is_closed: Vec<bool> = waiting
        .iter_mut()
        .map(|peer| {
            peer.pump();
            peer.is_closed
        })
        .collect();
    assert_eq!(is_closed, [true, true, false, false]);
    assert_eq!((rig.get(Counter::LogonDrops), rig.get(Counter::Connections)), (2, 3));
    live.buy(1);
    rig.until(&mut [&mut live], "the session goes on", |_, p| p[0].templates() == [200]);
}

#[test]
fn slots_are_used_again_and_again() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.connection_count_max = 4;
    config.local.logon_connections_max = 4;
    let mut rig = Rig::start(&config);
    let mut live = Peer::live(&mut rig, 0);
    let cycles: u64 = 3_000;
    for cycle in 0..cycles {
        let mut peer = open(&rig, 1);
        match cycle % 3 {
            // Gone before it is accepted, after it said something, after it was answered.
            0 => {}
            1 => peer.raw(&[100, 0, 0x50]),
            _ => peer.raw(&[0; 12]),
        }
        peer.hang_up();
        rig.turn();
        if cycle % 100 == 0 {
            live.buy(cycle + 1);
        }
    }
    rig.until(&mut [&mut live], "only the session is left", |rig, _| {
        rig.get(Counter::Accepts) + rig.get(Counter::AcceptRefusals) > cycles
            && rig.get(Counter::Connections) == 1
    });
    assert_eq!(live.templates().len(), 30);
    let mut next: Vec<Peer> = (1..4).map(|n| Peer::live(&mut rig, n)).collect();
    let mut all: Vec<&mut Peer> = next.iter_mut().collect();
    for (id, peer) in (1_000_000..).zip(&mut all) {
        peer.buy(id);
    }
    rig.until(&mut all, "every slot serves", |_, p| p.iter().all(|p| p.templates() == [200]));
}

#[test]
fn a_session_comes_back_through_every_slot() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.connection_count_max = 3;
    let mut rig = Rig::start(&config);
    let mut peer = Peer::live(&mut rig, 0);
    for id in 1..=20_u64 {
        // A second line in the way, so that the next logon takes another slot.
        let mut other = open(&rig, 5);
        peer.hang_up();
        rig.until(&mut [], "the end is journaled", |rig, _| rig.get(Counter::Ends) == id);
        peer.log_on(&mut rig);
        peer.buy(id);
        let count = usize::try_from(id).unwrap();
        rig.until(&mut [&mut peer], "reported", |_, p| p[0].templates().len() == count);
        other.hang_up();
    }
    assert_eq!(peer.templates(), [200; 20]);
}
