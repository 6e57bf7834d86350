//! How sessions end, over TCP: cancel on disconnect, finalization, and what a shut gate delays.

use tempfile::tempdir;
use tidegate::client::event::SessionOptions;
use tidegate::coordination::gate::Gate;
use tidegate::telemetry::counters::Counter;
use tidegate::vocabulary::event::ReportBody;
use tidegate::vocabulary::fix::{CodType, GateCause, RestatementReason};
use tidegate::vocabulary::message::SessionMessage;
use tidegate::vocabulary::units::{Nanos, Seq, SessionId};
use tidegate::wire::decode::{Outbound, decode_outbound};
use tidegate::wire::encode::encode_session;
use tidegate::wire::frame::split;

use crate::journaled;
use crate::node::{Peer, Rig, small};

fn options(cod_type: CodType, cod_window: u32) -> SessionOptions {
    SessionOptions { keepalive_interval: 60_000, cod_type, cod_window, ..Default::default() }
}

/// A peer whose session cancels, live, with two open orders.
fn with_orders(rig: &mut Rig, number: u8, cod_type: CodType, cod_window: u32) -> Peer {
    let mut peer = Peer::with(number, options(cod_type, cod_window));
    peer.log_on(rig);
    peer.buy(1);
    peer.buy(2);
    rig.until(&mut [&mut peer], "reported", |_, p| p[0].templates() == [200, 200]);
    peer
}

fn reasons(peer: &Peer) -> Vec<Option<RestatementReason>> {
    let reason = |body: &ReportBody| match body {
        ReportBody::Canceled(r) => Some(r.exec_restatement_reason),
        ReportBody::NotApplied { .. }
        | ReportBody::New(_)
        | ReportBody::Trade(_)
        | ReportBody::Reject(_)
        | ReportBody::Status(_)
        | ReportBody::CancelReject(_)
        | ReportBody::BusinessReject(_) => None,
    };
    peer.reports().iter().filter_map(|report| reason(&report.body)).collect()
}

#[test]
fn a_lost_line_cancels_at_once_and_the_client_reads_it_on_its_return() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = with_orders(&mut rig, 0, CodType::OnDisconnect, 0);
    peer.hang_up();
    rig.until(&mut [], "cancelled", |rig, _| {
        rig.get(Counter::Ends) == 1 && rig.get(Counter::OpenOrders) == 0
    });
    peer.log_on(&mut rig);
    rig.until(&mut [&mut peer], "told", |_, p| p[0].templates().len() == 4);
    assert_eq!(reasons(&peer), [Some(RestatementReason::CancelOnConnectionLoss); 2]);
    let records = journaled(dir.path());
    let down = records.iter().position(|r| r.starts_with("SessionDown")).unwrap();
    assert_eq!(records[down + 1], "Tick", "the very next turn");
}

#[test]
fn a_return_within_the_window_keeps_the_orders_and_a_logout_cancels_them() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = with_orders(&mut rig, 0, CodType::OnDisconnectOrTerminate, 60_000);
    peer.hang_up();
    rig.until(&mut [], "down", |rig, _| rig.get(Counter::Ends) == 1);
    peer.log_on(&mut rig);
    rig.idle_for(&mut [&mut peer], Nanos(20 * Nanos::MILLI.0));
    assert_eq!((peer.templates().len(), rig.get(Counter::OpenOrders)), (2, 2));
    peer.finish();
    rig.until(&mut [&mut peer], "ended", |rig, _| rig.get(Counter::Ends) == 2);
    rig.idle_for(&mut [], Nanos(20 * Nanos::MILLI.0));
    assert_eq!(rig.get(Counter::OpenOrders), 2, "the window of a minute runs");
    // Terms are those of the newest Establish.
    let mut peer = with_orders(&mut rig, 1, CodType::OnTerminate, 0);
    peer.finish();
    rig.until(&mut [&mut peer], "cancelled", |rig, _| rig.get(Counter::OpenOrders) == 2);
    peer.log_on(&mut rig);
    rig.until(&mut [&mut peer], "told", |_, p| p[0].templates().len() == 4);
    assert_eq!(reasons(&peer), [Some(RestatementReason::CancelOnLogout); 2]);
}

/// A restart is a loss of every line, with two seconds at least.
#[test]
fn a_restart_gives_two_seconds_to_come_back() {
    let dir = tempdir().unwrap();
    let config = small(dir.path());
    let mut rig = Rig::start(&config);
    let mut stays = with_orders(&mut rig, 0, CodType::OnDisconnect, 0);
    let mut late = Peer::with(2, options(CodType::OnDisconnect, 0));
    late.log_on(&mut rig);
    late.buy(7);
    rig.until(&mut [&mut late], "reported", |_, p| p[0].templates() == [200]);
    // Killed: nothing is said and nothing more is written.
    drop(rig);
    stays.hang_up();
    late.hang_up();
    let mut rig = Rig::start(&config);
    stays.log_on(&mut rig);
    assert_eq!(rig.get(Counter::OpenOrders), 3);
    rig.until(&mut [&mut stays], "the late one's are cancelled", |rig, _| {
        rig.get(Counter::OpenOrders) == 2
    });
    assert_eq!(stays.templates(), [200, 200]);
    late.log_on(&mut rig);
    rig.until(&mut [&mut late], "told", |_, p| p[0].templates() == [200, 202]);
}

fn send(peer: &mut Peer, message: &SessionMessage<'_>) {
    let mut octets = [0; 512];
    let len = encode_session(message, &mut octets).unwrap();
    peer.raw(&octets[..len]);
}

/// Templates of the frames that came since `from`, and their numbers where a session ends.
fn came(peer: &Peer, from: usize) -> Vec<String> {
    let say = |octets: &Vec<u8>| {
        let (frame, _) = split(octets, 2048).unwrap().unwrap();
        match decode_outbound(&frame).unwrap() {
            Outbound::Session(SessionMessage::FinishedSending { last_seq_no, .. }) => {
                format!("FinishedSending({last_seq_no})")
            }
            Outbound::Session(SessionMessage::FinishedReceiving { .. }) => {
                "FinishedReceiving".to_owned()
            }
            Outbound::Session(_) | Outbound::Report(_) => frame.template.to_string(),
        }
    };
    peer.frames[from..].iter().map(say).collect()
}

fn id_of(number: u8) -> SessionId {
    let mut id = [0x5e; 16];
    id[15] = number;
    SessionId(id)
}

#[test]
fn a_session_is_finished_over_tcp_and_its_id_is_gone() {
    let dir = tempdir().unwrap();
    let config = small(dir.path());
    let mut rig = Rig::start(&config);
    let mut peer = with_orders(&mut rig, 0, CodType::DoNotCancel, 0);
    let from = peer.frames.len();
    let session_id = id_of(0);
    send(&mut peer, &SessionMessage::FinishedSending { session_id, last_seq_no: Seq(3) });
    let is_answered =
        |peer: &Peer| came(peer, from).last().is_some_and(|l| l == "FinishedSending(5)");
    // The library knows nothing of it: its line is read without it.
    rig.until(&mut [], "answered", |_, _| {
        peer.read_frames();
        is_answered(&peer)
    });
    assert_eq!(came(&peer, from), ["FinishedReceiving", "18", "202", "202", "FinishedSending(5)"]);
    send(&mut peer, &SessionMessage::FinishedReceiving { session_id });
    rig.until(&mut [], "final", |rig, _| rig.get(Counter::Finals) == 1);
    send(&mut peer, &SessionMessage::Terminate { session_id, code: 0, reason: b"" });
    rig.until(&mut [], "closed", |rig, _| {
        peer.read_frames();
        peer.is_closed && rig.get(Counter::Connections) == 0
    });
    assert_eq!(came(&peer, from).last().unwrap(), "14");
    assert_eq!(rig.get(Counter::Ends), 0, "a final session is not lost");
    // Neither this node nor the next takes the id again.
    for _ in 0..2 {
        let mut again = Peer::new(0);
        again.connect(&rig);
        rig.until(&mut [&mut again], "refused", |_, p| p[0].has_left);
        drop(rig);
        rig = Rig::start(&config);
    }
    assert_eq!(crate::journaled_count(dir.path(), "SessionOpen"), 1);
}

/// Ruling F02: what is lost behind a shut gate is journaled as lost when it opens; its window
/// starts then, and nobody binds the session before.
#[test]
fn a_line_lost_behind_a_shut_gate_is_lost_when_it_opens() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut peer = with_orders(&mut rig, 0, CodType::OnDisconnect, 0);
    let gate: fn(&mut Rig) -> &mut Gate = |rig| rig.node.gate_mut();
    gate(&mut rig).shut(GateCause::Operator);
    peer.hang_up();
    rig.until(&mut [], "lost", |rig, _| rig.get(Counter::Connections) == 0);
    rig.idle_for(&mut [], Nanos(5 * Nanos::MILLI.0));
    assert_eq!(crate::journaled_count(dir.path(), "SessionDown"), 0);
    assert_eq!(rig.get(Counter::OpenOrders), 2, "no window runs");
    let mut back = Peer::with(0, options(CodType::OnDisconnect, 0));
    gate(&mut rig).end(GateCause::Operator);
    back.connect(&rig);
    rig.until(&mut [&mut back], "cancelled", |rig, _| rig.get(Counter::OpenOrders) == 0);
    peer.log_on(&mut rig);
    rig.until(&mut [&mut peer], "told", |_, p| p[0].templates().len() == 4);
    let records = journaled(dir.path());
    let downs = records.iter().filter(|r| r.starts_with("SessionDown")).count();
    assert_eq!(downs, 1, "once");
}

/// A session that asked for it is told where the node stands: with its acknowledgement, and at most
/// every tenth of a second while positions move.
#[test]
fn a_session_that_asked_is_told_the_status() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::start(&small(dir.path()));
    let mut other = Peer::live(&mut rig, 1);
    let mut peer = Peer::new(0);
    peer.log_on(&mut rig);
    peer.hang_up();
    rig.until(&mut [], "down", |rig, _| rig.get(Counter::Ends) == 1);
    peer.open(&rig);
    let octets = Peer::establish_with_status(0);
    peer.raw(&octets);
    let statuses = |peer: &mut Peer| {
        peer.read_frames();
        let status = |octets: &Vec<u8>| {
            let (frame, _) = split(octets, 2048).unwrap().unwrap();
            match decode_outbound(&frame) {
                Ok(Outbound::Session(SessionMessage::ReplicationStatus {
                    commit_index, ..
                })) => Some(commit_index),
                Ok(Outbound::Session(_) | Outbound::Report(_)) | Err(_) => None,
            }
        };
        peer.frames.iter().filter_map(status).collect::<Vec<u64>>()
    };
    rig.until(&mut [], "told with the acknowledgement", |_, _| statuses(&mut peer).len() == 1);
    for id in 1..=400 {
        other.buy(id);
        rig.idle_for(&mut [&mut other], Nanos(Nanos::MILLI.0));
    }
    let told = statuses(&mut peer);
    assert!((3..=12).contains(&told.len()), "at most ten a second: {told:?}");
    assert!(told.is_sorted() && told.first() < told.last());
    rig.idle_for(&mut [], Nanos(120 * Nanos::MILLI.0));
    let last = statuses(&mut peer);
    rig.idle_for(&mut [], Nanos(220 * Nanos::MILLI.0));
    assert_eq!(statuses(&mut peer), last, "nothing moves, nothing is told");
    assert_eq!(last.last(), Some(&(rig.node.released().0)));
}
