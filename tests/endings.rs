//! How a session ends, by script: cancel on disconnect (ruling F09), finalization (F13), being
//! forgotten (F37). Every deadline is found by a Tick and by nothing else.

mod common;

use common::*;
use tidegate::limits::{CANCELS_A_TICK_MAX, SESSION_FINAL_KEPT, SESSION_UNUSED_MAX};
use tidegate::machine::Machine;
use tidegate::session::logical::Stage;
use tidegate::vocabulary::event::Event;
use tidegate::vocabulary::fix::{CodType, MarketPhase};
use tidegate::vocabulary::message::NewOrderSingle;
use tidegate::vocabulary::record::{DownCause, RecordBody};
use tidegate::vocabulary::settings::Capacities;
use tidegate::vocabulary::units::{Nanos, Seq, SessionIdx};

const TERMINATE: DownCause = DownCause::Terminate;
const DISCONNECT: DownCause = DownCause::Disconnect;

/// Binds session `session` anew with these terms; it is down before.
fn bind_to(b: &mut Bench, session: u32, cod: CodType, window_ms: u32) {
    b.put(bind_with(session, b.time, None, (cod, window_ms)));
}

fn down(b: &mut Bench, session: u32, cause: DownCause) {
    let session = SessionIdx(session);
    assert_eq!(b.put(RecordBody::SessionDown { session, cause }), [""; 0], "it says nothing");
}

fn finish(b: &mut Bench, session: u32, next: u64) -> Vec<String> {
    let session = SessionIdx(session);
    b.put(RecordBody::SessionFinishing { session, next_seq_no: Seq(next) })
}

fn tick(b: &mut Bench) -> Vec<String> {
    b.put(RecordBody::Tick)
}

/// A bench whose session 0 has these terms and two open orders; session 1 of the same owner has
/// one.
fn with_terms(cod: CodType, window_ms: u32) -> Bench {
    let mut b = Bench::new();
    down(&mut b, 0, TERMINATE);
    bind_to(&mut b, 0, cod, window_ms);
    b.order(0, order(1));
    b.order(1, order(2));
    b.order(0, order(3));
    b
}

/// One row a type and an end: what the Tick behind the window says.
#[test]
fn each_type_cancels_on_its_ends() {
    const NONE: CodType = CodType::DoNotCancel;
    const LOSS: CodType = CodType::OnDisconnect;
    const LOGOUT: CodType = CodType::OnTerminate;
    const BOTH: CodType = CodType::OnDisconnectOrTerminate;
    #[rustfmt::skip]
    let rows = [
        (NONE,   TERMINATE,  0),
        (NONE,   DISCONNECT, 0),
        (LOSS,   TERMINATE,  0),
        (LOSS,   DISCONNECT, 12),
        (LOGOUT, TERMINATE,  13),
        (LOGOUT, DISCONNECT, 0),
        (BOTH,   TERMINATE,  13),
        (BOTH,   DISCONNECT, 12),
    ];
    for (cod, cause, reason) in rows {
        for window_ms in [0, 500] {
            let mut b = with_terms(cod, window_ms);
            down(&mut b, 0, cause);
            let ended = b.time;
            let window = Nanos::from_millis(window_ms);
            let due = ended.saturating_add(window);
            if reason > 0 {
                assert_eq!(b.machine.next_deadline(), Some(due), "{cod:?} {cause:?}");
            } else {
                assert!(b.machine.next_deadline() > Some(due), "{cod:?} {cause:?}");
            }
            if window_ms > 0 {
                b.time = Nanos(due.0 - 2 * STEP.0);
                assert_eq!(tick(&mut b), [""; 0], "a moment before the window ends");
            }
            b.time = Nanos(due.0.saturating_sub(STEP.0)).max(ended);
            let said = tick(&mut b);
            if reason > 0 {
                let own =
                    [1, 3].map(|id| format!("s0 canceled c{id} orig - cum 0 reason {reason}"));
                assert_eq!(said, own, "its own orders, by OrderID: {cod:?} {cause:?}");
            } else {
                assert_eq!(said, [""; 0], "{cod:?} {cause:?}");
            }
            assert_eq!(tick(&mut b), [""; 0], "once");
            assert_eq!(b.machine.engine().session_order_count(SessionIdx(1)), 1, "no other's");
        }
    }
}

#[test]
fn who_is_back_within_the_window_keeps_everything() {
    let mut b = with_terms(CodType::OnDisconnect, 500);
    down(&mut b, 0, DISCONNECT);
    b.wait(Nanos(400 * Nanos::MILLI.0));
    bind_to(&mut b, 0, CodType::OnDisconnectOrTerminate, 20);
    b.wait(Nanos::SECOND);
    assert_eq!(tick(&mut b), [""; 0]);
    // The newest terms count.
    down(&mut b, 0, TERMINATE);
    b.wait(Nanos(20 * Nanos::MILLI.0));
    assert_eq!(tick(&mut b).len(), 2);
}

/// A bind that comes in the turn of the Tick is applied behind it: too late.
#[test]
fn the_tick_that_finds_it_expired_cancels_even_if_the_client_is_back_in_the_same_turn() {
    let mut b = with_terms(CodType::OnDisconnect, 0);
    down(&mut b, 0, DISCONNECT);
    assert_eq!(tick(&mut b).len(), 2);
    bind_to(&mut b, 0, CodType::OnDisconnect, 0);
    assert_eq!(b.status(0, 9, 1), ["s0 status c1 Canceled leaves 0 cum 0 req 9"]);
    // Without a Tick in between nothing is cancelled, also with a window of 0.
    b.order(0, order(7));
    down(&mut b, 0, DISCONNECT);
    bind_to(&mut b, 0, CodType::OnDisconnect, 0);
    assert_eq!(tick(&mut b), [""; 0]);
}

#[test]
fn a_new_leader_gives_everybody_two_seconds_or_its_window() {
    for (window_ms, grace_ms) in [(0, 2_000), (1_999, 2_000), (2_001, 2_001), (60_000, 60_000)] {
        let mut b = with_terms(CodType::OnDisconnect, window_ms);
        b.start_epoch();
        let due = b.time.saturating_add(Nanos::from_millis(grace_ms));
        assert!(b.machine.next_deadline() <= Some(due), "{window_ms}");
        b.time = Nanos(due.0 - 2 * STEP.0);
        assert_eq!(tick(&mut b), [""; 0], "{window_ms}: a moment before");
        b.time = Nanos(due.0 - STEP.0);
        assert_eq!(tick(&mut b).len(), 2, "the reports wait for the client");
    }
    // A type that does not care about lost lines is not touched.
    let mut b = with_terms(CodType::OnTerminate, 0);
    b.start_epoch();
    b.wait(Nanos(100 * Nanos::SECOND.0));
    assert_eq!(tick(&mut b), [""; 0]);
}

/// Nobody can come back while nobody leads.
#[test]
fn a_window_that_ended_without_a_leader_is_extended_by_the_grace() {
    let mut b = with_terms(CodType::OnDisconnect, 1_000);
    down(&mut b, 0, DISCONNECT);
    b.wait(Nanos(60 * Nanos::SECOND.0));
    b.start_epoch();
    assert_eq!(tick(&mut b), [""; 0]);
    b.wait(Nanos(2 * Nanos::SECOND.0));
    assert_eq!(tick(&mut b).len(), 2);
}

/// The scope is what was entered or taken over through the session (ruling F17), whatever the phase
/// of the market, and by OrderID.
#[test]
fn what_was_taken_over_is_cancelled_in_its_place() {
    let mut b = Bench::new();
    down(&mut b, 0, TERMINATE);
    bind_to(&mut b, 0, CodType::OnDisconnect, 0);
    b.order(1, order(1));
    b.order(1, order(2));
    b.order(0, order(3));
    b.order(1, order(4));
    down(&mut b, 1, DISCONNECT);
    for id in [4, 1] {
        b.order(0, resend(order(id)));
    }
    b.order(0, order(5));
    let partly = NewOrderSingle { order_qty: 10, ..sell(6, 10) };
    assert_eq!(b.order(2, partly)[2], "s0 trade c1 10@1000 leaves 90 cum 10 maker PartiallyFilled");
    b.phase(None, MarketPhase::Closed);
    down(&mut b, 0, DISCONNECT);
    assert_eq!(
        tick(&mut b),
        [
            "s0 canceled c1 orig - cum 10 reason 12",
            "s0 canceled c3 orig - cum 0 reason 12",
            "s0 canceled c4 orig - cum 0 reason 12",
            "s0 canceled c5 orig - cum 0 reason 12",
        ]
    );
    assert_eq!(b.machine.engine().session_order_count(SessionIdx(1)), 1, "c2 is another's");
}

#[test]
fn more_orders_than_an_outbox_are_cancelled_in_pieces() {
    let capacities = Capacities { key_count_max: 16_384, order_count_max: 10_000, ..CAPACITIES };
    let mut b = Bench::with(capacities, u32::MAX);
    down(&mut b, 0, TERMINATE);
    bind_to(&mut b, 0, CodType::OnDisconnect, 0);
    for id in 1..=9_000 {
        b.order(0, order(id));
    }
    for (session, cod) in [(1, CodType::OnDisconnect), (2, CodType::OnDisconnect)] {
        down(&mut b, session, TERMINATE);
        bind_to(&mut b, session, cod, 0);
    }
    b.order(1, order(9_001));
    b.order(2, NewOrderSingle { price: 1_005 * CENT, ..sell(1, 100) });
    for session in 0..3 {
        down(&mut b, session, DISCONNECT);
    }
    let said = tick(&mut b);
    let wanted: Vec<String> =
        (1..=9_000).map(|id| format!("s0 canceled c{id} orig - cum 0 reason 12")).collect();
    assert_eq!(said, wanted, "more than {CANCELS_A_TICK_MAX}: no further timer is fired");
    assert!(b.machine.next_deadline() <= Some(b.time));
    assert_eq!(
        tick(&mut b),
        ["s1 canceled c9001 orig - cum 0 reason 12", "s2 canceled c1 orig - cum 0 reason 12"]
    );
    let again = Machine::from_snapshot(&b.machine.snapshot()).unwrap();
    assert_eq!(again.state_digest(), b.machine.state_digest());
}

/// The earliest first, ties by session; 1,024 a Tick.
#[test]
fn a_tick_fires_a_bounded_number_of_timers() {
    let capacities = Capacities {
        session_count_max: 1_200,
        key_count_max: 4_096,
        order_count_max: 2_000,
        ..CAPACITIES
    };
    let mut b = Bench::with(capacities, u32::MAX);
    for session in 3..1_200_u32 {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&session.to_le_bytes());
        let RecordBody::SessionOpen { owner, key_id, timestamp, .. } = open(0, 0) else { return };
        let (session, id) = (SessionIdx(session), tidegate::vocabulary::units::SessionId(id));
        b.put(RecordBody::SessionOpen { session, id, owner, key_id, timestamp });
        b.put(bind_with(session.0, b.time, None, (CodType::OnDisconnect, 2_000)));
        b.order(session.0, order(u64::from(session.0)));
    }
    // One window is shorter, though its session is the last.
    down(&mut b, 1_199, TERMINATE);
    bind_to(&mut b, 1_199, CodType::OnDisconnect, 0);
    down(&mut b, 1_199, DISCONNECT);
    b.start_epoch();
    b.wait(Nanos(3 * Nanos::SECOND.0));
    let line = |session: u32| format!("s{session} canceled c{session} orig - cum 0 reason 12");
    let first = tick(&mut b);
    // The epoch gave all of them the same two seconds.
    assert_eq!(first, (3..3 + 1_024).map(line).collect::<Vec<_>>());
    assert_eq!(tick(&mut b), (1_027..1_200).map(line).collect::<Vec<_>>());
    assert_eq!(tick(&mut b), [""; 0]);
}

/// The whole handshake: skipped numbers are told, orders cancelled, and then there is a last
/// number.
#[test]
fn a_session_is_finished_by_both_sides() {
    let mut b = with_terms(CodType::OnDisconnect, 0);
    b.sink.logons.clear();
    assert_eq!(
        finish(&mut b, 0, 5),
        [
            "s0 gap 3 x2",
            "s0 canceled c1 orig - cum 0 reason 13",
            "s0 canceled c3 orig - cum 0 reason 13",
        ]
    );
    let (session, last_out) = (SessionIdx(0), Seq(5));
    let told: Vec<Event> = b.sink.logons.iter().map(|(_, event)| *event).collect();
    assert_eq!(told, [Event::Finishing { session, last_out }]);
    b.put(RecordBody::SessionFinal { session });
    let known = b.machine.sessions().get(session).unwrap();
    assert_eq!((known.stage, known.is_bound), (Stage::Final, false));
    // Nothing is due for it but to be forgotten.
    b.wait(Nanos(60 * Nanos::SECOND.0));
    assert_eq!(tick(&mut b), [""; 0]);
    assert!(b.machine.sessions().get(session).is_some());
    b.wait(SESSION_FINAL_KEPT);
    tick(&mut b);
    assert!(b.machine.sessions().get(session).is_none(), "forgotten");
    b.put(open(0, 1));
    b.bind(0);
    let asked = NewOrderSingle { price: 1_005 * CENT, ..sell(50, 10) };
    assert_eq!(b.put_message(0, &numbered(asked, 1)), ["s0 new c50 sell 10@1005"]);
    assert_eq!(b.last().msg_seq_num, Seq(1), "both flows begin anew");
}

fn numbered(order: NewOrderSingle, number: u64) -> tidegate::vocabulary::message::ClientMessage {
    with_number(tidegate::vocabulary::message::ClientMessage::NewOrder(order), number)
}

/// The line is lost half-way, or the node: the client comes back, may go on, and finishes again.
#[test]
fn who_is_lost_half_way_finishes_again() {
    for is_crash in [false, true] {
        let mut b = with_terms(CodType::OnDisconnect, 0);
        finish(&mut b, 0, 3);
        if is_crash {
            b.start_epoch();
            bind_to(&mut b, 1, CodType::DoNotCancel, 0);
        } else {
            down(&mut b, 0, DISCONNECT);
            assert_eq!(tick(&mut b), [""; 0], "no order is left to cancel");
        }
        bind_to(&mut b, 0, CodType::OnDisconnect, 0);
        assert_eq!(b.order(0, order(9)), ["s0 new c9 buy 100@1000"]);
        assert_eq!(finish(&mut b, 0, 4), ["s0 canceled c9 orig - cum 0 reason 13"]);
        b.put(RecordBody::SessionFinal { session: SessionIdx(0) });
    }
}

/// What brings a bench to where the record cannot follow.
type Step = fn(&mut Bench);

#[test]
fn records_that_contradict_an_end_are_refused() {
    let session = SessionIdx(0);
    let finishing = |next| RecordBody::SessionFinishing { session, next_seq_no: Seq(next) };
    let last = RecordBody::SessionFinal { session };
    #[rustfmt::skip]
    let rows: [(&str, Step, RecordBody<'static>); 10] = [
        ("final before finishing",   |_| {},                            last),
        ("finishing below",          |_| {},                            finishing(2)),
        ("finishing far above",      |_| {},                            finishing(1_000_004)),
        ("finishing of a lost line", |b| down(b, 0, DISCONNECT),        finishing(3)),
        ("finishing twice",          |b| { finish(b, 0, 3); },          finishing(3)),
        ("a gap behind it",          |b| { finish(b, 0, 3); },          RecordBody::SessionGap { session, next_seq_no: Seq(9) }),
        ("final of a lost line",     |b| { finish(b, 0, 3); down(b, 0, DISCONNECT); }, last),
        ("final twice",              make_final,                        last),
        ("down of a final session",  make_final,                        RecordBody::SessionDown { session, cause: DISCONNECT }),
        ("bind of a final session",  make_final,                        bind(0, Nanos(u64::MAX), None)),
    ];
    for (what, step, body) in rows {
        let mut b = with_terms(CodType::DoNotCancel, 0);
        step(&mut b);
        assert!(b.try_put(body).is_err(), "{what}");
    }
    let mut b = with_terms(CodType::DoNotCancel, 0);
    finish(&mut b, 0, 3);
    let sbe = sbe(&numbered(order(9), 3));
    let message = RecordBody::ClientMessage { session, message: &sbe };
    assert!(b.try_put(message).is_err(), "a message behind FinishedSending");
}

fn make_final(b: &mut Bench) {
    finish(b, 0, 3);
    b.put(RecordBody::SessionFinal { session: SessionIdx(0) });
}

/// Seven days without a line, counted in active time, and no open order.
#[test]
fn an_unused_session_is_forgotten_by_a_tick() {
    let mut b = Bench::new();
    let is_known = |b: &Bench, s| b.machine.sessions().get(SessionIdx(s)).is_some();
    b.put(open(3, 0));
    b.order(0, NewOrderSingle { time_in_force: b'1', ..order(1) });
    down(&mut b, 0, TERMINATE);
    down(&mut b, 1, TERMINATE);
    // A takeover whose clock is a year ahead shortens nothing.
    b.wait(Nanos(365 * 24 * 3_600 * Nanos::SECOND.0));
    b.start_epoch();
    b.bind(2);
    b.wait(Nanos(SESSION_UNUSED_MAX.0 - 100 * STEP.0));
    tick(&mut b);
    assert!((0..4).all(|s| is_known(&b, s)), "a moment before");
    b.wait(Nanos(100 * STEP.0));
    b.sink.logons.clear();
    tick(&mut b);
    let known: Vec<bool> = (0..4).map(|s| is_known(&b, s)).collect();
    assert_eq!(known, [true, false, true, false], "an open order, unused, bound, never bound");
    let told: Vec<Event> = b.sink.logons.iter().map(|(_, event)| *event).collect();
    let forgotten = |s| Event::Forgotten { session: SessionIdx(s) };
    assert_eq!(told, [forgotten(3), forgotten(1)], "the longest unused first");
    // The one with an order is looked at again after as long.
    b.bind(0);
    b.cancel(0, cancel(2, 1));
    down(&mut b, 0, TERMINATE);
    b.wait(SESSION_UNUSED_MAX);
    tick(&mut b);
    assert!(!is_known(&b, 0) && is_known(&b, 2));
    // The slot and the id are free again.
    b.put(open(0, 1));
    let snapshot = b.machine.snapshot();
    assert_eq!(Machine::from_snapshot(&snapshot).unwrap().snapshot(), snapshot);
}
