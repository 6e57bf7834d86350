//! Readiness of sockets, through mio: the only place that knows of tokens and of the listener.
//!
//! mio is edge-triggered: a socket is reported once and stays on the caller's ready list until a
//! `recv` came back short, or empty once its peer has closed. All memory is made at start-up; a
//! full event buffer leaves the rest for the next turn.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::session::bindings::ConnectionIdx;

/// Events taken in one turn; more stay with the kernel.
const EVENTS_A_TURN_MAX: usize = 1024;
/// Connections accepted in one turn, so that a flood of them cannot hold orders up.
pub const ACCEPTS_A_TURN_MAX: u32 = 8;
const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// The poll, the listener and the waker of the hot thread.
pub struct Sockets {
    poll: Poll,
    events: Events,
    listener: Option<TcpListener>,
    waker: Arc<Waker>,
    is_listener_ready: bool,
}

/// What one readiness says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readiness {
    /// The connection.
    pub connection: ConnectionIdx,
    /// It may have input, or its peer closed.
    pub is_readable: bool,
    /// Its peer closed, perhaps behind input: nothing more is told of what can be received.
    pub is_closed: bool,
    /// It takes output again.
    pub is_writable: bool,
}

impl Sockets {
    /// Listens on `address`.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_A_TURN_MAX),
            listener: Some(listener),
            waker,
            is_listener_ready: true,
        })
    }

    /// The address listened on: the system chose the port when 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Some(listener) => listener.local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Wakes a parked hot thread from another one.
    #[must_use]
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Asks the kernel once. An interrupted call found nothing.
    pub fn poll(&mut self, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            other => other?,
        }
        self.is_listener_ready |= self.events.iter().any(|event| event.token() == LISTENER);
        Ok(())
    }

    /// What the last poll found on connections.
    pub fn ready(&self) -> impl Iterator<Item = Readiness> + '_ {
        self.events.iter().filter_map(|event| {
            let connection = ConnectionIdx(u32::try_from(event.token().0).ok()?);
            let is_closed = event.is_read_closed() || event.is_error();
            let is_readable = event.is_readable() || is_closed;
            let is_writable = event.is_writable();
            Some(Readiness { connection, is_readable, is_closed, is_writable })
        })
    }

    /// The next connection that waits, if there is one.
    pub fn accept(&mut self) -> Option<(TcpStream, SocketAddr)> {
        let listener = self.listener.as_ref().filter(|_| self.is_listener_ready)?;
        match listener.accept() {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                // Out of file descriptors or a connection that died in the queue: asked again
                // later.
                self.is_listener_ready = error.kind() != io::ErrorKind::WouldBlock;
                None
            }
        }
    }

    /// Whether connections may wait that were not accepted yet.
    #[must_use]
    pub const fn may_accept(&self) -> bool {
        self.is_listener_ready && self.listener.is_some()
    }

    /// Watches a connection in both directions, with Nagle's algorithm off.
    pub fn register(&self, stream: &mut TcpStream, connection: ConnectionIdx) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let token = Token(connection.0 as usize);
        self.poll.registry().register(stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Watches a connection no longer. A socket that the kernel dropped already is no fault.
    pub fn deregister(&self, stream: &mut TcpStream) {
        let _ = stream.deregister(self.poll.registry());
    }

    /// Takes no more connections.
    pub fn close_listener(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            let _ = listener.deregister(self.poll.registry());
        }
    }
}
