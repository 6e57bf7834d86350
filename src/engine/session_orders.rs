//! Which open orders are a session's: a list through the order arena, one a session.
//!
//! When a session's line is lost its orders are cancelled, oldest first. An engine has up to 2^23
//! open orders; looking through all of them for those of one session would hold everybody up at the
//! worst moment, and looking in pieces would cancel late. So the orders of a session are linked,
//! by slot: an order joins and leaves in constant time.
//!
//! An order joins at the end. New orders have rising ids, so the list is in the order of OrderID as
//! it is to be cancelled; only a session that took an older order over (ruling F17) has one out of
//! place. That is noted, and the list is sorted once, when it is needed: a merge of its rising
//! runs, `n x log2(runs)` steps over 8-byte links, `n` being at most what an owner may have open.
//!
//! Derived data: a snapshot does not hold it. Memory: 8 bytes an order and 16 a session; a link is
//! where the order's slot is, so nothing can be full.

use super::orders::Orders;
use crate::vocabulary::units::{OrderId, OrderSlot, SessionIdx};

const NIL: u32 = u32::MAX;

/// The lists of all sessions.
///
/// Invariants: an order's slot is in the list of its session and in no other; `is_rising` holds
/// only if every id in the list is below the next.
#[derive(Debug)]
pub struct SessionOrders {
    lists: Box<[List]>,
    links: Box<[Link]>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    count: u32,
    is_rising: bool,
}
const _: () = assert!(size_of::<List>() == 16);

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

const EMPTY: List = List { head: NIL, tail: NIL, count: 0, is_rising: true };
const UNLINKED: Link = Link { prev: NIL, next: NIL };

impl SessionOrders {
    /// Empty lists of `session_count_max` sessions, for the slots `[0, order_count_max)`.
    #[must_use]
    pub fn new(session_count_max: u32, order_count_max: u32) -> Self {
        Self {
            lists: vec![EMPTY; session_count_max as usize].into(),
            links: vec![UNLINKED; order_count_max as usize].into(),
        }
    }

    /// What `new` takes, in bytes.
    #[must_use]
    pub fn bytes(session_count_max: u32, order_count_max: u32) -> u64 {
        let lists = u64::from(session_count_max) * size_of::<List>() as u64;
        lists + u64::from(order_count_max) * size_of::<Link>() as u64
    }

    /// The order in `slot` is a session's now; it is in no list.
    #[inline]
    pub fn add(&mut self, session: SessionIdx, slot: OrderSlot, id: OrderId, orders: &Orders) {
        let list = &mut self.lists[session.0 as usize];
        let before = list.tail;
        list.tail = slot.0;
        list.count += 1;
        if before == NIL {
            list.head = slot.0;
            list.is_rising = true;
        } else {
            let last_id = orders.get(OrderSlot(before)).map(|order| order.order_id);
            list.is_rising &= last_id.is_some_and(|last_id| last_id < id);
            self.links[before as usize].next = slot.0;
        }
        self.links[slot.0 as usize] = Link { prev: before, next: NIL };
    }

    /// The order in `slot` leaves its session.
    #[inline]
    pub fn remove(&mut self, session: SessionIdx, slot: OrderSlot) {
        let Link { prev, next } = self.links[slot.0 as usize];
        let list = &mut self.lists[session.0 as usize];
        assert!(list.count > 0, "an order leaves a list that is empty");
        list.count -= 1;
        if prev == NIL {
            assert!(list.head == slot.0, "an order leaves the list that it is in");
            list.head = next;
        } else {
            self.links[prev as usize].next = next;
        }
        if next == NIL {
            list.tail = prev;
        } else {
            self.links[next as usize].prev = prev;
        }
        self.links[slot.0 as usize] = UNLINKED;
    }

    /// A session's open orders.
    #[must_use]
    pub fn count(&self, session: SessionIdx) -> u32 {
        self.lists.get(session.0 as usize).map_or(0, |list| list.count)
    }

    /// The order of a session with the lowest OrderID, once it is sorted.
    #[must_use]
    pub fn first(&self, session: SessionIdx) -> Option<OrderSlot> {
        let list = self.lists.get(session.0 as usize)?;
        debug_assert!(list.is_rising, "a list is sorted before it is walked");
        (list.head != NIL).then_some(OrderSlot(list.head))
    }

    /// Brings the orders of a session into the order of their ids.
    pub fn sort(&mut self, session: SessionIdx, orders: &Orders) {
        let list = self.lists[session.0 as usize];
        if list.is_rising {
            return;
        }
        let id = |slot: u32| orders.get(OrderSlot(slot)).map_or(OrderId(0), |order| order.order_id);
        let mut head = list.head;
        loop {
            let (merged, run_count) = self.merge_runs(head, &id);
            head = merged;
            if run_count <= 1 {
                break;
            }
        }
        // The merges followed `next` alone.
        let (mut at, mut prev) = (head, NIL);
        while at != NIL {
            let link = &mut self.links[at as usize];
            link.prev = prev;
            (prev, at) = (at, link.next);
        }
        self.lists[session.0 as usize] = List { head, tail: prev, is_rising: true, ..list };
    }

    /// Merges each two neighbouring runs of a list, and returns its head and how many runs there
    /// were.
    fn merge_runs(&mut self, head: u32, id: &impl Fn(u32) -> OrderId) -> (u32, u32) {
        let (mut rest, mut merged, mut last, mut runs) = (head, NIL, NIL, 0);
        while rest != NIL {
            let (mut left, behind) = self.cut_run(rest, id);
            runs += 1;
            let (mut right, behind) = if behind == NIL {
                (NIL, NIL)
            } else {
                runs += 1;
                self.cut_run(behind, id)
            };
            rest = behind;
            while left != NIL || right != NIL {
                let takes_left = right == NIL || left != NIL && id(left) < id(right);
                let from = if takes_left { &mut left } else { &mut right };
                let slot = *from;
                *from = self.links[slot as usize].next;
                if last == NIL {
                    merged = slot;
                } else {
                    self.links[last as usize].next = slot;
                }
                last = slot;
            }
        }
        if last != NIL {
            self.links[last as usize].next = NIL;
        }
        (merged, runs)
    }

    /// Cuts a list behind its first rising run: the run, and what stood behind it.
    fn cut_run(&mut self, head: u32, id: &impl Fn(u32) -> OrderId) -> (u32, u32) {
        let mut at = head;
        loop {
            let next = self.links[at as usize].next;
            if next == NIL {
                return (head, NIL);
            }
            if id(next) < id(at) {
                self.links[at as usize].next = NIL;
                return (head, next);
            }
            at = next;
        }
    }

    /// Checks the invariants against the arena; costs a pass over it.
    pub fn assert_invariants(&self, orders: &Orders) {
        let mut seen = 0;
        for (session, list) in (0..).map(SessionIdx).zip(&self.lists) {
            let (mut at, mut prev, mut count, mut last) = (list.head, NIL, 0, OrderId(0));
            while at != NIL {
                let order = orders.get(OrderSlot(at));
                let id = order.filter(|o| o.session == session).map(|o| o.order_id);
                let Some(id) = id else { panic!("slot {at} is in the list of another session") };
                assert!(!list.is_rising || id > last, "a rising list falls");
                assert_eq!(self.links[at as usize].prev, prev);
                (prev, at, last) = (at, self.links[at as usize].next, id);
                count += 1;
            }
            assert_eq!((list.tail, list.count), (prev, count));
            seen += count;
        }
        assert_eq!(seen, orders.len(), "every open order is in a list");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::orders::Order;
    use crate::vocabulary::fix::{OrdType, Side, TimeInForce};
    use crate::vocabulary::random::SplitMix;
    use crate::vocabulary::units::{
        Account, ClOrdId, Nanos, OwnerIdx, Px, Qty, SecurityId, SenderSubId,
    };
    use std::collections::BTreeMap;

    fn order(id: u64, session: u32) -> Order {
        Order {
            order_id: OrderId(id),
            cl_ord_id: ClOrdId(id),
            key: 0,
            price: Px::ONE,
            order_qty: Qty::MAX,
            cum_qty: Qty::ZERO,
            transact_time: Nanos(id),
            session: SessionIdx(session),
            account: Account(4),
            security_id: SecurityId(5),
            owner: OwnerIdx(6),
            sender_sub_id: SenderSubId(7),
            side: Side::Buy,
            ord_type: OrdType::Limit,
            time_in_force: TimeInForce::Day,
            post_only: false,
        }
    }

    /// Orders come, go, and change their session; now and then a session is emptied in the order of
    /// its ids, as the twin has them.
    #[test]
    fn random_lists_agree_with_a_map() {
        for seed in 0..40 {
            let mut random = SplitMix(seed);
            let (mut orders, mut lists) = (Orders::new(60), SessionOrders::new(3, 60));
            let mut twin = BTreeMap::<u64, (u32, OrderSlot)>::new();
            for id in 1..1_500 {
                let session = u32::try_from(random.below(3)).unwrap();
                let any = twin.keys().copied().nth(usize::try_from(random.below(60)).unwrap());
                match (random.below(8), any) {
                    (0..=1, Some(moved)) => {
                        let (from, slot) = twin[&moved];
                        lists.remove(SessionIdx(from), slot);
                        orders.get_mut(slot).unwrap().session = SessionIdx(session);
                        lists.add(SessionIdx(session), slot, OrderId(moved), &orders);
                        twin.insert(moved, (session, slot));
                    }
                    (2, Some(ended)) => {
                        let (from, slot) = twin.remove(&ended).unwrap();
                        lists.remove(SessionIdx(from), slot);
                        orders.remove(slot);
                    }
                    (3, _) if random.below(4) == 0 => {
                        lists.sort(SessionIdx(session), &orders);
                        let wanted: Vec<u64> = twin
                            .iter()
                            .filter(|(_, v)| v.0 == session)
                            .map(|(id, _)| *id)
                            .collect();
                        assert_eq!(lists.count(SessionIdx(session)) as usize, wanted.len());
                        for wanted in wanted {
                            let slot = lists.first(SessionIdx(session)).unwrap();
                            assert_eq!(orders.get(slot).unwrap().order_id, OrderId(wanted));
                            lists.remove(SessionIdx(session), slot);
                            orders.remove(slot);
                            twin.remove(&wanted);
                        }
                        assert_eq!(lists.first(SessionIdx(session)), None);
                    }
                    _ => {
                        let Some(slot) = orders.try_insert(order(id, session)) else { continue };
                        lists.add(SessionIdx(session), slot, OrderId(id), &orders);
                        twin.insert(id, (session, slot));
                    }
                }
                lists.assert_invariants(&orders);
            }
        }
    }
}
