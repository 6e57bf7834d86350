//! Open orders: a fixed arena with a last-in-first-out free list.
//!
//! An order is looked up for every fill, cancel and status request, and it is born and dies
//! millions of times an hour. A map would hash, grow and scatter. Here an order has a slot for as
//! long as it is open; whoever must find it again (its dedup entry, its place in the book) keeps
//! the slot. The slot freed last is given out first, because its cache lines are still warm.
//!
//! A slot number is a local handle and nothing else: after a restore from a snapshot the same order
//! may have another one. So no report, digest or decision may depend on it, and `iter` must not be
//! the order of anything that leaves the machine; snapshots write each book in price-time order.
//!
//! When full, `try_insert` answers `None`, which the engine refuses as "capacity" (retryable).
//! Memory: 80 bytes an order and 4 for the free list.

use crate::vocabulary::fix::{OrdType, Side, TimeInForce};
use crate::vocabulary::units::{
    Account, ClOrdId, Nanos, OrderId, OrderSlot, OwnerIdx, Px, Qty, SecurityId, SenderSubId,
    SessionIdx,
};

/// Most open orders of one engine: a price level's total quantity then fits 64 bits
/// (2^23 orders of at most 2^40).
pub const ORDER_COUNT_MAX: u32 = 1 << 23;

/// An open order. Its place in the book is found by its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// Journal index of the order's record; never 0.
    pub order_id: OrderId,
    /// The client's key.
    pub cl_ord_id: ClOrdId,
    /// Where its dedup entry is; opaque here.
    pub key: u64,
    /// Limit price.
    pub price: Px,
    /// Quantity as entered or last replaced, at least 1.
    pub order_qty: Qty,
    /// Quantity filled; less than `order_qty` while the order is open.
    pub cum_qty: Qty,
    /// Time of the record that entered or last replaced it.
    pub transact_time: Nanos,
    /// The session that entered or last replaced it; its reports go there.
    pub session: SessionIdx,
    /// The account it trades on.
    pub account: Account,
    /// The instrument.
    pub security_id: SecurityId,
    /// The firm.
    pub owner: OwnerIdx,
    /// The trader, as the client gave it.
    pub sender_sub_id: SenderSubId,
    /// Side.
    pub side: Side,
    /// Type.
    pub ord_type: OrdType,
    /// How long it stays.
    pub time_in_force: TimeInForce,
    /// Whether it must not take when it enters.
    pub post_only: bool,
}
const _: () = assert!(size_of::<Order>() == 80 && size_of::<Option<Order>>() == 80);

impl Order {
    /// What is still open.
    #[must_use]
    pub const fn leaves_qty(&self) -> Qty {
        self.order_qty.minus(self.cum_qty)
    }
}

/// The open orders of an engine.
///
/// Invariants: every slot is either occupied or once in the free list; an occupied slot holds an
/// order with an id and something left to fill.
#[derive(Debug)]
pub struct Orders {
    slots: Box<[Option<Order>]>,
    /// Free slots; the last is given out next.
    free: Vec<OrderSlot>,
}

impl Orders {
    /// Room for `order_count_max` orders, in `[1, ORDER_COUNT_MAX]`. All memory is taken here.
    #[must_use]
    pub fn new(order_count_max: u32) -> Self {
        assert!((1..=ORDER_COUNT_MAX).contains(&order_count_max));
        Self {
            slots: vec![None; order_count_max as usize].into_boxed_slice(),
            free: (0..order_count_max).rev().map(OrderSlot).collect(),
        }
    }

    /// What `new` takes, in bytes.
    #[must_use]
    pub fn bytes(order_count_max: u32) -> u64 {
        u64::from(order_count_max) * (size_of::<Option<Order>>() + size_of::<OrderSlot>()) as u64
    }

    /// Keeps the order; `None` when the arena is full.
    #[must_use]
    pub fn try_insert(&mut self, order: Order) -> Option<OrderSlot> {
        assert!(order.order_id.0 != 0, "an order has an id");
        assert!(!order.leaves_qty().is_zero(), "an open order has leaves");
        let slot = self.free.pop()?;
        let place = &mut self.slots[slot.0 as usize];
        assert!(place.is_none(), "a free slot is occupied");
        *place = Some(order);
        Some(slot)
    }

    /// The order in `slot`, unless the slot is free or beyond the arena.
    #[must_use]
    pub fn get(&self, slot: OrderSlot) -> Option<&Order> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    /// See [`Self::get`]. The caller keeps `cum_qty` below `order_qty`.
    #[must_use]
    pub fn get_mut(&mut self, slot: OrderSlot) -> Option<&mut Order> {
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Ends the order in `slot` and frees the slot. `slot` must be occupied: handles are kept by
    /// the engine alone, so a stale one is a fault of the program.
    pub fn remove(&mut self, slot: OrderSlot) -> Order {
        let order = self.slots.get_mut(slot.0 as usize).and_then(Option::take);
        let Some(order) = order else {
            panic!("slot {slot} holds no open order");
        };
        debug_assert!(self.free.len() < self.slots.len());
        self.free.push(slot);
        order
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.capacity() - u32::try_from(self.free.len()).unwrap_or(u32::MAX)
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many fit.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// All open orders by slot: for checks. The order means nothing and differs between nodes.
    pub fn iter(&self) -> impl Iterator<Item = (OrderSlot, &Order)> {
        (0..)
            .map(OrderSlot)
            .zip(self.slots.iter())
            .filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
    }

    /// Checks the invariants; costs a pass over the arena.
    pub fn assert_invariants(&self) {
        let mut is_free = vec![false; self.slots.len()];
        for slot in &self.free {
            let seen = &mut is_free[slot.0 as usize];
            assert!(!*seen, "slot {slot} is twice in the free list");
            *seen = true;
        }
        for (place, is_free) in self.slots.iter().zip(is_free) {
            assert_eq!(place.is_none(), is_free, "a slot is either free or occupied");
            if let Some(order) = place {
                assert!(order.order_id.0 != 0);
                assert!(!order.leaves_qty().is_zero());
            }
        }
        assert_eq!(self.free.capacity(), self.slots.len(), "the free list never grows");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: u64) -> Order {
        Order {
            order_id: OrderId(id),
            cl_ord_id: ClOrdId(id + 1),
            key: id + 2,
            price: Px::ONE,
            order_qty: Qty::MAX,
            cum_qty: Qty::ZERO,
            transact_time: Nanos(id),
            session: SessionIdx(3),
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

    #[test]
    fn the_slot_freed_last_is_given_out_first_and_a_full_arena_refuses() {
        let mut orders = Orders::new(3);
        let slots = [1, 2, 3].map(|id| orders.try_insert(order(id)).unwrap());
        assert_eq!(orders.try_insert(order(4)), None, "full");
        assert_eq!(orders.remove(slots[0]), order(1));
        assert_eq!(orders.remove(slots[2]), order(3));
        assert_eq!(orders.get(slots[2]), None);
        assert_eq!(orders.try_insert(order(5)), Some(slots[2]));
        assert_eq!(orders.try_insert(order(6)), Some(slots[0]));
        assert_eq!(orders.get(slots[0]), Some(&order(6)));
        assert_eq!(orders.get(OrderSlot(3)), None, "beyond the arena");
        orders.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "holds no open order")]
    fn a_stale_handle_is_a_fault_of_the_program() {
        let mut orders = Orders::new(1);
        let slot = orders.try_insert(order(1)).unwrap();
        orders.remove(slot);
        orders.remove(slot);
    }

    /// The twin is a map that grows; every step compares what can be asked.
    #[test]
    fn random_operations_agree_with_a_map() {
        let seed = 0x0dde_5c0f_fee0_0001_u64;
        println!("seed {seed:#x}");
        let mut state = seed;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        let mut orders = Orders::new(50);
        let mut twin = std::collections::BTreeMap::new();
        for id in 1..=50_000 {
            let victim = twin.keys().nth(usize::try_from(random() % 50).unwrap()).copied();
            match victim {
                Some(slot) if random() % 100 < 52 => {
                    assert_eq!(orders.remove(slot), twin.remove(&slot).unwrap());
                }
                Some(slot) if random() % 4 == 0 => {
                    let cum_qty = Qty::try_new(id).unwrap();
                    orders.get_mut(slot).unwrap().cum_qty = cum_qty;
                    twin.get_mut(&slot).unwrap().cum_qty = cum_qty;
                }
                Some(_) | None => {
                    let new = order(id.unsigned_abs());
                    match orders.try_insert(new) {
                        Some(slot) => assert_eq!(twin.insert(slot, new), None),
                        None => assert_eq!(twin.len(), 50),
                    }
                }
            }
            assert_eq!(orders.len() as usize, twin.len());
            assert!(orders.iter().eq(twin.iter().map(|(&slot, order)| (slot, order))));
            if id % 64 == 0 {
                orders.assert_invariants();
            }
        }
    }
}
