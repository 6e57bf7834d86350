//! The queues of resting orders: one node an order, linked both ways behind its price.
//!
//! A level is the two ends of a queue and the quantity in it; a node is what matching and
//! cancelling need of an order, in half a cache line, so that a walk along a queue does not drag
//! the whole order in. The node of an order is at the index of the order's slot: the order arena's
//! free list is the only one, a queue is never full while the arena has room, and a cancel needs no
//! second handle. All books of an engine share the nodes; a node knows its book, so that a slot
//! shown to the wrong book is caught. Memory: 32 bytes an order.

use crate::vocabulary::units::{OrderSlot, Qty, SecurityId};

/// No node.
pub(super) const NIL: u32 = u32::MAX;
/// The book of a node that rests nowhere.
const NO_BOOK: SecurityId = SecurityId(u32::MAX);

/// The queue of one price, oldest order first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Level {
    head: u32,
    tail: u32,
    /// Sum of the leaves; below 2^63 because an engine has at most 2^23 orders of at most 2^40.
    total: u64,
}
const _: () = assert!(size_of::<Level>() == 16);

impl Level {
    /// No order.
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL, total: 0 };

    /// Whether no order is in it.
    pub(super) const fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// Sum of the leaves.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The price as a tick index.
    tick: i64,
    /// At least 1 while it rests.
    leaves: Qty,
    prev: u32,
    next: u32,
    book: SecurityId,
}
const _: () = assert!(size_of::<Node>() == 32);

/// What one step of matching took from the head of a queue.
pub(super) struct Taken {
    pub(super) slot: OrderSlot,
    pub(super) qty: Qty,
    /// The order left the queue.
    pub(super) is_done: bool,
}

/// The nodes of all orders of an engine.
#[derive(Debug)]
pub(super) struct Queues {
    nodes: Box<[Node]>,
}

impl Queues {
    /// Nodes for the slots `[0, order_count_max)`.
    pub(super) fn new(order_count_max: u32) -> Self {
        let free = Node { tick: 0, leaves: Qty::ZERO, prev: NIL, next: NIL, book: NO_BOOK };
        Self { nodes: vec![free; order_count_max as usize].into_boxed_slice() }
    }

    /// What `new` takes, in bytes.
    pub(super) fn bytes(order_count_max: u32) -> u64 {
        u64::from(order_count_max) * size_of::<Node>() as u64
    }

    /// Puts an order behind the others of `level`, which is the level of `tick` in `book`.
    pub(super) fn append(
        &mut self,
        level: &mut Level,
        book: SecurityId,
        tick: i64,
        slot: OrderSlot,
        leaves: Qty,
    ) {
        assert!(book != NO_BOOK && !leaves.is_zero());
        let prev = level.tail;
        let node = &mut self.nodes[slot.0 as usize];
        assert!(node.book == NO_BOOK, "an order rests once");
        *node = Node { tick, leaves, prev, next: NIL, book };
        if prev == NIL {
            level.head = slot.0;
        } else {
            self.nodes[prev as usize].next = slot.0;
        }
        level.tail = slot.0;
        level.total += leaves.raw().unsigned_abs();
    }

    /// Takes at most `qty` from the oldest order of `level`, which is not empty.
    pub(super) fn take(&mut self, level: &mut Level, qty: Qty) -> Taken {
        let head = level.head;
        let node = &mut self.nodes[head as usize];
        let taken = qty.min(node.leaves);
        node.leaves = node.leaves.minus(taken);
        level.total -= taken.raw().unsigned_abs();
        let is_done = node.leaves.is_zero();
        if is_done {
            node.book = NO_BOOK;
            level.head = node.next;
            if level.head == NIL {
                level.tail = NIL;
            } else {
                self.nodes[level.head as usize].prev = NIL;
            }
        }
        Taken { slot: OrderSlot(head), qty: taken, is_done }
    }

    /// Takes an order out of `level`, which is its level, and says what was left of it.
    pub(super) fn unlink(&mut self, level: &mut Level, slot: OrderSlot) -> Qty {
        let node = &mut self.nodes[slot.0 as usize];
        assert!(node.book != NO_BOOK, "the order rests");
        node.book = NO_BOOK;
        let (prev, next, leaves) = (node.prev, node.next, node.leaves);
        if prev == NIL {
            level.head = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next == NIL {
            level.tail = prev;
        } else {
            self.nodes[next as usize].prev = prev;
        }
        level.total -= leaves.raw().unsigned_abs();
        leaves
    }

    /// Price and leaves of the order in `slot`, if it rests in `book`.
    pub(super) fn resting(&self, book: SecurityId, slot: OrderSlot) -> Option<(i64, Qty)> {
        let node = self.nodes.get(slot.0 as usize)?;
        (node.book == book).then_some((node.tick, node.leaves))
    }

    /// The orders of a level, oldest first.
    pub(super) fn iter(&self, level: Level) -> impl Iterator<Item = (OrderSlot, Qty)> + '_ {
        let mut at = level.head;
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            let slot = OrderSlot(at);
            at = node.next;
            Some((slot, node.leaves))
        })
    }

    /// Checks the queue of `level` at `tick` of `book` and says how many orders are in it.
    pub(super) fn assert_queue(&self, level: Level, book: SecurityId, tick: i64) -> u32 {
        assert!(!level.is_empty(), "no empty level is kept");
        let (mut at, mut prev, mut count, mut total) = (level.head, NIL, 0, 0);
        while at != NIL {
            let node = &self.nodes[at as usize];
            assert_eq!((node.book, node.tick), (book, tick), "a node knows its level");
            assert_eq!(node.prev, prev, "queues are linked both ways");
            assert!(!node.leaves.is_zero(), "a resting order has leaves");
            total += node.leaves.raw().unsigned_abs();
            count += 1;
            (prev, at) = (at, node.next);
        }
        assert_eq!((level.tail, level.total), (prev, total), "tail and total of a level");
        count
    }
}
