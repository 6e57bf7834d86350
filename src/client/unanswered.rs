//! The requests that have no outcome yet, and which report is whose answer.
//!
//! A line breaks between a request and its answer, and afterwards three things may be true: it was
//! executed and the answer is in the replay, it never arrived, or a shut gate dropped it. The table
//! keeps every request whole until its outcome is known, so that it can be sent again, and takes it
//! out with the outcome, so that there is only one. The engine answers in the order of the numbers,
//! and so the oldest request that a report can answer is the one it answers; that is nearly always
//! the first of the table. Where several have one ClOrdID that order keeps them apart.
//!
//! Memory is fixed. When it is full a request is refused before it is sent.

use std::collections::VecDeque;

use super::outcome::{Outcome, Ticket, Verdict};
use crate::vocabulary::event::{Report, ReportBody};
use crate::vocabulary::message::ClientMessage;
use crate::vocabulary::units::Seq;

/// Requests without an outcome. Invariant: numbers rise from front to back.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// At most `capacity`.
    waiting: VecDeque<Waiting>,
    capacity: usize,
    next_ticket: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: Ticket,
    /// As it was last sent, its number included.
    message: ClientMessage,
    fate: Fate,
}

/// What is known of a request without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It was sent; whether it arrived shows.
    Sent,
    /// A shut gate may have dropped it: its number is not used again (ruling F02).
    Withheld,
    /// It never arrived, and is sent again under the same number.
    Again,
    /// It never happened under its number, and never will.
    Lost,
}

impl Unanswered {
    /// A table for `capacity` requests.
    pub(super) fn new(capacity: usize) -> Self {
        Self { waiting: VecDeque::with_capacity(capacity), capacity, next_ticket: 1 }
    }

    /// A request was sent for the first time. The caller has checked that there is room.
    pub(super) fn push(&mut self, message: ClientMessage) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.put(ticket, message);
        ticket
    }

    /// A request was sent again under a new number.
    pub(super) fn put(&mut self, ticket: Ticket, message: ClientMessage) {
        debug_assert!(self.waiting.len() < self.capacity, "the caller looks for room first");
        debug_assert!(
            self.waiting.back().is_none_or(|w| w.seq() < message.msg_seq_num()),
            "numbers rise"
        );
        self.waiting.push_back(Waiting { ticket, message, fate: Fate::Sent });
    }

    /// The request that this report answers, taken out with its outcome.
    pub(super) fn on_report(&mut self, report: &Report) -> Option<Outcome> {
        let place = self.waiting.iter().position(|w| w.is_answered_by(report))?;
        let waiting = self.waiting.remove(place)?;
        Some(waiting.outcome(verdict(&report.body), Some(*report)))
    }

    /// The server never got these numbers.
    pub(super) fn on_not_applied(&mut self, from: Seq, count: u32) {
        let end = Seq(from.0.saturating_add(u64::from(count)));
        for waiting in &mut self.waiting {
            if waiting.seq() >= from && waiting.seq() < end {
                waiting.fate = Fate::Lost;
            }
        }
    }

    /// A shut gate may have dropped what was sent from this number on.
    pub(super) fn on_not_accepting(&mut self, from: Seq) {
        for waiting in &mut self.waiting {
            if waiting.seq() >= from && waiting.fate == Fate::Sent {
                waiting.fate = Fate::Withheld;
            }
        }
    }

    /// A new line shows that the server got nothing above `last_incoming`. What may be sent again
    /// as it was begins at `same_from`.
    pub(super) fn on_established(&mut self, last_incoming: Seq, same_from: Option<Seq>) {
        for waiting in self.waiting.iter_mut().filter(|w| w.seq() > last_incoming) {
            let is_same = same_from.is_some_and(|from| waiting.seq() >= from);
            waiting.fate = match waiting.fate {
                Fate::Sent | Fate::Again if is_same => Fate::Again,
                Fate::Sent | Fate::Again | Fate::Withheld | Fate::Lost => Fate::Lost,
            };
        }
    }

    /// The first request that may be sent again under its own number.
    pub(super) fn first_alive(&self) -> Option<Seq> {
        let is_alive = |w: &&Waiting| matches!(w.fate, Fate::Sent | Fate::Again);
        self.waiting.iter().find(is_alive).map(Waiting::seq)
    }

    /// The next request to be sent again as it was; it counts as sent.
    pub(super) fn next_again(&mut self) -> Option<ClientMessage> {
        let waiting = self.waiting.iter_mut().find(|w| w.fate == Fate::Again)?;
        waiting.fate = Fate::Sent;
        Some(waiting.message)
    }

    /// Takes out the first request that never happened.
    pub(super) fn take_lost(&mut self) -> Option<(Ticket, ClientMessage)> {
        let place = self.waiting.iter().position(|w| w.fate == Fate::Lost)?;
        self.waiting.remove(place).map(|w| (w.ticket, w.message))
    }

    /// Takes out a request that the server took, up to this number, although every answer to them
    /// has been read: the answer is nowhere.
    pub(super) fn take_unexplained(&mut self, last_incoming: Seq) -> Option<Outcome> {
        let is_taken = |w: &Waiting| w.seq() <= last_incoming && w.fate != Fate::Lost;
        let place = self.waiting.iter().position(is_taken)?;
        self.waiting.remove(place).map(|w| w.outcome(Verdict::Unknown, None))
    }

    /// Takes out the first request, whose outcome will never be known here.
    pub(super) fn take_first(&mut self) -> Option<Outcome> {
        self.waiting.pop_front().map(|w| w.outcome(Verdict::Unknown, None))
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Waiting {
    const fn seq(&self) -> Seq {
        self.message.msg_seq_num()
    }

    const fn outcome(self, verdict: Verdict, report: Option<Report>) -> Outcome {
        Outcome { ticket: self.ticket, request: self.message, verdict, report }
    }

    /// Whether a report can be the answer to this request. One that never happened has none.
    fn is_answered_by(&self, report: &Report) -> bool {
        if self.fate == Fate::Lost {
            return false;
        }
        match (&self.message, &report.body) {
            (ClientMessage::NewOrder(m), ReportBody::New(r)) => r.cl_ord_id == m.cl_ord_id,
            (ClientMessage::NewOrder(m), ReportBody::Reject(r)) => r.cl_ord_id == m.cl_ord_id,
            // The cached refusal of the order that was asked about.
            (ClientMessage::Status(m), ReportBody::Reject(r)) => r.cl_ord_id == m.cl_ord_id,
            (ClientMessage::NewOrder(m), ReportBody::Status(r)) => {
                r.ord_status_req_id == 0 && r.cl_ord_id == m.cl_ord_id
            }
            // The cancel that closed the order, sent once more.
            (ClientMessage::Cancel(m), ReportBody::Status(r)) => {
                r.ord_status_req_id == 0 && r.cl_ord_id == m.cl_ord_id
            }
            (ClientMessage::Status(m), ReportBody::Status(r)) => {
                r.ord_status_req_id == m.ord_status_req_id
            }
            (ClientMessage::Cancel(m), ReportBody::Canceled(r)) => {
                r.orig_cl_ord_id.is_some() && r.cl_ord_id == m.cl_ord_id
            }
            (ClientMessage::Cancel(m), ReportBody::CancelReject(r)) => r.cl_ord_id == m.cl_ord_id,
            (_, ReportBody::BusinessReject(r)) => r.ref_seq_num == self.seq(),
            _ => false,
        }
    }
}

const fn verdict(body: &ReportBody) -> Verdict {
    match body {
        ReportBody::New(_) => Verdict::Accepted,
        ReportBody::Canceled(_) => Verdict::Canceled,
        ReportBody::Status(_) => Verdict::Known,
        ReportBody::Reject(r) => Verdict::Refused { is_for_now: r.retryable },
        ReportBody::CancelReject(r) => Verdict::Refused { is_for_now: r.retryable },
        ReportBody::BusinessReject(r) => Verdict::Refused { is_for_now: r.retryable },
        ReportBody::NotApplied { .. } | ReportBody::Trade(_) => Verdict::Unknown,
    }
}
