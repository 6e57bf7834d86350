//! Messages at random, with the values that lie on an edge more often than chance would have it.

use tidegate::vocabulary::event::{
    BusinessMessageReject, ExecutionReportCanceled, ExecutionReportNew, ExecutionReportReject,
    ExecutionReportStatus, ExecutionReportTrade, OrderCancelReject, Report, ReportBody,
};
use tidegate::vocabulary::fix::{
    CxlRejResponseTo, ExecType, OrdStatus, OrdType, RestatementReason, Side, TimeInForce,
};
use tidegate::vocabulary::message::{
    ClientMessage, NewOrderSingle, OrderCancelRequest, OrderStatusRequest, SessionMessage,
};
use tidegate::vocabulary::units::{
    Account, ClOrdId, ExecId, Index, Nanos, OrderId, Px, Qty, SecurityId, SenderSubId, Seq,
    SessionId, Text, TrdMatchId,
};
use tidegate::wire::layout::MESSAGES;

use crate::message::Message;

/// What var data is cut from; all octets occur.
static OCTETS: [u8; 256] = {
    let mut octets = [0; 256];
    let mut i: u8 = 0;
    loop {
        octets[i as usize] = i.wrapping_mul(77);
        if i == u8::MAX {
            break octets;
        }
        i += 1;
    }
};

/// A generator of 64-bit numbers (an LCG of Knuth's, mixed), fixed by its seed on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        mixed ^ (mixed >> 29)
    }

    /// In `[0, limit)`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a small number");
        usize::try_from(self.next() % limit).expect("below a small number")
    }

    /// Changes `octets` in one of the ways in which a stream goes wrong.
    pub(crate) fn change(&mut self, octets: &mut Vec<u8>) {
        let at = self.below(octets.len().max(1));
        let octet = self.u8();
        match self.below(6) {
            0 => octets.truncate(at),
            1 => octets.insert(at.min(octets.len()), octet),
            // The headers decide most; they are hit as often as all the rest.
            2 | 3 => {
                let at = at % 12;
                octets.get_mut(at).into_iter().for_each(|place| *place = octet);
            }
            4 => octets.get_mut(at).into_iter().for_each(|place| *place ^= 1 << (octet % 8)),
            _ => octets.get_mut(at).into_iter().for_each(|place| *place = octet),
        }
    }

    fn u64(&mut self) -> u64 {
        let wide = self.next();
        match wide % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => u64::MAX - 1,
            3 => wide >> 56,
            _ => wide,
        }
    }

    fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.u64().to_le_bytes())
    }

    fn u32(&mut self) -> u32 {
        u32::try_from(self.u64() & 0xFFFF_FFFF).expect("32 bits")
    }

    fn u16(&mut self) -> u16 {
        u16::try_from(self.u64() & 0xFFFF).expect("16 bits")
    }

    fn u8(&mut self) -> u8 {
        u8::try_from(self.u64() & 0xFF).expect("8 bits")
    }

    fn bool(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn px(&mut self) -> Px {
        let raw = match self.below(4) {
            0 => Px::ABS_MAX,
            1 => -Px::ABS_MAX,
            _ => self.i64() % Px::ABS_MAX,
        };
        Px::try_new(raw).expect("in range")
    }

    fn px_or_none(&mut self) -> Option<Px> {
        if self.bool() { Some(self.px()) } else { None }
    }

    fn qty(&mut self) -> Qty {
        let raw = i64::try_from(self.u64() % (1 << 40)).expect("40 bits");
        if self.below(4) == 0 { Qty::MAX } else { Qty::try_new(raw).expect("in range") }
    }

    /// Anything but the null.
    fn id_or_none(&mut self) -> Option<u64> {
        Some(self.u64()).filter(|&id| id != u64::MAX)
    }

    fn text(&mut self) -> Text<32> {
        Text::from_octets(std::array::from_fn(|_| self.u8()))
    }

    fn session_id(&mut self) -> SessionId {
        SessionId(std::array::from_fn(|_| self.u8()))
    }

    fn octets(&mut self) -> &'static [u8] {
        let (from, len) = (self.below(OCTETS.len()), self.below(OCTETS.len()));
        &OCTETS[from..OCTETS.len().min(from + len)]
    }

    /// A message of any template.
    pub(crate) fn message(&mut self) -> Message<'static> {
        let at = self.below(MESSAGES.len());
        self.of_template(MESSAGES[at].template)
    }

    pub(crate) fn of_template(&mut self, template: u16) -> Message<'static> {
        match template {
            1..=7 => Message::Session(self.logon(template)),
            18 | 200.. => Message::Report(self.report(template)),
            100 => self.new_order(),
            102 => Message::Request(ClientMessage::Cancel(OrderCancelRequest {
                msg_seq_num: Seq(self.u64()),
                sending_time: Nanos(self.u64()),
                cl_ord_id: ClOrdId(self.u64()),
                orig_cl_ord_id: ClOrdId(self.u64()),
                security_id: self.u32(),
                side: self.u8(),
                poss_resend: self.u8(),
                sender_sub_id: self.u16(),
            })),
            104 => Message::Request(ClientMessage::Status(OrderStatusRequest {
                msg_seq_num: Seq(self.u64()),
                sending_time: Nanos(self.u64()),
                ord_status_req_id: self.u64(),
                cl_ord_id: ClOrdId(self.u64()),
            })),
            _ => Message::Session(self.running(template)),
        }
    }

    pub(crate) fn new_order(&mut self) -> Message<'static> {
        Message::Request(ClientMessage::NewOrder(NewOrderSingle {
            msg_seq_num: Seq(self.u64()),
            sending_time: Nanos(self.u64()),
            cl_ord_id: ClOrdId(self.u64()),
            price: self.i64(),
            order_qty: self.i64(),
            security_id: self.u32(),
            account: self.u32(),
            side: self.u8(),
            ord_type: self.u8(),
            time_in_force: self.u8(),
            post_only: self.u8(),
            poss_resend: self.u8(),
            self_match: self.u8(),
            sender_sub_id: self.u16(),
            stop_px: self.i64(),
            expire_time: self.u64(),
        }))
    }

    fn logon(&mut self, template: u16) -> SessionMessage<'static> {
        let (session_id, time, code) = (self.session_id(), Nanos(self.u64()), self.u8());
        match template {
            1 => SessionMessage::Negotiate {
                session_id,
                timestamp: time,
                client_flow: code,
                credentials: self.octets(),
            },
            2 => SessionMessage::NegotiationResponse {
                session_id,
                request_timestamp: time,
                server_flow: code,
            },
            3 => SessionMessage::NegotiationReject {
                session_id,
                request_timestamp: time,
                code,
                reason: self.octets(),
            },
            5 => SessionMessage::Establish {
                session_id,
                timestamp: time,
                keepalive_interval: self.u32(),
                next_seq_no: self.u64(),
                cancel_on_disconnect_type: code,
                cod_timeout_window: self.u32(),
                report_level: self.u8(),
                credentials: self.octets(),
            },
            6 => SessionMessage::EstablishmentAck {
                session_id,
                request_timestamp: time,
                keepalive_interval: self.u32(),
                next_seq_no: Seq(self.u64()),
                last_incoming_seq_no: Seq(self.u64()),
                cancel_on_disconnect_type: code,
                cod_timeout_window: self.u32(),
            },
            7 => SessionMessage::EstablishmentReject {
                session_id,
                request_timestamp: time,
                code,
                reason: self.octets(),
            },
            _ => panic!("no logon message {template}"),
        }
    }

    fn running(&mut self, template: u16) -> SessionMessage<'static> {
        let (session_id, time, code) = (self.session_id(), Nanos(self.u64()), self.u8());
        let (number, count) = (Seq(self.u64()), self.u32());
        match template {
            8 => SessionMessage::Sequence { next_seq_no: number },
            11 => SessionMessage::RetransmitRequest {
                session_id,
                timestamp: time,
                from_seq_no: number,
                count,
            },
            12 => SessionMessage::Retransmission {
                session_id,
                request_timestamp: time,
                next_seq_no: number,
                count,
            },
            13 => SessionMessage::RetransmitReject {
                session_id,
                request_timestamp: time,
                code,
                reason: self.octets(),
            },
            14 => SessionMessage::Terminate { session_id, code, reason: self.octets() },
            15 => SessionMessage::FinishedSending { session_id, last_seq_no: number },
            16 => SessionMessage::FinishedReceiving { session_id },
            20 => SessionMessage::NotAccepting { from_seq_no: number, cause: code },
            21 => SessionMessage::ReplicationStatus {
                epoch: self.u64(),
                released_seq_no: number,
                commit_index: self.u64(),
                durable_index: self.u64(),
                isr_count: code,
                level: self.u8(),
            },
            _ => panic!("no session message {template}"),
        }
    }

    fn report(&mut self, template: u16) -> Report {
        if template == 18 {
            let body = ReportBody::NotApplied { from_seq_no: Seq(self.u64()), count: self.u32() };
            let (msg_seq_num, sending_time, appl_seq_num) = (Seq(0), Nanos(0), Index(0));
            return Report { msg_seq_num, sending_time, appl_seq_num, body };
        }
        Report {
            msg_seq_num: Seq(self.u64()),
            sending_time: Nanos(self.u64()),
            appl_seq_num: Index(self.u64()),
            body: match template {
                200 => ReportBody::New(self.new_report()),
                202 => ReportBody::Canceled(self.canceled()),
                203 => ReportBody::Trade(self.trade()),
                204 => ReportBody::Reject(self.reject()),
                205 => ReportBody::Status(self.status()),
                206 => ReportBody::CancelReject(self.cancel_reject()),
                208 => ReportBody::BusinessReject(BusinessMessageReject {
                    ref_seq_num: Seq(self.u64()),
                    business_reject_ref_id: self.u64(),
                    business_reject_reason: self.u16(),
                    ref_template_id: self.u16(),
                    text: self.text(),
                    retryable: self.bool(),
                }),
                _ => panic!("no report {template}"),
            },
        }
    }

    fn new_report(&mut self) -> ExecutionReportNew {
        ExecutionReportNew {
            order_id: OrderId(self.u64()),
            cl_ord_id: ClOrdId(self.u64()),
            exec_id: ExecId(self.u64()),
            transact_time: Nanos(self.u64()),
            price: self.px_or_none(),
            order_qty: self.qty(),
            security_id: SecurityId(self.u32()),
            account: Account(self.u32()),
            side: self.one(Side::ALL),
            ord_type: self.one(OrdType::ALL),
            time_in_force: self.one(TimeInForce::ALL),
            ord_status: self.one(OrdStatus::ALL),
            poss_resend: self.bool(),
            post_only: self.bool(),
            sender_sub_id: SenderSubId(self.u16()),
            stop_px: self.px_or_none(),
            expire_time: self.id_or_none().map(Nanos),
        }
    }

    fn canceled(&mut self) -> ExecutionReportCanceled {
        ExecutionReportCanceled {
            order_id: OrderId(self.u64()),
            cl_ord_id: ClOrdId(self.u64()),
            exec_id: ExecId(self.u64()),
            transact_time: Nanos(self.u64()),
            orig_cl_ord_id: self.id_or_none().map(ClOrdId),
            cum_qty: self.qty(),
            security_id: SecurityId(self.u32()),
            account: Account(self.u32()),
            side: self.one(Side::ALL),
            ord_status: self.one(OrdStatus::ALL),
            exec_type: self.one(ExecType::ALL),
            exec_restatement_reason: Some(self.one(RestatementReason::ALL)).filter(|_| self.bool()),
            poss_resend: self.bool(),
        }
    }

    fn trade(&mut self) -> ExecutionReportTrade {
        ExecutionReportTrade {
            order_id: OrderId(self.u64()),
            cl_ord_id: ClOrdId(self.u64()),
            exec_id: ExecId(self.u64()),
            transact_time: Nanos(self.u64()),
            last_px: self.px(),
            last_qty: self.qty(),
            leaves_qty: self.qty(),
            cum_qty: self.qty(),
            trd_match_id: TrdMatchId(self.u64()),
            security_id: SecurityId(self.u32()),
            account: Account(self.u32()),
            side: self.one(Side::ALL),
            ord_status: self.one(OrdStatus::ALL),
            aggressor: self.bool(),
            poss_resend: self.bool(),
        }
    }

    fn reject(&mut self) -> ExecutionReportReject {
        ExecutionReportReject {
            order_id: OrderId(self.u64()),
            cl_ord_id: ClOrdId(self.u64()),
            exec_id: ExecId(self.u64()),
            transact_time: Nanos(self.u64()),
            security_id: self.u32(),
            account: self.u32(),
            ord_rej_reason: self.u16(),
            ord_status: self.one(OrdStatus::ALL),
            poss_resend: self.bool(),
            text: self.text(),
            retryable: self.bool(),
        }
    }

    fn status(&mut self) -> ExecutionReportStatus {
        ExecutionReportStatus {
            order_id: OrderId(self.u64()),
            cl_ord_id: ClOrdId(self.u64()),
            exec_id: ExecId(self.u64()),
            transact_time: Nanos(self.u64()),
            ord_status_req_id: self.u64(),
            price: self.px_or_none(),
            order_qty: self.qty(),
            leaves_qty: self.qty(),
            cum_qty: self.qty(),
            security_id: SecurityId(self.u32()),
            account: Account(self.u32()),
            side: self.one(Side::ALL),
            ord_status: self.one(OrdStatus::ALL),
            poss_resend: self.bool(),
            last_rpt_requested: self.bool(),
            tot_num_reports: self.u32(),
            ord_type: self.one(OrdType::ALL),
            time_in_force: self.one(TimeInForce::ALL),
            sender_sub_id: SenderSubId(self.u16()),
            stop_px: self.px_or_none(),
            expire_time: self.id_or_none().map(Nanos),
        }
    }

    fn cancel_reject(&mut self) -> OrderCancelReject {
        OrderCancelReject {
            order_id: OrderId(self.u64()),
            cl_ord_id: ClOrdId(self.u64()),
            exec_id: ExecId(self.u64()),
            transact_time: Nanos(self.u64()),
            orig_cl_ord_id: ClOrdId(self.u64()),
            cxl_rej_reason: self.u16(),
            cxl_rej_response_to: self.one(CxlRejResponseTo::ALL),
            ord_status: self.one(OrdStatus::ALL),
            poss_resend: self.bool(),
            text: self.text(),
            retryable: self.bool(),
        }
    }
}
