//! One connection of the load: a socket around a client session, and the requests it waits for.
//!
//! The session answers what comes and numbers what goes; `requests` knows what has no answer. This
//! file joins them to a line: what is sent when, what a lost line means, and when to give up.

use super::figures::{Figures, LATE_AFTER};
use super::line::{Line, LineEvent};
use super::plan::{Duplicate, Extras, Plan};
use super::requests::{Pending, Request, Requests};
use std::collections::VecDeque;
use std::io;
use tidegate::client::event::{Advice, ClientEvent};
use tidegate::client::history::{EntryKind, HistoryWriter};
use tidegate::client::session::{ClientSession, SEND_BYTES_MAX};
use tidegate::client::transport::Inbox;
use tidegate::vocabulary::fix::TerminationCode;
use tidegate::vocabulary::units::{ClOrdId, Nanos};
use tidegate::wire::encode::CLIENT_BYTES_MAX;

/// Pause before a line is tried again.
const RETRY_PAUSE: Nanos = Nanos(20_000_000);
/// Bytes waiting for the socket at which no more requests are made.
const OUTBOX_BYTES_MAX: usize = 32 * 1024;
/// Frames kept to be sent again as they were.
const RECENT_FRAMES_MAX: usize = 16;

/// What one connection is given besides the plan.
#[derive(Debug)]
pub(super) struct Setup {
    /// Its place, from 0.
    pub(super) number: u32,
    pub(super) session: ClientSession,
    pub(super) history: Option<HistoryWriter>,
    pub(super) window: usize,
    /// How long a lost line is tried again; zero: not at all.
    pub(super) reconnect: Nanos,
    pub(super) line: Line,
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It logged out.
    Done,
    /// It cannot go on; the words say why.
    Failed(String),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection<'p> {
    plan: &'p Plan,
    number: u32,
    session: ClientSession,
    history: Option<HistoryWriter>,
    line: Line,
    reconnect: Nanos,
    end: Option<End>,
    /// Bytes for the socket, whole frames.
    outbox: Vec<u8>,
    requests: Requests,
    /// Order frames of this line, to be sent again as they are.
    recent: VecDeque<([u8; CLIENT_BYTES_MAX], usize)>,
    /// The next order, from 1.
    next_k: u32,
    orders: u32,
    /// What follows order `next_k - 1` and was not sent yet.
    extras: Extras,
    is_finishing: bool,
    /// Whether the line is to be dropped once the outbox is empty.
    is_closing: bool,
    /// Why this line is left; without it, its loss has words of its own.
    leaving: Option<String>,
    retry_at: Nanos,
    down_since: Option<Nanos>,
    last_report: Nanos,
    /// The last report before a loss that nothing came after yet.
    gap_from: Option<Nanos>,
    was_live: bool,
}

impl<'p> Connection<'p> {
    pub(super) fn new(plan: &'p Plan, setup: Setup, now: Nanos) -> Self {
        let orders = plan.orders_of(setup.number);
        Self {
            plan,
            number: setup.number,
            session: setup.session,
            history: setup.history,
            line: setup.line,
            reconnect: setup.reconnect,
            end: None,
            outbox: Vec::with_capacity(OUTBOX_BYTES_MAX + 2 * SEND_BYTES_MAX),
            requests: Requests::new(setup.window, orders),
            recent: VecDeque::with_capacity(RECENT_FRAMES_MAX),
            next_k: 1,
            orders,
            extras: Extras::default(),
            is_finishing: false,
            is_closing: false,
            leaving: None,
            retry_at: now,
            down_since: Some(now),
            last_report: now,
            gap_from: None,
            was_live: false,
        }
    }

    /// One turn of a line that is up: read, keep alive, send. Returns how much it did. `start` is
    /// when the first order was due; none before all connections are up.
    pub(super) fn turn(
        &mut self,
        now: Nanos,
        start: Option<Nanos>,
        figures: &mut Figures,
    ) -> io::Result<usize> {
        if self.end.is_some() || self.line.is_down() {
            return Ok(0);
        }
        let mut done = self.receive(now, figures)?;
        done += self.keep_alive(now, figures)?;
        if let Some(start) = start {
            done += self.pump(now, start, figures)?;
        }
        self.flush(now)?;
        Ok(done)
    }

    /// The socket has something to say.
    pub(super) fn on_ready(&mut self, is_readable: bool) {
        self.line.on_ready(is_readable);
    }

    /// All was sent and answered: logs out.
    pub(super) fn finish(&mut self, now: Nanos) -> io::Result<()> {
        if self.is_finishing || self.end.is_some() {
            return Ok(());
        }
        self.is_finishing = true;
        if self.line.is_down() {
            self.end = Some(End::Done);
            return Ok(());
        }
        let mark = self.outbox.len();
        self.session.on_finish(now, &mut self.outbox);
        // A line that is still coming up has no session to leave, and no answer will end it.
        self.is_closing |= self.outbox.len() == mark;
        self.log_sent(now, mark)
    }

    /// Ends at once; the history is complete up to here.
    pub(super) fn abort(&mut self, why: &str) -> io::Result<()> {
        if self.end.is_none() {
            self.end = Some(End::Failed(why.to_owned()));
        }
        self.flush_history()
    }

    /// Hands the whole history to the system.
    pub(super) fn flush_history(&mut self) -> io::Result<()> {
        self.history.as_mut().map_or(Ok(()), HistoryWriter::flush)
    }

    pub(super) const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether its logon is in progress.
    pub(super) fn is_logging_on(&self) -> bool {
        self.end.is_none() && !self.line.is_down() && self.down_since.is_some()
    }

    /// Whether it is up or has failed: the others need not wait for it.
    pub(super) fn is_settled(&self) -> bool {
        self.end.is_some() || self.was_live
    }

    /// Whether nothing is left to be sent or answered, or ever will be.
    pub(super) fn is_drained(&self) -> bool {
        let is_all_sent = self.next_k > self.orders && self.extras == Extras::default();
        self.end.is_some() || (is_all_sent && self.requests.is_empty())
    }

    /// When it next has something to do by itself.
    pub(super) fn next_due(&self, start: Option<Nanos>) -> Option<Nanos> {
        if self.line.is_down() {
            return Some(self.retry_at);
        }
        let is_open = self.next_k <= self.orders && !self.requests.is_full();
        let order = start.filter(|_| is_open).map(|start| self.due(start));
        [order, self.session.next_deadline()].into_iter().flatten().min()
    }

    fn due(&self, start: Nanos) -> Nanos {
        start.saturating_add(self.plan.due(self.number, self.next_k))
    }

    /// Begins to log on, if that is due. Returns whether a logon is in progress now.
    pub(super) fn log_on(&mut self, now: Nanos, registry: &mio::Registry) -> io::Result<bool> {
        if self.end.is_some() || !self.line.is_down() || now < self.retry_at {
            return Ok(false);
        }
        self.flush_history()?;
        if let Err(e) = self.line.connect(registry) {
            self.on_lost(now, &format!("cannot connect: {e}"))?;
        }
        Ok(!self.line.is_down())
    }

    fn receive(&mut self, now: Nanos, figures: &mut Figures) -> io::Result<usize> {
        let mut done = 0;
        while let Some(event) = self.line.next_event() {
            done += 1;
            match event {
                LineEvent::Connected(address) => {
                    self.note(now, EntryKind::Connected, address.as_bytes())?;
                    let mark = self.outbox.len();
                    self.session.on_connected(now, now, &mut self.outbox);
                    self.log_sent(now, mark)?;
                }
                LineEvent::Lost(why) => {
                    self.on_lost(now, &why)?;
                    break;
                }
                LineEvent::Bytes => {
                    // The buffer is taken out while its frames are handled.
                    let mut inbox = self.line.take_inbox();
                    let read = self.handle_frames(now, &mut inbox, figures);
                    self.line.give_inbox(inbox);
                    read?;
                }
            }
        }
        Ok(done)
    }

    fn handle_frames(
        &mut self,
        now: Nanos,
        inbox: &mut Inbox,
        figures: &mut Figures,
    ) -> io::Result<()> {
        while !self.is_closing && self.end.is_none() {
            let mark = self.outbox.len();
            let event = match inbox.next_frame() {
                Ok(None) => break,
                Ok(Some((frame, octets))) => {
                    if let Some(history) = &mut self.history {
                        history.append(now, EntryKind::Received, octets)?;
                    }
                    self.session.on_frame(now, &frame, &mut self.outbox)
                }
                Err(_) => self.session.on_bad_bytes(now, &mut self.outbox),
            };
            self.log_sent(now, mark)?;
            if let Some(event) = event {
                self.on_event(now, &event, figures)?;
            }
        }
        Ok(())
    }

    fn keep_alive(&mut self, now: Nanos, figures: &mut Figures) -> io::Result<usize> {
        if self.session.next_deadline().is_none_or(|at| now < at) {
            return Ok(0);
        }
        let mark = self.outbox.len();
        let event = self.session.on_timer(now, &mut self.outbox);
        self.log_sent(now, mark)?;
        if let Some(event) = event {
            self.on_event(now, &event, figures)?;
        }
        Ok(usize::from(self.outbox.len() > mark))
    }

    fn on_event(
        &mut self,
        now: Nanos,
        event: &ClientEvent,
        figures: &mut Figures,
    ) -> io::Result<()> {
        match event {
            ClientEvent::Established { last_incoming, .. } => {
                figures.reconnects += u64::from(self.was_live);
                self.was_live = true;
                self.down_since = None;
                self.requests.mark_lost(|seq| seq > *last_incoming);
            }
            ClientEvent::Live => {}
            ClientEvent::Report(report) => {
                self.last_report = now;
                if let Some(from) = self.gap_from.take() {
                    figures.outage_max = figures.outage_max.max(now.since(from));
                }
                self.requests.on_report(now, report, figures);
            }
            ClientEvent::NotAccepting { .. } => {
                figures.not_accepting += 1;
                // Frames of these numbers may never have happened; they are not sent as they are.
                self.recent.clear();
            }
            ClientEvent::Rejected { code, reason, advice } => {
                self.is_closing = true;
                let refusal = format!("logon refused: {code} ({reason})");
                self.note(now, EntryKind::Note, refusal.as_bytes())?;
                self.leaving = Some(refusal.clone());
                self.retry_at = match advice {
                    Advice::ReconnectNow => now,
                    Advice::RetryAfter(pause) => now.saturating_add(*pause),
                    Advice::NextAddress => now.saturating_add(RETRY_PAUSE),
                    Advice::NewSession | Advice::GiveUp => {
                        self.end = Some(End::Failed(refusal));
                        now
                    }
                };
            }
            ClientEvent::Terminated { by, code, reason } => {
                self.is_closing = true;
                self.retry_at = now.saturating_add(RETRY_PAUSE);
                let name = TerminationCode::from_wire(*code).map_or("?", TerminationCode::name);
                let what = format!("terminated by {by:?}: {name} ({reason})");
                self.note(now, EntryKind::Note, what.as_bytes())?;
                self.leaving = Some(what);
            }
            ClientEvent::Stopped(cause) => {
                self.is_closing = true;
                let what = cause.to_string();
                self.note(now, EntryKind::Note, what.as_bytes())?;
                self.end = Some(End::Failed(what));
            }
        }
        Ok(())
    }

    /// Sends what the window and the clock let: lost requests, then what follows the last order,
    /// then new orders.
    fn pump(&mut self, now: Nanos, start: Nanos, figures: &mut Figures) -> io::Result<usize> {
        let mut done = 0;
        while self.session.is_live() && self.outbox.len() < OUTBOX_BYTES_MAX && !self.is_finishing {
            if let Some(lost) = self.requests.take_lost() {
                figures.resent += 1;
                self.ask(now, lost.what, lost.due, true)?;
            } else if let Some(Duplicate::SameNumber) = self.extras.duplicate {
                self.extras.duplicate = None;
                self.repeat_frame(now, figures)?;
            } else if self.requests.is_full() {
                break;
            } else if let Some(Duplicate::NewNumber(k)) = self.extras.duplicate {
                self.extras.duplicate = None;
                figures.duplicates_asked += 1;
                self.ask(now, Request::Duplicate(k), None, false)?;
            } else if let Some(target) = self.extras.cancel {
                self.extras.cancel = None;
                figures.cancels_sent += 1;
                let k = self.next_k - 1;
                self.ask(now, Request::Cancel { k, target }, None, false)?;
            } else if self.next_k <= self.orders && now >= self.due(start) {
                let due = self.plan.rate.map(|_| self.due(start));
                figures.late += u64::from(due.is_some_and(|due| now.since(due) > LATE_AFTER));
                figures.sent += 1;
                let k = self.next_k;
                self.next_k += 1;
                self.extras = self.plan.extras(self.number, k);
                self.ask(now, Request::Order(k), due, false)?;
            } else {
                break;
            }
            done += 1;
        }
        Ok(done)
    }

    fn ask(
        &mut self,
        now: Nanos,
        what: Request,
        due: Option<Nanos>,
        is_again: bool,
    ) -> io::Result<()> {
        let c = self.number;
        let mut message = match what {
            Request::Order(k) => self.plan.order(c, k, is_again),
            Request::Duplicate(k) => self.plan.order(c, k, true),
            Request::Cancel { k, target } => self.plan.cancel(c, k, target, is_again),
        };
        let mark = self.outbox.len();
        let Some(seq) = self.session.on_send(now, &mut message, &mut self.outbox) else {
            unreachable!("the session is live");
        };
        self.log_sent(now, mark)?;
        self.requests.push(Pending {
            seq,
            cl_ord_id: ClOrdId(message.request_id()),
            what,
            sent: now,
            due,
            is_interrupted: is_again,
            is_lost: false,
        });
        if let Some(frame) = self.outbox.get(mark..) {
            if self.recent.len() == RECENT_FRAMES_MAX {
                self.recent.pop_front();
            }
            let mut kept = [0; CLIENT_BYTES_MAX];
            if let Some(place) = kept.get_mut(..frame.len()) {
                place.copy_from_slice(frame);
                self.recent.push_back((kept, frame.len()));
            }
        }
        Ok(())
    }

    /// Sends a frame of this line again, number and all.
    fn repeat_frame(&mut self, now: Nanos, figures: &mut Figures) -> io::Result<()> {
        let place = usize::try_from(self.next_k).unwrap_or(0) % self.recent.len().max(1);
        let Some((frame, len)) = self.recent.get(place).copied() else {
            return Ok(());
        };
        figures.duplicates_silent += 1;
        let mark = self.outbox.len();
        self.outbox.extend_from_slice(frame.get(..len).unwrap_or(&[]));
        self.log_sent(now, mark)
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        if self.line.is_down() {
            return Ok(());
        }
        if let Err(why) = self.line.write(&mut self.outbox) {
            return self.on_lost(now, &why);
        }
        if self.is_closing && self.outbox.is_empty() {
            return self.on_lost(now, "left");
        }
        Ok(())
    }

    /// The line is gone: logged, and tried again unless this was the end.
    fn on_lost(&mut self, now: Nanos, why: &str) -> io::Result<()> {
        self.note(now, EntryKind::Disconnected, why.as_bytes())?;
        self.line.close();
        self.session.on_disconnected(now);
        self.requests.on_lost();
        self.outbox.clear();
        self.recent.clear();
        self.is_closing = false;
        self.retry_at = self.retry_at.max(now.saturating_add(RETRY_PAUSE));
        if self.was_live && !self.is_drained() {
            self.gap_from.get_or_insert(self.last_report);
        }
        self.down_since.get_or_insert(now);
        let left = self.leaving.take();
        let why = left.as_deref().unwrap_or(why);
        if self.end.is_none() {
            self.end = if self.is_finishing {
                Some(End::Done)
            } else if self.reconnect == Nanos(0) {
                Some(End::Failed(why.to_owned()))
            } else if now.since(self.down_since.unwrap_or(now)) > self.reconnect {
                Some(End::Failed(format!("not back in time: {why}")))
            } else {
                None
            };
        }
        self.flush_history()
    }

    fn note(&mut self, now: Nanos, kind: EntryKind, what: &[u8]) -> io::Result<()> {
        self.history.as_mut().map_or(Ok(()), |history| history.append(now, kind, what))
    }

    /// Writes the frames behind `mark` in the outbox into the history.
    fn log_sent(&mut self, now: Nanos, mark: usize) -> io::Result<()> {
        let Some(history) = &mut self.history else {
            return Ok(());
        };
        let mut rest = self.outbox.get(mark..).unwrap_or(&[]);
        while let Some([low, high]) = rest.first_chunk() {
            let len = usize::from(u16::from_le_bytes([*low, *high])).max(1);
            let (frame, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            history.append(now, EntryKind::Sent, frame)?;
            rest = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Firm;
    use super::*;
    use std::net::{SocketAddr, TcpListener};
    use tidegate::client::event::{ClientIdentity, Party, SessionOptions};
    use tidegate::session::credentials::Key;
    use tidegate::vocabulary::units::{SessionId, Text};

    fn plan() -> Plan {
        let key = Key::try_new("firm-a", &[0xa1; 32]).unwrap();
        Plan {
            firms: vec![Firm { key, accounts: vec![1001] }],
            connections: 2,
            orders: 1,
            instruments: 1,
            duplicates: 0,
            cancels: 0,
            seed: 1,
            run_id: 1,
            poss_resend: false,
            rate: None,
        }
    }

    /// The second connection, which has no order to send.
    fn connection(plan: &Plan, address: SocketAddr, reconnect: Nanos) -> Connection<'_> {
        let key = plan.firm_of(1).key.clone();
        let identity = ClientIdentity { session_id: SessionId([1; 16]), key };
        let setup = Setup {
            number: 1,
            session: ClientSession::new(identity, SessionOptions::default()),
            history: None,
            window: 1,
            reconnect,
            line: Line::new(address, mio::Token(0)),
        };
        Connection::new(plan, setup, Nanos::SECOND)
    }

    /// A line that comes back after everything is answered has nobody left to log out for it.
    #[test]
    fn a_line_that_is_still_coming_up_ends_when_the_run_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = plan();
        let poll = mio::Poll::new().unwrap();
        let mut figures = Figures::try_new().unwrap();
        for is_logging_on in [false, true] {
            let now = Nanos::SECOND;
            let address = listener.local_addr().unwrap();
            let mut connection = connection(&plan, address, Nanos::SECOND);
            assert!(connection.log_on(now, poll.registry()).unwrap() && connection.is_drained());
            if is_logging_on {
                connection.session.on_connected(now, now, &mut connection.outbox);
                connection.outbox.clear();
            }
            connection.finish(now).unwrap();
            connection.turn(now, None, &mut figures).unwrap();
            assert_eq!(connection.end(), Some(&End::Done), "logging on: {is_logging_on}");
        }
    }

    #[test]
    fn a_run_that_the_server_ended_says_in_whose_words() {
        let address = "127.0.0.1:1".parse().unwrap();
        let plan = plan();
        let mut figures = Figures::try_new().unwrap();
        let mut connection = connection(&plan, address, Nanos(0));
        let (by, code) = (Party::Server, TerminationCode::Finished.wire());
        let event = ClientEvent::Terminated { by, code, reason: Text::new("maintenance") };
        connection.on_event(Nanos::SECOND, &event, &mut figures).unwrap();
        connection.on_lost(Nanos::SECOND, "closed by the server").unwrap();
        let Some(End::Failed(why)) = connection.end() else { panic!("it goes on") };
        assert!(why.contains("terminated by Server") && why.contains("maintenance"), "{why}");
    }
}
