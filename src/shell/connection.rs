//! One client's socket and the two sans-I/O halves that speak through it.
//!
//! A slot is made at start-up with its receive buffer and used again and again; only the socket
//! comes and goes. The receive buffer holds at most one incomplete frame beyond what a turn
//! consumes, and every length was checked before anything waits for it.
//!
//! ```text
//! Free -> Open -> Ending (the last message is queued; the transport says until when) -> Free
//! ```
//!
//! While ending, what comes is read and discarded until the peer closes: closing with unread input
//! would send a reset, which can overtake the last message (ruling F25).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;

use crate::limits::RECV_BUFFER_BYTES;
use crate::session::bindings::ConnectionIdx;
use crate::session::outgoing::Outgoing;
use crate::session::transport::Transport;
use crate::vocabulary::bytes::present;
use crate::vocabulary::units::{Index, Nanos, SessionIdx};

/// A connection slot.
#[expect(clippy::struct_excessive_bools, reason = "each is set and cleared by steps of its own")]
pub struct Connection {
    /// The node's half of the session.
    pub transport: Transport,
    /// What is sent next.
    pub outgoing: Outgoing,
    /// Received and not consumed: `[start, end)`.
    pub input: Input,
    /// The session whose journaled binding this connection holds.
    pub bound: Option<SessionIdx>,
    /// The record that bound it: an earlier bind of the same session is another connection's.
    pub bound_at: Index,
    /// In the list of connections that may have input.
    pub is_ready: bool,
    /// In the list of connections that may have output.
    pub is_sending: bool,
    /// The socket took less than was offered: it says when it takes more, and is not asked before.
    pub is_blocked: bool,
    /// The peer was said to have closed: the end may stand behind octets that came with it, and is
    /// not told again, so input is received until it comes.
    pub is_peer_closed: bool,
    /// When the socket was accepted.
    pub opened_at: Nanos,
    /// Where the peer is, while there is one.
    pub peer: Option<SocketAddr>,
    index: ConnectionIdx,
    stream: Option<TcpStream>,
    stage: Stage,
}

/// The receive buffer.
pub struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Free,
    Open,
    Ending { is_half_closed: bool, closes_when_flushed: bool },
}

/// What a `recv` brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// So many octets; there may be more.
    More(usize),
    /// So many octets (perhaps none), and nothing more until the next readiness.
    Last(usize),
    /// The peer closed its half, or the line is broken.
    Closed,
}

impl Input {
    fn new() -> Self {
        Self { bytes: present(RECV_BUFFER_BYTES, 0, u8::MAX), start: 0, end: 0 }
    }

    /// What was received and not consumed.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or(&[])
    }

    /// Forgets `len` octets at the front.
    pub fn consume(&mut self, len: usize) {
        assert!(self.start + len <= self.end, "only what was received is consumed");
        self.start += len;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves an incomplete frame to the front, so that the rest of it fits behind.
    fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }
}

impl Connection {
    /// A free slot.
    #[must_use]
    pub fn free(index: ConnectionIdx) -> Self {
        Self {
            index,
            transport: Transport::new(index, Nanos(0)),
            outgoing: Outgoing::default(),
            input: Input::new(),
            bound: None,
            bound_at: Index(0),
            is_ready: false,
            is_sending: false,
            is_blocked: false,
            is_peer_closed: false,
            opened_at: Nanos(0),
            peer: None,
            stream: None,
            stage: Stage::Free,
        }
    }

    /// Takes over an accepted socket.
    pub fn open(&mut self, stream: TcpStream, peer: SocketAddr, now: Nanos) {
        assert!(self.stage == Stage::Free, "a slot carries one connection");
        self.transport = Transport::new(self.index, now);
        self.opened_at = now;
        self.peer = Some(peer);
        self.outgoing = Outgoing::default();
        self.input.consume(self.input.pending().len());
        self.bound = None;
        self.is_blocked = false;
        self.is_peer_closed = false;
        self.stream = Some(stream);
        self.stage = Stage::Open;
    }

    /// Whether the slot carries no connection.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.stage == Stage::Free
    }

    /// Whether frames are still taken from it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// One `recv`. Input after the last message is discarded.
    pub fn receive(&mut self) -> Received {
        if self.stage != Stage::Open {
            self.input.consume(self.input.pending().len());
        }
        self.input.compact();
        let Some(stream) = &mut self.stream else { return Received::Closed };
        let room = self.input.bytes.get_mut(self.input.end..).unwrap_or_default();
        if room.is_empty() {
            return Received::More(0);
        }
        let asked = room.len();
        match stream.read(room) {
            Ok(0) => Received::Closed,
            Ok(came) => {
                self.input.end += came;
                let is_last = came < asked && !self.is_peer_closed;
                if is_last { Received::Last(came) } else { Received::More(came) }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Received::Last(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => Received::More(0),
            Err(_) => Received::Closed,
        }
    }

    /// One `send`. None when the line is broken.
    pub fn send(&mut self, octets: &[u8]) -> Option<usize> {
        let stream = self.stream.as_mut()?;
        match stream.write(octets) {
            Ok(sent) => {
                self.is_blocked = sent < octets.len();
                Some(sent)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_blocked = true;
                Some(0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(0),
            Err(_) => None,
        }
    }

    /// The last message is queued: no frame is taken any more.
    pub fn begin_end(&mut self, closes_when_flushed: bool) {
        self.stage = match self.stage {
            Stage::Free => Stage::Free,
            Stage::Open => Stage::Ending { is_half_closed: false, closes_when_flushed },
            Stage::Ending { is_half_closed, closes_when_flushed: before } => {
                Stage::Ending { is_half_closed, closes_when_flushed: before || closes_when_flushed }
            }
        };
    }

    /// Everything is sent: half-closes once. True when the socket can be given up.
    pub fn on_flushed(&mut self) -> bool {
        let Stage::Ending { is_half_closed, closes_when_flushed } = self.stage else {
            return false;
        };
        if let (false, Some(stream)) = (is_half_closed, &self.stream) {
            // Fails when the peer is gone already; the linger ends either way.
            let _ = stream.shutdown(Shutdown::Write);
            self.stage = Stage::Ending { is_half_closed: true, closes_when_flushed };
        }
        closes_when_flushed
    }

    /// Gives the socket up; the slot is free.
    pub fn close(&mut self) -> Option<TcpStream> {
        assert!(
            self.bound.is_none(),
            "a bound session is journaled as down before its slot is free"
        );
        self.stage = Stage::Free;
        self.peer = None;
        self.stream.take()
    }
}
