//! A line: one TCP connection at a time, its buffers, and nothing of what crosses it.
//!
//! Sockets are non-blocking and mio is edge-triggered: a line reads until the socket has no more,
//! and writes what it can each time it is asked.

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use tidegate::client::transport::Inbox;

/// What happened on a line.
#[derive(Debug)]
pub(super) enum LineEvent {
    /// It is up; the peer's address.
    Connected(String),
    /// Bytes are in the inbox.
    Bytes,
    /// It is gone.
    Lost(String),
}

#[derive(Debug)]
enum State {
    Down,
    Connecting(TcpStream),
    Up(TcpStream),
}

/// One TCP connection at a time.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    token: Token,
    state: State,
    inbox: Inbox,
    is_readable: bool,
    is_signaled: bool,
}

impl Line {
    /// A line that is down.
    pub(super) fn new(address: SocketAddr, token: Token) -> Self {
        Self {
            address,
            token,
            state: State::Down,
            inbox: Inbox::new(),
            is_readable: false,
            is_signaled: false,
        }
    }

    pub(super) const fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// The poll said something about the socket.
    pub(super) fn on_ready(&mut self, is_readable: bool) {
        self.is_readable |= is_readable;
        self.is_signaled = true;
    }

    /// Begins to connect; [`LineEvent::Connected`] or [`LineEvent::Lost`] follows.
    pub(super) fn connect(&mut self, registry: &Registry) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.state = State::Connecting(stream);
        self.inbox.clear();
        (self.is_readable, self.is_signaled) = (false, false);
        Ok(())
    }

    /// What happened since the last call; none when nothing did.
    pub(super) fn next_event(&mut self) -> Option<LineEvent> {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Down => None,
            State::Connecting(stream) => self.settle(stream),
            State::Up(stream) => {
                let event = self.read(&stream);
                self.state = State::Up(stream);
                event
            }
        }
    }

    fn settle(&mut self, stream: TcpStream) -> Option<LineEvent> {
        if !std::mem::take(&mut self.is_signaled) {
            self.state = State::Connecting(stream);
            return None;
        }
        let failed = stream.take_error().and_then(|e| e.map_or(Ok(()), Err));
        if let Err(e) = failed {
            return Some(LineEvent::Lost(format!("cannot connect: {e}")));
        }
        match stream.peer_addr().and_then(|peer| {
            stream.set_nodelay(true)?;
            Ok(peer)
        }) {
            Ok(peer) => {
                self.state = State::Up(stream);
                Some(LineEvent::Connected(peer.to_string()))
            }
            Err(e) if e.kind() == ErrorKind::NotConnected => {
                self.state = State::Connecting(stream);
                None
            }
            Err(e) => Some(LineEvent::Lost(format!("cannot connect: {e}"))),
        }
    }

    fn read(&mut self, mut stream: &TcpStream) -> Option<LineEvent> {
        if !self.is_readable {
            return None;
        }
        loop {
            match stream.read(self.inbox.room()) {
                Ok(0) => return Some(LineEvent::Lost("closed by the server".to_owned())),
                Ok(count) => {
                    self.inbox.on_filled(count);
                    return Some(LineEvent::Bytes);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.is_readable = false;
                    return None;
                }
                Err(e) => return Some(LineEvent::Lost(e.to_string())),
            }
        }
    }

    /// Writes what the socket takes and removes it from `outbox`; a loss is told in words.
    pub(super) fn write(&mut self, outbox: &mut Vec<u8>) -> Result<(), String> {
        let State::Up(stream) = &mut self.state else {
            return Ok(());
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
        result
    }

    /// Closes the socket; the next [`Line::connect`] opens another.
    pub(super) fn close(&mut self) {
        self.state = State::Down;
        self.inbox.clear();
    }

    /// The inbox, while its frames are handled; [`Line::give_inbox`] brings it back.
    pub(super) fn take_inbox(&mut self) -> Inbox {
        std::mem::take(&mut self.inbox)
    }

    pub(super) fn give_inbox(&mut self, inbox: Inbox) {
        self.inbox = inbox;
    }
}
