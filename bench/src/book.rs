//! Book: matching in six kinds of market, with the reports it gives.
//!
//! A message is one new order, with all its fills, or one cancel. The measured part is the book and
//! the arena of open orders, and a report built for every acceptance, both sides of every fill, and
//! every cancel, as the engine builds them; encoding is `wire_encode`'s. The slot of a cancel is
//! given, as the engine gets it from the key. The books hold their orders before the clock starts,
//! of several instruments, at many prices. The gate of goal 9 holds for the worst of the flows.

use tidegate::engine::orders::{Order, Orders};
use tidegate::engine::outbox::Outbox;
use tidegate::vocabulary::event::{
    Event, ExecutionReportCanceled, ExecutionReportNew, ExecutionReportTrade, Report, ReportBody,
};
use tidegate::vocabulary::fix::{ExecType, OrdStatus, Side};
use tidegate::vocabulary::units::{ExecId, Index, OrderSlot, Px, Qty, Seq, TrdMatchId};

use crate::book_flow::{BookFlow, MARKETS, Market, Message, Venue};
use crate::measure::{Meter, count};
use crate::plan::{Fold, Plan};
use crate::row::Row;

const BATCH: usize = 64;

/// The measured books, and the reports.
struct Exchange {
    venue: Venue,
    out: Outbox,
    fold: Fold,
    exec_count: u64,
    trade_count: u64,
}

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    MARKETS.iter().map(|market| of_market(plan, market)).collect()
}

fn of_market(plan: &Plan, market: &Market) -> Row {
    let open_count = plan.pick(200, market.open_count / 4, market.open_count);
    let message_count = plan.pick(500, 50_000, 100_000);
    let mut flow = BookFlow::new(plan.seed, *market, open_count);
    let mut exchange = Exchange {
        venue: Venue::new(market, open_count),
        out: Outbox::new(),
        fold: Fold::EMPTY,
        exec_count: 0,
        trade_count: 0,
    };
    // Until the open orders stand, and as many again, so that prices and queues are mixed. A market
    // that eats its orders faster than they come never gets there: the state tells how far it got.
    let mut left = 40;
    while left > 0 {
        let is_full = exchange.venue.orders.len() >= open_count / 20 * 19;
        left = if is_full { left.min(4) - 1 } else { left - 1 };
        let messages = flow.draw(open_count as usize);
        for message in &messages {
            exchange.on_message(message);
        }
    }
    let mut meter = Meter::new(message_count / BATCH + 1);
    (exchange.exec_count, exchange.trade_count) = (0, 0);
    for _ in 0..plan.round_count {
        let messages = flow.draw(message_count);
        meter.round(|laps| {
            for batch in messages.chunks(BATCH) {
                for message in batch {
                    exchange.on_message(message);
                }
                laps.end_batch(batch.len());
            }
        });
    }
    for book in &exchange.venue.books {
        book.assert_invariants(&exchange.venue.arena);
    }
    let Exchange { venue, trade_count, exec_count, fold, .. } = &exchange;
    let depth = |side| {
        let levels = venue.books.iter().map(|book| book.depth(&venue.arena, side).count());
        levels.sum::<usize>()
    };
    let level_count: usize = Side::ALL.iter().map(|&side| depth(side)).sum();
    let state = format!(
        "{} open orders at {level_count} prices of {} books; {trade_count} trades, {exec_count} \
         reports in {} messages",
        venue.orders.len(),
        venue.books.len(),
        count(message_count) * count(plan.round_count)
    );
    let name = market.name;
    Row::new("book", name, "message", &meter, state, fold.0).with_batches(BATCH, &meter)
}

impl Exchange {
    #[inline]
    fn on_message(&mut self, message: &Message) {
        match message {
            Message::New(order) => self.on_new(*order),
            Message::Cancel(slot) => self.on_cancel(*slot),
        }
        for event in self.out.events() {
            if let Event::Report { report, .. } = event {
                self.fold.add(report.msg_seq_num.0 ^ sum_of(&report.body));
            }
        }
        self.out.clear();
    }

    fn on_new(&mut self, order: Order) {
        let Some(slot) = self.venue.orders.try_insert(order) else {
            unreachable!("the flow keeps the arena half empty")
        };
        self.accepted(&order);
        let id = order.security_id.0 as usize;
        let mut leaves = order.order_qty;
        loop {
            let Venue { orders, arena, books } = &mut self.venue;
            let fill = books[id].match_one(arena, order.side, order.price, leaves);
            let Some(fill) = fill else {
                books[id].rest(arena, order.side, order.price, leaves, slot);
                return;
            };
            leaves = leaves.minus(fill.qty);
            let (Some(maker), Some(taker)) =
                (filled(orders, fill.maker, fill.qty), filled(orders, slot, fill.qty))
            else {
                unreachable!("both sides of a fill are open")
            };
            self.trade_count += 1;
            self.traded(&taker, fill.px, fill.qty, true);
            self.traded(&maker, fill.px, fill.qty, false);
            if fill.is_maker_done {
                self.venue.orders.remove(fill.maker);
            }
            if leaves.is_zero() {
                self.venue.orders.remove(slot);
                return;
            }
            if !self.out.has_room_for_step() {
                unreachable!("no order of the flows fills the outbox");
            }
        }
    }

    fn on_cancel(&mut self, slot: OrderSlot) {
        let order = self.venue.orders.remove(slot);
        let id = order.security_id.0 as usize;
        let leaves = self.venue.books[id].cancel(&mut self.venue.arena, slot);
        assert!(leaves == order.leaves_qty(), "book and arena agree on what is left");
        let body = ExecutionReportCanceled {
            order_id: order.order_id,
            cl_ord_id: order.cl_ord_id,
            exec_id: self.next_exec_id(),
            transact_time: order.transact_time,
            orig_cl_ord_id: Some(order.cl_ord_id),
            cum_qty: order.cum_qty,
            security_id: order.security_id,
            account: order.account,
            side: order.side,
            ord_status: OrdStatus::Canceled,
            exec_type: ExecType::Canceled,
            exec_restatement_reason: None,
            poss_resend: false,
        };
        self.send(&order, ReportBody::Canceled(body));
    }

    fn accepted(&mut self, order: &Order) {
        let body = ExecutionReportNew {
            order_id: order.order_id,
            cl_ord_id: order.cl_ord_id,
            exec_id: self.next_exec_id(),
            transact_time: order.transact_time,
            price: Some(order.price),
            order_qty: order.order_qty,
            security_id: order.security_id,
            account: order.account,
            side: order.side,
            ord_type: order.ord_type,
            time_in_force: order.time_in_force,
            ord_status: OrdStatus::New,
            poss_resend: false,
            post_only: order.post_only,
            sender_sub_id: order.sender_sub_id,
            stop_px: None,
            expire_time: None,
        };
        self.send(order, ReportBody::New(body));
    }

    fn traded(&mut self, order: &Order, last_px: Px, last_qty: Qty, aggressor: bool) {
        let leaves_qty = order.leaves_qty();
        let is_done = leaves_qty.is_zero();
        let body = ExecutionReportTrade {
            order_id: order.order_id,
            cl_ord_id: order.cl_ord_id,
            exec_id: self.next_exec_id(),
            transact_time: order.transact_time,
            last_px,
            last_qty,
            leaves_qty,
            cum_qty: order.cum_qty,
            trd_match_id: TrdMatchId(self.trade_count),
            security_id: order.security_id,
            account: order.account,
            side: order.side,
            ord_status: if is_done { OrdStatus::Filled } else { OrdStatus::PartiallyFilled },
            aggressor,
            poss_resend: false,
        };
        self.send(order, ReportBody::Trade(body));
    }

    fn send(&mut self, order: &Order, body: ReportBody) {
        let report = Report {
            msg_seq_num: Seq(self.exec_count),
            sending_time: order.transact_time,
            appl_seq_num: Index(self.exec_count),
            body,
        };
        self.out.push(Event::Report { session: order.session, report });
    }

    fn next_exec_id(&mut self) -> ExecId {
        self.exec_count += 1;
        ExecId(self.exec_count)
    }
}

/// Notes a fill on an open order and gives the order after it.
#[inline]
fn filled(orders: &mut Orders, slot: OrderSlot, qty: Qty) -> Option<Order> {
    let order = orders.get_mut(slot)?;
    order.cum_qty = order.cum_qty.plus(qty);
    Some(*order)
}

/// A number that depends on what the book decided.
#[inline]
fn sum_of(body: &ReportBody) -> u64 {
    match body {
        ReportBody::New(b) => b.order_id.0,
        ReportBody::Canceled(b) => b.order_id.0 << 1 ^ b.cum_qty.raw().cast_unsigned(),
        ReportBody::Trade(b) => {
            b.order_id.0 << 2
                ^ b.last_px.raw().cast_unsigned()
                ^ b.last_qty.raw().cast_unsigned() << 40
        }
        ReportBody::NotApplied { .. }
        | ReportBody::Reject(_)
        | ReportBody::Status(_)
        | ReportBody::CancelReject(_)
        | ReportBody::BusinessReject(_) => unreachable!("a book says nothing else"),
    }
}
