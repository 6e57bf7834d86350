//! A client that sleeps until something happens.

use std::time::Duration;

use mio::{Events, Poll};

use super::driver::Driver;
use super::setup::{ConnectError, Setup};
use crate::client::event::Standing;
use crate::client::outcome::{Event, Refused, Ticket};
use crate::vocabulary::message::ClientMessage;
use crate::vocabulary::units::Nanos;

/// A session over TCP whose `poll` waits: for a thread of its own, or a program that has nothing
/// else to do. Between two polls nothing is sent but requests, so poll at least once in half a
/// keep-alive interval.
#[derive(Debug)]
pub struct BlockingClient {
    driver: Driver,
    poll: Poll,
    wakes: Events,
    /// The event that `connect` saw and the application did not.
    first: Option<Event>,
}

impl BlockingClient {
    /// Logs on, at the first address that lets it. [`Event::Up`] comes first, or what an earlier
    /// program missed before it.
    pub fn connect(setup: Setup) -> Result<Self, ConnectError> {
        let poll = Poll::new()?;
        let driver = Driver::try_new(setup, Some(poll.registry().try_clone()?))?;
        let mut client = Self { driver, poll, wakes: Events::with_capacity(4), first: None };
        loop {
            match client.poll(Duration::MAX) {
                Some(Event::Ended(end)) => {
                    let why = client.driver.why().to_owned();
                    return Err(ConnectError::Ended { end, why });
                }
                Some(Event::Down { .. }) | None => {}
                Some(
                    event @ (Event::Up { .. }
                    | Event::Outcome(_)
                    | Event::Update(_)
                    | Event::NotAccepting { .. }
                    | Event::Accepting),
                ) => {
                    client.first = Some(event);
                    return Ok(client);
                }
            }
        }
    }

    /// Sends a request; its number is written in here. Its outcome comes once, with this ticket.
    pub fn send(&mut self, request: impl Into<ClientMessage>) -> Result<Ticket, Refused> {
        self.driver.send(request.into())
    }

    /// The next event; `None` when there was none for `timeout`, or none will ever be.
    pub fn poll(&mut self, timeout: Duration) -> Option<Event> {
        if let Some(event) = self.first.take() {
            return Some(event);
        }
        let clock = self.driver.clock();
        let timeout = Nanos(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        let until = clock.now().saturating_add(timeout);
        loop {
            if let Some(event) = self.driver.next_event() {
                return Some(event);
            }
            if self.driver.is_over() {
                return None;
            }
            if self.driver.turn() || self.driver.desk.has_events() {
                continue;
            }
            let now = clock.now();
            if now >= until {
                return None;
            }
            let due = self.driver.next_due().map_or(until, |due| due.min(until));
            // The system's own limit on one sleep is far above a second.
            let wait = Duration::from_nanos(due.since(now).0.min(Nanos::SECOND.0));
            // An interrupted wait is a short one.
            let _ = self.poll.poll(&mut self.wakes, Some(wait));
        }
    }

    /// Leaves in order: what is unanswered is told as unknown, and the session can be established
    /// again. Returns where it stands and the events that are left, `Ended` the last.
    pub fn close(mut self) -> (Standing, Vec<Event>) {
        self.driver.close(false);
        self.drain()
    }

    /// Brings the session to its end for ever, as [`Desk::finalize`](crate::client::desk::Desk).
    pub fn finalize(mut self) -> (Standing, Vec<Event>) {
        self.driver.close(true);
        self.drain()
    }

    /// Whether requests are taken, the gate and the table apart.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.driver.desk.is_up()
    }

    /// Requests without an outcome.
    #[must_use]
    pub fn unanswered_count(&self) -> usize {
        self.driver.desk.unanswered_count()
    }

    /// What a program keeps to go on with the session after its own restart.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.driver.desk.session().standing()
    }

    fn drain(mut self) -> (Standing, Vec<Event>) {
        let mut left = Vec::new();
        while let Some(event) = self.poll(Duration::MAX) {
            left.push(event);
        }
        (self.standing(), left)
    }
}
