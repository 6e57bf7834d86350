//! A node's own stop.

pub mod gate;
