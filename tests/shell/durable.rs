//! `local-fsync` without a disk: the test says what is durable, and until then nothing leaves that
//! a power cut could take back.

use tempfile::tempdir;
use tidegate::client::event::SessionOptions;
use tidegate::config::Config;
use tidegate::session::credentials::Key;
use tidegate::shell::clock::wall;
use tidegate::vocabulary::durability::Durability;
use tidegate::vocabulary::fix::{AckLevel, ReportLevel};
use tidegate::vocabulary::message::{NULL_U32, SessionMessage};
use tidegate::vocabulary::units::{Index, Nanos, Seq};
use tidegate::wire::decode::{Outbound, decode_outbound};
use tidegate::wire::encode::encode_session;
use tidegate::wire::frame::split;

use crate::node::{Peer, Rig, small};

/// So long nothing comes: turns enough for anything that would not wait.
const QUIET: Nanos = Nanos(60 * Nanos::MILLI.0);

fn config(dir: &std::path::Path) -> Config {
    let mut config = small(dir);
    config.local.durability = Durability::LocalFsync;
    config
}

/// The disk has everything that was appended.
fn sync(rig: &mut Rig) -> Index {
    let sequencer = rig.node.sequencer_mut();
    let index = sequencer.machine.index();
    sequencer.on_durable(index);
    index
}

/// Logs on beside a disk that is never behind.
fn log_on(rig: &mut Rig, peer: &mut Peer) {
    peer.connect(rig);
    let mut turns = 0;
    while !peer.session.is_live() {
        sync(rig);
        rig.turn();
        peer.pump();
        turns += 1;
        assert!(turns < 5_000, "no logon");
    }
}

/// What came, oldest first, by name and the numbers that a power cut could take back.
fn said(peer: &Peer) -> Vec<String> {
    let frames = peer.frames.iter().map(|octets| {
        let (frame, _) = split(octets, 2048).unwrap().unwrap();
        match decode_outbound(&frame).unwrap() {
            Outbound::Report(report) => format!("report {}", report.msg_seq_num),
            Outbound::Session(SessionMessage::Sequence { next_seq_no }) => {
                format!("Sequence {next_seq_no}")
            }
            Outbound::Session(SessionMessage::EstablishmentAck { next_seq_no, .. }) => {
                format!("EstablishmentAck {next_seq_no}")
            }
            Outbound::Session(SessionMessage::ReplicationStatus {
                commit_index,
                durable_index,
                level,
                ..
            }) => {
                assert_eq!(durable_index, commit_index, "the test syncs all there is");
                format!("ReplicationStatus {:?}", AckLevel::from_wire(level).unwrap())
            }
            Outbound::Session(other) => {
                let text = format!("{other:?}");
                text.split_whitespace().next().unwrap().to_owned()
            }
        }
    });
    frames.collect()
}

fn encoded(message: &SessionMessage<'_>) -> Vec<u8> {
    let mut octets = [0; 512];
    let len = encode_session(message, &mut octets).unwrap();
    octets[..len].to_vec()
}

/// The Establish of a session of firm A that asks for status messages.
fn establish(peer: &Peer) -> Vec<u8> {
    let timestamp = wall();
    let with = |credentials: &[u8]| {
        encoded(&SessionMessage::Establish {
            session_id: peer.session.session_id(),
            timestamp,
            keepalive_interval: 60_000,
            next_seq_no: 1,
            cancel_on_disconnect_type: u8::MAX,
            cod_timeout_window: NULL_U32,
            report_level: ReportLevel::Status.wire(),
            credentials,
        })
    };
    let bare = with(&[]);
    let (frame, _) = split(&bare, 2048).unwrap().unwrap();
    let key = Key::try_new("firm-a", &[0xa1; 32]).unwrap();
    with(key.sign(frame.template, frame.block()).as_bytes())
}

/// A logon takes two answers, and each waits for its record.
#[test]
fn a_logon_is_answered_when_the_disk_has_it() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&config(dir.path()));
    rig.disk.is_stalled = true;
    let mut peer = Peer::new(0);
    peer.connect(&rig);
    rig.idle_for(&mut [&mut peer], QUIET);
    assert_eq!(said(&peer), [""; 0], "SessionOpen is not on disk");
    sync(&mut rig);
    rig.idle_for(&mut [&mut peer], QUIET);
    assert_eq!(said(&peer), ["NegotiationResponse"], "SessionBind is not");
    sync(&mut rig);
    rig.until(&mut [&mut peer], "established", |_, p| p[0].session.is_live());
    assert_eq!(said(&peer), ["NegotiationResponse", "EstablishmentAck 1"]);
    peer.hang_up();
    // The next one is told what an answer promises.
    let mut peer = Peer::new(0);
    peer.open(&rig);
    peer.raw(&establish(&peer));
    rig.idle_for(&mut [&mut peer], QUIET);
    assert_eq!(said(&peer), [""; 0]);
    sync(&mut rig);
    rig.until(&mut [&mut peer], "answered", |_, p| p[0].frames.len() == 2);
    assert_eq!(said(&peer), ["EstablishmentAck 1", "ReplicationStatus LocalFsync"]);
}

/// Reports, the number of a Sequence, and what may be asked for again: all end where the disk does.
#[test]
fn no_report_and_no_number_of_one_leaves_before_the_disk_has_it() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&config(dir.path()));
    rig.disk.is_stalled = true;
    let options = SessionOptions { keepalive_interval: 100, ..Default::default() };
    let (mut a, mut b) = (Peer::with(0, options), Peer::new(1));
    // It asks for what its library would not.
    let mut c = Peer::new(2);
    for peer in [&mut a, &mut b, &mut c] {
        log_on(&mut rig, peer);
        peer.frames.clear();
    }
    a.buy(1);
    b.sell(1);
    c.buy(2);
    rig.idle_for(&mut [&mut a, &mut b, &mut c], Nanos(150 * Nanos::MILLI.0));
    let sequencer = rig.node.sequencer_mut();
    let last = sequencer.machine.index();
    assert_eq!(sequencer.commit.durable().0 + 3, last.0, "applied, not on disk");
    assert!(!said(&a).is_empty(), "a keep-alive goes on");
    assert!(said(&a).iter().all(|said| said == "Sequence 1"), "{:?}", said(&a));
    assert_eq!((said(&b), said(&c)), (vec![], vec![]));
    let request = SessionMessage::RetransmitRequest {
        session_id: c.session.session_id(),
        timestamp: Nanos(7),
        from_seq_no: Seq(1),
        count: 1,
    };
    c.raw(&encoded(&request));
    rig.until(&mut [&mut a, &mut b, &mut c], "answered", |_, p| !p[2].frames.is_empty());
    assert_eq!(said(&c)[0], "RetransmitReject", "out of range as long as it is not shown");
    // The disk has the first order: one of its two reports may leave.
    let first = rig.node.sequencer_mut().commit.durable().next();
    rig.node.sequencer_mut().on_durable(first);
    rig.until(&mut [&mut a, &mut b], "released", |_, p| p[0].templates() == [200]);
    rig.idle_for(&mut [&mut a, &mut b], QUIET);
    assert_eq!(a.templates(), [200], "the trade is not on disk");
    sync(&mut rig);
    rig.until(&mut [&mut a, &mut b], "released", |_, p| p[0].templates() == [200, 203]);
    rig.until(&mut [&mut a, &mut b], "told", |_, p| p[1].templates() == [200, 203]);
}
