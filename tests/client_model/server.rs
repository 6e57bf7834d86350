//! A server in a few hundred lines: the protocol as the rulings say it, one session, no time.
//!
//! It is written from the text and shares the codec alone with the engine. What it asserts is what
//! a client may never do to a server.

use std::collections::{BTreeMap, VecDeque};

use tidegate::vocabulary::event::{
    BusinessMessageReject, ExecutionReportCanceled, ExecutionReportNew, ExecutionReportReject,
    ExecutionReportStatus, ExecutionReportTrade, OrderCancelReject, Report, ReportBody,
};
use tidegate::vocabulary::fix::{
    CxlRejResponseTo, EstablishmentRejectCode as No, ExecType, NegotiationRejectCode, OrdStatus,
    OrdType, Side, TerminationCode, TimeInForce,
};
use tidegate::vocabulary::message::{ClientMessage, SessionMessage};
use tidegate::vocabulary::units::{
    Account, ClOrdId, ExecId, Index, Nanos, OrderId, Px, Qty, SecurityId, SenderSubId, Seq,
    SessionId, Text, TrdMatchId,
};
use tidegate::wire::decode::{Inbound, decode_inbound};
use tidegate::wire::encode::{encode_report, encode_session};
use tidegate::wire::frame::split;

/// What became of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Open,
    ClosedBy(u64),
    Refused,
}

/// The bound line.
struct Line {
    /// The line's own next number (ruling F01).
    position: u64,
    /// The next report that goes out live.
    live: u64,
    /// What is left of a request: its timestamp, the next number, the one after the last.
    request: Option<(Nanos, u64, u64)>,
    is_told: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "facts that hold or not, each by itself")]
pub(crate) struct Server {
    id: Option<SessionId>,
    stamp: Nanos,
    expected: u64,
    /// Template and request id by number.
    remembered: BTreeMap<u64, (u16, u64)>,
    /// Numbered reports as they went out.
    reports: Vec<Vec<u8>>,
    keys: BTreeMap<u64, Key>,
    /// How often each order was executed.
    pub(crate) executed: BTreeMap<u64, u32>,
    line: Option<Line>,
    pub(crate) is_gate_shut: bool,
    pub(crate) is_primary: bool,
    /// An old line that the server still believes in.
    pub(crate) is_stale: bool,
    /// How far back an Establish may go.
    pub(crate) resend_window: u64,
    /// Reports of one RetransmitRequest at most.
    pub(crate) piece_max: u32,
    pub(crate) out: VecDeque<Vec<u8>>,
    is_finished: bool,
    pub(crate) is_final: bool,
    /// What happened, and how often.
    pub(crate) seen: BTreeMap<&'static str, u32>,
}

impl Server {
    pub(crate) fn new(resend_window: u64, piece_max: u32) -> Self {
        Self {
            id: None,
            stamp: Nanos(0),
            expected: 1,
            remembered: BTreeMap::new(),
            reports: Vec::new(),
            keys: BTreeMap::new(),
            executed: BTreeMap::new(),
            line: None,
            is_gate_shut: false,
            is_primary: true,
            is_stale: false,
            resend_window,
            piece_max,
            out: VecDeque::new(),
            is_finished: false,
            is_final: false,
            seen: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// The line is gone.
    pub(crate) fn on_cut(&mut self) {
        self.is_stale |= self.line.is_some();
        self.line = None;
        self.is_finished = false;
        self.out.clear();
    }

    /// A whole frame came.
    pub(crate) fn on_frame(&mut self, octets: &[u8]) {
        let (frame, _) = split(octets, 2048).unwrap().unwrap();
        match decode_inbound(&frame).expect("a client writes what a server reads") {
            Inbound::Application(message) => self.on_request(&message),
            Inbound::Session(message) => self.on_session(&message),
        }
    }

    /// Something happens that nobody asked for.
    pub(crate) fn trade(&mut self) {
        let Some((&id, _)) = self.keys.iter().find(|(_, key)| **key == Key::Open) else { return };
        self.report(ReportBody::Trade(ExecutionReportTrade {
            order_id: OrderId(id),
            cl_ord_id: ClOrdId(id),
            exec_id: ExecId(1),
            transact_time: Nanos(1),
            last_px: Px::ONE,
            last_qty: Qty::MAX,
            leaves_qty: Qty::ZERO,
            cum_qty: Qty::MAX,
            trd_match_id: TrdMatchId(1),
            security_id: SecurityId(0),
            account: Account(1),
            side: Side::Buy,
            ord_status: OrdStatus::PartiallyFilled,
            aggressor: false,
            poss_resend: false,
        }));
    }

    pub(crate) fn heartbeat(&mut self) {
        if let Some(line) = &self.line {
            let next_seq_no = Seq(line.live);
            self.say(&SessionMessage::Sequence { next_seq_no });
        }
    }

    /// Serves a batch of a running request.
    pub(crate) fn serve(&mut self, batch: u64) {
        let Some(line) = &mut self.line else { return };
        let Some((request_timestamp, from, end)) = line.request else { return };
        let next = (from + batch).min(end);
        line.request = (next < end).then_some((request_timestamp, next, end));
        let (session_id, next_live) = (self.id.unwrap(), line.live);
        let count = u32::try_from(next - from).unwrap();
        let next_seq_no = Seq(from);
        self.count("Retransmission");
        self.say(&SessionMessage::Retransmission {
            session_id,
            request_timestamp,
            next_seq_no,
            count,
        });
        for number in from..next {
            self.out.push_back(self.reports[usize::try_from(number - 1).unwrap()].clone());
        }
        self.say(&SessionMessage::Sequence { next_seq_no: Seq(next_live) });
    }

    fn say(&mut self, message: &SessionMessage<'_>) {
        let mut octets = vec![0; 512];
        let len = encode_session(message, &mut octets).unwrap();
        octets.truncate(len);
        self.out.push_back(octets);
    }

    fn on_session(&mut self, message: &SessionMessage<'_>) {
        match *message {
            SessionMessage::Negotiate { session_id, timestamp, .. } => {
                self.on_negotiate(session_id, timestamp);
            }
            SessionMessage::Establish { session_id, timestamp, next_seq_no, .. } => {
                self.on_establish(session_id, timestamp, next_seq_no);
            }
            _ if self.line.is_none() => {}
            SessionMessage::Sequence { next_seq_no } => {
                let line = self.line.as_mut().unwrap();
                if self.is_gate_shut {
                    return;
                }
                assert!(next_seq_no.0 >= line.position, "a Sequence went back");
                line.position = next_seq_no.0;
                self.gap(next_seq_no.0);
            }
            SessionMessage::RetransmitRequest { session_id, timestamp, from_seq_no, count } => {
                let (from, end) = (from_seq_no.0, from_seq_no.0 + u64::from(count));
                let line = self.line.as_mut().unwrap();
                assert_eq!(line.request, None, "one request at a time");
                assert!(from >= 1 && count >= 1 && end <= line.live, "only what there is");
                if count > self.piece_max {
                    self.count("RequestLimitExceeded");
                    self.say(&SessionMessage::RetransmitReject {
                        session_id,
                        request_timestamp: timestamp,
                        code: 2,
                        reason: b"",
                    });
                } else {
                    line.request = Some((timestamp, from, end));
                }
            }
            SessionMessage::FinishedSending { session_id, last_seq_no } => {
                assert!(last_seq_no.0 + 1 >= self.expected, "it forgot what it sent");
                self.gap(last_seq_no.0 + 1);
                self.is_finished = true;
                self.say(&SessionMessage::FinishedReceiving { session_id });
                let last_seq_no = Seq(self.reports.len() as u64);
                self.say(&SessionMessage::FinishedSending { session_id, last_seq_no });
            }
            SessionMessage::FinishedReceiving { .. } => {
                assert!(self.is_finished);
                self.is_final = true;
            }
            SessionMessage::Terminate { session_id, .. } => {
                self.line = None;
                self.say(&SessionMessage::Terminate { session_id, code: 0, reason: b"" });
            }
            ref other @ (SessionMessage::NegotiationResponse { .. }
            | SessionMessage::NegotiationReject { .. }
            | SessionMessage::EstablishmentAck { .. }
            | SessionMessage::EstablishmentReject { .. }
            | SessionMessage::Retransmission { .. }
            | SessionMessage::RetransmitReject { .. }
            | SessionMessage::NotAccepting { .. }
            | SessionMessage::ReplicationStatus { .. }) => {
                panic!("a client never says {other:?}")
            }
        }
    }

    fn on_negotiate(&mut self, session_id: SessionId, timestamp: Nanos) {
        use NegotiationRejectCode as Code;
        assert!(timestamp > self.stamp, "a timestamp twice");
        let code = match () {
            () if !self.is_primary => Code::NotPrimary,
            () if self.is_gate_shut => Code::NotAccepting,
            () if self.id.is_some() => Code::DuplicateId,
            () => {
                (self.id, self.stamp) = (Some(session_id), timestamp);
                return self.say(&SessionMessage::NegotiationResponse {
                    session_id,
                    request_timestamp: timestamp,
                    server_flow: 0,
                });
            }
        };
        self.count(code.name());
        self.say(&SessionMessage::NegotiationReject {
            session_id,
            request_timestamp: timestamp,
            code: code.wire(),
            // An address in these words must never be connected to.
            reason: b"203.0.113.1:9 epoch=2",
        });
    }

    fn on_establish(&mut self, session_id: SessionId, timestamp: Nanos, next: u64) {
        assert!(timestamp > self.stamp, "a timestamp twice");
        if self.line.is_some() {
            // The frame came twice.
            self.line = None;
            let code = TerminationCode::UnspecifiedError.wire();
            return self.say(&SessionMessage::Terminate { session_id, code, reason: b"" });
        }
        let oldest = self.expected.saturating_sub(self.resend_window).max(1);
        let code = match () {
            () if !self.is_primary => No::NotPrimary,
            () if self.is_gate_shut => No::NotAccepting,
            () if self.id.is_none() || self.is_final => No::Unnegotiated,
            () if next < oldest => No::InvalidNextSeqNo,
            () if self.is_stale => No::AlreadyEstablished,
            () => {
                self.stamp = timestamp;
                self.count(if next < self.expected { "Establish below" } else { "Establish" });
                let live = self.reports.len() as u64 + 1;
                self.line = Some(Line { position: next, live, request: None, is_told: false });
                self.say(&SessionMessage::EstablishmentAck {
                    session_id,
                    request_timestamp: timestamp,
                    keepalive_interval: 1000,
                    next_seq_no: Seq(live),
                    last_incoming_seq_no: Seq(self.expected - 1),
                    cancel_on_disconnect_type: 0,
                    cod_timeout_window: 0,
                });
                return self.gap(next);
            }
        };
        self.count(code.name());
        self.say(&SessionMessage::EstablishmentReject {
            session_id,
            request_timestamp: timestamp,
            code: code.wire(),
            reason: b"203.0.113.1:9 epoch=2",
        });
    }

    fn gap(&mut self, next: u64) {
        if next > self.expected {
            let count = u32::try_from(next - self.expected).unwrap();
            let from_seq_no = Seq(self.expected);
            self.expected = next;
            self.count("NotApplied");
            self.report(ReportBody::NotApplied { from_seq_no, count });
        }
    }

    fn on_request(&mut self, message: &ClientMessage) {
        let (number, id) = (message.msg_seq_num().0, (message.template(), message.request_id()));
        let Some(line) = &mut self.line else { return };
        assert!(!self.is_finished, "a request after FinishedSending");
        if self.is_gate_shut {
            if number >= self.expected && !std::mem::replace(&mut line.is_told, true) {
                self.count("NotAccepting told");
                self.say(&SessionMessage::NotAccepting { from_seq_no: Seq(number), cause: 2 });
            }
            return;
        }
        line.position = line.position.max(number + 1);
        if number < self.expected {
            let known = self.remembered.get(&number);
            assert_eq!(known, Some(&id), "number {number} is reused for another message");
            self.count("repeat");
            return;
        }
        self.gap(number);
        match message {
            ClientMessage::NewOrder(m) if m.poss_resend == 1 => self.count("PossResend"),
            ClientMessage::NewOrder(_) | ClientMessage::Cancel(_) | ClientMessage::Status(_) => {}
        }
        self.expected = number + 1;
        self.remembered.insert(number, id);
        match message {
            ClientMessage::NewOrder(m) => self.on_order(m.cl_ord_id.0),
            ClientMessage::Cancel(m) => self.on_cancel(m.cl_ord_id.0, m.orig_cl_ord_id.0),
            ClientMessage::Status(m) => {
                self.on_status(number, m.ord_status_req_id, m.cl_ord_id.0);
            }
        }
    }

    /// The gate opens: the next closing is told again.
    pub(crate) fn open(&mut self) {
        self.is_gate_shut = false;
        if let Some(line) = &mut self.line {
            line.is_told = false;
        }
    }

    fn on_order(&mut self, id: u64) {
        let is_known = self.keys.contains_key(&id);
        let fresh = if id.is_multiple_of(7) { Key::Refused } else { Key::Open };
        match *self.keys.entry(id).or_insert(fresh) {
            Key::Refused => self.reject(id, is_known),
            Key::Open | Key::ClosedBy(_) if is_known => self.status(id, 0),
            Key::Open | Key::ClosedBy(_) => {
                *self.executed.entry(id).or_default() += 1;
                self.report(ReportBody::New(ExecutionReportNew {
                    order_id: OrderId(id),
                    cl_ord_id: ClOrdId(id),
                    exec_id: ExecId(1),
                    transact_time: Nanos(1),
                    price: None,
                    order_qty: Qty::MAX,
                    security_id: SecurityId(0),
                    account: Account(1),
                    side: Side::Buy,
                    ord_type: OrdType::Limit,
                    time_in_force: TimeInForce::Day,
                    ord_status: OrdStatus::New,
                    poss_resend: false,
                    post_only: false,
                    sender_sub_id: SenderSubId(0),
                    stop_px: None,
                    expire_time: None,
                }));
            }
        }
    }

    fn on_cancel(&mut self, id: u64, orig: u64) {
        match self.keys.get(&orig).copied() {
            Some(Key::Open) => {
                self.keys.insert(orig, Key::ClosedBy(id));
                self.report(ReportBody::Canceled(ExecutionReportCanceled {
                    order_id: OrderId(orig),
                    cl_ord_id: ClOrdId(id),
                    exec_id: ExecId(1),
                    transact_time: Nanos(1),
                    orig_cl_ord_id: Some(ClOrdId(orig)),
                    cum_qty: Qty::ZERO,
                    security_id: SecurityId(0),
                    account: Account(1),
                    side: Side::Buy,
                    ord_status: OrdStatus::Canceled,
                    exec_type: ExecType::Canceled,
                    exec_restatement_reason: None,
                    poss_resend: false,
                }));
            }
            Some(Key::ClosedBy(by)) if by == id => self.status(id, 0),
            Some(Key::ClosedBy(_) | Key::Refused) | None => {
                self.report(ReportBody::CancelReject(OrderCancelReject {
                    order_id: OrderId(0),
                    cl_ord_id: ClOrdId(id),
                    exec_id: ExecId(1),
                    transact_time: Nanos(1),
                    orig_cl_ord_id: ClOrdId(orig),
                    cxl_rej_reason: 1,
                    cxl_rej_response_to: CxlRejResponseTo::Cancel,
                    ord_status: OrdStatus::Rejected,
                    poss_resend: false,
                    text: Text::default(),
                    retryable: false,
                }));
            }
        }
    }

    fn on_status(&mut self, number: u64, request: u64, id: u64) {
        match self.keys.get(&id) {
            Some(Key::Refused) => self.reject(id, true),
            Some(Key::Open | Key::ClosedBy(_)) => self.status(id, request),
            None => self.report(ReportBody::BusinessReject(BusinessMessageReject {
                ref_seq_num: Seq(number),
                business_reject_ref_id: request,
                business_reject_reason: 1,
                ref_template_id: 104,
                text: Text::default(),
                retryable: false,
            })),
        }
    }

    fn reject(&mut self, id: u64, poss_resend: bool) {
        self.report(ReportBody::Reject(ExecutionReportReject {
            order_id: OrderId(0),
            cl_ord_id: ClOrdId(id),
            exec_id: ExecId(1),
            transact_time: Nanos(1),
            security_id: 0,
            account: 1,
            ord_rej_reason: 1,
            ord_status: OrdStatus::Rejected,
            poss_resend,
            text: Text::default(),
            retryable: false,
        }));
    }

    fn status(&mut self, id: u64, ord_status_req_id: u64) {
        self.report(ReportBody::Status(ExecutionReportStatus {
            order_id: OrderId(id),
            cl_ord_id: ClOrdId(id),
            exec_id: ExecId(1),
            transact_time: Nanos(1),
            ord_status_req_id,
            price: None,
            order_qty: Qty::MAX,
            leaves_qty: Qty::MAX,
            cum_qty: Qty::ZERO,
            security_id: SecurityId(0),
            account: Account(1),
            side: Side::Buy,
            ord_status: OrdStatus::New,
            poss_resend: true,
            last_rpt_requested: true,
            tot_num_reports: 1,
            ord_type: OrdType::Limit,
            time_in_force: TimeInForce::Day,
            sender_sub_id: SenderSubId(0),
            stop_px: None,
            expire_time: None,
        }));
    }

    /// A report goes into the log, and out if somebody listens.
    fn report(&mut self, body: ReportBody) {
        let number = self.reports.len() as u64 + 1;
        let report = Report {
            msg_seq_num: Seq(number),
            sending_time: Nanos(1),
            appl_seq_num: Index(1),
            body,
        };
        let mut octets = vec![0; 512];
        let len = encode_report(&report, &mut octets);
        octets.truncate(len);
        self.reports.push(octets.clone());
        if let Some(line) = &mut self.line {
            line.live = number + 1;
            self.out.push_back(octets);
        }
    }
}
