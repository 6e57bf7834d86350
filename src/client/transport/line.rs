//! A line: one TCP connection at a time, never blocking, and nothing of what crosses it.
//!
//! mio makes the connection without waiting for it; whether anybody sleeps on the socket is the
//! caller's business. Leaving follows ruling F25: flush, half-close, read and discard until the
//! peer closes or a second has passed, close. Closing at once with unread input would send a reset,
//! which may overtake the Terminate.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::inbox::Inbox;
use crate::limits::TERMINATE_LINGER;
use crate::vocabulary::units::Nanos;

#[derive(Debug)]
enum State {
    Down,
    Connecting {
        stream: TcpStream,
        until: Nanos,
    },
    Up(TcpStream),
    /// What comes is discarded.
    Leaving {
        stream: TcpStream,
        until: Nanos,
        is_half_closed: bool,
    },
}

/// What a look at the line showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Nothing,
    /// It is up.
    Connected,
    /// Octets are in the inbox.
    Octets,
    /// It is down.
    Lost(String),
}

/// One TCP connection at a time.
#[derive(Debug)]
pub(super) struct Line {
    state: State,
    pub(super) inbox: Inbox,
    /// Where sockets are registered, if anybody sleeps on them.
    registry: Option<Registry>,
}

impl Line {
    pub(super) fn new(registry: Option<Registry>) -> Self {
        Self { state: State::Down, inbox: Inbox::new(), registry }
    }

    pub(super) const fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// When a state ends by itself.
    pub(super) const fn due(&self) -> Option<Nanos> {
        match &self.state {
            State::Connecting { until, .. } | State::Leaving { until, .. } => Some(*until),
            State::Down | State::Up(_) => None,
        }
    }

    /// Begins to connect; what came of it is [`Line::look`]'s to tell.
    pub(super) fn connect(&mut self, address: SocketAddr, until: Nanos) -> io::Result<()> {
        self.inbox.clear();
        let mut stream = TcpStream::connect(address)?;
        if let Some(registry) = &self.registry {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, Token(0), interest)?;
        }
        self.state = State::Connecting { stream, until };
        Ok(())
    }

    /// What happened since the last look. After [`Seen::Lost`] the line is down.
    pub(super) fn look(&mut self, now: Nanos) -> Seen {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Down => Seen::Nothing,
            State::Connecting { stream, until } => self.settle(now, stream, until),
            State::Up(mut stream) => {
                let seen = receive(&mut stream, &mut self.inbox);
                if !matches!(seen, Seen::Lost(_)) {
                    self.state = State::Up(stream);
                }
                seen
            }
            State::Leaving { mut stream, until, is_half_closed } => {
                self.inbox.clear();
                let seen = receive(&mut stream, &mut self.inbox);
                self.inbox.clear();
                if matches!(seen, Seen::Lost(_)) || now >= until {
                    return Seen::Lost("left in order".to_owned());
                }
                self.state = State::Leaving { stream, until, is_half_closed };
                // Discarded octets are nobody's business, but there may be more.
                seen
            }
        }
    }

    /// Writes what the socket takes and removes it from `outbox`. A line that is left is closed for
    /// writing once all is out.
    pub(super) fn write(&mut self, outbox: &mut Vec<u8>) -> Result<usize, String> {
        let (State::Up(stream) | State::Leaving { stream, .. }) = &mut self.state else {
            return Ok(0);
        };
        let mut written = 0;
        let mut result = Ok(());
        while let Some(rest) = outbox.get(written..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => {
                    result = Err(e.to_string());
                    break;
                }
            }
        }
        outbox.drain(..written);
        if let State::Leaving { stream, is_half_closed, .. } = &mut self.state
            && outbox.is_empty()
            && !std::mem::replace(is_half_closed, true)
        {
            // A peer that is gone already is what is waited for.
            let _ = stream.shutdown(Shutdown::Write);
        }
        result.map(|()| written)
    }

    /// Leaves the line in order.
    pub(super) fn leave(&mut self, now: Nanos) {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Up(stream) => {
                let until = now.saturating_add(TERMINATE_LINGER);
                State::Leaving { stream, until, is_half_closed: false }
            }
            State::Connecting { .. } | State::Down => State::Down,
            leaving @ State::Leaving { .. } => leaving,
        };
    }

    fn settle(&mut self, now: Nanos, stream: TcpStream, until: Nanos) -> Seen {
        let lost = |e: &io::Error| Seen::Lost(format!("cannot connect: {e}"));
        if let Err(e) = stream.take_error().and_then(|e| e.map_or(Ok(()), Err)) {
            return lost(&e);
        }
        match stream.peer_addr().and_then(|_| stream.set_nodelay(true)) {
            Ok(()) => {
                self.state = State::Up(stream);
                Seen::Connected
            }
            Err(e) if e.kind() == ErrorKind::NotConnected => {
                if now >= until {
                    return Seen::Lost("cannot connect: no answer in time".to_owned());
                }
                self.state = State::Connecting { stream, until };
                Seen::Nothing
            }
            Err(e) => lost(&e),
        }
    }
}

fn receive(stream: &mut TcpStream, inbox: &mut Inbox) -> Seen {
    loop {
        match stream.read(inbox.room()) {
            Ok(0) => return Seen::Lost("closed by the server".to_owned()),
            Ok(count) => {
                inbox.on_filled(count);
                return Seen::Octets;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Seen::Nothing,
            Err(e) => return Seen::Lost(e.to_string()),
        }
    }
}
