//! Requests in typed fields, for those who do not need every field of the wire.

use crate::vocabulary::fix::{OrdType, Side, TimeInForce};
use crate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
};
use crate::vocabulary::units::{Account, ClOrdId, Nanos, Px, Qty, SecurityId, Seq};

/// A limit order, good for the day. Change fields of the message for anything else.
#[must_use]
pub const fn limit_order(
    cl_ord_id: ClOrdId,
    account: Account,
    security_id: SecurityId,
    side: Side,
    order_qty: Qty,
    price: Px,
) -> NewOrderSingle {
    NewOrderSingle {
        msg_seq_num: Seq(0),
        sending_time: Nanos(0),
        cl_ord_id,
        price: price.raw(),
        order_qty: order_qty.raw(),
        security_id: security_id.0,
        account: account.0,
        side: side.wire(),
        ord_type: OrdType::Limit.wire(),
        time_in_force: TimeInForce::Day.wire(),
        post_only: 0,
        poss_resend: 0,
        self_match: 0,
        sender_sub_id: 0,
        stop_px: NULL_I64,
        expire_time: NULL_U64,
    }
}

/// The cancel of `order`, under an id of its own.
#[must_use]
pub const fn cancel_of(order: &NewOrderSingle, cl_ord_id: ClOrdId) -> OrderCancelRequest {
    OrderCancelRequest {
        msg_seq_num: Seq(0),
        sending_time: Nanos(0),
        cl_ord_id,
        orig_cl_ord_id: order.cl_ord_id,
        security_id: order.security_id,
        side: order.side,
        poss_resend: 0,
        sender_sub_id: order.sender_sub_id,
    }
}

/// The question how the order `cl_ord_id` stands; `ord_status_req_id` is never 0.
#[must_use]
pub const fn status_of(cl_ord_id: ClOrdId, ord_status_req_id: u64) -> OrderStatusRequest {
    OrderStatusRequest { msg_seq_num: Seq(0), sending_time: Nanos(0), ord_status_req_id, cl_ord_id }
}

impl From<NewOrderSingle> for ClientMessage {
    fn from(message: NewOrderSingle) -> Self {
        Self::NewOrder(message)
    }
}

impl From<OrderCancelRequest> for ClientMessage {
    fn from(message: OrderCancelRequest) -> Self {
        Self::Cancel(message)
    }
}

impl From<OrderStatusRequest> for ClientMessage {
    fn from(message: OrderStatusRequest) -> Self {
        Self::Status(message)
    }
}
