//! The customer's side of a session, sans I/O.
//!
//! ```text
//! credentials  who signs a logon
//! event        what goes in and out of a session
//! inbound      the server's numbers: what is next, missing, seen
//! session      logon, numbers, keep-alive, recovery by number: bytes in, reports out, each once
//! history      the raw frames of a session in a file: evidence
//! ```

pub mod credentials;
pub mod event;
pub mod history;
mod inbound;
pub mod session;
