//! One request through all gates.
//!
//! ```text
//! new order:  key? -> known: its outcome again | other fields: duplicate
//!             checks -> final refusal: kept with the key | retryable: key free
//!             room -> accepted -> match, one fill a step -> rest
//! cancel:     known closing id? -> checks -> out of the book, outcome to the key
//! sweep:      all orders of a session out of their books, by OrderID
//! status:     from the arena while open, from the key afterwards
//! ```
//!
//! Every handler has one rhythm: refuse early and by name, assert what must now hold, change state,
//! emit. A step emits at most `STEP_EVENTS_MAX` events; an order that trades more goes on in
//! `resume`, with the aggressor's slot as the only thing remembered; so does a sweep.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::book::{Book, BookArena, Fill, band_ticks};
use super::checks::{Checked, check};
use super::dedup::{Dedup, KeyEntry, KeyHash, KeyIdx, KeyState, Outcome};
use super::market::Markets;
use super::orders::{Order, Orders};
use super::owners::Owners;
use super::refusals::Refusal;
use super::reporter::{Execution, Reporter};
use super::session_orders::SessionOrders;
use crate::vocabulary::fix::{BusinessRejectReason, OrdStatus, RestatementReason};
use crate::vocabulary::message::{NewOrderSingle, OrderStatusRequest};
use crate::vocabulary::settings::{Capacities, Instrument};
use crate::vocabulary::units::{
    ClOrdId, Nanos, OrderId, OrderSlot, OwnerIdx, Qty, SecurityId, SenderSubId, SessionIdx,
    TrdMatchId,
};

/// All that an order can change or depend on, sessions apart.
pub struct Engine {
    pub(crate) dedup: Dedup,
    pub(crate) orders: Orders,
    pub(crate) session_orders: SessionOrders,
    pub(crate) markets: Markets,
    pub(crate) owners: Owners,
    pub(crate) arena: BookArena,
    pub(crate) books: Vec<Book>,
    pub(crate) trade_count: u64,
    hash_seed: u64,
    /// The order that is being matched, between two cuts.
    aggressor: Option<OrderSlot>,
    /// The session whose orders are being cancelled, and why, between two cuts.
    pub(super) sweep: Option<(SessionIdx, RestatementReason)>,
}

/// Whether an input is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "an input with more to say goes on with resume"]
pub enum Progress {
    /// Everything was said.
    Done,
    /// Drain the outbox, then call `resume` before any other record.
    More,
}

impl Engine {
    /// An engine without instruments and owners. All tables are built here.
    #[must_use]
    pub fn new(capacities: &Capacities) -> Self {
        let Capacities {
            session_count_max,
            key_count_max,
            key_retention,
            order_count_max,
            hash_seed,
            ..
        } = *capacities;
        Self {
            dedup: Dedup::new(key_count_max, key_retention, hash_seed),
            orders: Orders::new(order_count_max),
            session_orders: SessionOrders::new(session_count_max, order_count_max),
            markets: Markets::new(),
            owners: Owners::new(),
            arena: BookArena::new(order_count_max),
            books: Vec::with_capacity(crate::limits::INSTRUMENT_COUNT_MAX),
            trade_count: 0,
            hash_seed,
            aggressor: None,
            sweep: None,
        }
    }

    /// Adds an instrument and its book, or changes the band of one. False when it cannot be.
    #[must_use]
    pub fn set_instrument(&mut self, instrument: Instrument) -> bool {
        let is_sane = instrument.tick.raw() > 0
            && !instrument.lot.is_zero()
            && instrument.low_limit <= instrument.high_limit;
        match is_sane.then(|| self.markets.set(instrument)) {
            Some(Ok(_)) => {
                self.make_books();
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    /// Gives every instrument that has none an empty book.
    pub(crate) fn make_books(&mut self) {
        for market in self.markets.iter().skip(self.books.len()) {
            let Instrument { security_id, tick, .. } = market.instrument;
            self.books.push(Book::new(security_id, tick, band_ticks(&market.instrument)));
        }
    }

    /// Looks at up to `KEYS_EXPIRED_A_STEP_MAX` keys whose time is over, as of `active` time:
    /// forgets them, or keeps those whose order is open. Returns how many.
    pub fn expire(&mut self, active: Nanos) -> u32 {
        let expired = self.dedup.expire(active);
        let mut touched = expired.removed;
        for moved in expired.moves() {
            touched += 1;
            match self.orders.get_mut(moved.slot) {
                Some(order) => order.key = u64::from(moved.to.0),
                None => unreachable_slot(moved.slot),
            }
        }
        touched
    }

    /// A new order of `owner` through `session`; its id is the journal index of its record.
    pub fn on_new_order(
        &mut self,
        session: SessionIdx,
        owner: OwnerIdx,
        request: &NewOrderSingle,
        rep: &mut Reporter<'_>,
    ) -> Progress {
        if !request.cl_ord_id.is_key() {
            rep.refused(session, request, Refusal::NoKey);
            return Progress::Done;
        }
        let hash = self.dedup.hash(owner, request.cl_ord_id);
        let fingerprint = fingerprint(request, self.hash_seed);
        if let Some(idx) = self.dedup.find(hash, owner, request.cl_ord_id) {
            self.on_known_key(session, idx, fingerprint, request, rep);
            return Progress::Done;
        }
        let verdict = check(request, owner, &self.markets, &self.owners);
        let accepted = match verdict {
            Ok(checked) => {
                self.try_accept(session, owner, request, (hash, fingerprint), &checked, rep)
            }
            Err(refusal) => Err(refusal),
        };
        match accepted {
            Ok(slot) => {
                self.aggressor = Some(slot);
                self.resume(rep)
            }
            Err(refusal) => {
                self.refuse(session, owner, request, (hash, fingerprint), refusal, rep);
                Progress::Done
            }
        }
    }

    /// Goes on with what is unfinished until it is done or the outbox is full.
    pub fn resume(&mut self, rep: &mut Reporter<'_>) -> Progress {
        if let Some((session, reason)) = self.sweep {
            return self.go_on_sweeping(session, reason, rep);
        }
        let Some(slot) = self.aggressor else { return Progress::Done };
        while rep.out.has_room_for_step() {
            let Some(order) = self.orders.get(slot) else { unreachable_slot(slot) };
            let (security_id, side) = (order.security_id, order.side);
            let (price, leaves) = (order.price, order.leaves_qty());
            let book = &mut self.books[security_id.0 as usize];
            let Some(fill) = book.match_one(&mut self.arena, side, price, leaves) else {
                book.rest(&mut self.arena, side, price, leaves, slot);
                self.aggressor = None;
                return Progress::Done;
            };
            self.on_fill(slot, security_id, fill, rep);
            if fill.qty == leaves {
                self.close(slot, OrdStatus::Filled, ClOrdId(0), rep.time);
                self.aggressor = None;
                return Progress::Done;
            }
        }
        Progress::More
    }

    /// Open orders of a session.
    #[must_use]
    pub fn session_order_count(&self, session: SessionIdx) -> u32 {
        self.session_orders.count(session)
    }

    /// The instruments and their phases.
    #[must_use]
    pub const fn markets(&self) -> &Markets {
        &self.markets
    }

    /// Keys in the dedup table.
    #[must_use]
    pub const fn key_count(&self) -> u32 {
        self.dedup.len()
    }

    /// Whether the key table is nearly full: refusals follow.
    #[must_use]
    pub const fn is_nearly_full(&self) -> bool {
        self.dedup.is_nearly_full()
    }

    /// Open orders of all owners.
    #[must_use]
    pub fn open_order_count(&self) -> u32 {
        self.orders.len()
    }

    /// Whether an order is being matched, or a session's orders are being cancelled.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        self.aggressor.is_some() || self.sweep.is_some()
    }

    /// A status request of `owner` through `session`.
    pub fn on_status(
        &mut self,
        session: SessionIdx,
        owner: OwnerIdx,
        request: &OrderStatusRequest,
        rep: &mut Reporter<'_>,
    ) {
        let id = request.ord_status_req_id;
        if id == 0 || id == u64::MAX {
            let reason = BusinessRejectReason::RequiredFieldMissing;
            return rep.status_refused(session, request, reason, "OrdStatusReqID is 0 or null");
        }
        let Some(idx) = self.find(owner, request.cl_ord_id) else {
            let reason = BusinessRejectReason::UnknownId;
            return rep.status_refused(session, request, reason, "unknown order");
        };
        let entry = self.dedup.get(idx);
        match entry.state() {
            KeyState::Open(slot) => match self.orders.get(slot) {
                Some(order) => rep.status_open(session, request.cl_ord_id, order, id),
                None => unreachable_slot(slot),
            },
            KeyState::Closed => rep.status_closed(session, request.cl_ord_id, entry, id),
            KeyState::Refused => rep.refused_again(session, entry, kept_refusal(entry)),
        }
    }

    /// The key is known: its outcome again, or a refusal that leaves the original untouched.
    fn on_known_key(
        &mut self,
        session: SessionIdx,
        idx: KeyIdx,
        fingerprint: u64,
        request: &NewOrderSingle,
        rep: &mut Reporter<'_>,
    ) {
        let entry = self.dedup.get(idx);
        if entry.template != NEW_ORDER || entry.fingerprint != fingerprint {
            return rep.refused(session, request, Refusal::DuplicateOrder);
        }
        match entry.state() {
            KeyState::Open(slot) => {
                let Some(order) = self.orders.get_mut(slot) else { unreachable_slot(slot) };
                // A client that lost its session gets its order's reports again (ruling F17).
                let is_orphan = rep.sessions.get(order.session).is_none_or(|s| !s.is_bound);
                let (from, id) = (order.session, order.order_id);
                let is_taken = request.poss_resend == 1 && is_orphan && from != session;
                if is_taken {
                    order.session = session;
                }
                rep.status_open(session, request.cl_ord_id, order, 0);
                if is_taken {
                    self.session_orders.remove(from, slot);
                    self.session_orders.add(session, slot, id, &self.orders);
                }
            }
            KeyState::Closed => rep.status_closed(session, request.cl_ord_id, entry, 0),
            KeyState::Refused => rep.refused_again(session, entry, kept_refusal(entry)),
        }
    }

    /// Takes a key and a slot, tells the client, and leaves the order ready to be matched.
    fn try_accept(
        &mut self,
        session: SessionIdx,
        owner: OwnerIdx,
        request: &NewOrderSingle,
        (hash, fingerprint): (KeyHash, u64),
        checked: &Checked,
        rep: &mut Reporter<'_>,
    ) -> Result<OrderSlot, Refusal> {
        let mut order = Order {
            order_id: OrderId(rep.index.0),
            cl_ord_id: request.cl_ord_id,
            key: 0,
            price: checked.price,
            order_qty: checked.order_qty,
            cum_qty: Qty::ZERO,
            transact_time: rep.time,
            session,
            account: checked.account,
            security_id: checked.security_id,
            owner,
            sender_sub_id: SenderSubId(request.sender_sub_id),
            side: checked.side,
            ord_type: checked.ord_type,
            time_in_force: checked.time_in_force,
            post_only: false,
        };
        if self.dedup.len() == self.dedup.capacity() {
            return Err(Refusal::Capacity);
        }
        let slot = self.orders.try_insert(order).ok_or(Refusal::Capacity)?;
        self.session_orders.add(session, slot, order.order_id, &self.orders);
        let entry = KeyEntry {
            fingerprint,
            template: NEW_ORDER,
            arrival: rep.active,
            state: KeyState::Open(slot).packed(),
            order_id: order.order_id,
            price: order.price.raw(),
            order_qty: order.order_qty,
            transact_time: rep.time,
            security_id: request.security_id,
            account: request.account,
            sender_sub_id: order.sender_sub_id,
            side: order.side,
            ord_type: order.ord_type,
            time_in_force: order.time_in_force,
            post_only: order.post_only,
            ord_status: OrdStatus::New,
            ..KeyEntry::refused(owner, request.cl_ord_id, 0)
        };
        let Ok(idx) = self.dedup.try_insert(hash, entry) else {
            panic!("the key table was not full a moment ago");
        };
        order.key = u64::from(idx.0);
        if let Some(kept) = self.orders.get_mut(slot) {
            kept.key = order.key;
        }
        self.owners.on_open(owner);
        rep.accepted(&order);
        Ok(slot)
    }

    /// Answers with a refusal. A final one is kept with its key; if there is no room to keep it,
    /// the answer is `Capacity`, which leaves the key free: a final answer that could be forgotten
    /// early would not be final.
    fn refuse(
        &mut self,
        session: SessionIdx,
        owner: OwnerIdx,
        request: &NewOrderSingle,
        (hash, fingerprint): (KeyHash, u64),
        refusal: Refusal,
        rep: &mut Reporter<'_>,
    ) {
        if refusal.row().is_retryable {
            return rep.refused(session, request, refusal);
        }
        let entry = KeyEntry {
            fingerprint,
            template: NEW_ORDER,
            arrival: rep.active,
            transact_time: rep.time,
            security_id: request.security_id,
            account: request.account,
            ..KeyEntry::refused(owner, request.cl_ord_id, refusal.code())
        };
        match self.dedup.try_insert(hash, entry) {
            Ok(_) => rep.refused(session, request, refusal),
            Err(_) => rep.refused(session, request, Refusal::Capacity),
        }
    }

    /// Both sides of one trade: the incoming order first.
    fn on_fill(
        &mut self,
        aggressor: OrderSlot,
        security_id: SecurityId,
        fill: Fill,
        rep: &mut Reporter<'_>,
    ) {
        self.trade_count += 1;
        self.markets.on_trade(security_id, fill.px);
        for (slot, is_aggressor) in [(aggressor, true), (fill.maker, false)] {
            let Some(order) = self.orders.get_mut(slot) else { unreachable_slot(slot) };
            order.cum_qty = order.cum_qty.plus(fill.qty);
            order.transact_time = rep.time;
            let trd_match_id = TrdMatchId(self.trade_count);
            rep.traded(order, Execution { px: fill.px, qty: fill.qty, trd_match_id, is_aggressor });
        }
        if fill.is_maker_done {
            self.close(fill.maker, OrdStatus::Filled, ClOrdId(0), rep.time);
        }
    }

    /// Ends an order: its outcome goes to its key, its slot is free. It has left the book.
    pub(super) fn close(
        &mut self,
        slot: OrderSlot,
        ord_status: OrdStatus,
        closing: ClOrdId,
        now: Nanos,
    ) {
        let order = self.orders.remove(slot);
        self.session_orders.remove(order.session, slot);
        let Ok(key) = u32::try_from(order.key) else { panic!("a key's position has 32 bits") };
        assert!(
            self.dedup.get(KeyIdx(key)).order_id == order.order_id,
            "an order and its key name each other"
        );
        let outcome = Outcome {
            ord_status,
            cum_qty: order.cum_qty,
            transact_time: now,
            closing_cl_ord_id: closing,
        };
        self.dedup.close(KeyIdx(key), outcome);
        self.owners.on_close(order.owner);
    }

    pub(super) fn find(&self, owner: OwnerIdx, cl_ord_id: ClOrdId) -> Option<KeyIdx> {
        if !cl_ord_id.is_key() {
            return None;
        }
        self.dedup.find(self.dedup.hash(owner, cl_ord_id), owner, cl_ord_id)
    }
}

/// Template 100, as kept with a key.
const NEW_ORDER: u16 = 100;

/// 64 bits over every field but MsgSeqNum, SendingTime and PossResend (ruling F06): they decide
/// whether a repeated key is the same request.
fn fingerprint(request: &NewOrderSingle, seed: u64) -> u64 {
    let mut fields = [0; 47];
    fields[0..8].copy_from_slice(&request.price.to_le_bytes());
    fields[8..16].copy_from_slice(&request.order_qty.to_le_bytes());
    fields[16..24].copy_from_slice(&request.stop_px.to_le_bytes());
    fields[24..32].copy_from_slice(&request.expire_time.to_le_bytes());
    fields[32..36].copy_from_slice(&request.security_id.to_le_bytes());
    fields[36..40].copy_from_slice(&request.account.to_le_bytes());
    fields[40..42].copy_from_slice(&request.sender_sub_id.to_le_bytes());
    fields[42] = request.side;
    fields[43] = request.ord_type;
    fields[44] = request.time_in_force;
    fields[45] = request.post_only;
    fields[46] = request.self_match;
    xxh3_64_with_seed(&fields, seed)
}

/// The refusal kept with a key.
fn kept_refusal(entry: &KeyEntry) -> Refusal {
    match Refusal::from_code(entry.refusal) {
        Some(refusal) => refusal,
        None => panic!("key {} keeps refusal {}, which is none", entry.cl_ord_id, entry.refusal),
    }
}

#[cold]
pub(super) fn unreachable_slot(slot: OrderSlot) -> ! {
    panic!("slot {slot} is named by a key or a book and holds no open order")
}
