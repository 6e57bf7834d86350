//! What passes between the hot thread and the others: fixed-size, copied, never waited for.

use std::net::SocketAddr;

use super::disk::DiskFault;
use crate::coordination::pressure::RingKind;
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
    /// The gate was opened: no cause is left.
    GateOpened,
    /// So much of a ring is not on disk that somebody should look.
    LagBegins {
        /// Which ring.
        ring: RingKind,
        /// Bytes that wait for the disk.
        bytes: u64,
    },
    /// The disk has caught up.
    LagEnds {
        /// Which ring.
        ring: RingKind,
    },
    /// Clients are not read until the disk has caught up.
    ReadingStopped,
    /// They are read again.
    ReadingResumed,
    /// Too little room is left for the journal.
    SpaceShort,
    /// There is room again.
    SpaceEnough,
    /// A write or a sync of the journal failed: the node ends.
    JournalFailed {
        /// What failed, for a human.
        what: DiskFault,
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
