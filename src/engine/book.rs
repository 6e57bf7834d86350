//! The book of one instrument: price-time priority, one fill a call.
//!
//! What costs time in a book is not matching but finding: the place of a new price, the place of an
//! order to cancel, the next price when the best one is used up. Here a price becomes a tick index
//! once, by one multiplication; its level is found by one array access near the market and by a
//! balanced tree far from it (`price_levels.rs`); an order is found by its slot (`queues.rs`); the
//! best price of each side is cached, so that an order which does not cross is settled by one
//! comparison. Nothing is hashed, nothing allocated after `new`.
//!
//! `match_one` makes one fill and returns: the caller checks, reports and counts between two fills,
//! and may stop after any of them and go on later, because all state is in the book. The book knows
//! no owner, no report and no rule; what rests in it is a slot and a quantity.
//!
//! All books of an engine share one `BookArena`, sized by the engine's open orders: an order has
//! room in it as long as it has a slot, so nothing here is ever full. A cancel is constant time at
//! a price in the band, O(log levels) outside. Snapshots: `iter` gives each side in price-time
//! order; resting these again in that order makes a book that answers everything alike.
//!
//! ```
//! use tidegate::engine::book::{Book, BookArena};
//! use tidegate::vocabulary::fix::Side;
//! use tidegate::vocabulary::units::{OrderSlot, Px, Qty, SecurityId};
//!
//! let mut arena = BookArena::new(1_000);
//! let cent = Px::try_new(1_000_000).unwrap();
//! let mut book = Book::new(SecurityId(0), cent, 1 << 12);
//! let (ten, hundred) = (Px::try_new(1_000_000_000).unwrap(), Qty::try_new(100).unwrap());
//!
//! book.rest(&mut arena, Side::Sell, ten, hundred, OrderSlot(7));
//! assert_eq!(book.best(Side::Sell), Some(ten));
//! let fill = book.match_one(&mut arena, Side::Buy, ten, Qty::MAX).unwrap();
//! assert_eq!((fill.maker, fill.px, fill.qty), (OrderSlot(7), ten, hundred));
//! assert!(fill.is_maker_done);
//! assert_eq!(book.match_one(&mut arena, Side::Buy, ten, Qty::MAX), None);
//! ```

use super::far_levels::FarLevels;
use super::orders::ORDER_COUNT_MAX;
use super::price_levels::{self, PriceLevels};
use super::queues::Queues;
use crate::vocabulary::fix::Side;
use crate::vocabulary::settings::Instrument;
use crate::vocabulary::units::{OrderSlot, Px, Qty, SecurityId};

/// Fewest ticks of a band.
pub const BAND_TICKS_MIN: u32 = price_levels::BAND_TICKS_MIN;
/// Most ticks of a band: 4 MiB an instrument.
pub const BAND_TICKS_MAX: u32 = price_levels::BAND_TICKS_MAX;
/// Fewest ticks that an engine gives a band: 65 KiB an instrument.
const BAND_TICKS_LEAST: u32 = 1 << 12;

/// The band for an instrument: every price its limits allow, within these bounds. Limits may move
/// later and the band may not: it changes nothing but speed.
#[must_use]
pub fn band_ticks(instrument: &Instrument) -> u32 {
    let Instrument { tick, low_limit, high_limit, .. } = instrument;
    let prices = (high_limit.raw() - low_limit.raw()) / tick.raw() + 1;
    let prices = u32::try_from(prices).unwrap_or(BAND_TICKS_MAX).min(BAND_TICKS_MAX);
    prices.next_power_of_two().max(BAND_TICKS_LEAST)
}

/// The memory that all books of an engine share: 72 bytes for each open order there may be.
#[derive(Debug)]
pub struct BookArena {
    queues: Queues,
    far: FarLevels,
}

impl BookArena {
    /// For the slots `[0, order_count_max)`; `order_count_max` in `[1, ORDER_COUNT_MAX]`.
    #[must_use]
    pub fn new(order_count_max: u32) -> Self {
        assert!((1..=ORDER_COUNT_MAX).contains(&order_count_max));
        Self { queues: Queues::new(order_count_max), far: FarLevels::new(order_count_max) }
    }

    /// What `new` takes, in bytes.
    #[must_use]
    pub fn bytes(order_count_max: u32) -> u64 {
        Queues::bytes(order_count_max) + FarLevels::bytes(order_count_max)
    }
}

/// One trade between the aggressor and the oldest order at the best price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fill {
    /// The resting order.
    pub maker: OrderSlot,
    /// Its price, which is the trade's.
    pub px: Px,
    /// At least 1.
    pub qty: Qty,
    /// The resting order is filled and has left the book.
    pub is_maker_done: bool,
}

/// What rests at one price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Depth {
    /// The price.
    pub px: Px,
    /// Sum of the leaves; may exceed what one `Qty` holds, never 2^63.
    pub qty: u64,
    /// Orders.
    pub count: u32,
}

/// Two sides of resting orders of one instrument.
///
/// Invariants: not crossed; each side's cached best is its best level; a level has at least one
/// order, and its total is the sum of their leaves; queues are linked both ways.
#[derive(Debug)]
pub struct Book {
    security_id: SecurityId,
    tick: TickSize,
    bid: Best,
    ask: Best,
    order_count: u32,
    levels: PriceLevels,
}

/// The best price of a side, or a value that nothing crosses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Best {
    /// As a tick index.
    tick: i64,
    /// The same as a raw price, so that a limit is compared without being converted.
    px_raw: i64,
}

impl Book {
    /// An empty book. `tick` is positive; `band_ticks` is a power of two in
    /// `[BAND_TICKS_MIN, BAND_TICKS_MAX]` and takes 16 bytes each; it changes nothing but speed.
    /// `security_id` tells this book's orders from those of other books in the same arena.
    #[must_use]
    pub fn new(security_id: SecurityId, tick: Px, band_ticks: u32) -> Self {
        Self {
            security_id,
            tick: TickSize::new(tick),
            bid: Best::NO_BID,
            ask: Best::NO_ASK,
            order_count: 0,
            levels: PriceLevels::new(band_ticks),
        }
    }

    /// What `new` takes beside the arena, in bytes.
    #[must_use]
    pub fn bytes(band_ticks: u32) -> u64 {
        PriceLevels::bytes(band_ticks)
    }

    /// One fill of an incoming order against the oldest order at the best opposite price, if
    /// `limit` reaches it. `leaves` is at least 1. Call again with what is left until `None`; then
    /// the rest may `rest`.
    #[inline]
    pub fn match_one(
        &mut self,
        arena: &mut BookArena,
        aggressor: Side,
        limit: Px,
        leaves: Qty,
    ) -> Option<Fill> {
        let best = match aggressor {
            Side::Buy if limit.raw() >= self.ask.px_raw => self.ask,
            Side::Sell if limit.raw() <= self.bid.px_raw => self.bid,
            Side::Buy | Side::Sell => return None,
        };
        assert!(!leaves.is_zero(), "an aggressor has leaves");
        let level = self.levels.get_mut(&mut arena.far, best.tick);
        let taken = arena.queues.take(level, leaves);
        if taken.is_done {
            self.order_count -= 1;
            if level.is_empty() {
                self.remove_level(&mut arena.far, best.tick);
            }
        }
        Some(Fill {
            maker: taken.slot,
            px: self.tick.px(best.tick),
            qty: taken.qty,
            is_maker_done: taken.is_done,
        })
    }

    /// Puts an order behind the others at its price. `px` is a multiple of the tick and does not
    /// cross (match first), `leaves` is at least 1, `slot` is in the arena and rests nowhere; else
    /// the program is at fault.
    #[inline]
    pub fn rest(
        &mut self,
        arena: &mut BookArena,
        side: Side,
        px: Px,
        leaves: Qty,
        slot: OrderSlot,
    ) {
        let tick = self.tick.index(px);
        let (is_clear, is_best) = match side {
            Side::Buy => (tick < self.ask.tick, tick > self.bid.tick),
            Side::Sell => (tick > self.bid.tick, tick < self.ask.tick),
        };
        assert!(is_clear, "an order that crosses is matched before it rests");
        if is_best {
            let best = Best { tick, px_raw: px.raw() };
            match side {
                Side::Buy => self.bid = best,
                Side::Sell => self.ask = best,
            }
            self.levels.follow(&mut arena.far, tick);
        }
        let level = self.levels.get_or_insert(&mut arena.far, tick);
        arena.queues.append(level, self.security_id, tick, slot, leaves);
        self.order_count += 1;
    }

    /// Takes a resting order out and says what was left of it. The order rests in this book; else
    /// the program is at fault.
    #[inline]
    pub fn cancel(&mut self, arena: &mut BookArena, slot: OrderSlot) -> Qty {
        let Some((tick, _)) = arena.queues.resting(self.security_id, slot) else {
            panic!("slot {slot} does not rest in book {}", self.security_id);
        };
        let level = self.levels.get_mut(&mut arena.far, tick);
        let leaves = arena.queues.unlink(level, slot);
        self.order_count -= 1;
        if level.is_empty() {
            self.remove_level(&mut arena.far, tick);
        }
        leaves
    }

    /// The best price of a side.
    #[inline]
    #[must_use]
    pub fn best(&self, side: Side) -> Option<Px> {
        let tick = self.best_tick(side)?;
        Some(self.tick.px(tick))
    }

    /// What is left of an order; `None` if it does not rest in this book.
    #[must_use]
    pub fn leaves(&self, arena: &BookArena, slot: OrderSlot) -> Option<Qty> {
        let (_, leaves) = arena.queues.resting(self.security_id, slot)?;
        Some(leaves)
    }

    /// Orders of both sides.
    #[must_use]
    pub const fn order_count(&self) -> u32 {
        self.order_count
    }

    /// The prices of a side, best first. Counting walks each queue: for views, not for the hot
    /// path.
    pub fn depth<'a>(
        &'a self,
        arena: &'a BookArena,
        side: Side,
    ) -> impl Iterator<Item = Depth> + 'a {
        self.ticks(arena, side).filter_map(move |tick| {
            let level = self.levels.get(&arena.far, tick)?;
            let count = arena.queues.iter(level).count();
            Some(Depth {
                px: self.tick.px(tick),
                qty: level.total(),
                count: u32::try_from(count).unwrap_or(u32::MAX),
            })
        })
    }

    /// The orders of a side in price-time order, with their leaves.
    pub fn iter<'a>(
        &'a self,
        arena: &'a BookArena,
        side: Side,
    ) -> impl Iterator<Item = (Px, OrderSlot, Qty)> + 'a {
        self.ticks(arena, side).flat_map(move |tick| {
            let level = self.levels.get(&arena.far, tick);
            let orders = level.into_iter().flat_map(|level| arena.queues.iter(level));
            orders.map(move |(slot, leaves)| (self.tick.px(tick), slot, leaves))
        })
    }

    /// Whether a bid reaches an ask; never, between two calls.
    #[must_use]
    pub const fn is_crossed(&self) -> bool {
        self.bid.tick >= self.ask.tick
    }

    /// Checks the invariants; costs a pass over the book and its band.
    pub fn assert_invariants(&self, arena: &BookArena) {
        assert!(!self.is_crossed());
        let level_count = self.levels.assert_invariants(&arena.far);
        let (mut levels_seen, mut orders_seen) = (0, 0);
        for side in [Side::Buy, Side::Sell] {
            for tick in self.ticks(arena, side) {
                let level = self.levels.get(&arena.far, tick);
                let Some(level) = level else {
                    panic!("tick {tick} was found but has no level");
                };
                orders_seen += arena.queues.assert_queue(level, self.security_id, tick);
                levels_seen += 1;
            }
        }
        // A cached best that is too good has no level, one that is too bad leaves levels unseen.
        assert_eq!((levels_seen, orders_seen), (level_count, self.order_count));
        for best in [self.bid, self.ask] {
            if best != Best::NO_BID && best != Best::NO_ASK {
                assert_eq!(self.tick.px(best.tick).raw(), best.px_raw);
            }
        }
    }

    fn best_tick(&self, side: Side) -> Option<i64> {
        let (best, none) = match side {
            Side::Buy => (self.bid, Best::NO_BID),
            Side::Sell => (self.ask, Best::NO_ASK),
        };
        (best != none).then_some(best.tick)
    }

    /// The occupied ticks of a side, best first. One index serves both sides: beyond a side's best
    /// there is nothing but that side.
    fn ticks<'a>(&'a self, arena: &'a BookArena, side: Side) -> impl Iterator<Item = i64> + 'a {
        std::iter::successors(self.best_tick(side), move |&tick| match side {
            Side::Buy => self.levels.next_below(&arena.far, tick),
            Side::Sell => self.levels.next_above(&arena.far, tick),
        })
    }

    /// Ends the level at `tick`, which has just become empty, and finds the next best if it was
    /// one.
    fn remove_level(&mut self, far: &mut FarLevels, tick: i64) {
        self.levels.remove(far, tick);
        if tick == self.bid.tick {
            let next = self.levels.next_below(far, tick);
            self.bid = next.map_or(Best::NO_BID, |tick| self.tick.best(tick));
        } else if tick == self.ask.tick {
            let next = self.levels.next_above(far, tick);
            self.ask = next.map_or(Best::NO_ASK, |tick| self.tick.best(tick));
        }
    }
}

impl Best {
    const NO_BID: Self = Self { tick: i64::MIN, px_raw: i64::MIN };
    const NO_ASK: Self = Self { tick: i64::MAX, px_raw: i64::MAX };
}

/// A tick size, and what turns an exact division by it into a shift and a multiplication: the
/// inverse of its odd part modulo 2^64.
#[derive(Clone, Copy, Debug)]
struct TickSize {
    raw: i64,
    shift: u32,
    inverse: i64,
}

impl TickSize {
    fn new(tick: Px) -> Self {
        assert!(tick.raw() > 0, "a tick is positive");
        let shift = tick.raw().trailing_zeros();
        let odd = tick.raw() >> shift;
        // An odd number is its own inverse modulo 8; each of Newton's steps doubles the right bits.
        let mut inverse = odd;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2_i64.wrapping_sub(odd.wrapping_mul(inverse)));
        }
        assert!(odd.wrapping_mul(inverse) == 1);
        Self { raw: tick.raw(), shift, inverse }
    }

    /// Which tick `px` is. It is a multiple of the tick; refusals come before the book.
    #[inline]
    fn index(self, px: Px) -> i64 {
        let tick = (px.raw() >> self.shift).wrapping_mul(self.inverse);
        assert!(tick.checked_mul(self.raw) == Some(px.raw()), "a price between two ticks");
        tick
    }

    /// The price of a tick that came from a price.
    #[inline]
    fn px(self, tick: i64) -> Px {
        let Some(px) = Px::try_new(tick * self.raw) else {
            unreachable!("tick {tick} did not come from a price");
        };
        px
    }

    fn best(self, tick: i64) -> Best {
        Best { tick, px_raw: tick * self.raw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::units::Text;

    const CENT: i64 = 1_000_000;
    const SIDES: [Side; 2] = [Side::Buy, Side::Sell];

    fn px(raw: i64) -> Px {
        Px::try_new(raw).unwrap()
    }

    fn qty(raw: i64) -> Qty {
        Qty::try_new(raw).unwrap()
    }

    /// Limits in ticks of a cent from `low`, and the band that they get.
    #[test]
    fn a_band_covers_the_limits_within_its_bounds() {
        for (low, high, expected) in [
            (0, 0, 1 << 12),
            (1, 1 << 12, 1 << 12),
            (0, 1 << 12, 1 << 13),
            (-500, 7_000, 1 << 13),
            (0, (1 << 18) - 1, 1 << 18),
            (1, 100_000_000, 1 << 18),
        ] {
            let instrument = Instrument {
                security_id: SecurityId(0),
                symbol: Text::new("ABC"),
                tick: px(CENT),
                lot: qty(1),
                low_limit: px(low * CENT),
                high_limit: px(high * CENT),
            };
            assert_eq!(band_ticks(&instrument), expected, "{low} to {high}");
            let whole = Px::try_new(Px::ABS_MAX).unwrap();
            let low_limit = Px::try_new(-Px::ABS_MAX).unwrap();
            let widest = Instrument { tick: px(1), low_limit, high_limit: whole, ..instrument };
            assert_eq!(band_ticks(&widest), BAND_TICKS_MAX);
        }
    }

    /// The slow twin: a sorted list a side, searched from the front.
    #[derive(Default)]
    struct Naive {
        bids: Vec<(Px, OrderSlot, Qty)>,
        asks: Vec<(Px, OrderSlot, Qty)>,
    }

    impl Naive {
        fn side(&mut self, side: Side) -> &mut Vec<(Px, OrderSlot, Qty)> {
            match side {
                Side::Buy => &mut self.bids,
                Side::Sell => &mut self.asks,
            }
        }

        fn rest(&mut self, side: Side, px: Px, leaves: Qty, slot: OrderSlot) {
            let orders = self.side(side);
            let is_behind = |&(other, ..): &(Px, OrderSlot, Qty)| match side {
                Side::Buy => other < px,
                Side::Sell => other > px,
            };
            let at = orders.iter().position(is_behind).unwrap_or(orders.len());
            orders.insert(at, (px, slot, leaves));
        }

        fn match_one(&mut self, aggressor: Side, limit: Px, leaves: Qty) -> Option<Fill> {
            let orders = self.side(aggressor.opposite());
            let &mut (px, maker, ref mut rest) = orders.first_mut()?;
            let crosses = match aggressor {
                Side::Buy => limit >= px,
                Side::Sell => limit <= px,
            };
            if !crosses {
                return None;
            }
            let qty = leaves.min(*rest);
            *rest = rest.minus(qty);
            let is_maker_done = rest.is_zero();
            if is_maker_done {
                orders.remove(0);
            }
            Some(Fill { maker, px, qty, is_maker_done })
        }

        fn cancel(&mut self, slot: OrderSlot) -> Qty {
            for orders in [&mut self.bids, &mut self.asks] {
                if let Some(at) = orders.iter().position(|&(_, other, _)| other == slot) {
                    return orders.remove(at).2;
                }
            }
            panic!("{slot} is in the list");
        }

        fn depth(&mut self, side: Side) -> Vec<Depth> {
            let mut depth: Vec<Depth> = Vec::new();
            for &mut (px, _, leaves) in self.side(side) {
                let qty = leaves.raw().unsigned_abs();
                match depth.last_mut() {
                    Some(last) if last.px == px => {
                        last.qty += qty;
                        last.count += 1;
                    }
                    Some(_) | None => depth.push(Depth { px, qty, count: 1 }),
                }
            }
            depth
        }

        #[track_caller]
        fn check(&mut self, book: &Book, arena: &BookArena) {
            for side in SIDES {
                assert!(book.iter(arena, side).eq(self.side(side).iter().copied()), "{side:?}");
                assert_eq!(book.best(side), self.side(side).first().map(|&(px, ..)| px));
            }
            assert!(!book.is_crossed());
            assert_eq!(book.order_count() as usize, self.bids.len() + self.asks.len());
        }
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, span: i64) -> i64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from(self.0 >> 33).unwrap() % span
        }
    }

    /// How prices come in one phase of the random flow.
    #[derive(Clone, Copy, Debug)]
    enum Prices {
        /// Five of them: long queues.
        Few,
        /// The market walks a few ticks at a time.
        Walk,
        /// The market falls a tick an order.
        Crash,
        /// A level an order, up to 10^12 ticks away.
        Wide,
    }

    /// One instrument of the random flow with its twin and its balance of quantities.
    struct Traded {
        book: Book,
        twin: Naive,
        tick: i64,
        centre: i64,
        prices: Prices,
        entered: i128,
        left: i128,
    }

    impl Traded {
        fn new(id: u32, tick: i64, band_ticks: u32) -> Self {
            Self {
                book: Book::new(SecurityId(id), px(tick), band_ticks),
                twin: Naive::default(),
                tick,
                centre: 0,
                prices: Prices::Few,
                entered: 0,
                left: 0,
            }
        }

        fn start_phase(&mut self, random: &mut Random) {
            let kinds = [Prices::Few, Prices::Walk, Prices::Crash, Prices::Wide];
            self.prices = kinds[usize::try_from(random.below(4)).unwrap()];
            if random.below(3) == 0 {
                self.centre = (random.below(2_000_001) - 1_000_000) * (1 + random.below(1_000));
            }
        }

        fn price(&mut self, random: &mut Random) -> Px {
            let tick = match self.prices {
                Prices::Few => self.centre + random.below(5),
                Prices::Walk => {
                    self.centre += random.below(7) - 3;
                    self.centre + random.below(80) - 40
                }
                Prices::Crash => {
                    self.centre -= 1;
                    self.centre + random.below(20) - 10
                }
                Prices::Wide => {
                    let far = 10_i64.pow(u32::try_from(random.below(13)).unwrap());
                    self.centre + random.below(2 * far) - far
                }
            };
            px(tick * self.tick)
        }

        /// An order comes in; what is left rests unless it is an IOC or there is no slot.
        fn enter(&mut self, arena: &mut BookArena, free: &mut Vec<OrderSlot>, random: &mut Random) {
            let side = SIDES[usize::try_from(random.below(2)).unwrap()];
            let limit = self.price(random);
            let mut leaves = qty(1 + random.below(30));
            self.entered += i128::from(leaves.raw());
            while !leaves.is_zero() {
                let fill = self.book.match_one(arena, side, limit, leaves);
                assert_eq!(fill, self.twin.match_one(side, limit, leaves));
                let Some(fill) = fill else {
                    break;
                };
                leaves = leaves.minus(fill.qty);
                self.left += 2 * i128::from(fill.qty.raw());
                if fill.is_maker_done {
                    free.push(fill.maker);
                }
            }
            let slot = if random.below(7) == 0 { None } else { free.pop() };
            match slot {
                Some(slot) if !leaves.is_zero() => {
                    self.book.rest(arena, side, limit, leaves, slot);
                    self.twin.rest(side, limit, leaves, slot);
                }
                Some(slot) => free.push(slot),
                None => self.left += i128::from(leaves.raw()),
            }
        }

        fn cancel(
            &mut self,
            arena: &mut BookArena,
            free: &mut Vec<OrderSlot>,
            random: &mut Random,
        ) {
            let orders = self.twin.side(SIDES[usize::try_from(random.below(2)).unwrap()]);
            let count = i64::try_from(orders.len()).unwrap();
            if count > 0 {
                let (_, slot, leaves) = orders[usize::try_from(random.below(count)).unwrap()];
                assert_eq!(self.book.leaves(arena, slot), Some(leaves));
                assert_eq!(self.book.cancel(arena, slot), leaves);
                assert_eq!(self.twin.cancel(slot), leaves);
                assert_eq!(self.book.leaves(arena, slot), None);
                self.left += i128::from(leaves.raw());
                free.push(slot);
            }
        }

        /// What a snapshot does: the orders in price-time order, into a book with another band and
        /// under other slots. The flow goes on with that book.
        fn restore(&mut self, arena: &mut BookArena, free: &mut Vec<OrderSlot>, band_ticks: u32) {
            let mut restored = Self::new(self.book.security_id.0, self.tick, band_ticks);
            for side in SIDES {
                let orders: Vec<_> = self.book.iter(arena, side).collect();
                for &(_, slot, _) in &orders {
                    self.book.cancel(arena, slot);
                    free.insert(0, slot);
                }
                for (px, _, leaves) in orders {
                    let slot = free.pop().unwrap();
                    restored.book.rest(arena, side, px, leaves, slot);
                    restored.twin.rest(side, px, leaves, slot);
                }
                let anonymous = |&(px, _, leaves): &(Px, OrderSlot, Qty)| (px, leaves);
                let old = self.twin.side(side).iter().map(anonymous);
                assert!(old.eq(restored.twin.side(side).iter().map(anonymous)));
            }
            assert_eq!(self.book.order_count(), 0);
            self.book.assert_invariants(arena);
            (self.book, self.twin) = (restored.book, restored.twin);
        }

        fn check(&mut self, arena: &BookArena) {
            self.twin.check(&self.book, arena);
            let open = self.twin.bids.iter().chain(&self.twin.asks);
            let open: i128 = open.map(|&(_, _, leaves)| i128::from(leaves.raw())).sum();
            // A trade takes its quantity from two orders, so `left` counts it twice.
            assert_eq!(self.entered, self.left + open, "quantities are conserved");
        }
    }

    /// Two instruments on one arena, 300,000 random operations, compared with the twin after each.
    #[test]
    fn random_operations_agree_with_a_sorted_list() {
        let seed = 0x71de_9a7e_0000_0005_u64;
        println!("seed {seed:#x}");
        let mut random = Random(seed);
        let mut arena = BookArena::new(90);
        let mut free: Vec<OrderSlot> = (0..90).map(OrderSlot).collect();
        let mut traded = [Traded::new(0, CENT, 64), Traded::new(1, 3, 128)];
        for step in 0..300_000 {
            let one = &mut traded[usize::try_from(random.below(2)).unwrap()];
            if random.below(1_000) == 0 {
                one.start_phase(&mut random);
            }
            match random.below(100) {
                0..58 => one.enter(&mut arena, &mut free, &mut random),
                _ => one.cancel(&mut arena, &mut free, &mut random),
            }
            if step % 5_000 == 0 {
                one.restore(&mut arena, &mut free, 64 << random.below(7));
            }
            one.check(&arena);
            if step % 16 == 0 {
                one.book.assert_invariants(&arena);
                for side in SIDES {
                    assert!(one.book.depth(&arena, side).eq(one.twin.depth(side)));
                }
            }
        }
    }

    /// Rests five orders at one price, cancels `cancelled` of them, and expects `left` in this
    /// order.
    #[track_caller]
    fn check_queue(cancelled: &[u32], left: &[u32]) {
        let mut arena = BookArena::new(5);
        let mut book = Book::new(SecurityId(0), px(CENT), 64);
        for slot in 0..5 {
            book.rest(&mut arena, Side::Buy, px(CENT), qty(10), OrderSlot(slot));
        }
        for &slot in cancelled {
            assert_eq!(book.cancel(&mut arena, OrderSlot(slot)), qty(10));
            book.assert_invariants(&arena);
        }
        assert_eq!(book.best(Side::Buy).is_some(), !left.is_empty());
        for &slot in left {
            let fill = book.match_one(&mut arena, Side::Sell, px(CENT), qty(10)).unwrap();
            assert_eq!((fill.maker.0, fill.is_maker_done), (slot, true));
            book.assert_invariants(&arena);
        }
        assert_eq!(book.match_one(&mut arena, Side::Sell, px(CENT), qty(10)), None);
    }

    #[test]
    #[rustfmt::skip]
    fn an_order_leaves_its_queue_from_any_place() {
        //          cancelled           left
        check_queue(&[],                &[0, 1, 2, 3, 4]);
        check_queue(&[0],               &[1, 2, 3, 4]);     // the head
        check_queue(&[2],               &[0, 1, 3, 4]);     // the middle
        check_queue(&[4],               &[0, 1, 2, 3]);     // the tail
        check_queue(&[1, 2, 3],         &[0, 4]);
        check_queue(&[0, 4, 1, 3],      &[2]);              // a sole order
        check_queue(&[4, 3, 2, 1, 0],   &[]);
    }

    /// One order at each tick, then the best is filled again and again: each price must be next.
    #[track_caller]
    fn check_levels(band_ticks: u32, ticks: &[i64]) {
        for side in SIDES {
            let count = u32::try_from(ticks.len()).unwrap();
            let mut arena = BookArena::new(count);
            let mut book = Book::new(SecurityId(0), px(1), band_ticks);
            for (slot, &tick) in (0..).zip(ticks) {
                book.rest(&mut arena, side, px(tick), qty(1), OrderSlot(slot));
                book.assert_invariants(&arena);
            }
            let mut sorted = ticks.to_vec();
            sorted.sort_unstable();
            let limit = match side {
                Side::Buy => {
                    sorted.reverse();
                    -Px::ABS_MAX
                }
                Side::Sell => Px::ABS_MAX,
            };
            for tick in sorted {
                assert_eq!(book.best(side), Some(px(tick)));
                let fill = book.match_one(&mut arena, side.opposite(), px(limit), qty(9)).unwrap();
                assert_eq!((fill.px, fill.qty, fill.is_maker_done), (px(tick), qty(1), true));
                book.assert_invariants(&arena);
            }
            assert_eq!((book.best(side), book.order_count()), (None, 0));
        }
    }

    #[test]
    #[rustfmt::skip]
    fn levels_are_born_and_die_at_every_edge() {
        const MAX: i64 = Px::ABS_MAX;
        //           band  ticks
        check_levels(64,   &[0]);
        check_levels(64,   &[-1, 0, 1]);
        check_levels(64,   &[63, 64, 65, 127, 128, -63, -64, -65]);
        check_levels(8192, &[4095, 4096, 4097, 63, 64, -4096, -4097, 8191, 8192]);
        check_levels(1 << 18, &[0, 131_071, 131_072, -131_072, -131_073, 262_143, 262_144]);
        check_levels(64,   &[1_000_000, 5, -1_000_000, 1_000_000_000_000, 6]);
        check_levels(64,   &[MAX, -MAX, 0, MAX - 1, 1 - MAX, MAX - 64, 64 - MAX]);
        check_levels(64,   &[32, 31, 95, 96, 97, -1, -32, -33, 160, 159]);
    }

    #[test]
    fn memory_is_what_the_headers_say() {
        assert_eq!(BookArena::bytes(1_000), 72_000);
        assert_eq!(Book::bytes(BAND_TICKS_MAX), (4 << 20) + (32 << 10) + 512);
        assert_eq!(Book::bytes(BAND_TICKS_MIN), 64 * 16 + 2 * 8);
    }

    #[test]
    fn prices_become_ticks_and_prices_again() {
        for tick in [1, 2, 3, 5, 25, 64, 96, CENT, 12_345_678, 100_000_000, Px::ABS_MAX] {
            let size = TickSize::new(px(tick));
            for index in [0, 1, -1, 7, -1_000_001, Px::ABS_MAX / tick, -(Px::ABS_MAX / tick)] {
                if index.checked_mul(tick).and_then(Px::try_new).is_some() {
                    assert_eq!(size.index(px(index * tick)), index);
                    assert_eq!(size.px(index), px(index * tick));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "between two ticks")]
    fn a_price_between_two_ticks_never_comes_in() {
        TickSize::new(px(CENT)).index(px(CENT + 1));
    }

    #[test]
    #[should_panic(expected = "matched before it rests")]
    fn an_order_that_crosses_does_not_rest() {
        let mut arena = BookArena::new(2);
        let mut book = Book::new(SecurityId(0), px(1), 64);
        book.rest(&mut arena, Side::Sell, px(5), qty(1), OrderSlot(0));
        book.rest(&mut arena, Side::Buy, px(5), qty(1), OrderSlot(1));
    }

    #[test]
    #[should_panic(expected = "does not rest in book 1")]
    fn an_order_of_another_book_is_not_cancelled() {
        let mut arena = BookArena::new(1);
        let mut book = Book::new(SecurityId(0), px(1), 64);
        book.rest(&mut arena, Side::Sell, px(5), qty(1), OrderSlot(0));
        Book::new(SecurityId(1), px(1), 64).cancel(&mut arena, OrderSlot(0));
    }
}
