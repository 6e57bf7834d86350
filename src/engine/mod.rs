//! The deterministic core: no socket, file, clock, thread or map that grows.

pub mod apply;
pub mod book;
pub mod dedup;
mod key_map;
pub mod market;
pub mod orders;
pub mod outbox;
pub mod refusals;
