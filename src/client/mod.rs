//! The customer's side of a session, sans I/O.

pub mod history;
pub mod session;
