//! A machine on a bench: records go in as a journal would store them, frames come out.
//!
//! Every record is encoded, read back and applied by the same lines that the program uses, and
//! every report is judged by what a client decodes from its frame. Nothing here looks into the
//! machine.

#![allow(dead_code, reason = "each test file compiles the bench and uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot be built ends the test")]

use std::collections::BTreeMap;

use tidegate::engine::outbox::{Outbox, ReportSink};
use tidegate::limits::REPORT_BYTES_MAX;
use tidegate::machine::{ApplyError, Machine};
use tidegate::replay::{self, ReplayError};
use tidegate::vocabulary::event::{Event, Report, ReportBody};
use tidegate::vocabulary::fix::{CodType, MarketPhase, ReportLevel, RestatementReason};
use tidegate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
};
use tidegate::vocabulary::record::{DownCause, PAYLOAD_BYTES_MAX, Record, RecordBody};
use tidegate::vocabulary::settings::{AccountOwner, Capacities, Instrument, Owner, Setting};
use tidegate::vocabulary::units::{
    Account, ClOrdId, Epoch, Index, Nanos, OwnerIdx, Px, Qty, SecurityId, Seq, SessionId,
    SessionIdx, Text,
};
use tidegate::wire::decode::{Outbound, decode_outbound};
use tidegate::wire::encode::{CLIENT_BYTES_MAX, encode_client};
use tidegate::wire::frame;

/// One cent as a raw price.
pub(crate) const CENT: i64 = 1_000_000;
/// Octets of a frame before its SBE header.
const SOFH_BYTES: usize = 4;
/// Active time for which the bench's machine keeps a key.
pub(crate) const RETENTION: Nanos = Nanos(10 * Nanos::SECOND.0);
/// Time of a bench's first record.
const START: Nanos = Nanos(1_700_000_000 * Nanos::SECOND.0);
/// From one record to the next.
pub(crate) const STEP: Nanos = Nanos(1_000);

/// Small tables, so that full and expired happen.
pub(crate) const CAPACITIES: Capacities = Capacities {
    session_count_max: 5,
    resend_window: 8,
    key_count_max: 16,
    key_retention: RETENTION,
    order_count_max: 12,
    hash_seed: 7,
};

/// Two sessions of owner 0 (accounts 10, 11), one of owner 1 (account 20).
pub(crate) const OWNER_OF_SESSION: [u16; 3] = [0, 0, 1];

/// A record as stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stored {
    pub(crate) index: Index,
    pub(crate) time: Nanos,
    pub(crate) epoch: Epoch,
    pub(crate) kind: u8,
    pub(crate) source: u32,
    pub(crate) payload: Vec<u8>,
}

impl Stored {
    pub(crate) fn new(index: Index, time: Nanos, epoch: Epoch, body: &RecordBody<'_>) -> Self {
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let payload = body.encode(&mut scratch).to_vec();
        Self { index, time, epoch, kind: body.kind().stored(), source: body.source(), payload }
    }

    pub(crate) fn record(&self) -> journal::Record<'_> {
        journal::Record {
            index: self.index.0,
            time: self.time.0,
            epoch: self.epoch.0,
            kind: self.kind,
            flags: 0,
            source: self.source,
            payload: &self.payload,
            crc: 0,
            prev_crc: 0,
        }
    }
}

/// A frame as it was handed over for a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    pub(crate) session: SessionIdx,
    pub(crate) number: Seq,
    pub(crate) index: Index,
    pub(crate) frame: Vec<u8>,
}

impl Said {
    /// What a client reads. NotApplied carries no number and no index: they come from the place
    /// that was asked for, and its time is 0.
    pub(crate) fn report(&self) -> Report {
        let (frame, len) = frame::split(&self.frame, 2048).unwrap().unwrap();
        assert_eq!(len, self.frame.len(), "one frame, and nothing behind it");
        let Ok(Outbound::Report(mut report)) = decode_outbound(&frame) else {
            panic!("not a report: {:?}", self.frame);
        };
        if matches!(report.body, ReportBody::NotApplied { .. }) {
            (report.msg_seq_num, report.appl_seq_num) = (self.number, self.index);
        }
        assert_eq!((report.msg_seq_num, report.appl_seq_num), (self.number, self.index));
        report
    }

    /// The report in one line, for tables.
    pub(crate) fn line(&self) -> String {
        format!("s{} {}", self.session, line(&self.report()))
    }
}

/// Keeps every frame and every event of a logon.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) said: Vec<Said>,
    /// Octets of the last frame, which is cut to them once it is written.
    last_len: usize,
    pub(crate) logons: Vec<(Index, Event)>,
}

impl Kept {
    /// Cuts the last frame to its length.
    pub(crate) fn cut_last(&mut self) {
        if let Some(last) = self.said.last_mut() {
            last.frame.truncate(self.last_len);
        }
    }
}

impl ReportSink for Kept {
    fn report(&mut self, session: SessionIdx, number: Seq, index: Index, len: usize) -> &mut [u8] {
        self.cut_last();
        let frame = vec![0xEE; REPORT_BYTES_MAX];
        self.said.push(Said { session, number, index, frame });
        self.last_len = len;
        &mut self.said.last_mut().unwrap().frame
    }

    fn logon(&mut self, index: Index, event: &Event) {
        self.logons.push((index, *event));
    }
}

/// A machine, what went in and what came out.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) sink: Kept,
    pub(crate) stored: Vec<Stored>,
    pub(crate) time: Nanos,
    pub(crate) epoch: Epoch,
    out: Outbox,
    next_in: BTreeMap<SessionIdx, u64>,
}

impl Bench {
    /// Capacities and EpochStart, nothing else.
    pub(crate) fn bare(capacities: Capacities) -> Self {
        let first = RecordBody::Config(Setting::Capacities(capacities));
        let stored = Stored::new(Index(1), START, Epoch(1), &first);
        let machine = Machine::found(&replay::read(&stored.record()).unwrap()).unwrap();
        let mut bench = Self {
            machine,
            sink: Kept::default(),
            stored: Vec::new(),
            time: START,
            epoch: Epoch(1),
            out: Outbox::new(),
            next_in: BTreeMap::new(),
        };
        bench.put_stored(stored).unwrap();
        bench.epoch = Epoch(0);
        bench.start_epoch();
        bench
    }

    /// Two instruments that trade, two owners, three established sessions.
    pub(crate) fn new() -> Self {
        Self::with(CAPACITIES, 10)
    }

    pub(crate) fn with(capacities: Capacities, orders_max: u32) -> Self {
        let mut bench = Self::bare(capacities);
        for setting in settings(orders_max) {
            bench.put(RecordBody::Config(setting));
        }
        bench.phase(None, MarketPhase::Trading);
        for security in [0, 1] {
            bench.phase(Some(security), MarketPhase::Trading);
        }
        for (session, owner) in (0..).zip(OWNER_OF_SESSION) {
            bench.put(open(session, owner));
            bench.bind(session);
        }
        bench.sink.said.clear();
        bench.sink.logons.clear();
        bench
    }

    /// Applies one record one step later and gives the reports in lines.
    pub(crate) fn put(&mut self, body: RecordBody<'_>) -> Vec<String> {
        match self.try_put(body) {
            Ok(lines) => lines,
            Err(error) => panic!("{error}: {body:?}"),
        }
    }

    /// See [`Self::put`]; the machine is not used again after an error.
    pub(crate) fn try_put(&mut self, body: RecordBody<'_>) -> Result<Vec<String>, ApplyError> {
        self.time = self.time.saturating_add(STEP);
        let index = self.machine.index().next();
        let stored = Stored::new(index, self.time, self.epoch, &body);
        self.put_stored(stored)
    }

    pub(crate) fn put_stored(&mut self, stored: Stored) -> Result<Vec<String>, ApplyError> {
        let from = self.sink.said.len();
        let done =
            replay::apply(&mut self.machine, &stored.record(), &mut self.out, &mut self.sink);
        self.sink.cut_last();
        self.stored.push(stored);
        match done {
            Ok(()) => Ok(self.sink.said[from..].iter().map(Said::line).collect()),
            Err(ReplayError::Apply(error)) => Err(error),
            Err(ReplayError::Record { error, .. }) => panic!("the bench stored {error}"),
        }
    }

    /// A message under the session's next number.
    pub(crate) fn send(&mut self, session: u32, message: ClientMessage) -> Vec<String> {
        let number = self.next_in.entry(SessionIdx(session)).or_insert(1);
        let numbered = with_number(message, *number);
        *number += 1;
        self.put_message(session, &numbered)
    }

    /// A message under the number it carries.
    pub(crate) fn put_message(&mut self, session: u32, message: &ClientMessage) -> Vec<String> {
        self.next_in.insert(SessionIdx(session), message.msg_seq_num().0 + 1);
        let sbe = sbe(message);
        self.put(RecordBody::ClientMessage { session: SessionIdx(session), message: &sbe })
    }

    /// Lets the session's next numbers be lost.
    pub(crate) fn skip(&mut self, session: u32, count: u64) {
        *self.next_in.entry(SessionIdx(session)).or_insert(1) += count;
    }

    pub(crate) fn order(&mut self, session: u32, order: NewOrderSingle) -> Vec<String> {
        self.send(session, ClientMessage::NewOrder(order))
    }

    pub(crate) fn cancel(&mut self, session: u32, cancel: OrderCancelRequest) -> Vec<String> {
        self.send(session, ClientMessage::Cancel(cancel))
    }

    pub(crate) fn status(&mut self, session: u32, id: u64, cl_ord_id: u64) -> Vec<String> {
        let (msg_seq_num, sending_time) = (Seq(0), Nanos(0));
        let cl_ord_id = ClOrdId(cl_ord_id);
        let request =
            OrderStatusRequest { msg_seq_num, sending_time, ord_status_req_id: id, cl_ord_id };
        self.send(session, ClientMessage::Status(request))
    }

    pub(crate) fn phase(&mut self, security: Option<u32>, phase: MarketPhase) {
        self.put(admin(security, phase));
    }

    pub(crate) fn bind(&mut self, session: u32) -> Vec<String> {
        self.put(bind(session, self.time, None))
    }

    pub(crate) fn down(&mut self, session: u32) {
        let session = SessionIdx(session);
        self.put(RecordBody::SessionDown { session, cause: DownCause::Disconnect });
    }

    pub(crate) fn tick(&mut self) {
        assert_eq!(self.put(RecordBody::Tick), [""; 0]);
    }

    /// Lets time pass before the next record.
    pub(crate) fn wait(&mut self, span: Nanos) {
        self.time = self.time.saturating_add(span);
    }

    /// The next leader is activated.
    pub(crate) fn start_epoch(&mut self) {
        let prev_epoch = self.epoch;
        self.epoch = Epoch(prev_epoch.0 + 1);
        self.put(RecordBody::EpochStart { node: 1, incarnation: 1, prev_epoch });
    }

    /// The last report of all.
    pub(crate) fn last(&self) -> Report {
        self.sink.said.last().unwrap().report()
    }
}

/// Instruments, owners and accounts of the bench.
pub(crate) fn settings(orders_max: u32) -> Vec<Setting> {
    let instrument = |id, symbol, tick, lot, low, high| {
        Setting::Instrument(Instrument {
            security_id: SecurityId(id),
            symbol: Text::new(symbol),
            tick: px(tick),
            lot: Qty::try_new(lot).unwrap(),
            low_limit: px(low),
            high_limit: px(high),
        })
    };
    let owner = |index, name| {
        let name = Text::new(name);
        Setting::Owner(Owner { owner: OwnerIdx(index), id: 100, name, orders_max })
    };
    let account =
        |account, owner| AccountOwner { account: Account(account), owner: OwnerIdx(owner) };
    vec![
        instrument(0, "AAA", 5, 10, 100, 10_000),
        instrument(1, "BBB", 1, 1, -500, 500),
        owner(0, "First"),
        owner(1, "Second"),
        Setting::Account(account(10, 0)),
        Setting::Account(account(11, 0)),
        Setting::Account(account(20, 1)),
    ]
}

/// A price in cents.
pub(crate) fn px(cents: i64) -> Px {
    Px::try_new(cents * CENT).unwrap()
}

/// Owner 0 buys 100 AAA at 10.00.
pub(crate) fn order(cl_ord_id: u64) -> NewOrderSingle {
    NewOrderSingle {
        msg_seq_num: Seq(0),
        sending_time: Nanos(5),
        cl_ord_id: ClOrdId(cl_ord_id),
        price: 1_000 * CENT,
        order_qty: 100,
        security_id: 0,
        account: 10,
        side: b'1',
        ord_type: b'2',
        time_in_force: b'0',
        post_only: 0,
        poss_resend: 0,
        self_match: 0,
        sender_sub_id: 3,
        stop_px: NULL_I64,
        expire_time: NULL_U64,
    }
}

/// Owner 1 sells `qty` AAA at 10.00.
pub(crate) fn sell(cl_ord_id: u64, order_qty: i64) -> NewOrderSingle {
    NewOrderSingle { side: b'2', account: 20, order_qty, ..order(cl_ord_id) }
}

/// The same request, marked as a resend.
pub(crate) fn resend(order: NewOrderSingle) -> NewOrderSingle {
    NewOrderSingle { poss_resend: 1, sending_time: Nanos(6), ..order }
}

/// A cancel of a buy order of AAA.
pub(crate) fn cancel(cl_ord_id: u64, orig_cl_ord_id: u64) -> OrderCancelRequest {
    OrderCancelRequest {
        msg_seq_num: Seq(0),
        sending_time: Nanos(5),
        cl_ord_id: ClOrdId(cl_ord_id),
        orig_cl_ord_id: ClOrdId(orig_cl_ord_id),
        security_id: 0,
        side: b'1',
        poss_resend: 0,
        sender_sub_id: 0,
    }
}

pub(crate) fn open(session: u32, owner: u16) -> RecordBody<'static> {
    RecordBody::SessionOpen {
        session: SessionIdx(session),
        id: session_id(session),
        owner: OwnerIdx(owner),
        key_id: Text::new("key"),
        timestamp: Nanos(1),
    }
}

pub(crate) fn session_id(session: u32) -> SessionId {
    SessionId([u8::try_from(session + 1).unwrap(); 16])
}

pub(crate) fn bind(session: u32, timestamp: Nanos, next: Option<u64>) -> RecordBody<'static> {
    bind_with(session, timestamp, next, (CodType::DoNotCancel, 0))
}

pub(crate) fn bind_with(
    session: u32,
    timestamp: Nanos,
    next: Option<u64>,
    (cod_type, cod_window): (CodType, u32),
) -> RecordBody<'static> {
    RecordBody::SessionBind {
        session: SessionIdx(session),
        key_id: Text::new("key"),
        timestamp,
        next_seq_no: next.map(Seq),
        keepalive_interval: 1_000,
        cod_type,
        cod_window,
        report_level: ReportLevel::None,
    }
}

pub(crate) fn admin(security: Option<u32>, phase: MarketPhase) -> RecordBody<'static> {
    RecordBody::Admin {
        who: Text::new("operator"),
        reason: Text::new("test"),
        security_id: security.map(SecurityId),
        phase,
    }
}

pub(crate) fn with_number(message: ClientMessage, number: u64) -> ClientMessage {
    let msg_seq_num = Seq(number);
    match message {
        ClientMessage::NewOrder(m) => ClientMessage::NewOrder(NewOrderSingle { msg_seq_num, ..m }),
        ClientMessage::Cancel(m) => ClientMessage::Cancel(OrderCancelRequest { msg_seq_num, ..m }),
        ClientMessage::Status(m) => ClientMessage::Status(OrderStatusRequest { msg_seq_num, ..m }),
    }
}

/// SBE header and block, as journaled.
pub(crate) fn sbe(message: &ClientMessage) -> Vec<u8> {
    let mut frame = [0; CLIENT_BYTES_MAX];
    let len = encode_client(message, &mut frame);
    frame[SOFH_BYTES..len].to_vec()
}

/// Reads a stored record; the bench stores nothing that cannot be read.
pub(crate) fn read(stored: &Stored) -> Record<'_> {
    Record::decode(
        stored.index,
        stored.time,
        stored.epoch,
        stored.kind,
        stored.source,
        &stored.payload,
    )
    .unwrap()
}

/// A report in one line; prices in cents. Numbers and times are left to the tests that are of them.
pub(crate) fn line(report: &Report) -> String {
    let cents = |price: Option<Px>| price.map_or(i64::MIN, |p| p.raw() / CENT);
    let last = |retryable| if retryable { "retryable" } else { "final" };
    let resend = |poss_resend| if poss_resend { " resend" } else { "" };
    match &report.body {
        ReportBody::NotApplied { from_seq_no, count } => format!("gap {from_seq_no} x{count}"),
        ReportBody::New(r) => {
            let side = r.side.name().to_lowercase();
            format!("new c{} {side} {}@{}", r.cl_ord_id, r.order_qty, cents(r.price))
        }
        ReportBody::Canceled(r) => {
            let orig = r.orig_cl_ord_id.map_or_else(|| "-".into(), |id| format!("c{id}"));
            let why = r.exec_restatement_reason.map_or(0, RestatementReason::wire);
            let why = if why == 0 { String::new() } else { format!(" reason {why}") };
            format!("canceled c{} orig {orig} cum {}{why}", r.cl_ord_id, r.cum_qty)
        }
        ReportBody::Trade(r) => {
            let (qty, px) = (r.last_qty, cents(Some(r.last_px)));
            let role = if r.aggressor { "aggressor" } else { "maker" };
            let left = format!("leaves {} cum {}", r.leaves_qty, r.cum_qty);
            format!("trade c{} {qty}@{px} {left} {role} {}", r.cl_ord_id, r.ord_status.name())
        }
        ReportBody::Reject(r) => format!(
            "reject c{} {} {} '{}'{}",
            r.cl_ord_id,
            r.ord_rej_reason,
            last(r.retryable),
            r.text,
            resend(r.poss_resend)
        ),
        ReportBody::Status(r) => format!(
            "status c{} {} leaves {} cum {} req {}{}",
            r.cl_ord_id,
            r.ord_status.name(),
            r.leaves_qty,
            r.cum_qty,
            r.ord_status_req_id,
            resend(r.poss_resend)
        ),
        ReportBody::CancelReject(r) => format!(
            "cancel-reject c{} orig c{} {} {} '{}' {}",
            r.cl_ord_id,
            r.orig_cl_ord_id,
            r.cxl_rej_reason,
            last(r.retryable),
            r.text,
            r.ord_status.name()
        ),
        ReportBody::BusinessReject(r) => format!(
            "business-reject n{} id {} of {} {} {} '{}'",
            r.ref_seq_num,
            r.business_reject_ref_id,
            r.ref_template_id,
            r.business_reject_reason,
            last(r.retryable),
            r.text
        ),
    }
}
