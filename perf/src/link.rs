//! The client's end of one TCP connection.
//!
//! Non-blocking, without Nagle's delay, read in a loop with the run's idle strategy in between.
//! Every wait has a bound: a server that stops answering ends the run with a named error after
//! [`ANSWER_MAX`], not a hung terminal.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::clock;
use crate::error::PerfError;
use crate::idle::Idle;

/// An answer takes at most this long. Far above any figure worth recording, so that a stall of
/// the machine is recorded as a latency and not as an error.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Idle steps between two looks at the clock.
const BOUND_STEPS: u32 = 4096;
/// Received and not yet consumed bytes, at most.
const BUFFER_BYTES: usize = 64 * 1024;

/// A connection. Invariant: `filled <= buffer.len()`.
pub(crate) struct Link {
    stream: TcpStream,
    idle: Idle,
    buffer: Vec<u8>,
    filled: usize,
}

impl Link {
    /// Connects within [`ANSWER_MAX`].
    pub(crate) fn connect(address: SocketAddr, idle: Idle) -> Result<Self, PerfError> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_MAX)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            })
            .map_err(PerfError::io(format!("connecting to {address}")))?;
        Ok(Self { stream, idle, buffer: vec![0; BUFFER_BYTES], filled: 0 })
    }

    /// Sends all of `bytes`, in one system call unless the socket is full.
    #[inline]
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> Result<(), PerfError> {
        let mut bound = Bound::new("sending a request");
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_try_again(error.kind()) => {
                    bound.on_idle()?;
                    self.idle.rest();
                }
                Err(error) => return Err(PerfError::io("sending a request")(error)),
            }
        }
        Ok(())
    }

    /// Receives until `try_complete` finds the answer in what came, and drops what it consumed.
    #[inline]
    pub(crate) fn await_answer(
        &mut self,
        mut try_complete: impl FnMut(&[u8]) -> Result<Option<usize>, PerfError>,
    ) -> Result<(), PerfError> {
        let mut bound = Bound::new("waiting for an answer");
        loop {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                // Also a full buffer ends here: an answer never needs that much.
                Ok(0) => {
                    return Err(PerfError::unexpected(
                        "waiting for an answer",
                        "an answer",
                        format!("the end of the stream after {} bytes", self.filled),
                    ));
                }
                Ok(count) => {
                    self.filled += count;
                    if let Some(consumed) = try_complete(&self.buffer[..self.filled])? {
                        assert!(consumed <= self.filled);
                        self.buffer.copy_within(consumed..self.filled, 0);
                        self.filled -= consumed;
                        return Ok(());
                    }
                }
                Err(error) if is_try_again(error.kind()) => {
                    bound.on_idle()?;
                    self.idle.rest();
                }
                Err(error) => return Err(PerfError::io("waiting for an answer")(error)),
            }
        }
    }
}

fn is_try_again(kind: ErrorKind) -> bool {
    kind == ErrorKind::WouldBlock || kind == ErrorKind::Interrupted
}

/// The bound of one wait; reads the clock only once in [`BOUND_STEPS`].
struct Bound {
    what: &'static str,
    steps: u32,
    since: Option<std::time::Instant>,
}

impl Bound {
    fn new(what: &'static str) -> Self {
        Self { what, steps: 0, since: None }
    }

    fn on_idle(&mut self) -> Result<(), PerfError> {
        self.steps += 1;
        if self.steps < BOUND_STEPS {
            return Ok(());
        }
        self.steps = 0;
        let now = clock::now();
        if now.duration_since(*self.since.get_or_insert(now)) < ANSWER_MAX {
            return Ok(());
        }
        Err(PerfError::TimedOut { what: self.what.to_owned(), after: ANSWER_MAX })
    }
}
