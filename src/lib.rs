//! Tidegate: the gate between trading firms and a market.
//!
//! Read in this order; each folder uses only those before it.
//!
//! ```text
//! vocabulary   the shared words
//! limits       every bound
//! wire         bytes <-> words
//! session      one peer's conversation: the replicated half and the node's half
//! engine       dedup, orders, book, refusals: the gates an order passes
//! machine      the replicated thing: apply(record) -> events
//! replay       stored records through the machine, live and afterwards
//! replication  what must hold before a report leaves
//! coordination the gate of a node
//! client       the customer's side of a session
//! telemetry    counts, never decides
//! shell        sockets, clock, threads: one turn after another
//! ```
#![forbid(unsafe_code)]

pub mod client;
pub mod config;
pub mod coordination;
pub mod engine;
pub mod limits;
pub mod machine;
pub mod replay;
pub mod replication;
pub mod session;
pub mod shell;
pub mod telemetry;
pub mod vocabulary;
pub mod wire;
