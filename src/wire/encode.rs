//! A message becomes a whole frame, SOFH included.
//!
//! Reports are on the hot path: one check of the room, then writes at constant offsets into a block
//! whose length the compiler knows, so that it can drop every other check. Each encoder writes
//! every octet of its block; nothing that stood in the buffer before is left to be sent.

mod session;

pub use self::session::encode_session;
use super::layout::{
    ENCODING_TYPE, HEADER_BYTES, SCHEMA_ID, SCHEMA_VERSION, business_message_reject,
    execution_report_canceled, execution_report_new, execution_report_reject,
    execution_report_status, execution_report_trade, new_order_single, not_applied,
    order_cancel_reject, order_cancel_request, order_status_request,
};
use crate::limits::REPORT_BYTES_MAX;
use crate::vocabulary::event::{
    BusinessMessageReject, ExecutionReportCanceled, ExecutionReportNew, ExecutionReportReject,
    ExecutionReportStatus, ExecutionReportTrade, OrderCancelReject, Report, ReportBody,
};
use crate::vocabulary::fix::{NULL_U8, RestatementReason};
use crate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
};
use crate::vocabulary::units::{ClOrdId, Nanos, Px};

const _: () = assert!(REPORT_BYTES_MAX == HEADER_BYTES + execution_report_status::BLOCK);
/// Octets of the longest request.
pub const CLIENT_BYTES_MAX: usize = HEADER_BYTES + new_order_single::BLOCK;

/// Octets of the frame of a report.
#[inline]
#[must_use]
pub const fn report_len(body: &ReportBody) -> usize {
    HEADER_BYTES
        + match body {
            ReportBody::NotApplied { .. } => not_applied::BLOCK,
            ReportBody::New(_) => execution_report_new::BLOCK,
            ReportBody::Canceled(_) => execution_report_canceled::BLOCK,
            ReportBody::Trade(_) => execution_report_trade::BLOCK,
            ReportBody::Reject(_) => execution_report_reject::BLOCK,
            ReportBody::Status(_) => execution_report_status::BLOCK,
            ReportBody::CancelReject(_) => order_cancel_reject::BLOCK,
            ReportBody::BusinessReject(_) => business_message_reject::BLOCK,
        }
}

/// Writes the frame of a report to the start of `out` and returns its octets, [`report_len`].
/// `out` has at least [`REPORT_BYTES_MAX`] octets.
#[inline]
pub fn encode_report(report: &Report, out: &mut [u8]) -> usize {
    let Some(out) = out.first_chunk_mut::<REPORT_BYTES_MAX>() else {
        panic!(
            "room for a report: expected {REPORT_BYTES_MAX}, came {}",
            out.len()
        );
    };
    match &report.body {
        ReportBody::NotApplied { from_seq_no, count } => {
            use not_applied as f;
            let block = open::<{ f::BLOCK }>(out, f::TEMPLATE);
            f::FROM_SEQ_NO.put(block, from_seq_no.0);
            f::COUNT.put(block, *count);
        }
        ReportBody::New(body) => new(report, body, out),
        ReportBody::Canceled(body) => canceled(report, body, out),
        ReportBody::Trade(body) => trade(report, body, out),
        ReportBody::Reject(body) => reject(report, body, out),
        ReportBody::Status(body) => status(report, body, out),
        ReportBody::CancelReject(body) => cancel_reject(report, body, out),
        ReportBody::BusinessReject(body) => business_reject(report, body, out),
    }
    report_len(&report.body)
}

/// Writes the frame of a request to the start of `out` and returns its octets. `out` has at least
/// [`CLIENT_BYTES_MAX`] octets.
#[inline]
pub fn encode_client(message: &ClientMessage, out: &mut [u8]) -> usize {
    let Some(out) = out.first_chunk_mut::<CLIENT_BYTES_MAX>() else {
        panic!(
            "room for a request: expected {CLIENT_BYTES_MAX}, came {}",
            out.len()
        );
    };
    match message {
        ClientMessage::NewOrder(body) => new_order(body, out),
        ClientMessage::Cancel(body) => cancel(body, out),
        ClientMessage::Status(body) => status_request(body, out),
    }
}

/// Writes the headers of a frame that ends with its block; the block is what is returned.
#[inline]
fn open<const BLOCK: usize>(out: &mut [u8], template: u16) -> &mut [u8; BLOCK] {
    let split = out.split_first_chunk_mut::<HEADER_BYTES>();
    let parts = split.and_then(|(head, rest)| Some((head, rest.first_chunk_mut::<BLOCK>()?)));
    let Some((head, block)) = parts else {
        panic!("room for a block: expected {BLOCK}");
    };
    *head = header(template, BLOCK, HEADER_BYTES + BLOCK);
    block
}

/// SOFH and SBE header of a frame of `length` octets in all.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "asserted to fit")]
const fn header(template: u16, block: usize, length: usize) -> [u8; HEADER_BYTES] {
    assert!(
        block <= length && length <= 0xFFFF,
        "a frame's length has two octets"
    );
    let [l0, l1] = (length as u16).to_le_bytes();
    let [e0, e1] = ENCODING_TYPE.to_le_bytes();
    let [b0, b1] = (block as u16).to_le_bytes();
    let [t0, t1] = template.to_le_bytes();
    let [s0, s1] = SCHEMA_ID.to_le_bytes();
    let [v0, v1] = SCHEMA_VERSION.to_le_bytes();
    [l0, l1, e0, e1, b0, b1, t0, t1, s0, s1, v0, v1]
}

macro_rules! numbered {
    ($f:ident, $report:ident, $out:ident) => {{
        let block = open::<{ $f::BLOCK }>($out, $f::TEMPLATE);
        $f::MSG_SEQ_NUM.put(block, $report.msg_seq_num.0);
        $f::SENDING_TIME.put(block, $report.sending_time.0);
        $f::APPL_SEQ_NUM.put(block, $report.appl_seq_num.0);
        block
    }};
}

#[inline]
fn new(report: &Report, body: &ExecutionReportNew, out: &mut [u8; REPORT_BYTES_MAX]) {
    use execution_report_new as f;
    let block = numbered!(f, report, out);
    f::ORDER_ID.put(block, body.order_id.0);
    f::CL_ORD_ID.put(block, body.cl_ord_id.0);
    f::EXEC_ID.put(block, body.exec_id.0);
    f::TRANSACT_TIME.put(block, body.transact_time.0);
    f::PRICE.put(block, px(body.price));
    f::ORDER_QTY.put(block, body.order_qty.raw());
    f::SECURITY_ID.put(block, body.security_id.0);
    f::ACCOUNT.put(block, body.account.0);
    f::SIDE.put(block, body.side.wire());
    f::ORD_TYPE.put(block, body.ord_type.wire());
    f::TIME_IN_FORCE.put(block, body.time_in_force.wire());
    f::ORD_STATUS.put(block, body.ord_status.wire());
    f::POSS_RESEND.put(block, u8::from(body.poss_resend));
    f::POST_ONLY.put(block, u8::from(body.post_only));
    f::SENDER_SUB_ID.put(block, body.sender_sub_id.0);
    f::STOP_PX.put(block, px(body.stop_px));
    f::EXPIRE_TIME.put(block, time(body.expire_time));
}

#[inline]
fn canceled(report: &Report, body: &ExecutionReportCanceled, out: &mut [u8; REPORT_BYTES_MAX]) {
    use execution_report_canceled as f;
    let block = numbered!(f, report, out);
    f::ORDER_ID.put(block, body.order_id.0);
    f::CL_ORD_ID.put(block, body.cl_ord_id.0);
    f::EXEC_ID.put(block, body.exec_id.0);
    f::TRANSACT_TIME.put(block, body.transact_time.0);
    f::ORIG_CL_ORD_ID.put(
        block,
        body.orig_cl_ord_id.map_or(NULL_U64, |ClOrdId(id)| id),
    );
    f::CUM_QTY.put(block, body.cum_qty.raw());
    f::SECURITY_ID.put(block, body.security_id.0);
    f::ACCOUNT.put(block, body.account.0);
    f::SIDE.put(block, body.side.wire());
    f::ORD_STATUS.put(block, body.ord_status.wire());
    f::EXEC_TYPE.put(block, body.exec_type.wire());
    let reason = body
        .exec_restatement_reason
        .map_or(NULL_U8, RestatementReason::wire);
    f::EXEC_RESTATEMENT_REASON.put(block, reason);
    f::POSS_RESEND.put(block, u8::from(body.poss_resend));
}

#[inline]
fn trade(report: &Report, body: &ExecutionReportTrade, out: &mut [u8; REPORT_BYTES_MAX]) {
    use execution_report_trade as f;
    let block = numbered!(f, report, out);
    f::ORDER_ID.put(block, body.order_id.0);
    f::CL_ORD_ID.put(block, body.cl_ord_id.0);
    f::EXEC_ID.put(block, body.exec_id.0);
    f::TRANSACT_TIME.put(block, body.transact_time.0);
    f::LAST_PX.put(block, body.last_px.raw());
    f::LAST_QTY.put(block, body.last_qty.raw());
    f::LEAVES_QTY.put(block, body.leaves_qty.raw());
    f::CUM_QTY.put(block, body.cum_qty.raw());
    f::TRD_MATCH_ID.put(block, body.trd_match_id.0);
    f::SECURITY_ID.put(block, body.security_id.0);
    f::ACCOUNT.put(block, body.account.0);
    f::SIDE.put(block, body.side.wire());
    f::ORD_STATUS.put(block, body.ord_status.wire());
    f::AGGRESSOR_INDICATOR.put(block, u8::from(body.aggressor));
    f::POSS_RESEND.put(block, u8::from(body.poss_resend));
}

#[inline]
fn reject(report: &Report, body: &ExecutionReportReject, out: &mut [u8; REPORT_BYTES_MAX]) {
    use execution_report_reject as f;
    let block = numbered!(f, report, out);
    f::ORDER_ID.put(block, body.order_id.0);
    f::CL_ORD_ID.put(block, body.cl_ord_id.0);
    f::EXEC_ID.put(block, body.exec_id.0);
    f::TRANSACT_TIME.put(block, body.transact_time.0);
    f::SECURITY_ID.put(block, body.security_id);
    f::ACCOUNT.put(block, body.account);
    f::ORD_REJ_REASON.put(block, body.ord_rej_reason);
    f::ORD_STATUS.put(block, body.ord_status.wire());
    f::POSS_RESEND.put(block, u8::from(body.poss_resend));
    f::TEXT.put(block, *body.text.octets());
    f::RETRYABLE.put(block, u8::from(body.retryable));
}

#[inline]
fn status(report: &Report, body: &ExecutionReportStatus, out: &mut [u8; REPORT_BYTES_MAX]) {
    use execution_report_status as f;
    let block = numbered!(f, report, out);
    f::ORDER_ID.put(block, body.order_id.0);
    f::CL_ORD_ID.put(block, body.cl_ord_id.0);
    f::EXEC_ID.put(block, body.exec_id.0);
    f::TRANSACT_TIME.put(block, body.transact_time.0);
    f::ORD_STATUS_REQ_ID.put(block, body.ord_status_req_id);
    f::PRICE.put(block, px(body.price));
    f::ORDER_QTY.put(block, body.order_qty.raw());
    f::LEAVES_QTY.put(block, body.leaves_qty.raw());
    f::CUM_QTY.put(block, body.cum_qty.raw());
    f::SECURITY_ID.put(block, body.security_id.0);
    f::ACCOUNT.put(block, body.account.0);
    f::SIDE.put(block, body.side.wire());
    f::ORD_STATUS.put(block, body.ord_status.wire());
    f::POSS_RESEND.put(block, u8::from(body.poss_resend));
    f::LAST_RPT_REQUESTED.put(block, u8::from(body.last_rpt_requested));
    f::TOT_NUM_REPORTS.put(block, body.tot_num_reports);
    f::ORD_TYPE.put(block, body.ord_type.wire());
    f::TIME_IN_FORCE.put(block, body.time_in_force.wire());
    f::SENDER_SUB_ID.put(block, body.sender_sub_id.0);
    f::STOP_PX.put(block, px(body.stop_px));
    f::EXPIRE_TIME.put(block, time(body.expire_time));
}

#[inline]
fn cancel_reject(report: &Report, body: &OrderCancelReject, out: &mut [u8; REPORT_BYTES_MAX]) {
    use order_cancel_reject as f;
    let block = numbered!(f, report, out);
    f::ORDER_ID.put(block, body.order_id.0);
    f::CL_ORD_ID.put(block, body.cl_ord_id.0);
    f::EXEC_ID.put(block, body.exec_id.0);
    f::TRANSACT_TIME.put(block, body.transact_time.0);
    f::ORIG_CL_ORD_ID.put(block, body.orig_cl_ord_id.0);
    f::CXL_REJ_REASON.put(block, body.cxl_rej_reason);
    f::CXL_REJ_RESPONSE_TO.put(block, body.cxl_rej_response_to.wire());
    f::ORD_STATUS.put(block, body.ord_status.wire());
    f::POSS_RESEND.put(block, u8::from(body.poss_resend));
    f::TEXT.put(block, *body.text.octets());
    f::RETRYABLE.put(block, u8::from(body.retryable));
}

#[inline]
fn business_reject(
    report: &Report,
    body: &BusinessMessageReject,
    out: &mut [u8; REPORT_BYTES_MAX],
) {
    use business_message_reject as f;
    let block = numbered!(f, report, out);
    f::REF_SEQ_NUM.put(block, body.ref_seq_num.0);
    f::BUSINESS_REJECT_REF_ID.put(block, body.business_reject_ref_id);
    f::BUSINESS_REJECT_REASON.put(block, body.business_reject_reason);
    f::REF_TEMPLATE_ID.put(block, body.ref_template_id);
    f::TEXT.put(block, *body.text.octets());
    f::RETRYABLE.put(block, u8::from(body.retryable));
}

#[inline]
fn new_order(body: &NewOrderSingle, out: &mut [u8; CLIENT_BYTES_MAX]) -> usize {
    use new_order_single as f;
    let block = open::<{ f::BLOCK }>(out, f::TEMPLATE);
    f::MSG_SEQ_NUM.put(block, body.msg_seq_num.0);
    f::SENDING_TIME.put(block, body.sending_time.0);
    f::CL_ORD_ID.put(block, body.cl_ord_id.0);
    f::PRICE.put(block, body.price);
    f::ORDER_QTY.put(block, body.order_qty);
    f::SECURITY_ID.put(block, body.security_id);
    f::ACCOUNT.put(block, body.account);
    f::SIDE.put(block, body.side);
    f::ORD_TYPE.put(block, body.ord_type);
    f::TIME_IN_FORCE.put(block, body.time_in_force);
    f::POST_ONLY.put(block, body.post_only);
    f::POSS_RESEND.put(block, body.poss_resend);
    f::SELF_MATCH_PREVENTION_INSTRUCTION.put(block, body.self_match);
    f::SENDER_SUB_ID.put(block, body.sender_sub_id);
    f::STOP_PX.put(block, body.stop_px);
    f::EXPIRE_TIME.put(block, body.expire_time);
    HEADER_BYTES + f::BLOCK
}

#[inline]
fn cancel(body: &OrderCancelRequest, out: &mut [u8; CLIENT_BYTES_MAX]) -> usize {
    use order_cancel_request as f;
    let block = open::<{ f::BLOCK }>(out, f::TEMPLATE);
    f::MSG_SEQ_NUM.put(block, body.msg_seq_num.0);
    f::SENDING_TIME.put(block, body.sending_time.0);
    f::CL_ORD_ID.put(block, body.cl_ord_id.0);
    f::ORIG_CL_ORD_ID.put(block, body.orig_cl_ord_id.0);
    f::SECURITY_ID.put(block, body.security_id);
    f::SIDE.put(block, body.side);
    f::POSS_RESEND.put(block, body.poss_resend);
    f::SENDER_SUB_ID.put(block, body.sender_sub_id);
    HEADER_BYTES + f::BLOCK
}

#[inline]
fn status_request(body: &OrderStatusRequest, out: &mut [u8; CLIENT_BYTES_MAX]) -> usize {
    use order_status_request as f;
    let block = open::<{ f::BLOCK }>(out, f::TEMPLATE);
    f::MSG_SEQ_NUM.put(block, body.msg_seq_num.0);
    f::SENDING_TIME.put(block, body.sending_time.0);
    f::ORD_STATUS_REQ_ID.put(block, body.ord_status_req_id);
    f::CL_ORD_ID.put(block, body.cl_ord_id.0);
    HEADER_BYTES + f::BLOCK
}

#[inline]
fn px(price: Option<Px>) -> i64 {
    price.map_or(NULL_I64, Px::raw)
}

#[inline]
fn time(point: Option<Nanos>) -> u64 {
    point.map_or(NULL_U64, |Nanos(ns)| ns)
}
