//! What every recorded figure carries, whichever program measured it: date, machine, source.
//!
//! `tidegate-perf` measures between processes, `tidegate-bench` inside one; both append to
//! `history.jsonl`, and a line of either can be read only if both describe their runs alike.

pub mod clock;
pub mod machine;
