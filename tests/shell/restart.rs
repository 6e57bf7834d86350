//! Restarts: a killed node comes back as it was, and more ends than usual in one turn.

use journal::{Journal, JournalOptions, Uuid};
use tempfile::tempdir;
use tidegate::client::event::{ClientEvent, RejectCode, StopCause};
use tidegate::session::report_log::ReportLog;
use tidegate::shell::activate::{Activated, activate, open};
use tidegate::shell::rebuild::Rebuild;
use tidegate::shell::sequencer::Sequencer;
use tidegate::telemetry::counters::Counter;
use tidegate::vocabulary::durability::Durability;
use tidegate::vocabulary::fix::{CodType, NegotiationRejectCode, ReportLevel};
use tidegate::vocabulary::message::{ClientMessage, NewOrderSingle};
use tidegate::vocabulary::record::{DownCause, RecordBody};
use tidegate::vocabulary::units::{Index, Nanos, OwnerIdx, SessionId, SessionIdx, Text};

use crate::journaled_count;
use crate::node::{Peer, Rig, small};

#[test]
fn a_killed_node_comes_back_with_every_order_and_number() {
    let dir = tempdir().unwrap();
    let config = small(dir.path());
    let mut rig = Rig::start(&config);
    let (mut a, mut b) = (Peer::live(&mut rig, 0), Peer::live(&mut rig, 1));
    let mut epochs = 1;
    for round in 0..5_u64 {
        for id in 1..=10 {
            a.buy(round << 8 | id);
            b.sell(round << 8 | id);
        }
        let count = usize::try_from(20 * (round + 1)).unwrap();
        rig.until(&mut [&mut a, &mut b], "traded", |_, p| {
            p.iter().all(|p| p.templates().len() == count)
        });
        let reports = rig.get(Counter::Reports);
        a.hang_up();
        b.hang_up();
        drop(rig);
        rig = Rig::start(&config);
        epochs += 1;
        assert!(!rig.recovery.clean && reports > 0);
        assert_eq!(journaled_count(dir.path(), "EpochStart"), epochs);
        // The same key again: its outcome, and no second execution.
        a.log_on(&mut rig);
        b.log_on(&mut rig);
        assert_eq!(a.templates().len(), count, "nothing missed, nothing twice");
    }
    a.buy(1);
    rig.until(&mut [&mut a], "answered", |_, p| p[0].templates().last() == Some(&205));
}

/// A power cut between two starts: what the firm knows may be more than the journal does. Its
/// session is refused for ever, its library stops and asks a person, and what the journal has is
/// still there for another session.
#[test]
fn after_a_power_cut_a_session_is_told_that_its_history_may_be_lost() {
    let dir = tempdir().unwrap();
    let config = small(dir.path());
    let mut rig = Rig::start(&config);
    let mut a = Peer::live(&mut rig, 0);
    a.buy(1);
    rig.until(&mut [&mut a], "reported", |_, p| p[0].templates() == [200]);
    a.hang_up();
    drop(rig);
    let options = JournalOptions {
        boot_id: Some(Uuid([0xb0; 16])),
        ..JournalOptions::new(config.local.journal_ring_bytes, config.local.node)
    };
    drop(Journal::open(dir.path(), &options).unwrap());
    let mut rig = Rig::start(&config);
    assert_eq!(journaled_count(dir.path(), "UncleanPromotion"), 1);
    a.connect(&rig);
    let stopped = ClientEvent::Stopped(StopCause::HistoryLost);
    rig.until(&mut [&mut a], "told", |_, p| p[0].events.last() == Some(&stopped));
    // A library that lost its memory negotiates the same id anew.
    let mut again = Peer::new(0);
    again.connect(&rig);
    rig.until(&mut [&mut again], "refused", |_, p| p[0].has_left);
    let duplicate = RejectCode::Negotiation(NegotiationRejectCode::DuplicateId.wire());
    let is_it =
        |e: &ClientEvent| matches!(e, ClientEvent::Rejected { code, .. } if *code == duplicate);
    assert!(again.events.iter().any(is_it), "{:?}", again.events);
    let mut other = Peer::live(&mut rig, 2);
    other.send(ClientMessage::NewOrder(NewOrderSingle { poss_resend: 1, ..other.order(1) }));
    other.send(Peer::cancel(2, 1));
    rig.until(&mut [&mut other], "answered", |_, p| p[0].templates() == [205, 202]);
}

/// A node whose sessions all end in one turn: a lost switch, or a stop. There may be more of them
/// than logons may wait, since a turn checks few credentials but ends as many as there are.
#[test]
fn all_sessions_may_end_in_one_turn() {
    const SESSIONS: u32 = 5_000;
    let dir = tempdir().unwrap();
    let mut config = small(dir.path());
    config.logical.capacities.session_count_max = SESSIONS;
    config.logical.capacities.resend_window = 64;
    let mut log = ReportLog::heap(1 << 20, SESSIONS);
    let (activated, _disk) =
        activate(&config, open(&config).unwrap(), &mut Rebuild::new(&mut log)).unwrap();
    let Activated { ring, machine, clock, epoch, .. } = activated;
    let mut sequencer = Sequencer::new(ring, machine, log, epoch, Durability::LocalMmap);
    let released = |sequencer: &mut Sequencer| {
        sequencer.apply().unwrap();
        while sequencer.take_logon(Index(u64::MAX)).is_some() {}
    };
    let key_id = Text::new("firm-a");
    for number in 0..SESSIONS {
        let (session, timestamp) = (SessionIdx(number), Nanos(1));
        let mut id = [1; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let (id, owner) = (SessionId(id), OwnerIdx(0));
        let open = RecordBody::SessionOpen { session, id, owner, key_id, timestamp };
        sequencer.append(clock.now(), &open).unwrap();
        let bind = RecordBody::SessionBind {
            session,
            key_id,
            timestamp: Nanos(2),
            next_seq_no: None,
            keepalive_interval: 1_000,
            cod_type: CodType::DoNotCancel,
            cod_window: 0,
            report_level: ReportLevel::None,
        };
        sequencer.append(clock.now(), &bind).unwrap();
        released(&mut sequencer);
    }
    for session in (0..SESSIONS).map(SessionIdx) {
        let cause = DownCause::Disconnect;
        sequencer.append(clock.now(), &RecordBody::SessionDown { session, cause }).unwrap();
    }
    assert!(sequencer.apply().unwrap() >= SESSIONS);
    assert!(sequencer.take_logon(Index(u64::MAX)).is_none(), "an end answers no logon");
}
