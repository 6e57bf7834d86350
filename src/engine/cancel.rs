//! Orders that end before they are filled: a client's cancel, and the sweep of a session.
//!
//! A cancel is judged by the table in `refusals.rs`. A sweep is nobody's request: a window of
//! cancel on disconnect is over, or a session is being finished. It emits one report an order and
//! is cut where the outbox is full; the orders that are left are what it goes on with.

use super::apply::{Engine, Progress, unreachable_slot};
use super::dedup::{KeyIdx, KeyState};
use super::orders::Order;
use super::refusals::CancelRefusal;
use super::reporter::Reporter;
use crate::vocabulary::fix::{MarketPhase, OrdStatus, RestatementReason, Side};
use crate::vocabulary::message::OrderCancelRequest;
use crate::vocabulary::units::{ClOrdId, Nanos, OrderId, OrderSlot, OwnerIdx, SessionIdx};

impl Engine {
    /// A cancel of `owner` through `session`.
    pub fn on_cancel(
        &mut self,
        session: SessionIdx,
        owner: OwnerIdx,
        request: &OrderCancelRequest,
        rep: &mut Reporter<'_>,
    ) {
        if !request.cl_ord_id.is_key() {
            return rep.cancel_refused(session, request, CancelRefusal::NoKey, None);
        }
        let target = self.find(owner, request.orig_cl_ord_id);
        if let Some(entry) = target.map(|idx| self.dedup.get(idx))
            && entry.state() == KeyState::Closed
            && entry.closing_cl_ord_id == request.cl_ord_id
        {
            // The same cancel again: the order's state, nothing executed (ruling F07).
            return rep.status_closed(session, request.cl_ord_id, entry, 0);
        }
        match self.check_cancel(owner, request, target) {
            Err((refusal, order)) => rep.cancel_refused(session, request, refusal, order),
            Ok(slot) => {
                let order = self.take_out(slot, request.cl_ord_id, rep.time);
                rep.canceled(session, &order, Some(request), None);
                if order.session != session {
                    rep.canceled(order.session, &order, None, None);
                }
            }
        }
    }

    /// Begins to cancel all open orders of a session; `resume` does it.
    pub fn begin_sweep(&mut self, session: SessionIdx, reason: RestatementReason) {
        assert!(!self.is_unfinished(), "one thing at a time");
        self.session_orders.sort(session, &self.orders);
        self.sweep = Some((session, reason));
    }

    /// Cancels a session's orders by rising OrderID, one report each (ruling F09). No phase keeps
    /// them: who is gone must not be left in a market that opens again.
    pub(super) fn go_on_sweeping(
        &mut self,
        session: SessionIdx,
        reason: RestatementReason,
        rep: &mut Reporter<'_>,
    ) -> Progress {
        while rep.out.has_room_for_step() {
            let Some(slot) = self.session_orders.first(session) else {
                self.sweep = None;
                return Progress::Done;
            };
            let order = self.take_out(slot, ClOrdId(0), rep.time);
            rep.canceled(session, &order, None, Some(reason));
        }
        Progress::More
    }

    /// Takes an order out of its book and ends it as cancelled.
    fn take_out(&mut self, slot: OrderSlot, closing: ClOrdId, now: Nanos) -> Order {
        let Some(order) = self.orders.get(slot).copied() else { unreachable_slot(slot) };
        let book = &mut self.books[order.security_id.0 as usize];
        let leaves = book.cancel(&mut self.arena, slot);
        assert!(leaves == order.leaves_qty(), "book and arena agree on what is left");
        self.close(slot, OrdStatus::Canceled, closing, now);
        order
    }

    /// Judges a cancel in the order of `CANCEL_TABLE`; what is known of the order goes into the
    /// refusal.
    fn check_cancel(
        &self,
        owner: OwnerIdx,
        request: &OrderCancelRequest,
        target: Option<KeyIdx>,
    ) -> Result<OrderSlot, (CancelRefusal, Option<(OrderId, OrdStatus)>)> {
        if self.find(owner, request.cl_ord_id).is_some() {
            return Err((CancelRefusal::DuplicateClOrdId, None));
        }
        let Some(side) = Side::from_wire(request.side).filter(|_| request.poss_resend <= 1) else {
            return Err((CancelRefusal::BadCode, None));
        };
        let entry = target.map(|idx| self.dedup.get(idx));
        let Some(entry) = entry.filter(|e| e.state() != KeyState::Refused) else {
            return Err((CancelRefusal::UnknownOrder, None));
        };
        if entry.security_id != request.security_id || entry.side != side {
            return Err((CancelRefusal::WrongOrder, None));
        }
        let KeyState::Open(slot) = entry.state() else {
            return Err((CancelRefusal::TooLate, Some((entry.order_id, entry.ord_status))));
        };
        let Some(order) = self.orders.get(slot) else { unreachable_slot(slot) };
        if self.markets.phase_of(order.security_id) == MarketPhase::Closed {
            let status =
                if order.cum_qty.is_zero() { OrdStatus::New } else { OrdStatus::PartiallyFilled };
            return Err((CancelRefusal::MarketClosed, Some((order.order_id, status))));
        }
        Ok(slot)
    }
}
