//! What goes in and out of a client session, in one screen.

use std::fmt;

use crate::session::credentials::Key;
use crate::vocabulary::event::Report;
use crate::vocabulary::fix::{CodType, EstablishmentRejectCode, NegotiationRejectCode};
use crate::vocabulary::units::{Nanos, Seq, SessionId, Text};

/// Who logs on.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// Sixteen random octets, never used before and never zero.
    pub session_id: SessionId,
    /// The firm's key.
    pub key: Key,
}

/// What a session asks for. Milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionOptions {
    /// In `[100, 60_000]`.
    pub keepalive_interval: u32,
    /// When the server cancels the session's orders.
    pub cod_type: CodType,
    /// Time to come back before it does, at most 60,000.
    pub cod_window: u32,
    /// Reports already seen that are asked for again after a reconnect, for a verifier to compare.
    pub overlap: u32,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { keepalive_interval: 1000, cod_type: CodType::DoNotCancel, cod_window: 0, overlap: 0 }
    }
}

/// Where a session stands: what a program keeps to go on with it after its own restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Whether the server is known to have the session.
    pub is_negotiated: bool,
    /// The number of the next request.
    pub next_out: Seq,
    /// The number of the next report.
    pub next_in: Seq,
    /// Timestamp of the last logon: the next one must be later (ruling F05).
    pub stamp: Nanos,
}

impl Standing {
    /// A session that never logged on.
    pub const NEW: Self =
        Self { is_negotiated: false, next_out: Seq::FIRST, next_in: Seq::FIRST, stamp: Nanos(0) };
}

/// What the application sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientEvent {
    /// The session is bound to this line.
    Established {
        /// The last request that the server applied before; 0 if none.
        last_incoming: Seq,
        /// The number of the next request.
        next_out: Seq,
        /// Whether there is nothing to recover; else [`ClientEvent::Live`] follows.
        is_live: bool,
    },
    /// Everything that was missing has been delivered; requests may be sent.
    Live,
    /// A report, each once and in order. NotApplied is one: those requests never happened.
    Report(Report),
    /// The server dropped requests from this number on; they are not sent again before a
    /// NotApplied has covered them (ruling F02).
    NotAccepting {
        /// The first number dropped.
        from_seq_no: Seq,
        /// GateCause.
        cause: u8,
    },
    /// The logon was refused; the line is closed.
    Rejected {
        /// Which message was refused, with its code.
        code: RejectCode,
        /// The server's words.
        reason: Text<64>,
        /// What to do.
        advice: Advice,
    },
    /// The session left this line; what is in the buffer is sent, then the line is closed.
    Terminated {
        /// Who ended it.
        by: Party,
        /// TerminationCode.
        code: u8,
        /// Why.
        reason: Text<64>,
    },
    /// The session is over for ever, and a person has to look.
    Stopped(StopCause),
}

/// A refused logon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RejectCode {
    /// NegotiationRejectCode.
    Negotiation(u8),
    /// EstablishmentRejectCode.
    Establishment(u8),
}

/// What to do after a refusal. An address in the server's words is never one to connect to: the
/// list of addresses is the client's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Connect to the same address at once: the next logon is another one.
    ReconnectNow,
    /// Connect to the same address after this long.
    RetryAfter(Nanos),
    /// Connect to the next address of the list after a short pause.
    NextAddress,
    /// The id was used before by somebody, and nothing was ever sent under it here: take another.
    NewSession,
    /// No repetition helps.
    GiveUp,
}

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    /// This end.
    Client,
    /// The other.
    Server,
}

/// Why a session is over for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopCause {
    /// The server's next number is below one that was seen.
    DataLoss {
        /// The next number by what was seen.
        expected: Seq,
        /// The next number by the server.
        offered: Seq,
    },
    /// The server says that history was lost.
    HistoryLost,
    /// The server does not know a session that it negotiated.
    Forgotten,
    /// Reports that were not seen cannot be had any more.
    ReportsGone {
        /// The first of them.
        from: Seq,
    },
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negotiation(code) => {
                NegotiationRejectCode::from_wire(*code).map_or("?", NegotiationRejectCode::name)
            }
            Self::Establishment(code) => {
                EstablishmentRejectCode::from_wire(*code).map_or("?", EstablishmentRejectCode::name)
            }
        })
    }
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataLoss { expected, offered } => write!(
                f,
                "DATA LOSS: the server's next number is {offered}, {expected} was expected"
            ),
            Self::HistoryLost => f.write_str("the server lost history"),
            Self::Forgotten => f.write_str("the server does not know the session any more"),
            Self::ReportsGone { from } => write!(f, "reports from {from} on cannot be had"),
        }
    }
}
