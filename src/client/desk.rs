//! The desk: a session and the requests that wait for an outcome, without I/O.
//!
//! The session knows numbers and not requests; the table knows requests and not lines. Together
//! they keep the promise of the library: every request has exactly one outcome, whatever
//! reconnects, replays and resends lie between. A transport hands in what happened and sends what
//! is appended to its buffer; the application reads [`Event`]s.
//!
//! ```text
//! try_send -> session (number) -> table: waiting ---- its report ----> Outcome
//!                                          |  \
//!                 NotApplied, or a new line |   \ the client ends ----> Outcome(Unknown)
//!                 shows it never arrived    v
//!                                        lost ---- sent again, new number --> waiting
//!                                               \- Resend::Never --> Outcome(NeverHappened)
//! ```
//!
//! Events are taken out before the next input; at most the table's capacity and a few more wait.

use std::collections::VecDeque;

use super::event::{
    Advice, ClientEvent, ClientIdentity, Party, RejectCode, SessionOptions, Standing,
};
use super::outcome::{End, Event, Outcome, Refused, Ticket, Verdict};
use super::session::ClientSession;
use super::unanswered::Unanswered;
use crate::vocabulary::event::{Report, ReportBody};
use crate::vocabulary::message::ClientMessage;
use crate::vocabulary::units::{Nanos, Seq, Text};
use crate::wire::frame::Frame;

/// Lines on which a finalization is tried.
const FINALIZE_TRIES_MAX: u32 = 3;

/// What becomes of requests that never happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Resend {
    /// They are sent again under new numbers, with the same ClOrdID and PossResend = Y.
    #[default]
    NewNumbers,
    /// They are sent again as they were; what a shut gate dropped, under new numbers.
    SameNumbers,
    /// They are told as [`Verdict::NeverHappened`], and the application decides.
    Never,
}

/// What a desk is given besides an identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeskOptions {
    /// Of the session.
    pub session: SessionOptions,
    /// What becomes of requests that never happened.
    pub resend: Resend,
    /// Requests without an outcome at most; at least 1.
    pub unanswered_max: u32,
}

impl Default for DeskOptions {
    fn default() -> Self {
        Self { session: SessionOptions::default(), resend: Resend::default(), unanswered_max: 1024 }
    }
}

/// The line is to be left: what is in the buffer is sent, then it is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leave {
    /// Connect to the same address after this long.
    SameAddress(Nanos),
    /// Connect to the next address after the usual pause.
    NextAddress,
    /// Do not connect again.
    ForEver,
}

/// A session and its unanswered requests.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that hold or not, each by itself")]
pub struct Desk {
    session: ClientSession,
    unanswered: Unanswered,
    resend: Resend,
    events: VecDeque<Event>,
    leave: Option<Leave>,
    /// Why the line is left.
    why: Text<64>,
    /// The end that is asked for.
    wanted: Option<End>,
    is_over: bool,
    is_up: bool,
    was_up: bool,
    is_gate_shut: bool,
    /// Where this line's Establish began, if below the next number.
    same_from: Option<Seq>,
    /// Whether the server refused to go back to old numbers.
    is_same_refused: bool,
    /// The last request that the server had when this line was established.
    last_incoming: Seq,
    finalize_tries: u32,
}

impl Desk {
    /// A desk whose session stands at `standing`; its tables are allocated here and never grow.
    #[must_use]
    pub fn new(identity: ClientIdentity, options: &DeskOptions, standing: Standing) -> Self {
        let capacity = usize::try_from(options.unanswered_max.max(1)).unwrap_or(1);
        Self {
            session: ClientSession::resumed(identity, options.session, standing),
            unanswered: Unanswered::new(capacity),
            resend: options.resend,
            events: VecDeque::with_capacity(capacity + 8),
            leave: None,
            why: Text::default(),
            wanted: None,
            is_over: false,
            is_up: false,
            was_up: false,
            is_gate_shut: false,
            same_from: None,
            is_same_refused: false,
            last_incoming: Seq(0),
            finalize_tries: 0,
        }
    }

    /// A line is there: logs on.
    pub fn on_connected(&mut self, now: Nanos, wall: Nanos, send: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        self.leave = None;
        self.why = Text::default();
        let is_same = self.resend == Resend::SameNumbers && !self.is_same_refused;
        self.same_from = if is_same { self.unanswered.first_alive() } else { None };
        self.session.resume_at(self.same_from);
        self.session.on_connected(now, wall, send);
    }

    /// The line is gone; `why` unless the session said why.
    pub fn on_disconnected(&mut self, now: Nanos, why: &str) {
        self.session.on_disconnected(now);
        if self.is_over {
            return;
        }
        if self.leave.is_none() {
            self.why = Text::new(why);
        }
        self.leave = None;
        if self.is_up || !self.was_up {
            self.events.push_back(Event::Down { why: self.why });
        }
        (self.is_up, self.is_gate_shut) = (false, false);
        if self.wanted == Some(End::Closed) {
            self.end(End::Closed);
        }
    }

    /// A whole frame came.
    pub fn on_frame(&mut self, now: Nanos, frame: &Frame<'_>, send: &mut Vec<u8>) {
        if let Some(event) = self.session.on_frame(now, frame, send) {
            self.on_event(now, &event, send);
        }
    }

    /// What came is no frame.
    pub fn on_bad_bytes(&mut self, now: Nanos, send: &mut Vec<u8>) {
        if let Some(event) = self.session.on_bad_bytes(now, send) {
            self.on_event(now, &event, send);
        }
    }

    /// Time passed; call at [`Desk::next_deadline`].
    pub fn on_timer(&mut self, now: Nanos, send: &mut Vec<u8>) {
        if let Some(event) = self.session.on_timer(now, send) {
            self.on_event(now, &event, send);
        }
    }

    /// Sends a request, or says why not. The order of refusals: closed, not up, gate, full.
    pub fn try_send(
        &mut self,
        now: Nanos,
        mut message: ClientMessage,
        send: &mut Vec<u8>,
    ) -> Result<Ticket, Refused> {
        if self.is_over || self.wanted.is_some() {
            return Err(Refused::Closed);
        }
        if !self.is_up {
            return Err(Refused::NotUp);
        }
        if self.is_gate_shut {
            return Err(Refused::NotAccepting);
        }
        if self.unanswered.is_full() {
            return Err(Refused::Full);
        }
        if self.session.on_send(now, &mut message, send).is_none() {
            return Err(Refused::NotUp);
        }
        Ok(self.unanswered.push(message))
    }

    /// Leaves the line in order and ends; the session lives on.
    pub fn close(&mut self, now: Nanos, send: &mut Vec<u8>) {
        if self.is_over || self.wanted == Some(End::Closed) {
            return;
        }
        self.wanted = Some(End::Closed);
        let mark = send.len();
        self.session.on_finish(now, send);
        if send.len() == mark {
            // Nothing to leave: no line, or a logon that was not answered.
            self.leave = Some(Leave::ForEver);
            self.end(End::Closed);
        }
    }

    /// Brings the session to its end for ever, over as many lines as it takes, and ends.
    pub fn finalize(&mut self, now: Nanos, send: &mut Vec<u8>) {
        if !self.is_over && self.wanted.is_none() {
            self.wanted = Some(End::Finalized);
            self.session.on_finalize(now, send);
        }
    }

    /// Ends at once, for a reason of the transport's.
    pub fn abort(&mut self, end: End) {
        self.leave = Some(Leave::ForEver);
        self.end(end);
    }

    /// What happened next, in order; the application's to read before the next input.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether events wait.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether, and how, the line is to be left.
    #[must_use]
    pub const fn leave(&self) -> Option<Leave> {
        self.leave
    }

    /// When [`Desk::on_timer`] is to be called; none without a line.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.session.next_deadline()
    }

    /// Requests without an outcome.
    #[must_use]
    pub fn unanswered_count(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether requests are taken, the gate and the table apart.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether [`Event::Ended`] was told, or waits to be.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The session behind it.
    #[must_use]
    pub const fn session(&self) -> &ClientSession {
        &self.session
    }

    fn on_event(&mut self, now: Nanos, event: &ClientEvent, send: &mut Vec<u8>) {
        match *event {
            ClientEvent::Established { last_incoming, is_live, .. } => {
                self.last_incoming = last_incoming;
                self.unanswered.on_established(last_incoming, self.same_from);
                if is_live {
                    self.on_live(now, send);
                }
            }
            ClientEvent::Live => self.on_live(now, send),
            ClientEvent::Report(report) => self.on_report(now, &report, send),
            ClientEvent::NotAccepting { from_seq_no, cause } => {
                self.unanswered.on_not_accepting(from_seq_no);
                self.is_gate_shut = true;
                self.events.push_back(Event::NotAccepting { cause });
            }
            ClientEvent::Rejected { code, reason, advice } => {
                self.on_rejected(code, reason, advice);
            }
            ClientEvent::Terminated { by, code, reason } => self.on_terminated(by, code, reason),
            ClientEvent::Stopped(cause) => {
                self.leave = Some(Leave::ForEver);
                self.end(End::Stopped(cause));
            }
        }
    }

    fn on_live(&mut self, now: Nanos, send: &mut Vec<u8>) {
        if !self.is_up {
            self.events.push_back(Event::Up { is_again: self.was_up });
        }
        (self.is_up, self.was_up, self.is_same_refused) = (true, true, false);
        while let Some(outcome) = self.unanswered.take_unexplained(self.last_incoming) {
            self.events.push_back(Event::Outcome(outcome));
        }
        // Later gaps of this line are no new line.
        self.last_incoming = Seq(0);
        while let Some(message) = self.unanswered.next_again() {
            self.session.on_resend(now, &message, send);
        }
        self.session.on_resent(now, send);
        self.resend_lost(now, send);
    }

    fn on_report(&mut self, now: Nanos, report: &Report, send: &mut Vec<u8>) {
        if let ReportBody::NotApplied { from_seq_no, count } = report.body {
            self.unanswered.on_not_applied(from_seq_no, count);
            if std::mem::take(&mut self.is_gate_shut) {
                self.events.push_back(Event::Accepting);
            }
            if self.session.is_live() {
                self.resend_lost(now, send);
            }
            return;
        }
        let event =
            self.unanswered.on_report(report).map_or(Event::Update(*report), Event::Outcome);
        self.events.push_back(event);
    }

    /// Sends again what never happened, or tells it. The session is live.
    fn resend_lost(&mut self, now: Nanos, send: &mut Vec<u8>) {
        while let Some((ticket, mut message)) = self.unanswered.take_lost() {
            let is_sent = self.resend != Resend::Never
                && self.wanted.is_none()
                && self.session.on_send(now, as_resend(&mut message), send).is_some();
            if is_sent {
                self.unanswered.put(ticket, message);
            } else {
                let verdict = Verdict::NeverHappened;
                let outcome = Outcome { ticket, request: message, verdict, report: None };
                self.events.push_back(Event::Outcome(outcome));
            }
        }
    }

    fn on_rejected(&mut self, code: RejectCode, reason: Text<64>, advice: Advice) {
        self.why = reason;
        self.leave = Some(match advice {
            Advice::ReconnectNow => {
                self.is_same_refused |= matches!(code, RejectCode::Establishment(_));
                Leave::SameAddress(Nanos(0))
            }
            Advice::RetryAfter(pause) => Leave::SameAddress(pause),
            Advice::NextAddress => Leave::NextAddress,
            Advice::NewSession | Advice::GiveUp => Leave::ForEver,
        });
        match advice {
            Advice::NewSession => self.end(End::NewSession),
            Advice::GiveUp => self.end(End::Refused { code, reason }),
            Advice::ReconnectNow | Advice::RetryAfter(_) | Advice::NextAddress => {}
        }
    }

    fn on_terminated(&mut self, by: Party, code: u8, reason: Text<64>) {
        self.why = reason;
        self.leave = Some(Leave::NextAddress);
        let is_finalizing = self.wanted == Some(End::Finalized);
        if self.session.is_finalized() {
            self.leave = Some(Leave::ForEver);
            self.end(End::Finalized);
        } else if self.wanted == Some(End::Closed) {
            self.leave = Some(Leave::ForEver);
            self.end(End::Closed);
        } else if is_finalizing && self.is_up && by == Party::Server {
            self.finalize_tries += 1;
            if self.finalize_tries >= FINALIZE_TRIES_MAX {
                self.leave = Some(Leave::ForEver);
                self.end(End::NotFinalized { code, reason });
            }
        }
    }

    /// The only writer of the end. What never happened is told as such, the rest is unknown.
    fn end(&mut self, end: End) {
        if self.is_over {
            return;
        }
        (self.is_over, self.is_up) = (true, false);
        while let Some((ticket, request)) = self.unanswered.take_lost() {
            let verdict = Verdict::NeverHappened;
            self.events.push_back(Event::Outcome(Outcome {
                ticket,
                request,
                verdict,
                report: None,
            }));
        }
        while let Some(outcome) = self.unanswered.take_first() {
            self.events.push_back(Event::Outcome(outcome));
        }
        self.events.push_back(Event::Ended(end));
    }
}

/// Marks a request as one that may have been sent before.
const fn as_resend(message: &mut ClientMessage) -> &mut ClientMessage {
    match message {
        ClientMessage::NewOrder(m) => m.poss_resend = 1,
        ClientMessage::Cancel(m) => m.poss_resend = 1,
        ClientMessage::Status(_) => {}
    }
    message
}
