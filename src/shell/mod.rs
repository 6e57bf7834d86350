//! The thin outside: all I/O of the hot thread.

pub mod activate;
pub mod clock;
pub mod idle;
pub mod pin;
pub mod poll;
pub mod turn;
