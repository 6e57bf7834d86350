//! A node's own stop, and what a slow disk does to it.

pub mod gate;
pub mod pressure;
