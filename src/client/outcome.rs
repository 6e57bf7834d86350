//! What the application sees of its requests: one outcome each, and what happens besides.

use std::fmt;

use super::event::{RejectCode, StopCause};
use crate::vocabulary::event::Report;
use crate::vocabulary::message::ClientMessage;
use crate::vocabulary::units::Text;

/// Names a request from `send` to its outcome; from 1, never used twice by one client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// The one outcome of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Which request.
    pub ticket: Ticket,
    /// The request as it was last sent.
    pub request: ClientMessage,
    /// What became of it.
    pub verdict: Verdict,
    /// The report that says so; none where no report does.
    pub report: Option<Report>,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The order was accepted (200). Trades and its end follow as [`Event::Update`].
    Accepted,
    /// The state of an order (205): a status, or the answer to a request that was known already.
    Known,
    /// The cancel was carried out (202).
    Canceled,
    /// Refused (204, 206, 208).
    Refused {
        /// Whether the same ClOrdID may be sent again (Retryable).
        is_for_now: bool,
    },
    /// The server never got it, and it was not to be sent again.
    NeverHappened,
    /// The client ended, or the server lost the answer: whether it happened is not known here.
    Unknown,
}

/// Something that happened, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Logged on, and everything missed has been delivered: requests are taken.
    Up {
        /// Whether this is a return after a lost line.
        is_again: bool,
    },
    /// A request has its outcome: each exactly once.
    Outcome(Outcome),
    /// A report that no waiting request asked for: a trade, the end of an order.
    Update(Report),
    /// The node takes no requests now, by its GateCause. Requests are refused here until
    /// [`Event::Accepting`]; those on their way are sent again by the rule of the client.
    NotAccepting {
        /// GateCause.
        cause: u8,
    },
    /// The node takes requests again.
    Accepting,
    /// The line is lost and is being made again; nothing is known to be lost.
    Down {
        /// Why.
        why: Text<64>,
    },
    /// The client is over. Nothing comes after it.
    Ended(End),
}

/// Why a client is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It was closed; the session can be established again.
    Closed,
    /// The session was brought to its end; its id is used up.
    Finalized,
    /// History or reports were lost: a person has to look before anything is sent again.
    Stopped(StopCause),
    /// The logon was refused, and no repetition helps.
    Refused {
        /// Which message was refused, with its code.
        code: RejectCode,
        /// The server's words.
        reason: Text<64>,
    },
    /// The session id was used before by somebody; nothing was sent. Take another id.
    NewSession,
    /// The server ended the line in answer to finalization, again and again.
    NotFinalized {
        /// TerminationCode.
        code: u8,
        /// Why.
        reason: Text<64>,
    },
    /// No address could be logged on to for as long as the options allow.
    Unreachable,
    /// The history file could not be written: the evidence that was asked for is incomplete.
    HistoryFailed,
}

/// A request that was not taken; nothing of it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// No line, or not everything missed has come yet.
    #[error("not logged on")]
    NotUp,
    /// The node's gate is shut.
    #[error("the node takes no requests now")]
    NotAccepting,
    /// As many requests are unanswered as the options allow.
    #[error("too many requests are unanswered")]
    Full,
    /// The socket takes nothing more.
    #[error("the line is congested")]
    Congested,
    /// The client is over, or about to be.
    #[error("the client is closed")]
    Closed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Finalized => f.write_str("the session is finalized"),
            Self::Stopped(cause) => write!(f, "stopped: {cause}"),
            Self::Refused { code, reason } => write!(f, "logon refused: {code} ({reason})"),
            Self::NewSession => f.write_str("the session id was used before; take another"),
            Self::NotFinalized { code, reason } => {
                write!(f, "the session was not finalized: {code} ({reason})")
            }
            Self::Unreachable => f.write_str("no address could be logged on to"),
            Self::HistoryFailed => f.write_str("the history file could not be written"),
        }
    }
}
