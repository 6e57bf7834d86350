//! Dedup: each key is accepted once, and every later use of it gets the first answer.
//!
//! A client that hears nothing sends again, after a reconnect, on a new session, to another node. A
//! set of seen ids would keep the order from running twice but could not say what became of it. So
//! each key (owner, ClOrdID) keeps its final outcome, for a stated time, exactly: no filter that
//! is right most of the time, since one wrong answer is an order lost or done twice.
//!
//! ```text
//!            old end                            young end
//! keys   ->  [ tail ............................ head )      a fixed ring in order of arrival
//! map        (tag, position) by hash, two slots a key        find, without reading the ring
//! ```
//!
//! Forgetting is by time alone. Arrivals never fall from the old end to the young one, so what is
//! due stands at the old end, and each step looks at two entries there and no other: no sweep, no
//! pause. A key whose order is still open when its time comes goes to the young end and arrives
//! again, now. Keeping its first arrival would break the order of the ring, and a ring of nothing
//! but old open orders would turn by two entries at every step; arriving again, each moves once a
//! retention. The price: after such an order closes, its key stays for up to one retention more.
//!
//! When full: `try_insert` refuses ([`TableFull`], a retryable refusal "capacity"). A live key is
//! never forgotten to make room. [`Dedup::is_nearly_full`] is the alarm, at 7/8.
//!
//! Memory: 112 octets a key (96 in the ring, 16 in the map), all of it allocated and written by
//! [`Dedup::new`]: 0.11 GiB for 2^20 keys, 1.75 GiB for 2^24.

use super::key_map::{KeyHasher, KeyMap};
use crate::limits::KEYS_EXPIRED_A_STEP_MAX;
use crate::vocabulary::fix::{OrdStatus, OrdType, Side, TimeInForce};
use crate::vocabulary::message::{NULL_I64, NULL_U64};
use crate::vocabulary::units::{ClOrdId, Nanos, OrderId, OrderSlot, OwnerIdx, Qty, SenderSubId};

pub use super::key_map::KeyHash;

/// Largest ring: 7 GiB. The map's tag keeps 5 bits beyond the home slot even then.
pub const KEY_COUNT_MAX: u32 = 1 << 26;
/// Smallest ring: what one step may touch at the old end.
pub const KEY_COUNT_MIN: u32 = 2;
const _: () = assert!(KEYS_EXPIRED_A_STEP_MAX <= KEY_COUNT_MIN);

/// The position of a key in the ring: a count of arrivals that wraps at 2^32.
///
/// Its low bits are the ring's slot, so the map's 32 bits hold it whole. It is valid until the key
/// is removed, or moved ([`Expired::moves`] tells where to); use after that is an assertion, as a
/// position comes back only after 2^32 more arrivals. It is an address, not state: a restored table
/// gives other positions, so no digest and no snapshot may hold one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct KeyIdx(pub u32);

/// What became of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// The order is open; its current state is in the order arena.
    Open(OrderSlot),
    /// The order ended; its outcome is in the entry.
    Closed,
    /// The order was refused for good; the reason is in the entry.
    Refused,
}

/// A [`KeyState`] in 4 octets: the slot of the open order, or one of the two largest numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackedState(u32);

/// One key and everything that the answer to its repetition needs; 96 octets.
///
/// The first 32 octets are what `find`, the comparison of parameters and `expire` read. As entries
/// are aligned to 32, they are always in one cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(32))]
pub struct KeyEntry {
    /// ClOrdID(11), the second half of the key.
    pub cl_ord_id: ClOrdId,
    /// Of the parameters (ruling F06): an equal fingerprint means the same request.
    pub fingerprint: u64,
    /// Active time of the arrival, or of the last move to the young end.
    pub arrival: Nanos,
    /// What became of it; read it by [`KeyEntry::state`].
    pub state: PackedState,
    /// The owner, the first half of the key.
    pub owner: OwnerIdx,
    /// The SBE template of the request: 100 or 101.
    pub template: u16,

    /// OrderID(37); 0 if refused.
    pub order_id: OrderId,
    /// Price(44) x 1e-8, or `NULL_I64`; null if refused.
    pub price: i64,
    /// OrderQty(38); 0 if refused.
    pub order_qty: Qty,
    /// CumQty(14) when the order closed; 0 if refused, not kept up while it is open.
    pub cum_qty: Qty,
    /// TransactTime(60) of the order's last event, or of the refusal; not kept up while open.
    pub transact_time: Nanos,
    /// ClOrdID(11) of the cancel that closed the order; 0 if none did.
    pub closing_cl_ord_id: ClOrdId,
    /// SecurityID(48) as sent.
    pub security_id: u32,
    /// Account(1) as sent.
    pub account: u32,
    /// SenderSubID(50).
    pub sender_sub_id: SenderSubId,
    /// Side(54); without meaning if refused.
    pub side: Side,
    /// OrdType(40); without meaning if refused.
    pub ord_type: OrdType,
    /// TimeInForce(59); without meaning if refused.
    pub time_in_force: TimeInForce,
    /// PostOnly; without meaning if refused.
    pub post_only: bool,
    /// OrdStatus(39) when the order closed, or Rejected; not kept up while open.
    pub ord_status: OrdStatus,
    /// Row of the table of refusals; without meaning unless refused.
    pub refusal: u8,
}

const _: () = assert!(size_of::<KeyEntry>() == 96 && align_of::<KeyEntry>() == 32);
const _: () = assert!(std::mem::offset_of!(KeyEntry, order_id) == 32);

/// How an order ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// OrdStatus(39), the last.
    pub ord_status: OrdStatus,
    /// CumQty(14), the last; at most OrderQty.
    pub cum_qty: Qty,
    /// TransactTime(60) of the last event.
    pub transact_time: Nanos,
    /// ClOrdID(11) of the cancel that closed it; 0 if none did.
    pub closing_cl_ord_id: ClOrdId,
}

/// Every place of the ring holds a key that may not be forgotten yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableFull;

/// What one step of [`Dedup::expire`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "open orders must be told where their keys went"]
pub struct Expired {
    /// Keys forgotten, in `[0, KEYS_EXPIRED_A_STEP_MAX]`.
    pub removed: u32,
    moves: [Option<Moved>; KEYS_EXPIRED_A_STEP_MAX as usize],
}

/// The key of an open order went to the young end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The open order.
    pub slot: OrderSlot,
    /// Where its key is now.
    pub to: KeyIdx,
}

/// The table.
///
/// Invariants: no two entries have one key; each entry of the ring, and nothing else, is found
/// through the map; arrivals do not fall from tail to head; entries never outnumber the ring.
pub struct Dedup {
    keys: Box<[KeyEntry]>,
    map: KeyMap,
    hasher: KeyHasher,
    /// Places - 1: the low bits of a position are its place.
    mask: u32,
    retention: Nanos,
    /// Position of the oldest entry.
    tail: u32,
    /// Position of the next entry; `head - tail`, wrapping, is the count of entries.
    head: u32,
}

impl PackedState {
    const CLOSED: u32 = u32::MAX;
    const REFUSED: u32 = u32::MAX - 1;

    /// The state.
    #[must_use]
    pub const fn get(self) -> KeyState {
        match self.0 {
            Self::CLOSED => KeyState::Closed,
            Self::REFUSED => KeyState::Refused,
            slot => KeyState::Open(OrderSlot(slot)),
        }
    }
}

impl KeyState {
    /// As an entry holds it. A slot is below `u32::MAX - 1`.
    #[must_use]
    pub const fn packed(self) -> PackedState {
        match self {
            Self::Open(OrderSlot(slot)) => {
                assert!(slot < PackedState::REFUSED, "no arena has so many slots");
                PackedState(slot)
            }
            Self::Closed => PackedState(PackedState::CLOSED),
            Self::Refused => PackedState(PackedState::REFUSED),
        }
    }
}

impl KeyEntry {
    /// What a place of the ring holds before its first key. Null is never a ClOrdID.
    const VACANT: Self = Self {
        cl_ord_id: ClOrdId(NULL_U64),
        fingerprint: 0,
        arrival: Nanos(0),
        state: KeyState::Closed.packed(),
        owner: OwnerIdx(0),
        template: 0,
        order_id: OrderId(0),
        price: NULL_I64,
        order_qty: Qty::ZERO,
        cum_qty: Qty::ZERO,
        transact_time: Nanos(0),
        closing_cl_ord_id: ClOrdId(0),
        security_id: 0,
        account: 0,
        sender_sub_id: SenderSubId(0),
        side: Side::Buy,
        ord_type: OrdType::Limit,
        time_in_force: TimeInForce::Day,
        post_only: false,
        ord_status: OrdStatus::Rejected,
        refusal: 0,
    };

    /// The key of a request that was refused for good by row `refusal` of the table of refusals.
    /// The caller sets what the repeated refusal tells: template, security, account, time.
    #[must_use]
    pub const fn refused(owner: OwnerIdx, cl_ord_id: ClOrdId, refusal: u8) -> Self {
        Self { cl_ord_id, owner, refusal, state: KeyState::Refused.packed(), ..Self::VACANT }
    }

    /// Whether this is the entry of that key.
    #[must_use]
    pub fn has_key(&self, owner: OwnerIdx, cl_ord_id: ClOrdId) -> bool {
        self.cl_ord_id == cl_ord_id && self.owner == owner
    }

    /// What became of the key.
    #[must_use]
    pub const fn state(&self) -> KeyState {
        self.state.get()
    }
}

impl Expired {
    /// The keys that moved; each order must be told before the next call into the table.
    pub fn moves(&self) -> impl Iterator<Item = Moved> + '_ {
        self.moves.iter().flatten().copied()
    }
}

impl Dedup {
    /// A table of `key_count_max` keys, a power of two in `[KEY_COUNT_MIN, KEY_COUNT_MAX]`, that
    /// keeps each for at least `retention`, above 0, of active time. Allocates and writes all of
    /// its memory. `hash_seed` is drawn once and kept from clients.
    #[must_use]
    pub fn new(key_count_max: u32, retention: Nanos, hash_seed: u64) -> Self {
        Self::starting_at(0, key_count_max, retention, KeyHasher::new(hash_seed))
    }

    /// What `new` takes, in bytes.
    #[must_use]
    pub fn bytes(key_count_max: u32) -> u64 {
        u64::from(key_count_max) * size_of::<KeyEntry>() as u64 + KeyMap::bytes(key_count_max)
    }

    fn starting_at(position: u32, key_count_max: u32, retention: Nanos, hasher: KeyHasher) -> Self {
        assert!(
            key_count_max.is_power_of_two()
                && (KEY_COUNT_MIN..=KEY_COUNT_MAX).contains(&key_count_max),
            "key_count_max is a power of two in [{KEY_COUNT_MIN}, {KEY_COUNT_MAX}], got \
             {key_count_max}"
        );
        assert!(retention.0 > 0, "a retention of 0 would forget every key at once");
        Self {
            keys: vec![KeyEntry::VACANT; key_count_max as usize].into_boxed_slice(),
            map: KeyMap::new(key_count_max),
            hasher,
            mask: key_count_max - 1,
            retention,
            tail: position,
            head: position,
        }
    }

    /// Adds a key that is not there, at the young end. `entry.arrival` never goes back from one
    /// call to the next. Also restores a table: insert what [`Dedup::iter`] gave, in its order.
    pub fn try_insert(&mut self, hash: KeyHash, entry: KeyEntry) -> Result<KeyIdx, TableFull> {
        let (owner, cl_ord_id) = (entry.owner, entry.cl_ord_id);
        assert!(cl_ord_id.is_key(), "0 and null are never keys");
        debug_assert_eq!(hash, self.hash(owner, cl_ord_id), "the hash of another key");
        if self.len() == self.capacity() {
            return Err(TableFull);
        }
        self.assert_not_before_youngest(entry.arrival);
        let (keys, mask) = (&self.keys, self.mask);
        self.map.insert(hash, self.head, |position| {
            keys[(position & mask) as usize].has_key(owner, cl_ord_id)
        });
        Ok(self.push(entry))
    }

    /// Looks at up to [`KEYS_EXPIRED_A_STEP_MAX`] entries at the old end: forgets those whose time
    /// has come, and moves the ones whose order is open to the young end, where they arrive again.
    /// `active_now` never goes back; call this before anything else in a step.
    pub fn expire(&mut self, active_now: Nanos) -> Expired {
        let mut done = Expired::default();
        self.assert_not_before_youngest(active_now);
        for moved in &mut done.moves {
            let from = KeyIdx(self.tail);
            if self.is_empty() || active_now.since(self.get(from).arrival) < self.retention {
                break;
            }
            let mut entry = *self.get(from);
            let hash = self.hash(entry.owner, entry.cl_ord_id);
            self.tail = self.tail.wrapping_add(1);
            match entry.state() {
                KeyState::Open(slot) => {
                    entry.arrival = active_now;
                    self.map.reposition(hash, from.0, self.head);
                    let to = self.push(entry);
                    *moved = Some(Moved { slot, to });
                }
                KeyState::Closed | KeyState::Refused => {
                    self.map.remove(hash, from.0);
                    done.removed += 1;
                }
            }
        }
        done
    }

    /// Copies the outcome of an order into its key. Once: a final answer never changes.
    pub fn close(&mut self, idx: KeyIdx, outcome: Outcome) {
        let at = self.place(idx);
        let entry = &mut self.keys[at];
        assert!(
            matches!(entry.state(), KeyState::Open(_)),
            "only the key of an open order closes: {entry:?}"
        );
        assert!(outcome.cum_qty <= entry.order_qty, "more traded than ordered");
        entry.state = KeyState::Closed.packed();
        entry.ord_status = outcome.ord_status;
        entry.cum_qty = outcome.cum_qty;
        entry.transact_time = outcome.transact_time;
        entry.closing_cl_ord_id = outcome.closing_cl_ord_id;
    }

    /// The hash of a key, apart from the look-up so that it can be made while a frame is decoded.
    #[must_use]
    #[inline]
    pub fn hash(&self, owner: OwnerIdx, cl_ord_id: ClOrdId) -> KeyHash {
        self.hasher.hash(owner, cl_ord_id)
    }

    /// Asks memory for what a find of `hash` reads first: called where a frame is decoded, it is
    /// there when the turn's records are applied.
    #[inline]
    pub fn prefetch(&self, hash: KeyHash) {
        self.map.prefetch(hash);
    }

    /// The key, compared in full. `hash` is [`Dedup::hash`] of the same key.
    #[must_use]
    #[inline]
    pub fn find(&self, hash: KeyHash, owner: OwnerIdx, cl_ord_id: ClOrdId) -> Option<KeyIdx> {
        debug_assert_eq!(hash, self.hash(owner, cl_ord_id), "the hash of another key");
        let is_key = |position| self.get(KeyIdx(position)).has_key(owner, cl_ord_id);
        self.map.find(hash, is_key).map(KeyIdx)
    }

    /// The entry at a valid position.
    #[must_use]
    #[inline]
    pub fn get(&self, idx: KeyIdx) -> &KeyEntry {
        &self.keys[self.place(idx)]
    }

    /// Keys in the table.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.head.wrapping_sub(self.tail)
    }

    /// Whether there is no key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys that fit.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.mask + 1
    }

    /// Whether an operator should be told: 7/8 of the places are taken.
    #[must_use]
    pub const fn is_nearly_full(&self) -> bool {
        self.len() >= self.capacity() - self.capacity() / 8
    }

    /// Active time at which the oldest key may be forgotten.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Nanos> {
        let oldest = (!self.is_empty()).then(|| self.get(KeyIdx(self.tail)))?;
        Some(oldest.arrival.saturating_add(self.retention))
    }

    /// Every key, oldest first: the canonical order for digests and snapshots. The positions are
    /// not part of the state.
    pub fn iter(&self) -> impl Iterator<Item = (KeyIdx, &KeyEntry)> {
        (0..self.len()).map(|age| {
            let idx = KeyIdx(self.tail.wrapping_add(age));
            (idx, self.get(idx))
        })
    }

    /// The cheap half of the invariants, in constant time.
    pub fn assert_invariants(&self) {
        assert!(self.len() <= self.capacity(), "more keys than places");
        assert_eq!(self.len(), self.map.count(), "keys of the ring and of the map");
        self.map.assert_invariants();
        if !self.is_empty() {
            let oldest = self.get(KeyIdx(self.tail)).arrival;
            let youngest = self.get(KeyIdx(self.head.wrapping_sub(1))).arrival;
            assert!(oldest <= youngest, "the oldest key arrived after the youngest");
        }
    }

    /// The dear half: reads everything. For tests and simulation.
    pub fn assert_invariants_all(&self) {
        self.assert_invariants();
        self.map.assert_invariants_all();
        let mut arrival = Nanos(0);
        for (idx, entry) in self.iter() {
            let hash = self.hash(entry.owner, entry.cl_ord_id);
            // Of two entries with one key, only one could be found.
            let found = self.find(hash, entry.owner, entry.cl_ord_id);
            assert_eq!(found, Some(idx), "an entry is not the one found for its key");
            assert!(arrival <= entry.arrival, "an older entry arrived later");
            arrival = entry.arrival;
        }
        for (hash, position) in self.map.iter() {
            let entry = self.get(KeyIdx(position));
            assert_eq!(hash, self.hash(entry.owner, entry.cl_ord_id));
        }
    }

    fn push(&mut self, entry: KeyEntry) -> KeyIdx {
        let idx = KeyIdx(self.head);
        self.head = self.head.wrapping_add(1);
        let at = self.place(idx);
        self.keys[at] = entry;
        idx
    }

    /// The place of a valid position in the ring.
    fn place(&self, idx: KeyIdx) -> usize {
        let age = idx.0.wrapping_sub(self.tail);
        assert!(age < self.len(), "a key that was removed or moved: {idx:?}");
        (idx.0 & self.mask) as usize
    }

    /// Arrivals are an order only while active time does not go back.
    fn assert_not_before_youngest(&self, active_now: Nanos) {
        if !self.is_empty() {
            let youngest = self.get(KeyIdx(self.head.wrapping_sub(1))).arrival;
            assert!(
                youngest <= active_now,
                "active time went back from {youngest} to {active_now}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key_map::tests::random_from;
    use super::*;
    use std::collections::{BTreeMap, BTreeSet, VecDeque};
    use std::fmt::Debug;

    const RETENTION: Nanos = Nanos(10);

    /// One step of a script; keys are (owner, ClOrdID).
    #[derive(Clone, Copy)]
    enum Step {
        /// Inserts the key of an order in this slot.
        Open((u16, u64), u32),
        /// Inserts the key of a refused order.
        Refuse((u16, u64)),
        /// Closes the key's order as filled.
        Close((u16, u64)),
        Find((u16, u64)),
        Expire,
    }
    use Step::{Close, Expire, Find, Open, Refuse};

    fn entry(key: (u16, u64), arrival: Nanos, state: KeyState) -> KeyEntry {
        let (owner, cl_ord_id) = (OwnerIdx(key.0), ClOrdId(key.1));
        KeyEntry {
            arrival,
            state: state.packed(),
            fingerprint: key.1 ^ arrival.0,
            order_qty: Qty::MAX,
            ..KeyEntry::refused(owner, cl_ord_id, 3)
        }
    }

    fn find(table: &Dedup, key: (u16, u64)) -> Option<KeyIdx> {
        let (owner, cl_ord_id) = (OwnerIdx(key.0), ClOrdId(key.1));
        table.find(table.hash(owner, cl_ord_id), owner, cl_ord_id)
    }

    fn insert(table: &mut Dedup, entry: KeyEntry) -> Result<KeyIdx, TableFull> {
        table.try_insert(table.hash(entry.owner, entry.cl_ord_id), entry)
    }

    fn outcome(transact_time: Nanos) -> Outcome {
        Outcome {
            ord_status: OrdStatus::Filled,
            cum_qty: Qty::MAX,
            transact_time,
            closing_cl_ord_id: ClOrdId(0),
        }
    }

    /// Runs a script on a table of 4 keys; a row is the active time, the step, and what it answers.
    fn check(rows: &[(u64, Step, &str)]) {
        let mut table = Dedup::new(4, RETENTION, 42);
        for (row, &(now, step, expected)) in rows.iter().enumerate() {
            let now = Nanos(now);
            let mut try_in = |key, state| match insert(&mut table, entry(key, now, state)) {
                Ok(_) => "in".to_owned(),
                Err(TableFull) => "full".to_owned(),
            };
            let came = match step {
                Open(key, slot) => try_in(key, KeyState::Open(OrderSlot(slot))),
                Refuse(key) => try_in(key, KeyState::Refused),
                Close(key) => {
                    let idx = find(&table, key).unwrap();
                    table.close(idx, outcome(now));
                    "ok".to_owned()
                }
                Find(key) => match find(&table, key).map(|idx| *table.get(idx)) {
                    None => "miss".to_owned(),
                    Some(found) => match found.state() {
                        KeyState::Open(slot) => format!("open {slot}"),
                        KeyState::Closed => {
                            format!("{} at {}", found.ord_status.name(), found.transact_time)
                        }
                        KeyState::Refused => format!("refused by {}", found.refusal),
                    },
                },
                Expire => {
                    let done = table.expire(now);
                    let moved: Vec<u32> = done.moves().map(|moved| moved.slot.0).collect();
                    format!("removed {}, moved {moved:?}", done.removed)
                }
            };
            assert_eq!(came, expected, "row {row}");
            table.assert_invariants_all();
        }
    }

    #[test]
    fn a_key_keeps_its_first_answer() {
        check(&[
            (0, Find((1, 5)), "miss"),
            (0, Open((1, 5), 7), "in"),
            (0, Refuse((1, 6)), "in"),
            (1, Find((1, 5)), "open 7"),
            (1, Find((1, 6)), "refused by 3"),
            // The same ClOrdID of another owner is another key.
            (1, Find((2, 5)), "miss"),
            (1, Refuse((2, 5)), "in"),
            (2, Find((2, 5)), "refused by 3"),
            (2, Find((1, 5)), "open 7"),
            (2, Close((1, 5)), "ok"),
            (9, Find((1, 5)), "Filled at 2"),
        ]);
    }

    #[test]
    fn a_key_is_forgotten_when_its_time_has_come_and_not_before() {
        check(&[
            (0, Expire, "removed 0, moved []"),
            (0, Refuse((1, 1)), "in"),
            (1, Open((1, 2), 0), "in"),
            (2, Close((1, 2)), "ok"),
            (9, Expire, "removed 0, moved []"),
            (9, Find((1, 1)), "refused by 3"),
            (10, Expire, "removed 1, moved []"),
            (10, Find((1, 1)), "miss"),
            // Retention counts from the arrival, not from the close.
            (10, Find((1, 2)), "Filled at 2"),
            (11, Expire, "removed 1, moved []"),
            (11, Find((1, 2)), "miss"),
            // A forgotten key is as good as new.
            (11, Open((1, 1), 4), "in"),
            (11, Find((1, 1)), "open 4"),
        ]);
    }

    #[test]
    fn a_step_looks_at_two_keys() {
        check(&[
            (0, Refuse((1, 1)), "in"),
            (0, Refuse((1, 2)), "in"),
            (0, Refuse((1, 3)), "in"),
            (99, Expire, "removed 2, moved []"),
            (99, Find((1, 3)), "refused by 3"),
            (99, Expire, "removed 1, moved []"),
            (99, Expire, "removed 0, moved []"),
        ]);
    }

    #[test]
    fn the_key_of_an_open_order_arrives_again() {
        check(&[
            (0, Open((1, 1), 7), "in"),
            (0, Refuse((1, 2)), "in"),
            (10, Expire, "removed 1, moved [7]"),
            (10, Find((1, 1)), "open 7"),
            (11, Close((1, 1)), "ok"),
            (19, Expire, "removed 0, moved []"),
            (19, Find((1, 1)), "Filled at 11"),
            (20, Expire, "removed 1, moved []"),
            // Alone and due, it is moved once, not twice in one step.
            (20, Open((1, 1), 8), "in"),
            (30, Expire, "removed 0, moved [8]"),
            (39, Expire, "removed 0, moved []"),
        ]);
    }

    #[test]
    fn a_full_table_refuses_and_forgets_nobody_early() {
        check(&[
            (0, Open((1, 1), 0), "in"),
            (0, Refuse((1, 2)), "in"),
            (0, Refuse((1, 3)), "in"),
            (5, Refuse((1, 4)), "in"),
            (5, Refuse((1, 5)), "full"),
            (9, Expire, "removed 0, moved []"),
            (9, Refuse((1, 5)), "full"),
            (9, Find((1, 1)), "open 0"),
            (9, Find((1, 2)), "refused by 3"),
            (9, Find((1, 3)), "refused by 3"),
            (9, Find((1, 4)), "refused by 3"),
            (9, Find((1, 5)), "miss"),
            // Full, the old end moves into the very place it leaves.
            (10, Expire, "removed 1, moved [0]"),
            (10, Refuse((1, 5)), "in"),
            (10, Refuse((1, 6)), "full"),
            (10, Find((1, 1)), "open 0"),
        ]);
    }

    #[test]
    fn the_alarm_is_before_the_refusal() {
        let mut table = Dedup::new(16, RETENTION, 1);
        for id in 1..=16 {
            insert(&mut table, entry((0, id), Nanos(0), KeyState::Refused)).unwrap();
            assert_eq!(
                (table.len(), table.is_nearly_full()),
                (u32::try_from(id).unwrap(), id >= 14)
            );
        }
        assert_eq!((table.len(), table.capacity()), (16, 16));
    }

    #[test]
    fn a_state_is_what_it_was_packed_from() {
        let states = [
            KeyState::Open(OrderSlot(0)),
            KeyState::Open(OrderSlot(u32::MAX - 2)),
            KeyState::Closed,
            KeyState::Refused,
        ];
        for state in states {
            assert_eq!(state.packed().get(), state);
        }
    }

    #[test]
    #[should_panic(expected = "a key that was removed or moved")]
    fn a_stale_position_is_a_fault_of_the_program() {
        let mut table = Dedup::new(4, RETENTION, 1);
        let idx = insert(&mut table, entry((0, 1), Nanos(0), KeyState::Refused)).unwrap();
        assert_eq!(table.expire(RETENTION).removed, 1);
        let _ = table.get(idx);
    }

    #[test]
    #[should_panic(expected = "a key is inserted twice")]
    fn a_key_inserted_twice_is_a_fault_of_the_program() {
        let mut table = Dedup::new(4, RETENTION, 1);
        for _ in 0..2 {
            let _ = insert(&mut table, entry((0, 1), Nanos(0), KeyState::Refused));
        }
    }

    #[test]
    #[should_panic(expected = "only the key of an open order closes")]
    fn a_final_outcome_never_changes() {
        let mut table = Dedup::new(4, RETENTION, 1);
        let open = KeyState::Open(OrderSlot(1));
        let idx = insert(&mut table, entry((0, 1), Nanos(0), open)).unwrap();
        table.close(idx, outcome(Nanos(1)));
        table.close(idx, outcome(Nanos(2)));
    }

    #[test]
    #[should_panic(expected = "active time went back")]
    fn active_time_does_not_go_back() {
        let mut table = Dedup::new(4, RETENTION, 1);
        insert(&mut table, entry((0, 1), Nanos(5), KeyState::Refused)).unwrap();
        let _ = table.expire(Nanos(4));
    }

    /// The slow twin: a queue, a set of keys, and the rules in the plainest words.
    struct Twin {
        capacity: usize,
        retention: u64,
        keys: VecDeque<KeyEntry>,
        seen: BTreeSet<(OwnerIdx, ClOrdId)>,
    }

    impl Twin {
        fn try_insert(&mut self, entry: KeyEntry) -> bool {
            let fits = self.keys.len() < self.capacity;
            if fits {
                assert!(self.seen.insert((entry.owner, entry.cl_ord_id)));
                self.keys.push_back(entry);
            }
            fits
        }

        /// How many were removed, and the slots of those that moved.
        fn expire(&mut self, now: Nanos) -> (u32, Vec<u32>) {
            let (mut removed, mut moved) = (0, Vec::new());
            for _ in 0..2 {
                let due = |entry: &KeyEntry| now.0 - entry.arrival.0 >= self.retention;
                if !self.keys.front().is_some_and(due) {
                    break;
                }
                let mut oldest = self.keys.pop_front().unwrap();
                if let KeyState::Open(slot) = oldest.state() {
                    oldest.arrival = now;
                    self.keys.push_back(oldest);
                    moved.push(slot.0);
                } else {
                    assert!(self.seen.remove(&(oldest.owner, oldest.cl_ord_id)));
                    removed += 1;
                }
            }
            (removed, moved)
        }

        fn close(&mut self, slot: u32, outcome: Outcome) {
            let is_it = |entry: &&mut KeyEntry| entry.state() == KeyState::Open(OrderSlot(slot));
            let entry = self.keys.iter_mut().find(is_it).unwrap();
            entry.state = KeyState::Closed.packed();
            entry.ord_status = outcome.ord_status;
            entry.cum_qty = outcome.cum_qty;
            entry.transact_time = outcome.transact_time;
            entry.closing_cl_ord_id = outcome.closing_cl_ord_id;
        }
    }

    /// A table, its twin, and what the order arena would hold.
    struct Pair {
        table: Dedup,
        twin: Twin,
        /// Slot of each open order -> where it believes its key to be.
        open: BTreeMap<u32, KeyIdx>,
        /// Insertions, refusals, removals, moves, restores, steps on a ring that spans the wrap.
        counts: [u32; 6],
    }

    impl Pair {
        fn insert(&mut self, entry: KeyEntry) {
            let done = insert(&mut self.table, entry);
            assert_eq!(done.is_ok(), self.twin.try_insert(entry));
            match (done, entry.state()) {
                (Ok(idx), KeyState::Open(slot)) => assert_eq!(self.open.insert(slot.0, idx), None),
                (Ok(_), KeyState::Closed | KeyState::Refused) => {}
                (Err(TableFull), _) => self.counts[1] += 1,
            }
            self.counts[0] += 1;
        }

        fn expire(&mut self, now: Nanos) {
            let done = self.table.expire(now);
            let moved: Vec<u32> = done.moves().map(|moved| moved.slot.0).collect();
            for Moved { slot, to } in done.moves() {
                *self.open.get_mut(&slot.0).unwrap() = to;
            }
            self.counts[2] += done.removed;
            self.counts[3] += u32::try_from(moved.len()).unwrap();
            assert_eq!((done.removed, moved), self.twin.expire(now));
        }

        fn close(&mut self, nth: u64, outcome: Outcome) {
            // The fewer are open, the fewer close, so that some live to be moved.
            let nth = usize::try_from(nth).unwrap() % (self.twin.capacity * 2);
            let Some((&slot, &idx)) = self.open.iter().nth(nth) else {
                return;
            };
            self.table.close(idx, outcome);
            self.twin.close(slot, outcome);
            self.open.remove(&slot);
        }

        /// Puts a table in the place of this one that knows of it only what `iter` tells.
        fn restore(&mut self, mut empty: Dedup) {
            for (_, entry) in self.table.iter() {
                let idx = insert(&mut empty, *entry).unwrap();
                if let KeyState::Open(slot) = entry.state() {
                    *self.open.get_mut(&slot.0).unwrap() = idx;
                }
            }
            self.table = empty;
            self.counts[4] += 1;
        }

        fn assert_equal(&self, ids: u64) {
            self.table.assert_invariants_all();
            assert!(self.table.iter().map(|(_, entry)| entry).eq(&self.twin.keys));
            for (&slot, &idx) in &self.open {
                let state = self.table.get(idx).state();
                assert_eq!(state, KeyState::Open(OrderSlot(slot)));
            }
            for key in (0..2).flat_map(|owner| (1..=ids).map(move |id| (owner, id))) {
                let is_there = self.twin.seen.contains(&(OwnerIdx(key.0), ClOrdId(key.1)));
                assert_eq!(find(&self.table, key).is_some(), is_there, "{key:?}");
            }
        }
    }

    /// Random operations on both, starting and restoring near the wrap of positions.
    fn check_twin(seed: u64, capacity: u32, hasher: fn(u64) -> KeyHasher) {
        let retention = Nanos(u64::from(capacity) * 18);
        let ids = u64::from(capacity);
        let empty = |at| Dedup::starting_at(at, capacity, retention, hasher(seed));
        let mut pair = Pair {
            table: empty(u32::MAX - 99),
            twin: Twin {
                capacity: capacity as usize,
                retention: retention.0,
                keys: VecDeque::new(),
                seen: BTreeSet::new(),
            },
            open: BTreeMap::new(),
            counts: [0; 6],
        };
        let mut random = random_from(seed);
        let mut now = Nanos(0);
        for step in 0..12_000_u32 {
            now = now.saturating_add(Nanos(random() % 12));
            let key = ((random() % 2) as u16, random() % ids + 1);
            match random() % 256 {
                0..160 if find(&pair.table, key).is_none() => {
                    let state = match random() % 3 {
                        0 => KeyState::Refused,
                        _ => KeyState::Open(OrderSlot(step)),
                    };
                    pair.insert(entry(key, now, state));
                }
                0..176 => pair.close(
                    random(),
                    Outcome { closing_cl_ord_id: ClOrdId(random()), ..outcome(now) },
                ),
                176..255 => pair.expire(now),
                _ => pair.restore(empty(u32::MAX - (random() % 256) as u32)),
            }
            let is_wrapped = pair.table.head < pair.table.tail;
            pair.counts[5] += u32::from(is_wrapped);
            // A large table is read as a whole only now and then.
            if capacity <= 4 || step % 16 == 0 {
                pair.assert_equal(ids);
            } else {
                pair.table.assert_invariants();
            }
        }
        let counts = pair.counts;
        assert!(counts.iter().all(|&count| count > 20), "{counts:?}");
    }

    /// The seed of a failing run stands in its output.
    fn check_twins(hasher: fn(u64) -> KeyHasher) {
        for (seed, capacity) in (1..).zip([2, 2, 4, 4, 8, 8, 16, 16, 64, 64]) {
            println!("seed {seed}, capacity {capacity}");
            check_twin(seed, capacity, hasher);
        }
    }

    #[test]
    fn agrees_with_the_twin() {
        check_twins(KeyHasher::new);
    }

    #[test]
    fn agrees_with_the_twin_when_all_keys_have_one_hash() {
        check_twins(|seed| KeyHasher::weak(seed, 0, u32::MAX));
    }

    #[test]
    fn agrees_with_the_twin_when_homes_crowd_at_the_end_of_the_map() {
        check_twins(|seed| KeyHasher::weak(seed, 0x1fff_ffff, 0xe000_0000));
    }

    #[test]
    fn a_restored_table_goes_on_as_the_first_would_have() {
        let mut random = random_from(5);
        let mut first = Dedup::starting_at(u32::MAX - 9, 16, RETENTION, KeyHasher::new(3));
        let mut inputs = move |step| (step, random() % 20 + 1, random() % 4);
        for step in 0..777 {
            let _ = answer(&mut first, inputs(step));
        }
        let mut second = Dedup::new(16, RETENTION, 3);
        for (_, entry) in first.iter() {
            insert(&mut second, *entry).unwrap();
        }
        let entries = |table: &Dedup| table.iter().map(|(_, entry)| *entry).collect::<Vec<_>>();
        for step in 777..20_000 {
            assert_eq!(entries(&first), entries(&second), "before step {step}");
            let input = inputs(step);
            assert_eq!(answer(&mut first, input), answer(&mut second, input), "step {step}");
        }
    }

    /// Everything that one step tells its caller, positions apart.
    fn answer(table: &mut Dedup, (step, id, dice): (u32, u64, u64)) -> impl PartialEq + Debug {
        let now = Nanos(u64::from(step));
        let done = table.expire(now);
        let slots: Vec<u32> = done.moves().map(|moved| moved.slot.0).collect();
        let found = find(table, (0, id)).map(|idx| (idx, *table.get(idx)));
        let mut inserted = None;
        if let Some((idx, found)) = found {
            if matches!(found.state(), KeyState::Open(_)) && dice == 0 {
                table.close(idx, outcome(now));
            }
        } else {
            let open = KeyState::Open(OrderSlot(step));
            inserted = Some(insert(table, entry((0, id), now, open)).map(|_| ()));
        }
        (done.removed, slots, found.map(|(_, found)| found), inserted)
    }
}
