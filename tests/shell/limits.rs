//! Before a logon: who may connect, how many, how fast, and what the audit is told.

use std::net::TcpStream;

use tempfile::tempdir;
use tidegate::client::event::{ClientEvent, RejectCode};
use tidegate::shell::side::Notice;
use tidegate::telemetry::counters::Counter;
use tidegate::vocabulary::fix::NegotiationRejectCode;
use tidegate::vocabulary::network::Network;
use tidegate::vocabulary::units::{Nanos, OwnerIdx};

use crate::node::{Peer, Rig, small};

fn open(rig: &Rig, number: u8) -> Peer {
    let mut peer = Peer::new(number);
    peer.open(rig);
    peer
}

fn refusals(rig: &Rig) -> Vec<String> {
    let why = |notice: Notice| match notice {
        Notice::Refused { peer, why } => {
            assert!(peer.is_some(), "it is known who was refused");
            Some(why.to_string())
        }
        Notice::LogonFailed { peer, key_id, cause } => {
            assert!(peer.is_some());
            Some(format!("{}: {cause}", key_id.unwrap_or_default()))
        }
        Notice::Serving { .. }
        | Notice::Established { .. }
        | Notice::Ended { .. }
        | Notice::SlowReader { .. }
        | Notice::GateShut { .. }
        | Notice::UnknownInstrument { .. }
        | Notice::Stopping
        | Notice::KeysNearlyFull => None,
    };
    rig.notices().into_iter().filter_map(why).collect()
}

#[test]
fn one_address_has_a_bound_on_its_connections() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.connections_per_address_max = 2;
    let mut rig = Rig::start(&config);
    let mut live = Peer::live(&mut rig, 0);
    let mut second = open(&rig, 1);
    rig.until(&mut [&mut second], "accepted", |rig, _| rig.get(Counter::Accepts) == 2);
    let mut third = open(&rig, 2);
    rig.until(&mut [&mut third], "closed", |_, p| p[0].is_closed);
    assert_eq!((rig.get(Counter::AcceptRefusals), rig.get(Counter::Connections)), (1, 2));
    assert_eq!(refusals(&rig), ["too many connections of its address"]);
    // Whoever leaves makes room.
    second.hang_up();
    rig.until(&mut [], "left", |rig, _| rig.get(Counter::Connections) == 1);
    third.log_on(&mut rig);
    live.buy(1);
    rig.until(&mut [&mut live, &mut third], "served", |_, p| p[0].templates() == [200]);
}

#[test]
fn one_address_has_a_bound_on_their_rate() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.connections_per_address_rate = 5;
    let mut rig = Rig::start(&config);
    let flood: Vec<TcpStream> = (0..12).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    rig.until(&mut [], "all were looked at", |rig, _| {
        rig.get(Counter::Accepts) + rig.get(Counter::AcceptRefusals) == 12
    });
    assert!((5..=6).contains(&rig.get(Counter::Accepts)), "a burst of a second's worth");
    assert!(refusals(&rig).iter().all(|why| why == "its address connects too fast"));
    drop(flood);
    // It is forgiven: 200 ms buy one.
    rig.idle_for(&mut [], Nanos(450 * Nanos::MILLI.0));
    Peer::live(&mut rig, 1);
}

#[test]
fn the_node_and_an_owner_have_lists_of_networks() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    let network = |text: &str| vec![Network::parse(text).unwrap()];
    config.local.listen_allow = network("10.0.0.0/8");
    let mut rig = Rig::start(&config);
    let mut peer = open(&rig, 0);
    rig.until(&mut [&mut peer], "closed", |_, p| p[0].is_closed);
    assert_eq!(refusals(&rig), ["not from an allowed network"]);
    drop(rig);
    // Firm A may come from elsewhere alone: it is told what a wrong MAC would be told.
    config.local.listen_allow = network("127.0.0.0/8");
    config.local.owner_addresses =
        vec![(OwnerIdx(0), network("10.0.0.0/8")), (OwnerIdx(1), network("127.0.0.1"))];
    let mut rig = Rig::start(&config);
    let mut away = Peer::new(0);
    away.connect(&rig);
    rig.until(&mut [&mut away], "refused", |_, p| p[0].has_left);
    let code = RejectCode::Negotiation(NegotiationRejectCode::Credentials.wire());
    let is_it = |e: &ClientEvent| matches!(e, ClientEvent::Rejected { code: c, .. } if *c == code);
    assert!(away.events.iter().any(is_it), "{:?}", away.events);
    assert_eq!(refusals(&rig), ["firm-a: the owner may not come from this address"]);
    Peer::live(&mut rig, 1);
}

/// A connection that lingers after its Terminate does not count as one that has not logged on: it
/// is not closed for a newer one before its peer has read the last message.
#[test]
fn who_lingers_is_not_taken_for_one_who_waits() {
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.local.logon_connections_max = 2;
    let mut rig = Rig::start(&config);
    let mut leaver = Peer::live(&mut rig, 0);
    let mut waiting: Vec<Peer> = Vec::new();
    // It says something that cannot be, and does not read yet.
    leaver.raw(&[0; 12]);
    rig.until(&mut [], "ended", |rig, _| rig.get(Counter::Ends) == 1);
    for number in 1..8 {
        waiting.push(open(&rig, number));
        let accepts = 1 + u64::from(number);
        rig.until(&mut [], "accepted", |rig, _| rig.get(Counter::Accepts) == accepts);
    }
    // Seven came, two may wait; the lingering one is still there beside them.
    assert_eq!((rig.get(Counter::LogonDrops), rig.get(Counter::Connections)), (5, 3));
    leaver.pump();
    let (_, reason) = leaver.terminated().unwrap();
    assert!(reason.contains("frame length"), "{reason}");
}

/// Every cause is one answer to the peer and its own word to the audit.
#[test]
fn the_audit_is_told_why_a_logon_failed() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut stranger = Peer::new(0);
    stranger.open(&rig);
    let mut octets = Peer::establish_with_status(0);
    let last = octets.len() - 1;
    octets[last] = if octets[last] == b'0' { b'1' } else { b'0' };
    stranger.raw(&octets);
    rig.until(&mut [], "refused", |rig, _| rig.get(Counter::LogonRefusals) == 1);
    assert_eq!(refusals(&rig), ["firm-a: the MAC is wrong"]);
    let unknown = Peer::establish_with_status(0);
    let mut again = open(&rig, 0);
    again.raw(&unknown);
    rig.until(&mut [], "refused", |rig, _| rig.get(Counter::LogonRefusals) == 2);
    assert_eq!(refusals(&rig), ["firm-a: the session id is not negotiated, or is final"]);
    let mut live = Peer::live(&mut rig, 0);
    live.hang_up();
    let mut replay = open(&rig, 0);
    replay.raw(&unknown);
    rig.until(&mut [], "refused", |rig, _| rig.get(Counter::LogonRefusals) == 3);
    assert_eq!(refusals(&rig), ["firm-a: the timestamp is not newer than the last one"]);
    let mut silent = open(&rig, 3);
    silent.raw(&[0; 12]);
    rig.until(&mut [&mut silent], "ended", |_, p| p[0].is_closed);
    assert_eq!(refusals(&rig), ["a breach of the protocol"]);
}
