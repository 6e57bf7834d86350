//! The customer's side: a session, its requests and their outcomes, transports, and evidence.
//!
//! ```text
//! event        what goes in and out of a session
//! inbound      the server's numbers: what is next, missing, seen
//! session      logon, numbers, keep-alive, recovery by number: bytes in, reports out, each once
//! request      requests in typed fields
//! outcome      what the application sees: one outcome a request
//! unanswered   which request a report answers
//! desk         session and unanswered requests together, still without I/O
//! transport    TCP, several addresses, reconnects: a blocking and a busy-polling client
//! profile      who logs on, and where the session stands, in a file
//! history      the raw frames of a session in a file: evidence
//! judge        reads histories and a journal alone, and says which claims hold
//! ```

pub mod desk;
pub mod event;
pub mod history;
mod inbound;
pub mod judge;
pub mod outcome;
pub mod profile;
pub mod request;
pub mod session;
pub mod transport;
mod unanswered;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("README.md")]
pub struct Readme;
