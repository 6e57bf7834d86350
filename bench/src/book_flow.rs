//! Book flows: what six kinds of market do to a book, drawn before the clock starts.
//!
//! A message is a new order or a cancel of an order that rests at that moment, so nothing in the
//! window is refused. To know what rests, the generator keeps books of its own and does to them
//! what the bench will do to the measured ones.
//!
//! ```text
//! calm      mid moves now and then, orders crowd within some ticks of it
//! drifting  mid moves a tick every few orders, always up: levels die below, the band follows
//! crashing  every 500 orders the mid falls by hundreds of ticks in one sweep through the bids
//! deep      few prices, thousands of orders in each queue
//! wide      orders over 200,000 ticks, within the band: levels of one order, far apart
//! far       orders over 1,000,000 ticks, most of them beyond the band
//! ```

use tidegate::engine::book::{BAND_TICKS_MAX, Book, BookArena};
use tidegate::engine::orders::{Order, Orders};
use tidegate::vocabulary::fix::{OrdType, Side, TimeInForce};
use tidegate::vocabulary::random::SplitMix;
use tidegate::vocabulary::units::{
    Account, ClOrdId, Nanos, OrderId, OrderSlot, OwnerIdx, Px, Qty, SecurityId, SenderSubId,
    SessionIdx,
};

use crate::flow::{MID_TICKS, TICK};
use crate::measure::count;

/// One kind of market.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Market {
    pub(crate) name: &'static str,
    pub(crate) instrument_count: u32,
    /// Open orders of all books at which cancels balance new orders, at full size.
    pub(crate) open_count: u32,
    /// A passive order stands in `[1, spread]` ticks from the mid; near it if `is_crowded`.
    spread: u64,
    is_crowded: bool,
    /// One of so many new orders crosses.
    crossing_one_in: u64,
    /// The mid moves by a tick in one of so many new orders.
    drift_one_in: u64,
    is_rising: bool,
    /// One of so many new orders sweeps that many ticks down, and the mid with it.
    sweep: Option<(u64, i64)>,
}

const CALM: Market = Market {
    name: "calm",
    instrument_count: 16,
    open_count: 32_000,
    spread: 40,
    is_crowded: true,
    crossing_one_in: 5,
    drift_one_in: 100,
    is_rising: false,
    sweep: None,
};

/// All kinds.
pub(crate) const MARKETS: [Market; 6] = [
    CALM,
    Market { name: "drifting", spread: 100, drift_one_in: 30, is_rising: true, ..CALM },
    Market { name: "crashing", spread: 400, sweep: Some((500, 300)), ..CALM },
    Market {
        name: "deep",
        instrument_count: 4,
        open_count: 120_000,
        spread: 5,
        crossing_one_in: 10,
        drift_one_in: 50_000,
        ..CALM
    },
    WIDE,
    Market { name: "far", spread: 500_000, ..WIDE },
];

const WIDE: Market = Market {
    name: "wide",
    instrument_count: 4,
    open_count: 120_000,
    spread: 100_000,
    is_crowded: false,
    crossing_one_in: 20,
    ..CALM
};

/// What a book is told.
#[derive(Clone, Copy)]
pub(crate) enum Message {
    /// Match, and rest what is left.
    New(Order),
    /// Cancel the order that rests in this slot.
    Cancel(OrderSlot),
}

/// Venue with the orders in them: the measured ones, and the generator's.
pub(crate) struct Venue {
    pub(crate) orders: Orders,
    pub(crate) arena: BookArena,
    pub(crate) books: Vec<Book>,
}

/// Draws messages.
pub(crate) struct BookFlow {
    market: Market,
    open_count: u32,
    random: SplitMix,
    mids: Vec<i64>,
    venue: Venue,
    /// Slots of orders that may rest, and where each stands in this list.
    working: Vec<OrderSlot>,
    place: Vec<u32>,
    order_count: u64,
}

impl Venue {
    pub(crate) fn new(market: &Market, open_count: u32) -> Self {
        let order_count_max = open_count * 2;
        let tick = Px::try_new(TICK).unwrap_or(Px::ONE);
        let book = |id| Book::new(SecurityId(id), tick, BAND_TICKS_MAX);
        Self {
            orders: Orders::new(order_count_max),
            arena: BookArena::new(order_count_max),
            books: (0..market.instrument_count).map(book).collect(),
        }
    }
}

impl BookFlow {
    pub(crate) fn new(seed: u64, market: Market, open_count: u32) -> Self {
        Self {
            market,
            open_count,
            random: SplitMix(seed),
            mids: vec![MID_TICKS * 10; market.instrument_count as usize],
            venue: Venue::new(&market, open_count),
            working: Vec::new(),
            place: vec![0; open_count as usize * 2],
            order_count: 0,
        }
    }

    /// The next `message_count` messages.
    pub(crate) fn draw(&mut self, message_count: usize) -> Vec<Message> {
        (0..message_count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Message {
        let is_full = self.venue.orders.len() >= self.open_count;
        let cancel_share = if is_full { 65 } else { 25 };
        if !self.working.is_empty() && self.random.below(100) < cancel_share {
            let at = self.random.below(count(self.working.len()));
            let slot = self.working[usize::try_from(at).unwrap_or(0)];
            self.cancel(slot);
            Message::Cancel(slot)
        } else {
            let order = self.order();
            self.enter(order);
            Message::New(order)
        }
    }

    fn order(&mut self) -> Order {
        let market = self.market;
        let id = u32::try_from(self.random.below(market.instrument_count.into())).unwrap_or(0);
        let mid = &mut self.mids[id as usize];
        if self.random.below(market.drift_one_in) == 0 {
            *mid += if market.is_rising || self.random.below(2) == 0 { 1 } else { -1 };
        }
        let mut is_buy = self.random.below(2) == 0;
        let mut qty = 10 * (1 + self.random.below(50));
        let ticks = match market.sweep {
            Some((one_in, depth)) if self.random.below(one_in) == 0 => {
                (is_buy, qty) = (false, 20_000);
                *mid -= depth;
                *mid
            }
            Some(_) | None => {
                let is_crossing = self.random.below(market.crossing_one_in) == 0;
                let reach = if market.is_crowded {
                    self.random.below(market.spread).min(self.random.below(market.spread))
                } else {
                    self.random.below(market.spread)
                };
                let reach = i64::try_from(1 + reach).unwrap_or(1);
                let side = if is_buy { -1 } else { 1 };
                *mid + if is_crossing { -side * reach.min(10) } else { side * reach }
            }
        };
        self.order_count += 1;
        Order {
            order_id: OrderId(self.order_count),
            cl_ord_id: ClOrdId(self.order_count),
            key: 0,
            price: Px::try_new(ticks * TICK).unwrap_or(Px::ONE),
            order_qty: Qty::try_new(i64::try_from(qty).unwrap_or(1)).unwrap_or(Qty::MAX),
            cum_qty: Qty::ZERO,
            transact_time: Nanos(self.order_count),
            session: SessionIdx(id),
            account: Account(1000),
            security_id: SecurityId(id),
            owner: OwnerIdx(0),
            sender_sub_id: SenderSubId(0),
            side: if is_buy { Side::Buy } else { Side::Sell },
            ord_type: OrdType::Limit,
            time_in_force: TimeInForce::Day,
            post_only: false,
        }
    }

    fn cancel(&mut self, slot: OrderSlot) {
        let Venue { orders, arena, books } = &mut self.venue;
        let order = orders.remove(slot);
        books[order.security_id.0 as usize].cancel(arena, slot);
        self.forget(slot);
    }

    fn enter(&mut self, order: Order) {
        let Some(slot) = self.venue.orders.try_insert(order) else {
            unreachable!("cancels keep the arena half empty")
        };
        let mut leaves = order.order_qty;
        let id = order.security_id.0 as usize;
        loop {
            let Venue { orders, arena, books } = &mut self.venue;
            let fill = books[id].match_one(arena, order.side, order.price, leaves);
            let Some(fill) = fill else {
                books[id].rest(arena, order.side, order.price, leaves, slot);
                self.note(slot);
                return;
            };
            leaves = leaves.minus(fill.qty);
            if fill.is_maker_done {
                orders.remove(fill.maker);
                self.forget(fill.maker);
            }
            if leaves.is_zero() {
                self.venue.orders.remove(slot);
                return;
            }
        }
    }

    fn note(&mut self, slot: OrderSlot) {
        self.place[slot.0 as usize] = u32::try_from(self.working.len()).unwrap_or(0);
        self.working.push(slot);
    }

    fn forget(&mut self, slot: OrderSlot) {
        let at = self.place[slot.0 as usize];
        self.working.swap_remove(at as usize);
        if let Some(moved) = self.working.get(at as usize) {
            self.place[moved.0 as usize] = at;
        }
    }
}
