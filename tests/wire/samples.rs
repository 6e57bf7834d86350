//! The messages of the golden vectors: at least one a template, with the values of ruling F04 where
//! it gives some. Every MAC is that of the secret a1 x 32.

use tidegate::vocabulary::event::{
    BusinessMessageReject, ExecutionReportCanceled, ExecutionReportNew, ExecutionReportReject,
    ExecutionReportStatus, ExecutionReportTrade, OrderCancelReject, Report, ReportBody,
};
use tidegate::vocabulary::fix::{
    CxlRejResponseTo, ExecType, OrdStatus, OrdType, RestatementReason, Side, TimeInForce,
};
use tidegate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U32, NULL_U64, NewOrderSingle, OrderCancelRequest,
    OrderStatusRequest, SessionMessage,
};
use tidegate::vocabulary::units::{
    Account, ClOrdId, ExecId, Index, Nanos, OrderId, Px, Qty, SecurityId, SenderSubId, Seq,
    SessionId, Text, TrdMatchId,
};

use crate::message::{Message, with_block};

const ID: SessionId = SessionId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const NOON: Nanos = Nanos(1_700_000_000_000_000_000);
/// The credentials of ruling F04's two test vectors.
const NEGOTIATE_CREDENTIALS: &[u8] =
    b"firm-a|9f91fbefb26b766dea473f365a5f8dbe078d053e51b869f4e4f94bfbc5f0b1a3";
const ESTABLISH_CREDENTIALS: &[u8] =
    b"firm-a|ccce337aa406faeca431a36ae0d092789273467bfd8f565252ca180802c761ed";
/// Of the Establish with every field.
const FULL_CREDENTIALS: &[u8] =
    b"firm-a|48f4f382c03b8cdf64546957addf7b6c01c6613700a7fd46f90a668c6bbb6f92";

/// The two logons of ruling F04, and their credentials.
pub(crate) fn logons() -> [(Vec<u8>, &'static [u8]); 2] {
    let establish = Message::Session(establish()).encode();
    [
        (Message::Session(negotiate()).encode(), NEGOTIATE_CREDENTIALS),
        (with_block(&establish, 41, 1), ESTABLISH_CREDENTIALS),
    ]
}

fn negotiate() -> SessionMessage<'static> {
    SessionMessage::Negotiate {
        session_id: ID,
        timestamp: NOON,
        client_flow: 1,
        credentials: NEGOTIATE_CREDENTIALS,
    }
}

fn establish() -> SessionMessage<'static> {
    SessionMessage::Establish {
        session_id: ID,
        timestamp: Nanos(NOON.0 + 1),
        keepalive_interval: 1000,
        next_seq_no: 1,
        cancel_on_disconnect_type: 1,
        cod_timeout_window: 1500,
        report_level: 255,
        credentials: ESTABLISH_CREDENTIALS,
    }
}

/// Why it stands here, the octets, and what they mean.
pub(crate) type Vector = (&'static str, Vec<u8>, Message<'static>);

/// One vector a message, and those that show something more.
pub(crate) fn vectors() -> Vec<Vector> {
    let plain =
        |(title, message): (&'static str, Message<'static>)| (title, message.encode(), message);
    let session = logon_messages().into_iter().chain(running_messages());
    let mut all: Vec<Vector> = session.map(plain).collect();
    all.extend(older_blocks());
    all.extend(requests().into_iter().map(plain));
    all.extend(reports().into_iter().map(plain));
    all
}

/// Blocks of older senders: what is absent is null.
fn older_blocks() -> Vec<Vector> {
    let logon = Message::Session(establish());
    let standard = Message::Session(SessionMessage::Establish {
        session_id: ID,
        timestamp: Nanos(NOON.0 + 2),
        keepalive_interval: 1000,
        next_seq_no: NULL_U64,
        cancel_on_disconnect_type: 255,
        cod_timeout_window: NULL_U32,
        report_level: 255,
        credentials: b"",
    });
    let order = Message::Request(ClientMessage::NewOrder(limit_order()));
    vec![
        ("Version 1, without ReportLevel (ruling F04)", with_block(&logon.encode(), 41, 1), logon),
        ("FIXP's own block", with_block(&standard.encode(), 36, 0), standard),
        ("Version 1, without StopPx and ExpireTime", with_block(&order.encode(), 56, 1), order),
    ]
}

fn logon_messages() -> Vec<(&'static str, Message<'static>)> {
    let (session_id, request_timestamp) = (ID, NOON);
    let all = [
        ("The first message of a session (ruling F04)", negotiate()),
        (
            "Credentials are empty",
            SessionMessage::NegotiationResponse { session_id, request_timestamp, server_flow: 0 },
        ),
        (
            "This node is a standby",
            SessionMessage::NegotiationReject {
                session_id,
                request_timestamp,
                code: 4,
                reason: b"10.0.0.2:7000 epoch=3",
            },
        ),
        (
            "With status messages and cancel on disconnect",
            SessionMessage::Establish {
                session_id,
                timestamp: NOON,
                keepalive_interval: 1000,
                next_seq_no: 17,
                cancel_on_disconnect_type: 3,
                cod_timeout_window: 0,
                report_level: 1,
                credentials: FULL_CREDENTIALS,
            },
        ),
        (
            "The next report is 42, the last request applied 16",
            SessionMessage::EstablishmentAck {
                session_id,
                request_timestamp,
                keepalive_interval: 1000,
                next_seq_no: Seq(42),
                last_incoming_seq_no: Seq(16),
                cancel_on_disconnect_type: 3,
                cod_timeout_window: 0,
            },
        ),
        (
            "Refused without a word",
            SessionMessage::EstablishmentReject {
                session_id,
                request_timestamp,
                code: 9,
                reason: b"",
            },
        ),
    ];
    all.map(|(title, message)| (title, Message::Session(message))).to_vec()
}

fn running_messages() -> Vec<(&'static str, Message<'static>)> {
    let (session_id, request_timestamp) = (ID, NOON);
    let reason = b"sequence number reused";
    let all = [
        ("Keep-alive", SessionMessage::Sequence { next_seq_no: Seq(42) }),
        (
            "Reports 40 and 41 again",
            SessionMessage::RetransmitRequest {
                session_id,
                timestamp: NOON,
                from_seq_no: Seq(40),
                count: 2,
            },
        ),
        (
            "Here they come",
            SessionMessage::Retransmission {
                session_id,
                request_timestamp,
                next_seq_no: Seq(40),
                count: 2,
            },
        ),
        (
            "Not in the report log",
            SessionMessage::RetransmitReject {
                session_id,
                request_timestamp,
                code: 0,
                reason: b"from 40 count 9, released 41",
            },
        ),
        ("A breach of the protocol", SessionMessage::Terminate { session_id, code: 1, reason }),
        (
            "Before a session is bound",
            SessionMessage::Terminate { session_id: SessionId::NONE, code: 0, reason: b"" },
        ),
        (
            "Nothing more will be sent; 16 was the last",
            SessionMessage::FinishedSending { session_id, last_seq_no: Seq(16) },
        ),
        ("Everything has come", SessionMessage::FinishedReceiving { session_id }),
        ("The gate is shut", SessionMessage::NotAccepting { from_seq_no: Seq(17), cause: 2 }),
        (
            "How far this session's reports are safe",
            SessionMessage::ReplicationStatus {
                epoch: 3,
                released_seq_no: Seq(41),
                commit_index: 1_000,
                durable_index: 990,
                isr_count: 2,
                level: 3,
            },
        ),
    ];
    all.map(|(title, message)| (title, Message::Session(message))).to_vec()
}

fn limit_order() -> NewOrderSingle {
    NewOrderSingle {
        msg_seq_num: Seq(17),
        sending_time: NOON,
        cl_ord_id: ClOrdId(0x0001_0000_0000_0007),
        price: 1_050_000_000,
        order_qty: 300,
        security_id: 2,
        account: 1001,
        side: b'1',
        ord_type: b'2',
        time_in_force: b'0',
        post_only: 1,
        poss_resend: 0,
        self_match: 1,
        sender_sub_id: 12,
        stop_px: NULL_I64,
        expire_time: NULL_U64,
    }
}

fn requests() -> Vec<(&'static str, Message<'static>)> {
    let stop_limit = NewOrderSingle {
        price: -1,
        side: b'2',
        ord_type: b'4',
        time_in_force: b'6',
        post_only: 0,
        poss_resend: 1,
        stop_px: 250_000_000,
        expire_time: NOON.0 + 1,
        ..limit_order()
    };
    let market = NewOrderSingle {
        price: NULL_I64,
        ord_type: b'1',
        time_in_force: b'3',
        post_only: 0,
        ..limit_order()
    };
    let cancel = OrderCancelRequest {
        msg_seq_num: Seq(18),
        sending_time: NOON,
        cl_ord_id: ClOrdId(8),
        orig_cl_ord_id: ClOrdId(7),
        security_id: 2,
        side: b'1',
        poss_resend: 0,
        sender_sub_id: 12,
    };
    let status = OrderStatusRequest {
        msg_seq_num: Seq(19),
        sending_time: NOON,
        ord_status_req_id: 5,
        cl_ord_id: ClOrdId(7),
    };
    let all = [
        ("A limit order that must rest", ClientMessage::NewOrder(limit_order())),
        ("A market order has no price", ClientMessage::NewOrder(market)),
        ("Every field in use, and a negative price", ClientMessage::NewOrder(stop_limit)),
        ("Cancels order 7", ClientMessage::Cancel(cancel)),
        ("Asks about order 7", ClientMessage::Status(status)),
    ];
    all.map(|(title, message)| (title, Message::Request(message))).to_vec()
}

fn reports() -> Vec<(&'static str, Message<'static>)> {
    let numbered = |body| Report {
        msg_seq_num: Seq(40),
        sending_time: NOON,
        appl_seq_num: Index(1_000),
        body,
    };
    let not_applied = Report {
        msg_seq_num: Seq(0),
        sending_time: Nanos(0),
        appl_seq_num: Index(0),
        body: ReportBody::NotApplied { from_seq_no: Seq(5), count: 3 },
    };
    let mut all = vec![("Numbers 5, 6 and 7 never arrived", Message::Report(not_applied))];
    let bodies = order_reports().into_iter().chain(refusals());
    all.extend(bodies.map(|(title, body)| (title, Message::Report(numbered(body)))));
    all
}

fn order_reports() -> Vec<(&'static str, ReportBody)> {
    let new = ExecutionReportNew {
        order_id: OrderId(1_000),
        cl_ord_id: ClOrdId(7),
        exec_id: ExecId(2_000),
        transact_time: NOON,
        price: Px::try_new(1_050_000_000),
        order_qty: Qty::try_new(300).expect("a quantity"),
        security_id: SecurityId(2),
        account: Account(1001),
        side: Side::Buy,
        ord_type: OrdType::Limit,
        time_in_force: TimeInForce::Day,
        ord_status: OrdStatus::New,
        poss_resend: false,
        post_only: true,
        sender_sub_id: SenderSubId(12),
        stop_px: None,
        expire_time: None,
    };
    let asked = ExecutionReportCanceled {
        order_id: new.order_id,
        cl_ord_id: ClOrdId(8),
        exec_id: ExecId(2_003),
        transact_time: NOON,
        orig_cl_ord_id: Some(ClOrdId(7)),
        cum_qty: Qty::try_new(100).expect("a quantity"),
        security_id: new.security_id,
        account: new.account,
        side: Side::Buy,
        ord_status: OrdStatus::Canceled,
        exec_type: ExecType::Canceled,
        exec_restatement_reason: None,
        poss_resend: false,
    };
    let unasked = ExecutionReportCanceled {
        cl_ord_id: ClOrdId(7),
        orig_cl_ord_id: None,
        exec_restatement_reason: Some(RestatementReason::CancelOnConnectionLoss),
        ..asked
    };
    let trade = ExecutionReportTrade {
        order_id: new.order_id,
        cl_ord_id: new.cl_ord_id,
        exec_id: ExecId(2_001),
        transact_time: NOON,
        last_px: Px::ONE,
        last_qty: Qty::try_new(100).expect("a quantity"),
        leaves_qty: Qty::try_new(200).expect("a quantity"),
        cum_qty: Qty::try_new(100).expect("a quantity"),
        trd_match_id: TrdMatchId(500),
        security_id: new.security_id,
        account: new.account,
        side: Side::Buy,
        ord_status: OrdStatus::PartiallyFilled,
        aggressor: true,
        poss_resend: false,
    };
    let status = ExecutionReportStatus {
        order_id: new.order_id,
        cl_ord_id: new.cl_ord_id,
        exec_id: ExecId(2_002),
        transact_time: NOON,
        ord_status_req_id: 5,
        price: new.price,
        order_qty: new.order_qty,
        leaves_qty: trade.leaves_qty,
        cum_qty: trade.cum_qty,
        security_id: new.security_id,
        account: new.account,
        side: Side::Sell,
        ord_status: OrdStatus::Expired,
        poss_resend: true,
        last_rpt_requested: true,
        tot_num_reports: 1,
        ord_type: OrdType::StopLimit,
        time_in_force: TimeInForce::Gtd,
        sender_sub_id: new.sender_sub_id,
        stop_px: Some(Px::ONE),
        expire_time: Some(Nanos(NOON.0 + 1)),
    };
    vec![
        ("Accepted", ReportBody::New(new)),
        ("Cancelled as asked", ReportBody::Canceled(asked)),
        ("Cancelled by the loss of the line", ReportBody::Canceled(unasked)),
        ("Traded in part", ReportBody::Trade(trade)),
        ("The current state", ReportBody::Status(status)),
    ]
}

fn refusals() -> Vec<(&'static str, ReportBody)> {
    let order = ExecutionReportReject {
        order_id: OrderId(0),
        cl_ord_id: ClOrdId(9),
        exec_id: ExecId(2_004),
        transact_time: NOON,
        security_id: NULL_U32,
        account: 1001,
        ord_rej_reason: 2,
        ord_status: OrdStatus::Rejected,
        poss_resend: false,
        text: Text::new("market is not trading"),
        retryable: true,
    };
    let cancel = OrderCancelReject {
        order_id: OrderId(0),
        cl_ord_id: ClOrdId(10),
        exec_id: ExecId(2_005),
        transact_time: NOON,
        orig_cl_ord_id: ClOrdId(6),
        cxl_rej_reason: 1,
        cxl_rej_response_to: CxlRejResponseTo::Cancel,
        ord_status: OrdStatus::Rejected,
        poss_resend: false,
        text: Text::new("unknown order"),
        retryable: false,
    };
    let business = BusinessMessageReject {
        ref_seq_num: Seq(19),
        business_reject_ref_id: 5,
        business_reject_reason: 1,
        ref_template_id: 104,
        text: Text::new("thirty-two octets fill the field"),
        retryable: false,
    };
    vec![
        ("Refused for now", ReportBody::Reject(order)),
        ("Nothing to cancel", ReportBody::CancelReject(cancel)),
        ("Nothing to report", ReportBody::BusinessReject(business)),
    ]
}
