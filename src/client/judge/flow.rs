//! One session's numbers, counted again from the frames alone.
//!
//! The client's library counts too; the judge must not borrow its opinion. A number's first frame
//! is remembered by a hash, and every later frame under the same number is held against it.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::vocabulary::message::ClientMessage;
use crate::vocabulary::units::Seq;

/// Where the evidence for something stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The history, by its place among the arguments.
    pub(super) file: usize,
    /// The entry's offset.
    pub(super) offset: u64,
}

/// What a numbered frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// The first under its number.
    First,
    /// The same bytes as the first.
    Same,
    /// Other bytes than the first, which stands there.
    Other(Place),
}

/// A session's numbers in both directions.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The number of the next message that comes; none before EstablishmentAck.
    position: Option<u64>,
    received: HashMap<u64, (u64, Place)>,
    highest: u64,
    /// Requests by number, as first sent.
    sent: HashMap<Seq, (ClientMessage, Place)>,
}

impl Flow {
    pub(super) fn on_line_change(&mut self) {
        self.position = None;
    }

    /// EstablishmentAck, Sequence or Retransmission named the next number.
    pub(super) fn on_position(&mut self, next: Seq) {
        self.position = Some(next.0);
    }

    /// The number of the message that came, by the count, and whether the one it carries agrees.
    /// Where they differ the carried one is taken, so that one gap is reported once.
    pub(super) fn on_message(&mut self, explicit: Option<Seq>) -> Result<u64, (u64, Option<u64>)> {
        let counted = self.position;
        let number = explicit.map(|seq| seq.0).or(counted).unwrap_or(0);
        self.position = number.checked_add(1);
        if counted == Some(number) { Ok(number) } else { Err((number, counted)) }
    }

    /// Remembers a frame under its number, or compares it with the first.
    pub(super) fn on_frame(&mut self, number: u64, frame: &[u8], place: Place) -> Arrival {
        let hash = xxh3_64(frame);
        let (first, at) = *self.received.entry(number).or_insert((hash, place));
        if at == place {
            self.highest = self.highest.max(number);
            Arrival::First
        } else if first == hash {
            Arrival::Same
        } else {
            Arrival::Other(at)
        }
    }

    /// Remembers a request under its number; a repetition changes nothing.
    pub(super) fn on_sent(&mut self, message: ClientMessage, place: Place) {
        self.sent.entry(message.msg_seq_num()).or_insert((message, place));
    }

    pub(super) fn request(&self, number: Seq) -> Option<&(ClientMessage, Place)> {
        self.sent.get(&number)
    }

    /// The highest number seen; 0 before the first.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Of the numbers in 1 to the highest that never came: the first, how many, and where the next
    /// one that did come stands.
    pub(super) fn missing(&self) -> Option<(u64, u64, Place)> {
        let seen = u64::try_from(self.received.len()).unwrap_or(u64::MAX);
        let count = self.highest.saturating_sub(seen);
        if count == 0 {
            return None;
        }
        let first = (1..=self.highest).find(|number| !self.received.contains_key(number))?;
        let later = self.received.iter().filter(|(number, _)| **number > first);
        let (_, (_, next)) = later.min_by_key(|(number, _)| **number)?;
        Some((first, count, *next))
    }
}
