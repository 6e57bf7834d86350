//! What a transport asks of the shell: a closed set, read in one screen.
//!
//! The core does no I/O. Each input of a connection gives one act; answers to the peer are already
//! in its out-stream and need none.

use super::bindings::ConnectionIdx;
use super::logical::CodTerms;
use crate::vocabulary::fix::ReportLevel;
use crate::vocabulary::record::DownCause;
use crate::vocabulary::units::{Nanos, OwnerIdx, Seq, SessionId, SessionIdx, Text};

/// What the shell must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Nothing; the frame is used up.
    Nothing,
    /// Leave the frame in the buffer until the next turn.
    Later,
    /// The frame is dropped, and counted.
    Drop(Dropped),
    /// Journal a SessionOpen; [`on_opened`](super::transport::Transport::on_opened) when it is
    /// released.
    AppendOpen {
        /// The reserved slot.
        session: SessionIdx,
        /// The id the client chose.
        id: SessionId,
        /// Whose it is.
        owner: OwnerIdx,
        /// The key that signed it.
        key_id: Text<32>,
        /// Timestamp of the Negotiate.
        timestamp: Nanos,
    },
    /// Journal a SessionBind; [`on_bound`](super::transport::Transport::on_bound) when it is
    /// released.
    AppendBind {
        /// The session.
        session: SessionIdx,
        /// The key that signed it.
        key_id: Text<32>,
        /// Timestamp of the Establish.
        timestamp: Nanos,
        /// The client's next number; none means "what you expect".
        next_seq_no: Option<Seq>,
        /// The client's interval in milliseconds.
        keepalive_interval: u32,
        /// Cancel on disconnect in force.
        cod: CodTerms,
        /// Status messages asked for.
        report_level: ReportLevel,
        /// The silent connection to end first, with
        /// [`on_displaced`](super::transport::Transport::on_displaced).
        displaces: Option<ConnectionIdx>,
    },
    /// Journal the frame, in canonical form, as a ClientMessage.
    AppendMessage {
        /// The session.
        session: SessionIdx,
    },
    /// Journal a SessionGap.
    AppendGap {
        /// The session.
        session: SessionIdx,
        /// The client's next number.
        next: Seq,
    },
    /// Journal a SessionFinishing; [`on_finishing`](super::transport::Transport::on_finishing) when
    /// it is released.
    AppendFinishing {
        /// The session.
        session: SessionIdx,
        /// The number after the client's last.
        next: Seq,
    },
    /// Journal a SessionFinal. The transport carries the session no longer.
    AppendFinal {
        /// The session.
        session: SessionIdx,
    },
    /// The transport ended.
    End {
        /// The SessionDown to journal, if it carried a session.
        down: Option<Down>,
        /// What becomes of the socket.
        how: How,
    },
}

/// A session that lost its transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Down {
    /// The session.
    pub session: SessionIdx,
    /// How.
    pub cause: DownCause,
}

/// Why a frame is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// The same message was admitted under its number.
    Repeat,
    /// The gate is shut.
    GateShut,
    /// The transport has ended.
    Ended,
}

/// How a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Flush, half-close, read and discard until EOF or
    /// [`on_timer`](super::transport::Transport::on_timer) says `Now`.
    Linger,
    /// The peer will send nothing more: flush, then close; at the latest when `on_timer` says so.
    Flush,
    /// At once.
    Now,
}
