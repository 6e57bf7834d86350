//! Counts, never decides.

pub mod counters;
