//! Every message of this build, with fields at random: what our codec writes, the generated one
//! reads as the same values; and from those values the generated one writes the same octets.
//!
//! The table names each field twice, as the schema's generator calls it and as our words do: a
//! field that stands elsewhere, is as long as another or has another null shows here, whoever is
//! right.

#[path = "../../../wire/message.rs"]
#[allow(dead_code)]
mod message;
#[path = "../../../wire/random.rs"]
#[allow(dead_code)]
mod random;

use message::{Message, whole};
use random::Random;
use tidegate::vocabulary::event::{Report, ReportBody};
use tidegate::vocabulary::message::{ClientMessage, NULL_I64, NULL_U64, SessionMessage};
use tidegate::vocabulary::units::{Nanos, Px};
use tidegate::wire::layout::{MESSAGES, SCHEMA_ID, SCHEMA_VERSION};
use tidegate_witness_codec::sbe::MessageHeader;
use zerocopy::{FromBytes, IntoBytes};

const SEED: u64 = 0x7769_746e_6573_7301;
const ROUNDS: u32 = 500;

/// A value as it stands on the wire.
trait Octets {
    fn octets(&self) -> Vec<u8>;
}

macro_rules! octets {
    ($($kind:ty),+) => {$(
        impl Octets for $kind {
            fn octets(&self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
        }
    )+};
}

octets!(u8, u16, u32, u64, i64);

impl Octets for bool {
    fn octets(&self) -> Vec<u8> {
        vec![u8::from(*self)]
    }
}

impl<const N: usize> Octets for [u8; N] {
    fn octets(&self) -> Vec<u8> {
        self.to_vec()
    }
}

fn px(price: Option<Px>) -> i64 {
    price.map_or(NULL_I64, Px::raw)
}

fn time(time: Option<Nanos>) -> u64 {
    time.map_or(NULL_U64, |time| time.0)
}

/// Reads `body` and writes it again, field by field.
macro_rules! witness {
    ($body:expr, $module:ident $name:ident $builder:ident
     { $($field:ident: $value:expr),* $(,)? } $($data:ident: $text:expr)?) => {{
        use tidegate_witness_codec::sbe::$module::{$builder, $name};
        let body: &[u8] = $body;
        let (read, rest) = $name::parse_prefix(body).expect("a block");
        let mut write = $builder::new();
        $(
            let ours = Octets::octets(&$value);
            let name = concat!(stringify!($name), ".", stringify!($field));
            assert_eq!(read.$field.as_bytes(), ours, "{name}");
            write.$field(FromBytes::read_from_bytes(&ours).expect("a field of this size"));
        )*
        #[allow(unused_mut, unused_assignments)]
        let mut expected_rest: Vec<u8> = Vec::new();
        $(
            let text: &[u8] = $text;
            expected_rest = [&u16::try_from(text.len()).unwrap().to_le_bytes(), text].concat();
            write.$data(text).expect("a short text");
        )?
        assert_eq!(rest, expected_rest, "{}: behind the block", stringify!($name));
        assert_eq!(write.finish(), body, "{}: written", stringify!($name));
    }};
}

fn check_session(body: &[u8], message: &SessionMessage<'_>) {
    use SessionMessage as M;
    match *message {
        M::Negotiate { session_id, timestamp, client_flow, credentials } => {
            witness!(body, negotiate Negotiate NegotiateBuilder {
                session_id: session_id.0, timestamp: timestamp.0, client_flow: client_flow,
            } credentials: credentials);
        }
        M::NegotiationResponse { session_id, request_timestamp, server_flow } => {
            witness!(body, negotiation_response NegotiationResponse NegotiationResponseBuilder {
                session_id: session_id.0, request_timestamp: request_timestamp.0,
                server_flow: server_flow,
            } credentials: b"");
        }
        M::NegotiationReject { session_id, request_timestamp, code, reason } => {
            witness!(body, negotiation_reject NegotiationReject NegotiationRejectBuilder {
                session_id: session_id.0, request_timestamp: request_timestamp.0, code: code,
            } reason: reason);
        }
        M::Establish {
            session_id,
            timestamp,
            keepalive_interval,
            next_seq_no,
            cancel_on_disconnect_type,
            cod_timeout_window,
            report_level,
            credentials,
        } => {
            witness!(body, establish Establish EstablishBuilder {
                session_id: session_id.0, timestamp: timestamp.0,
                keepalive_interval: keepalive_interval, next_seq_no: next_seq_no,
                cancel_on_disconnect_type: cancel_on_disconnect_type,
                cod_timeout_window: cod_timeout_window, report_level: report_level,
            } credentials: credentials);
        }
        M::EstablishmentAck {
            session_id,
            request_timestamp,
            keepalive_interval,
            next_seq_no,
            last_incoming_seq_no,
            cancel_on_disconnect_type,
            cod_timeout_window,
        } => {
            witness!(body, establishment_ack EstablishmentAck EstablishmentAckBuilder {
                session_id: session_id.0, request_timestamp: request_timestamp.0,
                keepalive_interval: keepalive_interval, next_seq_no: next_seq_no.0,
                last_incoming_seq_no: last_incoming_seq_no.0,
                cancel_on_disconnect_type: cancel_on_disconnect_type,
                cod_timeout_window: cod_timeout_window,
            });
        }
        M::EstablishmentReject { session_id, request_timestamp, code, reason } => {
            witness!(body, establishment_reject EstablishmentReject EstablishmentRejectBuilder {
                session_id: session_id.0, request_timestamp: request_timestamp.0, code: code,
            } reason: reason);
        }
        M::Sequence { next_seq_no } => {
            witness!(body, sequence Sequence SequenceBuilder { next_seq_no: next_seq_no.0 });
        }
        M::RetransmitRequest { session_id, timestamp, from_seq_no, count } => {
            witness!(body, retransmit_request RetransmitRequest RetransmitRequestBuilder {
                session_id: session_id.0, timestamp: timestamp.0, from_seq_no: from_seq_no.0,
                count: count,
            });
        }
        M::Retransmission { session_id, request_timestamp, next_seq_no, count } => {
            witness!(body, retransmission Retransmission RetransmissionBuilder {
                session_id: session_id.0, request_timestamp: request_timestamp.0,
                next_seq_no: next_seq_no.0, count: count,
            });
        }
        M::RetransmitReject { session_id, request_timestamp, code, reason } => {
            witness!(body, retransmit_reject RetransmitReject RetransmitRejectBuilder {
                session_id: session_id.0, request_timestamp: request_timestamp.0, code: code,
            } reason: reason);
        }
        M::Terminate { session_id, code, reason } => {
            witness!(body, terminate Terminate TerminateBuilder {
                session_id: session_id.0, code: code,
            } reason: reason);
        }
        M::FinishedSending { session_id, last_seq_no } => {
            witness!(body, finished_sending FinishedSending FinishedSendingBuilder {
                session_id: session_id.0, last_seq_no: last_seq_no.0,
            });
        }
        M::FinishedReceiving { session_id } => {
            witness!(body, finished_receiving FinishedReceiving FinishedReceivingBuilder {
                session_id: session_id.0,
            });
        }
        M::NotAccepting { from_seq_no, cause } => {
            witness!(body, not_accepting NotAccepting NotAcceptingBuilder {
                from_seq_no: from_seq_no.0, cause: cause,
            });
        }
        M::ReplicationStatus {
            epoch,
            released_seq_no,
            commit_index,
            durable_index,
            isr_count,
            level,
        } => {
            witness!(body, replication_status ReplicationStatus ReplicationStatusBuilder {
                epoch: epoch, released_seq_no: released_seq_no.0, commit_index: commit_index,
                durable_index: durable_index, isr_count: isr_count, level: level,
            });
        }
    }
}

fn check_request(body: &[u8], message: &ClientMessage) {
    match message {
        ClientMessage::NewOrder(m) => {
            witness!(body, new_order_single NewOrderSingle NewOrderSingleBuilder {
                msg_seq_num: m.msg_seq_num.0, sending_time: m.sending_time.0,
                cl_ord_id: m.cl_ord_id.0, price: m.price, order_qty: m.order_qty,
                security_id: m.security_id, account: m.account, side: m.side,
                ord_type: m.ord_type, time_in_force: m.time_in_force, post_only: m.post_only,
                poss_resend: m.poss_resend, self_match_prevention_instruction: m.self_match,
                sender_sub_id: m.sender_sub_id, stop_px: m.stop_px, expire_time: m.expire_time,
            });
        }
        ClientMessage::Cancel(m) => {
            witness!(body, order_cancel_request OrderCancelRequest OrderCancelRequestBuilder {
                msg_seq_num: m.msg_seq_num.0, sending_time: m.sending_time.0,
                cl_ord_id: m.cl_ord_id.0, orig_cl_ord_id: m.orig_cl_ord_id.0,
                security_id: m.security_id, side: m.side, poss_resend: m.poss_resend,
                sender_sub_id: m.sender_sub_id,
            });
        }
        ClientMessage::Status(m) => {
            witness!(body, order_status_request OrderStatusRequest OrderStatusRequestBuilder {
                msg_seq_num: m.msg_seq_num.0, sending_time: m.sending_time.0,
                ord_status_req_id: m.ord_status_req_id, cl_ord_id: m.cl_ord_id.0,
            });
        }
    }
}

fn check_report(body: &[u8], report: &Report) {
    let (number, sent, index) =
        (report.msg_seq_num.0, report.sending_time.0, report.appl_seq_num.0);
    match &report.body {
        ReportBody::NotApplied { from_seq_no, count } => {
            witness!(body, not_applied NotApplied NotAppliedBuilder {
                from_seq_no: from_seq_no.0, count: *count,
            });
        }
        ReportBody::New(r) => {
            witness!(body, execution_report_new ExecutionReportNew ExecutionReportNewBuilder {
                msg_seq_num: number, sending_time: sent, appl_seq_num: index,
                order_id: r.order_id.0, cl_ord_id: r.cl_ord_id.0, exec_id: r.exec_id.0,
                transact_time: r.transact_time.0, price: px(r.price),
                order_qty: r.order_qty.raw(), security_id: r.security_id.0,
                account: r.account.0, side: r.side.wire(), ord_type: r.ord_type.wire(),
                time_in_force: r.time_in_force.wire(), ord_status: r.ord_status.wire(),
                poss_resend: r.poss_resend, post_only: r.post_only,
                sender_sub_id: r.sender_sub_id.0, stop_px: px(r.stop_px),
                expire_time: time(r.expire_time),
            });
        }
        ReportBody::Canceled(r) => {
            witness!(body,
                execution_report_canceled ExecutionReportCanceled ExecutionReportCanceledBuilder {
                msg_seq_num: number, sending_time: sent, appl_seq_num: index,
                order_id: r.order_id.0, cl_ord_id: r.cl_ord_id.0, exec_id: r.exec_id.0,
                transact_time: r.transact_time.0,
                orig_cl_ord_id: r.orig_cl_ord_id.map_or(NULL_U64, |id| id.0),
                cum_qty: r.cum_qty.raw(), security_id: r.security_id.0, account: r.account.0,
                side: r.side.wire(), ord_status: r.ord_status.wire(),
                exec_type: r.exec_type.wire(),
                exec_restatement_reason: r.exec_restatement_reason.map_or(255, |c| c.wire()),
                poss_resend: r.poss_resend,
            });
        }
        ReportBody::Trade(r) => {
            witness!(body, execution_report_trade ExecutionReportTrade ExecutionReportTradeBuilder {
                msg_seq_num: number, sending_time: sent, appl_seq_num: index,
                order_id: r.order_id.0, cl_ord_id: r.cl_ord_id.0, exec_id: r.exec_id.0,
                transact_time: r.transact_time.0, last_px: r.last_px.raw(),
                last_qty: r.last_qty.raw(), leaves_qty: r.leaves_qty.raw(),
                cum_qty: r.cum_qty.raw(), trd_match_id: r.trd_match_id.0,
                security_id: r.security_id.0, account: r.account.0, side: r.side.wire(),
                ord_status: r.ord_status.wire(), aggressor_indicator: r.aggressor,
                poss_resend: r.poss_resend,
            });
        }
        ReportBody::Reject(r) => {
            witness!(body,
                execution_report_reject ExecutionReportReject ExecutionReportRejectBuilder {
                msg_seq_num: number, sending_time: sent, appl_seq_num: index,
                order_id: r.order_id.0, cl_ord_id: r.cl_ord_id.0, exec_id: r.exec_id.0,
                transact_time: r.transact_time.0, security_id: r.security_id,
                account: r.account, ord_rej_reason: r.ord_rej_reason,
                ord_status: r.ord_status.wire(), poss_resend: r.poss_resend,
                text: *r.text.octets(), retryable: r.retryable,
            });
        }
        ReportBody::Status(r) => {
            witness!(body,
                execution_report_status ExecutionReportStatus ExecutionReportStatusBuilder {
                msg_seq_num: number, sending_time: sent, appl_seq_num: index,
                order_id: r.order_id.0, cl_ord_id: r.cl_ord_id.0, exec_id: r.exec_id.0,
                transact_time: r.transact_time.0, ord_status_req_id: r.ord_status_req_id,
                price: px(r.price), order_qty: r.order_qty.raw(),
                leaves_qty: r.leaves_qty.raw(), cum_qty: r.cum_qty.raw(),
                security_id: r.security_id.0, account: r.account.0, side: r.side.wire(),
                ord_status: r.ord_status.wire(), poss_resend: r.poss_resend,
                last_rpt_requested: r.last_rpt_requested, tot_num_reports: r.tot_num_reports,
                ord_type: r.ord_type.wire(), time_in_force: r.time_in_force.wire(),
                sender_sub_id: r.sender_sub_id.0, stop_px: px(r.stop_px),
                expire_time: time(r.expire_time),
            });
        }
        ReportBody::CancelReject(r) => {
            witness!(body, order_cancel_reject OrderCancelReject OrderCancelRejectBuilder {
                msg_seq_num: number, sending_time: sent, appl_seq_num: index,
                order_id: r.order_id.0, cl_ord_id: r.cl_ord_id.0, exec_id: r.exec_id.0,
                transact_time: r.transact_time.0, orig_cl_ord_id: r.orig_cl_ord_id.0,
                cxl_rej_reason: r.cxl_rej_reason,
                cxl_rej_response_to: r.cxl_rej_response_to.wire(),
                ord_status: r.ord_status.wire(), poss_resend: r.poss_resend,
                text: *r.text.octets(), retryable: r.retryable,
            });
        }
        ReportBody::BusinessReject(r) => {
            witness!(body,
                business_message_reject BusinessMessageReject BusinessMessageRejectBuilder {
                msg_seq_num: number, sending_time: sent, appl_seq_num: index,
                ref_seq_num: r.ref_seq_num.0, business_reject_ref_id: r.business_reject_ref_id,
                business_reject_reason: r.business_reject_reason,
                ref_template_id: r.ref_template_id, text: *r.text.octets(),
                retryable: r.retryable,
            });
        }
    }
}

#[test]
fn both_codecs_read_and_write_every_message_alike() {
    println!("seed {SEED:#x}");
    let mut random = Random::new(SEED);
    for layout in MESSAGES {
        for _ in 0..ROUNDS {
            let message = random.of_template(layout.template);
            let octets = message.encode();
            let frame = whole(&octets);
            let (header, _) = MessageHeader::parse_prefix(frame.sbe()).expect("a header");
            assert_eq!(header.template_id.get(), layout.template);
            assert_eq!(usize::from(header.block_length.get()), layout.block);
            assert_eq!((header.schema_id.get(), header.version.get()), (SCHEMA_ID, SCHEMA_VERSION));
            match &message {
                Message::Session(m) => check_session(frame.body(), m),
                Message::Request(m) => check_request(frame.body(), m),
                Message::Report(m) => check_report(frame.body(), m),
            }
        }
    }
}
