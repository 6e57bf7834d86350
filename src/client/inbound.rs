//! The server's numbers: which report comes next, which are missing, which were seen already.
//!
//! A numbered message has a place that both sides count (after EstablishmentAck, Retransmission and
//! Sequence), and most carry that number too, as a cross-check. NotApplied takes a number and
//! carries none. So there are two positions here and they must not be mixed up: `position` is the
//! number of the next message that *arrives*, `expected` is the next the application has *not
//! seen*. Live they are the same. After a reconnect `position` runs ahead, and what lies between is
//! asked for in pieces, one request at a time, each served in batches.
//!
//! ```text
//!   1 ...... expected ......... target          overlap: start further back, to compare bytes
//!   seen     | missing: asked for |  live
//! ```
//!
//! A live report that arrives while older ones are missing is not kept: `target` moves behind it
//! and it is asked for like the others. That costs sending it twice; it needs no buffer, whose
//! overflow would need an answer.

use crate::limits::{RETRANSMIT_BATCH_MAX, RETRANSMIT_COUNT_MAX};
use crate::vocabulary::units::{Nanos, Seq};

/// Positions of the flow that comes in. Invariants: `cursor <= target`; outside a batch
/// `position == live`; without a request nothing is outstanding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inbound {
    /// The next number that the application has not seen; never goes back.
    expected: u64,
    /// The number of the next message that arrives.
    position: u64,
    /// The next number of the live flow; never goes back while a transport lives.
    live: u64,
    /// The next number to ask for.
    cursor: u64,
    /// Everything below is asked for before the flow counts as live.
    target: u64,
    request: Option<Request>,
    /// Reports of one request at most, in `[1, RETRANSMIT_COUNT_MAX]`: a server may allow fewer.
    piece_max: u32,
}

/// A RetransmitRequest that is being served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Request {
    timestamp: Nanos,
    /// The number after the last one asked for.
    end: u64,
    /// The next number to be served.
    next: u64,
    batch: Batch,
}

/// Where in a Retransmission the flow stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Batch {
    /// The next header may come; live messages may too.
    Between,
    /// So many messages of the batch are outstanding, at least one.
    Inside(u32),
    /// The batch is whole; its Sequence is outstanding.
    Whole,
}

/// What became of a numbered message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// The application sees it now.
    Fresh(Seq),
    /// It was seen before.
    Seen,
    /// Older ones are missing; it is asked for after them.
    Ahead,
}

/// What a RetransmitReject leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denied {
    /// Only reports that were seen already cannot be had; go on with the missing ones.
    Overlap,
    /// Reports from this number on cannot be had.
    Missing(Seq),
}

/// What the server may not do.
pub(super) type Breach = &'static str;

impl Inbound {
    /// The flow of which everything below `expected` was seen.
    pub(super) const fn new(expected: Seq) -> Self {
        let expected = expected.0;
        Self {
            expected,
            position: expected,
            live: expected,
            cursor: expected,
            target: expected,
            request: None,
            piece_max: RETRANSMIT_COUNT_MAX,
        }
    }

    /// The next number that the application has not seen.
    pub(super) const fn expected(&self) -> Seq {
        Seq(self.expected)
    }

    /// Whether everything that the server has was seen.
    pub(super) const fn is_live(&self) -> bool {
        self.request.is_none() && self.cursor >= self.target
    }

    /// An EstablishmentAck told the next number; `overlap` seen reports are wanted again. The
    /// caller has checked that `next` is not below `expected`.
    pub(super) fn on_established(&mut self, next: Seq, overlap: u32) {
        debug_assert!(next.0 >= self.expected, "data loss is the caller's to see");
        self.position = next.0;
        self.live = next.0;
        self.target = next.0;
        self.cursor = self.expected.saturating_sub(u64::from(overlap)).max(1);
        self.request = None;
    }

    /// The next piece to ask for, if one is due; it counts as asked for with `timestamp`.
    pub(super) fn next_request(&mut self, timestamp: Nanos) -> Option<(Seq, u32)> {
        if self.is_live() || self.request.is_some() {
            return None;
        }
        let from = self.cursor;
        let missing = u32::try_from(self.target - from).unwrap_or(u32::MAX);
        let count = missing.min(self.piece_max);
        self.cursor = from + u64::from(count);
        self.request =
            Some(Request { timestamp, end: self.cursor, next: from, batch: Batch::Between });
        Some((Seq(from), count))
    }

    /// A numbered message came; `explicit` is the number it carries, if it carries one.
    pub(super) fn on_message(&mut self, explicit: Option<Seq>) -> Result<Arrival, Breach> {
        let number = self.position;
        if explicit.is_some_and(|seq| seq.0 != number) {
            return Err("MsgSeqNum is not the count");
        }
        match self.request.as_mut().map(|r| (r.batch, r)) {
            Some((Batch::Inside(left), request)) => {
                request.next += 1;
                request.batch = match left - 1 {
                    0 => Batch::Whole,
                    left => Batch::Inside(left),
                };
            }
            Some((Batch::Whole, _)) => return Err("a batch without its Sequence"),
            Some((Batch::Between, _)) | None => self.live = number + 1,
        }
        self.position = number + 1;
        if number < self.expected {
            return Ok(Arrival::Seen);
        }
        if number > self.expected {
            self.target = self.target.max(number + 1);
            return Ok(Arrival::Ahead);
        }
        self.expected = number + 1;
        if self.cursor == number {
            // It came before it was asked for, and need not be asked for.
            self.cursor = self.expected;
            self.target = self.target.max(self.expected);
        }
        Ok(Arrival::Fresh(Seq(number)))
    }

    /// A Sequence came.
    pub(super) fn on_sequence(&mut self, next: Seq) -> Result<(), Breach> {
        if next.0 < self.live {
            return Err("Sequence went back");
        }
        if let Some(request) = &mut self.request {
            match request.batch {
                Batch::Inside(_) => return Err("a Sequence inside a batch"),
                Batch::Between => {}
                Batch::Whole if request.next == request.end => self.request = None,
                Batch::Whole => request.batch = Batch::Between,
            }
        }
        self.position = next.0;
        self.live = next.0;
        self.target = self.target.max(next.0);
        Ok(())
    }

    /// A Retransmission came.
    pub(super) fn on_retransmission(
        &mut self,
        timestamp: Nanos,
        next: Seq,
        count: u32,
    ) -> Result<(), Breach> {
        let request = self.request.as_mut().ok_or("a Retransmission nobody asked for")?;
        if request.timestamp != timestamp || request.batch != Batch::Between {
            return Err("a Retransmission out of turn");
        }
        let in_range = next.0 == request.next && u64::from(count) <= request.end - request.next;
        if !in_range || count == 0 || count > RETRANSMIT_BATCH_MAX {
            return Err("a Retransmission of other numbers than asked for");
        }
        request.batch = Batch::Inside(count);
        self.position = next.0;
        Ok(())
    }

    /// Changes whenever a part of a request is served.
    pub(super) fn service_mark(&self) -> impl PartialEq + use<> {
        (self.request, self.expected)
    }

    /// A RetransmitReject(RequestLimitExceeded) came: what is left is asked for in smaller pieces.
    pub(super) fn on_too_many(&mut self, timestamp: Nanos) -> Result<(), Breach> {
        let request = self.take_denied(timestamp)?;
        let asked = u32::try_from(request.end - request.next).unwrap_or(u32::MAX);
        self.piece_max = asked.min(self.piece_max) / 2;
        if self.piece_max == 0 {
            return Err("a server that retransmits not even one report");
        }
        self.cursor = request.next;
        Ok(())
    }

    /// The request that a RetransmitReject ends.
    fn take_denied(&mut self, timestamp: Nanos) -> Result<Request, Breach> {
        let request = self.request.ok_or("a RetransmitReject of no request")?;
        if request.timestamp != timestamp || request.batch != Batch::Between {
            return Err("a RetransmitReject out of turn");
        }
        self.request = None;
        Ok(request)
    }

    /// A RetransmitReject(OutOfRange) came.
    pub(super) fn on_out_of_range(&mut self, timestamp: Nanos) -> Result<Denied, Breach> {
        let request = self.take_denied(timestamp)?;
        if request.next >= self.expected {
            return Ok(Denied::Missing(Seq(request.next)));
        }
        self.cursor = self.expected;
        Ok(Denied::Overlap)
    }
}
