//! One peer's conversation (FIXP), sans I/O, in two halves.

pub mod auth;
pub mod bindings;
pub mod liveness;
pub mod logical;
pub mod report_log;
pub mod transport;
