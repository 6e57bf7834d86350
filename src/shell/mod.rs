//! The thin outside: all I/O of the hot thread.
//!
//! ```text
//! activate   from a directory to a machine that may serve
//! turn       one turn of the loop, step by step
//! accept     who may have a connection
//! receive    sockets -> frames -> admission -> journal
//! sequencer  journal -> machine -> report log
//! release    report log -> sockets
//! ```

pub mod activate;
pub mod turn;

mod accept;
mod addresses;
mod downs;
mod receive;
mod release;
pub mod sequencer;
mod statuses;

pub mod connection;
pub mod connections;
pub mod poll;
pub mod round;

pub mod audit;
pub mod clock;
pub mod idle;
pub mod pin;
pub mod side;
