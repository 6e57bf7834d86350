//! A client that its caller spins.

use super::driver::Driver;
use super::setup::{ConnectError, Setup};
use crate::client::event::Standing;
use crate::client::outcome::{Event, Refused, Ticket};
use crate::vocabulary::message::ClientMessage;

/// A session over TCP that never waits, connecting included: the caller's loop calls
/// [`BusyClient::poll`] again and again, and a turn without work costs one read of the socket.
#[derive(Debug)]
pub struct BusyClient {
    driver: Driver,
}

impl BusyClient {
    /// A client that begins to log on with the first poll; [`Event::Up`] follows.
    pub fn connect(setup: Setup) -> Result<Self, ConnectError> {
        Ok(Self { driver: Driver::try_new(setup, None)? })
    }

    /// Sends a request; its number is written in here. Its outcome comes once, with this ticket.
    pub fn send(&mut self, request: impl Into<ClientMessage>) -> Result<Ticket, Refused> {
        self.driver.send(request.into())
    }

    /// One turn, unless an event waits already.
    #[inline]
    pub fn poll(&mut self) -> Option<Event> {
        if let Some(event) = self.driver.next_event() {
            return Some(event);
        }
        self.driver.turn();
        self.driver.next_event()
    }

    /// Leaves in order: what is unanswered is told as unknown. Poll until [`BusyClient::is_over`].
    pub fn close(&mut self) {
        self.driver.close(false);
    }

    /// Brings the session to its end for ever. Poll until [`BusyClient::is_over`].
    pub fn finalize(&mut self) {
        self.driver.close(true);
    }

    /// Whether requests are taken, the gate and the table apart.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.driver.desk.is_up()
    }

    /// Whether it has ended, every event was read and the socket is closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.driver.is_over() && !self.driver.desk.has_events()
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
}
