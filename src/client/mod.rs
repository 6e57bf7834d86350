//! The customer's side of a session, sans I/O.
//!
//! ```text
//! credentials  who signs a logon
//! session      logon, numbers, keep-alive, recovery by number: bytes in, reports out, each once
//! history      the raw frames of a session in a file: evidence
//! ```

pub mod credentials;
pub mod history;
pub mod session;
