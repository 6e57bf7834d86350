//! Lines: logon, order, report; frames in pieces and in heaps; garbage, silence, half-open lines.

use tempfile::tempdir;
use tidegate::client::event::{ClientEvent, RejectCode, SessionOptions};
use tidegate::telemetry::counters::Counter;
use tidegate::vocabulary::event::ReportBody;
use tidegate::vocabulary::fix::{EstablishmentRejectCode, NegotiationRejectCode, TerminationCode};
use tidegate::vocabulary::message::ClientMessage;
use tidegate::vocabulary::units::{Nanos, Seq};

use crate::journaled_count;
use crate::node::{ORDER_BYTES, Peer, Rig, octets_of, small};

const MS: u64 = Nanos::MILLI.0;

#[test]
fn an_order_is_reported_and_two_sessions_trade() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let (mut a, mut b) = (Peer::live(&mut rig, 0), Peer::live(&mut rig, 1));
    a.buy(1);
    rig.until(&mut [&mut a, &mut b], "the order is reported", |_, p| p[0].templates() == [200]);
    for id in 2..=10 {
        a.buy(id);
        b.sell(id);
    }
    rig.until(&mut [&mut a, &mut b], "all is reported", |_, p| {
        p[0].templates().len() == 19 && p[1].templates().len() == 18
    });
    let trades = |peer: &Peer| peer.count(|body| matches!(body, ReportBody::Trade(_)));
    assert_eq!((trades(&a), trades(&b)), (9, 9));
    assert_eq!((rig.get(Counter::Messages), rig.get(Counter::Logons)), (19, 2));
    assert_eq!((rig.get(Counter::Reports), rig.get(Counter::Connections)), (37, 2));
    assert_eq!((rig.get(Counter::Breaches), rig.get(Counter::LogonRefusals)), (0, 0));
    for peer in [&a, &b] {
        let numbers: Vec<u64> = peer.reports().iter().map(|r| r.msg_seq_num.0).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "contiguous");
    }
}

#[test]
fn frames_come_in_pieces_of_one_octet() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::live(&mut rig, 0);
    peer.queue(ClientMessage::NewOrder(peer.order(1)));
    peer.queue(Peer::status(9, 1));
    let octets = peer.take_queued();
    for (sent, octet) in (1..).zip(&octets) {
        peer.raw(&[*octet]);
        rig.turn();
        let whole = u64::from(sent >= ORDER_BYTES) + u64::from(sent == octets.len());
        assert!(rig.get(Counter::Messages) <= whole, "{sent} octets");
    }
    rig.until(&mut [&mut peer], "both are answered", |_, p| p[0].templates() == [200, 205]);
    assert_eq!(rig.get(Counter::Messages), 2);
}

#[test]
fn one_segment_holds_many_frames() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::live(&mut rig, 0);
    for id in 1..=50 {
        peer.queue(ClientMessage::NewOrder(peer.order(id)));
    }
    let octets = peer.take_queued();
    assert_eq!(octets.len(), 50 * ORDER_BYTES);
    // The last frame is cut in its middle.
    let (front, rest) = octets.split_at(octets.len() - 40);
    peer.raw(front);
    rig.until(&mut [&mut peer], "49 are reported", |_, p| p[0].templates().len() == 49);
    peer.raw(rest);
    rig.until(&mut [&mut peer], "50 are reported", |_, p| p[0].templates() == [200; 50]);
}

/// Both are told by one readiness, and nothing is told afterwards.
#[test]
fn an_end_that_comes_with_the_last_octets_is_seen() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::live(&mut rig, 0);
    peer.buy(1);
    peer.half_close();
    rig.until(&mut [&mut peer], "the line is closed", |rig, p| {
        p[0].is_closed && rig.get(Counter::Connections) == 0
    });
    assert_eq!((peer.templates(), rig.get(Counter::Ends)), (vec![200], 1));
}

/// What comes instead of a logon, what the last message says of it, and what is counted.
#[track_caller]
fn check_breach(octets: &[u8], reason: &str, counter: Counter) {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::new(0);
    peer.open(&rig);
    peer.raw(octets);
    rig.until(&mut [&mut peer], "the line is closed", |rig, p| {
        p[0].is_closed && rig.get(Counter::Connections) == 0
    });
    let last = peer.frames.last().map(|frame| String::from_utf8_lossy(frame).into_owned());
    assert!(last.as_ref().is_some_and(|last| last.contains(reason)), "{reason}: {last:?}");
    assert_eq!(rig.get(counter), 1, "{reason}");
    assert_eq!(rig.get(Counter::Ends), 0, "nobody was bound");
    let notices = format!("{:?}", rig.notices());
    let is_told = ["Refused { peer: Some(127.0.0.1:", "LogonFailed { peer: Some(127.0.0.1:"];
    assert!(is_told.iter().any(|told| notices.contains(told)), "{notices}");
}

#[test]
fn garbage_is_answered_with_its_reason_and_the_line_is_closed() {
    let order = octets_of(&ClientMessage::NewOrder(Peer::new(0).order(1)));
    let breach = Counter::Breaches;
    check_breach(&[0; 12], "frame length: expected at least 12, came 0", breach);
    check_breach(b"GET / HTTP/1.1\r\n\r\n", "frame length: expected at most 512", breach);
    check_breach(&[1, 2], "frame length: expected at most 512, came 513", breach);
    check_breach(&[20, 0, 1, 2], "encoding type: expected 0xeb50, came 0x0201", breach);
    check_breach(&order, "not established", breach);
    // Two octets short of a logon that nobody could accept: refused with one error for all.
    let mut forged = Peer::new(0);
    let dir = tempdir().unwrap();
    let rig = Rig::start(&small(dir.path()));
    forged.open(&rig);
    let mut negotiate = negotiate_of(&mut forged);
    let last = negotiate.len() - 1;
    negotiate[last] ^= 1;
    check_breach(&negotiate, "credentials are not accepted", Counter::LogonRefusals);
}

/// The octets of a peer's Negotiate, which is not sent.
fn negotiate_of(peer: &mut Peer) -> Vec<u8> {
    let mut octets = Vec::new();
    let clock = tidegate::shell::clock::Clock::activate(Nanos(0));
    peer.session.on_connected(clock.now(), tidegate::shell::clock::wall(), &mut octets);
    octets
}

#[test]
fn a_breach_of_an_established_session_names_itself() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::live(&mut rig, 0);
    peer.buy(1);
    rig.until(&mut [&mut peer], "reported", |_, p| p[0].templates() == [200]);
    // Another order under the number of the first.
    let other = ClientMessage::NewOrder(tidegate::vocabulary::message::NewOrderSingle {
        msg_seq_num: Seq(1),
        ..peer.order(2)
    });
    peer.raw(&octets_of(&other));
    rig.until(&mut [&mut peer], "terminated", |rig, p| {
        p[0].terminated().is_some() && rig.get(Counter::Connections) == 0
    });
    let code = TerminationCode::UnspecifiedError.wire();
    assert_eq!(peer.terminated(), Some((code, "sequence number reused".to_owned())));
    assert_eq!((rig.get(Counter::Breaches), rig.get(Counter::Ends)), (1, 1));
    assert_eq!(rig.get(Counter::Messages), 1);
}

#[test]
fn a_session_that_leaves_in_order_is_no_breach() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::live(&mut rig, 0);
    peer.finish();
    rig.until(&mut [&mut peer], "answered", |rig, p| {
        p[0].terminated().is_some() && rig.get(Counter::Connections) == 0
    });
    assert_eq!((rig.get(Counter::Breaches), rig.get(Counter::LogonRefusals)), (0, 0));
    assert_eq!(journaled_count(dir.path(), "SessionDown { session: SessionIdx(0), cause: Term"), 1);
}

#[test]
fn an_eof_is_journaled_as_the_end_of_the_transport() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = Peer::live(&mut rig, 0);
    // The last request stands before the EOF and is served.
    peer.buy(1);
    peer.hang_up();
    rig.until(&mut [], "the end is journaled", |rig, _| {
        rig.get(Counter::Ends) == 1 && rig.get(Counter::Connections) == 0
    });
    rig.turn();
    assert_eq!(rig.get(Counter::Messages), 1);
    assert_eq!(journaled_count(dir.path(), "SessionDown { session: SessionIdx(0), cause: Disc"), 1);
    peer.log_on(&mut rig);
    rig.until(&mut [&mut peer], "recovered by number", |_, p| p[0].templates() == [200]);
}

#[test]
fn a_live_session_is_not_taken_over() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut first = Peer::live(&mut rig, 0);
    let mut second = Peer::new(0);
    second.connect(&rig);
    let mut both = [&mut first, &mut second];
    rig.until(&mut both, "the id is known", |_, p| p[1].has_left);
    second.connect(&rig);
    let mut both = [&mut first, &mut second];
    rig.until(&mut both, "refused", |_, p| p[1].is_closed && p[1].events.len() == 2);
    let codes: Vec<RejectCode> = second
        .events
        .iter()
        .filter_map(|event| match event {
            ClientEvent::Rejected { code, .. } => Some(*code),
            ClientEvent::Established { .. }
            | ClientEvent::Live
            | ClientEvent::Report(_)
            | ClientEvent::NotAccepting { .. }
            | ClientEvent::Terminated { .. }
            | ClientEvent::Stopped(_) => None,
        })
        .collect();
    let expected = [
        RejectCode::Negotiation(NegotiationRejectCode::DuplicateId.wire()),
        RejectCode::Establishment(EstablishmentRejectCode::AlreadyEstablished.wire()),
    ];
    assert_eq!(codes, expected);
    assert_eq!(rig.get(Counter::LogonRefusals), 2);
    first.buy(1);
    rig.until(&mut [&mut first], "the first goes on", |_, p| p[0].templates() == [200]);
}

#[test]
fn a_half_open_line_gives_way_after_one_interval_of_silence() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let options = SessionOptions { keepalive_interval: 100, ..SessionOptions::default() };
    let mut first = Peer::with(0, options);
    first.log_on(&mut rig);
    let mut second = Peer::with(0, options);
    second.connect(&rig);
    rig.until(&mut [&mut second], "the id is known", |_, p| p[0].has_left);
    // From here on the first is not heard any more.
    rig.idle_for(&mut [], Nanos(101 * MS));
    second.log_on(&mut rig);
    rig.until(&mut [&mut first, &mut second], "the first is told", |_, p| {
        p[0].terminated().is_some()
    });
    let (code, _) = first.terminated().unwrap();
    assert_eq!(code, TerminationCode::KeepaliveLapsed.wire());
    assert_eq!((rig.get(Counter::Logons), rig.get(Counter::Ends)), (2, 1));
    second.buy(1);
    rig.until(&mut [&mut second], "the second goes on", |_, p| p[0].templates() == [200]);
    let records = crate::journaled(dir.path());
    let place = |what: &str| records.iter().rposition(|body| body.starts_with(what));
    assert!(place("SessionDown") < place("SessionBind"), "the end is journaled first");
}

/// A process that was stopped for longer than the sessions' silence may last must look at its
/// sockets before it judges: what waits there is a sign of life.
#[test]
fn octets_that_waited_during_a_pause_are_a_sign_of_life() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let options = SessionOptions { keepalive_interval: 100, ..SessionOptions::default() };
    let mut peer = Peer::with(0, options);
    peer.log_on(&mut rig);
    peer.buy(1);
    let clock = tidegate::shell::clock::Clock::activate(Nanos(0));
    let pause = clock.now().saturating_add(Nanos(320 * MS));
    // Another node turns meanwhile: this one stands still, and no core is burnt for it.
    let elsewhere = tempdir().unwrap();
    let mut other = Rig::start(&small(elsewhere.path()));
    other.until(&mut [], "time passes", |_, _| clock.now() >= pause);
    rig.turn();
    assert_eq!((rig.get(Counter::Ends), rig.get(Counter::Messages)), (0, 1));
    rig.until(&mut [&mut peer], "the order is reported", |_, p| p[0].templates() == [200]);
}
