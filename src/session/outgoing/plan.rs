//! The plan of a stream: small, copied freely, moved by one frame at a time.
//!
//! A plan and the log give the next frame; [`Plan::finish`] moves the plan behind it. So the same
//! frames come out however often they are composed, which is what makes a buffer needless.

use crate::limits::RETRANSMIT_BATCH_MAX;
use crate::session::report_log::{Cursor, Entry};
use crate::vocabulary::units::{Index, Nanos, Seq, SessionId};

/// What is sent next, and after it, given the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) control_at: usize,
    pub(super) live: Option<Live>,
    pub(super) replay: Option<Replay>,
    pub(super) part: Option<Part>,
    pub(super) finish: Option<Finish>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) cursor: Cursor,
    /// The log's count of this session's octets before `cursor`.
    pub(super) octets: u64,
    /// Reports that may still go before the next batch of a replay.
    pub(super) before_batch: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    pub(super) session_id: SessionId,
    pub(super) request_timestamp: Nanos,
    pub(super) cursor: Cursor,
    /// Reports that are not handed over yet, those of the running batch included.
    pub(super) left: u32,
    pub(super) phase: Phase,
}

/// A FinishedSending that is to be sent behind the report `last`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    pub(super) session_id: SessionId,
    pub(super) last: Seq,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Between batches.
    Header,
    /// This many reports of the batch are left.
    Reports(u32),
    /// The Sequence that ends the batch.
    Resume,
}

/// Where the frame at the front comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Control,
    Header,
    Replay,
    Resume,
    Live,
    Finish,
}

/// A frame of which `sent` octets are gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) source: Source,
    pub(super) sent: usize,
}

/// A frame to send.
pub(super) enum Next<'a> {
    Octets(Source, &'a [u8]),
    Report(Source, Entry<'a>),
}

impl Plan {
    pub(super) fn sent(&self) -> usize {
        self.part.map_or(0, |part| part.sent)
    }

    /// Whether every report before FinishedSending is sent.
    pub(super) fn is_finish_next(&self) -> bool {
        let next = self.live.map(|live| live.cursor.number());
        self.finish.is_some_and(|finish| next > Some(finish.last))
    }

    /// The frame at the front is sent to its end.
    #[inline]
    pub(super) fn finish(&mut self, next: &Next<'_>) {
        self.part = None;
        match (next, &mut self.live, &mut self.replay) {
            (Next::Octets(Source::Control, frame), _, _) => self.control_at += frame.len(),
            (Next::Octets(Source::Finish, _), _, _) => self.finish = None,
            (Next::Report(Source::Live, entry), Some(live), _) => {
                live.cursor.advance(entry);
                live.octets += entry.frame.len() as u64;
                live.before_batch = live.before_batch.saturating_sub(1);
            }
            (Next::Report(Source::Replay, entry), _, Some(replay)) => {
                replay.cursor.advance(entry);
                replay.left = replay.left.saturating_sub(1);
                replay.phase = match replay.phase {
                    Phase::Reports(more @ 2..) => Phase::Reports(more - 1),
                    Phase::Header | Phase::Reports(_) | Phase::Resume => Phase::Resume,
                };
            }
            (Next::Octets(Source::Header, _), _, Some(replay)) => {
                replay.phase = Phase::Reports(replay.left.min(RETRANSMIT_BATCH_MAX));
            }
            (Next::Octets(Source::Resume, _), Some(live), Some(replay)) => {
                live.before_batch = RETRANSMIT_BATCH_MAX;
                replay.phase = Phase::Header;
                if replay.left == 0 {
                    self.replay = None;
                }
            }
            (Next::Octets(..) | Next::Report(..), _, _) => {
                debug_assert!(false, "a frame comes from a source that is there");
            }
        }
    }
}

impl Next<'_> {
    pub(super) const fn source(&self) -> Source {
        match self {
            Self::Octets(source, _) | Self::Report(source, _) => *source,
        }
    }

    pub(super) const fn frame(&self) -> &[u8] {
        match self {
            Self::Octets(_, frame) => frame,
            Self::Report(_, entry) => entry.frame,
        }
    }

    pub(super) fn is_released(&self, released: Index) -> bool {
        match self {
            Self::Octets(..) => true,
            Self::Report(_, entry) => entry.index <= released,
        }
    }
}
