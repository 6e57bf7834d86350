//! Turns what happened to an order into numbered reports.
//!
//! One place gives the numbers: MsgSeqNum of the session's flow, ExecID of the engine. Both are
//! counted here and nowhere else, so that every report has exactly one of each.

use super::dedup::KeyEntry;
use super::orders::Order;
use super::outbox::Outbox;
use super::refusals::{CancelRefusal, Refusal};
use crate::session::logical::{Gap, Sessions};
use crate::vocabulary::event::{
    BusinessMessageReject, Event, ExecutionReportCanceled, ExecutionReportNew,
    ExecutionReportReject, ExecutionReportStatus, ExecutionReportTrade, OrderCancelReject, Report,
    ReportBody,
};
use crate::vocabulary::fix::{
    BusinessRejectReason, CxlRejResponseTo, ExecType, OrdStatus, OrdType, RestatementReason, Side,
    TimeInForce,
};
use crate::vocabulary::message::{
    NULL_I64, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
};
use crate::vocabulary::units::{
    Account, ClOrdId, ExecId, Index, Nanos, OrderId, Px, Qty, SecurityId, SenderSubId, SessionIdx,
    Text, TrdMatchId,
};

/// Reports of one record.
pub struct Reporter<'a> {
    /// Where they go.
    pub out: &'a mut Outbox,
    /// Whose numbers they take.
    pub sessions: &'a mut Sessions,
    /// Reports with an ExecID ever emitted.
    pub exec_count: &'a mut u64,
    /// ApplSeqNum: the record.
    pub index: Index,
    /// Its time.
    pub time: Nanos,
    /// Active time: what keys age by.
    pub active: Nanos,
}

/// One side of a trade.
#[derive(Clone, Copy, Debug)]
pub struct Execution {
    /// LastPx.
    pub px: Px,
    /// LastQty.
    pub qty: Qty,
    /// TrdMatchID, the same on both sides.
    pub trd_match_id: TrdMatchId,
    /// Whether this side came in.
    pub is_aggressor: bool,
}

/// The state of an order as a status report tells it.
#[derive(Clone, Copy, Debug)]
struct State {
    order_id: OrderId,
    transact_time: Nanos,
    price: Option<Px>,
    order_qty: Qty,
    leaves_qty: Qty,
    cum_qty: Qty,
    ord_status: OrdStatus,
}

impl Reporter<'_> {
    /// Numbers that never arrived.
    pub fn not_applied(&mut self, session: SessionIdx, gap: Gap) {
        self.send(session, ReportBody::NotApplied { from_seq_no: gap.from, count: gap.count });
    }

    /// The order was accepted.
    pub fn accepted(&mut self, order: &Order) {
        let body = ExecutionReportNew {
            order_id: order.order_id,
            cl_ord_id: order.cl_ord_id,
            exec_id: self.next_exec_id(),
            transact_time: self.time,
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
        self.send(order.session, ReportBody::New(body));
    }

    /// The order traded; `order` already counts the execution.
    pub fn traded(&mut self, order: &Order, execution: Execution) {
        let body = ExecutionReportTrade {
            order_id: order.order_id,
            cl_ord_id: order.cl_ord_id,
            exec_id: self.next_exec_id(),
            transact_time: self.time,
            last_px: execution.px,
            last_qty: execution.qty,
            leaves_qty: order.leaves_qty(),
            cum_qty: order.cum_qty,
            trd_match_id: execution.trd_match_id,
            security_id: order.security_id,
            account: order.account,
            side: order.side,
            ord_status: open_status(order),
            aggressor: execution.is_aggressor,
            poss_resend: false,
        };
        self.send(order.session, ReportBody::Trade(body));
    }

    /// The order was cancelled. With the request that asked for it, the report answers the request;
    /// without, it tells the order's session what happened (ruling F18), and why if the system
    /// cancelled it.
    pub fn canceled(
        &mut self,
        session: SessionIdx,
        order: &Order,
        request: Option<&OrderCancelRequest>,
        reason: Option<RestatementReason>,
    ) {
        let body = ExecutionReportCanceled {
            order_id: order.order_id,
            cl_ord_id: request.map_or(order.cl_ord_id, |r| r.cl_ord_id),
            exec_id: self.next_exec_id(),
            transact_time: self.time,
            orig_cl_ord_id: request.map(|r| r.orig_cl_ord_id),
            cum_qty: order.cum_qty,
            security_id: order.security_id,
            account: order.account,
            side: order.side,
            ord_status: OrdStatus::Canceled,
            exec_type: ExecType::Canceled,
            exec_restatement_reason: reason,
            poss_resend: false,
        };
        self.send(session, ReportBody::Canceled(body));
    }

    /// The new order is refused.
    pub fn refused(&mut self, session: SessionIdx, order: &NewOrderSingle, refusal: Refusal) {
        let transact_time = self.time;
        self.reject(
            session,
            order.cl_ord_id,
            refusal,
            Refused {
                security_id: order.security_id,
                account: order.account,
                transact_time,
                is_resend: false,
            },
        );
    }

    /// The order was refused for good before: the same answer again.
    pub fn refused_again(&mut self, session: SessionIdx, entry: &KeyEntry, refusal: Refusal) {
        self.reject(
            session,
            entry.cl_ord_id,
            refusal,
            Refused {
                security_id: entry.security_id,
                account: entry.account,
                transact_time: entry.transact_time,
                is_resend: true,
            },
        );
    }

    /// The current state of an open order, under the id asked with. `request_id` 0 answers a
    /// duplicate and is marked as a resend.
    pub fn status_open(
        &mut self,
        session: SessionIdx,
        asked: ClOrdId,
        order: &Order,
        request_id: u64,
    ) {
        let state = State {
            order_id: order.order_id,
            transact_time: order.transact_time,
            price: Some(order.price),
            order_qty: order.order_qty,
            leaves_qty: order.leaves_qty(),
            cum_qty: order.cum_qty,
            ord_status: open_status(order),
        };
        let codes = (order.side, order.ord_type, order.time_in_force);
        let of = (order.security_id, order.account, order.sender_sub_id);
        self.status(session, asked, &state, codes, of, request_id);
    }

    /// The final state of an order that ended, from its key.
    pub fn status_closed(
        &mut self,
        session: SessionIdx,
        asked: ClOrdId,
        entry: &KeyEntry,
        request_id: u64,
    ) {
        let state = State {
            order_id: entry.order_id,
            transact_time: entry.transact_time,
            price: if entry.price == NULL_I64 { None } else { Px::try_new(entry.price) },
            order_qty: entry.order_qty,
            leaves_qty: Qty::ZERO,
            cum_qty: entry.cum_qty,
            ord_status: entry.ord_status,
        };
        let codes = (entry.side, entry.ord_type, entry.time_in_force);
        let of = (SecurityId(entry.security_id), Account(entry.account), entry.sender_sub_id);
        self.status(session, asked, &state, codes, of, request_id);
    }

    /// The cancel is refused; `order` is what is known of the order it names.
    pub fn cancel_refused(
        &mut self,
        session: SessionIdx,
        request: &OrderCancelRequest,
        refusal: CancelRefusal,
        order: Option<(OrderId, OrdStatus)>,
    ) {
        let row = refusal.row();
        let (order_id, ord_status) = order.unwrap_or((OrderId(0), OrdStatus::Rejected));
        let body = OrderCancelReject {
            order_id,
            cl_ord_id: request.cl_ord_id,
            exec_id: self.next_exec_id(),
            transact_time: self.time,
            orig_cl_ord_id: request.orig_cl_ord_id,
            cxl_rej_reason: row.reason.wire(),
            cxl_rej_response_to: CxlRejResponseTo::Cancel,
            ord_status,
            poss_resend: false,
            text: Text::new(row.text),
            retryable: row.is_retryable,
        };
        self.send(session, ReportBody::CancelReject(body));
    }

    /// The status request is refused.
    pub fn status_refused(
        &mut self,
        session: SessionIdx,
        request: &OrderStatusRequest,
        reason: BusinessRejectReason,
        text: &str,
    ) {
        let body = BusinessMessageReject {
            ref_seq_num: request.msg_seq_num,
            business_reject_ref_id: request.ord_status_req_id,
            business_reject_reason: reason.wire(),
            ref_template_id: 104,
            text: Text::new(text),
            retryable: false,
        };
        self.send(session, ReportBody::BusinessReject(body));
    }

    fn reject(&mut self, session: SessionIdx, id: ClOrdId, refusal: Refusal, of: Refused) {
        let row = refusal.row();
        let body = ExecutionReportReject {
            order_id: OrderId(0),
            cl_ord_id: id,
            exec_id: self.next_exec_id(),
            transact_time: of.transact_time,
            security_id: of.security_id,
            account: of.account,
            ord_rej_reason: row.reason.wire(),
            ord_status: OrdStatus::Rejected,
            poss_resend: of.is_resend,
            text: Text::new(row.text),
            retryable: row.is_retryable,
        };
        self.send(session, ReportBody::Reject(body));
    }

    fn status(
        &mut self,
        session: SessionIdx,
        asked: ClOrdId,
        state: &State,
        (side, ord_type, time_in_force): (Side, OrdType, TimeInForce),
        (security_id, account, sender_sub_id): (SecurityId, Account, SenderSubId),
        request_id: u64,
    ) {
        let body = ExecutionReportStatus {
            order_id: state.order_id,
            cl_ord_id: asked,
            exec_id: self.next_exec_id(),
            transact_time: state.transact_time,
            ord_status_req_id: request_id,
            price: state.price,
            order_qty: state.order_qty,
            leaves_qty: state.leaves_qty,
            cum_qty: state.cum_qty,
            security_id,
            account,
            side,
            ord_status: state.ord_status,
            poss_resend: request_id == 0,
            last_rpt_requested: true,
            tot_num_reports: 1,
            ord_type,
            time_in_force,
            sender_sub_id,
            stop_px: None,
            expire_time: None,
        };
        self.send(session, ReportBody::Status(body));
    }

    fn next_exec_id(&mut self) -> ExecId {
        *self.exec_count += 1;
        ExecId(*self.exec_count)
    }

    fn send(&mut self, session: SessionIdx, body: ReportBody) {
        let report = Report {
            msg_seq_num: self.sessions.take_out(session),
            sending_time: self.time,
            appl_seq_num: self.index,
            body,
        };
        self.out.push(Event::Report { session, report });
    }
}

/// What a refusal repeats of its request.
#[derive(Clone, Copy)]
struct Refused {
    security_id: u32,
    account: u32,
    transact_time: Nanos,
    is_resend: bool,
}

/// OrdStatus of an order from its quantities, while nothing but trades happened to it.
fn open_status(order: &Order) -> OrdStatus {
    if order.cum_qty.is_zero() {
        OrdStatus::New
    } else if order.cum_qty < order.order_qty {
        OrdStatus::PartiallyFilled
    } else {
        OrdStatus::Filled
    }
}
