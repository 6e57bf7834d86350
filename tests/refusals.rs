//! The order of refusals is part of the contract: of two faults the first row is reported.
//!
//! The reasons and classes here are those of ruling F19, written down again; the texts are the
//! table's own. Each fault is made alone and with every other that it can stand beside.

mod common;

use common::*;
use tidegate::engine::refusals::{CANCEL_TABLE, CancelRefusal, Refusal, TABLE};
use tidegate::vocabulary::event::{ExecutionReportReject, OrderCancelReject, ReportBody};
use tidegate::vocabulary::fix::{MarketPhase, OrdStatus};
use tidegate::vocabulary::message::{NULL_I64, NewOrderSingle, OrderCancelRequest};
use tidegate::vocabulary::record::RecordBody;
use tidegate::vocabulary::settings::{Capacities, Owner, Setting};
use tidegate::vocabulary::units::{ClOrdId, OrderId, OwnerIdx, Px, Text};

/// What becomes of the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    /// There is none, or it is another order's.
    None,
    Used,
    Free,
}

/// Ruling F19 in its order: fault, OrdRejReason, and the key afterwards.
#[rustfmt::skip]
const RULED: [(Refusal, u16, Key); 14] = [
    (Refusal::NoKey,           99, Key::None),
    (Refusal::DuplicateOrder,   6, Key::None),
    (Refusal::BadCode,         11, Key::Used),
    (Refusal::BadField,        11, Key::Used),
    (Refusal::NotOffered,      11, Key::Used),
    (Refusal::UnknownSecurity,  1, Key::Used),
    (Refusal::UnknownAccount,  15, Key::Used),
    (Refusal::BadQuantity,     13, Key::Used),
    (Refusal::BadPrice,        99, Key::Used),
    (Refusal::BadTick,         18, Key::Used),
    (Refusal::OutsideBand,     16, Key::Used),
    (Refusal::OpenOrders,       3, Key::Free),
    (Refusal::MarketPhase,      2, Key::Free),
    (Refusal::Capacity,        99, Key::Free),
];

/// An order with these faults, on a machine in which they are faults.
fn faulty(faults: &[Refusal]) -> (Bench, NewOrderSingle) {
    let mut b = Bench::with(Capacities { order_count_max: 3, ..CAPACITIES }, 10);
    b.order(0, order(1));
    let mut asked = order(7);
    for fault in faults {
        match fault {
            Refusal::NoKey => asked.cl_ord_id = ClOrdId(0),
            Refusal::DuplicateOrder => (asked.cl_ord_id, asked.sender_sub_id) = (ClOrdId(1), 9),
            Refusal::BadCode => asked.side = 9,
            Refusal::BadField => asked.stop_px = 1,
            Refusal::NotOffered => asked.time_in_force = b'3',
            Refusal::UnknownSecurity => asked.security_id = 2,
            Refusal::UnknownAccount => asked.account = 20,
            Refusal::BadQuantity => asked.order_qty = 101,
            Refusal::BadPrice | Refusal::BadTick | Refusal::OutsideBand => {
                asked.price = faulty_price(faults);
            }
            Refusal::OpenOrders => {
                let setting =
                    Owner { owner: OwnerIdx(0), id: 100, name: Text::new("First"), orders_max: 1 };
                b.put(RecordBody::Config(Setting::Owner(setting)));
            }
            Refusal::MarketPhase => {}
            Refusal::Capacity => {
                for id in [1, 2] {
                    assert!(b.order(2, sell_high(id))[0].contains("new"));
                }
            }
        }
    }
    if faults.contains(&Refusal::MarketPhase) {
        b.phase(Some(0), MarketPhase::Suspended);
    }
    (b, asked)
}

fn sell_high(id: u64) -> NewOrderSingle {
    NewOrderSingle { price: 2_000 * CENT, ..sell(id, 10) }
}

/// A price with all the faults of a price that are asked for.
fn faulty_price(faults: &[Refusal]) -> i64 {
    let has = |fault| faults.contains(&fault);
    match (has(Refusal::BadPrice), has(Refusal::BadTick), has(Refusal::OutsideBand)) {
        (true, false, false) => NULL_I64,
        (true, _, _) => Px::ABS_MAX + 1,
        (false, true, false) => 1_001 * CENT,
        (false, false, true) => 95 * CENT,
        (false, true, true) => 96 * CENT,
        (false, false, false) => 1_000 * CENT,
    }
}

fn reject(b: &mut Bench, asked: NewOrderSingle) -> ExecutionReportReject {
    let said = b.order(0, asked);
    assert_eq!(said.len(), 1, "{said:?}");
    let ReportBody::Reject(body) = b.last().body else { panic!("{said:?}") };
    body
}

#[test]
fn the_table_is_as_ruled() {
    assert_eq!(TABLE.len(), RULED.len());
    for (row, (refusal, reason, key)) in TABLE.iter().zip(RULED) {
        assert_eq!(row.refusal, refusal);
        assert_eq!(row.reason.wire(), reason, "{refusal:?}");
        assert_eq!(row.is_retryable, key == Key::Free, "{refusal:?}");
    }
}

#[test]
fn each_fault_alone() {
    for (refusal, reason, key) in RULED {
        let (mut b, asked) = faulty(&[refusal]);
        let keys = b.machine.engine().key_count();
        let first = reject(&mut b, asked);
        let first_time = b.time;
        let expected = ExecutionReportReject {
            order_id: OrderId(0),
            cl_ord_id: asked.cl_ord_id,
            exec_id: first.exec_id,
            transact_time: b.time,
            security_id: asked.security_id,
            account: asked.account,
            ord_rej_reason: reason,
            ord_status: OrdStatus::Rejected,
            poss_resend: false,
            text: Text::new(refusal.row().text),
            retryable: key == Key::Free,
        };
        assert_eq!(first, expected, "{refusal:?}");
        let used = b.machine.engine().key_count() - keys;
        assert_eq!(used, u32::from(key == Key::Used), "{refusal:?}");

        let again = reject(&mut b, resend(asked));
        let is_kept = key == Key::Used;
        let expected = ExecutionReportReject {
            exec_id: again.exec_id,
            transact_time: if is_kept { first_time } else { b.time },
            poss_resend: is_kept,
            ..first
        };
        assert_eq!(again, expected, "{refusal:?} resent");
        assert_eq!(again.exec_id.0, first.exec_id.0 + 1);
        assert_eq!(b.machine.engine().key_count() - keys, used, "{refusal:?} resent");
    }
}

#[test]
fn of_two_faults_the_first_is_reported() {
    for (first, &(one, ..)) in RULED.iter().enumerate() {
        for &(two, ..) in &RULED[first + 1..] {
            if (one, two) == (Refusal::NoKey, Refusal::DuplicateOrder) {
                continue; // 0 never names an order, so nothing can be its duplicate.
            }
            let (mut b, asked) = faulty(&[one, two]);
            let came = reject(&mut b, asked);
            assert_eq!(came.text, Text::new(one.row().text), "{one:?} and {two:?}");
            assert_eq!(came.ord_rej_reason, one.row().reason.wire(), "{one:?} and {two:?}");
            assert_eq!(came.retryable, one.row().is_retryable, "{one:?} and {two:?}");
        }
    }
}

/// The many faces of the rows that have several.
#[test]
fn every_way_to_be_at_fault() {
    let one = order(7);
    #[rustfmt::skip]
    let rows = [
        (Refusal::BadCode,         NewOrderSingle { side: b'3', ..one }),
        (Refusal::BadCode,         NewOrderSingle { side: 0, ..one }),
        (Refusal::BadCode,         NewOrderSingle { ord_type: b'5', ..one }),
        (Refusal::BadCode,         NewOrderSingle { time_in_force: b'2', ..one }),
        (Refusal::BadCode,         NewOrderSingle { post_only: 2, ..one }),
        (Refusal::BadCode,         NewOrderSingle { post_only: 255, ..one }),
        (Refusal::BadCode,         NewOrderSingle { poss_resend: 2, ..one }),
        (Refusal::BadCode,         NewOrderSingle { self_match: 5, ..one }),
        (Refusal::BadCode,         NewOrderSingle { self_match: 255, ..one }),
        (Refusal::BadField,        NewOrderSingle { stop_px: 1_000 * CENT, ..one }),
        (Refusal::BadField,        NewOrderSingle { ord_type: b'3', ..one }),
        (Refusal::BadField,        NewOrderSingle { ord_type: b'4', ..one }),
        (Refusal::BadField,        NewOrderSingle { expire_time: 5, ..one }),
        (Refusal::BadField,        NewOrderSingle { time_in_force: b'6', ..one }),
        (Refusal::NotOffered,      NewOrderSingle { ord_type: b'1', ..one }),
        (Refusal::NotOffered,      NewOrderSingle { ord_type: b'3', stop_px: 1, ..one }),
        (Refusal::NotOffered,      NewOrderSingle { time_in_force: b'6', expire_time: 1, ..one }),
        (Refusal::NotOffered,      NewOrderSingle { time_in_force: b'4', ..one }),
        (Refusal::NotOffered,      NewOrderSingle { post_only: 1, ..one }),
        (Refusal::NotOffered,      NewOrderSingle { self_match: 1, ..one }),
        (Refusal::UnknownSecurity, NewOrderSingle { security_id: u32::MAX, ..one }),
        (Refusal::UnknownAccount,  NewOrderSingle { account: 0, ..one }),
        (Refusal::UnknownAccount,  NewOrderSingle { account: u32::MAX, ..one }),
        (Refusal::UnknownAccount,  NewOrderSingle { account: 12, ..one }),
        (Refusal::BadQuantity,     NewOrderSingle { order_qty: 0, ..one }),
        (Refusal::BadQuantity,     NewOrderSingle { order_qty: -10, ..one }),
        (Refusal::BadQuantity,     NewOrderSingle { order_qty: i64::MIN, ..one }),
        (Refusal::BadQuantity,     NewOrderSingle { order_qty: i64::MAX, ..one }),
        (Refusal::BadQuantity,     NewOrderSingle { order_qty: (1 << 40) + 4, ..one }),
        (Refusal::BadPrice,        NewOrderSingle { price: i64::MAX, ..one }),
        (Refusal::BadPrice,        NewOrderSingle { price: -Px::ABS_MAX - 1, ..one }),
        (Refusal::BadTick,         NewOrderSingle { price: 1_000 * CENT + 1, ..one }),
        (Refusal::OutsideBand,     NewOrderSingle { price: 0, ..one }),
        (Refusal::OutsideBand,     NewOrderSingle { price: -1_000 * CENT, ..one }),
        (Refusal::OutsideBand,     NewOrderSingle { price: 10_005 * CENT, ..one }),
    ];
    for (refusal, asked) in rows {
        let came = reject(&mut Bench::new(), asked);
        assert_eq!(came.text, Text::new(refusal.row().text), "{asked:?}");
    }
    #[rustfmt::skip]
    let fine = [
        NewOrderSingle { price: 100 * CENT, ..one },
        NewOrderSingle { price: 10_000 * CENT, ..one },
        NewOrderSingle { time_in_force: b'1', ..one },
        NewOrderSingle { poss_resend: 1, ..one },
        NewOrderSingle { account: 11, ..one },
        NewOrderSingle { order_qty: 10, ..one },
        NewOrderSingle { sender_sub_id: u16::MAX, ..one },
        NewOrderSingle { security_id: 1, price: -500 * CENT, order_qty: 1 << 40, ..one },
        NewOrderSingle { security_id: 1, price: 0, order_qty: 1, ..one },
    ];
    for asked in fine {
        let said = Bench::new().order(0, asked);
        assert!(said[0].starts_with("s0 new c7"), "{asked:?}: {said:?}");
    }
}

/// Ruling F19 for cancels, and the check order of `CANCEL_TABLE`: reason, retryable, and what is
/// said of the order.
#[rustfmt::skip]
const RULED_CANCEL: [(CancelRefusal, u16, bool, bool, OrdStatus); 7] = [
    // fault                          reason retry  OrderID OrdStatus
    (CancelRefusal::NoKey,            99,    false, false,  OrdStatus::Rejected),
    (CancelRefusal::DuplicateClOrdId, 6,     false, false,  OrdStatus::Rejected),
    (CancelRefusal::BadCode,          99,    false, false,  OrdStatus::Rejected),
    (CancelRefusal::UnknownOrder,     1,     false, false,  OrdStatus::Rejected),
    (CancelRefusal::WrongOrder,       1,     false, false,  OrdStatus::Rejected),
    (CancelRefusal::TooLate,          0,     false, true,   OrdStatus::Filled),
    (CancelRefusal::MarketClosed,     99,    true,  true,   OrdStatus::New),
];

/// A cancel with these faults. Order 1 is open, order 2 was filled.
fn faulty_cancel(faults: &[CancelRefusal]) -> (Bench, OrderCancelRequest, u64) {
    let mut b = Bench::new();
    b.order(2, sell(1, 100));
    b.order(0, order(2));
    let filled = b.machine.index().0;
    b.order(0, order(1));
    let mut order_id = b.machine.index().0;
    let mut asked = cancel(7, 1);
    for fault in faults {
        match fault {
            CancelRefusal::NoKey => asked.cl_ord_id = ClOrdId(u64::MAX),
            CancelRefusal::DuplicateClOrdId => asked.cl_ord_id = ClOrdId(1),
            CancelRefusal::BadCode => asked.poss_resend = 2,
            CancelRefusal::UnknownOrder => asked.orig_cl_ord_id = ClOrdId(99),
            CancelRefusal::WrongOrder => asked.security_id = 1,
            CancelRefusal::TooLate => {
                if !faults.contains(&CancelRefusal::UnknownOrder) {
                    (asked.orig_cl_ord_id, order_id) = (ClOrdId(2), filled);
                }
            }
            CancelRefusal::MarketClosed => b.phase(None, MarketPhase::Closed),
        }
    }
    (b, asked, order_id)
}

fn cancel_reject(b: &mut Bench, asked: OrderCancelRequest) -> OrderCancelReject {
    let said = b.cancel(0, asked);
    assert_eq!(said.len(), 1, "{said:?}");
    let ReportBody::CancelReject(body) = b.last().body else { panic!("{said:?}") };
    body
}

#[test]
fn each_fault_of_a_cancel_alone() {
    assert_eq!(CANCEL_TABLE.len(), RULED_CANCEL.len());
    for (row, (refusal, reason, retryable, names_order, ord_status)) in
        CANCEL_TABLE.iter().zip(RULED_CANCEL)
    {
        assert_eq!(row.refusal, refusal);
        let (mut b, asked, order_id) = faulty_cancel(&[refusal]);
        let keys = b.machine.engine().key_count();
        let first = cancel_reject(&mut b, asked);
        assert_eq!(first.cxl_rej_reason, reason, "{refusal:?}");
        assert_eq!(first.retryable, retryable, "{refusal:?}");
        assert_eq!(first.text, Text::new(row.text), "{refusal:?}");
        assert_eq!(first.ord_status, ord_status, "{refusal:?}");
        let expected = if names_order { order_id } else { 0 };
        assert_eq!(first.order_id, OrderId(expected), "{refusal:?}");
        assert_eq!(
            (first.cl_ord_id, first.orig_cl_ord_id),
            (asked.cl_ord_id, asked.orig_cl_ord_id)
        );
        assert!(!first.poss_resend);
        assert_eq!(first.transact_time, b.time);

        // A refused cancel is evaluated anew: no key remembers it.
        let again = cancel_reject(&mut b, OrderCancelRequest { sender_sub_id: 9, ..asked });
        let (exec_id, transact_time) = (again.exec_id, b.time);
        assert_eq!(again, OrderCancelReject { exec_id, transact_time, ..first }, "{refusal:?}");
        assert_eq!(b.machine.engine().key_count(), keys, "{refusal:?}");
    }
}

#[test]
fn of_two_faults_of_a_cancel_the_first_is_reported() {
    for (first, &(one, ..)) in RULED_CANCEL.iter().enumerate() {
        for &(two, ..) in &RULED_CANCEL[first + 1..] {
            if (one, two) == (CancelRefusal::NoKey, CancelRefusal::DuplicateClOrdId)
                || (one, two) == (CancelRefusal::UnknownOrder, CancelRefusal::TooLate)
            {
                continue; // No id is both 0 and an order's; no order is both unknown and ended.
            }
            let (mut b, asked, _) = faulty_cancel(&[one, two]);
            let came = cancel_reject(&mut b, asked);
            assert_eq!(came.text, Text::new(one.row().text), "{one:?} and {two:?}");
        }
    }
}

#[test]
fn every_way_to_name_no_order() {
    let one = cancel(7, 1);
    #[rustfmt::skip]
    let rows = [
        (CancelRefusal::UnknownOrder, OrderCancelRequest { orig_cl_ord_id: ClOrdId(0), ..one }),
        (CancelRefusal::UnknownOrder, OrderCancelRequest { orig_cl_ord_id: ClOrdId(u64::MAX), ..one }),
        (CancelRefusal::UnknownOrder, OrderCancelRequest { orig_cl_ord_id: ClOrdId(3), ..one }),
        (CancelRefusal::UnknownOrder, OrderCancelRequest { orig_cl_ord_id: ClOrdId(4), ..one }),
        (CancelRefusal::WrongOrder,   OrderCancelRequest { side: b'2', ..one }),
        (CancelRefusal::WrongOrder,   OrderCancelRequest { security_id: u32::MAX, ..one }),
        (CancelRefusal::BadCode,      OrderCancelRequest { side: 1, ..one }),
    ];
    for (refusal, asked) in rows {
        let mut b = Bench::new();
        b.order(0, order(1));
        b.order(0, NewOrderSingle { order_qty: 0, ..order(3) }); // refused: it never was an order
        b.order(2, sell_high(4)); // another owner's
        let came = cancel_reject(&mut b, asked);
        assert_eq!(came.text, Text::new(refusal.row().text), "{asked:?}");
    }
}
