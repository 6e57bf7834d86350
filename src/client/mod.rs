//! The customer's side of a session, sans I/O.
//!
//! ```text
//! credentials  who signs a logon
//! inbound      the server's numbers: what is next, missing, seen
//! session      logon, numbers, keep-alive, recovery by number: bytes in, reports out, each once
//! history      the raw frames of a session in a file: evidence
//! ```

pub mod credentials;
pub mod history;
mod inbound;
pub mod session;
