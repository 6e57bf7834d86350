//! The duplicate table, a row a test: what a repeated request is answered, and that it does
//! nothing.
//!
//! Rulings F06 (orders), F07 (cancels), F17 (to whom an orphan's reports go), and retention.

mod common;

use common::*;
use tidegate::vocabulary::event::ReportBody;
use tidegate::vocabulary::fix::MarketPhase;
use tidegate::vocabulary::message::{
    ClientMessage, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
};
use tidegate::vocabulary::record::RecordBody;
use tidegate::vocabulary::settings::Capacities;
use tidegate::vocabulary::units::{ClOrdId, Nanos, Seq, SessionIdx};

type Setup = fn(&mut Bench);
type Request = fn(&mut Bench) -> Vec<String>;

/// What a repetition may not change: keys, open orders, trades.
fn counts(b: &Bench) -> (u32, u32, u64) {
    let engine = b.machine.engine();
    (engine.key_count(), engine.open_order_count(), b.machine.trade_count())
}

/// One row: `request` after `setup` is answered with `expected` and changes nothing.
#[track_caller]
fn check(row: &str, setup: Setup, request: Request, expected: &[&str]) {
    let mut b = Bench::new();
    setup(&mut b);
    let before = counts(&b);
    assert_eq!(request(&mut b), expected, "{row}");
    assert_eq!(counts(&b), before, "{row}: something was executed");
    assert_eq!(request(&mut b), expected, "{row}: a final answer never changes");
}

/// One row: `request` after `setup` is evaluated anew.
#[track_caller]
fn check_anew(row: &str, setup: Setup, request: Request, expected: &[&str]) {
    let mut b = Bench::new();
    setup(&mut b);
    assert_eq!(request(&mut b), expected, "{row}");
}

fn suspend(b: &mut Bench) {
    b.phase(Some(0), MarketPhase::Suspended);
}

fn resume(b: &mut Bench) {
    b.phase(Some(0), MarketPhase::Trading);
}

const BAD_TICK: i64 = 1_001 * CENT;

fn off_tick(id: u64) -> NewOrderSingle {
    NewOrderSingle { price: BAD_TICK, ..order(id) }
}

#[test]
fn the_same_order_again_gets_its_state() {
    let first = |b: &mut Bench| drop(b.order(0, order(1)));
    let open = ["s0 status c1 New leaves 100 cum 0 req 0 resend"];
    check("open", first, |b| b.order(0, resend(order(1))), &open);
    check("open, without PossResend", first, |b| b.order(0, order(1)), &open);
    check(
        "open, through the firm's second session",
        first,
        |b| b.order(1, resend(order(1))),
        &["s1 status c1 New leaves 100 cum 0 req 0 resend"],
    );
    check(
        "open, while the market is suspended",
        |b| {
            b.order(0, order(1));
            suspend(b);
        },
        |b| b.order(0, order(1)),
        &open,
    );
    check(
        "partly filled",
        |b| {
            b.order(0, order(1));
            b.order(2, sell(9, 40));
        },
        |b| b.order(0, resend(order(1))),
        &["s0 status c1 PartiallyFilled leaves 60 cum 40 req 0 resend"],
    );
    check(
        "filled as the maker",
        |b| {
            b.order(0, order(1));
            b.order(2, sell(9, 100));
        },
        |b| b.order(0, resend(order(1))),
        &["s0 status c1 Filled leaves 0 cum 100 req 0 resend"],
    );
    check(
        "filled as the aggressor",
        |b| {
            b.order(2, sell(9, 100));
            b.order(0, order(1));
        },
        |b| b.order(0, order(1)),
        &["s0 status c1 Filled leaves 0 cum 100 req 0 resend"],
    );
    check(
        "cancelled after a trade",
        |b| {
            b.order(0, order(1));
            b.order(2, sell(9, 40));
            b.cancel(0, cancel(2, 1));
        },
        |b| b.order(0, resend(order(1))),
        &["s0 status c1 Canceled leaves 0 cum 40 req 0 resend"],
    );
}

#[test]
fn a_refused_order_again_gets_its_refusal() {
    let refused = ["s0 reject c1 18 final 'Price not a multiple of tick' resend"];
    let first = |b: &mut Bench| drop(b.order(0, off_tick(1)));
    check("refused for good", first, |b| b.order(0, resend(off_tick(1))), &refused);
    check("without PossResend", first, |b| b.order(0, off_tick(1)), &refused);
    check(
        "whatever the market does now",
        |b| {
            b.order(0, off_tick(1));
            suspend(b);
        },
        |b| b.order(0, off_tick(1)),
        &refused,
    );
    check(
        "with what was wrong put right, it is another request",
        first,
        |b| b.order(0, order(1)),
        &["s0 reject c1 6 final 'ClOrdID used with other fields'"],
    );
}

#[test]
fn a_repeated_refusal_keeps_its_time_and_takes_new_numbers() {
    let mut b = Bench::new();
    b.order(0, off_tick(1));
    let first = b.last();
    b.order(1, off_tick(1));
    let again = b.last();
    let (ReportBody::Reject(one), ReportBody::Reject(two)) = (first.body, again.body) else {
        panic!("{first:?} {again:?}");
    };
    assert_eq!(one.transact_time, first.sending_time);
    assert_eq!(two.transact_time, first.sending_time, "of the first refusal (F29)");
    assert_eq!(again.sending_time, b.time);
    assert_eq!(two.exec_id.0, one.exec_id.0 + 1);
    assert_eq!(again.appl_seq_num, b.machine.index());
    assert!(two.poss_resend && !one.poss_resend);
    assert_eq!((two.security_id, two.account), (0, 10));
}

#[test]
fn refused_for_now_is_evaluated_anew() {
    check_anew(
        "still suspended",
        |b| {
            suspend(b);
            b.order(0, order(1));
        },
        |b| b.order(0, resend(order(1))),
        &["s0 reject c1 2 retryable 'market is not trading'"],
    );
    check_anew(
        "resumed",
        |b| {
            suspend(b);
            b.order(0, order(1));
            resume(b);
        },
        |b| b.order(0, resend(order(1))),
        &["s0 new c1 buy 100@1000"],
    );
    check_anew(
        "with other parameters: the key was free",
        |b| {
            suspend(b);
            b.order(0, order(1));
            resume(b);
        },
        |b| b.order(0, NewOrderSingle { order_qty: 50, ..order(1) }),
        &["s0 new c1 buy 50@1000"],
    );
    check_anew(
        "an unknown key is a new order, whatever PossResend says",
        |_| {},
        |b| b.order(0, resend(order(1))),
        &["s0 new c1 buy 100@1000"],
    );
}

/// Parameters are every field but MsgSeqNum, SendingTime and PossResend.
#[test]
fn other_parameters_are_a_duplicate() {
    let one = order(1);
    #[rustfmt::skip]
    let rows = [
        ("Price",         NewOrderSingle { price: 1_005 * CENT, ..one }),
        ("Price null",    NewOrderSingle { price: i64::MIN, ..one }),
        ("OrderQty",      NewOrderSingle { order_qty: 110, ..one }),
        ("SecurityID",    NewOrderSingle { security_id: 1, ..one }),
        ("Account",       NewOrderSingle { account: 11, ..one }),
        ("Side",          NewOrderSingle { side: b'2', ..one }),
        ("OrdType",       NewOrderSingle { ord_type: b'1', ..one }),
        ("TimeInForce",   NewOrderSingle { time_in_force: b'1', ..one }),
        ("PostOnly",      NewOrderSingle { post_only: 1, ..one }),
        ("SelfMatch",     NewOrderSingle { self_match: 1, ..one }),
        ("SenderSubID",   NewOrderSingle { sender_sub_id: 4, ..one }),
        ("StopPx",        NewOrderSingle { stop_px: 0, ..one }),
        ("ExpireTime",    NewOrderSingle { expire_time: 0, ..one }),
    ];
    for (field, other) in rows {
        for setup in [
            |b: &mut Bench| drop(b.order(0, order(1))),
            |b: &mut Bench| {
                b.order(0, order(1));
                b.cancel(0, cancel(2, 1));
            },
        ] {
            let mut b = Bench::new();
            setup(&mut b);
            let before = counts(&b);
            for other in [other, resend(other)] {
                assert_eq!(
                    b.order(0, other),
                    ["s0 reject c1 6 final 'ClOrdID used with other fields'"],
                    "{field}"
                );
            }
            assert_eq!(counts(&b), before, "{field}: the original is untouched");
            let again = b.order(0, order(1));
            assert!(again[0].starts_with("s0 status c1"), "{field}: {again:?}");
        }
    }
}

/// A client that moves to the longer block must not change its fingerprint (ruling F06).
#[test]
fn an_order_in_a_block_of_version_1_is_the_same_request() {
    let mut b = Bench::new();
    b.order(0, order(1));
    let mut short = sbe(&with_number(ClientMessage::NewOrder(order(1)), 2));
    short.truncate(8 + 56);
    short[0] = 56;
    short[6] = 1;
    let said = b.put(RecordBody::ClientMessage { session: SessionIdx(0), message: &short });
    assert_eq!(said, ["s0 status c1 New leaves 100 cum 0 req 0 resend"]);
}

#[test]
fn a_key_belongs_to_its_owner() {
    let mut b = Bench::new();
    b.order(0, order(1));
    assert_eq!(b.order(2, sell(1, 40))[0], "s2 new c1 sell 40@1000");
    assert_eq!(b.order(2, sell(1, 40)), ["s2 status c1 Filled leaves 0 cum 40 req 0 resend"]);
    assert_eq!(
        b.order(0, order(1)),
        ["s0 status c1 PartiallyFilled leaves 60 cum 40 req 0 resend"]
    );
    assert_eq!(
        b.cancel(2, OrderCancelRequest { side: b'2', ..cancel(3, 2) }),
        ["s2 cancel-reject c3 orig c2 1 final 'unknown order' Rejected"]
    );
}

#[test]
fn a_cancel_again_gets_the_state_of_its_order() {
    let closed = |b: &mut Bench| {
        b.order(0, order(1));
        b.order(2, sell(9, 40));
        b.cancel(0, cancel(2, 1));
    };
    let done = ["s0 status c2 Canceled leaves 0 cum 40 req 0 resend"];
    check("the same", closed, |b| b.cancel(0, cancel(2, 1)), &done);
    check(
        "by the second session",
        closed,
        |b| b.cancel(1, OrderCancelRequest { poss_resend: 1, ..cancel(2, 1) }),
        &["s1 status c2 Canceled leaves 0 cum 40 req 0 resend"],
    );
    check(
        "in a closed market",
        |b| {
            b.order(0, order(1));
            b.order(2, sell(9, 40));
            b.cancel(0, cancel(2, 1));
            b.phase(None, MarketPhase::Closed);
        },
        |b| b.cancel(0, cancel(2, 1)),
        &done,
    );
    check(
        "another cancel of the same order",
        closed,
        |b| b.cancel(0, cancel(3, 1)),
        &["s0 cancel-reject c3 orig c1 0 final 'order ended already' Canceled"],
    );
    check(
        "of an order that was filled",
        |b| {
            b.order(0, order(1));
            b.order(2, sell(9, 100));
        },
        |b| b.cancel(0, cancel(3, 1)),
        &["s0 cancel-reject c3 orig c1 0 final 'order ended already' Filled"],
    );
    check(
        "under the key of its own order",
        |b| drop(b.order(0, order(1))),
        |b| b.cancel(0, cancel(1, 1)),
        &["s0 cancel-reject c1 orig c1 6 final 'ClOrdID is the key of an order' Rejected"],
    );
    check(
        "under the key of another order",
        |b| {
            b.order(0, order(1));
            b.order(0, order(2));
        },
        |b| b.cancel(0, cancel(2, 1)),
        &["s0 cancel-reject c2 orig c1 6 final 'ClOrdID is the key of an order' Rejected"],
    );
    check(
        "under the key of a refused order",
        |b| {
            b.order(0, order(1));
            b.order(0, off_tick(2));
        },
        |b| b.cancel(0, cancel(2, 1)),
        &["s0 cancel-reject c2 orig c1 6 final 'ClOrdID is the key of an order' Rejected"],
    );
}

/// A cancel takes no key: a refused one is evaluated anew, and its id may name an order later.
#[test]
fn a_cancel_takes_no_key() {
    let mut b = Bench::new();
    let keys = counts(&b).0;
    let unknown = ["s0 cancel-reject c2 orig c1 1 final 'unknown order' Rejected"];
    assert_eq!(b.cancel(0, cancel(2, 1)), unknown);
    assert_eq!(counts(&b).0, keys);
    b.order(0, order(1));
    assert_eq!(b.cancel(0, cancel(2, 1)), ["s0 canceled c2 orig c1 cum 0"]);
    assert_eq!(b.order(0, order(2)), ["s0 new c2 buy 100@1000"]);
    let again = b.cancel(0, cancel(2, 1));
    assert_eq!(
        again,
        ["s0 status c2 Canceled leaves 0 cum 0 req 0 resend"],
        "the closing id first"
    );
}

#[test]
fn a_status_request_is_never_a_duplicate() {
    let mut b = Bench::new();
    b.order(0, order(1));
    let asked = ["s0 status c1 New leaves 100 cum 0 req 5"];
    assert_eq!(b.status(0, 5, 1), asked);
    assert_eq!(b.status(0, 5, 1), asked);
}

#[test]
fn a_resend_rehomes_an_orphan() {
    // One row: line of the order's session, PossResend, and the session that hears of the trade.
    let rows = [
        ("bound, resent", true, 1, 0),
        ("down, resent", false, 1, 1),
        ("down, not marked as resent", false, 0, 0),
    ];
    for (row, is_bound, poss_resend, hears) in rows {
        let mut b = Bench::new();
        b.order(0, order(1));
        if !is_bound {
            b.down(0);
        }
        b.order(1, NewOrderSingle { poss_resend, ..order(1) });
        let said = b.order(2, sell(9, 40));
        let maker = format!("s{hears} trade c1 40@1000 leaves 60 cum 40 maker PartiallyFilled");
        assert_eq!(said[2], maker, "{row}");
    }
}

#[test]
fn an_epoch_makes_orphans() {
    let mut b = Bench::new();
    b.order(0, order(1));
    b.start_epoch();
    b.bind(1);
    b.order(1, resend(order(1)));
    b.bind(0);
    let said = b.cancel(0, cancel(2, 1));
    assert_eq!(said, ["s0 canceled c2 orig c1 cum 0", "s1 canceled c1 orig - cum 0"]);
}

#[test]
fn a_full_table_refuses_for_now_and_forgets_nothing() {
    let capacities = Capacities { key_count_max: 4, ..CAPACITIES };
    let mut b = Bench::with(capacities, 10);
    for id in 1..=4 {
        assert_eq!(b.order(0, order(id)), [format!("s0 new c{id} buy 100@1000")]);
    }
    let full = ["s0 reject c5 99 retryable 'capacity'"];
    assert_eq!(b.order(0, order(5)), full);
    assert_eq!(b.order(0, off_tick(5)), full, "a final answer that cannot be kept is not given");
    assert_eq!(b.order(0, order(5)), full, "and the key is free");
    for id in 1..=4 {
        let known = [format!("s0 status c{id} New leaves 100 cum 0 req 0 resend")];
        assert_eq!(b.order(0, order(id)), known);
    }
    assert_eq!(b.cancel(0, cancel(9, 1)), ["s0 canceled c9 orig c1 cum 0"]);
    assert_eq!(b.order(0, order(5)), full, "closed is not forgotten");
    b.wait(RETENTION);
    b.tick();
    assert_eq!(b.order(0, order(5)), ["s0 new c5 buy 100@1000"]);
    assert_eq!(counts(&b).0, 4);
}

#[test]
fn a_full_arena_refuses_for_now() {
    let capacities = Capacities { order_count_max: 2, ..CAPACITIES };
    let mut b = Bench::with(capacities, 10);
    b.order(0, order(1));
    b.order(0, order(2));
    assert_eq!(b.order(0, order(3)), ["s0 reject c3 99 retryable 'capacity'"]);
    assert_eq!(counts(&b).0, 2, "its key is free");
    b.cancel(0, cancel(9, 1));
    assert_eq!(b.order(0, resend(order(3))), ["s0 new c3 buy 100@1000"]);
}

/// Forgets by active time, never before it is over.
#[test]
fn a_key_lives_for_its_retention() {
    let closed = || {
        let mut b = Bench::new();
        b.order(0, order(1));
        let arrived = b.time;
        b.cancel(0, cancel(2, 1));
        (b, arrived)
    };
    let known = ["s0 status c1 Canceled leaves 0 cum 0 req 0 resend"];
    let forgotten = ["s0 new c1 buy 100@1000"];

    let (mut b, arrived) = closed();
    b.time = Nanos(arrived.0 + RETENTION.0 - 1 - STEP.0);
    assert_eq!(b.order(0, order(1)), known, "1 ns before its time");

    let (mut b, arrived) = closed();
    b.time = Nanos(arrived.0 + RETENTION.0 - STEP.0);
    assert_eq!(b.order(0, order(1)), forgotten, "at its time");

    let (mut b, _) = closed();
    b.wait(RETENTION);
    b.start_epoch();
    b.bind(0);
    assert_eq!(b.order(0, order(1)), known, "time between epochs does not count");
    b.wait(RETENTION);
    assert_eq!(b.order(0, order(1)), forgotten, "time within an epoch does");

    let (mut b, _) = closed();
    b.wait(Nanos(RETENTION.0 / 2));
    b.tick();
    b.wait(Nanos(RETENTION.0 * 9));
    b.start_epoch();
    b.bind(0);
    b.wait(Nanos(RETENTION.0 / 4));
    assert_eq!(b.order(0, order(1)), known, "the sum over epochs is not reached");
    b.wait(Nanos(RETENTION.0 / 2));
    assert_eq!(b.order(0, order(1)), forgotten, "the sum over epochs is reached");
}

#[test]
fn a_refusal_is_forgotten_in_time_as_well() {
    let mut b = Bench::new();
    b.order(0, off_tick(1));
    b.wait(RETENTION);
    assert_eq!(b.order(0, off_tick(1)), ["s0 reject c1 18 final 'Price not a multiple of tick'"]);
    assert_eq!(counts(&b).0, 1);
}

/// A key lives as long as its order is open, and at most one retention more.
#[test]
fn the_key_of_an_open_order_survives() {
    let mut b = Bench::new();
    b.order(0, order(1));
    for _ in 0..5 {
        b.wait(RETENTION);
        let open = ["s0 status c1 New leaves 100 cum 0 req 0 resend"];
        assert_eq!(b.order(0, order(1)), open);
    }
    b.order(2, sell(9, 100));
    assert_eq!(b.order(0, order(1)), ["s0 status c1 Filled leaves 0 cum 100 req 0 resend"]);
    b.wait(RETENTION);
    b.tick();
    assert_eq!(counts(&b), (0, 0, 1));
}

/// The machine asks for a Tick when a key is due, not before and without end.
#[test]
fn a_tick_is_due_when_a_key_is() {
    let mut b = Bench::new();
    assert_eq!(b.machine.next_deadline(), None);
    b.order(0, off_tick(1));
    let arrived = b.time;
    b.order(0, off_tick(2));
    let due = b.machine.next_deadline().expect("a key is there");
    assert!(due.since(arrived) >= RETENTION && due.since(arrived).0 < 2 * RETENTION.0, "{due}");
    b.time = Nanos(due.0 - STEP.0);
    b.tick();
    assert_eq!((counts(&b).0, b.machine.next_deadline()), (0, None));
}

/// One Tick clears more keys than one record does, and moves those of open orders.
#[test]
fn a_tick_clears_all_that_is_due() {
    let mut b = Bench::new();
    for id in 1..=12 {
        b.order(0, if id % 3 == 0 { order(id) } else { off_tick(id) });
    }
    b.wait(RETENTION);
    b.tick();
    assert_eq!(counts(&b), (4, 4, 0));
    for id in [3, 6, 9, 12] {
        let open = [format!("s0 status c{id} New leaves 100 cum 0 req 0 resend")];
        assert_eq!(b.order(0, order(id)), open);
        assert_eq!(
            b.cancel(0, cancel(20 + id, id)),
            [format!("s0 canceled c{} orig c{id} cum 0", 20 + id)]
        );
    }
    let due = b.machine.next_deadline().expect("keys of closed orders");
    assert!(due > b.time, "no Tick a turn for keys that are not due");
}

/// 0 and null are never keys, of any request.
#[test]
fn no_key_is_no_key() {
    let mut b = Bench::new();
    for id in [0, u64::MAX] {
        for _ in 0..2 {
            let said = b.order(0, order(id));
            assert_eq!(said, [format!("s0 reject c{id} 99 final 'ClOrdID is 0 or null'")]);
            let said = b.cancel(0, cancel(id, 1));
            let none =
                format!("s0 cancel-reject c{id} orig c1 99 final 'ClOrdID is 0 or null' Rejected");
            assert_eq!(said, [none]);
        }
        let (msg_seq_num, sending_time) = (Seq(0), Nanos(0));
        let request = OrderStatusRequest {
            msg_seq_num,
            sending_time,
            ord_status_req_id: 7,
            cl_ord_id: ClOrdId(id),
        };
        let number = b.machine.sessions().get(SessionIdx(0)).expect("open").expected_in;
        let said = b.send(0, ClientMessage::Status(request));
        assert_eq!(
            said,
            [format!("s0 business-reject n{number} id 7 of 104 1 final 'unknown order'")]
        );
    }
    assert_eq!(counts(&b), (0, 0, 0));
}
