//! Octets that came and were not handled yet, frame by frame.

use crate::limits::FRAME_BYTES_MAX;
use crate::wire::frame::{Frame, FrameError, split};

/// What one read may bring; always room for a whole frame.
const INBOX_BYTES: usize = 16 * 1024;
const _: () = assert!(INBOX_BYTES >= 2 * FRAME_BYTES_MAX);

/// A buffer between a socket and a session. Invariant: `handled <= filled <= bytes.len()`.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    handled: usize,
    filled: usize,
}

impl Inbox {
    /// An empty buffer; it never grows.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: vec![0; INBOX_BYTES], handled: 0, filled: 0 }
    }

    /// The next whole frame and its octets.
    pub fn next_frame(&mut self) -> Result<Option<(Frame<'_>, &[u8])>, FrameError> {
        let Some(rest) = self.bytes.get(self.handled..self.filled) else {
            return Ok(None);
        };
        Ok(split(rest, FRAME_BYTES_MAX)?.map(|(frame, len)| {
            self.handled += len;
            (frame, rest.get(..len).unwrap_or(rest))
        }))
    }

    /// Moves the rest to the front and returns the room behind it, never empty once every whole
    /// frame was taken out.
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.handled..self.filled, 0);
        self.filled -= self.handled;
        self.handled = 0;
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// So many octets were put into the room.
    pub fn on_filled(&mut self, count: usize) {
        self.filled = self.filled.saturating_add(count).min(self.bytes.len());
    }

    /// Forgets everything.
    pub const fn clear(&mut self) {
        (self.handled, self.filled) = (0, 0);
    }
}
