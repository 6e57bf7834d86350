//! The deterministic core: no socket, file, clock, thread or map that grows.
//!
//! ```text
//! apply     one request through all gates
//! cancel    a cancel, and all orders of a session at once
//! refusals  the gates' one table, in order
//! checks    a new order judged by itself
//! dedup     one key is accepted at most once
//! market    instruments and phases     owners  firms and accounts
//! orders    the arena of open orders   book    price-time priority
//! session_orders  whose orders they are
//! reporter  what happened, numbered    outbox  the events of one input
//! ```

pub mod apply;
mod cancel;
pub mod checks;
pub mod refusals;

pub mod dedup;
mod key_map;

pub mod market;
pub mod owners;

pub mod orders;
pub mod session_orders;

pub mod book;
mod far_levels;
mod level_index;
mod price_levels;
mod queues;

pub mod outbox;
pub mod reporter;
