//! What one report says, held against the ledger and against what was said before.

use super::court::{Court, Session};
use super::keys::Witness;
use super::ledger::Journaled;
use super::verdict::Claim;
use crate::limits::SEQ_JUMP_MAX;
use crate::vocabulary::event::{
    BusinessMessageReject, ExecutionReportCanceled, ExecutionReportNew, ExecutionReportReject,
    ExecutionReportStatus, ExecutionReportTrade, OrderCancelReject, Report, ReportBody,
};
use crate::vocabulary::fix::{BusinessRejectReason, CxlRejReason, OrdRejReason};
use crate::vocabulary::message::{ClientMessage, NULL_I64, NewOrderSingle};
use crate::vocabulary::units::{ClOrdId, Index, OrderId, Px, Seq};

impl Court<'_> {
    /// A report under a number for the first time.
    pub(super) fn on_report(&mut self, session: &Session, report: &Report, at: Witness) {
        if let ReportBody::NotApplied { from_seq_no, count } = report.body {
            self.on_not_applied(session, from_seq_no, count, at);
            return;
        }
        self.mark_answered(session, &report.body);
        let index = report.appl_seq_num;
        if !self.ledger.has(index) {
            let what = format!("ApplSeqNum {index} is not in the journal");
            self.add(Claim::NothingMissing, Some(at), what);
            return;
        }
        let cause = self.ledger.request(index).copied();
        let own = cause.filter(|c| Some(c.session) == session.slot);
        if let Some(own) = own
            && let Some(what) = differs_from_sent(session, &own, index)
        {
            self.add(Claim::NothingMissing, Some(at), what);
            return;
        }
        if let Some(what) = answers_no_request(&report.body, own.as_ref(), index) {
            self.add(Claim::NothingMissing, Some(at), what);
            return;
        }
        match &report.body {
            ReportBody::NotApplied { .. } => {}
            ReportBody::New(r) => self.on_new(session, index, r, at),
            ReportBody::Trade(r) => self.on_trade(session, index, r, at),
            ReportBody::Canceled(r) => self.on_canceled(session, index, r, at),
            ReportBody::Status(r) => self.on_status(session, index, r, at),
            ReportBody::Reject(r) => self.on_reject(session, index, own.as_ref(), r, at),
            ReportBody::CancelReject(r) => self.on_cancel_reject(session, index, r, at),
            ReportBody::BusinessReject(r) => self.on_business_reject(session, index, r),
        }
    }

    /// An outcome came for the key that a report answers, whatever it is worth.
    fn mark_answered(&mut self, session: &Session, body: &ReportBody) {
        let cl_ord_id = match body {
            ReportBody::New(r) => r.cl_ord_id,
            ReportBody::Canceled(r) => r.cl_ord_id,
            ReportBody::Reject(r) => r.cl_ord_id,
            ReportBody::CancelReject(r) => r.cl_ord_id,
            ReportBody::Status(r) if r.ord_status_req_id == 0 => r.cl_ord_id,
            ReportBody::Status(_)
            | ReportBody::NotApplied { .. }
            | ReportBody::Trade(_)
            | ReportBody::BusinessReject(_) => return,
        };
        self.keys.entry(session.owner, cl_ord_id).is_answered = true;
    }

    fn on_not_applied(&mut self, session: &Session, from: Seq, count: u32, at: Witness) {
        self.verdict.figures.not_applied += u64::from(count);
        let Some(slot) = session.slot else { return };
        let count = u64::from(count).min(SEQ_JUMP_MAX);
        for number in from.0..from.0.saturating_add(count) {
            if let Some(index) = self.ledger.index_of(slot, Seq(number)) {
                let what = format!("NotApplied covers request {number}, journaled at {index}");
                self.add(Claim::NothingMissing, Some(at), what);
            }
        }
    }

    /// The order that a report names, if the journal agrees; else the violation is noted.
    fn order(
        &mut self,
        session: &Session,
        id: OrderId,
        key: ClOrdId,
        at: Witness,
    ) -> Option<NewOrderSingle> {
        let index = Index(id.0);
        if !self.ledger.has(index) {
            let what = format!("OrderID {id} is not in the journal");
            self.add(Claim::NothingMissing, Some(at), what);
            return None;
        }
        let request = self.ledger.request(index);
        let sender = request.and_then(|r| self.ledger.owner(r.session));
        let order = request.and_then(|r| match r.message {
            ClientMessage::NewOrder(m) => Some(m),
            ClientMessage::Cancel(_) | ClientMessage::Status(_) => None,
        });
        let is_own = sender.is_some_and(|owner| u32::from(owner.0) == session.owner);
        let order = order.filter(|m| m.cl_ord_id == key && is_own);
        if order.is_none() {
            let what =
                format!("OrderID {id} names no NewOrderSingle of this owner with ClOrdID {key}");
            self.add(Claim::AcceptedOnce, Some(at), what);
        }
        order
    }

    fn on_new(&mut self, session: &Session, index: Index, r: &ExecutionReportNew, at: Witness) {
        let Some(order) = self.order(session, r.order_id, r.cl_ord_id, at) else {
            return;
        };
        if r.order_id.0 != index.0 {
            let what = format!("order {} was accepted by record {index}", r.order_id);
            self.add(Claim::AcceptedOnce, Some(at), what);
            return;
        }
        if let Some(what) = differs_from_order(r, &order) {
            self.add(Claim::NothingMissing, Some(at), what);
        }
        let key = self.keys.entry(session.owner, r.cl_ord_id);
        let contradiction = key.on_accepted(r.order_id, at);
        let ended = key.on_status(index, r.ord_status);
        self.note(Claim::AcceptedOnce, at, contradiction);
        self.note(Claim::FinalStays, at, ended);
    }

    fn on_trade(&mut self, session: &Session, index: Index, r: &ExecutionReportTrade, at: Witness) {
        if self.order(session, r.order_id, r.cl_ord_id, at).is_some() {
            let key = self.keys.entry(session.owner, r.cl_ord_id);
            let ended = key.on_status(index, r.ord_status);
            self.note(Claim::FinalStays, at, ended);
        }
    }

    fn on_canceled(
        &mut self,
        session: &Session,
        index: Index,
        r: &ExecutionReportCanceled,
        at: Witness,
    ) {
        let order = r.orig_cl_ord_id.unwrap_or(r.cl_ord_id);
        if self.order(session, r.order_id, order, at).is_some() {
            let key = self.keys.entry(session.owner, order);
            let ended = key.on_status(index, r.ord_status);
            self.note(Claim::FinalStays, at, ended);
        }
    }

    fn on_status(
        &mut self,
        session: &Session,
        index: Index,
        r: &ExecutionReportStatus,
        at: Witness,
    ) {
        let is_duplicate = r.ord_status_req_id == 0;
        let key = self.keys.entry(session.owner, r.cl_ord_id);
        // A repeated cancel is answered under its own ClOrdID, with the order it closed.
        let is_cancel = key.canceled.is_some() && key.ordered.is_none();
        let accepted = key.accepted.map(|(id, _)| id).or(key.known);
        // A mass status that found nothing names no order.
        if is_cancel || r.order_id.0 == 0 {
            return;
        }
        if let Some(accepted) = accepted
            && accepted != r.order_id
        {
            let what = format!("the status names order {}, not {accepted}", r.order_id);
            self.add(Claim::Resolved, Some(at), what);
            return;
        }
        if self.order(session, r.order_id, r.cl_ord_id, at).is_none() {
            return;
        }
        self.verdict.figures.duplicates_answered += u64::from(is_duplicate);
        let key = self.keys.entry(session.owner, r.cl_ord_id);
        key.known = Some(r.order_id);
        let ended = key.on_status(index, r.ord_status);
        self.note(Claim::FinalStays, at, ended);
    }

    fn on_reject(
        &mut self,
        session: &Session,
        index: Index,
        own: Option<&Journaled>,
        r: &ExecutionReportReject,
        at: Witness,
    ) {
        let is_of = |m: &ClientMessage| match m {
            ClientMessage::NewOrder(m) => m.cl_ord_id == r.cl_ord_id,
            ClientMessage::Cancel(_) | ClientMessage::Status(_) => false,
        };
        if !own.is_some_and(|own| is_of(&own.message)) {
            let what = format!("record {index} is no order {} of this session", r.cl_ord_id);
            self.add(Claim::NothingMissing, Some(at), what);
        }
        let key = self.keys.entry(session.owner, r.cl_ord_id);
        let mut contradiction = None;
        if r.retryable {
            key.on_refused_for_now(index);
        } else if r.ord_rej_reason == OrdRejReason::DuplicateOrder.wire() {
            // It answers another order under the same key; the first is untouched.
            let owner = own.and_then(|own| self.ledger.owner(own.session));
            let is_second =
                owner.is_some_and(|o| self.ledger.is_known_before(o, r.cl_ord_id, index));
            if !is_second {
                let what = format!("no order came under {} before this duplicate", r.cl_ord_id);
                self.add(Claim::Resolved, Some(at), what);
            }
        } else {
            contradiction = key.on_refused(index, r.ord_rej_reason);
        }
        self.note(Claim::FinalStays, at, contradiction);
    }

    fn on_cancel_reject(
        &mut self,
        session: &Session,
        index: Index,
        r: &OrderCancelReject,
        at: Witness,
    ) {
        if r.cxl_rej_reason != CxlRejReason::UnknownOrder.wire() {
            return;
        }
        let Some(ClientMessage::Cancel(cancel)) = self.ledger.request(index).map(|j| j.message)
        else {
            let what = format!("record {index} is no cancel {}", r.cl_ord_id);
            self.add(Claim::NothingMissing, Some(at), what);
            return;
        };
        // A cancel that names another instrument or side does not name the order.
        let key = self.keys.entry(session.owner, r.orig_cl_ord_id);
        let order = key.accepted.map(|(id, _)| Index(id.0));
        let named = order.and_then(|index| self.ledger.request(index));
        let is_named = named.is_none_or(|order| match order.message {
            ClientMessage::NewOrder(m) => {
                m.security_id == cancel.security_id && m.side == cancel.side
            }
            ClientMessage::Cancel(_) | ClientMessage::Status(_) => true,
        });
        if is_named {
            key.on_unknown(index);
        }
    }

    fn on_business_reject(&mut self, session: &Session, index: Index, r: &BusinessMessageReject) {
        if r.business_reject_reason != BusinessRejectReason::UnknownId.wire() {
            return;
        }
        if let Some(ClientMessage::Status(m)) = self.ledger.request(index).map(|j| j.message) {
            self.keys.entry(session.owner, m.cl_ord_id).on_unknown(index);
        }
    }
}

/// How a session's own journaled request differs from the one it sent.
fn differs_from_sent(session: &Session, own: &Journaled, index: Index) -> Option<String> {
    let number = own.message.msg_seq_num();
    match session.flow.request(number) {
        None => Some(format!("record {index} is request {number}, which this client did not send")),
        Some((sent, place)) if *sent != own.message => Some(format!(
            "record {index} differs from request {number} as sent at offset {}: {:?}, not {:?}",
            place.offset, own.message, sent
        )),
        Some(_) => None,
    }
}

/// What is wrong when a status or a refused cancel answers no request of its session at that index.
fn answers_no_request(body: &ReportBody, own: Option<&Journaled>, index: Index) -> Option<String> {
    let request = own.map(|own| &own.message);
    let (cl_ord_id, is_answer) = match body {
        ReportBody::Status(r) => {
            let asked = request.map(|m| match m {
                ClientMessage::NewOrder(m) => m.cl_ord_id,
                ClientMessage::Cancel(m) => m.cl_ord_id,
                ClientMessage::Status(m) => m.cl_ord_id,
            });
            (r.cl_ord_id, asked == Some(r.cl_ord_id))
        }
        ReportBody::CancelReject(r) => {
            let is_cancel = |m: &ClientMessage| match m {
                ClientMessage::Cancel(m) => m.cl_ord_id == r.cl_ord_id,
                ClientMessage::NewOrder(_) | ClientMessage::Status(_) => false,
            };
            (r.cl_ord_id, request.is_some_and(is_cancel))
        }
        ReportBody::New(_)
        | ReportBody::Canceled(_)
        | ReportBody::Trade(_)
        | ReportBody::Reject(_)
        | ReportBody::BusinessReject(_)
        | ReportBody::NotApplied { .. } => return None,
    };
    (!is_answer).then(|| format!("record {index} is no request {cl_ord_id} of this session"))
}

/// How an acceptance differs from the order that was journaled.
fn differs_from_order(r: &ExecutionReportNew, order: &NewOrderSingle) -> Option<String> {
    let rows = [
        ("Price", r.price.map_or(NULL_I64, Px::raw), order.price),
        ("OrderQty", r.order_qty.raw(), order.order_qty),
        ("SecurityID", i64::from(r.security_id.0), i64::from(order.security_id)),
        ("Account", i64::from(r.account.0), i64::from(order.account)),
        ("Side", i64::from(r.side.wire()), i64::from(order.side)),
        ("OrdType", i64::from(r.ord_type.wire()), i64::from(order.ord_type)),
        ("TimeInForce", i64::from(r.time_in_force.wire()), i64::from(order.time_in_force)),
    ];
    let (field, told, sent) = rows.into_iter().find(|(_, told, sent)| told != sent)?;
    Some(format!("{field} {told} was accepted, {sent} was sent"))
}
