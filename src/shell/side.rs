//! What passes between the hot thread and the others: fixed-size, copied, never waited for.

use std::net::SocketAddr;

use crate::vocabulary::fix::{GateCause, MarketPhase};
use crate::vocabulary::units::{Epoch, Index, SecurityId, SessionId, Text};

/// To the hot thread. At most `SIDE_MESSAGES_A_TURN_MAX` are taken in one turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SideMessage {
    /// Stop: end every session, write what is owed, close the journal.
    Shutdown,
    /// Set a market phase; journaled with who and why.
    SetPhase {
        /// Who.
        who: Text<32>,
        /// Why.
        reason: Text<64>,
        /// The instrument; none for the whole market.
        security_id: Option<SecurityId>,
        /// The new phase.
        phase: MarketPhase,
    },
}

/// From the hot thread, for a log that others read. Lost when nobody takes them, and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The node serves.
    Serving {
        /// The epoch of this activation.
        epoch: Epoch,
        /// Last record.
        index: Index,
    },
    /// A session was established.
    Established {
        /// Its id.
        session: SessionId,
    },
    /// A transport of a session ended.
    Ended {
        /// Its id.
        session: SessionId,
        /// Why, for a human.
        why: Text<64>,
    },
    /// A connection ended before it had a session.
    Refused {
        /// Its address, while it is known.
        peer: Option<SocketAddr>,
        /// Why, for a human.
        why: Text<64>,
    },
    /// A logon was refused.
    LogonFailed {
        /// Its address, while it is known.
        peer: Option<SocketAddr>,
        /// The key it named, if that was well formed.
        key_id: Option<Text<32>>,
        /// Why, in our words.
        cause: &'static str,
    },
    /// A peer read too slowly and was closed; it recovers by number.
    SlowReader {
        /// Its session.
        session: SessionId,
    },
    /// The gate was shut.
    GateShut {
        /// For this cause.
        cause: GateCause,
    },
    /// A phase was to be set for an instrument that is none: nothing was journaled.
    UnknownInstrument {
        /// Who asked.
        who: Text<32>,
        /// What was named.
        security_id: Option<SecurityId>,
    },
    /// A stop was asked for: sessions are told, nothing more is sequenced.
    Stopping,
    /// The key table is nearly full: refusals follow.
    KeysNearlyFull,
}
