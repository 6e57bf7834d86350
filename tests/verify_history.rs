//! The judge against forgeries: one small honest world, and for each way to break a claim a change
//! of its evidence. Each must be caught by exactly the claim it breaks; the honest world passes.
//!
//! The world is written through the wire's encoder, the history's writer and the journal: two
//! firms, a trade between them, a duplicate, a refusal for good and one for now, a line that breaks
//! with a request lost and a report replayed, a cancel, and a question about an order that has
//! ended.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use journal::{Journal, JournalOptions, SEGMENT_HEADER_BYTES, segment_file};
use tidegate::client::history::{EntryKind, Header, HistoryWriter};
use tidegate::client::judge::{Claim, Ledger, Options, Verdict, judge};
use tidegate::vocabulary::event::{
    ExecutionReportCanceled, ExecutionReportNew, ExecutionReportReject, ExecutionReportStatus,
    ExecutionReportTrade, OrderCancelReject, Report, ReportBody,
};
use tidegate::vocabulary::fix::{
    CxlRejReason, CxlRejResponseTo, ExecType, OrdRejReason, OrdStatus, OrdType, Side, TimeInForce,
};
use tidegate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest, SessionMessage,
};
use tidegate::vocabulary::record::{PAYLOAD_BYTES_MAX, RecordBody};
use tidegate::vocabulary::units::{
    Account, ClOrdId, Epoch, ExecId, Index, Nanos, OrderId, OwnerIdx, Px, Qty, SecurityId,
    SenderSubId, Seq, SessionId, SessionIdx, Text, TrdMatchId,
};
use tidegate::wire::encode::{encode_client, encode_report, encode_session};

const A: usize = 0;
const B: usize = 1;

/// One entry of a history that is being written.
#[derive(Clone, Debug)]
enum Item {
    Connected,
    Disconnected,
    Sent(ClientMessage),
    Told(SessionMessage<'static>),
    Report(Report),
}

/// Two histories and a journal, before they are written.
struct World {
    clients: [Vec<Item>; 2],
    journal: Vec<(u32, u8, Vec<u8>)>,
    /// Flips a bit of this record's first octets in the written ring.
    damaged: Option<u64>,
}

fn id(client: usize) -> SessionId {
    SessionId([u8::try_from(client).unwrap() + 1; 16])
}

fn slot(client: usize) -> SessionIdx {
    SessionIdx(u32::try_from(client).unwrap())
}

fn order(number: u64, key: u64, side: Side, qty: i64) -> NewOrderSingle {
    NewOrderSingle {
        msg_seq_num: Seq(number),
        sending_time: Nanos(7),
        cl_ord_id: ClOrdId(key),
        price: 10_000_000_000,
        order_qty: qty,
        security_id: 0,
        account: 1001,
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

fn report(number: u64, index: u64, body: ReportBody) -> Report {
    Report {
        msg_seq_num: Seq(number),
        sending_time: Nanos(index),
        appl_seq_num: Index(index),
        body,
    }
}

fn accepted(order: &NewOrderSingle, index: u64) -> ReportBody {
    ReportBody::New(ExecutionReportNew {
        order_id: OrderId(index),
        cl_ord_id: order.cl_ord_id,
        exec_id: ExecId(index),
        transact_time: Nanos(index),
        price: Px::try_new(order.price),
        order_qty: Qty::try_new(order.order_qty).unwrap(),
        security_id: SecurityId(order.security_id),
        account: Account(order.account),
        side: Side::from_wire(order.side).unwrap(),
        ord_type: OrdType::Limit,
        time_in_force: TimeInForce::Day,
        ord_status: OrdStatus::New,
        poss_resend: false,
        post_only: false,
        sender_sub_id: SenderSubId(0),
        stop_px: None,
        expire_time: None,
    })
}

fn status(key: u64, order_id: u64, ord_status: OrdStatus) -> ReportBody {
    ReportBody::Status(ExecutionReportStatus {
        order_id: OrderId(order_id),
        cl_ord_id: ClOrdId(key),
        exec_id: ExecId(1),
        transact_time: Nanos(1),
        ord_status_req_id: 0,
        price: Px::try_new(10_000_000_000),
        order_qty: Qty::try_new(10).unwrap(),
        leaves_qty: Qty::try_new(10).unwrap(),
        cum_qty: Qty::ZERO,
        security_id: SecurityId(0),
        account: Account(1001),
        side: Side::Buy,
        ord_status,
        poss_resend: true,
        last_rpt_requested: true,
        tot_num_reports: 1,
        ord_type: OrdType::Limit,
        time_in_force: TimeInForce::Day,
        sender_sub_id: SenderSubId(0),
        stop_px: None,
        expire_time: None,
    })
}

fn trade(key: u64, order_id: u64, side: Side, leaves: i64) -> ReportBody {
    let ord_status = if leaves == 0 { OrdStatus::Filled } else { OrdStatus::PartiallyFilled };
    ReportBody::Trade(ExecutionReportTrade {
        order_id: OrderId(order_id),
        cl_ord_id: ClOrdId(key),
        exec_id: ExecId(2),
        transact_time: Nanos(1),
        last_px: Px::try_new(10_000_000_000).unwrap(),
        last_qty: Qty::try_new(4).unwrap(),
        leaves_qty: Qty::try_new(leaves).unwrap(),
        cum_qty: Qty::try_new(4).unwrap(),
        trd_match_id: TrdMatchId(1),
        security_id: SecurityId(0),
        account: Account(1001),
        side,
        ord_status,
        aggressor: side == Side::Sell,
        poss_resend: false,
    })
}

fn refused(key: u64, reason: OrdRejReason, retryable: bool) -> ReportBody {
    ReportBody::Reject(ExecutionReportReject {
        order_id: OrderId(0),
        cl_ord_id: ClOrdId(key),
        exec_id: ExecId(3),
        transact_time: Nanos(1),
        security_id: 0,
        account: 1001,
        ord_rej_reason: reason.wire(),
        ord_status: OrdStatus::Rejected,
        poss_resend: false,
        text: Text::new("refused"),
        retryable,
    })
}

fn canceled(key: u64, orig: u64, order_id: u64) -> ReportBody {
    ReportBody::Canceled(ExecutionReportCanceled {
        order_id: OrderId(order_id),
        cl_ord_id: ClOrdId(key),
        exec_id: ExecId(4),
        transact_time: Nanos(1),
        orig_cl_ord_id: Some(ClOrdId(orig)),
        cum_qty: Qty::ZERO,
        security_id: SecurityId(0),
        account: Account(1001),
        side: Side::Buy,
        ord_status: OrdStatus::Canceled,
        exec_type: ExecType::Canceled,
        exec_restatement_reason: None,
        poss_resend: false,
    })
}

fn cancel_refused(key: u64, orig: u64) -> ReportBody {
    ReportBody::CancelReject(OrderCancelReject {
        order_id: OrderId(0),
        cl_ord_id: ClOrdId(key),
        exec_id: ExecId(5),
        transact_time: Nanos(1),
        orig_cl_ord_id: ClOrdId(orig),
        cxl_rej_reason: CxlRejReason::UnknownOrder.wire(),
        cxl_rej_response_to: CxlRejResponseTo::Cancel,
        ord_status: OrdStatus::Rejected,
        poss_resend: false,
        text: Text::new("unknown order"),
        retryable: false,
    })
}

fn ack(client: usize, next: u64) -> Item {
    Item::Told(SessionMessage::EstablishmentAck {
        session_id: id(client),
        request_timestamp: Nanos(1),
        keepalive_interval: 1000,
        next_seq_no: Seq(next),
        last_incoming_seq_no: Seq(0),
        cancel_on_disconnect_type: 0,
        cod_timeout_window: 0,
    })
}

fn frame(item: &Item) -> (EntryKind, Vec<u8>) {
    let mut out = vec![0; 512];
    let (kind, len) = match item {
        Item::Connected => (EntryKind::Connected, 0),
        Item::Disconnected => (EntryKind::Disconnected, 0),
        Item::Sent(message) => (EntryKind::Sent, encode_client(message, &mut out)),
        Item::Told(message) => (EntryKind::Received, encode_session(message, &mut out).unwrap()),
        Item::Report(report) => (EntryKind::Received, encode_report(report, &mut out)),
    };
    out.truncate(len);
    (kind, out)
}

/// Journal indices of the honest world.
const K1: u64 = 3;
const K1_AGAIN: u64 = 5;
const K9: u64 = 6;
const K3: u64 = 7;
const K4_AGAIN: u64 = 9;
const LAST: u64 = 12;

impl World {
    fn empty() -> Self {
        let mut world = Self { clients: [vec![], vec![]], journal: vec![], damaged: None };
        for client in [A, B] {
            world.put(&RecordBody::SessionOpen {
                session: slot(client),
                id: id(client),
                owner: OwnerIdx(u16::try_from(client).unwrap()),
                key_id: Text::new("firm"),
                timestamp: Nanos(1),
            });
            world.clients[client].extend([Item::Connected, ack(client, 1)]);
        }
        world
    }

    fn put(&mut self, body: &RecordBody<'_>) -> u64 {
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let payload = body.encode(&mut scratch).to_vec();
        self.journal.push((body.source(), body.kind().stored(), payload));
        u64::try_from(self.journal.len()).unwrap()
    }

    /// A request that reached the journal; its index.
    fn send(&mut self, client: usize, message: ClientMessage) -> u64 {
        let item = Item::Sent(message);
        let (_, octets) = frame(&item);
        self.clients[client].push(item);
        self.put(&RecordBody::ClientMessage { session: slot(client), message: &octets[4..] })
    }

    fn order(&mut self, client: usize, order: NewOrderSingle) -> u64 {
        self.send(client, ClientMessage::NewOrder(order))
    }

    fn report(&mut self, client: usize, number: u64, index: u64, body: ReportBody) {
        let report = report(number, index, body);
        self.clients[client].push(Item::Report(report));
    }

    fn honest() -> Self {
        let mut w = Self::empty();
        let k1 = order(1, 1, Side::Buy, 10);
        assert_eq!(w.order(A, k1), K1);
        w.report(A, 1, K1, accepted(&k1, K1));
        let index = w.order(A, order(2, 2, Side::Buy, 7));
        w.report(A, 2, index, refused(2, OrdRejReason::IncorrectQuantity, false));
        let again = NewOrderSingle { msg_seq_num: Seq(3), poss_resend: 1, ..k1 };
        assert_eq!(w.order(A, again), K1_AGAIN);
        w.report(A, 3, K1_AGAIN, status(1, K1, OrdStatus::New));

        let k9 = order(1, 9, Side::Sell, 4);
        assert_eq!(w.order(B, k9), K9);
        w.report(B, 1, K9, accepted(&k9, K9));
        w.report(B, 2, K9, trade(9, K9, Side::Sell, 0));
        w.report(A, 4, K9, trade(1, K1, Side::Buy, 6));

        // Request 4 is lost with the line. Report 4 is replayed; request 4 comes again as 5.
        let lost = order(4, 3, Side::Buy, 8);
        w.clients[A].extend([
            Item::Sent(ClientMessage::NewOrder(lost)),
            Item::Disconnected,
            Item::Connected,
            ack(A, 5),
            Item::Told(SessionMessage::Retransmission {
                session_id: id(A),
                request_timestamp: Nanos(1),
                next_seq_no: Seq(4),
                count: 1,
            }),
        ]);
        w.report(A, 4, K9, trade(1, K1, Side::Buy, 6));
        w.clients[A].push(Item::Told(SessionMessage::Sequence { next_seq_no: Seq(5) }));
        w.report(A, 5, 0, ReportBody::NotApplied { from_seq_no: Seq(4), count: 1 });
        let k3 = NewOrderSingle { msg_seq_num: Seq(5), poss_resend: 1, ..lost };
        assert_eq!(w.order(A, k3), K3);
        w.report(A, 6, K3, accepted(&k3, K3));

        let k4 = order(6, 4, Side::Buy, 3);
        let index = w.order(A, k4);
        w.report(A, 7, index, refused(4, OrdRejReason::ExchangeClosed, true));
        let k4 = NewOrderSingle { msg_seq_num: Seq(7), ..k4 };
        assert_eq!(w.order(A, k4), K4_AGAIN);
        w.report(A, 8, K4_AGAIN, accepted(&k4, K4_AGAIN));

        let index = w.send(
            A,
            ClientMessage::Cancel(OrderCancelRequest {
                msg_seq_num: Seq(8),
                sending_time: Nanos(8),
                cl_ord_id: ClOrdId(100),
                orig_cl_ord_id: ClOrdId(3),
                security_id: 0,
                side: Side::Buy.wire(),
                poss_resend: 0,
                sender_sub_id: 0,
            }),
        );
        w.report(A, 9, index, canceled(100, 3, K3));
        let again = NewOrderSingle { msg_seq_num: Seq(9), ..k3 };
        let index = w.order(A, again);
        w.report(A, 10, index, status(3, K3, OrdStatus::Canceled));
        let k5 = order(10, 5, Side::Buy, 1);
        assert_eq!(w.order(A, k5), LAST);
        w.report(A, 11, LAST, accepted(&k5, LAST));
        w
    }

    /// The reports of A under a number.
    fn numbered(&mut self, number: u64) -> impl Iterator<Item = &mut Report> {
        self.clients[A].iter_mut().filter_map(move |item| match item {
            Item::Report(report) if report.msg_seq_num == Seq(number) => Some(report),
            Item::Report(_)
            | Item::Connected
            | Item::Disconnected
            | Item::Sent(_)
            | Item::Told(_) => None,
        })
    }

    fn forge(&mut self, number: u64, index: u64, body: ReportBody) {
        for told in self.numbered(number) {
            *told = report(number, index, body);
        }
    }

    fn drop_report(&mut self, number: u64) {
        self.clients[A].retain(
            |item| !matches!(item, Item::Report(report) if report.msg_seq_num == Seq(number)),
        );
    }

    fn write(&self, dir: &Path) -> Vec<PathBuf> {
        let options = JournalOptions { lock_memory: false, ..JournalOptions::new(32_768, 1) };
        let mut journal = Journal::create(dir, &options).unwrap();
        let mut damaged_at = None;
        for (place, (source, kind, payload)) in self.journal.iter().enumerate() {
            let index = u64::try_from(place).unwrap() + 1;
            let written = journal.ring.append(index, 1, *kind, 0, *source, payload).unwrap();
            assert_eq!(written.index, index);
            if self.damaged == Some(index) {
                damaged_at = Some(written.position.get());
            }
        }
        journal.close(dir).unwrap();
        if let Some(position) = damaged_at {
            let path = dir.join(segment_file(0));
            let mut octets = fs::read(&path).unwrap();
            octets[usize::try_from(SEGMENT_HEADER_BYTES + position).unwrap() + 50] ^= 1;
            fs::write(&path, octets).unwrap();
        }
        let mut paths = Vec::new();
        for (client, items) in self.clients.iter().enumerate() {
            let path = dir.join(format!("client-{client}.history"));
            let header = Header {
                session_id: id(client),
                key_id: Text::new("firm"),
                seed: 1,
                started: Nanos(1),
            };
            let mut writer = HistoryWriter::create(&path, &header).unwrap();
            for (time, item) in items.iter().enumerate() {
                let (kind, octets) = frame(item);
                let time = Nanos(u64::try_from(time).unwrap());
                writer.append(time, kind, &octets).unwrap();
            }
            writer.flush().unwrap();
            paths.push(path);
        }
        paths
    }

    fn judged(&self) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let paths = self.write(dir.path());
        let ledger = Ledger::read(dir.path()).unwrap();
        judge(&ledger, &paths, Options::default()).unwrap()
    }
}

#[test]
fn the_honest_world_passes() {
    let verdict = World::honest().judged();
    assert_eq!(verdict.violations, []);
    assert!(verdict.holds());
    let figures = verdict.figures;
    assert_eq!(figures.sessions, 2);
    assert_eq!(figures.orders_unique, 6);
    assert_eq!(figures.accepted_unique, 5);
    assert_eq!(figures.refused_unique, 1);
    assert_eq!(figures.refused_for_now_unique, 0);
    assert_eq!(figures.duplicates_answered, 2);
    assert_eq!(figures.replays_compared, 1);
    assert_eq!(figures.not_applied, 1);
    assert_eq!(figures.unresolved, 0);
    assert_eq!(figures.journal_last_index, LAST);
}

/// One row a forgery: its name, the claim that must catch it, the change.
type Row = (&'static str, Claim, fn(&mut World));

const FORGERIES: [Row; 22] = [
    ("a duplicate accepted as a second order", Claim::AcceptedOnce, |w| {
        let again = order(3, 1, Side::Buy, 10);
        w.forge(3, K1_AGAIN, accepted(&again, K1_AGAIN));
    }),
    ("an acceptance that names another's record", Claim::AcceptedOnce, |w| {
        let k3 = order(5, 3, Side::Buy, 8);
        w.forge(6, K1, accepted(&k3, K1));
    }),
    ("an acceptance repeated under a new number", Claim::AcceptedOnce, |w| {
        let k1 = order(1, 1, Side::Buy, 10);
        w.report(A, 12, K1, accepted(&k1, K1));
    }),
    ("a known order accepted as a second one", Claim::AcceptedOnce, |w| {
        w.forge(1, K1, status(1, K1, OrdStatus::New));
        let again = order(3, 1, Side::Buy, 10);
        w.forge(3, K1_AGAIN, accepted(&again, K1_AGAIN));
    }),
    ("an acceptance beyond the journal's end", Claim::NothingMissing, |w| {
        let k5 = order(10, 5, Side::Buy, 1);
        w.forge(11, LAST + 1, accepted(&k5, LAST + 1));
    }),
    ("another content journaled than sent", Claim::NothingMissing, |w| {
        for item in &mut w.clients[A] {
            if let Item::Sent(ClientMessage::NewOrder(m)) = item
                && m.msg_seq_num == Seq(1)
            {
                m.order_qty += 1;
            }
        }
    }),
    ("another content accepted than sent", Claim::NothingMissing, |w| {
        let k5 = order(10, 5, Side::Buy, 2);
        w.forge(11, LAST, accepted(&k5, LAST));
    }),
    ("a journal with a damaged record", Claim::NothingMissing, |w| {
        w.damaged = Some(LAST - 1);
    }),
    ("NotApplied of a request that was applied", Claim::NothingMissing, |w| {
        let body = ReportBody::NotApplied { from_seq_no: Seq(10), count: 1 };
        w.report(A, 12, 0, body);
    }),
    ("a refused cancel at another's record", Claim::NothingMissing, |w| {
        let ReportBody::CancelReject(r) = cancel_refused(100, 3) else { unreachable!() };
        let cxl_rej_reason = CxlRejReason::TooLateToCancel.wire();
        w.forge(9, K9, ReportBody::CancelReject(OrderCancelReject { cxl_rej_reason, ..r }));
        w.forge(10, LAST - 1, status(3, K3, OrdStatus::New));
    }),
    ("a duplicate answered at another's record", Claim::NothingMissing, |w| {
        w.forge(3, K9, status(1, K1, OrdStatus::New));
    }),
    ("a report that never came", Claim::Contiguous, |w| {
        w.drop_report(4);
    }),
    ("a server whose numbers went back", Claim::Contiguous, |w| {
        let at = w.clients[A].iter().rposition(|item| matches!(item, Item::Connected));
        w.clients[A][at.unwrap() + 1] = ack(A, 4);
    }),
    ("a replay with other bytes", Claim::ReplayIdentical, |w| {
        let replayed = w.numbered(4).last().unwrap();
        replayed.body = trade(1, K1, Side::Buy, 5);
    }),
    ("accepted, then refused for good", Claim::FinalStays, |w| {
        w.forge(3, K1_AGAIN, refused(1, OrdRejReason::IncorrectQuantity, false));
    }),
    ("accepted, then refused for now", Claim::FinalStays, |w| {
        w.forge(3, K1_AGAIN, refused(1, OrdRejReason::ExchangeClosed, true));
    }),
    ("known by its status, then refused for good", Claim::FinalStays, |w| {
        w.forge(1, K1, status(1, K1, OrdStatus::New));
        w.forge(3, K1_AGAIN, refused(1, OrdRejReason::IncorrectQuantity, false));
    }),
    ("refused for good, then accepted", Claim::FinalStays, |w| {
        w.forge(7, K4_AGAIN - 1, refused(4, OrdRejReason::UnknownAccount, false));
    }),
    ("accepted, then unknown", Claim::FinalStays, |w| {
        w.forge(9, K4_AGAIN + 1, cancel_refused(100, 3));
        w.forge(10, LAST - 1, status(3, K3, OrdStatus::New));
    }),
    ("canceled, then working again", Claim::FinalStays, |w| {
        w.forge(10, LAST - 1, status(3, K3, OrdStatus::New));
    }),
    ("a first order refused as a duplicate", Claim::Resolved, |w| {
        w.forge(11, LAST, refused(5, OrdRejReason::DuplicateOrder, false));
    }),
    ("a duplicate answered with another order", Claim::Resolved, |w| {
        w.forge(3, K1_AGAIN, status(1, K1_AGAIN, OrdStatus::New));
    }),
];

#[test]
fn each_forgery_is_caught_by_exactly_its_claim() {
    for (name, claim, forge) in FORGERIES {
        let mut world = World::honest();
        forge(&mut world);
        let verdict = world.judged();
        assert!(!verdict.holds(), "{name}: nothing was noticed");
        for other in Claim::ALL {
            let expected = other == claim;
            let violations = &verdict.violations;
            assert_eq!(verdict.count(other) > 0, expected, "{name}: {violations:?}");
        }
        let shown = &verdict.violations[0];
        assert!(!shown.what.is_empty(), "{name}");
    }
}

#[test]
fn an_order_without_an_outcome_is_named_or_allowed() {
    let mut world = World::honest();
    world.drop_report(11);
    let dir = tempfile::tempdir().unwrap();
    let paths = world.write(dir.path());
    let ledger = Ledger::read(dir.path()).unwrap();
    let verdict = judge(&ledger, &paths, Options::default()).unwrap();
    assert_eq!(verdict.count(Claim::Resolved), 1);
    assert_eq!(verdict.violations.len(), 1);
    let shown = &verdict.violations[0];
    assert_eq!((shown.session, shown.number), (Some(id(A)), 10));
    assert!(shown.what.contains("ClOrdID 5") && shown.what.contains("journaled at 12"));
    assert!(shown.offset > 0);
    let allowed = Options { allow_unresolved: true };
    assert!(judge(&ledger, &paths, allowed).unwrap().holds());
}

#[test]
fn another_run_under_the_same_keys_is_answered_with_the_first() {
    // Only B's history and the part of A's after the reconnect are given: what was accepted
    // before is known from the statuses and the journal alone.
    let mut world = World::honest();
    world.clients[A].clear();
    world.clients[A].extend([Item::Connected, ack(A, 1)]);
    let k1 = order(3, 1, Side::Buy, 10);
    let again = NewOrderSingle { poss_resend: 1, ..k1 };
    world.clients[A].push(Item::Sent(ClientMessage::NewOrder(again)));
    world.report(A, 1, K1_AGAIN, status(1, K1, OrdStatus::New));
    let verdict = world.judged();
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.figures.known_unique, 1);
    assert_eq!(verdict.figures.duplicates_answered, 1);
}

/// A power cut took the last order, and the engine said that it may have: the order is still told
/// as lost.
#[test]
fn an_unclean_promotion_is_read_and_excuses_nothing() {
    let promote = |w: &mut World| {
        let prev_epoch = Epoch(1);
        let start = RecordBody::EpochStart { node: 1, incarnation: 2, prev_epoch };
        let from_index = Index(w.put(&start));
        w.put(&RecordBody::UncleanPromotion { from_index });
    };
    let mut kept = World::honest();
    promote(&mut kept);
    assert_eq!(kept.judged().violations, []);
    let mut lost = World::honest();
    lost.journal.pop();
    promote(&mut lost);
    let verdict = lost.judged();
    let [violation] = verdict.violations.as_slice() else { panic!("{:?}", verdict.violations) };
    assert_eq!((violation.session, violation.number), (Some(id(A)), 11));
    assert!(violation.what.contains("ClOrdID 5"), "{violation:?}");
}

/// Runs the command over a world and gives its exit code and its JSON.
fn command(world: &World) -> (Option<i32>, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    world.write(dir.path());
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["verify-history", "--json", "--journal"])
        .args([dir.path(), dir.path()])
        .output()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), json)
}

#[test]
fn the_command_exits_by_its_verdict() {
    let (code, json) = command(&World::honest());
    assert_eq!(code, Some(0), "{json}");
    assert_eq!(json["holds"], true);
    assert_eq!(json["figures"]["accepted_unique"], 5);

    let mut forged = World::honest();
    forged.drop_report(4);
    let (code, json) = command(&forged);
    assert_eq!(code, Some(1));
    let violation = &json["violations"][0];
    assert_eq!(violation["claim"], "contiguous");
    assert_eq!(violation["number"], 4);
    assert!(violation["offset"].as_u64() > Some(0));

    let mut silent = World::honest();
    silent.clients.iter_mut().for_each(Vec::clear);
    let (code, _) = command(&silent);
    assert_eq!(code, Some(2), "a history without a frame is no evidence");

    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["verify-history", "--journal"])
        .args([nothing.path(), nothing.path()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "no evidence, no verdict");
    assert!(!output.stderr.is_empty());
}
