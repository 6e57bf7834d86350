//! Reports, as a client reads them.
//!
//! A report is taken with the whole block of this build's version: servers are upgraded before
//! clients, and there never was a server of an older one.

use super::{DecodeError, whole_block};
use crate::vocabulary::event::{
    BusinessMessageReject, ExecutionReportCanceled, ExecutionReportNew, ExecutionReportReject,
    ExecutionReportStatus, ExecutionReportTrade, OrderCancelReject, Report, ReportBody,
};
use crate::vocabulary::fix::{
    CxlRejResponseTo, ExecType, NULL_U8, OrdStatus, OrdType, RestatementReason, Side, TimeInForce,
};
use crate::vocabulary::message::{NULL_I64, NULL_U64};
use crate::vocabulary::units::{
    Account, ClOrdId, ExecId, Index, Nanos, OrderId, Px, Qty, SecurityId, SenderSubId, Seq, Text,
    TrdMatchId,
};
use crate::wire::frame::Frame;
use crate::wire::layout::{
    business_message_reject, execution_report_canceled, execution_report_new,
    execution_report_reject, execution_report_status, execution_report_trade, not_applied,
    order_cancel_reject,
};

type Decoded = Result<Report, DecodeError>;

/// The report in `frame`; `None` when its template is no report.
#[inline]
pub(super) fn decode(frame: &Frame<'_>) -> Result<Option<Report>, DecodeError> {
    match frame.template {
        execution_report_new::TEMPLATE => new(frame),
        execution_report_trade::TEMPLATE => trade(frame),
        execution_report_canceled::TEMPLATE => canceled(frame),
        execution_report_reject::TEMPLATE => reject(frame),
        execution_report_status::TEMPLATE => status(frame),
        order_cancel_reject::TEMPLATE => cancel_reject(frame),
        business_message_reject::TEMPLATE => business_reject(frame),
        not_applied::TEMPLATE => not_applied(frame),
        _ => return Ok(None),
    }
    .map(Some)
}

fn not_applied(frame: &Frame<'_>) -> Decoded {
    use not_applied as f;
    let block = whole_block::<{ f::BLOCK }>(frame)?;
    Ok(Report {
        msg_seq_num: Seq(0),
        sending_time: Nanos(0),
        appl_seq_num: Index(0),
        body: ReportBody::NotApplied {
            from_seq_no: Seq(f::FROM_SEQ_NO.get(block)),
            count: f::COUNT.get(block),
        },
    })
}

macro_rules! report {
    ($f:ident, $block:ident, $body:expr) => {
        Report {
            msg_seq_num: Seq($f::MSG_SEQ_NUM.get($block)),
            sending_time: Nanos($f::SENDING_TIME.get($block)),
            appl_seq_num: Index($f::APPL_SEQ_NUM.get($block)),
            body: $body,
        }
    };
}

fn new(frame: &Frame<'_>) -> Decoded {
    use execution_report_new as f;
    let block = whole_block::<{ f::BLOCK }>(frame)?;
    let body = ExecutionReportNew {
        order_id: OrderId(f::ORDER_ID.get(block)),
        cl_ord_id: ClOrdId(f::CL_ORD_ID.get(block)),
        exec_id: ExecId(f::EXEC_ID.get(block)),
        transact_time: Nanos(f::TRANSACT_TIME.get(block)),
        price: price_or_null("Price", f::PRICE.get(block))?,
        order_qty: qty("OrderQty", f::ORDER_QTY.get(block))?,
        security_id: SecurityId(f::SECURITY_ID.get(block)),
        account: Account(f::ACCOUNT.get(block)),
        side: side(f::SIDE.get(block))?,
        ord_type: ord_type(f::ORD_TYPE.get(block))?,
        time_in_force: time_in_force(f::TIME_IN_FORCE.get(block))?,
        ord_status: ord_status(f::ORD_STATUS.get(block))?,
        poss_resend: flag("PossResend", f::POSS_RESEND.get(block))?,
        post_only: flag("PostOnly", f::POST_ONLY.get(block))?,
        sender_sub_id: SenderSubId(f::SENDER_SUB_ID.get(block)),
        stop_px: price_or_null("StopPx", f::STOP_PX.get(block))?,
        expire_time: id_or_null(f::EXPIRE_TIME.get(block)).map(Nanos),
    };
    Ok(report!(f, block, ReportBody::New(body)))
}

fn canceled(frame: &Frame<'_>) -> Decoded {
    use execution_report_canceled as f;
    let block = whole_block::<{ f::BLOCK }>(frame)?;
    let exec_type = f::EXEC_TYPE.get(block);
    let reason = f::EXEC_RESTATEMENT_REASON.get(block);
    let body = ExecutionReportCanceled {
        order_id: OrderId(f::ORDER_ID.get(block)),
        cl_ord_id: ClOrdId(f::CL_ORD_ID.get(block)),
        exec_id: ExecId(f::EXEC_ID.get(block)),
        transact_time: Nanos(f::TRANSACT_TIME.get(block)),
        orig_cl_ord_id: id_or_null(f::ORIG_CL_ORD_ID.get(block)).map(ClOrdId),
        cum_qty: qty("CumQty", f::CUM_QTY.get(block))?,
        security_id: SecurityId(f::SECURITY_ID.get(block)),
        account: Account(f::ACCOUNT.get(block)),
        side: side(f::SIDE.get(block))?,
        ord_status: ord_status(f::ORD_STATUS.get(block))?,
        exec_type: known("ExecType", exec_type, ExecType::from_wire(exec_type))?,
        exec_restatement_reason: match reason {
            NULL_U8 => None,
            code => Some(known(
                "ExecRestatementReason",
                code,
                RestatementReason::from_wire(code),
            )?),
        },
        poss_resend: flag("PossResend", f::POSS_RESEND.get(block))?,
    };
    Ok(report!(f, block, ReportBody::Canceled(body)))
}

fn trade(frame: &Frame<'_>) -> Decoded {
    use execution_report_trade as f;
    let block = whole_block::<{ f::BLOCK }>(frame)?;
    let body = ExecutionReportTrade {
        order_id: OrderId(f::ORDER_ID.get(block)),
        cl_ord_id: ClOrdId(f::CL_ORD_ID.get(block)),
        exec_id: ExecId(f::EXEC_ID.get(block)),
        transact_time: Nanos(f::TRANSACT_TIME.get(block)),
        last_px: price("LastPx", f::LAST_PX.get(block))?,
        last_qty: qty("LastQty", f::LAST_QTY.get(block))?,
        leaves_qty: qty("LeavesQty", f::LEAVES_QTY.get(block))?,
        cum_qty: qty("CumQty", f::CUM_QTY.get(block))?,
        trd_match_id: TrdMatchId(f::TRD_MATCH_ID.get(block)),
        security_id: SecurityId(f::SECURITY_ID.get(block)),
        account: Account(f::ACCOUNT.get(block)),
        side: side(f::SIDE.get(block))?,
        ord_status: ord_status(f::ORD_STATUS.get(block))?,
        aggressor: flag("AggressorIndicator", f::AGGRESSOR_INDICATOR.get(block))?,
        poss_resend: flag("PossResend", f::POSS_RESEND.get(block))?,
    };
    Ok(report!(f, block, ReportBody::Trade(body)))
}

fn reject(frame: &Frame<'_>) -> Decoded {
    use execution_report_reject as f;
    let block = whole_block::<{ f::BLOCK }>(frame)?;
    let body = ExecutionReportReject {
        order_id: OrderId(f::ORDER_ID.get(block)),
        cl_ord_id: ClOrdId(f::CL_ORD_ID.get(block)),
        exec_id: ExecId(f::EXEC_ID.get(block)),
        transact_time: Nanos(f::TRANSACT_TIME.get(block)),
        security_id: f::SECURITY_ID.get(block),
        account: f::ACCOUNT.get(block),
        ord_rej_reason: f::ORD_REJ_REASON.get(block),
        ord_status: ord_status(f::ORD_STATUS.get(block))?,
        poss_resend: flag("PossResend", f::POSS_RESEND.get(block))?,
        text: Text::from_octets(f::TEXT.get(block)),
        retryable: flag("Retryable", f::RETRYABLE.get(block))?,
    };
    Ok(report!(f, block, ReportBody::Reject(body)))
}

fn status(frame: &Frame<'_>) -> Decoded {
    use execution_report_status as f;
    let block = whole_block::<{ f::BLOCK }>(frame)?;
    let body = ExecutionReportStatus {
        order_id: OrderId(f::ORDER_ID.get(block)),
        cl_ord_id: ClOrdId(f::CL_ORD_ID.get(block)),
        exec_id: ExecId(f::EXEC_ID.get(block)),
        transact_time: Nanos(f::TRANSACT_TIME.get(block)),
        ord_status_req_id: f::ORD_STATUS_REQ_ID.get(block),
        price: price_or_null("Price", f::PRICE.get(block))?,
        order_qty: qty("OrderQty", f::ORDER_QTY.get(block))?,
        leaves_qty: qty("LeavesQty", f::LEAVES_QTY.get(block))?,
        cum_qty: qty("CumQty", f::CUM_QTY.get(block))?,
        security_id: SecurityId(f::SECURITY_ID.get(block)),
        account: Account(f::ACCOUNT.get(block)),
        side: side(f::SIDE.get(block))?,
        ord_status: ord_status(f::ORD_STATUS.get(block))?,
        poss_resend: flag("PossResend", f::POSS_RESEND.get(block))?,
        last_rpt_requested: flag("LastRptRequested", f::LAST_RPT_REQUESTED.get(block))?,
        tot_num_reports: f::TOT_NUM_REPORTS.get(block),
        ord_type: ord_type(f::ORD_TYPE.get(block))?,
        time_in_force: time_in_force(f::TIME_IN_FORCE.get(block))?,
        sender_sub_id: SenderSubId(f::SENDER_SUB_ID.get(block)),
        stop_px: price_or_null("StopPx", f::STOP_PX.get(block))?,
        expire_time: id_or_null(f::EXPIRE_TIME.get(block)).map(Nanos),
    };
    Ok(report!(f, block, ReportBody::Status(body)))
}

fn cancel_reject(frame: &Frame<'_>) -> Decoded {
    use order_cancel_reject as f;
    let block = whole_block::<{ f::BLOCK }>(frame)?;
    let response_to = f::CXL_REJ_RESPONSE_TO.get(block);
    let body = OrderCancelReject {
        order_id: OrderId(f::ORDER_ID.get(block)),
        cl_ord_id: ClOrdId(f::CL_ORD_ID.get(block)),
        exec_id: ExecId(f::EXEC_ID.get(block)),
        transact_time: Nanos(f::TRANSACT_TIME.get(block)),
        orig_cl_ord_id: ClOrdId(f::ORIG_CL_ORD_ID.get(block)),
        cxl_rej_reason: f::CXL_REJ_REASON.get(block),
        cxl_rej_response_to: known(
            "CxlRejResponseTo",
            response_to,
            CxlRejResponseTo::from_wire(response_to),
        )?,
        ord_status: ord_status(f::ORD_STATUS.get(block))?,
        poss_resend: flag("PossResend", f::POSS_RESEND.get(block))?,
        text: Text::from_octets(f::TEXT.get(block)),
        retryable: flag("Retryable", f::RETRYABLE.get(block))?,
    };
    Ok(report!(f, block, ReportBody::CancelReject(body)))
}

fn business_reject(frame: &Frame<'_>) -> Decoded {
    use business_message_reject as f;
    let block = whole_block::<{ f::BLOCK }>(frame)?;
    let body = BusinessMessageReject {
        ref_seq_num: Seq(f::REF_SEQ_NUM.get(block)),
        business_reject_ref_id: f::BUSINESS_REJECT_REF_ID.get(block),
        business_reject_reason: f::BUSINESS_REJECT_REASON.get(block),
        ref_template_id: f::REF_TEMPLATE_ID.get(block),
        text: Text::from_octets(f::TEXT.get(block)),
        retryable: flag("Retryable", f::RETRYABLE.get(block))?,
    };
    Ok(report!(f, block, ReportBody::BusinessReject(body)))
}

fn known<T>(field: &'static str, came: u8, code: Option<T>) -> Result<T, DecodeError> {
    code.ok_or(DecodeError::BadCode { field, came })
}

fn side(came: u8) -> Result<Side, DecodeError> {
    known("Side", came, Side::from_wire(came))
}

fn ord_type(came: u8) -> Result<OrdType, DecodeError> {
    known("OrdType", came, OrdType::from_wire(came))
}

fn time_in_force(came: u8) -> Result<TimeInForce, DecodeError> {
    known("TimeInForce", came, TimeInForce::from_wire(came))
}

fn ord_status(came: u8) -> Result<OrdStatus, DecodeError> {
    known("OrdStatus", came, OrdStatus::from_wire(came))
}

fn flag(field: &'static str, came: u8) -> Result<bool, DecodeError> {
    match came {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::BadCode { field, came }),
    }
}

fn price(field: &'static str, came: i64) -> Result<Px, DecodeError> {
    Px::try_new(came).ok_or(DecodeError::OutOfRange { field, came })
}

fn price_or_null(field: &'static str, came: i64) -> Result<Option<Px>, DecodeError> {
    if came == NULL_I64 {
        Ok(None)
    } else {
        price(field, came).map(Some)
    }
}

fn qty(field: &'static str, came: i64) -> Result<Qty, DecodeError> {
    Qty::try_new(came).ok_or(DecodeError::OutOfRange { field, came })
}

fn id_or_null(came: u64) -> Option<u64> {
    (came != NULL_U64).then_some(came)
}
