//! The customer's side of a session, sans I/O.
//!
//! ```text
//! event        what goes in and out of a session
//! inbound      the server's numbers: what is next, missing, seen
//! session      logon, numbers, keep-alive, recovery by number: bytes in, reports out, each once
//! history      the raw frames of a session in a file: evidence
//! judge        reads histories and a journal alone, and says which claims hold
//! ```

pub mod event;
pub mod history;
mod inbound;
pub mod judge;
pub mod session;
