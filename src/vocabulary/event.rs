//! What the machine answers: a closed set, read in one screen.
//!
//! A report is numbered, is a function of the journal alone, and is therefore the same on every
//! node, byte for byte. The other events tell the shell what became of a logon; they are not sent.

use super::fix::{
    CxlRejResponseTo, ExecType, OrdStatus, OrdType, RestatementReason, Side, TimeInForce,
};
use super::units::{
    Account, ClOrdId, ExecId, Index, Nanos, OrderId, Px, Qty, SecurityId, SenderSubId, Seq,
    SessionIdx, Text, TrdMatchId,
};

/// One answer of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A numbered report into a session's flow.
    Report {
        /// The session whose flow it belongs to.
        session: SessionIdx,
        /// The report.
        report: Report,
    },
    /// A Negotiate was applied.
    Opened {
        /// The new session.
        session: SessionIdx,
    },
    /// An Establish was applied.
    Bound {
        /// The session.
        session: SessionIdx,
        /// The number of the next report, the NotApplied of this Establish included.
        next_out: Seq,
        /// The last number applied before.
        last_in: Seq,
    },
    /// A transport's end was applied.
    Down {
        /// The session.
        session: SessionIdx,
    },
    /// A FinishedSending was applied: no further report of the session will come.
    Finishing {
        /// The session.
        session: SessionIdx,
        /// The number of its last report; 0 if there was none.
        last_out: Seq,
    },
    /// A session was forgotten: its slot will be another's.
    Forgotten {
        /// The slot.
        session: SessionIdx,
    },
}

/// A numbered report: the header that all share, and what happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// MsgSeqNum(34) of the session's outbound flow.
    pub msg_seq_num: Seq,
    /// SendingTime(52): the journaled time of the record.
    pub sending_time: Nanos,
    /// ApplSeqNum(1181): the journal index of the record.
    pub appl_seq_num: Index,
    /// What happened.
    pub body: ReportBody,
}

/// What a report tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReportBody {
    /// Template 18. It carries no number on the wire, yet consumes one.
    NotApplied {
        /// First number that never arrived.
        from_seq_no: Seq,
        /// How many.
        count: u32,
    },
    /// Template 200.
    New(ExecutionReportNew),
    /// Template 202.
    Canceled(ExecutionReportCanceled),
    /// Template 203.
    Trade(ExecutionReportTrade),
    /// Template 204.
    Reject(ExecutionReportReject),
    /// Template 205.
    Status(ExecutionReportStatus),
    /// Template 206.
    CancelReject(OrderCancelReject),
    /// Template 208.
    BusinessReject(BusinessMessageReject),
}

/// Template 200.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecutionReportNew {
    /// OrderID(37).
    pub order_id: OrderId,
    /// ClOrdID(11).
    pub cl_ord_id: ClOrdId,
    /// ExecID(17).
    pub exec_id: ExecId,
    /// TransactTime(60).
    pub transact_time: Nanos,
    /// Price(44); none for a market order.
    pub price: Option<Px>,
    /// OrderQty(38).
    pub order_qty: Qty,
    /// SecurityID(48).
    pub security_id: SecurityId,
    /// Account(1).
    pub account: Account,
    /// Side(54).
    pub side: Side,
    /// OrdType(40).
    pub ord_type: OrdType,
    /// TimeInForce(59).
    pub time_in_force: TimeInForce,
    /// OrdStatus(39).
    pub ord_status: OrdStatus,
    /// PossResend(97).
    pub poss_resend: bool,
    /// PostOnly.
    pub post_only: bool,
    /// SenderSubID(50).
    pub sender_sub_id: SenderSubId,
    /// StopPx(99).
    pub stop_px: Option<Px>,
    /// ExpireTime(126).
    pub expire_time: Option<Nanos>,
}

/// Template 202.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecutionReportCanceled {
    /// OrderID(37).
    pub order_id: OrderId,
    /// ClOrdID(11): the cancel's, or the order's when nobody asked.
    pub cl_ord_id: ClOrdId,
    /// ExecID(17).
    pub exec_id: ExecId,
    /// TransactTime(60).
    pub transact_time: Nanos,
    /// OrigClOrdID(41), as asked; none when nobody asked.
    pub orig_cl_ord_id: Option<ClOrdId>,
    /// CumQty(14).
    pub cum_qty: Qty,
    /// SecurityID(48).
    pub security_id: SecurityId,
    /// Account(1).
    pub account: Account,
    /// Side(54).
    pub side: Side,
    /// OrdStatus(39).
    pub ord_status: OrdStatus,
    /// ExecType(150).
    pub exec_type: ExecType,
    /// ExecRestatementReason(378).
    pub exec_restatement_reason: Option<RestatementReason>,
    /// PossResend(97).
    pub poss_resend: bool,
}

/// Template 203.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecutionReportTrade {
    /// OrderID(37).
    pub order_id: OrderId,
    /// ClOrdID(11).
    pub cl_ord_id: ClOrdId,
    /// ExecID(17).
    pub exec_id: ExecId,
    /// TransactTime(60).
    pub transact_time: Nanos,
    /// LastPx(31).
    pub last_px: Px,
    /// LastQty(32).
    pub last_qty: Qty,
    /// LeavesQty(151).
    pub leaves_qty: Qty,
    /// CumQty(14).
    pub cum_qty: Qty,
    /// TrdMatchID(880).
    pub trd_match_id: TrdMatchId,
    /// SecurityID(48).
    pub security_id: SecurityId,
    /// Account(1).
    pub account: Account,
    /// Side(54).
    pub side: Side,
    /// OrdStatus(39).
    pub ord_status: OrdStatus,
    /// AggressorIndicator(1057).
    pub aggressor: bool,
    /// PossResend(97).
    pub poss_resend: bool,
}

/// Template 204. OrderID is 0 and OrdStatus Rejected, unless a field says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecutionReportReject {
    /// OrderID(37): 0.
    pub order_id: OrderId,
    /// ClOrdID(11), as asked.
    pub cl_ord_id: ClOrdId,
    /// ExecID(17).
    pub exec_id: ExecId,
    /// TransactTime(60): of the first refusal.
    pub transact_time: Nanos,
    /// SecurityID(48), as asked.
    pub security_id: u32,
    /// Account(1), as asked.
    pub account: u32,
    /// OrdRejReason(103).
    pub ord_rej_reason: u16,
    /// OrdStatus(39).
    pub ord_status: OrdStatus,
    /// PossResend(97).
    pub poss_resend: bool,
    /// Text(58).
    pub text: Text<32>,
    /// Retryable: the key is free, the same ClOrdID may be sent again.
    pub retryable: bool,
}

/// Template 205.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecutionReportStatus {
    /// OrderID(37).
    pub order_id: OrderId,
    /// ClOrdID(11): the id asked with.
    pub cl_ord_id: ClOrdId,
    /// ExecID(17).
    pub exec_id: ExecId,
    /// TransactTime(60): of the order's last event.
    pub transact_time: Nanos,
    /// OrdStatusReqID(790); 0 answers a duplicate.
    pub ord_status_req_id: u64,
    /// Price(44).
    pub price: Option<Px>,
    /// OrderQty(38).
    pub order_qty: Qty,
    /// LeavesQty(151).
    pub leaves_qty: Qty,
    /// CumQty(14).
    pub cum_qty: Qty,
    /// SecurityID(48).
    pub security_id: SecurityId,
    /// Account(1).
    pub account: Account,
    /// Side(54).
    pub side: Side,
    /// OrdStatus(39).
    pub ord_status: OrdStatus,
    /// PossResend(97).
    pub poss_resend: bool,
    /// LastRptRequested(912).
    pub last_rpt_requested: bool,
    /// TotNumReports(911).
    pub tot_num_reports: u32,
    /// OrdType(40).
    pub ord_type: OrdType,
    /// TimeInForce(59).
    pub time_in_force: TimeInForce,
    /// SenderSubID(50).
    pub sender_sub_id: SenderSubId,
    /// StopPx(99).
    pub stop_px: Option<Px>,
    /// ExpireTime(126).
    pub expire_time: Option<Nanos>,
}

/// Template 206.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderCancelReject {
    /// OrderID(37); 0 when the order is unknown.
    pub order_id: OrderId,
    /// ClOrdID(11) of the request.
    pub cl_ord_id: ClOrdId,
    /// ExecID(17).
    pub exec_id: ExecId,
    /// TransactTime(60).
    pub transact_time: Nanos,
    /// OrigClOrdID(41), as asked.
    pub orig_cl_ord_id: ClOrdId,
    /// CxlRejReason(102).
    pub cxl_rej_reason: u16,
    /// CxlRejResponseTo(434).
    pub cxl_rej_response_to: CxlRejResponseTo,
    /// OrdStatus(39) of the order; Rejected when it is unknown.
    pub ord_status: OrdStatus,
    /// PossResend(97).
    pub poss_resend: bool,
    /// Text(58).
    pub text: Text<32>,
    /// Retryable.
    pub retryable: bool,
}

/// Template 208.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusinessMessageReject {
    /// RefSeqNum(45): the number of the request.
    pub ref_seq_num: Seq,
    /// BusinessRejectRefID(379): the request's id; `u64::MAX` for none.
    pub business_reject_ref_id: u64,
    /// BusinessRejectReason(380).
    pub business_reject_reason: u16,
    /// RefTemplateID.
    pub ref_template_id: u16,
    /// Text(58).
    pub text: Text<32>,
    /// Retryable.
    pub retryable: bool,
}

impl ReportBody {
    /// The SBE template id.
    #[must_use]
    pub const fn template(&self) -> u16 {
        match self {
            Self::NotApplied { .. } => 18,
            Self::New(_) => 200,
            Self::Canceled(_) => 202,
            Self::Trade(_) => 203,
            Self::Reject(_) => 204,
            Self::Status(_) => 205,
            Self::CancelReject(_) => 206,
            Self::BusinessReject(_) => 208,
        }
    }
}
