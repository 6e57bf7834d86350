//! The deterministic core: no socket, file, clock, thread or map that grows.

pub mod apply;
pub mod book;
pub mod dedup;
mod far_levels;
mod level_index;
pub mod market;
pub mod orders;
pub mod outbox;
mod price_levels;
mod queues;
pub mod refusals;
