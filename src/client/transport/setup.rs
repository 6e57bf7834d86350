//! What a client is given.

use std::net::SocketAddr;

use crate::client::desk::DeskOptions;
use crate::client::event::{ClientIdentity, Standing};
use crate::client::history::HistoryWriter;
use crate::client::outcome::End;
use crate::vocabulary::units::Nanos;

/// Everything that a client needs. The fields are public: change what should differ.
#[derive(Debug)]
pub struct Setup {
    /// Who logs on.
    pub identity: ClientIdentity,
    /// Where: tried in turn, from the first. A server's words never add to it.
    pub addresses: Vec<SocketAddr>,
    /// Where an earlier program left the session.
    pub standing: Standing,
    /// Of the session and its requests.
    pub desk: DeskOptions,
    /// A connection that is not made within this time is given up.
    pub connect_max: Nanos,
    /// Pause before the next address.
    pub retry_pause: Nanos,
    /// How long to go without being logged on before the client ends as unreachable; `None`: for
    /// ever.
    pub patience: Option<Nanos>,
    /// Where every frame is written, for `verify-history`.
    pub history: Option<HistoryWriter>,
}

impl Setup {
    /// A new session at these addresses, with the usual options: lost requests are sent again under
    /// new numbers, 60 s of patience, no history.
    #[must_use]
    pub fn new(identity: ClientIdentity, addresses: Vec<SocketAddr>) -> Self {
        Self {
            identity,
            addresses,
            standing: Standing::NEW,
            desk: DeskOptions::default(),
            connect_max: Nanos(2 * Nanos::SECOND.0),
            retry_pause: Nanos(20 * Nanos::MILLI.0),
            patience: Some(Nanos(60 * Nanos::SECOND.0)),
            history: None,
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The list of addresses is empty.
    #[error("no address to connect to")]
    NoAddress,
    /// The system refused what every client needs.
    #[error("cannot wait for sockets: {0}")]
    Io(#[from] std::io::Error),
    /// The client ended before it was logged on.
    #[error("{end}; last: {why}")]
    Ended {
        /// Why it ended.
        end: End,
        /// What the last attempt died of.
        why: String,
    },
}
