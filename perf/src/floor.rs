//! The floors: what the machine itself charges for moving the same bytes there and back.
//!
//! An order-to-ack time says little alone: most of it is the kernel's TCP path, and that differs
//! by a factor of five between machines. So the engine is measured beside a server that does
//! nothing but read a request and answer it, of the same sizes, in the same run. Two of them:
//!
//! * F0 calls `recv` until something comes: the least a TCP server can do;
//! * F1 asks a mio poll (zero timeout, one registered socket) first, and reads when the poll says
//!   so: the least a server with many connections can do, in the loop the engine uses.
//!
//! A reply begins with the request's own bytes, so that the client knows which request it
//! answers. One connection at a time; a connection that says nothing for [`QUIET_MAX`] is closed,
//! which bounds how long a forgotten floor can burn a core.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use mio::{Events, Interest, Poll, Token};
use tidegate::wire::layout;

use crate::clock;
use crate::idle::Idle;

/// Bytes of a request or a reply, at most: a whole one fits the read buffer many times.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;
/// One read takes at most this much, as the engine's connections do.
const BUFFER_BYTES: usize = 16 * 1024;
const _: () = assert!(BUFFER_BYTES >= 2 * MESSAGE_BYTES_MAX);
/// A connection silent for so long is closed.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// Idle steps between two looks at the clock, so that the look costs nothing.
const QUIET_STEPS: u32 = 4096;

/// Which floor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FloorKind {
    /// Raw non-blocking receive, repeated.
    F0,
    /// The same behind a mio poll with zero timeout.
    F1,
}

/// Bytes on the wire, each in `[8, MESSAGE_BYTES_MAX]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sizes {
    /// Client to server.
    pub(crate) request_bytes: usize,
    /// Server to client.
    pub(crate) reply_bytes: usize,
}

impl Sizes {
    /// The order path: framing header 4, SBE header 8, then the block: `NewOrderSingle` 72 in,
    /// `ExecutionReportNew` 104 out.
    pub(crate) const ORDER_PATH: Self = Self {
        request_bytes: layout::HEADER_BYTES + layout::new_order_single::BLOCK,
        reply_bytes: layout::HEADER_BYTES + layout::execution_report_new::BLOCK,
    };
}

/// An echo server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    /// How it waits.
    pub(crate) kind: FloorKind,
    /// What it does between two looks.
    pub(crate) idle: Idle,
    /// What it reads and answers.
    pub(crate) sizes: Sizes,
}

impl Floor {
    /// Serves connections one after the other, `connection_count_max` of them. A connection that
    /// breaks is the client's affair; only a listener that breaks is an error.
    pub(crate) fn serve(self, listener: &TcpListener, connection_count_max: u64) -> io::Result<()> {
        for _ in 0..connection_count_max {
            let (stream, _) = listener.accept()?;
            let outcome = match self.kind {
                FloorKind::F0 => self.serve_spinning(stream),
                FloorKind::F1 => self.serve_polled(stream),
            };
            if let Err(error) = outcome {
                let _ = writeln!(io::stderr(), "floor: connection ended: {error}");
            }
        }
        Ok(())
    }

    fn serve_spinning(self, mut stream: TcpStream) -> io::Result<()> {
        prepare(&stream)?;
        let mut desk = Desk::new(self.sizes);
        let mut quiet = Quiet::new();
        loop {
            match desk.on_readable(&mut stream)? {
                Received::Closed => return Ok(()),
                Received::Drained | Received::More => quiet.reset(),
                Received::Nothing => {
                    if quiet.is_over() {
                        return Ok(());
                    }
                    self.idle.rest();
                }
            }
        }
    }

    fn serve_polled(self, stream: TcpStream) -> io::Result<()> {
        prepare(&stream)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(64);
        poll.registry().register(&mut stream, Token(0), Interest::READABLE)?;
        let mut desk = Desk::new(self.sizes);
        let mut quiet = Quiet::new();
        loop {
            match poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let Some(event) = events.iter().next() else {
                if quiet.is_over() {
                    return Ok(());
                }
                self.idle.rest();
                continue;
            };
            quiet.reset();
            // Edges are reported once: the socket is read until a short read says it is empty.
            let mut received = Received::More;
            while received == Received::More {
                received = desk.on_readable(&mut stream)?;
            }
            if received == Received::Closed || event.is_read_closed() {
                return Ok(());
            }
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)
}

/// What one `recv` found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Received {
    /// No byte was there.
    Nothing,
    /// Bytes, and the socket is empty now.
    Drained,
    /// Bytes up to the end of the buffer: there may be more.
    More,
    /// The peer is gone.
    Closed,
}

/// Bytes in, whole requests answered. Between two calls `buffer[..filled]` is less than one
/// request, so there is always room to read.
struct Desk {
    sizes: Sizes,
    buffer: Vec<u8>,
    filled: usize,
    reply: Vec<u8>,
}

impl Desk {
    fn new(sizes: Sizes) -> Self {
        assert!((8..=MESSAGE_BYTES_MAX).contains(&sizes.request_bytes));
        assert!((8..=MESSAGE_BYTES_MAX).contains(&sizes.reply_bytes));
        Self { sizes, buffer: vec![0; BUFFER_BYTES], filled: 0, reply: vec![0; sizes.reply_bytes] }
    }

    /// One `recv`, then one `send` for every whole request.
    fn on_readable(&mut self, stream: &mut (impl Read + Write)) -> io::Result<Received> {
        debug_assert!(self.filled < self.sizes.request_bytes);
        let room = &mut self.buffer[self.filled..];
        let room_bytes = room.len();
        let count = match stream.read(room) {
            Ok(0) => return Ok(Received::Closed),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Received::More),
            Err(error) => return Err(error),
        };
        self.filled += count;
        let echoed = self.sizes.request_bytes.min(self.sizes.reply_bytes);
        let mut start = 0;
        while self.filled - start >= self.sizes.request_bytes {
            self.reply[..echoed].copy_from_slice(&self.buffer[start..start + echoed]);
            let sent = stream.write(&self.reply)?;
            if sent != self.reply.len() {
                return Err(io::Error::new(ErrorKind::WriteZero, "the peer does not read"));
            }
            start += self.sizes.request_bytes;
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(if count < room_bytes { Received::Drained } else { Received::More })
    }
}

/// Notices a connection on which nothing happens any more.
struct Quiet {
    steps: u32,
    since: Option<Instant>,
}

impl Quiet {
    fn new() -> Self {
        Self { steps: 0, since: None }
    }

    fn reset(&mut self) {
        *self = Self::new();
    }

    fn is_over(&mut self) -> bool {
        self.steps += 1;
        if self.steps < QUIET_STEPS {
            return false;
        }
        self.steps = 0;
        let now = clock::now();
        now.duration_since(*self.since.get_or_insert(now)) >= QUIET_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that hands out the given pieces, one a read, and keeps what is written.
    struct Pieces {
        pieces: Vec<&'static [u8]>,
        written: Vec<u8>,
    }

    impl Read for Pieces {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            if self.pieces.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let piece = self.pieces.remove(0);
            room[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn check(pieces: &[&'static [u8]], received: &[Received], written: &[u8]) {
        let sizes = Sizes { request_bytes: 8, reply_bytes: 10 };
        let mut desk = Desk::new(sizes);
        let mut stream = Pieces { pieces: pieces.to_vec(), written: Vec::new() };
        for expected in received {
            assert_eq!(desk.on_readable(&mut stream).unwrap(), *expected);
        }
        assert_eq!(stream.written, written);
    }

    #[test]
    fn whole_requests_are_answered_once_however_they_are_cut() {
        use Received::{Closed, Drained, Nothing};
        check(&[], &[Nothing], b"");
        check(&[b"abcdefgh"], &[Drained, Nothing], b"abcdefgh\0\0");
        check(&[b"abc", b"defgh"], &[Drained, Drained, Nothing], b"abcdefgh\0\0");
        check(&[b"abcdefghABCDEFGH"], &[Drained], b"abcdefgh\0\0ABCDEFGH\0\0");
        check(&[b"abcdefghABC", b"DEFGH"], &[Drained, Drained], b"abcdefgh\0\0ABCDEFGH\0\0");
        check(&[b"abc", b""], &[Drained, Closed], b"");
    }
}
