//! A desk on a line: everything that is due, one turn at a time, never waiting.
//!
//! ```text
//! turn = connect, if it is time
//!        look at the line: up, octets, lost
//!        frames to the desk, until the application has something to read
//!        timers
//!        write, and leave the line if the desk says so
//! ```
//!
//! A turn handles frames only while no event waits, so that an application which reads slowly holds
//! the server up and fills no queue.

use super::addresses::Addresses;
use super::clock::Clock;
use super::line::{Line, Seen};
use super::setup::{ConnectError, Setup};
use crate::client::desk::{Desk, Leave};
use crate::client::history::{EntryKind, HistoryWriter};
use crate::client::outcome::{End, Event, Refused, Ticket};
use crate::client::session::SEND_BYTES_MAX;
use crate::limits::FRAME_BYTES_MAX;
use crate::vocabulary::message::ClientMessage;
use crate::vocabulary::units::Nanos;
use crate::wire::encode::CLIENT_BYTES_MAX;
use crate::wire::frame::split;

/// Octets waiting for the socket at which no more requests are taken.
const OUTBOX_BYTES_MAX: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) desk: Desk,
    line: Line,
    addresses: Addresses,
    clock: Clock,
    history: Option<HistoryWriter>,
    outbox: Vec<u8>,
    connect_max: Nanos,
    patience: Option<Nanos>,
    /// Since when nobody is logged on.
    down_since: Option<Nanos>,
    /// What the last line died of.
    why: String,
}

impl Driver {
    pub(super) fn try_new(
        setup: Setup,
        registry: Option<mio::Registry>,
    ) -> Result<Self, ConnectError> {
        let addresses = Addresses::try_new(setup.addresses, setup.retry_pause)
            .ok_or(ConnectError::NoAddress)?;
        let clock = Clock::start();
        // Everything unanswered may be sent again at once, without growing.
        let resend_bytes = usize::try_from(setup.desk.unanswered_max)
            .unwrap_or(0)
            .saturating_mul(CLIENT_BYTES_MAX);
        Ok(Self {
            desk: Desk::new(setup.identity, &setup.desk, setup.standing),
            line: Line::new(registry),
            addresses,
            clock,
            history: setup.history,
            outbox: Vec::with_capacity(OUTBOX_BYTES_MAX + 2 * SEND_BYTES_MAX + resend_bytes),
            connect_max: setup.connect_max,
            patience: setup.patience,
            down_since: Some(clock.now()),
            why: String::new(),
        })
    }

    /// Does what is due; whether there was anything.
    pub(super) fn turn(&mut self) -> bool {
        let now = self.clock.now();
        let is_done = self.connect(now) | self.look(now) | self.handle_frames(now);
        self.keep_time(now);
        self.flush(now) | is_done
    }

    /// Sends a request, as far as the socket takes it.
    pub(super) fn send(&mut self, message: ClientMessage) -> Result<Ticket, Refused> {
        if self.outbox.len() >= OUTBOX_BYTES_MAX && !self.desk.is_over() {
            return Err(Refused::Congested);
        }
        let now = self.clock.now();
        let mark = self.outbox.len();
        let ticket = self.desk.try_send(now, message, &mut self.outbox)?;
        self.note_sent(now, mark);
        self.flush(now);
        Ok(ticket)
    }

    pub(super) fn close(&mut self, is_final: bool) {
        let now = self.clock.now();
        let mark = self.outbox.len();
        if is_final {
            self.desk.finalize(now, &mut self.outbox);
        } else {
            self.desk.close(now, &mut self.outbox);
        }
        self.note_sent(now, mark);
        self.flush(now);
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.desk.next_event()
    }

    /// When a turn is due although nothing comes.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        if self.line.is_down() {
            return (!self.desk.is_over()).then(|| self.addresses.due());
        }
        [self.line.due(), self.desk.next_deadline()].into_iter().flatten().min()
    }

    /// Whether it is over and its socket closed.
    pub(super) const fn is_over(&self) -> bool {
        self.desk.is_over() && self.line.is_down()
    }

    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    /// What the last line died of.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    fn connect(&mut self, now: Nanos) -> bool {
        if !self.line.is_down() || self.desk.is_over() || now < self.addresses.due() {
            return false;
        }
        let Some(address) = self.addresses.current() else {
            return false;
        };
        self.flush_history();
        if let Err(e) = self.line.connect(address, now.saturating_add(self.connect_max)) {
            self.on_lost(now, &format!("cannot connect: {e}"));
        }
        true
    }

    fn look(&mut self, now: Nanos) -> bool {
        if self.desk.has_events() && self.line.is_up() {
            return false;
        }
        match self.line.look(now) {
            Seen::Nothing => return false,
            Seen::Octets => {}
            Seen::Connected => {
                let address = self.addresses.current().map(|a| a.to_string()).unwrap_or_default();
                self.note(now, EntryKind::Connected, address.as_bytes());
                let mark = self.outbox.len();
                self.desk.on_connected(now, Clock::wall(), &mut self.outbox);
                self.note_sent(now, mark);
            }
            Seen::Lost(why) => self.on_lost(now, &why),
        }
        true
    }

    fn handle_frames(&mut self, now: Nanos) -> bool {
        let mut is_done = false;
        while self.line.is_up() && !self.desk.has_events() && self.desk.leave().is_none() {
            let mark = self.outbox.len();
            let mut noted = Ok(());
            match self.line.inbox.next_frame() {
                Ok(None) => break,
                Ok(Some((frame, octets))) => {
                    if let Some(history) = &mut self.history {
                        noted = history.append(now, EntryKind::Received, octets);
                    }
                    self.desk.on_frame(now, &frame, &mut self.outbox);
                }
                Err(_) => self.desk.on_bad_bytes(now, &mut self.outbox),
            }
            is_done = true;
            if let Err(e) = noted {
                self.on_history_failed(&e);
            }
            self.note_sent(now, mark);
        }
        is_done
    }

    fn keep_time(&mut self, now: Nanos) {
        if self.desk.is_up() {
            self.down_since = None;
        } else {
            let since = *self.down_since.get_or_insert(now);
            let is_late = self.patience.is_some_and(|max| now.since(since) > max);
            if is_late && !self.desk.is_over() {
                self.desk.abort(End::Unreachable);
            }
        }
        if self.line.is_up() && self.desk.next_deadline().is_some_and(|at| now >= at) {
            let mark = self.outbox.len();
            self.desk.on_timer(now, &mut self.outbox);
            self.note_sent(now, mark);
        }
    }

    /// Writes; then leaves the line if that is due. Returns whether anything moved.
    fn flush(&mut self, now: Nanos) -> bool {
        if self.desk.leave().is_some() {
            self.line.leave(now);
        }
        if self.line.is_down() {
            self.outbox.clear();
            return false;
        }
        match self.line.write(&mut self.outbox) {
            Ok(count) => count > 0,
            Err(why) => {
                // What came before the line broke is still read, and its end with it.
                self.outbox.clear();
                self.why = why;
                false
            }
        }
    }

    /// The line is down.
    fn on_lost(&mut self, now: Nanos, why: &str) {
        self.outbox.clear();
        self.note(now, EntryKind::Disconnected, why.as_bytes());
        let leave = self.desk.leave().unwrap_or(Leave::NextAddress);
        why.clone_into(&mut self.why);
        self.desk.on_disconnected(now, why);
        self.addresses.on_left(now, leave);
        if self.desk.is_over() {
            self.flush_history();
        }
    }

    fn note(&mut self, now: Nanos, kind: EntryKind, octets: &[u8]) {
        if let Some(history) = &mut self.history
            && let Err(e) = history.append(now, kind, octets)
        {
            self.on_history_failed(&e);
        }
    }

    /// Writes the frames from `mark` on into the history.
    fn note_sent(&mut self, now: Nanos, mark: usize) {
        let Some(history) = &mut self.history else {
            return;
        };
        let mut noted = Ok(());
        let mut rest = self.outbox.get(mark..).unwrap_or_default();
        while let Ok(Some((_, len))) = split(rest, FRAME_BYTES_MAX) {
            let (frame, behind) = rest.split_at(len);
            noted = noted.and_then(|()| history.append(now, EntryKind::Sent, frame));
            rest = behind;
        }
        if let Err(e) = noted {
            self.on_history_failed(&e);
        }
    }

    fn flush_history(&mut self) {
        if let Some(Err(e)) = self.history.as_mut().map(HistoryWriter::flush) {
            self.on_history_failed(&e);
        }
    }

    /// Evidence that was asked for cannot be kept: the client ends rather than go on without.
    fn on_history_failed(&mut self, e: &std::io::Error) {
        self.history = None;
        self.why = format!("history: {e}");
        self.desk.abort(End::HistoryFailed);
    }
}
