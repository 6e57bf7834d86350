//! The plan: what is sent, fixed before the first byte by the arguments alone.
//!
//! Order `k` of connection `c` is a pure function of the seed, so nothing that was sent has to be
//! kept: a resend after a lost line, a duplicate and a second run under the same run id all draw
//! the same order again.
//!
//! ClOrdID: 24 bits run, 12 bits connection, 1 bit "cancel", 27 bits counter from 1.
//!
//! Prices: most orders are at the middle or a little through it, so that buyers and sellers keep
//! meeting and few orders stay; one in fifty rests below or above.

use tidegate::session::credentials::Key;
use tidegate::vocabulary::fix::{OrdType, Side, TimeInForce};
use tidegate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest,
};
use tidegate::vocabulary::units::{ClOrdId, Nanos, Seq};

/// Most connections: what the ClOrdID has bits for.
pub(super) const CONNECTIONS_MAX: u32 = 1 << 12;
/// Most orders of one connection: what the ClOrdID has bits for.
pub(super) const ORDERS_A_CONNECTION_MAX: u32 = (1 << 27) - 1;
/// Largest run id; 0 and all ones would make ids that are no keys.
pub(super) const RUN_ID_MAX: u32 = (1 << 24) - 2;

/// How far back a duplicate or a cancel looks for its order.
const LOOK_BACK: u32 = 256;
const CANCEL_BIT: u64 = 1 << 27;
/// The middle of every instrument, and its tick, x 1e-8.
const MIDDLE: i64 = 100 * 100_000_000;
const TICK: i64 = 1_000_000;

/// Who logs on: a key and the accounts that it may trade on, at least one.
#[derive(Clone, Debug)]
pub(super) struct Firm {
    pub(super) key: Key,
    pub(super) accounts: Vec<u32>,
}

/// What to send. All counts are in the ranges that the arguments were checked for.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Connection `c` is of firm `c % firms`; at least one.
    pub(super) firms: Vec<Firm>,
    pub(super) connections: u32,
    pub(super) orders: u64,
    pub(super) instruments: u32,
    /// In a hundred orders.
    pub(super) duplicates: u32,
    pub(super) cancels: u32,
    pub(super) seed: u64,
    pub(super) run_id: u32,
    /// Every order says PossResend = Y from the start: another run sent it before.
    pub(super) poss_resend: bool,
    /// Orders a second over all connections; none: as fast as the window lets.
    pub(super) rate: Option<u64>,
}

/// What follows an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Extras {
    pub(super) duplicate: Option<Duplicate>,
    /// The order to cancel.
    pub(super) cancel: Option<u32>,
}

/// A resend, before anything was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Duplicate {
    /// The same number and bytes: dropped without an answer.
    SameNumber,
    /// This order again under a new number: answered with its state.
    NewNumber(u32),
}

impl Plan {
    /// How many orders connection `c` sends.
    pub(super) fn orders_of(&self, c: u32) -> u32 {
        let (all, each) = (self.orders, u64::from(self.connections));
        let count = all / each + u64::from(u64::from(c) < all % each);
        u32::try_from(count).unwrap_or(ORDERS_A_CONNECTION_MAX)
    }

    /// The firm of connection `c`.
    pub(super) fn firm_of(&self, c: u32) -> &Firm {
        let place = usize::try_from(c).unwrap_or(0) % self.firms.len();
        &self.firms[place]
    }

    /// When order `k` of connection `c` is due after the start; at once without a rate.
    pub(super) fn due(&self, c: u32, k: u32) -> Nanos {
        let Some(rate) = self.rate else {
            return Nanos(0);
        };
        let place = u128::from(k - 1) * u128::from(self.connections) + u128::from(c);
        Nanos(u64::try_from(place * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX))
    }

    /// The ClOrdID of order `k`.
    pub(super) fn order_id(&self, c: u32, k: u32) -> ClOrdId {
        ClOrdId(u64::from(self.run_id) << 40 | u64::from(c) << 28 | u64::from(k))
    }

    /// Order `k` of connection `c`, from 1; its number is the session's to set.
    pub(super) fn order(&self, c: u32, k: u32, is_resend: bool) -> ClientMessage {
        let mut dice = Dice::new(self.seed, c, k);
        let side = if dice.below(2) == 0 { Side::Buy } else { Side::Sell };
        // How many ticks through the middle, from this side's view.
        let through: i64 = match dice.below(100) {
            0..=1 => -5,
            2..=69 => 0,
            70..=89 => 1,
            _ => 2,
        };
        let accounts = &self.firm_of(c).accounts;
        let account = usize::try_from(dice.below(accounts.len() as u64)).unwrap_or(0);
        ClientMessage::NewOrder(NewOrderSingle {
            msg_seq_num: Seq(0),
            sending_time: Nanos(0),
            cl_ord_id: self.order_id(c, k),
            price: match side {
                Side::Buy => MIDDLE + through * TICK,
                Side::Sell => MIDDLE - through * TICK,
            },
            order_qty: i64::try_from(1 + dice.below(100)).unwrap_or(1),
            security_id: u32::try_from(dice.below(u64::from(self.instruments))).unwrap_or(0),
            account: accounts.get(account).copied().unwrap_or(0),
            side: side.wire(),
            ord_type: OrdType::Limit.wire(),
            time_in_force: TimeInForce::Day.wire(),
            post_only: 0,
            poss_resend: u8::from(is_resend || self.poss_resend),
            self_match: 0,
            sender_sub_id: 0,
            stop_px: NULL_I64,
            expire_time: NULL_U64,
        })
    }

    /// The cancel that follows order `k`, of order `target`.
    pub(super) fn cancel(&self, c: u32, k: u32, target: u32, is_resend: bool) -> ClientMessage {
        let ClientMessage::NewOrder(order) = self.order(c, target, false) else {
            unreachable!("an order is drawn");
        };
        ClientMessage::Cancel(OrderCancelRequest {
            msg_seq_num: Seq(0),
            sending_time: Nanos(0),
            cl_ord_id: ClOrdId(self.order_id(c, k).0 | CANCEL_BIT),
            orig_cl_ord_id: order.cl_ord_id,
            security_id: order.security_id,
            side: order.side,
            poss_resend: u8::from(is_resend || self.poss_resend),
            sender_sub_id: 0,
        })
    }

    /// What follows order `k`.
    pub(super) fn extras(&self, c: u32, k: u32) -> Extras {
        let mut dice = Dice::new(!self.seed, c, k);
        let back = |dice: &mut Dice| {
            let span = u64::from(k.min(LOOK_BACK));
            k - u32::try_from(dice.below(span)).unwrap_or(0)
        };
        let duplicate = (dice.below(100) < u64::from(self.duplicates)).then(|| {
            if dice.below(2) == 0 {
                Duplicate::SameNumber
            } else {
                Duplicate::NewNumber(back(&mut dice))
            }
        });
        let cancel = (dice.below(100) < u64::from(self.cancels)).then(|| back(&mut dice));
        Extras { duplicate, cancel }
    }
}

/// A small generator (splitmix64): the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, c: u32, k: u32) -> Self {
        let mut dice = Self(seed ^ (u64::from(c) << 32 | u64::from(k)));
        dice.0 = dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[0, bound)`; 0 when `bound` is 0. The bias is below 2^-32 for bounds that matter here.
    fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn plan(orders: u64, connections: u32) -> Plan {
        Plan {
            firms: vec![Firm {
                key: Key::try_new("firm-a", &[0xa1; 32]).unwrap(),
                accounts: vec![1001, 1002],
            }],
            connections,
            orders,
            instruments: 3,
            duplicates: 20,
            cancels: 5,
            seed: 1,
            run_id: 7,
            poss_resend: false,
            rate: Some(1000),
        }
    }

    #[test]
    fn orders_are_spread_and_their_ids_are_all_different() {
        for (orders, connections) in [(10, 3), (3, 10), (7, 7), (1, 1)] {
            let plan = plan(orders, connections);
            let mut ids = HashSet::new();
            let mut due = Vec::new();
            for c in 0..connections {
                for k in 1..=plan.orders_of(c) {
                    ids.insert(plan.order_id(c, k));
                    due.push(plan.due(c, k).0);
                    let ClientMessage::Cancel(cancel) = plan.cancel(c, k, 1, false) else {
                        panic!("a cancel is drawn");
                    };
                    ids.insert(cancel.cl_ord_id);
                    assert_eq!(cancel.orig_cl_ord_id, plan.order_id(c, 1));
                }
            }
            assert_eq!(ids.len() as u64, 2 * orders);
            due.sort_unstable();
            let grid: Vec<u64> = (0..orders).map(|n| n * 1_000_000).collect();
            assert_eq!(due, grid, "the rate is one grid over all connections");
        }
    }

    #[test]
    fn an_order_is_drawn_the_same_again_apart_from_poss_resend() {
        let plan = plan(100, 1);
        for k in 1..=100 {
            let ClientMessage::NewOrder(first) = plan.order(0, k, false) else {
                panic!("an order is drawn");
            };
            let ClientMessage::NewOrder(again) = plan.order(0, k, true) else {
                panic!("an order is drawn");
            };
            assert_eq!(first, NewOrderSingle { poss_resend: 0, ..again });
            assert!((1..=100).contains(&first.order_qty) && first.price % TICK == 0);
        }
    }

    #[test]
    fn extras_come_in_the_shares_asked_for() {
        let plan = plan(20_000, 1);
        let (mut same, mut new, mut cancels) = (0, 0, 0);
        for k in 1..=20_000 {
            let extras = plan.extras(0, k);
            match extras.duplicate {
                Some(Duplicate::SameNumber) => same += 1,
                Some(Duplicate::NewNumber(of)) => {
                    assert!(of >= 1 && of <= k);
                    new += 1;
                }
                None => {}
            }
            cancels += i32::from(extras.cancel.is_some_and(|of| of >= 1 && of <= k));
        }
        for (count, expected) in [(same, 2000), (new, 2000), (cancels, 1000)] {
            assert!((expected * 9 / 10..expected * 11 / 10).contains(&count), "{count}");
        }
    }
}
