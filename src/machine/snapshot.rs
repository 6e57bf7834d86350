//! The machine as canonical bytes, and back.
//!
//! Canonical: equal machines give equal bytes, whatever slots, positions and bands their history
//! left behind. So open orders stand in price-time order of their books, keys in arrival order, and
//! a key names its order by nothing but its own id. What can be derived (open orders an owner, the
//! place of a key) is not written.
//!
//! ```text
//! magic u64 | version u32 | capacities | epoch index time active exec trade digest
//! sessions | markets | owners, accounts | orders, book by book | keys, oldest first | hash u64
//! ```

use std::collections::BTreeMap;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::{Machine, check_capacities};
use crate::engine::dedup::{KeyEntry, KeyState};
use crate::engine::orders::Order;
use crate::session::logical::Stage;
use crate::vocabulary::bytes::{Reader, Writer};
use crate::vocabulary::fix::{OrdStatus, OrdType, Side, TimeInForce};
use crate::vocabulary::settings::Capacities;
use crate::vocabulary::units::{
    Account, ClOrdId, Epoch, Index, Nanos, OrderId, OrderSlot, OwnerIdx, Px, Qty, SecurityId,
    SenderSubId, SessionIdx,
};

const MAGIC: u64 = u64::from_le_bytes(*b"TIDESNAP");
const VERSION: u32 = 2;

/// Why bytes are not a snapshot of this build.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SnapshotError {
    /// Not a snapshot, or of another version.
    #[error("not a snapshot of version {VERSION}: it begins with {came:016x} version {version}")]
    Unknown {
        /// First eight octets.
        came: u64,
        /// Version.
        version: u32,
    },
    /// The hash at its end is another.
    #[error("snapshot is damaged: its hash is {expected:016x}, its bytes give {came:016x}")]
    Damaged {
        /// The hash written.
        expected: u64,
        /// The hash of the bytes.
        came: u64,
    },
    /// It ends early, or a value contradicts another.
    #[error("snapshot is incomplete or contradicts itself, {left} bytes before its end")]
    Contradiction {
        /// Octets not read.
        left: usize,
    },
}

impl Machine {
    /// The machine between two records as canonical bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        assert!(!self.is_unfinished(), "a snapshot falls between records");
        let mut out = Writer::default();
        out.u64(MAGIC);
        out.u32(VERSION);
        write_capacities(&self.capacities, &mut out);
        out.u32(self.epoch.0);
        out.u64(self.index.0);
        out.u64(self.time.0);
        out.u64(self.active.0);
        out.u64(self.exec_count);
        out.u64(self.engine.trade_count);
        out.u64(self.output_digest);
        self.sessions.write_snapshot(&mut out);
        self.engine.markets.write_snapshot(&mut out);
        self.engine.owners.write_snapshot(&mut out);
        self.write_orders(&mut out);
        out.u32(self.engine.dedup.len());
        for (_, entry) in self.engine.dedup.iter() {
            write_key(entry, &mut out);
        }
        let hash = xxh3_64(&out.0);
        out.u64(hash);
        out.0
    }

    /// The machine that wrote `bytes`.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let body_len = bytes.len().saturating_sub(8);
        let (body, tail) = bytes.split_at(body_len);
        let mut r = Reader(body);
        let came = r.u64().unwrap_or(0);
        let version = r.u32().unwrap_or(0);
        if came != MAGIC || version != VERSION {
            return Err(SnapshotError::Unknown { came, version });
        }
        let expected = Reader(tail).u64().unwrap_or(0);
        let came = xxh3_64(body);
        if came != expected {
            return Err(SnapshotError::Damaged { expected, came });
        }
        let machine = read_machine(&mut r);
        let left = r.0.len();
        machine.filter(|_| left == 0).ok_or(SnapshotError::Contradiction { left })
    }

    fn write_orders(&self, out: &mut Writer) {
        for book in &self.engine.books {
            out.u32(book.order_count());
            for side in [Side::Buy, Side::Sell] {
                for (_, slot, leaves) in book.iter(&self.engine.arena, side) {
                    let order = self.engine.orders.get(slot);
                    let order = order.filter(|o| o.leaves_qty() == leaves);
                    let Some(order) = order else {
                        panic!("book and arena disagree about slot {slot}");
                    };
                    write_order(order, out);
                }
            }
        }
    }
}

fn read_machine(r: &mut Reader<'_>) -> Option<Machine> {
    let capacities = read_capacities(r)?;
    if check_capacities(&capacities).is_some() {
        return None;
    }
    let mut machine = Machine::with_capacities(capacities);
    machine.epoch = Epoch(r.u32()?);
    machine.index = Index(read_count(r)?);
    machine.time = Nanos(r.u64()?);
    machine.active = Nanos(r.u64()?);
    machine.exec_count = read_count(r)?;
    machine.engine.trade_count = read_count(r)?;
    machine.output_digest = r.u64()?;
    machine.sessions.read_snapshot(r, (machine.time, machine.active))?;
    machine.engine.markets.read_snapshot(r)?;
    machine.engine.owners.read_snapshot(r)?;
    machine.engine.make_books();
    let is_sane = (0..machine.sessions.capacity())
        .filter_map(|slot| machine.sessions.get(SessionIdx(slot)))
        .all(|session| machine.engine.owners.is_known(session.owner));
    if !is_sane {
        return None;
    }
    let mut open = BTreeMap::new();
    for security in 0..machine.engine.books.len() {
        for _ in 0..r.u32()? {
            let order = read_order(r)?;
            let slot = restore_order(&mut machine, security, order)?;
            if open.insert((order.owner, order.cl_ord_id), slot).is_some() {
                return None;
            }
        }
    }
    let mut youngest = Nanos(0);
    for _ in 0..r.u32()? {
        youngest = restore_key(&mut machine, &mut open, youngest, r)?;
    }
    open.is_empty().then_some(machine)
}

fn restore_order(machine: &mut Machine, security: usize, order: Order) -> Option<OrderSlot> {
    let engine = &mut machine.engine;
    // Its reports go to a session of its owner.
    let session = machine.sessions.get(order.session);
    let is_sane = order.security_id.0 as usize == security
        && session.is_some_and(|s| s.owner == order.owner && s.stage == Stage::Open)
        && (1..=machine.index.0).contains(&order.order_id.0)
        && order.transact_time <= machine.time
        && order.cum_qty < order.order_qty;
    let tick = engine.markets.get(order.security_id)?.instrument.tick;
    if !is_sane || !order.price.is_multiple_of(tick) {
        return None;
    }
    let book = &mut engine.books[security];
    let crosses = book.best(order.side.opposite()).is_some_and(|best| match order.side {
        Side::Buy => order.price >= best,
        Side::Sell => order.price <= best,
    });
    if crosses {
        return None;
    }
    let slot = engine.orders.try_insert(order)?;
    book.rest(&mut engine.arena, order.side, order.price, order.leaves_qty(), slot);
    engine.session_orders.add(order.session, slot, order.order_id, &engine.orders);
    engine.owners.on_open(order.owner);
    Some(slot)
}

/// Restores one key and returns its arrival, which is not before `youngest`.
fn restore_key(
    machine: &mut Machine,
    open: &mut BTreeMap<(OwnerIdx, ClOrdId), OrderSlot>,
    youngest: Nanos,
    r: &mut Reader<'_>,
) -> Option<Nanos> {
    let engine = &mut machine.engine;
    let (mut entry, is_open) = read_key(r)?;
    let slot = if is_open { Some(open.remove(&(entry.owner, entry.cl_ord_id))?) } else { None };
    if let Some(slot) = slot {
        entry.state = KeyState::Open(slot).packed();
    }
    let hash = engine.dedup.hash(entry.owner, entry.cl_ord_id);
    let is_known = engine.dedup.find(hash, entry.owner, entry.cl_ord_id).is_some();
    let is_in_order = (youngest..=machine.active).contains(&entry.arrival);
    let is_sane = !is_known && is_in_order && entry.cum_qty <= entry.order_qty;
    if !is_sane || engine.dedup.len() == engine.dedup.capacity() {
        return None;
    }
    let idx = engine.dedup.try_insert(hash, entry).ok()?;
    if let Some(order) = slot.and_then(|slot| engine.orders.get_mut(slot)) {
        if (order.order_id, order.order_qty) != (entry.order_id, entry.order_qty) {
            return None;
        }
        order.key = u64::from(idx.0);
    }
    Some(entry.arrival)
}

fn write_capacities(c: &Capacities, out: &mut Writer) {
    out.u32(c.session_count_max);
    out.u32(c.resend_window);
    out.u32(c.key_count_max);
    out.u64(c.key_retention.0);
    out.u32(c.order_count_max);
    out.u64(c.hash_seed);
}

fn read_capacities(r: &mut Reader<'_>) -> Option<Capacities> {
    Some(Capacities {
        session_count_max: r.u32()?,
        resend_window: r.u32()?,
        key_count_max: r.u32()?,
        key_retention: Nanos(r.u64()?),
        order_count_max: r.u32()?,
        hash_seed: r.u64()?,
    })
}

fn write_order(order: &Order, out: &mut Writer) {
    out.u64(order.order_id.0);
    out.u64(order.cl_ord_id.0);
    out.i64(order.price.raw());
    out.i64(order.order_qty.raw());
    out.i64(order.cum_qty.raw());
    out.u64(order.transact_time.0);
    out.u32(order.session.0);
    out.u32(order.account.0);
    out.u32(order.security_id.0);
    out.u16(order.owner.0);
    out.u16(order.sender_sub_id.0);
    out.u8(order.side.wire());
    out.u8(order.ord_type.wire());
    out.u8(order.time_in_force.wire());
    out.u8(u8::from(order.post_only));
}

fn read_order(r: &mut Reader<'_>) -> Option<Order> {
    Some(Order {
        order_id: OrderId(r.u64()?),
        cl_ord_id: ClOrdId(r.u64()?),
        key: 0,
        price: Px::try_new(r.i64()?)?,
        order_qty: Qty::try_new(r.i64()?)?,
        cum_qty: Qty::try_new(r.i64()?)?,
        transact_time: Nanos(r.u64()?),
        session: SessionIdx(r.u32()?),
        account: Account(r.u32()?),
        security_id: SecurityId(r.u32()?),
        owner: OwnerIdx(r.u16()?),
        sender_sub_id: SenderSubId(r.u16()?),
        side: Side::from_wire(r.u8()?)?,
        ord_type: OrdType::from_wire(r.u8()?)?,
        time_in_force: TimeInForce::from_wire(r.u8()?)?,
        post_only: r.flag()?,
    })
}

/// A counter; those above 2^63 are out of reach and leave no room to count on.
fn read_count(r: &mut Reader<'_>) -> Option<u64> {
    r.u64().filter(|count| *count < 1 << 63)
}

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const REFUSED: u8 = 2;

fn write_key(entry: &KeyEntry, out: &mut Writer) {
    out.u8(match entry.state() {
        KeyState::Open(_) => OPEN,
        KeyState::Closed => CLOSED,
        KeyState::Refused => REFUSED,
    });
    out.u64(entry.cl_ord_id.0);
    out.u64(entry.fingerprint);
    out.u64(entry.arrival.0);
    out.u16(entry.owner.0);
    out.u16(entry.template);
    out.u64(entry.order_id.0);
    out.i64(entry.price);
    out.i64(entry.order_qty.raw());
    out.i64(entry.cum_qty.raw());
    out.u64(entry.transact_time.0);
    out.u64(entry.closing_cl_ord_id.0);
    out.u32(entry.security_id);
    out.u32(entry.account);
    out.u16(entry.sender_sub_id.0);
    out.u8(entry.side.wire());
    out.u8(entry.ord_type.wire());
    out.u8(entry.time_in_force.wire());
    out.u8(u8::from(entry.post_only));
    out.u8(entry.ord_status.wire());
    out.u8(entry.refusal);
}

fn read_key(r: &mut Reader<'_>) -> Option<(KeyEntry, bool)> {
    let state = r.u8()?;
    let entry = KeyEntry {
        cl_ord_id: ClOrdId(r.u64()?),
        fingerprint: r.u64()?,
        arrival: Nanos(r.u64()?),
        state: match state {
            OPEN | CLOSED => KeyState::Closed.packed(),
            REFUSED => KeyState::Refused.packed(),
            _ => return None,
        },
        owner: OwnerIdx(r.u16()?),
        template: r.u16()?,
        order_id: OrderId(r.u64()?),
        price: r.i64()?,
        order_qty: Qty::try_new(r.i64()?)?,
        cum_qty: Qty::try_new(r.i64()?)?,
        transact_time: Nanos(r.u64()?),
        closing_cl_ord_id: ClOrdId(r.u64()?),
        security_id: r.u32()?,
        account: r.u32()?,
        sender_sub_id: SenderSubId(r.u16()?),
        side: Side::from_wire(r.u8()?)?,
        ord_type: OrdType::from_wire(r.u8()?)?,
        time_in_force: TimeInForce::from_wire(r.u8()?)?,
        post_only: r.flag()?,
        ord_status: OrdStatus::from_wire(r.u8()?)?,
        refusal: r.u8()?,
    };
    let is_refusal = crate::engine::refusals::Refusal::from_code(entry.refusal).is_some();
    (entry.cl_ord_id.is_key() && (state != REFUSED || is_refusal)).then_some((entry, state == OPEN))
}
