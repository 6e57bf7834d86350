//! The order path as an exchange: log on, send an order that rests, wait for its acceptance.
//!
//! Timed is what a customer waits for: from before the `send` of a NewOrderSingle to the `recv`
//! that brings its ExecutionReportNew. Every order is a limit Day order on one of three
//! instruments, 1 to 32 ticks off the middle on its own side, so nothing ever crosses: one order
//! gives one report, of the sizes the floors move.
//!
//! The book stays between [`RESTING_MIN`] and [`RESTING_MAX`] orders: when it is full the oldest
//! are canceled, outside the timed part. The session is the one a customer would use; inside the
//! timed part only headers and the ClOrdID are looked at, and the session checks numbers and
//! fields of the same bytes before the next order. A report that is missing, out of turn or not
//! an acceptance ends the run.
//!
//! One session for the whole run, established anew for each slice and terminated at its end.

use std::collections::VecDeque;
use std::time::Instant;

use tidegate::client::event::{ClientEvent, ClientIdentity, Party, SessionOptions};
use tidegate::client::session::ClientSession;
use tidegate::limits::FRAME_BYTES_MAX;
use tidegate::session::credentials::Key;
use tidegate::vocabulary::event::ReportBody;
use tidegate::vocabulary::fix::{OrdType, Side, TimeInForce};
use tidegate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest,
};
use tidegate::vocabulary::units::{ClOrdId, Nanos, Px, Seq, SessionId};
use tidegate::wire::frame::{Frame, split};
use tidegate::wire::layout::{HEADER_BYTES, execution_report_new, replication_status, sequence};

use crate::clock;
use crate::error::PerfError;
use crate::exchange::Exchange;
use crate::link::Link;

/// Resting orders at which the oldest are canceled.
const RESTING_MAX: usize = 1024;
/// Resting orders that are left then.
const RESTING_MIN: usize = 512;
/// Cancels on the way at once: their bytes fit any socket buffer, so neither side blocks.
const CANCELS_AT_ONCE: usize = 64;
/// No keep-alive is needed in a slice: its orders are traffic enough.
const KEEPALIVE_MS: u32 = 60_000;
/// The journal of a run is new, so a fixed id was never used before.
const SESSION_ID: SessionId = SessionId(*b"tidegate-perf 01");
/// The engine's demo market: key, accounts, instruments `0..3` with a tick of 0.01.
const KEY: (&str, [u8; 32]) = ("firm-a", [0xa1; 32]);
const ACCOUNTS: [u32; 2] = [1001, 1002];
const INSTRUMENT_COUNT: u64 = 3;
const TICK: i64 = Px::ONE.raw() / 100;
const MIDDLE: i64 = 100 * Px::ONE.raw();
/// Prices on each side of the middle.
const LEVEL_COUNT: u64 = 32;

/// What a cancel has to name.
#[derive(Clone, Copy, Debug)]
struct Resting {
    cl_ord_id: ClOrdId,
    security_id: u32,
    side: Side,
}

/// A customer of the engine. Invariant between two requests: `resting` are the engine's open
/// orders, `unread` is what the session has not seen yet.
pub(crate) struct Orders {
    session: ClientSession,
    /// The session's time counts from here.
    start: Instant,
    outbox: Vec<u8>,
    unread: Vec<u8>,
    resting: VecDeque<Resting>,
    /// Of the last request.
    cl_ord_id: ClOrdId,
    canceled_count: usize,
    is_terminated: bool,
    /// Where the ClOrdID stands in the frame of an ExecutionReportNew.
    cl_ord_id_at: usize,
}

impl Orders {
    /// A customer that has not logged on yet.
    pub(crate) fn new() -> Result<Self, PerfError> {
        let (id, secret) = KEY;
        let key = Key::try_new(id, &secret)
            .map_err(|error| PerfError::unexpected("demo key", "a key", error.to_string()))?;
        let field = execution_report_new::FIELDS.iter().find(|field| field.name == "ClOrdID");
        let field = field.ok_or_else(|| {
            PerfError::unexpected("layout of ExecutionReportNew", "a ClOrdID", "none")
        })?;
        let identity = ClientIdentity { session_id: SESSION_ID, key };
        let options =
            SessionOptions { keepalive_interval: KEEPALIVE_MS, ..SessionOptions::default() };
        Ok(Self {
            session: ClientSession::new(identity, options),
            start: clock::now(),
            outbox: Vec::new(),
            unread: Vec::new(),
            resting: VecDeque::with_capacity(RESTING_MAX + 1),
            cl_ord_id: ClOrdId(0),
            canceled_count: 0,
            is_terminated: false,
            cl_ord_id_at: HEADER_BYTES + field.at,
        })
    }

    /// Sends what there is and hands the session what comes, until `is_done`.
    fn converse(
        &mut self,
        link: &mut Link,
        is_done: impl Fn(&Self) -> bool,
    ) -> Result<(), PerfError> {
        loop {
            link.send(&self.outbox)?;
            self.outbox.clear();
            if is_done(self) {
                return Ok(());
            }
            link.await_answer(|received| {
                let consumed = self.digest(received)?;
                Ok((consumed > 0).then_some(consumed))
            })?;
        }
    }

    /// Hands the whole frames of `received` to the session; how many octets they were.
    fn digest(&mut self, received: &[u8]) -> Result<usize, PerfError> {
        let mut consumed = 0;
        while let Some((frame, octets)) = next_frame(&received[consumed..])? {
            consumed += octets;
            let now = self.now();
            if let Some(event) = self.session.on_frame(now, &frame, &mut self.outbox) {
                self.on_event(event)?;
            }
        }
        Ok(consumed)
    }

    fn on_event(&mut self, event: ClientEvent) -> Result<(), PerfError> {
        match event {
            ClientEvent::Established { .. } | ClientEvent::Live => Ok(()),
            ClientEvent::Report(report) => match report.body {
                ReportBody::New(new) if new.cl_ord_id == self.cl_ord_id => Ok(()),
                ReportBody::Canceled(_) => {
                    self.canceled_count += 1;
                    Ok(())
                }
                ReportBody::New(_)
                | ReportBody::NotApplied { .. }
                | ReportBody::Trade(_)
                | ReportBody::Reject(_)
                | ReportBody::Status(_)
                | ReportBody::CancelReject(_)
                | ReportBody::BusinessReject(_) => {
                    Err(unexpected_report(self.cl_ord_id, format!("{:?}", report.body)))
                }
            },
            ClientEvent::Terminated { by: Party::Client, .. } => {
                self.is_terminated = true;
                Ok(())
            }
            ClientEvent::NotAccepting { .. }
            | ClientEvent::Rejected { .. }
            | ClientEvent::Terminated { by: Party::Server, .. }
            | ClientEvent::Stopped(_) => {
                Err(PerfError::unexpected("session", "to go on", format!("{event:?}")))
            }
        }
    }

    /// Cancels the oldest orders until `count` are left.
    fn cancel_down_to(&mut self, link: &mut Link, count: usize) -> Result<(), PerfError> {
        while self.resting.len() > count {
            let batch = (self.resting.len() - count).min(CANCELS_AT_ONCE);
            let expected = self.canceled_count + batch;
            for order in self.resting.drain(..batch).collect::<Vec<_>>() {
                let mut message = self.next_cancel(order);
                let now = self.now();
                let sent = self.session.on_send(now, &mut message, &mut self.outbox);
                assert!(sent.is_some(), "the session is live inside a slice");
            }
            self.converse(link, |it| it.canceled_count == expected)?;
        }
        Ok(())
    }

    fn next_id(&mut self) -> ClOrdId {
        self.cl_ord_id = ClOrdId(self.cl_ord_id.0 + 1);
        self.cl_ord_id
    }

    fn next_cancel(&mut self, order: Resting) -> ClientMessage {
        ClientMessage::Cancel(OrderCancelRequest {
            msg_seq_num: Seq(0),
            sending_time: Nanos(0),
            cl_ord_id: self.next_id(),
            orig_cl_ord_id: order.cl_ord_id,
            security_id: order.security_id,
            side: order.side.wire(),
            poss_resend: 0,
            sender_sub_id: 0,
        })
    }

    fn now(&self) -> Nanos {
        let since = clock::now().duration_since(self.start).as_nanos();
        Nanos(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

impl Exchange for Orders {
    fn open(&mut self, link: &mut Link) -> Result<(), PerfError> {
        let (now, wall) = (self.now(), Nanos(clock::wall_ns()));
        self.is_terminated = false;
        self.session.on_connected(now, wall, &mut self.outbox);
        self.converse(link, |it| it.session.is_live())
    }

    fn settle(&mut self, link: &mut Link) -> Result<(), PerfError> {
        let mut unread = std::mem::take(&mut self.unread);
        let consumed = self.digest(&unread)?;
        assert_eq!(consumed, unread.len(), "an answer ends with a whole frame");
        unread.clear();
        self.unread = unread;
        if self.resting.len() < RESTING_MAX {
            return Ok(());
        }
        self.cancel_down_to(link, RESTING_MIN)
    }

    fn encode_request(&mut self, index: u64, out: &mut Vec<u8>) {
        let (mut message, resting) = order(self.next_id(), index);
        let now = self.now();
        let sent = self.session.on_send(now, &mut message, out);
        assert!(sent.is_some(), "the session is live inside a slice");
        self.resting.push_back(resting);
    }

    #[inline]
    fn try_complete(&mut self, received: &[u8]) -> Result<Option<usize>, PerfError> {
        let mut consumed = 0;
        while let Some((frame, octets)) = next_frame(&received[consumed..])? {
            let start = consumed;
            consumed += octets;
            match frame.template {
                execution_report_new::TEMPLATE => {
                    let id = received.get(start + self.cl_ord_id_at..consumed);
                    let id = id.and_then(<[u8]>::first_chunk).copied().map(u64::from_le_bytes);
                    if id != Some(self.cl_ord_id.0) {
                        return Err(unexpected_report(self.cl_ord_id, format!("of {id:?}")));
                    }
                    self.unread.extend_from_slice(&received[..consumed]);
                    return Ok(Some(consumed));
                }
                // A keep-alive or a piece of news may come between.
                sequence::TEMPLATE | replication_status::TEMPLATE => {}
                other => {
                    return Err(unexpected_report(self.cl_ord_id, format!("template {other}")));
                }
            }
        }
        Ok(None)
    }

    fn close(&mut self, link: &mut Link) -> Result<(), PerfError> {
        self.settle(link)?;
        self.cancel_down_to(link, 0)?;
        let now = self.now();
        self.session.on_finish(now, &mut self.outbox);
        self.converse(link, |it| it.is_terminated)?;
        let now = self.now();
        self.session.on_disconnected(now);
        Ok(())
    }
}

/// The order of request `index`, and what its cancel will name.
fn order(cl_ord_id: ClOrdId, index: u64) -> (ClientMessage, Resting) {
    // Spread by the golden ratio, so that neighbours fall on different instruments and prices.
    let mut draw = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
    let mut below = |count: u64| {
        let drawn = draw % count;
        draw /= count;
        u32::try_from(drawn).unwrap_or(0)
    };
    let security_id = below(INSTRUMENT_COUNT);
    let side = if below(2) == 0 { Side::Buy } else { Side::Sell };
    let distance = TICK * (1 + i64::from(below(LEVEL_COUNT)));
    let account = if below(2) == 0 { ACCOUNTS[0] } else { ACCOUNTS[1] };
    let message = ClientMessage::NewOrder(NewOrderSingle {
        msg_seq_num: Seq(0),
        sending_time: Nanos(0),
        cl_ord_id,
        price: match side {
            Side::Buy => MIDDLE - distance,
            Side::Sell => MIDDLE + distance,
        },
        order_qty: 1 + i64::from(below(100)),
        security_id,
        account,
        side: side.wire(),
        ord_type: OrdType::Limit.wire(),
        time_in_force: TimeInForce::Day.wire(),
        post_only: 0,
        poss_resend: 0,
        self_match: 0,
        sender_sub_id: 0,
        stop_px: NULL_I64,
        expire_time: NULL_U64,
    });
    (message, Resting { cl_ord_id, security_id, side })
}

#[inline]
fn next_frame(received: &[u8]) -> Result<Option<(Frame<'_>, usize)>, PerfError> {
    split(received, FRAME_BYTES_MAX)
        .map_err(|error| PerfError::unexpected("engine", "a frame", error.to_string()))
}

fn unexpected_report(cl_ord_id: ClOrdId, came: String) -> PerfError {
    let expected = format!("ExecutionReportNew of ClOrdID {cl_ord_id}");
    PerfError::unexpected("answer to an order", expected, came)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::Sizes;
    use crate::idle::Idle;
    use crate::probe::{Probe, SlicePlan};
    use std::collections::BTreeSet;
    use tidegate::config::Config;
    use tidegate::session::auth::{Key as NodeKey, Keys};
    use tidegate::session::report_log::ReportLog;
    use tidegate::shell::activate::{activate, open};
    use tidegate::shell::poll::Sockets;
    use tidegate::shell::rebuild::Rebuild;
    use tidegate::shell::side::SideMessage;
    use tidegate::shell::turn::{Links, Node};
    use tidegate::telemetry::counters::{Counter, Counters};
    use tidegate::wire::encode::encode_client;

    #[test]
    fn orders_have_the_floors_size_and_never_cross() {
        let mut kinds = BTreeSet::new();
        for index in 0..10_000 {
            let (message, resting) = order(ClOrdId(index + 1), index);
            let mut bytes = [0; 256];
            let ClientMessage::NewOrder(new) = message else { panic!("not an order") };
            assert_eq!(encode_client(&message, &mut bytes), Sizes::ORDER_PATH.request_bytes);
            let distance = match resting.side {
                Side::Buy => MIDDLE - new.price,
                Side::Sell => new.price - MIDDLE,
            };
            assert!(distance % TICK == 0 && (1..=32).contains(&(distance / TICK)), "{new:?}");
            assert!((1..=100).contains(&new.order_qty));
            kinds.insert((new.security_id, new.side, distance / TICK));
        }
        assert_eq!(kinds.len(), 3 * 2 * 32, "all instruments, sides and prices are used");
    }

    #[test]
    fn slices_against_the_engine_leave_no_order_and_lose_no_report() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::demo().with_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        config.local.data_dir = directory.path().join("journal");
        config.local.hot_dir = directory.path().to_owned();
        config.local.journal_ring_bytes = 4 << 20;
        config.local.report_ring_bytes = 4 << 20;
        config.logical.capacities.key_count_max = 1 << 14;
        let local = &config.local;
        let keys = local.keys.iter().map(|key| {
            NodeKey::new(&key.id, key.owner, key.secret.octets(), key.not_after).unwrap()
        });
        let keys = Keys::new(keys.collect()).unwrap();
        let mut log = ReportLog::heap(4 << 20, config.logical.capacities.session_count_max);
        let (activated, _disk) =
            activate(&config, open(&config).unwrap(), &mut Rebuild::new(&mut log)).unwrap();
        let sockets = Sockets::listen(local.listen).unwrap();
        let address = sockets.local_addr().unwrap();
        let (side, side_of_node) = crossbeam_channel::bounded(8);
        let (notices, _notices) = crossbeam_channel::bounded(8);
        let counters = Counters::new();
        let links = Links { side: side_of_node, notices, counters: counters.clone() };
        let node = Node::new(&config, activated, log, keys, sockets, links);
        let node = std::thread::spawn(move || node.run().map(|it| it.machine.trade_count()));

        let mut probe = Probe::new(Box::new(Orders::new().unwrap()));
        // More than RESTING_MAX, so that orders are canceled inside a slice as well.
        let plan = SlicePlan { warm_up_count: 100, order_count: 1_500, idle: Idle::Yield };
        for slice_count in 1..=2 {
            assert_eq!(probe.measure(address, plan).unwrap().count, 1_500);
            assert_eq!(probe.histogram().len(), 1_500 * slice_count);
        }
        side.send(SideMessage::Shutdown).unwrap();
        assert_eq!(node.join().unwrap().unwrap(), 0, "nothing crossed");
        assert_eq!(counters.get(Counter::OpenOrders), 0);
        assert_eq!(counters.get(Counter::Logons), 2);
        assert_eq!(counters.get(Counter::Messages), 2 * 2 * 1_600, "an order and its cancel");
    }

    #[test]
    fn only_the_acceptance_of_the_order_completes_it() {
        let frame = |template: u16, block_bytes: usize, cl_ord_id: u64| {
            let mut bytes = vec![0; HEADER_BYTES + block_bytes];
            let length = u16::try_from(bytes.len()).unwrap();
            let block = u16::try_from(block_bytes).unwrap();
            for (place, value) in [length, 0xeb50, block, template, 4001, 2].into_iter().enumerate()
            {
                bytes[2 * place..2 * place + 2].copy_from_slice(&value.to_le_bytes());
            }
            if block_bytes >= 40 {
                bytes[HEADER_BYTES + 32..HEADER_BYTES + 40]
                    .copy_from_slice(&cl_ord_id.to_le_bytes());
            }
            bytes
        };
        let new = |id| frame(execution_report_new::TEMPLATE, execution_report_new::BLOCK, id);
        assert_eq!(new(1).len(), Sizes::ORDER_PATH.reply_bytes);
        let news = frame(sequence::TEMPLATE, sequence::BLOCK, 0);
        let check = |received: &[&[u8]], expected: Option<Option<usize>>| {
            let mut orders = Orders::new().unwrap();
            orders.cl_ord_id = ClOrdId(7);
            let found = orders.try_complete(&received.concat()).ok();
            assert_eq!(found, expected);
            assert_eq!(orders.unread.len(), found.flatten().unwrap_or(0));
        };
        check(&[], Some(None));
        check(&[&new(7)[..115]], Some(None));
        check(&[&new(7)], Some(Some(116)));
        check(&[&news], Some(None));
        check(&[&news, &new(7)], Some(Some(20 + 116)));
        check(&[&new(7), &news], Some(Some(116)));
        check(&[&new(6)], None);
        check(&[&frame(204, 60, 7)], None);
        check(&[&frame(14, 17, 0)], None);
        check(&[b"HTTP/1.1 400"], None);
    }
}
