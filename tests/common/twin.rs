//! The slow twin of the whole machine, from the words of the contract.
//!
//! One list of keys in order of arrival is all there is: an open order is a key whose order has not
//! ended, and the book is whatever of the list is open. Every look-up reads the list. Nothing is
//! taken from the engine but the words of its messages and the texts of its refusals.

#![allow(clippy::expect_used, reason = "the twin is only given records that can be")]

use tidegate::engine::refusals::{CancelRefusal, Refusal};
use tidegate::vocabulary::event::{
    BusinessMessageReject, ExecutionReportCanceled, ExecutionReportNew, ExecutionReportReject,
    ExecutionReportStatus, ExecutionReportTrade, OrderCancelReject, Report, ReportBody,
};
use tidegate::vocabulary::fix::{
    CxlRejResponseTo, ExecType, MarketPhase, OrdStatus, OrdType, RestatementReason, Side,
    TimeInForce,
};
use tidegate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
};
use tidegate::vocabulary::record::{DownCause, Record, RecordBody};
use tidegate::vocabulary::settings::{Capacities, Instrument, Setting};
use tidegate::vocabulary::units::{
    Account, ClOrdId, ExecId, Index, Nanos, OrderId, Px, Qty, SecurityId, SenderSubId, Seq,
    SessionIdx, Text, TrdMatchId,
};
use tidegate::wire::decode::decode_client_message;

/// Reports with the session they go to. A NotApplied has no time on the wire: 0.
pub(crate) type Told = Vec<(SessionIdx, Report)>;

const DAY: u64 = 24 * 3_600 * 1_000_000_000;

pub(crate) struct Twin {
    capacities: Capacities,
    index: u64,
    time: u64,
    active: u64,
    exec_count: u64,
    trade_count: u64,
    sessions: Vec<Option<Session>>,
    instruments: Vec<Instrument>,
    phases: Vec<Option<MarketPhase>>,
    whole: Option<MarketPhase>,
    orders_max: Vec<u32>,
    accounts: Vec<(u32, u16)>,
    keys: Vec<Key>,
    told: Told,
}

struct Session {
    owner: u16,
    expected: u64,
    next_out: u64,
    is_bound: bool,
    /// CancelOnDisconnectType and window in nanoseconds.
    cod: (u8, u64),
    /// When its orders are to be cancelled, and the reason.
    cancel: Option<(u64, RestatementReason)>,
    /// 0 it trades, 1 it is finishing, 2 it is final.
    stage: u8,
    /// Active time at which it is forgotten.
    forgotten_at: Option<u64>,
}

struct Key {
    owner: u16,
    id: u64,
    /// The request without number, time and PossResend.
    asked: NewOrderSingle,
    arrival: u64,
    fate: Fate,
}

enum Fate {
    Order(Order),
    Refused { refusal: Refusal, time: u64 },
}

#[derive(Clone, Copy)]
struct Order {
    id: u64,
    session: u32,
    cum: i64,
    last_event: u64,
    ended: Option<OrdStatus>,
    closing: u64,
}

impl Twin {
    pub(crate) fn new(capacities: Capacities) -> Self {
        Self {
            capacities,
            index: 0,
            time: 0,
            active: 0,
            exec_count: 0,
            trade_count: 0,
            sessions: (0..capacities.session_count_max).map(|_| None).collect(),
            instruments: Vec::new(),
            phases: Vec::new(),
            whole: None,
            orders_max: Vec::new(),
            accounts: Vec::new(),
            keys: Vec::new(),
            told: Vec::new(),
        }
    }

    /// What the record says; the twin is only given records that can be.
    pub(crate) fn apply(&mut self, record: &Record<'_>) -> Told {
        if !matches!(record.body, RecordBody::EpochStart { .. }) {
            self.active += record.time.0 - self.time;
        }
        (self.index, self.time) = (record.index.0, record.time.0);
        self.expire(2);
        match record.body {
            RecordBody::ClientMessage { session, message } => self.message(session.0, message),
            RecordBody::SessionOpen { session, owner, .. } => {
                self.sessions[session.0 as usize] = Some(Session {
                    owner: owner.0,
                    expected: 1,
                    next_out: 1,
                    is_bound: false,
                    cod: (0, 0),
                    cancel: None,
                    stage: 0,
                    forgotten_at: Some(self.active + 7 * DAY),
                });
            }
            RecordBody::SessionBind { session, next_seq_no, cod_type, cod_window, .. } => {
                let s = self.session(session.0);
                (s.is_bound, s.stage, s.cancel, s.forgotten_at) = (true, 0, None, None);
                s.cod = (cod_type.wire(), u64::from(cod_window) * 1_000_000);
                self.gap(session.0, next_seq_no.map_or(0, |next| next.0));
            }
            RecordBody::SessionGap { session, next_seq_no } => self.gap(session.0, next_seq_no.0),
            RecordBody::SessionDown { session, cause } => {
                self.down(session.0, cause == DownCause::Terminate, 0);
            }
            RecordBody::SessionFinishing { session, next_seq_no } => {
                self.gap(session.0, next_seq_no.0);
                self.session(session.0).stage = 1;
                self.cancel_all(session.0, RestatementReason::CancelOnLogout);
            }
            RecordBody::SessionFinal { session } => {
                let forgotten_at = Some(self.active + DAY);
                let s = self.session(session.0);
                (s.is_bound, s.stage, s.forgotten_at) = (false, 2, forgotten_at);
            }
            RecordBody::Tick => {
                self.expire(1_024);
                self.fire();
            }
            RecordBody::Admin { security_id: None, phase, .. } => self.whole = Some(phase),
            RecordBody::Admin { security_id: Some(id), phase, .. } => {
                self.phases[id.0 as usize] = Some(phase);
            }
            RecordBody::Config(setting) => self.setting(setting),
            RecordBody::EpochStart { .. } => {
                for at in 0..self.capacities.session_count_max {
                    let Some(s) = &mut self.sessions[at as usize] else { continue };
                    let earliest = self.time + 2_000_000_000;
                    if s.is_bound {
                        self.down(at, false, 2_000_000_000);
                    } else if let Some((due, _)) = &mut s.cancel {
                        *due = earliest.max(*due);
                    }
                }
            }
            RecordBody::StateHash { .. } | RecordBody::Pad => {}
        }
        std::mem::take(&mut self.told)
    }

    /// Time until the oldest key may be forgotten, if there is one.
    pub(crate) fn first_key_due(&self) -> Option<u64> {
        let oldest = self.keys.first()?;
        Some((oldest.arrival + self.capacities.key_retention.0).saturating_sub(self.active))
    }

    /// Time until something is due for a session, if there is one; not below 0.
    pub(crate) fn first_session_due(&self) -> Option<u64> {
        self.timers().map(|(late, ..)| u64::try_from(-late).unwrap_or(0)).min()
    }

    /// Slots of sessions that are not free.
    pub(crate) fn session_slots(&self) -> Vec<u32> {
        (0..).zip(&self.sessions).filter(|(_, s)| s.is_some()).map(|(at, _)| at).collect()
    }

    /// Every timer: how late it is, its kind, its session.
    fn timers(&self) -> impl Iterator<Item = (i128, u8, u32)> {
        let (time, active) = (i128::from(self.time), i128::from(self.active));
        (0..).zip(&self.sessions).filter_map(|(at, s)| Some((at, s.as_ref()?))).flat_map(
            move |(at, s)| {
                let cancel = s.cancel.map(|(due, _)| (time - i128::from(due), 0, at));
                let forget = s.forgotten_at.map(|due| (active - i128::from(due), 1, at));
                cancel.into_iter().chain(forget)
            },
        )
    }

    /// The latest first; ties by kind, then by session. At most 1,024, and none once 4,096 orders
    /// were cancelled.
    fn fire(&mut self) {
        let mut cancelled = 0;
        for _ in 0..1_024 {
            let due = self.timers().filter(|(late, ..)| *late >= 0);
            let next = due.min_by_key(|(late, kind, at)| (-late, *kind, *at));
            let Some((_, kind, at)) = next.filter(|_| cancelled < 4_096) else { return };
            if kind == 0 {
                let (_, reason) = self.session(at).cancel.take().expect("it is due");
                cancelled += self.cancel_all(at, reason);
            } else if self.keys.iter().any(|key| key.open().is_some_and(|o| o.session == at)) {
                self.session(at).forgotten_at = Some(self.active + 7 * DAY);
            } else {
                self.sessions[at as usize] = None;
            }
        }
    }

    fn down(&mut self, at: u32, is_terminate: bool, grace: u64) {
        let (time, active) = (self.time, self.active);
        let s = self.session(at);
        s.is_bound = false;
        s.forgotten_at = Some(active + 7 * DAY);
        let (cod_type, window) = s.cod;
        let cancels = match cod_type {
            1 => !is_terminate,
            2 => is_terminate,
            3 => true,
            _ => false,
        };
        if cancels {
            let reason = if is_terminate || s.stage == 1 {
                RestatementReason::CancelOnLogout
            } else {
                RestatementReason::CancelOnConnectionLoss
            };
            s.cancel = Some((time + window.max(grace), reason));
        }
    }

    /// Cancels all open orders of a session in the order of their ids.
    fn cancel_all(&mut self, session: u32, reason: RestatementReason) -> usize {
        let of_it = |key: &&Key| key.open().is_some_and(|order| order.session == session);
        let mut ids: Vec<u64> =
            self.keys.iter().filter(of_it).filter_map(Key::open).map(|order| order.id).collect();
        ids.sort_unstable();
        for id in &ids {
            let is_it = |key: &Key| key.open().is_some_and(|order| order.id == *id);
            let at = self.keys.iter().position(is_it).expect("it is open");
            let asked = self.keys[at].asked;
            let mut order = self.keys[at].open().expect("it is open");
            order.ended = Some(OrdStatus::Canceled);
            order.last_event = self.time;
            self.keys[at].fate = Fate::Order(order);
            self.canceled(session, &asked, &order, (asked.cl_ord_id, None), Some(reason));
        }
        ids.len()
    }

    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn open_count(&self) -> usize {
        self.keys.iter().filter(|key| key.open().is_some()).count()
    }

    pub(crate) fn trade_count(&self) -> u64 {
        self.trade_count
    }

    /// What is left of all open orders of one side of one instrument.
    pub(crate) fn resting(&self, security: u32, side: u8) -> i64 {
        let of_side = |key: &&Key| key.asked.security_id == security && key.asked.side == side;
        let leaves = |key: &Key| key.open().map_or(0, |order| key.asked.order_qty - order.cum);
        self.keys.iter().filter(of_side).map(leaves).sum()
    }

    fn setting(&mut self, setting: Setting) {
        match setting {
            Setting::Capacities(_) => {}
            Setting::Instrument(i) => {
                let at = i.security_id.0 as usize;
                if at == self.instruments.len() {
                    self.instruments.push(i);
                    self.phases.push(None);
                } else {
                    self.instruments[at] = i;
                }
            }
            Setting::Owner(o) => {
                let at = usize::from(o.owner.0);
                self.orders_max.resize(self.orders_max.len().max(at + 1), 0);
                self.orders_max[at] = o.orders_max;
            }
            Setting::Account(a) => self.accounts.push((a.account.0, a.owner.0)),
        }
    }

    /// Looks at the oldest keys whose time is over: forgotten, unless the order is open.
    fn expire(&mut self, count: usize) {
        for _ in 0..count {
            let retention = self.capacities.key_retention.0;
            if self.keys.first().is_none_or(|key| self.active - key.arrival < retention) {
                return;
            }
            let mut oldest = self.keys.remove(0);
            if oldest.open().is_some() {
                oldest.arrival = self.active;
                self.keys.push(oldest);
            }
        }
    }

    fn session(&mut self, session: u32) -> &mut Session {
        self.sessions[session as usize].as_mut().expect("the session was opened")
    }

    /// The client's next number is `next`: what lies between never arrived.
    fn gap(&mut self, session: u32, next: u64) {
        let expected = self.session(session).expected;
        if next > expected {
            self.session(session).expected = next;
            let count = u32::try_from(next - expected).expect("at most a million");
            self.tell(session, ReportBody::NotApplied { from_seq_no: Seq(expected), count });
        }
    }

    fn message(&mut self, session: u32, sbe: &[u8]) {
        let message = decode_client_message(sbe).expect("the journal has what was admitted");
        let number = message.msg_seq_num().0;
        self.gap(session, number);
        self.session(session).expected = number + 1;
        let owner = self.session(session).owner;
        match message {
            ClientMessage::NewOrder(m) => self.new_order(session, owner, &m),
            ClientMessage::Cancel(m) => self.cancel(session, owner, &m),
            ClientMessage::Status(m) => self.status_request(session, owner, &m),
        }
    }

    fn new_order(&mut self, session: u32, owner: u16, m: &NewOrderSingle) {
        let asked =
            NewOrderSingle { msg_seq_num: Seq(0), sending_time: Nanos(0), poss_resend: 0, ..*m };
        let id = m.cl_ord_id.0;
        if id == 0 || id == NULL_U64 {
            return self.reject(session, m, Refusal::NoKey, None);
        }
        if let Some(at) = self.find(owner, id) {
            if self.keys[at].asked != asked {
                return self.reject(session, m, Refusal::DuplicateOrder, None);
            }
            match self.keys[at].fate {
                Fate::Refused { refusal, time } => {
                    self.reject(session, m, refusal, Some(time));
                }
                Fate::Order(mut order) => {
                    let is_orphan = order.ended.is_none() && !self.session(order.session).is_bound;
                    if m.poss_resend == 1 && is_orphan {
                        order.session = session;
                        self.keys[at].fate = Fate::Order(order);
                    }
                    self.status(session, id, at, 0);
                }
            }
            return;
        }
        let is_full = self.keys.len() == self.capacities.key_count_max as usize;
        let order_room = self.open_count() < self.capacities.order_count_max as usize;
        let fault = match self.first_fault(owner, m) {
            // What cannot be kept cannot be final.
            Some(fault) if is_full && !is_retryable(fault) => Some(Refusal::Capacity),
            None if is_full || !order_room => Some(Refusal::Capacity),
            other => other,
        };
        let arrival = self.active;
        if let Some(refusal) = fault {
            if !is_retryable(refusal) {
                let fate = Fate::Refused { refusal, time: self.time };
                self.keys.push(Key { owner, id, asked, arrival, fate });
            }
            return self.reject(session, m, refusal, None);
        }
        let (time, order_id) = (self.time, self.index);
        let order =
            Order { id: order_id, session, cum: 0, last_event: time, ended: None, closing: 0 };
        self.keys.push(Key { owner, id, asked, arrival, fate: Fate::Order(order) });
        let accepted = ExecutionReportNew {
            order_id: OrderId(order_id),
            cl_ord_id: m.cl_ord_id,
            exec_id: self.exec_id(),
            transact_time: Nanos(time),
            price: Some(px(m.price)),
            order_qty: qty(m.order_qty),
            security_id: SecurityId(m.security_id),
            account: Account(m.account),
            side: side(m.side),
            ord_type: OrdType::Limit,
            time_in_force: time_in_force(m.time_in_force),
            ord_status: OrdStatus::New,
            poss_resend: false,
            post_only: false,
            sender_sub_id: SenderSubId(m.sender_sub_id),
            stop_px: None,
            expire_time: None,
        };
        self.tell(session, ReportBody::New(accepted));
        self.trade(self.keys.len() - 1);
    }

    /// Trades the incoming order at the best price, first come first, until nothing reaches.
    fn trade(&mut self, incoming: usize) {
        loop {
            let asked = self.keys[incoming].asked;
            let Some(order) = self.keys[incoming].open() else { return };
            let is_buy = asked.side == b'1';
            let maker = (0..self.keys.len())
                .filter_map(|at| Some((at, self.keys[at].open()?)))
                .filter(|&(at, _)| {
                    let other = &self.keys[at].asked;
                    let reaches = if is_buy {
                        other.price <= asked.price
                    } else {
                        other.price >= asked.price
                    };
                    other.security_id == asked.security_id && other.side != asked.side && reaches
                })
                .min_by_key(|&(at, maker)| {
                    let price = self.keys[at].asked.price;
                    (if is_buy { price } else { -price }, maker.id)
                });
            let Some((maker, resting)) = maker else { return };
            let open = self.keys[maker].asked.order_qty - resting.cum;
            let traded = open.min(asked.order_qty - order.cum);
            self.trade_count += 1;
            let last_px = self.keys[maker].asked.price;
            self.fill(incoming, traded, last_px, true);
            self.fill(maker, traded, last_px, false);
        }
    }

    fn fill(&mut self, at: usize, traded: i64, last_px: i64, aggressor: bool) {
        let (time, asked) = (self.time, self.keys[at].asked);
        let mut order = self.keys[at].open().expect("only open orders trade");
        order.cum += traded;
        order.last_event = time;
        if order.cum == asked.order_qty {
            order.ended = Some(OrdStatus::Filled);
        }
        self.keys[at].fate = Fate::Order(order);
        let body = ExecutionReportTrade {
            order_id: OrderId(order.id),
            cl_ord_id: asked.cl_ord_id,
            exec_id: self.exec_id(),
            transact_time: Nanos(time),
            last_px: px(last_px),
            last_qty: qty(traded),
            leaves_qty: qty(asked.order_qty - order.cum),
            cum_qty: qty(order.cum),
            trd_match_id: TrdMatchId(self.trade_count),
            security_id: SecurityId(asked.security_id),
            account: Account(asked.account),
            side: side(asked.side),
            ord_status: order.status(),
            aggressor,
            poss_resend: false,
        };
        self.tell(order.session, ReportBody::Trade(body));
    }

    fn cancel(&mut self, session: u32, owner: u16, m: &OrderCancelRequest) {
        let id = m.cl_ord_id.0;
        if id == 0 || id == NULL_U64 {
            return self.cancel_reject(session, m, CancelRefusal::NoKey, None);
        }
        let target = self.find(owner, m.orig_cl_ord_id.0);
        let order = target.and_then(|at| match self.keys[at].fate {
            Fate::Order(order) => Some((at, order)),
            Fate::Refused { .. } => None,
        });
        if let Some((at, order)) = order
            && order.ended.is_some()
            && order.closing == id
        {
            return self.status(session, id, at, 0);
        }
        if self.find(owner, id).is_some() {
            return self.cancel_reject(session, m, CancelRefusal::DuplicateClOrdId, None);
        }
        if !matches!(m.side, b'1' | b'2') || m.poss_resend > 1 {
            return self.cancel_reject(session, m, CancelRefusal::BadCode, None);
        }
        let Some((at, mut order)) = order else {
            return self.cancel_reject(session, m, CancelRefusal::UnknownOrder, None);
        };
        let asked = self.keys[at].asked;
        if asked.security_id != m.security_id || asked.side != m.side {
            return self.cancel_reject(session, m, CancelRefusal::WrongOrder, None);
        }
        if order.ended.is_some() {
            return self.cancel_reject(session, m, CancelRefusal::TooLate, Some(order));
        }
        if self.phase(asked.security_id) == MarketPhase::Closed {
            return self.cancel_reject(session, m, CancelRefusal::MarketClosed, Some(order));
        }
        let home = order.session;
        order.ended = Some(OrdStatus::Canceled);
        order.closing = id;
        order.last_event = self.time;
        self.keys[at].fate = Fate::Order(order);
        self.canceled(session, &asked, &order, (m.cl_ord_id, Some(m.orig_cl_ord_id)), None);
        if home != session {
            self.canceled(home, &asked, &order, (asked.cl_ord_id, None), None);
        }
    }

    fn canceled(
        &mut self,
        session: u32,
        asked: &NewOrderSingle,
        order: &Order,
        (cl_ord_id, orig_cl_ord_id): (ClOrdId, Option<ClOrdId>),
        reason: Option<RestatementReason>,
    ) {
        let body = ExecutionReportCanceled {
            order_id: OrderId(order.id),
            cl_ord_id,
            exec_id: self.exec_id(),
            transact_time: Nanos(self.time),
            orig_cl_ord_id,
            cum_qty: qty(order.cum),
            security_id: SecurityId(asked.security_id),
            account: Account(asked.account),
            side: side(asked.side),
            ord_status: OrdStatus::Canceled,
            exec_type: ExecType::Canceled,
            exec_restatement_reason: reason,
            poss_resend: false,
        };
        self.tell(session, ReportBody::Canceled(body));
    }

    fn status_request(&mut self, session: u32, owner: u16, m: &OrderStatusRequest) {
        let id = m.ord_status_req_id;
        let known = self.find(owner, m.cl_ord_id.0);
        let refused = |reason, text| BusinessMessageReject {
            ref_seq_num: m.msg_seq_num,
            business_reject_ref_id: id,
            business_reject_reason: reason,
            ref_template_id: 104,
            text: Text::new(text),
            retryable: false,
        };
        if id == 0 || id == NULL_U64 {
            let body = refused(5, "OrdStatusReqID is 0 or null");
            return self.tell(session, ReportBody::BusinessReject(body));
        }
        let Some(at) = known else {
            return self.tell(session, ReportBody::BusinessReject(refused(1, "unknown order")));
        };
        match self.keys[at].fate {
            Fate::Refused { refusal, time } => {
                let asked = self.keys[at].asked;
                self.reject(session, &asked, refusal, Some(time));
            }
            Fate::Order(_) => self.status(session, m.cl_ord_id.0, at, id),
        }
    }

    fn status(&mut self, session: u32, asked_with: u64, at: usize, request: u64) {
        let asked = self.keys[at].asked;
        let Fate::Order(order) = self.keys[at].fate else { panic!("a refusal has no state") };
        let leaves = if order.ended.is_some() { 0 } else { asked.order_qty - order.cum };
        let body = ExecutionReportStatus {
            order_id: OrderId(order.id),
            cl_ord_id: ClOrdId(asked_with),
            exec_id: self.exec_id(),
            transact_time: Nanos(order.last_event),
            ord_status_req_id: request,
            price: Some(px(asked.price)),
            order_qty: qty(asked.order_qty),
            leaves_qty: qty(leaves),
            cum_qty: qty(order.cum),
            security_id: SecurityId(asked.security_id),
            account: Account(asked.account),
            side: side(asked.side),
            ord_status: order.status(),
            poss_resend: request == 0,
            last_rpt_requested: true,
            tot_num_reports: 1,
            ord_type: OrdType::Limit,
            time_in_force: time_in_force(asked.time_in_force),
            sender_sub_id: SenderSubId(asked.sender_sub_id),
            stop_px: None,
            expire_time: None,
        };
        self.tell(session, ReportBody::Status(body));
    }

    /// A 204; `again` is the time of the first refusal when this repeats it.
    fn reject(&mut self, session: u32, m: &NewOrderSingle, refusal: Refusal, again: Option<u64>) {
        let body = ExecutionReportReject {
            order_id: OrderId(0),
            cl_ord_id: m.cl_ord_id,
            exec_id: self.exec_id(),
            transact_time: Nanos(again.unwrap_or(self.time)),
            security_id: m.security_id,
            account: m.account,
            ord_rej_reason: reason(refusal),
            ord_status: OrdStatus::Rejected,
            poss_resend: again.is_some(),
            text: Text::new(refusal.row().text),
            retryable: is_retryable(refusal),
        };
        self.tell(session, ReportBody::Reject(body));
    }

    fn cancel_reject(
        &mut self,
        session: u32,
        m: &OrderCancelRequest,
        refusal: CancelRefusal,
        order: Option<Order>,
    ) {
        let body = OrderCancelReject {
            order_id: OrderId(order.map_or(0, |order| order.id)),
            cl_ord_id: m.cl_ord_id,
            exec_id: self.exec_id(),
            transact_time: Nanos(self.time),
            orig_cl_ord_id: m.orig_cl_ord_id,
            cxl_rej_reason: match refusal {
                CancelRefusal::UnknownOrder | CancelRefusal::WrongOrder => 1,
                CancelRefusal::TooLate => 0,
                CancelRefusal::DuplicateClOrdId => 6,
                CancelRefusal::NoKey | CancelRefusal::BadCode | CancelRefusal::MarketClosed => 99,
            },
            cxl_rej_response_to: CxlRejResponseTo::Cancel,
            ord_status: order.map_or(OrdStatus::Rejected, |order| order.status()),
            poss_resend: false,
            text: Text::new(refusal.row().text),
            retryable: refusal == CancelRefusal::MarketClosed,
        };
        self.tell(session, ReportBody::CancelReject(body));
    }

    /// Ruling F19's first failing check.
    fn first_fault(&self, owner: u16, m: &NewOrderSingle) -> Option<Refusal> {
        let is_stop = matches!(m.ord_type, b'3' | b'4');
        let is_gtd = m.time_in_force == b'6';
        let instrument = self.instruments.get(m.security_id as usize);
        let open = self.keys.iter().filter(|key| key.owner == owner && key.open().is_some());
        let faults = [
            (
                !matches!(m.side, b'1' | b'2')
                    || !matches!(m.ord_type, b'1'..=b'4')
                    || !matches!(m.time_in_force, b'0' | b'1' | b'3' | b'4' | b'6')
                    || m.post_only > 1
                    || m.poss_resend > 1
                    || m.self_match > 4,
                Refusal::BadCode,
            ),
            (
                (m.stop_px != NULL_I64) != is_stop || (m.expire_time != NULL_U64) != is_gtd,
                Refusal::BadField,
            ),
            (
                m.ord_type != b'2'
                    || !matches!(m.time_in_force, b'0' | b'1')
                    || m.post_only == 1
                    || m.self_match != 0,
                Refusal::NotOffered,
            ),
            (instrument.is_none(), Refusal::UnknownSecurity),
            (!self.accounts.contains(&(m.account, owner)), Refusal::UnknownAccount),
            (
                !(1..=1 << 40).contains(&m.order_qty)
                    || instrument.is_some_and(|i| m.order_qty % i.lot.raw() != 0),
                Refusal::BadQuantity,
            ),
            (!(-(1 << 60)..=1 << 60).contains(&m.price), Refusal::BadPrice),
            (instrument.is_some_and(|i| m.price % i.tick.raw() != 0), Refusal::BadTick),
            (
                instrument
                    .is_some_and(|i| m.price < i.low_limit.raw() || m.price > i.high_limit.raw()),
                Refusal::OutsideBand,
            ),
            (open.count() >= self.orders_max[usize::from(owner)] as usize, Refusal::OpenOrders),
            (self.phase(m.security_id) != MarketPhase::Trading, Refusal::MarketPhase),
        ];
        let first = faults.iter().find(|(is_fault, _)| *is_fault);
        first.map(|&(_, refusal)| refusal)
    }

    /// The stricter of the instrument's phase and the whole market's; pre-open until one is set.
    fn phase(&self, security: u32) -> MarketPhase {
        use MarketPhase::{Closed, PreOpen, Suspended, Trading};
        let own = self.phases.get(security as usize).copied().flatten().unwrap_or(PreOpen);
        let both = [own, self.whole.unwrap_or(Trading)];
        *[Closed, Suspended, PreOpen].iter().find(|p| both.contains(p)).unwrap_or(&Trading)
    }

    fn find(&self, owner: u16, id: u64) -> Option<usize> {
        self.keys.iter().position(|key| (key.owner, key.id) == (owner, id))
    }

    fn exec_id(&mut self) -> ExecId {
        self.exec_count += 1;
        ExecId(self.exec_count)
    }

    fn tell(&mut self, session: u32, body: ReportBody) {
        let msg_seq_num = Seq(self.session(session).next_out);
        self.session(session).next_out += 1;
        let is_numbered = !matches!(body, ReportBody::NotApplied { .. });
        let sending_time = Nanos(if is_numbered { self.time } else { 0 });
        let appl_seq_num = Index(self.index);
        let report = Report { msg_seq_num, sending_time, appl_seq_num, body };
        self.told.push((SessionIdx(session), report));
    }
}

impl Key {
    fn open(&self) -> Option<Order> {
        match self.fate {
            Fate::Order(order) if order.ended.is_none() => Some(order),
            Fate::Order(_) | Fate::Refused { .. } => None,
        }
    }
}

impl Order {
    fn status(&self) -> OrdStatus {
        let open = if self.cum == 0 { OrdStatus::New } else { OrdStatus::PartiallyFilled };
        self.ended.unwrap_or(open)
    }
}

/// Ruling F19: OrdRejReason.
fn reason(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::NoKey | Refusal::BadPrice | Refusal::Capacity => 99,
        Refusal::DuplicateOrder => 6,
        Refusal::BadCode | Refusal::BadField | Refusal::NotOffered => 11,
        Refusal::UnknownSecurity => 1,
        Refusal::UnknownAccount => 15,
        Refusal::BadQuantity => 13,
        Refusal::BadTick => 18,
        Refusal::OutsideBand => 16,
        Refusal::OpenOrders => 3,
        Refusal::MarketPhase => 2,
    }
}

/// Ruling F19: R.
fn is_retryable(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::OpenOrders | Refusal::MarketPhase | Refusal::Capacity)
}

fn px(raw: i64) -> Px {
    Px::try_new(raw).expect("checked before")
}

fn qty(raw: i64) -> Qty {
    Qty::try_new(raw).expect("checked before")
}

fn side(code: u8) -> Side {
    Side::from_wire(code).expect("checked before")
}

fn time_in_force(code: u8) -> TimeInForce {
    TimeInForce::from_wire(code).expect("checked before")
}
