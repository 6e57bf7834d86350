//! The thin outside: all I/O of the hot thread.
//!
//! ```text
//! activate   from a directory to a machine that may serve
//! rebuild    its report log, from a replay, and on to the disk
//! turn       one turn of the loop, step by step
//! receive    sockets -> frames -> admission -> journal
//! sequencer  journal -> machine -> report log
//! release    report log -> sockets
//! disk       ring -> segments, on threads of their own
//! ```

pub mod activate;
pub mod turn;

pub mod disk;
mod held_back;
pub mod reports;

pub mod rebuild;

mod receive;
mod release;
pub mod sequencer;

pub mod connection;
pub mod connections;
pub mod poll;
pub mod round;

pub mod clock;
pub mod idle;
pub mod pin;
pub mod side;
