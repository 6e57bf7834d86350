//! The machine by script: what each record says, in which order, under which numbers, and which
//! records cannot be.

#![expect(clippy::expect_used, reason = "a script that cannot be followed ends the test")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a report of another kind ends the test")]

mod common;

use common::*;
use tidegate::limits::SEQ_JUMP_MAX;
use tidegate::machine::{ApplyError, Machine};
use tidegate::replay;
use tidegate::session::logical::{Admission, GapCheck};
use tidegate::vocabulary::event::{Event, ReportBody};
use tidegate::vocabulary::fix::MarketPhase;
use tidegate::vocabulary::message::{ClientMessage, NewOrderSingle, OrderCancelRequest};
use tidegate::vocabulary::record::{DownCause, RecordBody};
use tidegate::vocabulary::settings::{AccountOwner, Capacities, Instrument, Owner, Setting};
use tidegate::vocabulary::units::{
    Account, Epoch, Index, Nanos, OwnerIdx, Px, Qty, SecurityId, Seq, SessionIdx, Text, TrdMatchId,
};

#[test]
fn an_order_is_accepted_before_it_trades_and_the_aggressor_speaks_first() {
    let mut b = Bench::new();
    assert_eq!(b.order(0, order(1)), ["s0 new c1 buy 100@1000"]);
    assert_eq!(
        b.order(2, NewOrderSingle { price: 900 * CENT, ..sell(5, 40) }),
        [
            "s2 new c5 sell 40@900",
            "s2 trade c5 40@1000 leaves 0 cum 40 aggressor Filled",
            "s0 trade c1 40@1000 leaves 60 cum 40 maker PartiallyFilled",
        ],
        "at the maker's price"
    );
    assert_eq!(
        b.order(2, sell(6, 100)),
        [
            "s2 new c6 sell 100@1000",
            "s2 trade c6 60@1000 leaves 40 cum 60 aggressor PartiallyFilled",
            "s0 trade c1 60@1000 leaves 0 cum 100 maker Filled",
        ]
    );
    assert_eq!(b.status(2, 9, 6), ["s2 status c6 PartiallyFilled leaves 40 cum 60 req 9"]);
}

#[test]
fn best_price_first_then_first_come() {
    let mut b = Bench::new();
    let at = |cents: i64, id| NewOrderSingle { price: cents * CENT, ..sell(id, 50) };
    b.order(2, at(1_010, 1));
    b.order(2, at(1_000, 2));
    b.order(2, at(1_000, 3));
    b.order(2, at(1_005, 4));
    let said = b.order(0, NewOrderSingle { price: 1_005 * CENT, order_qty: 170, ..order(1) });
    let makers: Vec<&str> =
        said.iter().filter(|line| line.contains("maker")).map(String::as_str).collect();
    assert_eq!(
        makers,
        [
            "s2 trade c2 50@1000 leaves 0 cum 50 maker Filled",
            "s2 trade c3 50@1000 leaves 0 cum 50 maker Filled",
            "s2 trade c4 50@1005 leaves 0 cum 50 maker Filled",
        ]
    );
    assert_eq!(b.status(0, 1, 1), ["s0 status c1 PartiallyFilled leaves 20 cum 150 req 1"]);
}

#[test]
fn instruments_and_owners_do_not_mix_but_an_owner_may_trade_with_itself() {
    let mut b = Bench::new();
    b.order(0, NewOrderSingle { security_id: 1, price: 0, ..order(1) });
    assert_eq!(b.order(2, sell(1, 10)).len(), 1, "another instrument's book");
    let own = NewOrderSingle { side: b'2', security_id: 1, price: 0, order_qty: 1, ..order(2) };
    assert_eq!(
        b.order(1, own),
        [
            "s1 new c2 sell 1@0",
            "s1 trade c2 1@0 leaves 0 cum 1 aggressor Filled",
            "s0 trade c1 1@0 leaves 99 cum 1 maker PartiallyFilled",
        ]
    );
}

/// OrderID is the record's index, ExecID counts reports, TrdMatchID counts trades, ApplSeqNum is
/// the record, times are the record's, and each session's numbers run on by themselves.
#[test]
fn every_number_comes_from_the_journal() {
    let mut b = Bench::new();
    let first = b.machine.index().0 + 1;
    b.order(0, order(1));
    b.order(0, order(2));
    b.skip(2, 1);
    b.order(2, sell(5, 150));
    let (order_1, order_2, order_5) = (first, first + 1, first + 2);
    #[rustfmt::skip]
    let rows = [
        // session, number, index,   OrderID, ExecID, TrdMatchID
        (0,         1,      order_1, order_1, 1,      None),
        (0,         2,      order_2, order_2, 2,      None),
        (2,         1,      order_5, 0,       0,      None),
        (2,         2,      order_5, order_5, 3,      None),
        (2,         3,      order_5, order_5, 4,      Some(1)),
        (0,         3,      order_5, order_1, 5,      Some(1)),
        (2,         4,      order_5, order_5, 6,      Some(2)),
        (0,         4,      order_5, order_2, 7,      Some(2)),
    ];
    assert_eq!(b.sink.said.len(), rows.len());
    for (said, (session, number, index, order_id, exec_id, trade)) in b.sink.said.iter().zip(rows) {
        let report = said.report();
        assert_eq!(said.session, SessionIdx(session));
        assert_eq!(report.msg_seq_num, Seq(number), "{report:?}");
        assert_eq!(report.appl_seq_num, Index(index), "{report:?}");
        let (came_order, came_exec, came_trade, transact_time) = match report.body {
            ReportBody::New(r) => (r.order_id, r.exec_id, None, r.transact_time),
            ReportBody::Trade(r) => (r.order_id, r.exec_id, Some(r.trd_match_id), r.transact_time),
            ReportBody::NotApplied { from_seq_no, count } => {
                assert_eq!((from_seq_no, count), (Seq(1), 1));
                continue;
            }
            _ => panic!("{report:?}"),
        };
        assert_eq!((came_order.0, came_exec.0), (order_id, exec_id), "{report:?}");
        assert_eq!(came_trade, trade.map(TrdMatchId), "{report:?}");
        assert_eq!(report.sending_time, transact_time);
        let record = b.stored.iter().find(|r| r.index == report.appl_seq_num).expect("stored");
        assert_eq!(report.sending_time, record.time);
    }
    assert_eq!((b.machine.exec_count(), b.machine.trade_count()), (7, 2));
}

#[test]
fn a_report_repeats_what_the_order_said() {
    let mut b = Bench::new();
    let asked = NewOrderSingle { time_in_force: b'1', account: 11, sender_sub_id: 77, ..order(1) };
    b.order(0, asked);
    let ReportBody::New(new) = b.last().body else { panic!("accepted") };
    assert_eq!((new.account, new.sender_sub_id.0), (Account(11), 77));
    assert_eq!((new.time_in_force.wire(), new.ord_type.wire()), (b'1', b'2'));
    assert_eq!((new.stop_px, new.expire_time, new.post_only), (None, None, false));
    for is_open in [true, false] {
        b.status(1, 5, 1);
        let ReportBody::Status(status) = b.last().body else { panic!("known") };
        assert_eq!((status.account, status.sender_sub_id.0), (Account(11), 77));
        assert_eq!((status.time_in_force.wire(), status.side.wire()), (b'1', b'1'));
        assert_eq!((status.price, status.order_qty), (Some(px(1_000)), new.order_qty));
        assert_eq!((status.last_rpt_requested, status.tot_num_reports), (true, 1));
        assert!(!status.poss_resend);
        if is_open {
            assert_eq!(status.transact_time, new.transact_time);
            b.cancel(0, cancel(2, 1));
        } else {
            assert!(status.transact_time > new.transact_time, "of the order's last event");
            assert!(status.transact_time < b.time);
        }
    }
}

/// TransactTime of a status is that of the order's last event, SendingTime the request's (F27).
#[test]
fn a_trade_is_an_event_of_the_maker() {
    let mut b = Bench::new();
    b.order(0, order(1));
    b.order(2, sell(5, 40));
    let traded = b.time;
    b.status(0, 3, 1);
    let ReportBody::Status(status) = b.last().body else { panic!("known") };
    assert_eq!((status.transact_time, b.last().sending_time), (traded, b.time));
    assert!(traded < b.time);
}

#[test]
fn a_cancel_by_the_second_session_is_reported_to_both() {
    let mut b = Bench::new();
    b.order(0, order(1));
    assert_eq!(
        b.cancel(1, cancel(2, 1)),
        ["s1 canceled c2 orig c1 cum 0", "s0 canceled c1 orig - cum 0"]
    );
    let exec_ids: Vec<u64> = b.sink.said[1..]
        .iter()
        .map(|said| match said.report().body {
            ReportBody::Canceled(r) => r.exec_id.0,
            _ => panic!("{said:?}"),
        })
        .collect();
    assert_eq!(exec_ids, [2, 3]);
    assert_eq!(b.order(2, sell(5, 40)).len(), 1, "it has left the book");
}

/// Ruling F27.
#[test]
fn status_requests() {
    let mut b = Bench::new();
    b.order(0, order(1));
    b.order(0, NewOrderSingle { order_qty: 1, ..order(2) });
    let refused = b.time;
    b.order(2, sell(5, 10));
    #[rustfmt::skip]
    let rows: [(u32, u64, u64, &str); 7] = [
        (0, 7,        1, "s0 status c1 PartiallyFilled leaves 90 cum 10 req 7"),
        (1, 7,        1, "s1 status c1 PartiallyFilled leaves 90 cum 10 req 7"),
        (2, 8,        5, "s2 status c5 Filled leaves 0 cum 10 req 8"),
        (2, 8,        1, "s2 business-reject n3 id 8 of 104 1 final 'unknown order'"),
        (0, 0,        1, "s0 business-reject n4 id 0 of 104 5 final 'OrdStatusReqID is 0 or null'"),
        (1, u64::MAX, 1, "s1 business-reject n2 id 18446744073709551615 of 104 5 final 'OrdStatusReqID is 0 or null'"),
        (0, 9,        2, "s0 reject c2 13 final 'OrderQty out of range or lot' resend"),
    ];
    for (session, id, cl_ord_id, expected) in rows {
        assert_eq!(b.status(session, id, cl_ord_id), [expected]);
    }
    let ReportBody::Reject(cached) = b.last().body else { panic!("the cached refusal") };
    assert_eq!(cached.transact_time, refused);
}

/// Cancels and status requests pass every phase but CLOSED, orders none but TRADING.
#[test]
fn phases() {
    use MarketPhase::{Closed, PreOpen, Suspended, Trading};
    #[rustfmt::skip]
    let rows = [
        // own,    whole,     orders, cancels
        (Trading,   Trading,   true,  true),
        (PreOpen,   Trading,   false, true),
        (Suspended, Trading,   false, true),
        (Closed,    Trading,   false, false),
        (Trading,   PreOpen,   false, true),
        (Trading,   Suspended, false, true),
        (Trading,   Closed,    false, false),
        (Closed,    Suspended, false, false),
    ];
    for (own, whole, takes_orders, takes_cancels) in rows {
        let mut b = Bench::new();
        b.order(0, order(1));
        b.phase(Some(0), own);
        b.phase(None, whole);
        let new = b.order(0, order(2));
        assert_eq!(new[0].starts_with("s0 new"), takes_orders, "{own:?} {whole:?}");
        assert!(takes_orders || new == ["s0 reject c2 2 retryable 'market is not trading'"]);
        assert_eq!(b.status(0, 4, 1), ["s0 status c1 New leaves 100 cum 0 req 4"]);
        let canceled = b.cancel(0, cancel(3, 1));
        assert_eq!(canceled[0].starts_with("s0 canceled"), takes_cancels, "{own:?} {whole:?}");
        let closed = "s0 cancel-reject c3 orig c1 99 retryable 'market is closed' New";
        assert!(takes_cancels || canceled == [closed], "{canceled:?}");
        let elsewhere = b.order(0, NewOrderSingle { security_id: 1, price: 0, ..order(4) });
        assert_eq!(elsewhere[0].starts_with("s0 new"), whole == Trading, "the other instrument");
    }
}

#[test]
fn an_instrument_without_a_phase_does_not_trade() {
    let mut b = Bench::bare(CAPACITIES);
    for setting in settings(10) {
        b.put(RecordBody::Config(setting));
    }
    b.put(open(0, 0));
    b.bind(0);
    assert_eq!(b.order(0, order(1)), ["s0 reject c1 2 retryable 'market is not trading'"]);
}

#[test]
fn gaps_are_told_once_and_first() {
    let mut b = Bench::new();
    b.skip(0, 3);
    assert_eq!(b.order(0, order(1)), ["s0 gap 1 x3", "s0 new c1 buy 100@1000"]);
    assert_eq!(b.order(0, order(2)), ["s0 new c2 buy 100@1000"]);
    let gap = RecordBody::SessionGap { session: SessionIdx(0), next_seq_no: Seq(9) };
    assert_eq!(b.put(gap), ["s0 gap 6 x3"]);
    b.skip(0, 3);
    assert_eq!(b.status(0, 1, 1), ["s0 status c1 New leaves 100 cum 0 req 1"]);
    b.skip(0, SEQ_JUMP_MAX);
    assert_eq!(b.status(0, 1, 1)[0], format!("s0 gap 10 x{SEQ_JUMP_MAX}"));
}

/// The ack shows the numbers as they were before this Establish, gap included (ruling F11).
#[test]
fn an_establish_opens_a_gap() {
    let mut b = Bench::new();
    b.order(0, order(1));
    b.order(0, order(2));
    b.down(0);
    b.wait(STEP);
    #[rustfmt::skip]
    let rows: [(Option<u64>, &[&str], u64, u64); 5] = [
        // NextSeqNo, reports,      next out, last in
        (Some(6),     &["s0 gap 3 x3"], 3,    2),
        (Some(6),     &[],              4,    5),
        (Some(1),     &[],              4,    5), // sends again under the old numbers (F01)
        (None,        &[],              4,    5),
        (Some(7),     &["s0 gap 6 x1"], 4,    5),
    ];
    for (next, expected, next_out, last_in) in rows {
        assert_eq!(b.put(bind(0, b.time, next)), *expected, "{next:?}");
        let (session, next_out, last_in) = (SessionIdx(0), Seq(next_out), Seq(last_in));
        let (index, event) = b.sink.logons.last().expect("an event");
        assert_eq!(*event, Event::Bound { session, next_out, last_in }, "{next:?}");
        assert_eq!(*index, b.machine.index());
        b.down(0);
        assert_eq!(b.sink.logons.last().expect("an event").1, Event::Down { session });
    }
    let mut fresh = Bench::new();
    fresh.put(open(3, 1));
    assert_eq!(
        fresh.sink.logons.last().expect("an event").1,
        Event::Opened { session: SessionIdx(3) }
    );
    fresh.bind(3);
    let (session, next_out, last_in) = (SessionIdx(3), Seq(1), Seq(0));
    let bound = Event::Bound { session, next_out, last_in };
    assert_eq!(fresh.sink.logons.last().expect("an event").1, bound, "0 if none, never null");
}

#[test]
fn an_epoch_unbinds_and_numbers_run_on() {
    let mut b = Bench::new();
    b.order(0, order(1));
    b.start_epoch();
    for session in 0..3 {
        let bound = b.machine.sessions().get(SessionIdx(session)).expect("open").is_bound;
        assert!(!bound);
        b.bind(session);
    }
    assert_eq!(b.order(0, order(2)), ["s0 new c2 buy 100@1000"]);
    assert_eq!(b.last().msg_seq_num, Seq(2));
    assert_eq!(b.machine.epoch(), Epoch(2));
}

/// What was acknowledged to a session may be missing from the journal: it is never bound again, and
/// what it left stays.
#[test]
fn an_unclean_promotion_marks_every_session_opened_before() {
    for has_pad in [false, true] {
        let mut b = Bench::new();
        b.order(0, order(1));
        let before = b.machine.state_digest();
        b.start_epoch();
        let started = b.machine.state_digest();
        if has_pad {
            b.put(RecordBody::Pad);
        }
        let from_index = b.machine.index();
        assert_eq!(b.put(RecordBody::UncleanPromotion { from_index }), [""; 0]);
        assert!(b.machine.state_digest() != started && started != before);
        let bytes = b.machine.snapshot();
        let again = Machine::from_snapshot(&bytes).expect("just written");
        assert!(again.snapshot() == bytes);
        b.put(open(3, 0));
        b.bind(3);
        for session in 0..4 {
            let known = b.machine.sessions().get(SessionIdx(session)).expect("open");
            assert_eq!(known.is_history_lost, session < 3);
        }
        // A session that is new asks again: the key is known, the order works and can be cancelled.
        assert_eq!(
            b.order(3, resend(order(1))),
            ["s3 status c1 New leaves 100 cum 0 req 0 resend"],
            "the key stays"
        );
        assert_eq!(b.cancel(3, cancel(2, 1)), ["s3 canceled c2 orig c1 cum 0"]);
        let timestamp = b.time;
        let said = b.try_put(bind(0, timestamp, None));
        assert!(matches!(said, Err(ApplyError::Impossible { .. })), "{said:?}");
    }
}

/// It says of an epoch how it began, so it stands where an epoch begins.
#[test]
fn an_unclean_promotion_stands_directly_behind_an_epoch_start() {
    let check = |label: &str, is_possible: bool, put: fn(&mut Bench) -> u64| {
        let mut b = Bench::new();
        let from_index = Index(put(&mut b));
        let said = b.try_put(RecordBody::UncleanPromotion { from_index });
        assert_eq!(said.is_ok(), is_possible, "{label}: {said:?}");
    };
    let started = |b: &mut Bench| {
        b.start_epoch();
        b.machine.index().0
    };
    check("behind an EpochStart", true, started);
    check("of the first record", true, |b| {
        b.start_epoch();
        1
    });
    check("in an epoch", false, |b| b.machine.index().0);
    check("behind a Tick", false, |b| {
        b.start_epoch();
        b.tick();
        b.machine.index().0
    });
    check("twice", false, |b| {
        b.start_epoch();
        let from_index = b.machine.index();
        b.put(RecordBody::UncleanPromotion { from_index });
        from_index.0
    });
    check("of no record", false, |b| {
        b.start_epoch();
        0
    });
    check("of itself", false, |b| {
        b.start_epoch();
        b.machine.index().0 + 1
    });
}

/// An order that sweeps more than one outbox holds is cut where nobody can see it.
#[test]
fn a_sweep_is_one_record() {
    const MAKERS: u64 = 2_500;
    let capacities = Capacities { key_count_max: 4_096, order_count_max: 4_096, ..CAPACITIES };
    let mut b = Bench::with(capacities, u32::MAX);
    for id in 1..=MAKERS {
        let cents = if id % 2 == 0 { 1_000 } else { 995 };
        b.order(2, NewOrderSingle { price: cents * CENT, ..sell(id, 10) });
    }
    b.sink.said.clear();
    b.skip(0, 1);
    let order_qty = i64::try_from(MAKERS).expect("few") * 10 + 30;
    let lines = b.order(0, NewOrderSingle { order_qty, ..order(1) });
    assert_eq!(lines.len(), 2 + 2 * 2_500);
    let ids = (1..=MAKERS).step_by(2).chain((2..=MAKERS).step_by(2));
    for (pair, id) in lines[2..].chunks(2).zip(ids) {
        let cents = if id % 2 == 0 { 1_000 } else { 995 };
        let maker = format!("s2 trade c{id} 10@{cents} leaves 0 cum 10 maker Filled");
        assert!(pair[0].starts_with("s0 trade c1 10@") && pair[0].contains("aggressor"));
        assert_eq!(pair[1], maker);
    }
    assert_eq!(b.machine.trade_count(), MAKERS);
    assert_eq!(b.status(0, 1, 1)[0], "s0 status c1 PartiallyFilled leaves 30 cum 25000 req 1");
    assert_eq!(b.machine.engine().open_order_count(), 1);
}

/// Several messages of a turn are admitted before the first is applied. A gap wider than the window
/// covers their places; replay, which admits nothing, must come to the same state, or a live digest
/// never equals the replayed one. Found by reading; the last window is small here.
#[test]
fn admission_ahead_of_apply_leaves_the_same_state_as_replay() {
    let mut live = Bench::new();
    let mut replayed = Bench::new();
    let session = SessionIdx(0);
    let sessions = live.machine.sessions_mut();
    for id in 1..=4 {
        assert_eq!(sessions.admit(session, Seq(id), 100, id), Admission::Fresh);
    }
    assert_eq!(sessions.admit_gap(session, Seq(13)), GapCheck::Gap);
    for b in [&mut live, &mut replayed] {
        for id in 1..=4 {
            b.order(0, order(id));
        }
        let next_seq_no = Seq(13);
        assert_eq!(b.put(RecordBody::SessionGap { session, next_seq_no }), ["s0 gap 5 x8"]);
        b.machine.sessions().assert_settled(session);
    }
    assert_eq!(live.machine.state_digest(), replayed.machine.state_digest());
    for b in [&mut live, &mut replayed] {
        let again = b.machine.sessions_mut().admit(session, Seq(9), 100, 1);
        assert_eq!(again, Admission::Reused, "a number that NotApplied has covered");
    }
}

#[test]
fn a_journal_begins_with_its_capacities() {
    let found = |body: &RecordBody<'_>| {
        let stored = Stored::new(Index(1), Nanos(1), Epoch(1), body);
        Machine::found(&read(&stored)).err().map(|error| error.to_string())
    };
    let with = |capacities| found(&RecordBody::Config(Setting::Capacities(capacities)));
    assert_eq!(with(CAPACITIES), None);
    #[rustfmt::skip]
    let rows = [
        ("key_count_max", Capacities { key_count_max: 0, ..CAPACITIES }),
        ("key_count_max", Capacities { key_count_max: 1, ..CAPACITIES }),
        ("key_count_max", Capacities { key_count_max: 17, ..CAPACITIES }),
        ("key_count_max", Capacities { key_count_max: 1 << 31, ..CAPACITIES }),
        ("key_retention", Capacities { key_retention: Nanos(0), ..CAPACITIES }),
        ("order_count_max", Capacities { order_count_max: 0, ..CAPACITIES }),
        ("order_count_max", Capacities { order_count_max: u32::MAX, ..CAPACITIES }),
        ("resend_window", Capacities { resend_window: 0, ..CAPACITIES }),
        ("resend_window", Capacities { resend_window: 3, ..CAPACITIES }),
        ("session_count_max", Capacities { session_count_max: 0, ..CAPACITIES }),
        ("session_count_max", Capacities { session_count_max: u32::MAX, resend_window: 1 << 31, ..CAPACITIES }),
    ];
    for (name, capacities) in rows {
        let said = with(capacities).unwrap_or_default();
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(found(&RecordBody::Tick).is_some());
}

fn instrument(id: u32) -> Instrument {
    Instrument {
        security_id: SecurityId(id),
        symbol: Text::new("AAA"),
        tick: px(5),
        lot: Qty::try_new(10).expect("in range"),
        low_limit: px(100),
        high_limit: px(10_000),
    }
}

fn message(session: u32, number: u64) -> (SessionIdx, Vec<u8>) {
    (SessionIdx(session), sbe(&with_number(ClientMessage::NewOrder(order(1)), number)))
}

/// Records of the session's half that cannot follow.
fn impossible_of_sessions() -> Vec<RecordBody<'static>> {
    let down = |session| RecordBody::SessionDown {
        session: SessionIdx(session),
        cause: DownCause::Terminate,
    };
    let gap = |session, next| RecordBody::SessionGap {
        session: SessionIdx(session),
        next_seq_no: Seq(next),
    };
    let negotiated_again = RecordBody::SessionOpen {
        session: SessionIdx(3),
        id: session_id(0),
        owner: OwnerIdx(0),
        key_id: Text::new("key"),
        timestamp: Nanos(1),
    };
    vec![
        open(0, 0),
        open(3, 2),
        open(5, 0),
        open(200, 0),
        negotiated_again,
        bind(0, Nanos(u64::MAX), None),
        bind(3, Nanos(u64::MAX), None),
        bind(9, Nanos(u64::MAX), None),
        down(3),
        down(9),
        gap(0, 2),
        gap(0, 0),
        gap(0, 2 + SEQ_JUMP_MAX + 1),
        gap(0, u64::MAX),
        gap(3, 5),
        gap(9, 5),
    ]
}

/// Acts and settings that cannot follow.
fn impossible_of_settings() -> Vec<RecordBody<'static>> {
    let zero = Instrument { tick: Px::default(), ..instrument(0) };
    let crossed = Instrument { low_limit: Px::ONE, high_limit: px(99), ..instrument(2) };
    let owner = OwnerIdx(3);
    let unknown = Owner { owner, id: 1, name: Text::new("X"), orders_max: 1 };
    let account = |account, owner| {
        let (account, owner) = (Account(account), OwnerIdx(owner));
        Setting::Account(AccountOwner { account, owner })
    };
    let settings = [
        Setting::Capacities(CAPACITIES),
        Setting::Instrument(instrument(3)),
        Setting::Instrument(Instrument { tick: px(10), ..instrument(0) }),
        Setting::Instrument(Instrument { lot: Qty::MAX, ..instrument(0) }),
        Setting::Instrument(Instrument { lot: Qty::ZERO, ..instrument(2) }),
        Setting::Instrument(crossed),
        Setting::Instrument(zero),
        Setting::Owner(unknown),
        account(10, 1),
        account(12, 2),
        account(0, 0),
        account(u32::MAX, 0),
    ];
    let mut bodies: Vec<_> = settings.into_iter().map(RecordBody::Config).collect();
    bodies.push(admin(Some(2), MarketPhase::Trading));
    bodies
}

/// Records that no build could have written after these: named, and never a panic, whatever comes
/// after the error.
#[test]
fn impossible_records_are_refused_by_name() {
    let messages = [
        message(0, 0),
        message(0, 1),
        message(0, u64::MAX),
        message(3, 1),
        message(9, 1),
        (SessionIdx(0), Vec::new()),
        (SessionIdx(0), message(0, 2).1[..20].to_vec()),
        (SessionIdx(0), [message(0, 2).1, vec![0]].concat()),
        message(0, 2 + SEQ_JUMP_MAX + 1),
    ];
    let of_messages = messages
        .iter()
        .map(|(session, sbe)| RecordBody::ClientMessage { session: *session, message: sbe });
    let bodies = impossible_of_sessions().into_iter().chain(impossible_of_settings());
    for body in bodies.chain(of_messages) {
        let mut b = Bench::new();
        b.order(0, order(1));
        let index = b.machine.index().next();
        let said = b.try_put(body);
        match said {
            Err(ApplyError::Impossible { index: named, .. }) => assert_eq!(named, index),
            other => panic!("{body:?}: {other:?}"),
        }
        assert!(!said.unwrap_err().to_string().is_empty());
        assert!(b.try_put(RecordBody::Tick).is_ok(), "{body:?}: no panic afterwards either");
    }
    for (timestamp, next) in [(Nanos(1), None), (Nanos(0), None)] {
        let mut b = Bench::new();
        b.down(0);
        assert!(b.try_put(bind(0, timestamp, next)).is_err(), "a recorded Establish (F05)");
    }
    for next in [0, 2 + SEQ_JUMP_MAX + 1, u64::MAX - 1] {
        let mut b = Bench::new();
        b.order(0, order(1));
        b.down(0);
        let timestamp = b.time;
        assert!(b.try_put(bind(0, timestamp, Some(next))).is_err(), "NextSeqNo {next}");
    }
    let mut b = Bench::new();
    b.down(0);
    let (session, cause) = (SessionIdx(0), DownCause::Terminate);
    let down = RecordBody::SessionDown { session, cause };
    assert!(b.try_put(down).is_err(), "down twice");
}

#[test]
fn records_out_of_order_are_refused() {
    let put = |b: &mut Bench, index: u64, time: u64, epoch: u32, body: &RecordBody<'_>| {
        let stored = Stored::new(Index(index), Nanos(time), Epoch(epoch), body);
        b.put_stored(stored)
    };
    let tick = &RecordBody::Tick;
    let start = |prev| RecordBody::EpochStart { node: 1, incarnation: 1, prev_epoch: Epoch(prev) };
    let mut b = Bench::new();
    let (at, now) = (b.machine.index().0, b.time.0);
    assert!(matches!(put(&mut b, at, now, 1, tick), Err(ApplyError::OutOfOrder { .. })));
    assert!(matches!(put(&mut b, at + 2, now, 1, tick), Err(ApplyError::OutOfOrder { .. })));
    assert!(matches!(put(&mut b, 0, now, 1, tick), Err(ApplyError::OutOfOrder { .. })));
    assert!(matches!(put(&mut b, at + 1, now - 1, 1, tick), Err(ApplyError::TimeWentBack { .. })));
    assert!(matches!(put(&mut b, at + 1, now, 2, tick), Err(ApplyError::WrongEpoch { .. })));
    assert!(matches!(put(&mut b, at + 1, now, 0, tick), Err(ApplyError::WrongEpoch { .. })));
    assert!(matches!(put(&mut b, at + 1, now, 1, &start(1)), Err(ApplyError::WrongEpoch { .. })));
    assert!(matches!(put(&mut b, at + 1, now, 2, &start(0)), Err(ApplyError::WrongEpoch { .. })));
    assert_eq!(b.machine.index().0, at, "nothing moved");
    assert_eq!(put(&mut b, at + 1, now, 1, tick), Ok(Vec::new()), "time may stand still");
    assert_eq!(put(&mut b, at + 2, now, 7, &start(1)), Ok(Vec::new()), "epochs may be skipped");
    assert_eq!(put(&mut b, at + 3, now, 7, &RecordBody::Pad), Ok(Vec::new()));
}

#[test]
fn a_state_hash_is_compared() {
    let mut b = Bench::new();
    b.order(0, order(1));
    let output_digest = b.machine.output_digest();
    b.put(RecordBody::StateHash { output_digest });
    b.put(RecordBody::StateHash { output_digest });
    b.order(0, order(2));
    assert_ne!(b.machine.output_digest(), output_digest);
    let said = b.try_put(RecordBody::StateHash { output_digest });
    assert!(matches!(said, Err(ApplyError::Diverged { .. })), "{said:?}");
}

/// A band may change; what rests stays, and what comes is judged by the new one.
#[test]
fn a_setting_may_change_while_orders_rest() {
    let mut b = Bench::new();
    b.order(0, order(1));
    let narrow = Instrument { high_limit: px(990), ..instrument(0) };
    b.put(RecordBody::Config(Setting::Instrument(narrow)));
    assert_eq!(b.order(0, order(2)), ["s0 reject c2 16 final 'Price outside the static band'"]);
    let cheap = NewOrderSingle { price: 990 * CENT, ..sell(5, 10) };
    assert_eq!(b.order(2, cheap).len(), 3, "at the resting order's price");
    let name = Text::new("First");
    let owner = Owner { owner: OwnerIdx(0), id: 100, name, orders_max: 1 };
    b.put(RecordBody::Config(Setting::Owner(owner)));
    let low = NewOrderSingle { price: 900 * CENT, ..order(3) };
    assert_eq!(b.order(0, low), ["s0 reject c3 3 retryable 'too many open orders'"]);
    b.cancel(0, cancel(9, 1));
    assert_eq!(b.order(0, low), ["s0 new c3 buy 100@900"]);
}

#[test]
fn replay_through_stored_records_is_the_same_history() {
    let mut b = Bench::new();
    b.order(0, order(1));
    b.order(2, sell(1, 40));
    b.cancel(1, OrderCancelRequest { poss_resend: 1, ..cancel(2, 1) });
    let mut again = Bench::bare(CAPACITIES);
    for stored in &b.stored[2..] {
        assert_eq!(replay::read(&stored.record()), Ok(read(stored)));
        again.put_stored(stored.clone()).expect("it was applied before");
    }
    assert_eq!(again.machine.output_digest(), b.machine.output_digest());
    assert_eq!(again.machine.state_digest(), b.machine.state_digest());
}
