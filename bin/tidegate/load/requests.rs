//! The requests of one connection that have no answer, and the outcomes of those that have.
//!
//! At most a window of them waits, in the order of their numbers; the engine answers in that order,
//! so that the request of an answer is nearly always the first. An answer takes its request out.
//! NotApplied and a reconnect mark those that never happened; they are to be sent again, under new
//! numbers, before anything new.

use super::figures::Figures;
use std::collections::VecDeque;
use tidegate::vocabulary::event::{Report, ReportBody};
use tidegate::vocabulary::units::{ClOrdId, Nanos, Seq};

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) seq: Seq,
    pub(super) cl_ord_id: ClOrdId,
    pub(super) what: Request,
    pub(super) sent: Nanos,
    /// When it was due; none without a rate.
    pub(super) due: Option<Nanos>,
    /// Whether a line was lost, or a gate shut, between it and its answer.
    pub(super) is_interrupted: bool,
    /// Whether it is known never to have happened.
    pub(super) is_lost: bool,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// Order `k`.
    Order(u32),
    /// Order `k` once more.
    Duplicate(u32),
    /// The cancel that follows order `k`.
    Cancel { k: u32, target: u32 },
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Accepted,
    Known,
    Canceled,
    Refused { template: u16, reason: u16, is_for_now: bool },
}

/// All requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    /// At most `window`.
    pending: VecDeque<Pending>,
    window: usize,
    /// How many of `pending` are lost.
    lost_count: usize,
    /// Whether order `k` has an outcome, at `k - 1`.
    outcomes: Vec<bool>,
}

impl Requests {
    pub(super) fn new(window: usize, orders: u32) -> Self {
        Self {
            pending: VecDeque::with_capacity(window),
            window,
            lost_count: 0,
            outcomes: vec![false; usize::try_from(orders).unwrap_or(0)],
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= self.window
    }

    /// A request was sent.
    pub(super) fn push(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    /// Takes out the first request that never happened, to be sent again.
    pub(super) fn take_lost(&mut self) -> Option<Pending> {
        if self.lost_count == 0 {
            return None;
        }
        let place = self.pending.iter().position(|p| p.is_lost)?;
        self.lost_count -= 1;
        self.pending.remove(place)
    }

    /// The line is gone: what waits was interrupted, whether or not it happened.
    pub(super) fn on_lost(&mut self) {
        for pending in &mut self.pending {
            pending.is_interrupted = true;
        }
    }

    /// Marks requests that never happened.
    pub(super) fn mark_lost(&mut self, is_lost: impl Fn(Seq) -> bool) {
        for pending in self.pending.iter_mut().filter(|p| !p.is_lost) {
            if is_lost(pending.seq) {
                pending.is_lost = true;
                self.lost_count += 1;
            }
        }
    }

    /// A report came: counts it, and takes out the request that it answers, if it answers one.
    pub(super) fn on_report(&mut self, now: Nanos, report: &Report, figures: &mut Figures) {
        figures.reports += 1;
        let (cl_ord_id, answer) = match report.body {
            ReportBody::NotApplied { from_seq_no, count } => {
                figures.not_applied += u64::from(count);
                let end = from_seq_no.0.saturating_add(u64::from(count));
                self.mark_lost(|seq| seq >= from_seq_no && seq.0 < end);
                return;
            }
            ReportBody::Trade(r) => {
                figures.trades += u64::from(r.aggressor);
                return;
            }
            ReportBody::Canceled(r) => {
                figures.canceled += 1;
                if r.orig_cl_ord_id.is_none() {
                    return;
                }
                (r.cl_ord_id, Answer::Canceled)
            }
            ReportBody::New(r) => (r.cl_ord_id, Answer::Accepted),
            ReportBody::Status(r) => (r.cl_ord_id, Answer::Known),
            ReportBody::Reject(r) => {
                let (reason, is_for_now) = (r.ord_rej_reason, r.retryable);
                (r.cl_ord_id, refused(204, reason, is_for_now))
            }
            ReportBody::CancelReject(r) => {
                let (reason, is_for_now) = (r.cxl_rej_reason, r.retryable);
                (r.cl_ord_id, refused(206, reason, is_for_now))
            }
            ReportBody::BusinessReject(r) => {
                let answer = refused(208, r.business_reject_reason, r.retryable);
                self.on_answer(now, |p| p.seq == r.ref_seq_num, answer, figures);
                return;
            }
        };
        self.on_answer(now, |p| p.cl_ord_id == cl_ord_id, answer, figures);
    }

    fn on_answer(
        &mut self,
        now: Nanos,
        is_it: impl Fn(&Pending) -> bool,
        answer: Answer,
        figures: &mut Figures,
    ) {
        // A duplicate behind a gap is answered in the place of its lost order, which still waits.
        let is_alive = |p: &Pending| !p.is_lost && is_it(p);
        let place = self.pending.iter().position(is_alive);
        let place = place.or_else(|| self.pending.iter().position(&is_it));
        let Some(pending) = place.and_then(|place| self.pending.remove(place)) else {
            figures.unexpected += 1;
            return;
        };
        self.lost_count -= usize::from(pending.is_lost);
        match pending.what {
            Request::Order(k) => {
                let service = (!pending.is_interrupted).then(|| now.since(pending.sent));
                figures.on_latency(service, pending.due.map(|due| now.since(due)));
                let place = usize::try_from(k - 1).unwrap_or(usize::MAX);
                if let Some(outcome) = self.outcomes.get_mut(place).filter(|o| !**o) {
                    *outcome = true;
                    figures.resolved += 1;
                }
                match answer {
                    Answer::Accepted => figures.accepted += 1,
                    Answer::Known => figures.known += 1,
                    Answer::Canceled => figures.unexpected += 1,
                    Answer::Refused { .. } => count_refusal(answer, figures),
                }
            }
            Request::Duplicate(_) => match answer {
                Answer::Known | Answer::Refused { .. } => figures.duplicates_answered += 1,
                Answer::Accepted | Answer::Canceled => figures.unexpected += 1,
            },
            Request::Cancel { .. } => match answer {
                Answer::Canceled | Answer::Known => {}
                Answer::Accepted => figures.unexpected += 1,
                Answer::Refused { .. } => count_refusal(answer, figures),
            },
        }
    }
}

const fn refused(template: u16, reason: u16, is_for_now: bool) -> Answer {
    Answer::Refused { template, reason, is_for_now }
}

fn count_refusal(answer: Answer, figures: &mut Figures) {
    if let Answer::Refused { template, reason, is_for_now } = answer {
        figures.on_refused(template, reason, is_for_now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate::vocabulary::event::{BusinessMessageReject, ExecutionReportReject};
    use tidegate::vocabulary::fix::OrdStatus;
    use tidegate::vocabulary::units::{ExecId, Index, OrderId, Text};

    fn pending(seq: u64) -> Pending {
        Pending {
            seq: Seq(seq),
            cl_ord_id: ClOrdId(seq),
            what: Request::Order(u32::try_from(seq).unwrap()),
            sent: Nanos(0),
            due: Some(Nanos(0)),
            is_interrupted: false,
            is_lost: false,
        }
    }

    fn report(body: ReportBody) -> Report {
        Report { msg_seq_num: Seq(1), sending_time: Nanos(0), appl_seq_num: Index(1), body }
    }

    fn refusal(of: u64) -> Report {
        report(ReportBody::BusinessReject(BusinessMessageReject {
            ref_seq_num: Seq(of),
            business_reject_ref_id: 0,
            business_reject_reason: 8,
            ref_template_id: 100,
            text: Text::new(""),
            retryable: true,
        }))
    }

    #[test]
    fn what_never_happened_is_taken_out_first_and_in_order() {
        let mut requests = Requests::new(4, 4);
        let mut figures = Figures::try_new().unwrap();
        for seq in 1..=4 {
            requests.push(pending(seq));
        }
        assert!(requests.is_full());
        // NotApplied 2..4, then a reconnect that says 2 was the last: 3 and 4 are lost once.
        let gap = ReportBody::NotApplied { from_seq_no: Seq(3), count: 1 };
        requests.on_report(Nanos(1), &report(gap), &mut figures);
        requests.mark_lost(|seq| seq > Seq(2));
        let again: Vec<u64> =
            std::iter::from_fn(|| requests.take_lost()).map(|p| p.seq.0).collect();
        assert_eq!(again, [3, 4]);
        assert_eq!(figures.not_applied, 1);
        requests.on_report(Nanos(2), &refusal(2), &mut figures);
        requests.on_report(Nanos(3), &refusal(1), &mut figures);
        assert!(requests.is_empty());
        assert_eq!(figures.resolved, 2);
        assert_eq!(figures.refused.get(&(208, 8, true)), Some(&2));
        requests.on_report(Nanos(4), &refusal(1), &mut figures);
        assert_eq!(figures.unexpected, 1);
    }

    #[test]
    fn an_answer_is_never_taken_for_that_of_a_request_that_never_happened() {
        let mut requests = Requests::new(4, 1);
        let mut figures = Figures::try_new().unwrap();
        // The order fell into a gap; its duplicate behind the gap was evaluated in its place.
        requests.push(pending(1));
        let duplicate = Pending { seq: Seq(2), what: Request::Duplicate(1), ..pending(1) };
        requests.push(duplicate);
        let gap = ReportBody::NotApplied { from_seq_no: Seq(1), count: 1 };
        requests.on_report(Nanos(1), &report(gap), &mut figures);
        let refused = ReportBody::Reject(ExecutionReportReject {
            order_id: OrderId(0),
            cl_ord_id: ClOrdId(1),
            exec_id: ExecId(1),
            transact_time: Nanos(1),
            security_id: 0,
            account: 1,
            ord_rej_reason: 1,
            ord_status: OrdStatus::Rejected,
            poss_resend: false,
            text: Text::new(""),
            retryable: false,
        });
        requests.on_report(Nanos(2), &report(refused), &mut figures);
        assert_eq!((figures.resolved, figures.duplicates_answered), (0, 1));
        assert_eq!(requests.take_lost().map(|p| p.what), Some(Request::Order(1)));
        assert!(requests.is_empty());
    }
}
